"""Write the definition of a VM that is created without one."""

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.devices import NewMachine
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["new_definition"]


def new_definition(env: Env, machine: NewMachine, *, host: str | None = None) -> str:
    """Write one that starts on every node, or on the one that the VM is pinned to.

    Its type is kvm where all of them have KVM. Nodes that can't be asked do not count.
    """
    state = env.cluster.state()
    asked, without = [], []
    for node in (node for node in state.hosts if host in (None, node)):
        try:
            has = env.hypervisor_at(node).has_kvm()
        except VmMgrError as error:
            env.say(Note(Level.WARNING, "not-asked", f"{node} does not say what it has: {error.message}"))
            continue
        asked.append(node)
        without += [] if has else [node]
    if not asked:
        hint = "see the nodes: crm_mon -1; or give a definition: --xml FILE"
        raise VmMgrError(Kind.NO_RESOURCES, "no node says what it has", hint=hint)
    if without:
        text = f"the VM is emulated, which is slow: there is no KVM on {', '.join(without)}"
        env.say(Note(Level.WARNING, "emulated", text))
    return env.definitions.made(machine._replace(kvm=not without))
