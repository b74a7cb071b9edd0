"""Run these contracts on the real adapters, inside a node of the lab."""

import re
import subprocess
from pathlib import Path

import pytest

from vm_mgr_lab.lab import Lab

from .turns import share

HERE = Path(__file__).parents[1] / "contract"
SOURCE = HERE.parents[1] / "src" / "vm_mgr"
# In two halves: the first, third … and the others.
CONTRACTS = (
    "test_storage.py",
    "test_hypervisor.py",
    "test_intent_log.py",
    "test_cluster.py",
    "test_event_log.py",
    "test_definition_store.py",
    "test_storage_fencing.py",
    "test_images.py",
    "test_evidence.py",
    "test_nodes.py",
    "test_timings.py",
)
RUN = """set -e
trap 'cd /; rm -rf /tmp/contract /tmp/contract.tgz' EXIT
rm -rf /tmp/contract && mkdir -p /tmp/contract && tar -xzf /tmp/contract.tgz -C /tmp/contract
cd /tmp/contract
export VM_MGR_CONTRACT=real PYTHONPATH=/tmp/contract
python3 -m pytest -q --durations 15 --basetemp /tmp/contract/basetemp -p no:cacheprovider -p no:xdist "$@"
"""


@pytest.mark.lab
@pytest.mark.timeout(900)
def test_real_adapters_keep_the_contracts(lab: Lab, tmp_path: Path) -> None:
    check_contracts(lab, tmp_path)


def check_contracts(lab: Lab, tmp_path: Path, mine: int = 0) -> None:
    """Run every second of these files, the others the next day, or in another run of the day; or all."""
    first, step = share(2, mine)
    names = ("__init__.py", "conftest.py", *CONTRACTS)  # some import others
    archive = tmp_path / "contract.tgz"
    files = [f"--transform=s,^{HERE.name}/,tests/,", *(f"{HERE.name}/{name}" for name in names)]
    sources = ["-C", str(SOURCE.parent), "--exclude=__pycache__", "vm_mgr"]
    subprocess.run(["tar", "-czf", str(archive), *sources, "-C", str(HERE.parent), *files], check=True)
    lab.copy_in("n1", archive, "/tmp/contract.tgz")
    done = lab.execute(
        "n1",
        ["sh", "-c", RUN, "sh", *(f"tests/{name}" for name in CONTRACTS[first::step])],
        check=False,
        timeout_s=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed.group(1)) >= 100 // step
    assert "skipped" not in done.stdout
