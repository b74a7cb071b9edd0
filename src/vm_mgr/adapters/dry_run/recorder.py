"""Run an operation dry: for real, but on copies in memory, and say each change as a step.

A VM is read from the real ports until the operation changes it; from then on from its copy
(docs/design/0006-dry-run.md). The real ports are only asked for the verbs of reads.READS.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from vm_mgr.adapters.dry_run.overlay import ClusterCopy, HypervisorCopy, NodesCopy, StorageCopy
from vm_mgr.adapters.dry_run.reads import READS
from vm_mgr.adapters.dry_run.silent import AbsentNodes, NoCopies, NullJournal, Unlimited
from vm_mgr.adapters.dry_run.wording import WORDS
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.model.vm import VmName
from vm_mgr.ports.cluster_storage import NoHandover
from vm_mgr.ports.storage import PARTS
from vm_mgr.reports import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from vm_mgr.model.cluster import NodeName
    from vm_mgr.model.intent import Intent, Key
    from vm_mgr.model.resource import ClusterParts
    from vm_mgr.model.storage import Disk, DiskSource, Identified
    from vm_mgr.ports.cluster import Cluster
    from vm_mgr.ports.cluster_storage import Handover
    from vm_mgr.ports.definition import Definitions
    from vm_mgr.ports.env import Env
    from vm_mgr.ports.event_log import EventLog
    from vm_mgr.ports.hypervisor import Hypervisor
    from vm_mgr.ports.images import Images
    from vm_mgr.ports.node_facts import NodeFacts
    from vm_mgr.ports.nodes import Nodes
    from vm_mgr.ports.processes import Processes
    from vm_mgr.ports.staged import Staged
    from vm_mgr.ports.storage import Storage
    from vm_mgr.ports.storage_fencing import StorageFencing
    from vm_mgr.ports.timings import Timings
    from vm_mgr.reports import Report

    Copy = ClusterCopy | NodesCopy | StorageCopy | HypervisorCopy
    Tell = Callable[[str], None]

__all__ = ["DryRunEnv"]

# Notes that tell how something has ended.
OUTCOMES = {"moved", "see-events"}


class ReadOnly:
    """A real port of which only the verbs that read can be reached."""

    def __init__(self, port: str, real: Any) -> None:
        self._port = port
        self._real = real

    def __getattr__(self, verb: str) -> Any:
        part = f"{self._port}.{verb}"
        if part in READS:
            return ReadOnly(part, getattr(self._real, verb))
        if verb in READS[self._port]:
            return getattr(self._real, verb)
        raise AttributeError(f"{part} is not known to only read")


class ReadOnlyStorages(ReadOnly):
    """The real storages, none of which can be changed either."""

    def get(self, label: str) -> ReadOnly:
        """Give one; raises NOT_FOUND."""
        return ReadOnly("storage", self._real.get(label))


class ReadOnlyEnv:
    """The real environment, of which nothing can be changed; each port is built when it is first used."""

    def __init__(self, real: Env) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return ReadOnly(name, found) if name in READS else found

    @property
    def storages(self) -> ReadOnlyStorages:
        """All storages."""
        return ReadOnlyStorages("storages", self._real.storages)

    def hypervisor_at(self, node: NodeName) -> ReadOnly:
        """Another node's domains."""
        return ReadOnly("hypervisor", self._real.hypervisor_at(node))


class Recording:
    """A copy whose changing verbs are said as steps once they are done."""

    def __init__(self, port: str, copy: Any, tell: Tell, seen: Any = None) -> None:
        self._words = WORDS[port]
        self._copy = copy
        self._tell = tell
        self._seen = seen or copy

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb in self._words:
            return partial(self._change, verb)
        raise AttributeError(f"there are no words for {verb}")

    def _change(self, verb: str, *arguments: Any, **named: Any) -> Any:
        words = self._words[verb](self._seen, *arguments, **named)
        result = getattr(self._copy, verb)(*arguments, **named)
        self._tell(words)
        return result


class OverlaidPort:
    """A port, or PORT.PART, that reads a VM from the real one until it is changed, and then from the copy."""

    def __init__(self, port: str, real: Callable[[], Any], copy: Copy, tell: Tell) -> None:
        """real and copy are of the port."""
        self._port = port
        self._part = port.partition(".")[2]
        self._real = real
        self._copy = copy
        self._told = Recording(port, self._of(copy), tell, seen=self)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        return partial(self._read if verb in READS[self._port] else self._change, verb)

    def _read(self, verb: str, *arguments: Any, **named: Any) -> Any:
        answered = f"{self._part}.{verb}" if self._part else verb
        ours = answered in self._copy.answers or not self._copy.changed.isdisjoint(_names(arguments[:1]))
        return getattr(self._of(self._copy if ours else self._real()), verb)(*arguments, **named)

    def _change(self, verb: str, *arguments: Any, **named: Any) -> Any:
        change = getattr(self._told, verb)
        if verb not in self._copy.unread:
            for name in _names(arguments[: 2 if verb == "rename" else 1]):
                self._copy.take(name)
        return change(*arguments, **named)

    def _of(self, port: Any) -> Any:
        return getattr(port, self._part) if self._part else port


class OverlaidDisks(OverlaidPort):
    """The disks of a storage."""

    def __init__(self, real: Callable[[], Storage], copy: StorageCopy, tell: Tell, label: str) -> None:
        super().__init__("storage.disks", real, copy, tell)
        self._storage = copy
        self._label = label

    def locate(self, name: VmName, number: int, bus: str | None) -> Disk:
        """Say it as the real storage would: that takes no look at the VM."""
        real = self._storage.env.storages.get(self._label or self._storage.where(name))
        return real.disks.locate(name, number, bus)


class OverlaidStorage(OverlaidPort):
    """A storage of the configuration, or whichever has the VM if no label is given."""

    def __init__(self, env: Env, copy: StorageCopy, tell: Tell, label: str = "") -> None:
        def real() -> Storage:
            return env.storages.get(label) if label else env.storage

        super().__init__("storage", real, copy, tell)
        self._env = env
        self._storage = copy
        self._tell = tell
        self._label = label
        for part in PARTS:
            setattr(self, part, OverlaidPort(f"storage.{part}", real, copy, tell))
        self.disks = OverlaidDisks(real, copy, tell, label)

    @contextmanager
    def stage(self, name: VmName) -> Iterator[Staged]:
        """Make disks in memory."""
        self._storage.take(name)
        with self._storage.stage(name) as staged:
            yield cast("Staged", Recording("staged", staged, self._tell))
        if self._storage.vms.get(name) is staged.vm:
            self._storage.labels[name] = self._label or self._env.storages.labels()[0]
            self._storage.images_of.pop(name, None)


class OverlaidStorages:
    """The storages of the configuration; their VMs are all in the one copy."""

    def __init__(self, env: Env, copy: StorageCopy, tell: Tell) -> None:
        self._env = env
        self._copy = copy
        self._tell = tell

    def labels(self) -> Sequence[str]:
        """Name all."""
        return self._env.storages.labels()

    def get(self, label: str) -> Storage:
        """Give one; raises NOT_FOUND."""
        self._env.storages.get(label)
        return cast("Storage", OverlaidStorage(self._env, self._copy, self._tell, label or self.labels()[0]))

    def names(self, label: str) -> set[VmName]:
        """Name the VMs of one."""
        return self.get(label).definitions.names()

    def identified(self, label: str, sources: Sequence[DiskSource]) -> Identified:
        """Ask the real one, which takes no look at a VM."""
        return self._env.storages.identified(label, sources)

    def label_of(self, name: VmName) -> str:
        """Tell which one has a VM."""
        return self._copy.where(name)

    def cluster_parts(self, label: str, name: VmName) -> ClusterParts:
        """Say what the real one would need."""
        return self._env.storages.cluster_parts(label, name)

    def handover(self, label: str) -> Handover:  # noqa: ARG002
        """Do nothing: no guest moves."""
        return NoHandover()


class OverlaidIntentLog:
    """The real intents and those of the dry run; locks nothing: whoever is at a VM is not disturbed."""

    def __init__(self, env: Env, tell: Tell) -> None:
        self._env = env
        self._tell = tell
        self._own: dict[VmName, Intent] = {}
        self._ended: set[VmName] = set()

    @cached_property
    def _found(self) -> Mapping[VmName, Intent]:
        return dict(self._env.intent_log.intents())

    def lock(self, name: VmName | Key) -> AbstractContextManager[None]:  # noqa: ARG002
        """Lock nothing."""
        return nullcontext()

    def intents(self) -> Mapping[VmName, Intent]:
        """Give what is unfinished."""
        return {name: intent for name, intent in self._found.items() if name not in self._ended} | self._own

    def write(self, name: VmName, intent: Intent) -> None:
        """Keep an intent here."""
        self._own[name] = intent

    def erase(self, name: VmName) -> None:
        """Forget it; the end of one that somebody else has left is a step."""
        self._own.pop(name, None)
        if name in self._found and name not in self._ended:
            self._ended.add(name)
            found = self._found[name]
            self._tell(f"close the unfinished {found.verb} of {name}, begun on {found.node or 'some node'}")


class OverlaidStorageFencing:
    """What is there of a lost node; what would be done about it is only said."""

    def __init__(self, env: Env, tell: Tell) -> None:
        self._real = env.storage_fencing
        self._tell = tell

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb in READS["storage_fencing"]:
            return cast("Callable[..., Any]", getattr(self._real, verb))
        return lambda *arguments, **named: self._tell(
            WORDS["storage_fencing"][verb](self, *arguments, **named)
        )


class DryRunEnv:
    """An environment that changes nothing and shows the steps instead."""

    def __init__(self, env: Env, show: Callable[[str], None]) -> None:
        self._show = show
        real = self._real = cast("Env", ReadOnlyEnv(env))
        self._last = ""
        self._hypervisors: dict[NodeName, Hypervisor] = {}
        cluster = self._cluster = ClusterCopy(real)
        self._storage = StorageCopy(real, cluster.ran)
        self.clock = VirtualClock()
        self.clock.now = real.clock.utc()  # a fencing can be too long ago
        self.cluster = cast("Cluster", OverlaidPort("cluster", lambda: real.cluster, cluster, self._tell))
        nodes = NodesCopy(cluster)
        self.nodes = cast("Nodes", OverlaidPort("nodes", lambda: real.nodes, nodes, self._tell))
        self.storages = OverlaidStorages(real, self._storage, self._tell)
        self.storage = cast("Storage", OverlaidStorage(real, self._storage, self._tell))
        self.intent_log = OverlaidIntentLog(real, self._tell)
        self.own_clients = real.own_clients
        self.node_runner = AbsentNodes()
        self.nvram_files = NoCopies(real)
        self.journal = NullJournal()
        here = HypervisorCopy(lambda: real.hypervisor, cluster.take)
        self.hypervisor = cast(
            "Hypervisor", OverlaidPort("hypervisor", lambda: real.hypervisor, here, self._tell)
        )
        self.processes = cast(
            "Processes", OverlaidPort("processes", lambda: real.processes, here, self._tell)
        )

    @property
    def storage_fencing(self) -> StorageFencing:
        """The real ones, of which nothing is changed."""
        return cast("StorageFencing", OverlaidStorageFencing(self._real, self._tell))

    @property
    def event_log(self) -> EventLog:
        """The real one, to be read."""
        return self._real.event_log

    @property
    def images(self) -> Images:
        """The real ones: they only read."""
        return self._real.images

    @property
    def definitions(self) -> Definitions:
        """The real ones: they only read."""
        return self._real.definitions

    @property
    def timings(self) -> Timings:
        """The real ones: they only read."""
        return self._real.timings

    def hypervisor_at(self, node: NodeName) -> Hypervisor:
        """Run dry on another node's domains."""
        if node == self.cluster.local_node():
            return self.hypervisor
        if node not in self._hypervisors:
            there = partial(self._real.hypervisor_at, node)
            copy = HypervisorCopy(there, self._cluster.take)
            self._hypervisors[node] = cast("Hypervisor", OverlaidPort("hypervisor", there, copy, self._tell))
        return self._hypervisors[node]

    def facts_at(self, node: NodeName) -> NodeFacts:
        """The real ones: they only read."""
        return self._real.facts_at(node)

    def holds_at(self, node: NodeName) -> Unlimited:  # noqa: ARG002
        """Give some that do nothing."""
        return Unlimited()

    def say(self, report: Report) -> None:
        """Pass on what the real operation would have remarked; nothing here takes time, or has happened."""
        if isinstance(report, Note) and report.code not in OUTCOMES:
            self._real.say(report)

    @property
    def migration_network_suffix(self) -> str:
        """The real one."""
        return self._real.migration_network_suffix

    @property
    def node_addresses(self) -> Mapping[str, NodeName]:
        """The real ones."""
        return self._real.node_addresses

    def _tell(self, words: str) -> None:
        words = " ".join(words.split())
        if words and words != self._last:
            self._show(words)
        self._last = words or self._last


def _names(arguments: Sequence[Any]) -> list[VmName]:
    """Find the names of VMs: given plainly, or by a resource or a migration."""
    return [VmName(name) for one in arguments if isinstance(name := getattr(one, "name", one), str)]
