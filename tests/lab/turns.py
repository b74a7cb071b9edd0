"""What is too long for each run is taken in turns: another part each day, and all with `make test-all`.

VM_MGR_SEED (the day's number if it is not set) says whose turn it is; VM_MGR_ALL=1 takes all.
"""

import os
import time
from collections import defaultdict

import pytest

__all__ = ["ALL", "SEED", "share", "take_turns"]

ALL = os.environ.get("VM_MGR_ALL") == "1"
# Set for the workers, too: they would not agree if a day ended between their starts.
SEED = int(os.environ.setdefault("VM_MGR_SEED", str(int(time.time() // 86400))))


def share(of: int, mine: int = 0) -> tuple[int, int]:
    """Return the first point and the step with which one of several runs walks through a table.

    of: in how many days all is taken; mine: the number of the run, when several share the table in a day.
    """
    return (0, 1) if ALL else ((SEED + mine) % of, of)


def take_turns(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the items that a run leaves out: of the variants of a test that is marked `turns`, all but one.

    Where the marker names a group, the tests of the group and their variants share one turn.
    """
    if ALL:
        return []
    variants: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        marker = item.get_closest_marker("turns")
        if marker:
            variants[marker.args[0] if marker.args else item.nodeid.partition("[")[0]].append(item)
    return [
        item
        for number, of_one in enumerate(variants.values())
        for item in of_one
        if of_one.index(item) != (SEED + number) % len(of_one)
    ]
