"""Keep UEFI variables and TPM with a VM's disks (docs/design/0026).

The storage has them; the node where the VM runs has a copy, which the guest changes. Only that node writes
to the storage: when its copy has changed, and when the VM has ended.
"""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.nvram import NvramPlaces, digest
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.quiesce import node_of
from vm_mgr.ports.env import Env
from vm_mgr.ports.node_runner import NodeVerb
from vm_mgr.ports.storage import Storage

__all__ = [
    "forget_nvram",
    "keep_here",
    "keep_instant",
    "keep_nvram",
    "note_nvram",
    "restore_nvram",
    "settle_nvram",
]


def restore_nvram(env: Env, storage: Storage, name: VmName, xml: str) -> None:
    """Have here what the storage has, before the VM starts; a copy that is newer here goes there first.

    So does one of which the storage never had anything: versions before this left it on the node.
    """
    places = env.definitions.nvram(xml)
    if places == NvramPlaces():
        return
    settle_nvram(env, storage, name)
    kept = storage.definitions.nvram(name)
    if not kept:
        kept = env.nvram_files.read(places)
        if kept:
            storage.definitions.keep_nvram(name, kept)
    env.nvram_files.place(places, kept)
    env.nvram_files.note(name, places, digest(kept), as_of_s=env.clock.utc())


def note_nvram(env: Env, name: VmName) -> None:
    """Begin to keep those of a guest that runs here already; `keep_nvram` is next, or the monitor calls it.

    libvirt says where they are: this has to work while the storage does not answer, too.
    """
    places = env.definitions.nvram(env.hypervisor.running_definition(name))
    if places != NvramPlaces():
        env.nvram_files.note(name, places, "", as_of_s=0.0)


def keep_nvram(env: Env, storage: Storage, name: VmName) -> None:
    """Bring what has changed here to the storage; the VM runs here, or has just ended here."""
    noted = env.nvram_files.kept(name)
    if noted is None:
        return
    as_of_s = env.clock.utc()
    here = env.nvram_files.read(noted.places)
    if here and digest(here) != noted.digest:
        storage.definitions.keep_nvram(name, here)
    env.nvram_files.note(name, noted.places, digest(here) or noted.digest, as_of_s=as_of_s)


def keep_here(env: Env, name: VmName) -> None:
    """Have the storage know what a VM that runs here has now; one that an older version has started, too."""
    if env.processes.find_vm(name) is None:
        message = f"{name} does not run here, so its UEFI variables are elsewhere"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=f"look: vm-mgr status {name}")
    if env.nvram_files.kept(name) is None:
        note_nvram(env, name)
    keep_nvram(env, env.storage, name)


def settle_nvram(env: Env, storage: Storage, name: VmName) -> None:
    """After the VM's end here: keep what has changed, then have no copy here.

    Where the storage has another state than this node last knew, the VM has run elsewhere since: that counts.
    """
    noted = env.nvram_files.kept(name)
    if noted is None:
        return
    if digest(storage.definitions.nvram(name)) == noted.digest:
        keep_nvram(env, storage, name)
    forget_nvram(env, name)


def forget_nvram(env: Env, name: VmName) -> None:
    """Have no copy here: the VM has left, or the storage has all of it."""
    noted = env.nvram_files.kept(name)
    if noted is not None:
        env.nvram_files.place(noted.places, b"")
        env.nvram_files.forget(name)


def keep_instant(env: Env, name: VmName) -> None:
    """Have the storage know it as it is now: the guest is held for a snapshot of its disks."""
    node = node_of(env, name)
    if node is None or env.definitions.nvram(env.storage.definitions.read(name)) == NvramPlaces():
        return
    if node == env.cluster.local_node():
        keep_here(env, name)
        return
    told = env.node_runner.run(node, NodeVerb.KEEP_NVRAM, name)
    if told != "kept":
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{node} does not keep the UEFI variables of {name}: {told}")
