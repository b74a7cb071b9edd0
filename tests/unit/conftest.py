"""A cluster in memory and an image to import."""

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv

DOMAIN = "<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os><devices/></domain>"


@pytest.fixture
def env():
    return MemoryEnv(DomainXml())


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(20) + (1 << 20).to_bytes(8, "big"))
    return str(path)
