"""Tell before a change what the cluster would do: ask the scheduler with it and without it, and compare."""

import copy
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from lxml import etree

from vm_mgr.adapters.pacemaker import cib_write, moves
from vm_mgr.adapters.pacemaker.causes import causes_of, contradiction, linked, option, set_option
from vm_mgr.adapters.pacemaker.cib_own import role_of
from vm_mgr.adapters.pacemaker.cib_xml import PRIMITIVE, find, parse_cib
from vm_mgr.adapters.pacemaker.requirements import FALSE
from vm_mgr.adapters.pacemaker.simulation import Told, simulate
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import Cause, Move, SideEffect, Simulation, VmResource
from vm_mgr.ports.runner import Runner

__all__ = ["Foresight"]

# After so many calls of the scheduler, bars looks for no further reasons.
ENOUGH = 50


class Foresight:
    """The scheduler, asked about a CIB as it is and as it would be."""

    def __init__(self, runner: Runner, before: str) -> None:
        self.runner = runner
        self.before = parse_cib(before)
        self._calls = 0

    def move(self, move: Move, expires_utc: float) -> Simulation:
        """Add a move's constraint."""
        after = copy.deepcopy(self.before)
        moves.add_move(after, move, expires_utc)
        anyway, told = self._ask_both(self.before, after)
        effects = self._news(anyway, told)
        if effects.get(move.name) is SideEffect.MOVED:
            del effects[move.name]  # that is the move
        to = told.destination(move.name)
        stopped = [one for one, harm in effects.items() if harm is SideEffect.STOPPED]
        causes = {one: self._why(after, told, one) for one in sorted(stopped)}
        if move.to and to != move.to:
            causes[move.name] = self._find(
                after, told, move.name, lambda asked: asked.destination(move.name) == move.to
            )
        elif move.to and not self._is_open(move.name, move.to):
            text = f"the cluster is opt-in (symmetric-cluster=false) and no rule opens {move.to} to it"
            causes[move.name] = (Cause(text, f"open it: vm-mgr set {move.name} --preferred-host {move.to}"),)
            to = None
        return Simulation(effects, told.live_target(move.name), to, causes)

    def change(self, resource: VmResource, was: VmResource | None = None) -> Simulation:
        """Reconfigure a VM, as if nobody had suspended the cluster: what it would do at once, or then."""
        name, before = resource.name, copy.deepcopy(self.before)
        set_option(before, "maintenance-mode", "false")
        after = copy.deepcopy(before)
        cib_write.update_vm(after, resource, was)
        rules = contradiction(after, name)
        if rules and not contradiction(before, name):
            return Simulation(causes={name: rules})
        able, still = self._ask_both(before, after)
        effects = self._news(able, still)
        lost = {one for one, harm in effects.items() if harm is SideEffect.STOPPED}
        causes = {one: self._why(after, still, one) for one in sorted(lost)}
        tied = linked(after, name)
        if stopped := [one for one in tied if _is_to_stop(after, one)]:
            for cib in (before, after):
                for one in stopped:
                    cib_write.set_target_role(cib, VmName(one), TargetRole.STARTED)
            able, still = self._ask_both(before, after)
        lost = {one for one in tied - lost if able.runs(one) and not still.runs(one)}
        return Simulation(
            effects, causes=causes | {one: self._why(after, still, one) for one in sorted(lost)}
        )

    def bars(self, names: Collection[VmName]) -> dict[VmName, tuple[Cause, ...]]:
        """Find those that it would not start; of the last ones of many it is not found out why."""
        told = self._ask(self.before)
        found: dict[VmName, tuple[Cause, ...]] = {}
        for name in (one for one in names if not told.runs(one)):
            found[name] = () if self._calls > ENOUGH else self._why(self.before, told, name)
        return found

    def _ask(self, cib: etree._Element) -> Told:
        self._calls += 1
        return simulate(self.runner, etree.tostring(cib, encoding="unicode"))

    def _ask_both(self, before: etree._Element, after: etree._Element) -> tuple[Told, Told]:
        """Ask about two documents at once: each is a process, which takes as long as all the rest."""
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(self._ask, before)
            second = self._ask(after)
            return first.result(), second

    def _news(self, anyway: Told, told: Told) -> dict[str, SideEffect]:
        before = anyway.effects()
        return {name: one for name, one in told.effects().items() if before.get(name) is not one}

    def _why(self, cib: etree._Element, told: Told, name: str) -> tuple[Cause, ...]:
        """Find why one would not run; told: what the scheduler has said of this CIB."""
        return self._find(cib, told, name, lambda asked: asked.runs(name))

    def _find(
        self, cib: etree._Element, told: Told, name: str, does_it: Callable[[Told], bool]
    ) -> tuple[Cause, ...]:
        return causes_of(cib, name, lambda changed: does_it(self._ask(changed)), told.running)

    def _is_open(self, name: str, node: str) -> bool:
        """Tell whether a rule opens a node of an opt-in cluster to a VM: the move's own would do so, too."""
        if option(self.before, "symmetric-cluster").lower() not in FALSE:
            return True
        rated = simulate(self.runner, etree.tostring(self.before, encoding="unicode"), scores=True).rated
        return (name, node) in rated


def _is_to_stop(cib: etree._Element, name: str) -> bool:
    return any(role_of(one) is TargetRole.STOPPED for one in find(cib, PRIMITIVE, name=name))
