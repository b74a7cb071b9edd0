"""A cluster in memory: it does at the next look what it is asked for, and schedules nothing clever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.model.cluster import ClusterState, Failure, Fencing, Node, NodeName, Resource
from vm_mgr.model.resource import Clone
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import (
    Cause,
    Configured,
    Constraint,
    Move,
    ResourceOperation,
    SideEffect,
    Simulation,
    VmResource,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
    from vm_mgr.model.migration import AbortReason

__all__ = ["MemoryCluster"]


class MemoryCluster:
    """Nodes, resources and the constraints of moves; domains, where given, are what its agent runs."""

    def __init__(self, *names: str, local: str = "", domains: MemoryHypervisor | None = None) -> None:
        self.domains = domains
        self.nodes = {name: Node(NodeName(name)) for name in names or ("n1", "n2", "n3")}
        self.local = NodeName(local or next(iter(self.nodes)))
        self.resources: dict[VmName, VmResource] = {}
        self.places: dict[VmName, NodeName] = {}
        self.moves: dict[VmName, Move] = {}
        self.failing: dict[VmName, str] = {}
        self.failing_migrations: dict[VmName, str] = {}
        # Why the agent has ended the migrations of these; where it is known, the agent's event says so.
        self.aborts: dict[VmName, AbortReason] = {}
        self.tell_abort: Callable[[VmName, NodeName, str, AbortReason], None] | None = None
        self.held: dict[VmName, NodeName] = {}
        self.restarting: set[VmName] = set()
        self.terms: dict[VmName, str] = {}
        self.harms: dict[VmName, Mapping[str, SideEffect]] = {}
        self.sets: dict[str, frozenset[NodeName]] = {}
        self.failures: dict[VmName, list[Failure]] = {}
        self.foreign: dict[str, Resource] = {}
        # What a VM is in, "group office", and who follows it there.
        self.within: dict[VmName, tuple[str, tuple[str, ...]]] = {}
        self.leftovers: dict[VmName, list[Constraint]] = {}
        self.events: dict[VmName, list[ResourceOperation]] = {}
        self.stuck: set[VmName] = set()
        self.quorate = True
        self.fencing_enabled = True
        self.fence_devices = 3
        self.silent_devices: tuple[str, ...] = ()
        self.maintenance = False
        self.stop_all = False
        self.set_by_others: dict[VmName, Mapping[str, str]] = {}
        self.opt_in = False
        # Whose rules are from the time before the cluster became opt-in.
        self.ruled: set[str] = set()
        self.unmanaged: set[VmName] = set()
        # Why no node may run these.
        self.barred: dict[VmName, tuple[Cause, ...]] = {}
        self.fencings: list[Fencing] = []
        self.joined_since: set[str] = set()

    def state(self) -> ClusterState:
        """Show what is, after doing the next step."""
        resources = dict(self.foreign)
        for name in self.resources:
            if name not in self.stuck and self.quorate and self._is_managed(name):
                self._settle(name)
            resources[name] = self._resource(name)
        clones = self._clones()
        resources |= self._single_disks()
        return ClusterState(
            nodes=tuple(self.nodes.values()),
            resources=resources,
            quorate=self.quorate,
            fencing_enabled=self.fencing_enabled,
            fence_devices=self.fence_devices,
            silent_devices=self.silent_devices,
            fencings=tuple(self.fencings),
            sets={**self.sets, **{ident: frozenset(roles) for ident, roles in clones.items()}},
            clones=clones,
            maintenance=self.maintenance,
            stop_all=self.stop_all,
            opt_in=self.opt_in,
            ruled=frozenset(self.ruled),
        )

    def configured(self, name: VmName) -> Configured:
        """Read what there is."""
        named_by = {
            str(other): vm.colocations[name] for other, vm in self.resources.items() if name in vm.colocations
        }
        return Configured(
            self.resources.get(name),
            named_by,
            self._constraints(name),
            tuple(self.events.get(name, ())),
            self.set_by_others.get(name, {}),
        )

    def local_node(self) -> NodeName:
        """Name the node that this runs on."""
        return self.local

    def remembers(self, node: NodeName) -> bool:
        """Remember those that were not fenced last, or were here since."""
        fenced = any(one.node == node and one.fences for one in self.fencings)
        return node in self.nodes and (self.nodes[node].online or node in self.joined_since or not fenced)

    def add(self, resource: VmResource) -> None:
        """Put a VM under the cluster's control."""
        self.foreign.pop(resource.name, None)  # of this name; ours takes its place
        self.resources[resource.name] = self._with_present_disks(resource)
        self.moves.pop(resource.name, None)

    def reconfigure(self, resource: VmResource, before: VmResource | None = None) -> None:  # noqa: ARG002
        """Change all but role and parameters."""
        present = self.resources.get(resource.name)
        if present is not None:
            kept = resource._replace(target_role=present.target_role, params=present.params)
            self.resources[resource.name] = self._with_present_disks(kept)

    def change_requirements(
        self, name: VmName, requirements: tuple[str, ...], *, follow_uplink: bool
    ) -> None:
        """Replace what it asks for."""
        if self.opt_in:
            requirements = ()
            self.ruled.discard(name)
        if name in self.resources:
            changed = self.resources[name]._replace(requirements=requirements, follow_uplink=follow_uplink)
            self.resources[name] = changed

    def remove(self, name: VmName, expected: VmResource | None = None) -> None:
        """Take a VM out; what others have set stays for its return."""
        if expected is None:
            self.leftovers.pop(name, None)
        self.resources.pop(name, None)
        self.places.pop(name, None)
        self.moves.pop(name, None)

    def rename(self, name: VmName, new: VmName) -> None:
        """Give another name."""
        if name in self.resources:
            self.resources[new] = self.resources.pop(name).renamed(new)

    def set_target_role(self, name: VmName, role: TargetRole) -> None:
        """Ask for a VM to run or not."""
        if name in self.resources:
            self.resources[name] = self.resources[name]._replace(target_role=role)
        self.moves.pop(name, None)

    def begin_move(self, move: Move) -> None:
        """Constrain a VM; this cluster is never killed, so nothing ends by itself."""
        self.moves[move.name] = move
        self.terms[move.name] = move.options
        self.restarting.discard(move.name)

    def simulate_move(self, move: Move) -> Simulation:
        """Look at the one VM, and at what a test has said."""
        kept_off = {move.source, *move.avoid}
        able = [one.name for one in self.nodes.values() if one.can_host and one.name not in kept_off]
        harms = dict(self.harms.get(move.name, {}))
        if move.to and (move.to not in able or move.name in self.barred):
            return Simulation(harms, causes={move.name: self.barred.get(move.name, ())})
        if not able:
            return Simulation({move.name: SideEffect.STOPPED})
        live, to = self.resources[move.name].live_migration, move.to or able[0]
        restarted = {} if live else {str(move.name): SideEffect.RESTARTED}
        return Simulation(restarted | harms, to if live else None, to)

    def simulate_change(self, resource: VmResource, before: VmResource | None = None) -> Simulation:  # noqa: ARG002
        """Say what a test has said."""
        name = resource.name
        causes: dict[str, tuple[Cause, ...]] = {name: self.barred[name]} if name in self.barred else {}
        return Simulation(dict(self.harms.get(resource.name, {})), causes=causes)

    def bars(self, names: Collection[VmName]) -> Mapping[VmName, tuple[Cause, ...]]:
        """Say what a test has said."""
        return {name: self.barred[name] for name in names if name in self.barred}

    def end_move(self, name: VmName) -> None:
        """Remove the constraint."""
        self.moves.pop(name, None)
        self.restarting.discard(name)

    def clear_moves(self, name: VmName) -> tuple[Constraint, ...]:
        """Remove what moves left."""
        found = tuple(one for one in self._constraints(name) if one.leftover)
        self.moves.pop(name, None)
        if name in self.leftovers:
            self.leftovers[name] = [one for one in self.leftovers[name] if not one.leftover]
        return found

    def cleanup(self, name: VmName) -> None:
        """Clear the failure history."""
        self.failing.pop(name, None)
        self.failures.pop(name, None)
        self.held.pop(name, None)

    def cleanup_failed(self, name: VmName, node: NodeName, task: str, interval_ms: int = 0) -> None:
        """Forget it; let a VM go that a move holds there."""
        only = (task, node, interval_ms)
        self.failures[name] = [
            one for one in self.failures.get(name, []) if (one.task, one.node, one.interval_ms) != only
        ]
        if task == "migrate_to":
            self.held.pop(name, None)

    def reprobe(self, name: VmName) -> None:
        """Forget everything, and find the VM where its domain runs."""
        self.cleanup(name)
        if self.domains is not None and name not in self.domains.running:
            self.places.pop(name, None)

    def alarm(self, name: VmName, node: NodeName, *, on: bool) -> None:
        """Remember it."""
        others = [one for one in self.nodes[node].alarms if one != name]
        self.nodes[node] = self.nodes[node]._replace(alarms=tuple([*others, name] if on else others))

    def recover_blocked(self, name: VmName, *, lifetime_s: int) -> None:  # noqa: ARG002
        """Restart it where it may run."""
        self.restarting.add(name)
        self.held.pop(name, None)

    def _is_managed(self, name: VmName) -> bool:
        place = self.nodes.get(self.places.get(name, ""))
        return not (self.maintenance or name in self.unmanaged or (place is not None and place.maintenance))

    def _settle(self, name: VmName) -> None:
        resource = self.resources[name]
        if name in self.held:
            return
        barred = name in self.barred and name not in self.places
        if resource.target_role is TargetRole.STOPPED or name in self.failing or self.stop_all or barred:
            self._stop(name)
            return
        if self.domains is not None and name in self.places and name not in self.domains.running:
            past = self.failures.setdefault(name, [])
            past.append(Failure("monitor: not running", when=f"the {len(past) + 1}th time"))
            self._stop(name)
        move = self.moves.get(name, Move(name, NodeName("")))
        to, kept_off = move.to, {move.source, *move.avoid}
        present = self.places.get(name)
        stays = present != move.source and to in (None, present)
        if present and stays and not self._wants_away(name, present):
            return
        able = [node.name for node in self.nodes.values() if node.can_host and node.name not in kept_off]
        wanted = to or resource.pinned_host or resource.preferred_host
        if wanted in able or able:
            if (
                present
                and self.domains is not None
                and not (resource.live_migration or resource.hibernation_s)
            ):
                self.domains.halted.pop(name, None)
            if present and name in self.failing_migrations and name not in self.restarting:
                # Pacemaker holds the VM then where it runs, and remembers the failure.
                past = self.failures.setdefault(name, [])
                text, when = self.failing_migrations[name], f"the {len(past) + 1}th time"
                past.append(Failure(text, when, "migrate_to", present))
                self.held[name] = present
                if name in self.aborts and self.tell_abort is not None:
                    self.tell_abort(name, present, text, self.aborts[name])
                return
            self._start(name, NodeName(wanted) if wanted in able and wanted else able[0])

    def _wants_away(self, name: VmName, present: NodeName) -> bool:
        """Tell whether the node or the VM's own wish has it leave: to where it can go, if anywhere."""
        resource, here = self.resources[name], self.nodes[present]
        if here.online and here.standby:
            return True
        home = self.nodes.get(resource.preferred_host or "")
        return resource.returns and home is not None and home.can_host and home.name != present

    def _start(self, name: VmName, node: NodeName) -> None:
        self.events.setdefault(name, []).append(ResourceOperation("start", node, 1_000_000.0))
        self.places[name] = node
        if self.domains is not None:
            self.domains.running.setdefault(name, 1000 + len(self.domains.running))

    def _stop(self, name: VmName) -> None:
        """Do as the agent does, but wait for ever for a guest that ignores the power button."""
        if self.domains is not None and name in self.domains.running and name in self.places:
            if self.domains.ignores_shutdown:
                return
            self.domains.running.pop(name)
            self.domains.halted.pop(name, None)
        self.places.pop(name, None)

    def _with_present_disks(self, resource: VmResource) -> VmResource:
        """Keep a disk as it is that is there."""
        present = self.resources.get(resource.name)
        known = {one.id: one for one in present.disks} if present else {}
        return resource._replace(disks=tuple(known.get(one.id, one) for one in resource.disks))

    def _clones(self) -> dict[str, dict[NodeName, str]]:
        """Run an instance of a cloned disk on each node that has its data, promoted beside the VM."""
        found: dict[str, dict[NodeName, str]] = {}
        for name, vm in self.resources.items():
            for disk in (one for one in vm.disks if one.clone):
                idle = "Unpromoted" if disk.clone is Clone.PROMOTABLE else "Started"
                there = [one.name for one in self.nodes.values() if one.online and not one.standby]
                found[disk.id] = {one: idle for one in there if not disk.nodes or one in disk.nodes}
                place = self.places.get(name)
                if place in found[disk.id] and disk.clone is Clone.PROMOTABLE:
                    found[disk.id][place] = "Promoted"
        return found

    def _single_disks(self) -> dict[str, Resource]:
        """Run a disk that is no clone beside its VM."""
        found = {}
        for name, vm in self.resources.items():
            nodes = (self.places[name],) if name in self.places else ()
            for disk in (one for one in vm.disks if one.clone is None):
                role = "Started" if nodes else "Stopped"
                found[disk.id] = Resource(disk.id, disk.agent, role=role, active=bool(nodes), nodes=nodes)
        return found

    def _role(self, name: VmName) -> str:
        if name not in self.places:
            return "Stopped"
        return "Started" if self.resources[name].target_role is TargetRole.STARTED else "Stopping"

    def _constraints(self, name: VmName) -> tuple[Constraint, ...]:
        moves = [Constraint(f"vm-mgr-move-{name}", "a move", leftover=True)] if name in self.moves else []
        return (*moves, *self.leftovers.get(name, ()))

    def _resource(self, name: VmName) -> Resource:
        place = self.places.get(name)
        failure = self.failing.get(name, "")
        within, followers = self.within.get(name, ("", ()))
        return Resource(
            name,
            role=self._role(name),
            target_role=self.resources[name].target_role.value,
            active=place is not None,
            failed=bool(failure) or name in self.held,
            blocked=name in self.held,
            managed=self._is_managed(name),
            banned_by_failures=tuple(NodeName(node) for node in self.nodes) if failure else (),
            nodes=(place,) if place else (),
            failures=(*self.failures.get(name, ()), *([Failure(failure)] if failure else [])),
            within=within,
            followers=followers,
        )
