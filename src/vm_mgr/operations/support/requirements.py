"""Have the cluster go by what a VM's definition asks of a node."""

from vm_mgr.errors import VmMgrError
from vm_mgr.model.node_requirements import Uplink
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["renew_requirements"]


def renew_requirements(env: Env, name: VmName) -> None:
    """Bring the rules of a VM that doesn't run up to date; one that runs could be moved for it.

    Without them it starts all the same, so a storage that does not answer only costs a warning.
    """
    try:
        if not env.storage.definitions.exists(name):
            return
        requirements = env.definitions.requirements(env.storage.definitions.read(name))
        follow = env.storage.definitions.settings(name).uplink != Uplink.IGNORE
        env.cluster.change_requirements(name, requirements, follow_uplink=follow)
    except VmMgrError as error:
        message = f"the rules by which {name} avoids nodes stay as they were: {error.message}"
        env.say(Note(Level.WARNING, "asks-kept", message, error.hint))
