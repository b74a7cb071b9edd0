"""Compare what happened to nodes with what a scenario expects."""

from collections.abc import Collection

__all__ = ["fenced_problems"]


def fenced_problems(fenced: Collection[str], wanted: Collection[str], first: str) -> list[str]:
    """Compare the nodes that were fenced with "@first", "another" for one more, and names.

    >>> fenced_problems({"n1", "n3"}, ("@first", "another"), "n1")
    []
    >>> fenced_problems({"n1"}, (), "n1")
    ["fenced were ['n1'], expected []"]
    """
    names = {first if name == "@first" else name for name in wanted if name != "another"}
    more = sum(1 for name in wanted if name == "another")
    if names <= set(fenced) and len(set(fenced) - names) == more:
        return []
    return [f"fenced were {sorted(set(fenced))}, expected {sorted(wanted)}"]
