"""Read and prepare domain definitions."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from vm_mgr.errors import VmMgrError
from vm_mgr.model.storage import Disk, DiskSource
from vm_mgr.model.vm import VmName

__all__ = [
    "DefinitionDisks",
    "DefinitionReading",
    "DefinitionWriting",
    "Definitions",
    "HardDisk",
    "Machine",
    "Prepared",
    "Tie",
    "Written",
]


class Prepared(NamedTuple):
    """A definition that is ready to start, and what was done to get there."""

    xml: str
    uuid: str
    foreign_disks: tuple[str, ...] = ()


class Tie(NamedTuple):
    """What a definition has on one node only; with state, what the guest keeps there is lost elsewhere."""

    text: str
    state: bool = False


class HardDisk(NamedTuple):
    """A hard disk as a definition has it: path is empty for one that is neither a file nor a block device."""

    target: str
    path: str
    format: str


class Written(NamedTuple):
    """A disk that the domain writes to; job: a block job that copies it (copy, active-commit)."""

    target: str
    source: str
    job: str = ""


class Machine(NamedTuple):
    """What a guest gets to see, as far as people ask for it."""

    memory_bytes: int
    vcpus: int
    uuid: str
    macs: tuple[str, ...] = ()


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

    def prepare(self, xml: str, name: VmName, disks: Sequence[Disk], *, fresh: bool = False) -> Prepared:
        """Enforce name, UUID and MAC addresses (new ones if fresh), and put the disks in place."""
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

    def with_optional_media(self, xml: str) -> str:
        """Let optical and floppy drives be empty where a local medium is missing that is not mandatory."""
        ...

    def completed(self, xml: str) -> str:
        """Give addresses to network cards that have none; where none is missing the text stays as it is."""
        ...


class Definitions(DefinitionReading, DefinitionDisks, DefinitionWriting, Protocol):
    """Domain XML, as libvirt understands it."""
