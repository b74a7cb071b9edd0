"""Let two nodes write a VM's disks for the time of a live migration, and see to it that this ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import VmName
from vm_mgr.operations.support.locking import with_intent
from vm_mgr.ports.env import Env
from vm_mgr.reports import Progress

__all__ = ["handed_over", "recover"]

# Pacemaker demotes in seconds; for longer only where it has more to do.
DEMOTED_S = 60.0
POLL_S = 0.5


@contextmanager
def handed_over(env: Env, name: VmName, target: NodeName) -> Iterator[None]:
    """Open the disks at the target; close them everywhere but where the VM is, once the move has ended.

    A kill leaves an intent: the next command at the VM, or repair, closes them. By then the cluster has
    demoted one side by itself, since what lets it promote two has a date.
    """
    label = env.storages.label_of(name)
    with with_intent(env, name, "handover", storage=label) as step:
        env.storages.handover(label).open_at(name, target)
        yield
        recover(env, name, step.intent)


def recover(env: Env, name: VmName, intent: Intent) -> bool:
    """End the move, and close the disks when one side is demoted; raises TRY_LATER where that takes long."""
    env.cluster.end_move(name)
    handover = env.storages.handover(intent.details["storage"])
    deadline = env.clock.monotonic() + DEMOTED_S
    while True:
        resource = env.cluster.state().resources.get(name)
        node = resource.nodes[0] if resource is not None and resource.nodes else NodeName("")
        try:
            handover.close_elsewhere(name, node)
        except VmMgrError as error:
            if error.kind is not Kind.TRY_LATER or env.clock.monotonic() > deadline:
                raise
        else:
            return True
        env.say(Progress(f"waiting until one node alone may write the disks of {name}"))
        env.clock.sleep(POLL_S)
