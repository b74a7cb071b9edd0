"""What the lab could leave on the host: processes, mounts, namespaces, interfaces, loop devices, groups."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Footprint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """A snapshot of the host; two of them are compared field by field."""

    processes: frozenset[str]
    mounts: frozenset[str]
    network_namespaces: frozenset[str]
    interfaces: frozenset[str]
    loop_devices: frozenset[str]
    control_groups: frozenset[str]

    @classmethod
    def take(cls) -> "Footprint":
        """Look at the host as it is now; this process and its children don't count."""
        return cls(
            processes=frozenset(_processes()),
            mounts=frozenset(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
            network_namespaces=frozenset(_network_namespaces()),
            interfaces=frozenset(path.name for path in Path("/sys/class/net").iterdir()),
            loop_devices=frozenset(
                str(path)
                for path in Path("/sys/block").glob("loop*")
                if (path / "loop" / "backing_file").exists()
            ),
            control_groups=frozenset(str(path) for path in Path("/sys/fs/cgroup").rglob("*vm-mgr*")),
        )

    def left_since(self, before: "Footprint") -> dict[str, set[str]]:
        """Return what is there now and was not before, by kind; empty when nothing is."""
        kinds = ("mounts", "network_namespaces", "interfaces", "loop_devices", "control_groups")
        left = {kind: set(getattr(self, kind) - getattr(before, kind)) for kind in kinds}
        left["processes"] = set(self.processes - before.processes)
        return {kind: things for kind, things in left.items() if things}


def _processes() -> set[str]:
    """Return the processes that could be the lab's: pid and command; no zombies, no kernel threads."""
    found = set()
    ours = _descendants(os.getpid())
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        pid, parent, state, args = line.split(maxsplit=3)
        if state.startswith("Z") or parent == "2" or pid == "2" or int(pid) in ours:
            continue
        if any(word in args for word in LAB_WORDS):
            found.add(f"{pid} {args[:80]}")
    return found


# Names of all programs that run in a node or that the lab starts; a machine's own processes come and go.
LAB_WORDS = (
    "vm_mgr_lab",
    "vm-mgr",
    "nspawn",
    "sleep infinity",
    "corosync",
    "pacemaker",
    "qemu-system",
    "libvirtd",
    "virtlogd",
    "virtlockd",
    "ceph-",
    "ansible",
    "sshd",
    "systemd-journald",
    "dbus-daemon",
    "/sbin/init",
    "fence_ipmilan",
)


def _descendants(top: int) -> set[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.stdout.splitlines())}
    found = {top}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    # and the shells that this process was started from
    while top in parents and parents[top] > 1:
        top = parents[top]
        found.add(top)
    return found


def _network_namespaces() -> set[str]:
    found = set()
    for process in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(str(process.readlink()))
        except OSError:
            continue
    return found
