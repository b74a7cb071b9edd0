"""Write a guest's memory to a file and start from it.

virDomainSave ends QEMU when the file is written, which is before the storage has it for good. A memory-only
snapshot writes the same kind of file and leaves QEMU where it is, paused, with its disks flushed and let go:
until it is ended it can be let go on (libvirt's qemuSnapshotCreateActiveExternal).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lxml import etree

from vm_mgr.errors import Kind, SignalError, VmMgrError

if TYPE_CHECKING:
    from vm_mgr.adapters.libvirt.connection import Connection
    from vm_mgr.model.vm import VmName

__all__ = ["restore", "save_memory", "snapshot_xml"]

CALL_S = 3.0
POLL_S = 0.3
ABORTS = 10


def save_memory(connection: Connection, name: VmName, path: str, timeout_s: float) -> None:
    """Take the snapshot; after a failure nothing may go on writing."""

    def take(libvirt: Any) -> None:
        domain = connection.domain(libvirt, name)
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        domain.snapshotCreateXML(snapshot_xml(domain.XMLDesc(0), path), flags)

    try:
        connection.call(take, timeout_s)
    except (VmMgrError, SignalError) as error:
        if not _is_quiet(connection, name):
            message = f"{error.message}; and writing the memory of {name} could not be ended"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"look: virsh domjobinfo {name}") from error
        raise


def restore(connection: Connection, path: str, timeout_s: float) -> None:
    """Have libvirt start what the file describes, paused."""

    def start(libvirt: Any) -> None:
        connection.host(libvirt).restoreFlags(path, None, libvirt.VIR_DOMAIN_SAVE_PAUSED)

    connection.call(start, timeout_s)


def snapshot_xml(domain_xml: str, path: str) -> str:
    """Ask for the memory and for no disk; libvirt takes a disk that is not named for one that is wanted.

    >>> domain = "<domain><devices><disk><target dev='vda'/></disk></devices></domain>"
    >>> snapshot_xml(domain, "/a").split("><")[2:]
    ['disks', 'disk name="vda" snapshot="no"/', '/disks', '/domainsnapshot>']
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    domain = etree.fromstring(domain_xml.encode(), parser)
    root = etree.Element("domainsnapshot")
    etree.SubElement(root, "memory", snapshot="external", file=path)
    disks = etree.SubElement(root, "disks")
    for target in domain.iterfind("devices/disk/target"):
        etree.SubElement(disks, "disk", name=str(target.get("dev")), snapshot="no")
    return etree.tostring(root, encoding="unicode")


def _is_quiet(connection: Connection, name: VmName) -> bool:
    """Cancel the job that may be under way, and look until there is none."""

    def cancel(libvirt: Any) -> bool:
        domain = connection.find(libvirt, name)
        if domain is None or domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE:
            return True
        domain.abortJob()
        return False

    for _ in range(ABORTS):
        with suppress(VmMgrError):
            if connection.call(cancel, CALL_S):
                return True
        time.sleep(POLL_S)
    return False
