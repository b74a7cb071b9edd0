"""Order of the tiers: what is fast fails first; the lab comes last, another one before it."""

import signal
from collections.abc import Iterator

import pytest

ORDER = (
    "tests/unit",
    "tests/contract",
    "tests/arch",
    "tests/lab/test_variants",
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


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give signals their handlers back, which a command sets for its process: tests stay interruptible."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
