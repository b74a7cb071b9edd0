"""Describe disks, their snapshots and who holds them."""

import json
from enum import Enum
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, name_problems

__all__ = [
    "CEPH_SECRET",
    "GIVEN_UP_S",
    "Consistency",
    "Disk",
    "DiskClient",
    "DiskInfo",
    "DiskKind",
    "DiskSource",
    "DiskTies",
    "Identified",
    "ImageFile",
    "ImagePart",
    "NetworkAccess",
    "Snapshot",
    "disk_image",
    "disk_owner",
    "no_such_disk",
    "snapshot_name_problems",
]

SNAPSHOT_NAME_MAX = 64
# A living client that lost its watch, as with the storage daemon that knew it, watches anew within moments.
GIVEN_UP_S = 5.0


class ImagePart(NamedTuple):
    """An image in a package: its name there, and which bytes of the package it is.

    Without a package it is an empty disk of that size.
    """

    name: str
    size_bytes: int
    package: str = ""
    offset: int = 0

    @property
    def options(self) -> dict[str, object]:
        """Name it as QEMU's block layer wants it: in whole sectors, which a tar fills too."""
        size = -(-self.size_bytes // 512) * 512
        inner = {"driver": "file", "filename": self.package}
        return {"driver": "raw", "offset": self.offset, "size": size, "file": inner}


class ImageFile(NamedTuple):
    """A disk image to import, as qemu-img sees it; size as the guest sees it.

    format: empty for an empty disk, of which there is nothing to copy. losses: what an import leaves behind.
    """

    path: str
    format: str
    size_bytes: int
    losses: tuple[str, ...] = ()
    part: ImagePart | None = None

    @property
    def source(self) -> str:
        """Name it as qemu-img wants it, beside its format.

        >>> ImageFile("/a.qcow2", "qcow2", 512).source
        '/a.qcow2'
        """
        if self.part is None:
            return self.path
        return f"json:{json.dumps({'file': self.part.options})}"


class DiskInfo(NamedTuple):
    """A VM's disk in its storage; sizes in bytes, parent is what an instant clone still depends on."""

    image: str
    size_bytes: int
    used_bytes: int | None = None
    parent: str = ""


class DiskTies(NamedTuple):
    """What would be lost with a disk: the snapshots that have it, and the images that share its blocks."""

    snapshots: tuple[str, ...] = ()
    clones: tuple[str, ...] = ()


class Consistency(Enum):
    """What a snapshot caught, in the order of trust."""

    OFFLINE = "offline"  # the VM was stopped
    FROZEN = "frozen"  # the guest's file systems were frozen by its agent
    CRASH = "crash"  # one instant of a running guest, as after a power cut
    UNKNOWN = "unknown"  # taken by another tool


class Snapshot(NamedTuple):
    """A state of all of a VM's disks at one instant; taken_utc in seconds since 1970."""

    name: str
    taken_utc: float
    consistency: Consistency = Consistency.UNKNOWN


class DiskKind(Enum):
    """How a hypervisor reaches a disk; the values are libvirt's words."""

    NETWORK = "network"
    FILE = "file"  # by the same path on every node
    BLOCK = "block"  # a device, by the same path on every node that has it


# The usage of the secret with which libvirt reaches Ceph, on every node (deploy/roles/libvirt).
CEPH_SECRET = "client.libvirt secret"  # noqa: S105 - its name


class NetworkAccess(NamedTuple):
    """How QEMU reaches a network disk, in libvirt's words: as which user, and the name of its secret."""

    protocol: str
    user: str
    secret_type: str
    secret_usage: str


class Disk(NamedTuple):
    """A disk as a domain definition needs it; access matters to network disks only.

    The source is a pool and an image, or a file's absolute path; an empty io leaves the choice to QEMU, an
    empty bus to the definition.
    """

    source: str
    kind: DiskKind
    format: str
    bus: str
    cache: str
    io: str = ""
    access: NetworkAccess | None = None


class DiskSource(NamedTuple):
    """Where a domain has a disk that it opens for writing, in libvirt's words.

    name: of a network disk. volume: of libvirt's storage pool, or what QEMU's own arguments name.
    path: of a file or a device.
    """

    protocol: str = ""
    name: str = ""
    pool: str = ""
    volume: str = ""
    path: str = ""
    shareable: bool = False


class Identified(NamedTuple):
    """images: those of a storage; doubtful: what is named like one, and can't be identified."""

    images: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


class DiskClient(NamedTuple):
    """A storage client that has a disk open or locked; the address tells its node.

    watching is False for a client that the storage gave up: of it only a lock is left, which nobody broke.
    watch: the number by which a client knows its watch, 0 where it is not told. For librbd that is where an
    object is in the memory of its process.
    """

    image: str
    address: str
    client: str = ""
    cookie: str = ""
    watching: bool = True
    watch: int = 0

    @property
    def host(self) -> str:
        """Give the IP address without port and nonce.

        >>> DiskClient("system_a", "198.51.100.11:0/42").host
        '198.51.100.11'
        >>> DiskClient("system_a", "[fd00::1]:0/42").host
        'fd00::1'
        """
        return self.address.rpartition(":")[0].strip("[]")


def disk_image(name: VmName, number: int) -> str:
    """Name a VM's disk, as it is named in every storage: 0 is the system disk.

    >>> disk_image(VmName("web1"), 0), disk_image(VmName("web1"), 1)
    ('system_web1', 'data_web1_0')
    """
    return f"data_{name}_{number - 1}" if number else f"system_{name}"


def disk_owner(image: str) -> VmName | None:
    """Tell which VM a disk of this name belongs to; None where it is no disk's name.

    A name can have underscores too: the number is what follows the last one.

    >>> disk_owner("system_web1"), disk_owner("data_web_1_0"), disk_owner("vm-mgr-new_0_web1")
    ('web1', 'web_1', None)
    """
    kind, _, rest = image.partition("_")
    name = {"system": rest, "data": rest.rpartition("_")[0]}.get(kind, "")
    return None if name_problems(name) else VmName(name)


def no_such_disk(name: VmName, number: int, count: int) -> VmMgrError:
    """Say which disks a VM has, of which this is none.

    >>> [no_such_disk(VmName("web1"), 7, count).hint for count in (1, 2, 3)]
    ['it has disk 0 only', 'it has disks 0 and 1', 'it has disks 0 to 2']
    """
    last = count - 1
    hint = f"it has disks 0 {'to' if last > 1 else 'and'} {last}" if last else "it has disk 0 only"
    return VmMgrError(Kind.NOT_FOUND, f"{name} has no disk {number}", hint=hint)


def snapshot_name_problems(name: str) -> list[VmMgrError]:
    """Check a name for a new snapshot: letters, digits, dot, dash and underscore, at most 64.

    What begins with vm-mgr- is for our own, of which the one for a clone is longer than any other.

    >>> snapshot_name_problems("before-update_1.0")
    []
    >>> [p.message for p in snapshot_name_problems("a b")]
    ["'a b' is not a valid name for a snapshot"]
    >>> len(snapshot_name_problems("vm-mgr-clone-web1"))
    1
    """
    plain = name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    if plain and name[0] not in "-." and len(name) <= SNAPSHOT_NAME_MAX and not name.startswith("vm-mgr-"):
        return []
    hint = (
        f"use at most {SNAPSHOT_NAME_MAX} letters, digits, dots, dashes and underscores; vm-mgr- is reserved"
    )
    return [VmMgrError(Kind.INVALID, f"{name[:80]!r} is not a valid name for a snapshot", hint=hint)]
