"""Hand each contract its adapter: memory here, the real one inside a node.

The real adapters need Pacemaker, libvirt and Ceph around them, so test_on_a_node.py copies these very files
to a node of the lab and runs them there with VM_MGR_CONTRACT=real.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.wiring import RealEnv

NAME = "contract1"
OTHER = "contract3"
REAL = os.environ.get("VM_MGR_CONTRACT") == "real"


@pytest.fixture
def env():
    """Give the environment, without the VM of the contract before and after."""
    built = RealEnv() if REAL else MemoryEnv(DomainXml())
    forget(built)
    yield built
    forget(built)


def forget(env):
    for name in (OTHER, NAME):
        env.cluster.remove(name)
        env.storage.remove(name)
        env.ledger.erase(name)
    pid = env.processes.find_vm(NAME)
    if pid is not None:
        env.hypervisor.destroy(NAME, timeout_s=10)


@pytest.fixture
def image(tmp_path):
    """Give a small qcow2 file."""
    path = tmp_path / "disk.qcow2"
    if shutil.which("qemu-img"):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    else:
        path.write_bytes(b"QFI\xfb" + bytes(20) + (1 << 20).to_bytes(8, "big") + bytes(8))
    return str(Path(path))
