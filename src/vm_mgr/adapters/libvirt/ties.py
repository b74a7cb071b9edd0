"""Name what a domain has on one node only: elsewhere it does not start, or starts without what it had.

Where a path is named in domain XML is told by https://libvirt.org/formatdomain.html.
"""

from collections.abc import Callable, Iterator

from lxml import etree

from vm_mgr.adapters.libvirt.requirements import optional_media
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.definition import Tie

__all__ = ["EVERYWHERE", "NAMESPACE", "address_of", "duplicates", "path_of", "ties"]

IsShared = Callable[[str], bool]
# Every node has these.
EVERYWHERE = frozenset({"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"})
PROGRAMS = "/usr/"
LOGS = "/var/log/libvirt/"  # libvirt's own folder, in which it makes the file
NAMESPACE = "{http://libvirt.org/schemas/domain/qemu/1.0}"
CHARACTER = ("serial", "parallel", "console", "channel", "rng", "smartcard", "redirdev", "tpm")
# Of these libvirt goes by one, and we by the first; of several <devices> it takes what is in all.
SINGLE = (
    *("name", "uuid", "title", "description", "memory", "currentMemory", "maxMemory", "vcpu", "vcpus", "cpu"),
    *("os", "devices", "features", "clock", "memoryBacking", "numatune", "cputune", "iothreads", "genid"),
    *("emulator",),
)
PARTS = {
    "disk": ("source", "target", "driver"),
    "interface": ("source", "mac", "model"),
    "os": ("type", "loader", "nvram", "kernel", "initrd", "dtb"),
}


def ties(root: etree._Element, is_shared: IsShared) -> list[Tie]:
    """Name each once; is_shared tells of a path that all nodes have."""
    found = [*_disks(root), *_system(root), *_devices(root), *_qemu(root)]
    media = {path for _, path in optional_media(root)}
    local = [
        Tie(f"{what} {path}".strip(), state, path in media)
        for what, path, state in found
        if not is_shared(path)
    ]
    return list(dict.fromkeys(local))


def duplicates(root: etree._Element) -> list[VmMgrError]:
    """Refuse what is there twice and may be there once: what we change and check would not be what runs."""
    places = [(root, tag) for tag in SINGLE[:-1]]
    places += [(devices, "emulator") for devices in root.iterfind("devices")]
    places += [(one, tag) for name, tags in PARTS.items() for one in _named(root, name) for tag in tags]
    twice = sorted({f"<{tag}> in <{one.tag}>" for one, tag in places if len(one.findall(tag)) > 1})
    if not twice:
        return []
    message = f"the definition has more than one {', '.join(twice)}"
    return [VmMgrError(Kind.INVALID, message, hint="keep one of them, with all that belongs into it")]


def _named(root: etree._Element, name: str) -> list[etree._Element]:
    return [root, *root.iterfind("os")][1:] if name == "os" else root.findall(f"devices/{name}")


Found = Iterator[tuple[str, str, bool]]


def _disks(root: etree._Element) -> Found:
    """Disks that are files, devices and volumes of this node; CD-ROMs and read-only ones too."""
    for disk in root.iterfind("devices/disk"):
        device, target = disk.get("device", "disk"), disk.find("target")
        name = "" if target is None else f" {target.get('dev', '')}".rstrip()
        what = {"cdrom": "CD-ROM", "floppy": "floppy disk"}.get(device, "disk") + name
        backing = (*disk.iterfind(".//backingStore/source"), *disk.iterfind("mirror"))
        for source in (*disk.iterfind("source"), *backing):
            path = path_of(source) or (address_of(disk) if disk.get("type") == "nvme" else "")
            if source.get("pool"):
                yield what, f"{source.get('pool')}/{source.get('volume')} (a volume of libvirt)", False
            elif path and not source.get("protocol"):
                yield what, path, False


def _system(root: etree._Element) -> Found:
    for system in root.iterfind("os"):
        for tag in ("kernel", "initrd", "dtb", "shim"):
            yield from ((tag, (one.text or "").strip(), False) for one in system.iterfind(tag) if one.text)
        for table in system.iterfind("acpi/table"):
            yield "ACPI table", (table.text or "").strip(), False
        yield from _firmware(system)


def _firmware(system: etree._Element) -> Found:
    """Look for the firmware, and for variables that are no file: a file is kept with the disks (nvram.py)."""
    loaders, stores = system.findall("loader"), system.findall("nvram")
    for loader in loaders:
        if (loader.text or "").strip():
            yield "firmware", (loader.text or "").strip(), False
    for store in stores:
        source = store.find("source")
        if store.get("type", "file") not in ("file", "network") and source is not None:
            yield "variables of the firmware (nvram)", path_of(source), True


def _devices(root: etree._Element) -> Found:
    devices = [one for group in root.iterfind("devices") for one in group if isinstance(one.tag, str)]
    for one in devices:
        yield from _passed_through(one)
        yield from _paths(one)
        for log in one.iterfind("log"):
            if not log.get("file", LOGS).startswith(LOGS):
                yield f"log of the {one.tag}", str(log.get("file")), False


def _passed_through(one: etree._Element) -> Found:
    """Look for hardware of this node, and memory that only its other guests share."""
    if one.tag == "hostdev":
        yield f"host device ({one.get('type') or one.get('mode') or 'hostdev'})", address_of(one), False
    elif one.tag == "interface" and one.get("type") in ("hostdev", "vdpa", "direct", "vhostuser"):
        source = one.find("source")
        where = "" if source is None else source.get("dev") or source.get("path") or address_of(one)
        yield f"network card ({one.get('type')})", where or "", False
    elif one.tag == "shmem":
        server = one.find("server")
        yield "shared memory", str(one.get("name", "") if server is None else server.get("path", "")), False
    elif one.tag == "tpm":
        for backend in one.iterfind("backend"):
            yield from _tpm(backend)
    elif one.tag in ("graphics", "video", "audio", "sound"):
        for path in (part.get(key) for part in one.iter(etree.Element) for key in ("rendernode", "path")):
            if path:
                yield one.tag, path, False


def _tpm(backend: etree._Element) -> Found:
    kind, source = backend.get("type"), backend.find("source")
    path = "" if source is None else path_of(source)
    if kind == "emulator":
        if source is not None:  # without one its folder is libvirt's, and kept with the disks (nvram.py)
            yield "TPM (emulator)", path, True
    else:
        device = backend.find("device")
        yield f"TPM ({kind})", path if device is None else str(device.get("path", "")), False


def _paths(one: etree._Element) -> Found:
    """Look for files, folders, devices and sockets by the elements that name them."""
    source = one.find("source")
    path = "" if source is None else path_of(source)
    if one.tag in CHARACTER[:-1]:
        backend = one.find("backend")
        if backend is not None:  # of a source of random numbers
            inner = backend.find("source")
            path = (backend.text or "").strip() or ("" if inner is None else path_of(inner))
        bound = one.get("type") == "unix" and source is not None and source.get("mode", "bind") == "bind"
        if path and not bound and path not in EVERYWHERE:
            yield one.tag, path, False
        database = (one.findtext("database") or "").strip()
        if one.tag == "smartcard" and (database or one.get("mode") == "host-certificates"):
            yield "smartcard", database, False
    elif one.tag == "filesystem" and path:
        yield "file system", path, False
    elif one.tag == "input" and (path or one.get("type") in ("passthrough", "evdev")):
        yield "input device", path, False
    elif one.tag == "memory" and source is not None and source.findtext("path"):
        yield "memory", str(source.findtext("path")).strip(), False
    elif one.tag == "lease" and one.find("target") is not None:
        yield "lease", str(one.find("target").get("path", "")), False  # type: ignore[union-attr]
    elif one.tag == "emulator" and not (one.text or "").strip().startswith(PROGRAMS):
        yield "emulator", (one.text or "").strip(), False


def _qemu(root: etree._Element) -> Found:
    for argument in root.iterfind(f"{NAMESPACE}commandline/{NAMESPACE}arg"):
        if "/" in str(argument.get("value", "")):
            yield "argument for QEMU", str(argument.get("value")), False


def path_of(source: etree._Element) -> str:
    """Give what a source names in the file system of the node."""
    keys = ("file", "dev", "dir", "path", "evdev", "socket")
    return str(next(filter(None, (source.get(key) for key in keys)), ""))


def address_of(one: etree._Element) -> str:
    """Give what names a host device: its addresses, or vendor and product."""
    parts = [part for source in one.iterfind("source") for part in source.iter(etree.Element)]
    known = ("type", "mode", "managed", "startupPolicy")
    return ":".join(str(value) for part in parts for key, value in part.attrib.items() if key not in known)
