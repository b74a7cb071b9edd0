"""Refuse, as libvirt's hook, to start a domain whose disks in Ceph somebody else has open.

For files in a shared directory libvirt's own lock manager does this (deploy/roles/shared_dir).

libvirt calls /etc/libvirt/hooks/qemu with NAME OPERATION SUB-OPERATION - and the domain's XML on stdin,
and refuses the start when the hook fails (https://libvirt.org/hooks.html). A hook must not call libvirt: that
would deadlock.
"""

import os
import re
import sys
from pathlib import Path

from vm_mgr.config import CEPH
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, name_problems
from vm_mgr.operations.interlock import holder_node
from vm_mgr.wiring import RealEnv

__all__ = ["main"]

# On the target of a live migration libvirt calls `migrate begin` and then `prepare begin`, moments apart.
INCOMING_S = 15.0
# How long Ceph may take to say who has the disks open.
CEPH_S = 30.0


def main(env: RealEnv, arguments: list[str], xml: str) -> int:
    """Give the hook's exit status; one line on stderr says why a start is refused."""
    name, operation, sub_operation = (*arguments, "", "", "")[:3]
    try:
        if (operation, sub_operation) == ("migrate", "begin"):
            _announce(env, name)
        elif (operation, sub_operation) == ("prepare", "begin") and not _announced(env, name):
            _refuse_saved(env, xml)
            _refuse_held(env, name, xml)
    except (VmMgrError, OSError) as error:
        print(f"vm-mgr: {error}", file=sys.stderr)
        return 1
    return 0


def _refuse_held(env: RealEnv, name: str, xml: str) -> None:
    if "rbd" not in xml:
        return  # the cheap look: most of the time nothing else has to be loaded
    images = env.definitions.rbd_images(xml, env.pool)
    for holder in env.storages.called(CEPH).holders(images) if images else ():
        node = holder_node(env, holder) or "an unknown machine"
        message = f"refusing to start {name}: its disk {holder.image} is in use on {node} ({holder.address})"
        raise VmMgrError(Kind.WRONG_STATE, message)


def _refuse_saved(env: RealEnv, xml: str) -> None:
    """Refuse a boot next to saved memory, which would no longer fit; the agent has taken it by now."""
    for label, name in _vms_in(env, xml):
        state = env.storages.called(label).saved_state(name)
        if state is not None and state.waits:
            ways = f"vm-mgr start {name}, or give it up: vm-mgr stop --force {name}"
            message = f"refusing to boot from disks of {name}: its memory is saved; let it go on: {ways}"
            raise VmMgrError(Kind.WRONG_STATE, message)


def _vms_in(env: RealEnv, xml: str) -> set[tuple[str, VmName]]:
    """Name the storages and the VMs whose disks a domain of any name has."""
    found = set()
    for label, one in env.storage_settings.directories.items():
        folder = re.escape(one.path.rstrip("/"))
        found |= {(label, VmName(name)) for name in re.findall(rf"{folder}/([A-Za-z0-9._-]+)/", xml)}
    images = env.definitions.rbd_images(xml, env.pool) if "rbd" in xml and env.storage_settings.ceph else []
    for image in images:
        kind, _, rest = image.partition("_")
        name = rest if kind == "system" else rest.rpartition("_")[0]
        if kind in ("system", "data") and not name_problems(name):
            found.add((CEPH, VmName(name)))
    return {(label, name) for label, name in found if not name_problems(name)}


def _announce(env: RealEnv, name: str) -> None:
    marker = _marker(env, name)
    marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker.touch()
    now = env.clock.monotonic()  # the wall clock may be set meanwhile
    os.utime(marker, (now, now))


def _announced(env: RealEnv, name: str) -> bool:
    """Take the announcement of an incoming migration; each is good for one start."""
    marker = _marker(env, name)
    try:
        age_s = env.clock.monotonic() - marker.stat().st_mtime
        marker.unlink()
    except FileNotFoundError:
        return False
    return 0 <= age_s < INCOMING_S


def _marker(env: RealEnv, name: str) -> Path:
    # ".." is in no name of a VM, so this can't be the file NAME.xml of another one.
    return env.state_dir / f"incoming..{name.replace('/', '..')}"


if __name__ == "__main__":
    sys.exit(main(RealEnv(storage_patience_s=CEPH_S), sys.argv[1:], sys.stdin.read()))
