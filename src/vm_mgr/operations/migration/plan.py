"""Turn a wish for a live migration into a plan, by what the guest does at this moment."""

from vm_mgr.model.migration import Limits, Plan, Strategy, choose
from vm_mgr.model.vm import VmName
from vm_mgr.ports.definition import DefinitionReading
from vm_mgr.ports.hypervisor import Hypervisor

__all__ = ["plan_for"]

MIB = 1 << 20


def plan_for(
    hypervisor: Hypervisor,
    definitions: DefinitionReading,
    name: VmName,
    *,
    strategy: Strategy,
    bandwidth_mib: int | None,
    limits: Limits,
) -> Plan:
    """Measure the guest's dirty rate where the strategy is to be picked; hypervisor is that of its node."""
    if strategy is not Strategy.AUTO:
        return Plan(strategy)
    dirty_bps = hypervisor.dirty_rate(name)
    memory_bytes = definitions.machine(hypervisor.running_definition(name)).memory_bytes
    return choose(dirty_bps, bandwidth_mib * MIB if bandwidth_mib else None, memory_bytes, limits)
