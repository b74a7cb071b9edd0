"""A cluster in memory and an image to import."""

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.model.event import Event, EventKind

DOMAIN = "<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os><devices/></domain>"


@pytest.fixture
def env():
    return MemoryEnv(DomainXml())


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(20) + (1 << 20).to_bytes(8, "big"))
    return str(path)


def have_aborts_told(env):
    """Have the agent's event say why it has ended a migration, as it does on a node."""

    def tell(name, node, text, why):
        detail = f"migrate_to: {text.partition(': ')[2]}"
        env.event_log.append([Event(env.clock.utc(), EventKind.FAILED, name, node, detail, why=why)])

    env.cluster.tell_abort = tell
