"""The lab that the tests share: brought up once, taken down by the test that looks at what is left."""

import os
from collections.abc import Iterator

import pytest

from vm_mgr_lab import up as bring
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import Paths

from .footprint import Footprint


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
    yield bring.up(paths, bring.Request(), print)
    if not keeps_lab:
        bring.down(paths, print)
