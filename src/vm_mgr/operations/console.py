"""Attach to a VM's serial console."""

from typing import NoReturn

from vm_mgr.model.vm import VmName
from vm_mgr.operations.support.preconditions import running_node
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["console"]


def console(env: Env, name: VmName, *, user: str = "") -> NoReturn:
    """Become the console's terminal, wherever the VM runs; user is who logs in at another node."""
    node = running_node(env, env.cluster.state(), name)
    env.say(Note(Level.INFO, "console", f"at the console of {name} on {node}; leave it with Ctrl-]"))
    env.hypervisor_at(node).console(name, user)
