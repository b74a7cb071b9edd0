"""Refuse, as libvirt's hook, to start a domain whose disks in Ceph somebody else has open.

So are disks that an operation has left between two states, and those of a VM whose memory is saved. Files in
a shared directory are locked by libvirt's own lock manager (deploy/roles/shared_dir).

libvirt calls /etc/libvirt/hooks/qemu with NAME OPERATION SUB-OPERATION - and the domain's XML on stdin,
and refuses the start when the hook fails (https://libvirt.org/hooks.html). A hook must not call libvirt: that
would deadlock.
"""

import os
import re
from collections.abc import Collection, Sequence

from vm_mgr.agent import state_files
from vm_mgr.config import CEPH
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Identified, disk_owner
from vm_mgr.model.vm import VmName, name_problems
from vm_mgr.operations.lifecycle.unfinished import require_whole
from vm_mgr.operations.storage.disk_interlock import held, wait_free
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["CEPH_S", "check_start"]

# On the target of a live migration libvirt calls `migrate begin` and then `prepare begin`, moments apart.
INCOMING_S = 15.0
# How long Ceph may take to say who has the disks open.
CEPH_S = 30.0
# No disk can be one of Ceph's without one of these words.
LOOKED_FOR = ("rbd", "system_", "data_", "/dev/")


def check_start(env: NodeEnv, arguments: Sequence[str], xml: str) -> None:
    """Take libvirt's words to its hook; raises why a start is refused."""
    name, operation, sub_operation = (*arguments, "", "", "")[:3]
    if (operation, sub_operation) == ("migrate", "begin"):
        _announce(env, name)
    elif (operation, sub_operation) == ("prepare", "begin") and not _announced(env, name):
        found = _identified(env, xml) if env.storage_settings.ceph else Identified()
        vms = _vms_in(env, xml, found)
        _refuse_saved(env, vms)
        _refuse_unfinished(env, vms)
        _refuse_held(env, name, found)


def _identified(env: NodeEnv, xml: str) -> Identified:
    """Look at all disks that the domain opens for writing; most domains need no look."""
    if not any(word in xml for word in LOOKED_FOR):
        return Identified()
    return env.storages.identified(CEPH, env.definitions.opened(xml))


def _refuse_held(env: NodeEnv, name: str, found: Identified) -> None:
    """Refuse by the rule of the agent's own start; who watches is not waited for."""
    for disk in found.doubtful:
        message = f"refusing to start {name}: its disk {disk} may be one of vm-mgr's, and can't be identified"
        raise VmMgrError(Kind.WRONG_STATE, message)
    if found.images:
        storage = env.storages.get(CEPH)
        holder = wait_free(env, storage, VmName(name), found.images, patience_s=0, limit_s=CEPH_S)
        if holder is not None:
            raise held(env, name, holder, "not started")


def _refuse_unfinished(env: NodeEnv, vms: Collection[tuple[str, VmName]]) -> None:
    """Refuse disks that an operation has left between two states: virsh knows nothing of it."""
    settings = env.storage_settings
    home = CEPH if settings.ceph else settings.default
    for label, name in vms:
        require_whole(env, env.storages.get(label), name, foreign_intent_log=label != home, limit_s=0)


def _refuse_saved(env: NodeEnv, vms: Collection[tuple[str, VmName]]) -> None:
    """Refuse a boot next to saved memory, which would no longer fit; the agent has taken it by now."""
    for label, name in vms:
        state = env.storages.get(label).saved_memory.of(name)
        if state is not None and state.resumable:
            ways = f"vm-mgr start {name}, or give it up: vm-mgr stop --force {name}"
            message = f"refusing to boot from disks of {name}: its memory is saved; resume it: {ways}"
            raise VmMgrError(Kind.WRONG_STATE, message)


def _vms_in(env: NodeEnv, xml: str, identified: Identified) -> set[tuple[str, VmName]]:
    """Name the storages and the VMs whose disks a domain of any name has."""
    found = set()
    for label, one in env.storage_settings.directories.items():
        folder = re.escape(one.path.rstrip("/"))
        found |= {(label, VmName(name)) for name in re.findall(rf"{folder}/([A-Za-z0-9._-]+)/", xml)}
    for image in identified.images:
        owner = disk_owner(image)
        if owner is not None:
            found.add((CEPH, owner))
    return {(label, name) for label, name in found if not name_problems(name)}


def _announce(env: NodeEnv, name: str) -> None:
    state_files.write(env, "incoming", VmName(name), "\n")
    now = env.clock.monotonic()  # the wall clock may be set meanwhile
    os.utime(state_files.path(env, "incoming", VmName(name)), (now, now))


def _announced(env: NodeEnv, name: str) -> bool:
    """Take the announcement of an incoming migration; each is good for one start."""
    marker = state_files.path(env, "incoming", VmName(name))
    try:
        age_s = env.clock.monotonic() - marker.stat().st_mtime
        marker.unlink()
    except FileNotFoundError:
        return False
    return 0 <= age_s < INCOMING_S
