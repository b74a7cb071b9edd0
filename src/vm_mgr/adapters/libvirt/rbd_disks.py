"""Tell which images of Ceph a domain opens for writing, by each way that libvirt has to name one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from vm_mgr.ports.definition import RbdName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

__all__ = ["RbdDisks", "rbd_disks"]

# What the kernel's client calls an image: /dev/rbd/POOL/[NAMESPACE/]IMAGE[-partN].
DEVICE = "/dev/rbd/"
PARTITION = re.compile(r"-part[0-9]+$")
ARGUMENT = "{http://libvirt.org/schemas/domain/qemu/1.0}arg"
IN_ARGUMENT = re.compile(r"(?:system|data)_[A-Za-z0-9._-]+")


class RbdDisks(NamedTuple):
    """images: those of the pool, without namespace; unclear: what may be one, and is not named as such."""

    images: tuple[str, ...]
    unclear: tuple[RbdName, ...]


def rbd_disks(root: etree._Element, pool: str) -> RbdDisks:
    """Look at all disks, and at what is handed to QEMU as it is.

    A VM's system disk is one VM's alone, whatever another definition calls it.
    """
    found: list[str | RbdName] = []
    for disk in root.iterfind("devices/disk"):
        if disk.find("readonly") is None:
            shared = disk.find("shareable") is not None
            found += [one for one in _of_disk(disk, pool) if not (shared and _may_share(one))]
    for argument in root.iter(ARGUMENT):
        text = str(argument.get("value", ""))
        found += [RbdName("", name) for name in IN_ARGUMENT.findall(text) if "rbd" in text]
    images = tuple(one for one in found if isinstance(one, str))
    return RbdDisks(images, tuple(one for one in found if isinstance(one, RbdName)))


def _of_disk(disk: etree._Element, pool: str) -> Iterator[str | RbdName]:
    for source in disk.iterfind("source"):
        path = str(source.get("dev") or source.get("file") or "")
        if source.get("protocol") == "rbd":
            yield from _named(str(source.get("name", "")), pool)
        elif source.get("volume"):
            yield RbdName(str(source.get("pool", "")), str(source.get("volume")))
        elif path.startswith(DEVICE):
            name = path.removeprefix(DEVICE)
            yield from {
                whole: None for text in (name, PARTITION.sub("", name)) for whole in _named(text, pool)
            }
        elif path.startswith("/dev/"):
            yield RbdName("", path)


def _named(name: str, pool: str) -> Iterator[str | RbdName]:
    """Take POOL/IMAGE apart; an image of another pool is none of ours."""
    in_pool, slash, image = name.partition("/")
    if not slash or (in_pool == pool and "/" in image):
        yield RbdName("", name)
    elif in_pool == pool:
        yield image


def _may_share(one: str | RbdName) -> bool:
    name = one if isinstance(one, str) else one.name.rpartition("/")[2]
    return not name.startswith("system_")
