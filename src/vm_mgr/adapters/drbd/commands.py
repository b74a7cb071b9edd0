"""Build the argv of LVM, DRBD and qemu-img."""

from __future__ import annotations

import json

from vm_mgr.adapters.drbd.record import resource_name

__all__ = [
    "adjust",
    "compare",
    "convert",
    "convert_part",
    "create_md",
    "down",
    "end_timer",
    "extend",
    "fresh",
    "grow",
    "lv_create",
    "lv_remove",
    "lv_rename",
    "lv_size",
    "lv_snapshot",
    "lvs",
    "pool_size",
    "primary",
    "resume_io",
    "secondary",
    "start_timer",
    "suspend_io",
]

# DRBD's internal metadata behind the data: a bit for 4 KiB, an activity log, a superblock.
_BITMAP = 32768
_FIXED = 1 << 20
_EXTENT = 4 << 20
# A copy ends with its caller: nobody could undo a creation into which a forgotten copy still writes.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")
_SPEED = ("-W", "-m", "16", "-t", "none")


def lv_size(size_bytes: int) -> int:
    """Give the size of the logical volume for a disk of this size, with DRBD's metadata in it.

    >>> lv_size(1 << 20) >> 20, lv_size(10 << 30) >> 20
    (4, 10244)
    """
    whole = size_bytes + -(-size_bytes // _BITMAP) + _FIXED
    return -(-whole // _EXTENT) * _EXTENT


def lvs(group: str) -> tuple[str, ...]:
    """List the logical volumes of a group: name, size, pool, origin."""
    shape = ("--noheadings", "--nosuffix", "--units", "b", "--separator", "|")
    return ("lvs", *shape, "-o", "lv_name,lv_size,data_percent", group)


def pool_size(group: str, pool: str) -> tuple[str, ...]:
    """Ask how large the thin pool is, and how full."""
    shape = ("--noheadings", "--nosuffix", "--units", "b", "--separator", "|")
    return ("lvs", *shape, "-o", "lv_size,data_percent", f"{group}/{pool}")


def lv_create(group: str, pool: str, volume: str, size_bytes: int) -> tuple[str, ...]:
    """Make a thin volume, which reads as zeros; DRBD writes its metadata, so old signatures don't matter."""
    size = ("--virtualsize", f"{lv_size(size_bytes)}b", "--wipesignatures", "n", "--yes")
    return ("lvcreate", "--quiet", "--thin", *size, "--name", volume, f"{group}/{pool}")


def lv_snapshot(group: str, source: str, volume: str) -> tuple[str, ...]:
    """Make a thin copy of a volume, which is active like any other."""
    skip = ("--setactivationskip", "n")
    return ("lvcreate", "--quiet", "--snapshot", *skip, "--name", volume, f"{group}/{source}")


def lv_remove(group: str, volume: str) -> tuple[str, ...]:
    """Delete a volume."""
    return ("lvremove", "--quiet", "--yes", f"{group}/{volume}")


def lv_rename(group: str, volume: str, new: str) -> tuple[str, ...]:
    """Give a volume another name."""
    return ("lvrename", "--quiet", group, volume, new)


def extend(group: str, volume: str, size_bytes: int) -> tuple[str, ...]:
    """Make a volume larger."""
    return ("lvextend", "--quiet", "--size", f"{lv_size(size_bytes)}b", f"{group}/{volume}")


def create_md(port: int, number: int) -> tuple[str, ...]:
    """Write new metadata; the volume is Inconsistent then, and knows of no earlier data."""
    return ("drbdadm", "create-md", "--force", f"{resource_name(port)}/{number}")


def adjust(port: int) -> tuple[str, ...]:
    """Bring a resource to what its file says, also one that is down."""
    return ("drbdadm", "adjust", resource_name(port))


def down(port: int) -> tuple[str, ...]:
    """Take a resource down; one that is down is fine."""
    return ("drbdadm", "down", resource_name(port))


def fresh(port: int, number: int) -> tuple[str, ...]:
    """Say, on one node, that both sides of a connected, new volume are the same: no initial sync."""
    return ("drbdadm", "new-current-uuid", "--clear-bitmap", f"{resource_name(port)}/{number}")


def primary(port: int) -> tuple[str, ...]:
    """Let this node write."""
    return ("drbdadm", "primary", resource_name(port))


def secondary(port: int) -> tuple[str, ...]:
    """Let this node write no more; refused while somebody has a device open."""
    return ("drbdadm", "secondary", resource_name(port))


def suspend_io(port: int) -> tuple[str, ...]:
    """Hold all writes."""
    return ("drbdadm", "suspend-io", resource_name(port))


def resume_io(port: int) -> tuple[str, ...]:
    """Let writes go on."""
    return ("drbdadm", "resume-io", resource_name(port))


def grow(port: int, number: int) -> tuple[str, ...]:
    """Take a volume's new size; what is new of it reads as zeros on both sides, so it is not synchronised."""
    return ("drbdadm", "resize", "--assume-clean", f"{resource_name(port)}/{number}")


def start_timer(port: int, after_s: float) -> tuple[str, ...]:
    """Have writes go on later, whatever becomes of the command that holds them."""
    unit = ("--quiet", "--collect", f"--unit={resource_name(port)}-resume")
    when = (f"--on-active={after_s:.0f}s", "--timer-property=AccuracySec=100ms")
    return ("systemd-run", *unit, *when, *resume_io(port))


def end_timer(port: int) -> tuple[str, ...]:
    """Forget that."""
    return ("systemctl", "stop", f"{resource_name(port)}-resume.timer")


def convert(source: str, source_format: str, target: str) -> tuple[str, ...]:
    """Copy an image into a new device: it reads as zeros, so holes stay holes."""
    formats = ("-f", source_format, "-O", "raw")
    return (*_TIED, "qemu-img", "convert", "-p", "-n", "--target-is-zero", *_SPEED, *formats, source, target)


def convert_part(source: str, size_bytes: int, target: str) -> tuple[str, ...]:
    """Copy the beginning of a logical volume, behind which DRBD has its metadata."""
    inner = {"driver": "host_device", "filename": source}
    options = {"driver": "raw", "offset": 0, "size": size_bytes, "file": inner}
    return convert(f"json:{json.dumps(options)}", "raw", target)


def compare(source: str, source_format: str, target: str) -> tuple[str, ...]:
    """Read both and compare; exit status 1 says that they differ."""
    return (*_TIED, "qemu-img", "compare", "-p", "-f", source_format, "-F", "raw", source, target)
