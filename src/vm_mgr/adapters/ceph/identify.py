"""Tell which images of the pool a domain's disks are, by whatever way they are named: for libvirt's hook.

libvirt may not be asked by its own hook, so its definitions of storage pools are read where it keeps them. It
takes no look at Ceph.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from vm_mgr.adapters.ceph.naming import Place, places
from vm_mgr.model.storage import Identified

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vm_mgr.model.storage import DiskSource

__all__ = ["identified"]

# Where libvirt keeps its pools: those that run, and those that it has on file.
POOLS = (Path("/run/libvirt/storage"), Path("/etc/libvirt/storage"))
MAPPED = Path("/sys/bus/rbd/devices")
NUMBERED = re.compile(r"/dev/rbd([0-9]+)(?:p[0-9]+)?")
OURS = re.compile(r"(?:system|data)_[A-Za-z0-9._-]+")


def identified(
    sources: Iterable[DiskSource], pool: str, *, pools: tuple[Path, ...] = POOLS, mapped: Path = MAPPED
) -> Identified:
    """Look also at what libvirt's pools and the kernel's devices stand for."""
    found = list(places(sources, pool))
    images, doubtful = [one for one in found if isinstance(one, str)], []
    for place in found:
        if isinstance(place, str):
            continue
        image = _device(place, mapped) if place.name.startswith("/dev/") else _volume(place, pools)
        name = place.name.rpartition("/")[2].partition("@")[0]
        if image is None and OURS.fullmatch(name):
            doubtful.append("/".join(filter(None, place)))
        elif image and image[0] == pool:
            images.append(image[1])
    return Identified(tuple(images), tuple(doubtful))


def _volume(place: Place, folders: tuple[Path, ...]) -> tuple[str, str] | None:
    """Give Ceph's pool, none for a pool of files, and the image of a volume; None if unknown."""
    for folder in folders if place.pool and "/" not in place.pool else ():
        with suppress(OSError, ET.ParseError, ValueError):
            text = (folder / f"{place.pool}.xml").read_text(encoding="utf-8")
            root = ET.fromstring(text)  # noqa: S314 - it is libvirt's own file
            pool = root if root.tag == "pool" else root.find("pool")
            if pool is not None:
                name = (pool.findtext("source/name") or "").strip() if pool.get("type") == "rbd" else ""
                return (name, place.name) if "/" not in name else None
    return None


def _device(place: Place, mapped: Path) -> tuple[str, str] | None:
    """Give pool and image of a device that the kernel's client has mapped; no pool for any other device."""
    number = NUMBERED.fullmatch(os.path.realpath(place.name))
    if number is None:
        return "", ""
    folder = mapped / number[1]
    try:
        pool, name = ((folder / file).read_text(encoding="utf-8").strip() for file in ("pool", "name"))
        space = folder / "pool_ns"
        return None if space.exists() and space.read_text(encoding="utf-8").strip() else (pool, name)
    except (OSError, ValueError):
        return None
