"""Tell which images of the pool a domain's disks are, as far as they are named as such."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_mgr.model.storage import DiskSource

__all__ = ["Place", "named", "places"]

# What the kernel's client calls an image: /dev/rbd/POOL/[NAMESPACE/]IMAGE[-partN].
DEVICE = "/dev/rbd/"
PARTITION = re.compile(r"-part[0-9]+$")


class Place(NamedTuple):
    """What may be an image, and is not named as one: libvirt's storage pool, if any, and a name or path."""

    pool: str
    name: str


def named(sources: Iterable[DiskSource], pool: str) -> list[str]:
    """Name the images of the pool, without namespace, that are named as such."""
    return [one for one in places(sources, pool) if isinstance(one, str)]


def places(sources: Iterable[DiskSource], pool: str) -> Iterator[str | Place]:
    """Give images, and what may be one; a system disk is one VM's alone, whatever a definition says."""
    for source in sources:
        yield from (one for one in _of(source, pool) if not (source.shareable and _may_share(one)))


def _of(source: DiskSource, pool: str) -> Iterator[str | Place]:
    if source.protocol == "rbd":
        yield from _named(source.name, pool)
    elif source.volume:
        yield Place(source.pool, source.volume)
    elif source.path.startswith(DEVICE):
        name = source.path.removeprefix(DEVICE)
        yield from {whole: None for text in (name, PARTITION.sub("", name)) for whole in _named(text, pool)}
    elif source.path.startswith("/dev/"):
        yield Place("", source.path)


def _named(name: str, pool: str) -> Iterator[str | Place]:
    """Take POOL/IMAGE apart; an image of another pool is none of ours."""
    in_pool, slash, image = name.partition("/")
    if not slash or (in_pool == pool and "/" in image):
        yield Place("", name)
    elif in_pool == pool:
        yield image


def _may_share(one: str | Place) -> bool:
    name = one if isinstance(one, str) else one.name.rpartition("/")[2]
    return not name.startswith("system_")
