"""Know what of a definition only one VM may have, and give a second VM its own.

Each row of RULES says where it is (https://libvirt.org/formatdomain.html) and how a VM gets another one. What
is in KEPT can't be replaced: it is named, and two VMs that have it can't run on one node at the same time.
"""

import re
import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lxml import etree

from vm_mgr.adapters.libvirt.domain_disks import detach, hard_disks, source_of
from vm_mgr.adapters.libvirt.domain_text import uuid_of
from vm_mgr.adapters.libvirt.ties import EVERYWHERE, NAMESPACE, address_of, path_of
from vm_mgr.ports.definition import DISK, MAC, UUID, Exclusive

__all__ = ["KEPT", "RULES", "exclusive", "give_own", "new_mac", "shared"]

ARGUMENTS = f"{NAMESPACE}commandline/{NAMESPACE}arg"
A_MAC = re.compile(r"\b[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}\b")
# Arguments for QEMU that name what one process of a node has.
FIXED_ARGUMENT = re.compile(r"\b(?:guest-cid|hostfwd|ifname|host|path|port|wwn)=")
# libvirt gives these names itself, anew at each start.
AUTOMATIC_TAP = re.compile(r"(?:vnet|vif|macvtap|macvlan)[0-9]*")
AUTOMATIC_SOCKET = re.compile(r"/(?:var/lib|(?:var/)?run)/libvirt/qemu/(?:channel/|domain-)")
LINES = "self::serial or self::parallel or self::console or self::channel"


class Names(NamedTuple):
    """The VM's name in the definition that it is made of, and its own."""

    old: str
    new: str


# Give an element what no other VM has: in this attribute, or as its text where none is named.
Renew = Callable[[etree._Element, str, Names], None]  # noqa: SLF001 - lxml has no other name for it


class Rule(NamedTuple):
    """What it is called, where it is, how to get another.

    renew: none where another part of vm-mgr does it. is_fixed: which values are not libvirt's own. gone: what
    is told where no other value is there afterwards.
    """

    what: str
    place: str
    key: str
    renew: Renew | None
    is_fixed: Callable[[str], bool] = bool
    gone: str = "chosen at the start"


def exclusive(root: etree._Element) -> Iterator[Exclusive]:
    """Name what no other VM of the cluster may have."""
    if ident := uuid_of(root):
        yield Exclusive(UUID, ident)
    for rule, _, value in _found(root):
        yield Exclusive(rule.what, value.lower() if rule.what == MAC else value)
    for disk in hard_disks(root.find("devices")):
        source = source_of(disk)
        if source != "?" and disk.find("shareable") is None:
            yield Exclusive(DISK, source)


def give_own(root: etree._Element, name: str) -> list[str]:
    """Replace all that the VM of this definition has alone but its UUID, and say what changes."""
    names, told = Names((root.findtext("name") or "").strip(), name), list[str]()
    for rule, element, value in [*_found(root)]:
        if rule.renew is None:
            continue
        rule.renew(element, rule.key, names)
        if rule.what != MAC:
            now = (element.get(rule.key) if rule.key else element.text) if _is_within(root, element) else None
            told.append(f"{rule.what} {value} → {now or rule.gone}")
    _renew_arguments(root)
    return list(dict.fromkeys(told))


def shared(root: etree._Element) -> list[str]:
    """Name what a second VM still has in common with the first one."""
    found = [
        f"{what} {address_of(one) or _path_within(one)}".strip()
        for what, place in KEPT.items()
        for one in _elements(root, place)
        if _path_within(one) not in EVERYWHERE
    ]
    arguments = (str(one.get("value", "")) for one in root.iterfind(ARGUMENTS))
    found += [f"argument for QEMU {text}" for text in arguments if FIXED_ARGUMENT.search(text)]
    return list(dict.fromkeys(found))


def new_mac() -> str:
    """Make an address with the prefix that QEMU's and libvirt's own have."""
    return "52:54:00:" + secrets.token_bytes(3).hex(":")


def _found(root: etree._Element) -> Iterator[tuple[Rule, etree._Element, str]]:
    for rule in RULES:
        for element in _elements(root, rule.place):
            value = (str(element.get(rule.key, "")) if rule.key else element.text or "").strip()
            if value and rule.is_fixed(value):
                yield rule, element, value


def _elements(root: etree._Element, place: str) -> list[etree._Element]:
    found = root.xpath(place)
    return [one for one in found if etree.iselement(one)] if isinstance(found, list) else []


def _is_within(root: etree._Element, element: etree._Element) -> bool:
    return element is root or root in element.iterancestors()


def _path_within(one: etree._Element) -> str:
    paths = (path_of(part) for part in one.iter(etree.Element))
    return next(filter(None, paths), (one.findtext("source/path") or "").strip())


def _own_path(element: etree._Element, key: str, names: Names) -> None:
    """Name a file after the VM, in the same folder; where the other one's name is in it, in its place."""
    path = str(element.get(key, "")) if key else (element.text or "").strip()
    folder, slash, file = path.rpartition("/")
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(names.old)}(?![A-Za-z0-9])")
    named = names.old and word.search(file)
    own = folder + slash + (word.sub(names.new, file) if named else f"{names.new}-{file}")
    if key:
        element.set(key, own)
    else:
        element.text = own


def _own_mac(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    element.set(key, new_mac())


def _own_uuid(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    element.text = str(uuid.uuid4())


def _drop_key(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    element.attrib.pop(key, "")


def _drop_tap(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    """Have libvirt make one; managed='no' would have it look for one that is there."""
    for word in (key, "managed"):
        element.attrib.pop(word, "")
    if not element.attrib:
        detach(element)


def _drop_element(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    detach(element)


def _drop_forward(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    parent = element.getparent()
    if parent is not None:
        detach(parent)


def _any_port(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    """Have libvirt choose the ports of a screen."""
    element.set("autoport", "yes")
    element.attrib.pop(key, "")
    if key == "websocket":
        element.set(key, "-1")


def _as_terminal(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    """Have a line on a pseudo-terminal: libvirt chooses no port for it."""
    line = element.getparent()
    if line is None:
        return
    line.set("type", "pty")
    for tag in ("source", "protocol"):
        for one in line.findall(tag):
            line.remove(one)


def _any_cid(element: etree._Element, key: str, names: Names) -> None:  # noqa: ARG001
    element.set("auto", "yes")
    element.attrib.pop(key, "")


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdecimal() and int(value) > 0


def _is_own_tap(value: str) -> bool:
    return not AUTOMATIC_TAP.fullmatch(value)


def _is_own_file(value: str) -> bool:
    return value not in EVERYWHERE


def _is_own_socket(value: str) -> bool:
    return not AUTOMATIC_SOCKET.match(value)


NO_AUTOPORT = "devices/graphics[not(@autoport='yes')]"
BOUND_LINE = f"devices/*[{LINES}][@type='tcp' or @type='udp']/source[@mode='bind']"
RULES = (
    Rule(MAC, "devices/interface/mac", "address", _own_mac),
    Rule("generation ID", "genid", "", _own_uuid),
    Rule("hardware UUID", "hwuuid", "", _own_uuid),
    # A new VM gets a file of its own (nvram.py); `edit` may name one.
    Rule("firmware variables", "os/nvram", "", None),
    Rule("firmware variables", "os/nvram/source", "file", None),
    Rule("firmware variables", "os/nvram/source", "name", _own_path),
    Rule("variable store", "os/varstore", "path", _own_path),
    Rule("TPM state", "devices/tpm/backend[@type='emulator']/source", "path", _own_path),
    Rule("panic store", "devices/pstore/path", "", _own_path),
    Rule("log", "devices//log", "file", _own_path, _is_own_file),
    Rule("log", "devices/interface/backend", "logFile", _own_path, _is_own_file),
    Rule("file", "devices/*[@type='file'][not(self::disk)]/source", "path", _own_path, _is_own_file),
    Rule("file", "devices/audio[@type='file']", "path", _own_path, _is_own_file),
    Rule(
        "socket",
        "devices/*[@type='unix']/source[not(@mode='connect')]",
        "path",
        _own_path,
        _is_own_socket,
    ),
    Rule("socket", "devices/graphics", "socket", _own_path, _is_own_socket),
    Rule("socket", "devices/graphics/listen", "socket", _own_path, _is_own_socket),
    Rule(
        "tap",
        "devices/interface[@type='ethernet']/target",
        "dev",
        _drop_tap,
        _is_own_tap,
        gone="one that is in no bridge: give that network card its own",
    ),
    Rule("tap", "devices/interface[not(@type='ethernet')]/target", "dev", _drop_tap, _is_own_tap),
    Rule("switch port", "devices/interface/virtualport/parameters", "interfaceid", _drop_key),
    Rule("switch port", "devices/interface/virtualport/parameters", "instanceid", _drop_key),
    Rule("switch port", "devices/interface/source", "portid", _drop_key),
    Rule("port", NO_AUTOPORT, "port", _any_port, _is_port),
    Rule("port", NO_AUTOPORT, "tlsPort", _any_port, _is_port),
    Rule("port", "devices/graphics", "websocket", _any_port, _is_port),
    Rule("port", BOUND_LINE, "service", _as_terminal),
    Rule("port", "devices/interface/portForward/range", "start", _drop_forward),
    Rule("vsock CID", "devices/vsock/cid[not(@auto='yes')]", "address", _any_cid),
)
KEPT = {
    "host device": "devices/hostdev",
    "network card": "devices/interface[@type='hostdev' or @type='vdpa' or @type='vhostuser' "
    "or @type='server' or @type='udp' or source/@mode='passthrough']",
    "lease": "devices/lease",
    "input device": "devices/input[@type='evdev' or @type='passthrough']",
    "TPM": "devices/tpm[backend/@type='passthrough' or backend/@type='external']",
    "device": f"devices/*[{LINES}][@type='dev' or @type='pipe']",
    "file system": "devices/filesystem[source/@socket]",
    "memory": "devices/memory[source/path]",
    "redirected device": "devices/*[self::redirdev or self::smartcard][source/@mode='bind']",
}


def _renew_arguments(root: etree._Element) -> None:
    """Give new MAC addresses where arguments for QEMU name some; each old one gets the same new one."""
    own: dict[str, str] = {}
    for argument in root.iterfind(ARGUMENTS):
        text = str(argument.get("value", ""))
        argument.set("value", A_MAC.sub(lambda found: own.setdefault(found[0].lower(), new_mac()), text))
