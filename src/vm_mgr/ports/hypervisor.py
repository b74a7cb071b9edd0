"""Control running domains on a node."""

from typing import NoReturn, Protocol

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import NodeCapacity
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.vm import VmName
from vm_mgr.ports.definition import LiveChange
from vm_mgr.ports.guest_access import GuestAccess
from vm_mgr.ports.live_migration import LiveMigration

__all__ = [
    "Devices",
    "Domains",
    "GuestDisks",
    "GuestMemory",
    "Guests",
    "Hypervisor",
    "half_error",
    "saved_error",
]


def half_error(name: VmName, reason: PauseReason) -> VmMgrError:
    """Say that a guest is paused as a half of a live migration."""
    hint = f"the cluster decides within a minute; see: vm-mgr status {name}"
    return VmMgrError(Kind.WRONG_STATE, f"{name} is paused in a live migration here ({reason})", hint=hint)


def saved_error(name: VmName) -> VmMgrError:
    """Say that libvirt has saved the memory of a domain that it keeps, as libvirt-guests does."""
    hint = f"let the guest go on and shut it down: virsh start {name}; virsh shutdown {name}; "
    hint += f"or lose that memory, as by a power failure: virsh managedsave-remove {name}"
    message = f"{name} has a managed save: this node keeps its guest's memory in a file"
    return VmMgrError(Kind.WRONG_STATE, message, hint=hint)


class Domains(Protocol):
    """Domains of a node, and what libvirt knows of them."""

    def capacity(self) -> NodeCapacity:
        """Give what the node has in all, and how much of its memory is free or can be freed."""
        ...

    def create(self, xml: str, name: VmName, *, timeout_s: float) -> None:
        """Start a transient domain.

        Raises TRY_LATER where libvirt has this very one (name and UUID): its process may have ended just now;
        WRONG_STATE where our guard refuses it, since somebody has the disks open: that may pass, too.
        """
        ...

    def shutdown(self, name: VmName, *, timeout_s: float) -> None:
        """Ask the guest to power off."""
        ...

    def destroy(self, name: VmName, *, timeout_s: float) -> None:
        """Power off."""
        ...

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Give libvirt's word for the state (running, paused, …), or "absent"."""
        ...

    def running_definition(self, name: VmName) -> str:
        """Give the XML of a running domain as another node would have to take it over."""
        ...

    def console(self, name: VmName, user: str = "") -> NoReturn:
        """Become a terminal at the domain's serial console; user is who logs in at its node."""
        ...

    def definition(self, name: VmName) -> str:
        """Give the XML of a domain that libvirt itself keeps, as it will start next.

        Raises NOT_FOUND, and WRONG_STATE for one that will go on with a managed save, which has its own XML.
        """
        ...

    def acts_alone(self, name: VmName) -> str:
        """Say what on this node would start or stop the domain behind the cluster's back; mostly nothing."""
        ...

    def undefine(self, name: VmName) -> None:
        """Have libvirt forget a domain that it keeps, but not its disks; absent is fine."""
        ...


class Guests(Protocol):
    """What runs in a domain: whether its file systems and its processors stand still."""

    def freeze(self, name: VmName) -> bool:
        """Have the guest's agent freeze its file systems; False for a guest without an agent that answers."""
        ...

    def thaw(self, name: VmName) -> bool:
        """Let the guest's file systems go on; nothing frozen is fine. False if no agent answered."""
        ...

    def is_frozen(self, name: VmName) -> bool:
        """Tell whether the guest's agent says that its file systems are frozen; False for no answer."""
        ...

    def agent_answers(self, name: VmName) -> bool:
        """Tell whether the guest's agent answers now, within a second or so."""
        ...

    def pause(self, name: VmName) -> None:
        """Stop the guest's processors; its writes under way end. A guest that is paused is fine."""
        ...

    def resume(self, name: VmName) -> None:
        """Let them go on; a guest that runs is fine.

        Raises WRONG_STATE for a guest that waits for the end of its source. libvirt tells no guest that was
        restored from one that a migration has left paused: who resumes another's guest looks at
        PauseReason.is_half.
        """
        ...

    def take_back(self, name: VmName) -> None:
        """Let a guest go on that its migration has left standing, when its target can't go on any more."""
        ...

    def paused(self, name: VmName, *, timeout_s: float) -> PauseReason:
        """Say why the guest's processors do not run, or that they do.


        A domain that is absent raises EXTERNAL_FAILURE.
        """
        ...


class GuestMemory(Protocol):
    """A guest's memory in a file."""

    def save_memory(self, name: VmName, path: str, *, timeout_s: float) -> None:
        """Write the memory of a guest that stands to a new file; its disks are flushed, and it stands on.

        Where it fails nothing goes on being written, and the guest can be resumed.
        """
        ...

    def restore(self, path: str, name: VmName, *, timeout_s: float) -> None:
        """Start a transient domain with the memory in a file; its processors stand until `resume`."""
        ...


class GuestDisks(Protocol):
    """The disks that a running domain has open."""

    def grow(self, name: VmName, source: str, size_bytes: int) -> None:
        """Tell a running guest that the disk with this source has become larger."""
        ...

    def disk_sources(self, name: VmName) -> list[str]:
        """Name the sources of the disks that a running domain has at this moment."""
        ...

    def attach(self, name: VmName, device: str) -> None:
        """Plug a device, given as XML, into a running domain, until it ends."""
        ...

    def detach(self, name: VmName, source: str) -> None:
        """Ask the guest to let the disk with this source go; it does so later, or never.

        Fails, too, for a guest that is asked already: whether the disk goes is seen in `disk_sources`.
        """
        ...


class Devices(Protocol):
    """What a running domain has besides its disks, and what domains can have here."""

    def has_kvm(self) -> bool:
        """Tell whether domains of the type kvm can run here."""
        ...

    def change_device(self, name: VmName, change: LiveChange, device: str) -> None:
        """Attach, detach or update a device of a running domain, until it ends.

        A guest that is to release a device does so later, or never.
        """
        ...


class Hypervisor(Domains, Guests, GuestMemory, GuestDisks, Devices, LiveMigration, Protocol):
    """The hypervisor of a node.

    guest: its guests, for what they are asked from outside. Every call is bounded in time and raises
    EXTERNAL_FAILURE when it fails or hangs.
    """

    guest: GuestAccess
