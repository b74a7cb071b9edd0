"""Keep in the storage that a VM which runs here writes elsewhere than to its stored disks."""

from vm_mgr.agent import identity
from vm_mgr.agent.agent_log import say
from vm_mgr.agent.parameters import Parameters
from vm_mgr.operations.storage.overlay import keep_note
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["note_disks"]


def note_disks(env: NodeEnv, given: Parameters) -> None:
    """Look at libvirt's state file and tell what replaces a disk; raises where the storage is silent."""
    name = given.name
    pid = identity.own_pid(env, name)
    live = env.evidence.definition(name, pid) if pid is not None else ""
    if not live or not env.definitions.written(live):
        return
    storage = env.storages.get(given.storage or env.storages.label_of(name))
    for one in keep_note(env, storage, name, live, env.cluster.local_node()):
        text = f"{name} writes elsewhere than to its stored disks: {one.text()}; it will not start without it"
        say(env, f"{text} ({one.way_out(name, '')})", warning=True)
