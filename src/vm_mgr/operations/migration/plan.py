"""Turn a wish for a live migration into a plan, by what the guest does at this moment."""

from vm_mgr.model.migration import Limits, Plan, choose
from vm_mgr.model.vm import VmName
from vm_mgr.ports.hypervisor import Hypervisor

__all__ = ["plan_for"]

MIB = 1 << 20


def plan_for(
    hypervisor: Hypervisor, name: VmName, *, memory_bytes: int, bandwidth_mib: int | None, limits: Limits
) -> Plan:
    """Measure the guest's dirty rate and pick the strategy; hypervisor is that of its node."""
    dirty_bps = hypervisor.dirty_rate(name)
    return choose(dirty_bps, bandwidth_mib * MIB if bandwidth_mib else None, memory_bytes, limits)
