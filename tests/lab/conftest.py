"""The lab that the tests of one worker share: brought up once, taken down at the end.

With `pytest -n 2` each worker has a lab of its own, side by side. What needs the host for itself has the mark
`alone` and is run after them, by one process.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
if WORKER != "gw0":  # before the lab's modules are loaded, which go by it
    os.environ["VM_MGR_LAB_STATE"] = f"{os.environ.get('VM_MGR_LAB_STATE', '/var/lib/vm-mgr-lab')}-{WORKER}"

from vm_mgr_lab import up as bring  # noqa: E402
from vm_mgr_lab.lab import Lab  # noqa: E402
from vm_mgr_lab.paths import Paths  # noqa: E402

from .footprint import Footprint  # noqa: E402


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
        bring.down(paths, print)
    return Footprint.take()


@pytest.fixture(scope="session")
def lab(paths: Paths, keeps_lab: bool, host_before: Footprint) -> Iterator[Lab]:
    if keeps_lab and paths.description.exists():
        yield Lab.load(paths)
        return
    with _one_at_a_time(paths):
        brought = bring.up(paths, bring.Request(), print)
    yield brought
    if not keeps_lab:
        with _one_at_a_time(paths):
            bring.down(paths, print)


@contextmanager
def _one_at_a_time(paths: Paths) -> Iterator[None]:
    """Wait for another worker that builds, deploys or removes: the second one finds the first one's cache."""
    paths.cache.mkdir(parents=True, exist_ok=True)
    with Path(paths.cache / "workers.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
