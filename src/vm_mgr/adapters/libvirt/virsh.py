"""Judge what virsh says, and know how long its calls may take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, ProgramError, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_mgr.ports.runner import Completed

__all__ = ["CONNECT_S", "DEVICE_S", "FREEZE_S", "MONITOR_S", "SHORT_S", "check", "failed"]

SHORT_S = 5.0
# The first call to another node's libvirt makes the connection, by ssh.
CONNECT_S = 20.0
FREEZE_S = 15.0
# libvirt itself waits 5 s, on some machines 10, for a guest to let a device go.
DEVICE_S = 30.0
# Deleting a snapshot touches every reference count of an image.
MONITOR_S = 3600.0
# What libvirt puts below a line of XML to point into it, and empty lines.
MARKER = re.compile(r"\s*-*\^?\s*")
ITS_LOG = (
    "see what libvirt did, on the VM's node: systemctl status libvirtd virtqemud; "
    "journalctl -u libvirtd -u virtqemud"
)
# What stands before a cause in libvirt's words (qemuProcessReportLogError) and QEMU's own: all up to QEMU's
# time, where it writes one.
_LEAD = re.compile(
    r"^(?:.*?[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z |"
    r"(?:internal error: )?(?:(?:process exited while connecting to monitor|"
    r"QEMU unexpectedly closed the monitor(?: \(vm='[^']*'\))?): ?)?)"
    r"(?:qemu-(?:kvm|system-[a-z0-9_]+): )?"
)
_WARNING = re.compile(r"qemu-system-[a-z0-9_]+: warning: ")
HINTS = {
    "Lockspace resource": "the VM runs on another node, or a lock service has kept its lease: "
    "vm-mgr list; where it does not run: systemctl restart virtlockd on its last node",
    "No more available PCI slots": "use --disk-bus scsi; or stop the VM and add <controller type='pci' "
    "model='pcie-root-port'/> for each further disk: vm-mgr edit NAME",
    # These come from the guest's agent (g_spawn of GLib, qmp-dispatch.c of QEMU): libvirt's log has no more.
    "Failed to execute child process": "name a program that the guest has; a shell's words: sh -c '…'",
    "guest-exec has been disabled": "allow guest-exec in the guest's configuration of qemu-ga, and restart "
    "its agent",
    "no screens to take screenshot from": "add <graphics type='vnc'/> and <video/> to it: vm-mgr edit NAME; "
    "the text console: vm-mgr console NAME",
}


def check(completed: Completed) -> None:
    """Raise EXTERNAL_FAILURE with libvirt's own words where virsh has failed."""
    if completed.exit_code == 0:
        return
    lines = [
        line.strip().removeprefix("error: ")
        for line in completed.stderr.splitlines()
        if not MARKER.fullmatch(line)
    ]
    # Pacemaker cuts an agent's reason short: what virsh says before libvirt's own words is left out.
    failure = failed(lines[1:] or lines)
    raise failure from ProgramError(completed.argv, completed.exit_code, completed.stderr)


def failed(lines: Sequence[str]) -> VmMgrError:
    """Give the failure in libvirt's own words, with what helps. Nothing but the hint goes by the words.

    >>> failed(["Cannot open log file: 'y': busy"]).message
    "libvirt: Cannot open log file: 'y': busy"
    """
    told = [_cause(line) for line in lines if not _WARNING.search(line)]
    reason = " / ".join(filter(None, told)) or "it failed and said nothing"
    hint = next((hint for words, hint in HINTS.items() if words in reason), ITS_LOG)
    return VmMgrError(Kind.EXTERNAL_FAILURE, f"libvirt: {reason}", hint=hint)


def _cause(line: str) -> str:
    """Leave out what libvirt and QEMU say before the cause: who has it, and when.

    >>> _cause("internal error: process exited while connecting to monitor: 2026-11-28T17:55:29.388140Z "
    ...        "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory")
    "cannot set up guest memory 'pc.ram': Cannot allocate memory"
    >>> _cause("internal error: QEMU unexpectedly closed the monitor (vm='web1')")
    "QEMU unexpectedly closed the monitor (vm='web1')"
    """
    return _LEAD.sub("", line) or line
