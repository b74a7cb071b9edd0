"""Read and prepare domain definitions."""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from vm_mgr.errors import VmMgrError
from vm_mgr.model.devices import DeviceChange, NewMachine
from vm_mgr.model.nvram import NvramPlaces
from vm_mgr.model.package import Appliance
from vm_mgr.model.storage import Disk, DiskSource
from vm_mgr.model.vm import VmName

__all__ = [
    "DISK",
    "MAC",
    "UUID",
    "DefinitionDisks",
    "DefinitionImport",
    "DefinitionReading",
    "DefinitionWriting",
    "Definitions",
    "Edited",
    "Exclusive",
    "HardDisk",
    "LiveChange",
    "Machine",
    "Prepared",
    "Tie",
    "Written",
]


# What an Exclusive can be; for others the words of adapters/libvirt/exclusive.py.
MAC, UUID, DISK = "MAC address", "UUID", "disk"


class Exclusive(NamedTuple):
    """What only one VM may have, in words: a MAC address, a log, a port; and which."""

    what: str
    value: str


class Prepared(NamedTuple):
    """A definition that is ready to start, and what was done to get there.

    changes: what could not stay as it was, each with its place. shared: what a VM of the same text has too,
    and can't be replaced. foreign_disks: the hard disks that are none of the VM's own, by target and source.
    variables: the file of UEFI variables that the text names, and that is not taken.
    """

    xml: str
    uuid: str
    foreign_disks: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    variables: str = ""


class Tie(NamedTuple):
    """What a definition has on one node only; with state, what the guest keeps there is lost elsewhere.

    optional: the domain starts without it, with an empty drive.
    """

    text: str
    state: bool = False
    optional: bool = False


class HardDisk(NamedTuple):
    """A hard disk as a definition has it: path is empty for one that is neither a file nor a block device.

    network: what qemu-img calls one that is reached by network.
    """

    target: str
    path: str
    format: str
    network: str = ""


class Written(NamedTuple):
    """A disk that the domain writes to; job: a block job that copies it (copy, active-commit)."""

    target: str
    source: str
    job: str = ""


class Machine(NamedTuple):
    """What a guest gets to see, as far as people ask for it.

    start_bytes: what a start takes of a node's memory; huge pages are another account.
    """

    memory_bytes: int
    vcpus: int
    uuid: str
    macs: tuple[str, ...] = ()
    description: str = ""
    start_bytes: int = 0


class LiveChange(Enum):
    """How a change of a device reaches a guest that runs; the words are virsh's."""

    ATTACH = "attach-device"
    DETACH = "detach-device"
    UPDATE = "update-device"
    NEXT_START = ""


class Edited(NamedTuple):
    """A definition with a changed device, and that device's XML for the guest that runs."""

    xml: str
    live: LiveChange
    device: str


class DefinitionReading(Protocol):
    """What a domain's XML says."""

    def problems(self, xml: str) -> list[VmMgrError]:
        """Check that a text is a domain that can be prepared."""
        ...

    def uuid(self, xml: str) -> str:
        """Read the UUID in lower case with dashes, or the empty string."""
        ...

    def name(self, xml: str) -> str:
        """Read the domain's name."""
        ...

    def has_agent(self, xml: str) -> bool:
        """Tell whether the domain has a channel to an agent in the guest."""
        ...

    def machine(self, xml: str) -> Machine:
        """Read memory, processors and identity."""
        ...

    def ties(self, xml: str, own: Collection[str] = ()) -> tuple[Tie, ...]:
        """Name all that ties the domain to one node, apart from these sources of disks; raises INVALID."""
        ...

    def immovable(self, xml: str) -> tuple[str, ...]:
        """Name what keeps the guest from being moved while it runs, and its memory from being saved."""
        ...

    def nvram(self, xml: str) -> NvramPlaces:
        """Say where a node has its UEFI variables and its TPM's state, as far as they are files of a node."""
        ...

    def exclusive(self, xml: str) -> tuple[Exclusive, ...]:
        """Name what only one VM may have; nothing for a text that can't be read."""
        ...

    def requirements(self, xml: str) -> tuple[str, ...]:
        """Name what a node must have for the domain to start, in the words of model/node_requirements.py."""
        ...


class DefinitionDisks(Protocol):
    """The disks in a domain's XML."""

    def hard_disks(self, xml: str) -> list[HardDisk]:
        """Describe the domain's hard disks, in the order in which `prepare` replaces them."""
        ...

    def sources(self, xml: str) -> list[str]:
        """Name the sources of all disks, whatever kind they are."""
        ...

    def written(self, xml: str) -> list[Written]:
        """Describe the disks that it writes to: of a running domain, to what it writes at this moment."""
        ...

    def with_disk(self, xml: str, disk: Disk) -> str:
        """Add a disk at a place that is free."""
        ...

    def without_disk(self, xml: str, source: str) -> str:
        """Remove the disk with this source; absent is fine."""
        ...

    def device(self, xml: str, source: str) -> str:
        """Give the XML of the disk with this source alone; raises NOT_FOUND."""
        ...

    def opened(self, xml: str) -> list[DiskSource]:
        """Say where the disks are that the domain opens for writing, in QEMU's own arguments too."""
        ...


class DefinitionWriting(Protocol):
    """A domain's XML, made from another one."""

    def prepare(
        self,
        xml: str,
        name: VmName,
        disks: Sequence[Disk],
        *,
        fresh: bool = False,
        copied: bool = False,
        own: Sequence[str] = (),
    ) -> Prepared:
        """Enforce name, UUID and MAC addresses, and put the disks in place; the rest stays as it is.

        fresh: a copy with an identity of its own, and nothing that only one VM may have. copied: its UEFI
        variables come along. own: the sources in the text whose places the disks take; else it is the first
        hard disks. Raises NOT_SUPPORTED.
        """
        ...

    def renamed(self, xml: str, name: VmName, sources: Mapping[str, str]) -> str:
        """Replace the name, and the sources of the disks."""
        ...

    def changed(
        self,
        xml: str,
        *,
        memory_bytes: int | None = None,
        vcpus: int | None = None,
        description: str | None = None,
    ) -> str:
        """Change what is given; raises INVALID where the rest of the definition contradicts it."""
        ...

    def edited(self, xml: str, change: DeviceChange) -> Edited:
        """Change a network card or a medium; raises NOT_FOUND, or EXISTS for a card's address."""
        ...

    def made(self, machine: NewMachine) -> str:
        """Write a definition where none is given."""
        ...

    def with_optional_media(self, xml: str) -> str:
        """Let optical and floppy drives be empty where a local medium is missing that is not mandatory."""
        ...

    def completed(self, xml: str) -> str:
        """Give addresses to network cards that have none; where none is missing the text stays as it is."""
        ...


class DefinitionImport(Protocol):
    """A domain's XML, made from what other programs say of a VM."""

    def appliance(self, description: bytes) -> Appliance:
        """Read an OVF; raises INVALID for what is none or not whole, NOT_SUPPORTED for several VMs."""
        ...

    def of_appliance(
        self, appliance: Appliance, networks: Mapping[str, str], *, keep_macs: bool, kvm: bool
    ) -> str:
        """Write a definition; networks: the nodes' for each of the appliance's (model/package.py).

        Its disks have no sources yet: `prepare` puts those in place.
        """
        ...


class Definitions(DefinitionReading, DefinitionDisks, DefinitionWriting, DefinitionImport, Protocol):
    """Domain XML, as libvirt understands it."""
