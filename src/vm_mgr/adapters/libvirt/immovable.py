"""Name what keeps a domain from being moved live, and its memory from being saved.

The rules are those of libvirt (qemuMigrationSrcIsAllowed in its source) and of QEMU (the devices that block a
migration). What some versions move and others don't is named, too.
"""

from collections.abc import Iterator

from lxml import etree

from vm_mgr.adapters.libvirt.domain_disks import label_of
from vm_mgr.adapters.libvirt.requirements import ACCELERATED
from vm_mgr.adapters.libvirt.ties import address_of, path_of

__all__ = ["immovable"]


def immovable(root: etree._Element) -> list[str]:
    """Give each once, in the order of the text."""
    return list(dict.fromkeys([*_devices(root), *_system(root)]))


def _devices(root: etree._Element) -> Iterator[str]:
    for one in (one for group in root.iterfind("devices") for one in group if isinstance(one.tag, str)):
        kind, source = one.get("type", ""), one.find("source")
        if one.tag == "hostdev" and kind != "usb" and not _leaves(one):
            yield f"host device ({kind or one.get('mode') or 'hostdev'}) {address_of(one)}".rstrip()
        elif one.tag == "interface" and kind in ("hostdev", "vdpa") and not _leaves(one):
            where = "" if source is None else source.get("dev") or address_of(one)
            yield f"network card ({kind}) {where}".rstrip()
        elif one.tag == "disk" and kind in ("nvme", "vhostvdpa"):
            yield f"disk ({kind}) {address_of(one) or ('' if source is None else path_of(source))}".rstrip()
        elif one.tag == "disk" and one.find("transient") is not None:
            yield f"transient disk {label_of(one)}"
        elif one.tag == "filesystem" and source is not None:
            yield f"file system {path_of(source)}".rstrip()
        elif one.tag == "shmem" and one.get("role") != "master":
            yield f"shared memory {one.get('name', '')}".rstrip()
        elif one.tag == "tpm" and one.find("backend[@type='passthrough']") is not None:
            yield "TPM (passthrough)"
        elif one.tag == "video" and one.find(ACCELERATED) is not None:
            yield "video with 3D acceleration"


def _leaves(one: etree._Element) -> bool:
    """Tell a card that QEMU unplugs for the time of a move: the guest goes on with its partner."""
    return one.find("teaming[@type='transient']") is not None


def _system(root: etree._Element) -> Iterator[str]:
    if root.find("launchSecurity") is not None:
        yield "encrypted memory (launchSecurity)"
    known = root.find("clock/timer[@name='tsc'][@frequency]") is not None
    for feature in root.iterfind("cpu/feature[@name='invtsc']"):
        if feature.get("policy", "require") in ("require", "force") and not known:
            yield "processor feature invtsc without <timer name='tsc' frequency=…>"
    if root.find("cpu[@migratable='off']") is not None and not known:  # it has invtsc, too
        yield "processor that is not migratable (migratable='off')"
    if root.find("features/hyperv[@mode='passthrough']") is not None:
        yield "Hyper-V features of the node (mode='passthrough')"
