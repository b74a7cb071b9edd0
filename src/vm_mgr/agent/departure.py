"""Keep what proves that a VM has left this node for good, for who goes on where the agent was killed.

The agent names a migration before it begins, in a file. libvirt's hook renames that file when libvirt has
ended the source because the target has it all: from then on the guest may go on there, and only there. Both
files end with the boot, as the process does. The hook is deploy/roles/vm_mgr/files/hook.
"""

from contextlib import suppress
from uuid import uuid4

from vm_mgr.agent import state_files
from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["begin", "end", "finish"]

LOOK_S = 10.0
LETTERS = frozenset("0123456789abcdef")


def begin(env: NodeEnv, name: VmName) -> str:
    """Name a migration that begins; where that can't be kept, nobody but the agent can finish it."""
    ident = uuid4().hex
    end(env, name)
    with suppress(OSError):
        state_files.write(env, "moving", name, f"{ident}\n")
    return ident


def end(env: NodeEnv, name: VmName) -> None:
    """Forget it: it has ended well, or the VM runs here."""
    state_files.forget(env, name, "moving", "left")


def finish(env: NodeEnv, name: VmName) -> NodeName | None:
    """Let a VM go on where it has arrived and stands, if it has left this node for good; give that node."""
    ident = state_files.read(env, "left", name).strip()
    if not ident or not set(ident) <= LETTERS or env.processes.find_vm(name) is not None:
        return None
    here = env.cluster.local_node()
    for node in env.cluster.state().nodes:
        if node.name == here or node.observer or not node.online:
            continue
        with suppress(VmMgrError):
            there = env.hypervisor_at(node.name)
            if there.paused(name, timeout_s=LOOK_S) is PauseReason.ARRIVING:
                there.let_go(name, timeout_s=LOOK_S, ident=ident)
                if there.paused(name, timeout_s=LOOK_S) is not PauseReason.ARRIVING:
                    return node.name
    return None
