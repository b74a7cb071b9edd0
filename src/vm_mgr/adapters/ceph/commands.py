"""Build qemu-img's argv."""

from vm_mgr.adapters.ceph.connection import TIME_LIMITS
from vm_mgr.adapters.ceph.lease import LEASE_S

__all__ = ["compare", "convert", "rbd_path"]

TIED = ("setpriv", "--pdeathsig", "KILL", "--")


def compare(source: str, source_format: str, target: str) -> tuple[str, ...]:
    """Read both and compare; exit status 1 says that they differ."""
    return (*TIED, "qemu-img", "compare", "-p", "-f", source_format, "-F", "raw", source, target)


def rbd_path(image: str, *, pool: str, user: str, conf: str) -> str:
    """Name an image, or image@snapshot, as QEMU's tools want it; they would wait for a lost Ceph for ever.

    >>> rbd_path("system_web1", pool="rbd", user="libvirt", conf="ceph.conf").split(":")[4:]
    ['client_mount_timeout=30', 'rados_mon_op_timeout=30', 'rados_osd_op_timeout=30']
    """
    limits = "".join(f":{option}={LEASE_S}" for option in TIME_LIMITS)
    return f"rbd:{pool}/{image}:id={user}:conf={conf}{limits}"


def convert(source: str, source_format: str, target: str) -> tuple[str, ...]:
    """Copy into an existing, empty image: holes stay holes, and writes go in parallel.

    It ends with its caller: nobody could recover a creation into which a forgotten copy still writes.
    """
    speed = ("-W", "-m", "16", "-t", "writeback")
    formats = ("-f", source_format, "-O", "raw")
    return (*TIED, "qemu-img", "convert", "-p", "-n", "--target-is-zero", *speed, *formats, source, target)
