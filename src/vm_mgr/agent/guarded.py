"""Find out which images of ours a domain's disks are, by whatever way it names them.

libvirt may not be asked by its own hook, so its definitions of storage pools are read where it keeps them.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from vm_mgr.ports.definition import RbdName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["Guarded", "guarded"]

# Where libvirt keeps its pools: those that run, and those that it has on file.
POOLS = (Path("/run/libvirt/storage"), Path("/etc/libvirt/storage"))
MAPPED = Path("/sys/bus/rbd/devices")
DEVICE = re.compile(r"/dev/rbd([0-9]+)(?:p[0-9]+)?")
OURS = re.compile(r"(?:system|data)_[A-Za-z0-9._-]+")


class Guarded(NamedTuple):
    """images: those of the VMs' pool; doubtful: what is named like one, and can't be identified."""

    images: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


def guarded(env: NodeEnv, xml: str, *, pools: tuple[Path, ...] = POOLS, mapped: Path = MAPPED) -> Guarded:
    """Look at all disks that the domain opens for writing; most domains need no look."""
    if not any(word in xml for word in ("rbd", "system_", "data_", "/dev/")):
        return Guarded()
    images, doubtful = list(env.definitions.rbd_images(xml, env.pool)), []
    for place in env.definitions.unclear_disks(xml, env.pool):
        found = _device(place, mapped) if place.name.startswith("/dev/") else _volume(place, pools)
        name = place.name.rpartition("/")[2].partition("@")[0]
        if found is None and OURS.fullmatch(name):
            doubtful.append("/".join(filter(None, place)))
        elif found and found[0] == env.pool:
            images.append(found[1])
    return Guarded(tuple(images), tuple(doubtful))


def _volume(place: RbdName, folders: tuple[Path, ...]) -> tuple[str, str] | None:
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


def _device(place: RbdName, mapped: Path) -> tuple[str, str] | None:
    """Give pool and image of a device that the kernel's client has mapped; no pool for any other device."""
    number = DEVICE.fullmatch(os.path.realpath(place.name))
    if number is None:
        return "", ""
    folder = mapped / number[1]
    try:
        pool, name = ((folder / file).read_text(encoding="utf-8").strip() for file in ("pool", "name"))
        space = folder / "pool_ns"
        return None if space.exists() and space.read_text(encoding="utf-8").strip() else (pool, name)
    except (OSError, ValueError):
        return None
