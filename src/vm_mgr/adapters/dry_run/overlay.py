"""Memory adapters that hold copies: of a VM what the real port has, from the first change of it on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from vm_mgr.adapters.memory.cluster import MemoryCluster
from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.adapters.memory.nodes import MemoryNodes
from vm_mgr.adapters.memory.storage import MemoryStorage
from vm_mgr.adapters.memory.storage_parts import MemoryClones, MemoryDefinitions
from vm_mgr.errors import VmMgrError
from vm_mgr.model.storage import disk_owner
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import VmResource

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from vm_mgr.adapters.memory.pool import MemoryPool
    from vm_mgr.model.cluster import ClusterState, NodeName
    from vm_mgr.model.exclusive_index import Exclusives
    from vm_mgr.model.storage import DiskClient, DiskInfo
    from vm_mgr.ports.env import Env
    from vm_mgr.ports.hypervisor import Hypervisor
    from vm_mgr.ports.stored_definitions import Read

__all__ = ["ClusterCopy", "HypervisorCopy", "NodesCopy", "StorageCopy"]

TIMEOUT_S = 10.0


class ClusterCopy(MemoryCluster):
    """The cluster at the first look; a VM's resource stays as it was seen until it is changed."""

    answers = frozenset({"local_node", "state"})
    unread: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, env: Env) -> None:
        super().__init__()
        self.env = env
        self.changed: set[str] = set()
        self._first: ClusterState | None = None

    def look(self) -> ClusterState:
        """Give the real state, looked at once."""
        if self._first is None:
            seen = self._first = self.env.cluster.state()
            self.nodes = {node.name: node for node in seen.nodes}
            self.foreign = dict(seen.resources)
            self.quorate, self.fencing_enabled = seen.quorate, seen.fencing_enabled
            self.fence_devices = seen.fence_devices
            self.fencings = list(seen.fencings)
            self.sets = dict(seen.sets)
            self.maintenance, self.stop_all = seen.maintenance, seen.stop_all
            self.opt_in, self.ruled = seen.opt_in, set(seen.ruled)
        return self._first

    def state(self) -> ClusterState:
        """Show it with the changes; a VM that is to stop is seen while it stops, and then stopped."""
        self.look()
        seen = super().state()
        self.stuck.clear()
        return seen

    def set_target_role(self, name: VmName, role: TargetRole) -> None:
        """Ask."""
        super().set_target_role(name, role)
        if role is TargetRole.STOPPED:
            self.stuck.add(name)

    def local_node(self) -> NodeName:
        """Ask the real one."""
        return self.env.cluster.local_node()

    def take(self, name: VmName) -> None:
        """Make a VM's resource one that can be changed."""
        if name in self.changed:
            return
        seen = self.look().resources.get(name)
        self.changed.add(name)
        if seen is None or not seen.is_vm:
            return
        del self.foreign[name]
        role = TargetRole.STOPPED if seen.target_role == TargetRole.STOPPED.value else TargetRole.STARTED
        configured = self.env.cluster.configured(name)
        self.resources[name] = (configured.vm or VmResource(name, role))._replace(target_role=role)
        self.leftovers[name] = list(configured.others)
        self.set_by_others[name] = configured.set_by_others
        self.within[name] = (seen.within, seen.followers)
        if seen.nodes:
            self.places[name] = seen.nodes[0]
        if not (seen.managed or seen.blocked):
            self.unmanaged.add(name)

    def ran(self, name: VmName) -> bool:
        """Tell whether the VM ran at the first look."""
        resource = self.look().resources.get(name)
        return resource is not None and resource.active


class NodesCopy(MemoryNodes):
    """The nodes of that cluster."""

    answers: ClassVar[frozenset[str]] = frozenset()
    unread = frozenset({"cleanup", "confirm_off", "fence", "maintenance", "standby", "unstandby"})
    changed: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, cluster: ClusterCopy) -> None:
        super().__init__(cluster)
        self.copy = cluster

    def take(self, name: VmName) -> None:
        """Have no VM."""

    def standby(self, node: NodeName, *, lasting: bool = False) -> None:
        """Have it leave what it has, which are other resources of the cluster's too."""
        for name, seen in self.copy.look().resources.items():
            if seen.is_vm and node in seen.nodes:
                self.copy.take(VmName(name))
        super().standby(node, lasting=lasting)


class StorageCopy(MemoryStorage):
    """All storages as one: the labels say which one has a VM, or is to have it."""

    answers = frozenset({"clients.of", "clones.of", "definitions.names", "definitions.exclusive"})
    unread = frozenset({"remove"})  # a VM that can't be read any more can be removed

    def __init__(self, env: Env, ran: Callable[[VmName], bool]) -> None:
        super().__init__()
        self.env = env
        self.ran = ran
        self.changed: set[str] = set()
        self.labels: dict[VmName, str] = {}
        self.images_of: dict[VmName, list[str]] = {}
        self.definitions = DefinitionsCopy(self, env, self.changed)
        self.clones = ClonesCopy(self, env)

    def take(self, name: VmName) -> None:
        """Read a VM, but not what is on its disks."""
        if name in self.changed:
            return
        label = self.env.storages.label_of(name)
        if label:
            self.labels[name] = label
            self._read(name, self.env.storage.disks.of(name))
        self.changed.add(name)

    def where(self, name: VmName) -> str:
        """Tell which storage has a VM; empty for none."""
        if name not in self.changed:
            return self.env.storages.label_of(name)
        return self.labels.get(name, "") if name in self.vms else ""

    def image_names(self, name: VmName) -> list[str]:
        """Name the disks; those that have names of their own keep them."""
        own, named = self.images_of.get(name, []), super().image_names(name)
        return [*own[: len(named)], *named[len(own) :]]

    def rename(self, name: VmName, new: VmName) -> None:
        """Give another name."""
        named = super().image_names(name)
        super().rename(name, new)
        self.labels[new] = self.labels.pop(name, "")
        own = self.images_of.pop(name, [])
        pairs = zip(own, named, super().image_names(new), strict=False)
        self.images_of[new] = [after if image == before else image for image, before, after in pairs]

    def remove(self, name: VmName) -> bool:
        """Delete, whether it was read or not."""
        found = self.where(name) != ""
        self.changed.add(name)
        super().remove(name)
        self.images_of.pop(name, None)
        return found

    def clients_of(self, images: Sequence[str]) -> list[DiskClient]:
        """Ask the real one; who has a disk of a VM that the cluster did not run will still have it then."""
        kept = [image for image in images if not self._ran(image)]
        return self.env.storage.clients.of(kept)

    def _ran(self, image: str) -> bool:
        owner = disk_owner(image)
        return owner is not None and self.ran(owner)

    def _read(self, name: VmName, disks: list[DiskInfo]) -> None:
        images, real = [disk.image for disk in disks], self.env.storage
        with super().stage(name) as staged:
            for disk in disks:
                staged.add(disk.size_bytes)
            vm = staged.vm
            vm.disks, vm.parents = list(images), [disk.parent for disk in disks]
            vm.keys = dict(real.definitions.metadata(name))
            vm.settings = real.definitions.settings(name)
            taken = real.snapshots.of(name)
            vm.snapshots = {  # what size a disk had then is not known: as it has now
                one.name: (one, [f"{image}@{one.name}" for image in images], list(vm.sizes)) for one in taken
            }
            staged.commit()
        self.images_of[name] = images
        state = real.saved_memory.of(name)
        if state is not None:
            self.saved_memory.states[name] = state


class DefinitionsCopy(MemoryDefinitions):
    """The definitions of all storages, some of which are copies."""

    def __init__(self, pool: MemoryPool, env: Env, changed: Container[str]) -> None:
        super().__init__(pool)
        self.env = env
        self.changed = changed

    def names(self) -> set[VmName]:
        """Name the real ones with the changes."""
        real = self.env.storage.definitions.names()
        return {name for name in real if name not in self.changed} | set(self.pool.vms)

    def exclusive(self, read: Read, *, keep: bool = True) -> Mapping[VmName, Exclusives]:
        """Give the real ones with the changes; nothing is kept, not even what was read."""
        real = self.env.storage.definitions.exclusive(read, keep=False)
        there = {name: found for name, found in real.items() if name not in self.changed}
        return {**there, **super().exclusive(read, keep=keep)}


class ClonesCopy(MemoryClones):
    """The clones of all storages, and those that are made."""

    def __init__(self, pool: MemoryPool, env: Env) -> None:
        super().__init__(pool)
        self.env = env

    def of(self, name: VmName) -> list[str]:
        """Name both."""
        return sorted({*self.env.storage.clones.of(name), *super().of(name)})


class HypervisorCopy(MemoryHypervisor):
    """One node's domains."""

    answers: ClassVar[frozenset[str]] = frozenset({"agent_answers"})
    unread: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, real: Callable[[], Hypervisor], stay: Callable[[VmName], None]) -> None:
        """Call stay for a VM whose move has ended where it began."""
        super().__init__()
        self.real = real
        self.stay = stay
        self.changed: set[str] = set()

    def take(self, name: VmName) -> None:
        """Read a domain's state."""
        if name in self.changed:
            return
        state = self.real().domain_state(name, timeout_s=TIMEOUT_S)
        if state == "shut off":
            self.kept[name] = self.real().definition(name)
        elif state != "absent":
            self.running[name] = 1
        if state == "paused":
            self.halted[name] = self.real().paused(name, timeout_s=TIMEOUT_S)
        if state != "shut off":
            with suppress(VmMgrError):  # one that has just ended has none
                self.plugged[name] = list(self.real().disk_sources(name))
                self.xmls[name] = self.real().running_definition(name)
        self.changed.add(name)

    def abort_job(self, name: VmName) -> None:
        """Have the cluster see it."""
        self.stay(name)

    def agent_answers(self, name: VmName) -> bool:  # noqa: ARG002
        """Suppose one."""
        return True

    def freeze(self, name: VmName) -> bool:
        """Suppose an agent: only asking it for real would tell."""
        self.with_agent.add(name)
        return super().freeze(name)
