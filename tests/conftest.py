"""Order of the tiers: what is fast fails first, the lab comes last and its removal at the very end."""

import pytest

ORDER = (
    "tests/unit",
    "tests/contract",
    "tests/arch",
    "tests/lab/test_lab",
    "tests/lab/test_de",
    "tests/lab",
    "tests/lab/test_down",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        matching = [i for i, prefix in enumerate(ORDER) if item.nodeid.startswith(prefix)]
        return max(matching) if "test_down" in item.nodeid else min(matching, default=0)

    items.sort(key=rank)
