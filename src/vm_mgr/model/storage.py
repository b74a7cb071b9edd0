"""Describe disks and who holds them."""

from typing import NamedTuple

__all__ = ["Disk", "Holder", "ImageFile"]


class ImageFile(NamedTuple):
    """A disk image to import, as qemu-img sees it; size as the guest sees it."""

    path: str
    format: str
    size_bytes: int


class Disk(NamedTuple):
    """A network disk as a domain definition needs it."""

    source: str
    bus: str = "virtio"
    cache: str = "writeback"
    protocol: str = "rbd"
    user: str = "libvirt"
    secret_usage: str = "client.libvirt secret"  # noqa: S105 - the name of a libvirt secret, not a secret


class Holder(NamedTuple):
    """A storage client that has a disk open or locked; the address tells its node."""

    image: str
    address: str
    client: str = ""
    cookie: str = ""

    @property
    def host(self) -> str:
        """Give the IP address without port and nonce.

        >>> Holder("system_a", "198.51.100.11:0/42").host
        '198.51.100.11'
        >>> Holder("system_a", "[fd00::1]:0/42").host
        'fd00::1'
        """
        return self.address.rpartition(":")[0].strip("[]")
