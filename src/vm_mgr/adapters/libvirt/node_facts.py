"""Meet the port that tells what a node has: from the kernel, from files, and from libvirt.

libvirt is asked only for what nothing else tells; it answers from what it has kept of QEMU.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lxml import etree

from vm_mgr.adapters.libvirt.virsh import CONNECT_S
from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.node_requirements import MISSING, PRESENT
from vm_mgr.model.requirement_words import Requirement, requirement
from vm_mgr.ports.node_runner import NodeVerb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vm_mgr.adapters.libvirt.connection import Connection
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.ports.node_runner import NodeRunner
    from vm_mgr.ports.runner import Runner

__all__ = ["LocalFacts", "RemoteFacts"]

FILES_S = 5.0
QEMU_S = 10.0
# The machine type for which firmware is looked for; for others libvirt takes its default.
_BOARD = {"x86_64": "q35", "aarch64": "virt"}
# Of virErrorNumber (virterror.h): what libvirt says of a text that it can't take, on whatever node.
TEXT_CODES = frozenset({27, 35, 92})  # XML_ERROR, XML_DETAIL, XML_INVALID_SCHEMA
# And where this node may lack something, which is not certain: nothing is prepared as for a start.
NODE_CODES = frozenset({9, 16, 67, 91})  # OPERATION_FAILED, OS_TYPE, CONFIG_UNSUPPORTED, CPU_INCOMPATIBLE


class LocalFacts:
    """This node."""

    def __init__(self, runner: Runner, connection: Connection, *, root: Path = Path("/")) -> None:
        self.runner = runner
        self.connection = connection
        self.root = root
        self._helped: dict[tuple[str, str], str] = {}
        self._looks: Mapping[str, Callable[[str], bool | None]] = {
            "bridge": self._interface,
            "link": self._interface,
            "kvm": self._kvm,
            "machine": self._machine,
            "has-nic": self._nic,
            "has-address": _address,
            "has-cpu": self._cpu,
            "has-numa": lambda number: self._entry("sys/devices/system/node", f"node{number}"),
            "has-pci": lambda address: self._entry("sys/bus/pci/devices", address),
            "has-mdev": lambda uuid: self._entry("sys/bus/mdev/devices", uuid),
            "has-scsi": lambda address: self._entry("sys/bus/scsi/devices", address),
            "has-usb": self._usb,
            "has-hugepages": self._hugepages,
            "has-tpm": lambda _: all(shutil.which(one) for one in ("swtpm", "swtpm_setup")),
            "has-virtiofs": self._virtiofs,
            "has-passt": lambda _: shutil.which("passt") is not None,
            "has-gl": lambda arch: self._nic(f"{arch}-virtio-gpu-gl-pci"),
        }

    def answers(self, requirements: Sequence[str]) -> Mapping[str, str]:
        """Look; what hangs or fails is not known."""
        read = {one: asked for one in requirements if (asked := requirement(one)) is not None}
        found: dict[str, bool | None] = {}
        for one, asked in read.items():
            if look := self._looks.get(asked.kind):
                with suppress(OSError, ValueError, VmMgrError):
                    found[one] = look(asked.of)
        found |= self._files({one: asked for one, asked in read.items() if asked.kind in _FILES})
        found |= self._libvirt({one: asked for one, asked in read.items() if asked.kind in _LIBVIRT})
        return {one: PRESENT if has else MISSING for one, has in found.items() if has is not None}

    def rejection(self, xml: str) -> VmMgrError | None:
        """Have libvirt make QEMU's command line of it: that starts, keeps and touches nothing."""
        return _rejection(self.connection, xml)

    def _files(self, asked: Mapping[str, Requirement]) -> dict[str, bool | None]:
        """Look for all in one thread: a file system that hangs must not hang whoever asks."""
        found: dict[str, bool | None] = {}

        def look() -> None:
            for one, wanted in asked.items():
                found[one] = self._exists(Path(self.root, wanted.of.lstrip("/")))

        with suppress(OutOfTimeError):
            bounded(look, FILES_S) if asked else None
        return dict(found)

    def _exists(self, path: Path) -> bool | None:
        try:
            path.stat()
        except OSError as error:
            return False if error.errno in (errno.ENOENT, errno.ENOTDIR) else None
        return True

    def _interface(self, name: str) -> bool:
        """Go by the kernel's list: in a container /sys may show the interfaces of the host."""
        return name in {found for _, found in socket.if_nameindex()}

    def _kvm(self, _: str) -> bool:
        try:
            os.close(os.open(self.root / "dev/kvm", os.O_RDWR))
        except OSError:
            return False
        return True

    def _machine(self, of: str) -> bool | None:
        arch, _, name = of.partition("-")
        told = self._help(arch, "-machine")
        return bool(re.search(rf"^{re.escape(name)}\s", told, re.MULTILINE)) if told else None

    def _nic(self, of: str) -> bool | None:
        arch, _, name = of.partition("-")
        told = self._help(arch, "-device")
        return f'name "{name}"' in told if told else None

    def _help(self, arch: str, option: str) -> str:
        """Ask QEMU once; one that is not there, or fails, says nothing."""
        if (arch, option) not in self._helped:
            self._helped[arch, option] = ""  # also where it raises
            done = self.runner.run((f"/usr/bin/qemu-system-{arch}", option, "help"), timeout_s=QEMU_S)
            self._helped[arch, option] = done.stdout if done.exit_code == 0 else ""
        return self._helped[arch, option]

    def _cpu(self, number: str) -> bool:
        online = Path(self.root, "sys/devices/system/cpu/online").read_text(encoding="ascii")
        ranges = [part.partition("-") for part in online.strip().split(",")]
        return any(int(first) <= int(number) <= int(last or first) for first, _, last in ranges)

    def _entry(self, folder: str, name: str) -> bool | None:
        above = Path(self.root, folder)
        return Path(above, name).exists() if above.is_dir() else None

    def _usb(self, of: str) -> bool | None:
        vendor, _, product = of.partition(":")
        above = Path(self.root, "sys/bus/usb/devices")
        if not above.is_dir():
            return None
        found = set()
        for one in above.glob("*/idVendor"):
            with suppress(OSError):  # it may be pulled out meanwhile
                found.add((one.read_text().strip(), one.with_name("idProduct").read_text().strip()))
        return (vendor, product) in found

    def _hugepages(self, of: str) -> bool | None:
        size, _, needed = of.partition("-")
        if size == "default":
            told = Path(self.root, "proc/meminfo").read_text(encoding="ascii")
            size = (re.findall(r"Hugepagesize:\s+([0-9]+)", told) or ["0"])[0]
        pool = Path(self.root, "sys/kernel/mm/hugepages")
        if not pool.is_dir():
            return None
        counts = [
            Path(pool, f"hugepages-{size}kB", one) for one in ("nr_hugepages", "nr_overcommit_hugepages")
        ]
        total = sum(int(one.read_text()) for one in counts if one.exists())
        return total * int(size) >= max(int(needed), 1)

    def _virtiofs(self, _: str) -> bool:
        """Read what libvirt reads (docs/interop/vhost-user.json of QEMU)."""
        for folder in ("etc/qemu/vhost-user", "usr/share/qemu/vhost-user"):
            for one in Path(self.root, folder).glob("*.json"):
                with suppress(OSError, ValueError, TypeError, KeyError):
                    told = json.loads(one.read_text(encoding="utf-8"))
                    if told["type"] == "fs" and Path(self.root, told["binary"].lstrip("/")).exists():
                        return True
        return False

    def _libvirt(self, asked: Mapping[str, Requirement]) -> dict[str, bool | None]:
        if not asked:
            return {}

        def ask(libvirt: Any) -> dict[str, bool | None]:
            host = self.connection.host(libvirt)
            return {one: _told(libvirt, host, wanted) for one, wanted in asked.items()}

        try:
            return dict(self.connection.call(ask, CONNECT_S))
        except VmMgrError:
            return {}


class RemoteFacts:
    """Another node, which looks for itself; its libvirt is reached by the same key."""

    def __init__(self, nodes: NodeRunner, node: NodeName, connection: Connection) -> None:
        self.nodes = nodes
        self.node = node
        self.connection = connection

    def answers(self, requirements: Sequence[str]) -> Mapping[str, str]:
        """Ask it in one call; an older version refuses the verb."""
        if not requirements:
            return {}
        told = self.nodes.run(self.node, NodeVerb.HAS, *requirements)
        pairs = (one.partition("=") for one in told.split())
        return {
            one: answer for one, _, answer in pairs if answer in (MISSING, PRESENT) and one in requirements
        }

    def rejection(self, xml: str) -> VmMgrError | None:
        """Ask over the connection."""
        return _rejection(self.connection, xml)


_FILES = ("has-file", "has-medium")
_DEFINED = ("has-network", "has-volume", "has-nwfilter", "has-secret")
_LIBVIRT = (*_DEFINED, "has-secmodel", "has-efi", "has-spice", "has-qxl", "has-model")
_ABSENT = ("NO_NETWORK", "NO_STORAGE_POOL", "NO_STORAGE_VOL", "NO_NWFILTER", "NO_SECRET")
# Of what a definition calls the type of a secret, what libvirt calls it.
_SECRETS = {"ceph": "CEPH", "iscsi": "ISCSI", "passphrase": "VOLUME", "tls": "TLS", "vtpm": "VTPM"}


def _told(libvirt: Any, host: Any, asked: Requirement) -> bool | None:
    """Ask for one thing; what libvirt does not tell is not known."""
    try:
        return _defined(libvirt, host, asked) if asked.kind in _DEFINED else _capable(host, asked)
    except libvirt.libvirtError as error:
        absent = [getattr(libvirt, f"VIR_ERR_{one}") for one in _ABSENT]
        return False if error.get_error_code() in absent else None


def _defined(libvirt: Any, host: Any, asked: Requirement) -> bool | None:
    """Look it up; that raises for what is not there."""
    first, _, rest = asked.of.partition("/")
    if asked.kind == "has-network":
        return bool(host.networkLookupByName(asked.of).isActive())
    if asked.kind == "has-nwfilter":
        host.nwfilterLookupByName(asked.of)
    elif asked.kind == "has-volume":
        pool = host.storagePoolLookupByName(first)
        if not pool.isActive():
            return False
        pool.storageVolLookupByName(rest)
    elif not rest:
        host.secretLookupByUUIDString(first)
    elif first in _SECRETS:
        host.secretLookupByUsage(getattr(libvirt, f"VIR_SECRET_USAGE_TYPE_{_SECRETS[first]}"), rest)
    else:
        return None
    return True


def _capable(host: Any, asked: Requirement) -> bool | None:
    if asked.kind == "has-secmodel":
        known = etree.fromstring(host.getCapabilities().encode()).iterfind("host/secmodel/model")
        return asked.of in [one.text for one in known]
    virt, arch, model = "qemu", asked.of or None, ""
    if asked.kind == "has-model":
        virt, arch, model = asked.of.split("-", 2)
    root = etree.fromstring(host.getDomainCapabilities(None, arch, _BOARD.get(arch or ""), virt).encode())
    if asked.kind == "has-model":
        usable = [
            one.get("usable") for one in root.iterfind("cpu/mode[@name='custom']/model") if one.text == model
        ]
        return {"yes": True, "no": False}.get(usable[0] or "") if usable else None
    place, value = {
        "has-efi": ("os/enum[@name='firmware']", "efi"),
        "has-spice": ("devices/graphics/enum[@name='type']", "spice"),
        "has-qxl": ("devices/video/enum[@name='modelType']", "qxl"),
    }[asked.kind]
    listed = root.find(place)
    return None if listed is None else value in [one.text for one in listed.iterfind("value")]


def _address(address: str) -> bool | None:
    """Bind to it, as QEMU will: that also tells of an address that the kernel lets nobody miss."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family) as line:
        try:
            line.bind((address, 0))
        except OSError as error:
            return False if error.errno == errno.EADDRNOTAVAIL else None
    return True


def _rejection(connection: Connection, xml: str) -> VmMgrError | None:
    def ask(libvirt: Any) -> VmMgrError | None:
        host = connection.host(libvirt)
        try:
            host.domainXMLToNative("qemu-argv", xml, 0)
        except libvirt.libvirtError as error:
            code, said = error.get_error_code(), " ".join(str(error).split())
            if code in TEXT_CODES:
                hint = "correct the definition; see https://libvirt.org/formatdomain.html"
                return VmMgrError(Kind.INVALID, f"libvirt can't take the definition: {said}", hint=hint)
            if code in NODE_CODES:
                hint = "correct the definition, or install there what it needs"
                message = f"libvirt of {host.getHostname()} doubts that it can start the definition: {said}"
                return VmMgrError(Kind.NOT_SUPPORTED, message, hint=hint)
        return None

    try:
        found: VmMgrError | None = connection.call(ask, CONNECT_S)
    except VmMgrError:
        return None
    return found
