"""Read from a domain what a node must have for it to start (model/node_requirements.py names it)."""

import re

from lxml import etree

__all__ = ["requirements"]

# Linux allows 15 bytes for the name of an interface.
_BRIDGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
# One with a version: every QEMU has "pc" and "q35".
_MACHINE = re.compile(r"[a-z0-9][a-z0-9_-]*-[0-9]+\.[0-9]+")


def requirements(root: etree._Element) -> tuple[str, ...]:
    """Name bridges, hardware virtualisation and machine type, in this order, as far as a node can tell."""
    kvm = ["kvm"] if root.get("type") == "kvm" else []
    return (*sorted(_bridges(root)), *kvm, *_machine(root))


def _bridges(root: etree._Element) -> set[str]:
    """Leave out those of Open vSwitch: whether one is there, and connected, the kernel does not tell."""
    found = root.iterfind("devices/interface[@type='bridge']")
    plain = [one for one in found if one.find("virtualport[@type='openvswitch']") is None]
    names = [str(source.get("bridge", "")) for one in plain for source in one.iterfind("source")]
    return {f"bridge-{name}" for name in names if _BRIDGE.fullmatch(name)}


def _machine(root: etree._Element) -> list[str]:
    system, emulator = root.find("os/type"), (root.findtext("devices/emulator") or "").strip()
    arch, machine = ("", "") if system is None else (system.get("arch", ""), system.get("machine", ""))
    if not re.fullmatch("[a-z0-9_]+", arch) or not _MACHINE.fullmatch(machine):
        return []
    return [f"machine-{arch}-{machine}"] if emulator in ("", f"/usr/bin/qemu-system-{arch}") else []
