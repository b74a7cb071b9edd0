"""Say where the disks are that a domain opens for writing, by each way that libvirt has to name one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vm_mgr.model.storage import DiskSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

__all__ = ["opened"]

ARGUMENT = "{http://libvirt.org/schemas/domain/qemu/1.0}arg"
# A VM's disk, as it is named in every storage; QEMU's arguments have no other mark that tells one.
IN_ARGUMENT = re.compile(r"(?:system|data)_[A-Za-z0-9._-]+")


def opened(root: etree._Element) -> Iterator[DiskSource]:
    """Look at all disks, and at what is handed to QEMU as it is."""
    for disk in root.iterfind("devices/disk"):
        if disk.find("readonly") is None:
            shareable = disk.find("shareable") is not None
            for source in disk.iterfind("source"):
                yield DiskSource(
                    protocol=str(source.get("protocol", "")),
                    name=str(source.get("name", "")),
                    pool=str(source.get("pool", "")),
                    volume=str(source.get("volume", "")),
                    path=str(source.get("dev") or source.get("file") or ""),
                    shareable=shareable,
                )
    for argument in root.iter(ARGUMENT):
        text = str(argument.get("value", ""))
        if "rbd" in text:
            yield from (DiskSource(volume=name) for name in IN_ARGUMENT.findall(text))
