"""Ask a node's libvirt for what a running domain needs there, before the domain is moved to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxml import etree

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.numbers import whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.adapters.libvirt.connection import Connection

__all__ = ["problems"]

_KIB = {
    "b": 1 / 1024,
    "bytes": 1 / 1024,
    "k": 1,
    "KiB": 1,
    "M": 1024,
    "MiB": 1024,
    "G": 1 << 20,
    "GiB": 1 << 20,
}
ALL_CELLS = -1


def problems(libvirt: Any, connection: Connection, xml: str) -> list[VmMgrError]:
    """Name all that is missing; to be called from within a call. What libvirt can't tell is no problem.

    Bridges are not asked for: libvirt goes by /sys, which may be another namespace's; ocf/Node knows better.
    """
    root = _parse(xml)
    host = connection.host(libvirt)
    where = str(host.getHostname())
    found = [*_machine(libvirt, host, root), *_networks(libvirt, host, root), *_memory(libvirt, host, root)]
    return [VmMgrError(kind, f"{where} {message}", hint=hint) for kind, message, hint in found]


def _machine(libvirt: Any, host: Any, root: etree._Element) -> Iterator[tuple[Kind, str, str]]:
    kind, system = root.get("type"), root.find("os/type")
    if system is None:
        return
    arch, machine = system.get("arch"), system.get("machine")
    emulator = root.findtext("devices/emulator")
    try:
        host.getDomainCapabilities(emulator, arch, machine, kind)
    except libvirt.libvirtError as error:
        hint = (
            "install the same version of QEMU there, or restart the VM so that it takes an older machine type"
        )
        yield Kind.NOT_SUPPORTED, f"can't run the machine {machine} ({error})", hint
        return
    cpu = root.find("cpu")
    # Without a check libvirt takes any processor: that is so for emulated and default ones.
    if kind != "kvm" or cpu is None or cpu.get("check", "none") == "none" or cpu.get("mode") != "custom":
        return
    try:
        text, flags = (
            etree.tostring(cpu, encoding="unicode"),
            libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE,
        )
        host.compareHypervisorCPU(emulator, arch, machine, kind, text, flags)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_CPU_INCOMPATIBLE:
            hint = "give the VM a <cpu> model that all nodes have: vm-mgr edit"
            yield Kind.NOT_SUPPORTED, f"lacks what the VM's processor has ({error})", hint


def _parse(xml: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    return etree.fromstring(xml.encode(), parser)


def _networks(libvirt: Any, host: Any, root: etree._Element) -> Iterator[tuple[Kind, str, str]]:
    for one in root.iterfind("devices/interface[@type='network']/source"):
        name = str(one.get("network"))
        try:
            active = bool(host.networkLookupByName(name).isActive())
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                continue
            active = False
        if not active:
            yield Kind.ENVIRONMENT, f"has no active network {name}", f"start it there: virsh net-start {name}"


def _memory(libvirt: Any, host: Any, root: etree._Element) -> Iterator[tuple[Kind, str, str]]:
    """Compare with what is free or can be freed; huge pages are another account."""
    element = root.find("memory")
    if element is None or root.find("memoryBacking/hugepages") is not None:
        return
    needed_kib = (whole_number((element.text or "").strip()) or 0) * _KIB.get(element.get("unit", "KiB"), 1)
    try:
        stats = host.getMemoryStats(ALL_CELLS)
    except libvirt.libvirtError:
        return
    free_kib = sum(stats.get(key, 0) for key in ("free", "buffers", "cached"))
    if "free" in stats and needed_kib > free_kib:
        message = f"has {free_kib // 1024} MiB of memory free, the VM needs {needed_kib / 1024:.0f} MiB"
        yield Kind.NO_RESOURCES, message, "choose another node, or move or stop VMs there"
