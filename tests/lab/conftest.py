"""The lab that the tests share: brought up once, taken down by the test that looks at what is left.

`make test` has two labs: two workers of pytest-xdist play the files, each with a lab of its own, since one
alone waits half of the time. Files that are marked `alone` come after that: they look at the host.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

import pytest

from vm_mgr_lab import up as bring
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import Paths

from .footprint import Footprint
from .turns import ALL, SEED, take_turns

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
# A lab of its own comes first, before its worker has one; then what takes longest, so that both workers end
# at about the same time.
FIRST = (
    "variants",
    "agent_conformance",
    "scenarios",
    "migration",
    "kills",
    "contracts",
    "commands",
    "campaign",
)
LONGEST = (
    *FIRST,
    "hibernation",
    "placement",
    "upgrade",
    "races",
    "safe_start",
    "deployment",
    "seapath",
    "uefi",
)


def pytest_configure() -> None:
    if WORKER:
        os.environ["VM_MGR_LAB_STATE"] = f"{Paths.from_environment().state}-{WORKER}"


def pytest_report_header() -> str:
    return "all that is taken in turns" if ALL else f"taken in turns: VM_MGR_SEED={SEED}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    later = take_turns(items)
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]

    def rank(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    if WORKER:
        items.sort(key=rank)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """With -v, say how long each test took: the log of a run that was cut off tells where the time went."""
    if report.when == "call" and report.passed:
        return "passed", ".", f"PASSED in {report.duration:.0f} s"
    return None


@pytest.fixture(scope="session")
def paths() -> Paths:
    return Paths.from_environment()


@pytest.fixture(scope="session")
def keeps_lab() -> bool:
    """VM_MGR_LAB_KEEP=1 uses a lab that is up and leaves it up: for work on the tests, never in CI."""
    return os.environ.get("VM_MGR_LAB_KEEP") == "1"


@pytest.fixture(scope="session")
def host_before(paths: Paths, keeps_lab: bool) -> Footprint:
    if not keeps_lab:
        with one_at_a_time(paths):
            bring.down(paths, print)
    return Footprint.take()


@pytest.fixture(scope="session")
def lab(paths: Paths, keeps_lab: bool, host_before: Footprint) -> Iterator[Lab]:
    if keeps_lab and paths.description.exists():
        yield Lab.load(paths)
        return
    with one_at_a_time(paths):
        made = bring.up(paths, bring.Request(), print)
    yield made
    if not keeps_lab:
        with one_at_a_time(paths):
            bring.down(paths, print)


@contextlib.contextmanager
def one_at_a_time(paths: Paths) -> Iterator[None]:
    """Wait for the other worker's `up`: what the first one builds, the second one takes from the cache."""
    paths.cache.mkdir(parents=True, exist_ok=True)
    with (paths.cache / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
