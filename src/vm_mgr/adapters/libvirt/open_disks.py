"""Meet the open disks port: ask the QEMU that has the files open, through libvirt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vm_mgr.adapters.libvirt.port import LocalLibvirt
    from vm_mgr.model.vm import VmName

__all__ = ["QemuDisks"]

STATE_S = 10.0


class QemuDisks:
    """Internal snapshots in open qcow2 files, by QMP (QEMU's qapi/block-core.json, the same in 7.2 and 10.0).

    libvirt has no call of its own for them: `snapshot-create-as` makes internal snapshots only together with
    the guest's memory, and with --disk-only external ones, which would become the VM's disks. So the commands
    go through `virsh qemu-monitor-command`; libvirt notes that in its log and as the domain's taint
    "custom-monitor", which changes nothing else. at: gives the libvirt of the node where a VM runs.
    """

    def __init__(self, at: Callable[[VmName], LocalLibvirt]) -> None:
        self.at = at

    def take_snapshot(self, name: VmName, files: Sequence[str], snapshot: str) -> None:
        """Take it on all files in one transaction, which undoes what it has begun when one of them fails."""
        virsh = self._running(name)
        nodes = _nodes(virsh, name, files)
        actions = [
            {
                "type": "blockdev-snapshot-internal-sync",
                "data": {"device": nodes[path], "name": snapshot},
            }
            for path in files
        ]
        _execute(virsh, name, "transaction", {"actions": actions})

    def drop_snapshot(self, name: VmName, files: Sequence[str], snapshot: str) -> None:
        """Delete it from file after file, which no transaction can; the caller repeats it where it failed."""
        virsh = self._running(name)
        nodes = _nodes(virsh, name, files)
        for path in files:
            arguments = {"device": nodes[path], "name": snapshot}
            _execute(virsh, name, "blockdev-snapshot-delete-internal-sync", arguments)

    def _running(self, name: VmName) -> LocalLibvirt:
        virsh = self.at(name)
        state = virsh.domain_state(name, timeout_s=STATE_S)
        if state not in ("running", "paused"):
            raise VmMgrError(Kind.WRONG_STATE, f"{name} is {state}", hint=f"look: vm-mgr status {name}")
        return virsh


def _nodes(virsh: LocalLibvirt, name: VmName, files: Sequence[str]) -> dict[str, str]:
    """Find the root block node of each file, as what the guest's device sits on."""
    found = {}
    for device in _execute(virsh, name, "query-block", {}):
        medium = device.get("inserted") or {}
        if medium.get("drv") == "qcow2" and medium.get("node-name"):
            found[str(medium.get("file"))] = str(medium["node-name"])
    missing = [path for path in files if path not in found]
    if missing:
        message = f"the running {name} does not have {', '.join(missing)} as a qcow2 disk"
        raise VmMgrError(Kind.NOT_FOUND, message, hint=f"see what it has: virsh domblklist {name}")
    return found


def _execute(virsh: LocalLibvirt, name: VmName, command: str, arguments: dict[str, Any]) -> Any:
    """Give what QEMU returns; it answers errors in JSON, while virsh succeeds."""
    request = {"execute": command, **({"arguments": arguments} if arguments else {})}
    raw = virsh.monitor(name, json.dumps(request))
    try:
        answer = json.loads(raw)
        if "error" in answer:
            message = f"QEMU refused {command} for {name}: {answer['error'].get('desc')}"
            raise VmMgrError(
                Kind.EXTERNAL_FAILURE, message, hint="look at the VM's log in libvirt's log folder"
            )
        return answer["return"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"can't read what QEMU answered to {command} for {name}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"look: virsh domstate {name}") from error
