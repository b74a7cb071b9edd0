"""Read from a domain what a node must have for it to start, in the words of model/requirement_words.py.

Where domain XML names what only some nodes have is told by https://libvirt.org/formatdomain.html. What nodes
can't tell, or could tell wrongly, is left out: a wrong "no" would keep VMs from a good node.
"""

import re
from collections.abc import Callable, Iterator

from lxml import etree

from vm_mgr.adapters.libvirt.domain_disks import label_of
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.requirement_words import MEDIUM, word
from vm_mgr.model.storage import CEPH_SECRET

__all__ = ["ACCELERATED", "make_media_optional", "optional_media", "requirements"]

IsShared = Callable[[str], bool]
# Linux allows 15 bytes for the name of an interface.
_LINK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
# One with a version: every QEMU has "pc" and "q35".
_MACHINE = re.compile(r"[a-z0-9][a-z0-9_-]*-[0-9]+\.[0-9]+")
_PLAIN = re.compile(r"[A-Za-z0-9_.+-]+")
# Elements whose text is a path, and attributes that are one.
_TEXTS = (
    *("os/kernel", "os/initrd", "os/dtb", "os/shim", "os/loader", "os/acpi/table"),
    *("devices/rng/backend[@model='random']", "devices/memory/source/path", "devices/smartcard/database"),
    "blkiotune/device/path",
)
_ATTRIBUTES = (
    ("os/nvram", "template"),
    ("devices/filesystem/source", "dir"),
    ("devices/filesystem/source", "file"),
    ("devices/filesystem/source", "socket"),
    ("devices/filesystem/binary", "path"),
    ("devices/interface[@type='vdpa']/source", "dev"),
    ("devices/interface/script", "path"),
    ("devices/interface/downscript", "path"),
    ("devices/interface/backend", "tap"),
    ("devices/interface/backend", "vhost"),
    ("devices/disk[@type='vhostuser']/source", "path"),
    ("devices/disk/source/reservations[@managed='no']/source", "path"),
    ("devices/input/source", "evdev"),
    ("devices/input/source", "dev"),
    ("devices/shmem/server", "path"),
    ("devices/graphics/gl", "rendernode"),
    ("devices/tpm/backend/device", "path"),
    ("devices/tpm/backend[@type='external']/source[@mode='connect']", "path"),
)
# What the kernel has where a part of it is there.
_OF_THE_KERNEL = (
    ("devices/vsock", "/dev/vhost-vsock"),
    ("devices/memory[@model='sgx-epc']", "/dev/sgx_vepc"),
    ("launchSecurity[@type='sev']", "/dev/sev"),
    ("launchSecurity[@type='sev-snp']", "/dev/sev"),
    ("cputune/cachetune", "/sys/fs/resctrl/info"),
    ("cputune/memorytune", "/sys/fs/resctrl/info"),
)
_CHARACTER = ("serial", "parallel", "console", "channel", "redirdev", "smartcard")
_EVERYWHERE = frozenset({"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"})
_ANY_ADDRESS = frozenset({"", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost"})  # noqa: S104 - nothing listens here
# Of a video device, what QEMU has by a package of its own.
ACCELERATED = "model[@type='virtio']/acceleration[@accel3d='yes']"
_REMOVABLE = ("cdrom", "floppy")
_OPTIONAL = (None, "optional")
_PINS = ("vcpu", "cputune/vcpupin", "cputune/emulatorpin", "cputune/iothreadpin")
# Cards that each QEMU has where libvirt offers them.
_CARDS = frozenset({"virtio", "virtio-transitional", "virtio-non-transitional", "e1000", "e1000e", "rtl8139"})


def requirements(root: etree._Element, is_shared: IsShared, *, ceph: bool = True) -> tuple[str, ...]:
    """Name each once, bridges first; is_shared tells of a path that all nodes have.

    ceph: there is one, whose secret the deployment has defined on each node.
    """
    found = [*sorted(_bridges(root))]
    for part in (_processor, _links, _networks, _addresses, _passed_through, _memory, _defined, _programs):
        found += part(root)
    paths = {path for path in _paths(root) if path.startswith("/") and path not in _EVERYWHERE}
    found += [word("has-file", path) for path in sorted(paths) if not is_shared(path)]
    found += [word(MEDIUM, path) for _, path in optional_media(root) if not is_shared(path)]
    everywhere = {word("has-secret", f"ceph/{CEPH_SECRET}")} if ceph else set()
    return tuple(one for one in dict.fromkeys(found) if one not in everywhere)


def make_media_optional(root: etree._Element) -> list[str]:
    """Say of which drives that is new; a policy that somebody has chosen stays."""
    found = [source for source, _ in optional_media(root) if not source.get("startupPolicy")]
    for source in found:
        source.set("startupPolicy", "optional")
    drives = (label_of(drive) for source in found for drive in source.iterancestors("disk"))
    return [f"{label}: startupPolicy optional (elsewhere the drive is empty)" for label in drives]


def optional_media(root: etree._Element) -> list[tuple[etree._Element, str]]:
    """Give the sources of optical and floppy drives that are files or devices of a node, with their paths.

    A drive that somebody has given another policy is none of them: with "requisite", too, no domain starts
    without its medium.
    """
    drives = [one for one in root.iterfind("devices/disk") if one.get("device") in _REMOVABLE]
    found = [(source, _local(source)) for one in drives for source in one.iterfind("source")]
    return [(source, path) for source, path in found if path and source.get("startupPolicy") in _OPTIONAL]


def _bridges(root: etree._Element) -> set[str]:
    plain = [one for one in root.iterfind("devices/interface[@type='bridge']") if not _is_ovs(one)]
    names = {str(source.get("bridge", "")) for one in plain for source in one.iterfind("source")}
    return {word("bridge", name) for name in names if _LINK.fullmatch(name)}


def _is_ovs(interface: etree._Element) -> bool:
    """Tell a bridge of Open vSwitch: it is an interface of its name, but its uplink is not the kernel's."""
    return interface.find("virtualport[@type='openvswitch']") is not None


def _links(root: etree._Element) -> Iterator[str]:
    """Name taps that libvirt does not make, what macvtaps and passt lie on, and bridges of Open vSwitch."""
    for one in root.iterfind("devices/interface"):
        source, target = one.find("source"), one.find("target")
        name = ""
        if one.get("type") == "ethernet" and target is not None and target.get("managed") == "no":
            name = str(target.get("dev", ""))
        elif (one.get("type") == "direct" or _is_passt(one)) and source is not None:
            name = str(source.get("dev", ""))
        elif one.get("type") == "bridge" and _is_ovs(one) and source is not None:
            name = str(source.get("bridge", ""))
        for link in (name, *(str(forward.get("dev", "")) for forward in one.iterfind("portForward"))):
            if _LINK.fullmatch(link):
                yield word("link", link)


def _is_passt(interface: etree._Element) -> bool:
    return interface.find("backend[@type='passt']") is not None


def _networks(root: etree._Element) -> Iterator[str]:
    for place in ("devices/interface[@type='network']/source", "devices/graphics/listen[@type='network']"):
        for one in root.iterfind(place):
            if one.get("network"):
                yield word("has-network", str(one.get("network")))


def _addresses(root: etree._Element) -> Iterator[str]:
    """Name the addresses at which the guest's screen, one of its lines, or its network is to be reached."""
    listens = [one.get("listen") for one in root.iterfind("devices/graphics")]
    listens += [one.get("address") for one in root.iterfind("devices/graphics/listen[@type='address']")]
    for place in ("[@type='server']/source", "[@type='udp']/source/local", "/portForward"):
        listens += [one.get("address") for one in root.iterfind(f"devices/interface{place}")]
    for tag in _CHARACTER:
        for kind in ("tcp", "udp"):
            bound = root.iterfind(f"devices/{tag}[@type='{kind}']/source[@mode='bind']")
            listens += [one.get("host") for one in bound]
    for address in listens:
        if address and address not in _ANY_ADDRESS and re.fullmatch(r"[0-9a-fA-F.:]+", address):
            yield word("has-address", address)


def _passed_through(root: etree._Element) -> Iterator[str]:
    devices = [one for one in root.iterfind("devices/hostdev") if one.get("mode", "subsystem") == "subsystem"]
    devices += root.iterfind("devices/interface[@type='hostdev']")
    devices += root.iterfind("devices/disk[@type='nvme']")
    for one in devices:
        for source in one.iterfind("source"):
            if source.get("startupPolicy") != "optional":
                yield from _host_device(one, source)


def _host_device(one: etree._Element, source: etree._Element) -> Iterator[str]:
    address, kind = source.find("address"), one.get("type")
    vendor, product = source.find("vendor"), source.find("product")
    if kind == "usb" and vendor is not None and product is not None:
        yield word("has-usb", f"{_hex(vendor.get('id')):04x}:{_hex(product.get('id')):04x}")
    elif kind == "scsi_host" and source.get("wwpn"):
        yield word("has-file", f"/sys/kernel/config/target/vhost/{source.get('wwpn')}")
    elif address is None:
        return
    elif kind == "usb":
        bus, device = (_hex(address.get(key)) for key in ("bus", "device"))
        yield word("has-file", f"/dev/bus/usb/{bus:03d}/{device:03d}")
    elif kind == "scsi":
        yield from _scsi(source, address)
    elif kind == "mdev" and address.get("uuid"):
        yield word("has-mdev", str(address.get("uuid")).lower())
    elif address.get("bus") and (one.tag != "hostdev" or kind == "pci"):
        domain, bus, slot, function = (
            _hex(address.get(key)) for key in ("domain", "bus", "slot", "function")
        )
        yield word("has-pci", f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}")


def _scsi(source: etree._Element, address: etree._Element) -> Iterator[str]:
    """Name the device as the kernel does; what is reached over a network has no adapter."""
    for adapter in source.iterfind("adapter"):
        host = str(adapter.get("name", "")).removeprefix("scsi_host")
        parts = [host, *(str(_hex(address.get(key))) for key in ("bus", "target", "unit"))]
        if host.isdecimal():
            yield word("has-scsi", ":".join(parts))


def _hex(text: str | None) -> int:
    try:
        return int(text or "0", 0)
    except ValueError:
        return 0


def _memory(root: etree._Element) -> Iterator[str]:
    """Name huge pages, of which a node reserves some at boot; pages of several sizes are only to be there."""
    for backing in root.iterfind("memoryBacking/hugepages"):
        pages = backing.findall("page")
        for page in pages:
            size = str(whole_number(str(page.get("size"))) or "default")
            if page.get("unit", "KiB") not in ("KiB", "k"):
                size = str((whole_number(str(page.get("size"))) or 0) * _unit(page) >> 10)
            yield word("has-hugepages", f"{size}-{_kib(root) if len(pages) == 1 else 0}")
        if not pages:
            yield word("has-hugepages", f"default-{_kib(root)}")
    for one in (*root.iterfind("numatune/memory"), *root.iterfind("numatune/memnode")):
        highest = _highest(one.get("nodeset"))
        if highest is not None and one.get("mode", "strict") == "strict":
            yield word("has-numa", str(highest))


def _kib(root: etree._Element) -> int:
    memory = root.find("memory")
    if memory is None:
        return 0
    return (whole_number((memory.text or "").strip()) or 0) * _unit(memory) >> 10


def _unit(element: etree._Element) -> int:
    """Give a unit's bytes; libvirt takes KiB where none is named."""
    unit = element.get("unit") or "KiB"
    power = "bkmgtpe".find(unit[0].lower())
    return int((1000 if len(unit) == 2 and unit[1] in "bB" else 1024) ** max(power, 0))


def _highest(cpus: str | None) -> int | None:
    """Give the highest number of a set as libvirt writes it.

    >>> _highest("0-3,^2,8"), _highest("^9,1"), _highest(None)
    (8, 1, None)
    """
    parts = [part for part in (cpus or "").replace(" ", "").split(",") if not part.startswith("^")]
    return max((int(end) for end in re.findall(r"[0-9]+", " ".join(parts))), default=None)


def _processor(root: etree._Element) -> Iterator[str]:
    """Name KVM, the machine type, CPUs that are pinned to, and the model of the guest's processor."""
    kvm, system = root.get("type") == "kvm", root.find("os/type")
    if kvm:
        yield "kvm"
    arch, machine = ("", "") if system is None else (system.get("arch", ""), system.get("machine", ""))
    emulator = (root.findtext("devices/emulator") or "").strip()
    known = re.fullmatch("[a-z0-9_]+", arch) and emulator in ("", f"/usr/bin/qemu-system-{arch}")
    if known and _MACHINE.fullmatch(machine):
        yield word("machine", f"{arch}-{machine}")
    highest = [_highest(one.get("cpuset")) for place in _PINS for one in root.iterfind(place)]
    if any(one is not None for one in highest):
        yield word("has-cpu", str(max(one for one in highest if one is not None)))
    if kvm and known:
        yield from _model(root, arch)


def _model(root: etree._Element, arch: str) -> Iterator[str]:
    """Name a model that libvirt compares with the node's; it starts any other, and drops what is missing.

    A model of which something is taken away may be fine where the whole of it is not.
    """
    cpu = root.find("cpu")
    if cpu is None or cpu.get("mode", "custom") != "custom" or cpu.get("check") == "none":
        return
    less = [one for one in cpu.iterfind("feature") if one.get("policy") in ("disable", "forbid", "optional")]
    name = (cpu.findtext("model") or "").strip()
    if not less and cpu.get("match", "exact") != "minimum" and _PLAIN.fullmatch(name):
        yield word("has-model", f"kvm-{arch}-{name}")


def _defined(root: etree._Element) -> Iterator[str]:
    """Name what is defined in a node's libvirt: volumes, filters, secrets; and its security models."""
    for source in root.iterfind("devices/disk[@type='volume']/source"):
        if source.get("pool") and source.get("volume") and source.get("startupPolicy") != "optional":
            yield word("has-volume", f"{source.get('pool')}/{source.get('volume')}")
    for one in root.iterfind("devices/interface/filterref"):
        if one.get("filter"):
            yield word("has-nwfilter", str(one.get("filter")))
    yield from _secrets(root)
    for one in root.iterfind("seclabel"):
        if one.get("model", "dac") != "dac" and one.get("type") != "none":
            yield word("has-secmodel", str(one.get("model")))


def _secrets(root: etree._Element) -> Iterator[str]:
    """Name secrets by their UUIDs, or by what they are for."""
    for one in root.iterfind("devices//secret"):
        kind, usage = one.get("type"), one.get("usage")
        if one.get("uuid"):
            yield word("has-secret", str(one.get("uuid")).lower())
        elif kind and usage:
            yield word("has-secret", f"{kind}/{usage}")
    for one in root.iterfind("devices/tpm/backend/encryption"):
        if one.get("secret"):
            yield word("has-secret", str(one.get("secret")).lower())


def _programs(root: etree._Element) -> Iterator[str]:
    """Name what a node has by a package that not each node needs."""
    arch = "" if root.find("os/type") is None else str(root.find("os/type").get("arch", ""))  # type: ignore[union-attr]
    if root.find("os[@firmware='efi']") is not None and root.find("os/loader[@type='pflash']") is None:
        yield word("has-efi", arch)
    if root.find("devices/tpm/backend[@type='emulator']") is not None:
        yield "has-tpm"
    spice = (
        *("graphics[@type='spice']", "audio[@type='spice']", "channel[@type='spicevmc']"),
        *("redirdev[@type='spicevmc']", "channel[@type='spiceport']"),
    )
    if any(root.find(f"devices/{one}") is not None for one in spice):
        yield "has-spice"
    if root.find("devices/video/model[@type='qxl']") is not None:
        yield "has-qxl"
    shares = root.iterfind("devices/filesystem")
    if any(
        one.find("driver[@type='virtiofs']") is not None
        and one.find("binary[@path]") is None
        and one.find("source[@socket]") is None
        for one in shares
    ):
        yield "has-virtiofs"
    if any(_is_passt(one) for one in root.iterfind("devices/interface")):
        yield "has-passt"
    if root.find(f"devices/video/{ACCELERATED}") is not None and re.fullmatch("[a-z0-9_]+", arch):
        yield word("has-gl", arch)
    for one in root.iterfind("devices/interface/model"):
        card = str(one.get("type", ""))
        if card not in _CARDS and re.fullmatch("[a-z0-9_]+", arch) and _PLAIN.fullmatch(card):
            yield word("has-nic", f"{arch}-{card}")


def _paths(root: etree._Element) -> Iterator[str]:
    """Give each path without which QEMU, or libvirt, does not start the domain."""
    for place in _TEXTS:
        yield from ((one.text or "").strip() for one in root.iterfind(place))
    for place, key in _ATTRIBUTES:
        yield from (str(one.get(key) or "") for one in root.iterfind(place))
    yield from (path for place, path in _OF_THE_KERNEL if root.find(place) is not None)
    emulator = (root.findtext("devices/emulator") or "").strip()
    if emulator != "/usr/bin/qemu-system-x86_64":
        yield emulator
    media = [source for source, _ in optional_media(root)]
    for disk in root.iterfind("devices/disk"):
        for source in disk.iterfind("source"):
            if source not in media and source.get("startupPolicy") != "optional":
                yield _local(source)
    yield from _sockets(root)


def _sockets(root: etree._Element) -> Iterator[str]:
    """Give the sockets that others listen on, folders of those that QEMU makes, devices of lines.

    libvirt makes that of passt.
    """
    for one in root.iterfind("devices/interface[@type='vhostuser']"):
        if not _is_passt(one):
            yield from (str(source.get("path") or "") for source in one.iterfind("source[@mode='client']"))
            for source in one.iterfind("source[@mode='server']"):
                yield str(source.get("path") or "").rpartition("/")[0]
    for tag in _CHARACTER:
        for one in root.iterfind(f"devices/{tag}"):
            wanted = "source" if one.get("type") == "dev" else "source[@mode='connect']"
            if one.get("type") in ("dev", "unix"):
                yield from (str(source.get("path") or "") for source in one.iterfind(wanted))


def _local(source: etree._Element) -> str:
    """Give the path of a disk's source that is a file, device or folder of the node."""
    if source.get("protocol") or source.get("pool"):
        return ""
    return str(next(filter(None, (source.get(key) for key in ("file", "dev", "dir"))), ""))
