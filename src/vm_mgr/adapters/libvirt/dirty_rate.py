"""Have QEMU measure how much of its memory a guest changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.libvirt.connection import Connection, binding, qemu_binding
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vm_mgr.model.vm import VmName

__all__ = ["begin_dirty_rate", "measured_dirty_rate"]

CALL_S = 5.0
MIB = 1 << 20
# How long the guest's memory is sampled before its migration.
SAMPLE_MS = 250


def begin_dirty_rate(connection: Connection, name: VmName) -> None:
    """Have QEMU sample the guest's memory; libvirt knows whole seconds only, QEMU less from 8.2 on."""

    def begin(libvirt: Any) -> None:
        domain = connection.domain(libvirt, name)
        if not _samples_shortly(domain):
            domain.startDirtyRateCalc(1)

    connection.call(begin, CALL_S)


def _samples_shortly(domain: Any) -> bool:
    arguments = {"calc-time": SAMPLE_MS, "calc-time-unit": "millisecond"}
    command = json.dumps({"execute": "calc-dirty-rate", "arguments": arguments})
    try:
        return "return" in json.loads(qemu_binding().qemuMonitorCommand(domain, command, 0))
    except (ImportError, ValueError, binding().libvirtError):
        return False


def measured_dirty_rate(
    connection: Connection, name: VmName, sleep: Callable[[float], None], *, begun: bool
) -> float | None:
    """Wait for what was sampled, or have it done; None where QEMU can't, or the guest is paused."""

    def look(libvirt: Any) -> Mapping[str, Any]:
        domain = connection.domain(libvirt, name)
        wanted = libvirt.VIR_DOMAIN_STATS_DIRTYRATE
        return dict(connection.host(libvirt).domainListGetStats([domain], wanted)[0][1])

    try:
        if not begun:
            begin_dirty_rate(connection, name)
        for _ in range(40):
            stats = connection.call(look, CALL_S)
            if stats.get("dirtyrate.calc_status") == binding().VIR_DOMAIN_DIRTYRATE_MEASURED:
                return float(stats["dirtyrate.megabytes_per_second"]) * MIB
            sleep(0.05)
    except VmMgrError as error:
        if error.kind is not Kind.EXTERNAL_FAILURE:
            raise
    return None
