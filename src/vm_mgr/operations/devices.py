"""Change a VM's network cards and media, at once where its guest runs."""

from collections.abc import Sequence

from vm_mgr.errors import VmMgrError
from vm_mgr.model.devices import DeviceChange
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.hotplug import at_guest
from vm_mgr.ports.definition import Edited, LiveChange
from vm_mgr.ports.env import Env
from vm_mgr.ports.hypervisor import Hypervisor
from vm_mgr.reports import Level, Note

__all__ = ["edit_devices", "tell_guest"]


def edit_devices(env: Env, xml: str, changes: Sequence[DeviceChange]) -> list[Edited]:
    """Make one change after the other in a definition; the last one has them all."""
    found: list[Edited] = []
    for change in changes:
        found.append(env.definitions.edited(found[-1].xml if found else xml, change))
    return found


def tell_guest(env: Env, name: VmName, changes: Sequence[Edited]) -> None:
    """Change the devices of a guest that runs; where that can't be, its next start has them."""
    for change in changes:
        later = "it can't change while the guest runs" if change.live is LiveChange.NEXT_START else ""
        reached: list[Hypervisor] = []

        def act(hypervisor: Hypervisor, change: Edited = change, reached: list[Hypervisor] = reached) -> None:
            reached.append(hypervisor)
            if change.live is not LiveChange.NEXT_START:
                hypervisor.change_device(name, change.live, change.device)

        try:
            at_guest(env, name, act)
        except VmMgrError as error:
            later = error.message
        if later and reached:
            text = f"a device of {name} changes at its next start: {later}"
            env.say(Note(Level.WARNING, "effect-start", text, f"vm-mgr restart {name}"))
        elif reached:
            env.say(Note(Level.INFO, "effect-now", f"the guest of {name} has been told of the change"))
