"""Hand each contract its adapter: memory and a shared directory here, the real ones inside a node.

The others need Pacemaker, libvirt and Ceph around them, so tests/lab/test_contracts.py copies these very
files to a node of the lab and runs them there with VM_MGR_CONTRACT=real.
"""

import copy
import json
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.adapters.host.processes import HostProcesses
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.adapters.libvirt import commands
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.libvirt.remote import RemoteLibvirt
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.pacemaker import cib_xml
from vm_mgr.adapters.pacemaker.cib_intent_log import CibIntentLog
from vm_mgr.adapters.pacemaker.cib_storage_records import CibStorageRecords
from vm_mgr.adapters.shared_dir.event_log import SharedEventLog
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.adapters.shared_dir.intent_log import SharedIntentLog
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.adapters.shared_dir.port import SharedDirectory
from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet
from vm_mgr.wiring import RealEnv

NAME = "contract1"
OTHER = "contract3"
# Names that can be taken for parts of what belongs to the first.
NEIGHBOURS = ("contract1_0", "contract1-meta", "contract1.a")
REAL = os.environ.get("VM_MGR_CONTRACT") == "real"


# What the storage drbd refuses by name (test_memory_is_refused_by_a_storage_that_keeps_none).
SAVED = (
    "test_saved_memory_is_given_back_once",
    "test_memory_that_is_not_finished_can_not_be_taken",
    "test_new_memory_takes_the_place_of_what_was_saved_before",
    "test_other_memory_than_was_kept_is_refused",
    "test_saving_and_fetching_end_when_the_caller_says_so",
    "test_memory_without_room_is_refused",
    "test_moment_stays_until_a_disk_changes",
    "test_saved_memory_is_no_disk_and_goes_with_its_vm",
    "test_replacement_has_no_saved_memory_that_fits",
)
# A cluster with DRBD alone keeps locks in the CIB (the kind cib), and events nowhere.
NOT_IN_CIB = ("test_intent_log", "test_event_log")
STORAGE = ("test_storage", "test_intent_log", "test_event_log")


def pytest_generate_tests(metafunc):
    if "storage_kind" in metafunc.fixturenames:
        of_storage = metafunc.module.__name__.rpartition(".")[2] in STORAGE
        kinds = ["ceph", "vms"] if REAL else ["memory", "shared_dir", "drbd"]
        kinds = kinds if of_storage else kinds[:1]
        if metafunc.module.__name__.endswith("test_intent_log"):
            kinds.append("cib")
        if metafunc.module.__name__.rpartition(".")[2] in NOT_IN_CIB:
            kinds = [kind for kind in kinds if kind != "drbd"]
        if metafunc.function.__name__ in SAVED:
            kinds = [kind for kind in kinds if kind != "drbd"]
        if "only_ceph" in metafunc.fixturenames:
            kinds = [kind for kind in kinds if kind == "ceph"]
        metafunc.parametrize("storage_kind", kinds)


@pytest.fixture
def env(storage_kind, tmp_path):
    """Give the environment, without the VM of the contract before and after."""
    built = RealEnv() if REAL else MemoryEnv(DomainXml())
    if storage_kind == "vms":
        built.storage = built.storages.get("vms")
        built.intent_log = SharedIntentLog(built.storage.folders.mount)
        built.event_log = SharedEventLog(built.storage.folders.mount)
    if storage_kind == "cib":
        built.intent_log = built.cib_intent_log if REAL else intent_log_in(MemoryCib(), built)
    if storage_kind == "drbd":
        put_on_drbd(built, tmp_path)
    if storage_kind == "shared_dir":
        put_on_directory(built, tmp_path / "vms")
    forget(built)
    yield built
    forget(built)
    if REAL:  # Ceph's client can crash the interpreter's teardown
        built.close()


@pytest.fixture
def real():
    """Tell whether this is a node of a real cluster."""
    return REAL


@pytest.fixture
def memory_cib():
    """Give an empty CIB."""
    return MemoryCib()


class MemoryCib:
    """A CIB that nobody else changes."""

    def __init__(self):
        self.whole = cib_xml.parse_cib("<cib epoch='1'><configuration><crm_config/></configuration></cib>")

    def read(self):
        return copy.deepcopy(self.whole)

    def edit(self, change):
        changed = self.read()
        change(changed)
        self.whole = changed


def intent_log_in(cib, env):
    """Give an intent log of this process, which is the only one of its node."""
    here = HostProcesses(env.clock)
    return CibIntentLog(cib, env.cluster, env.clock, here, lambda _node, _pid, _birth: False)


@pytest.fixture(params=["of this node", "as another node's"])
def hypervisor(env, request):
    """Give libvirt through virsh, and through the connection that is kept to another node's."""
    if request.param == "of this node":
        yield env.hypervisor
    elif not REAL:
        yield env.hypervisor_at("n2")
    else:
        connected = RemoteLibvirt(env.runner, env.state_dir, uri=commands.URI)
        yield connected
        connected.close()


@pytest.fixture
def write_raw(env, storage_kind):
    """Write a key and a value, both bytes, as another tool may have done it."""

    def write(key, value):
        text_key, text = key.decode(errors="surrogateescape"), value.decode(errors="surrogateescape")
        if storage_kind == "memory":
            env.storage.vms[NAME].keys[text_key] = text
        elif storage_kind == "drbd":
            edit = partial(_write_definition, text_key, text)
            env.storage.pool.records.change(edit)
        elif storage_kind == "ceph":
            _write_omap(env.storages.get("ceph"), text_key, value)
        else:
            path = env.storage.folders.mount.root / NAME / "metadata.json"
            whole = json.loads(path.read_text())
            whole["metadata"][text_key] = text
            path.write_text(json.dumps(whole))

    return write


def _write_definition(key, text, kept):
    kept.definitions[NAME][key] = text


def _write_omap(storage, key, value):
    """Write into the header's omap, as cls_rbd keeps it; librbd's own call would end at a NUL."""
    with storage.pool.working("write") as (rbd, ioctx):
        import rados  # noqa: PLC0415

        with rbd.Image(ioctx, f"system_{NAME}", read_only=True) as image:
            header = f"rbd_header.{image.id()}"
        with rados.WriteOpCtx() as operation:
            ioctx.set_omap(operation, (f"metadata_{key}",), (value,))
            ioctx.operate_write_op(operation, header)


@pytest.fixture
def neighbours():
    """Name VMs that the fixture env removes too."""
    return NEIGHBOURS


def put_on_directory(env, root):
    root.mkdir()
    mount = Mount(root)
    mount.initialise()
    env.storage = SharedDirectory(VmFolders(mount, HostRunner(), SystemClock()))
    env.storages = StorageSet({"vms": StorageEntry(lambda: env.storage)})
    env.intent_log = SharedIntentLog(mount)
    env.event_log = SharedEventLog(mount)


def put_on_drbd(env, root):
    from .drbd_world import World  # noqa: PLC0415 - not on a node of the lab

    records = CibStorageRecords(MemoryCib(), "drbd")
    env.world = World(root, records, VirtualClock())
    env.storage = env.world.storage
    env.storages = StorageSet({"drbd": StorageEntry(lambda: env.storage)})


@pytest.fixture
def text_max(storage_kind):
    """Give the longest text that the storage keeps: the cluster's configuration has not much room."""
    return 60_000 if storage_kind == "drbd" else 1_000_000


@pytest.fixture
def only_ceph():
    """Keep a test of what other storages have no counterpart of from them."""


@pytest.fixture
def shares_blocks(storage_kind):
    """Tell whether a clone depends on what it was made from."""
    return storage_kind not in ("shared_dir", "vms", "drbd")


def forget(env):
    for name in (*NEIGHBOURS, OTHER, NAME):
        env.cluster.remove(name)
        env.storage.remove(name)
        env.intent_log.erase(name)
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
