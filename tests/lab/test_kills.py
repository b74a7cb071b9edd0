"""Kill operations at every call on the real cluster: on both storages, and inside of what they ask of Ceph.

tests/unit/test_kills.py does it with every operation in memory, tests/unit/test_shared_dir.py at every change
of a file. What is killed here are processes, or calls of librbd; tests/lab/node/kills.py has the operations.
"""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vm_mgr_lab.lab import Lab

from .turns import SEED, share

pytestmark = [pytest.mark.lab, pytest.mark.turns("kills"), pytest.mark.timeout(1500)]

TESTS = Path(__file__).parents[1]
NEEDED = (
    "tests/__init__.py",
    "tests/unit/__init__.py",
    "tests/unit/conftest.py",
    "tests/unit/test_kills.py",
    "tests/lab/__init__.py",
    "tests/lab/node",
)
TRIES_S = 1200
# In how many days all points are tried, from day to day other ones; some operations have few points.
DAYS = 5

# One list of operations for each node, of about the same length.
WHOLE = {
    "n1": ("create", "enable", "snapshot", "disable"),
    "n2": ("clone", "take over", "resize"),
    "n3": ("remove", "rollback", "rename"),
}
# Not here: a full clone; it calls what a creation and a linked clone call.
DEEP = {
    "n1": ("create", "snapshot", "rollback", "rename"),
    "n2": ("replace", "remove snapshot"),
    "n3": ("clone", "remove", "resize"),
}


@pytest.fixture(scope="module")
def nodes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give the lab with the harness on its nodes."""
    archive = tmp_path_factory.mktemp("kills") / "tests.tgz"
    folder = ["tar", "-C", str(TESTS.parent), "--exclude=__pycache__", "-czf", str(archive), *NEEDED]
    subprocess.run(folder, check=True)
    for node in WHOLE:
        lab.copy_in(node, archive, "/tmp/tests.tgz")
        lab.execute(node, ["sh", "-ec", "mkdir -p /tmp/tests; tar -xzf /tmp/tests.tgz -C /tmp/tests"])
    yield lab
    for node in WHOLE:
        lab.execute(node, ["rm", "-rf", "/tmp/tests", "/tmp/tests.tgz"])


@pytest.mark.parametrize("storage", ["ceph", "vms"])
def test_killed_process_leaves_the_vm_as_before_or_as_asked_for(nodes: Lab, storage: str) -> None:
    check(nodes, "whole", storage, WHOLE)


def test_kill_inside_of_what_is_asked_of_ceph(nodes: Lab) -> None:
    check(nodes, "deep", "ceph", DEEP)


def check(lab: Lab, kind: str, storage: str, table: dict[str, tuple[str, ...]]) -> None:
    """Try the operations on three nodes at once; print the seed, and how many points were tried."""
    first, step = share(DAYS)
    print(f"VM_MGR_SEED={SEED}: every {step}th point, from {first}")

    def on(node: str) -> str:
        where = "PYTHONPATH=/usr/lib/vm-mgr/current:/tmp/tests"
        turn = (f"VM_MGR_KILLS_EVERY={step}", f"VM_MGR_KILLS_FIRST={first}")
        tag = f"{kind[0]}{storage[0]}{node}"
        argv = ["env", where, *turn, "python3", "-W", "ignore"]
        argv += ["-m", "tests.lab.node.kills", kind, storage, tag]
        done = lab.execute(node, [*argv, *table[node]], check=False, timeout_s=TRIES_S)
        assert done.returncode == 0, done.stdout + done.stderr[-4000:]
        return done.stdout

    with ThreadPoolExecutor(len(table)) as pool:
        found = [json.loads(line) for output in pool.map(on, table) for line in output.splitlines()]
    for one in found:
        print(f"{kind} {storage} {one['operation']}: {one['points']} points, {one['seconds']} s")
    assert sorted(one["operation"] for one in found) == sorted(
        name for names in table.values() for name in names
    )
    assert all(one["points"] > 0 for one in found)
    assert [problem for one in found for problem in one["problems"]] == []
