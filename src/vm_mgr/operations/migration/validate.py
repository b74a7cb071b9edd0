"""Refuse a move that would not succeed or would harm others, and give what its agent is to be told."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.migration import Plan, Strategy, render_terms
from vm_mgr.operations.migration.facts import Facts, Guest, load_targets, simulate
from vm_mgr.operations.migration.options import (
    IMMOVABLE,
    MigrateOptions,
    Target,
    Terms,
    agent_terms,
    terms_of,
    too_slow,
)
from vm_mgr.operations.migration.outcome import announcement
from vm_mgr.operations.migration.plan import plan_for
from vm_mgr.operations.migration.prechecks import arrival, side_effects
from vm_mgr.operations.support.requirements import tell_media
from vm_mgr.ports.cluster import Move, VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["Order", "immovable_problems", "order"]


class Order(NamedTuple):
    """How a move is to be made: words for the agent, and what they and the VM's settings come to.

    asks: whether the source's libvirt can be asked how far a live migration is. chosen: the node that the
    cluster would take of those that nobody has excluded.
    """

    words: str
    terms: Terms
    asks: bool
    chosen: NodeName | None = None


def order(env: Env, facts: Facts, guest: Guest, goal: Target, options: MigrateOptions) -> Order:
    """Ask the targets and the scheduler; raises all problems that they name."""
    state, vm, source = facts.state, facts.vm, facts.source
    if problems := immovable_problems(vm, guest, goal):
        raise_all(problems)
    asks = (vm.live_migration or vm.hibernation_s > 0) and _can_ask(env, state)
    terms = terms_of(options, vm)
    picks = asks and vm.live_migration and terms.strategy is Strategy.AUTO
    if picks:
        env.hypervisor_at(source).begin_dirty_rate(vm.name)
    move = Move(vm.name, source, goal.to, avoid=goal.avoid, both_promoted=facts.both_promoted)
    with ThreadPoolExecutor(1) as pool:  # the scheduler is asked here, the targets over ssh
        foreseen = pool.submit(simulate, env, move)
        targets = load_targets(env, state, vm.name, source, goal, guest if asks else None)
    found = foreseen.result()
    arrival(state, vm, source, targets).require(env.say)
    plan = None
    if not vm.live_migration and (goal.allow_stop or vm.hibernation_s):
        env.say(announcement(vm, source))
    elif vm.live_migration and asks:
        _say_if_too_slow(env, facts, guest, terms)
        plan = _plan(env, facts, guest, terms) if picks else None
    side_effects(state, vm, source, goal, found).require(env.say)
    if not vm.live_migration:
        tell_media(env, state, vm.name, goal.to or found.target)
    words = render_terms(agent_terms(options, plan)) if vm.live_migration else ""
    return Order(words, terms._replace(strategy=plan.strategy) if plan else terms, asks, found.target)


def immovable_problems(vm: VmResource, guest: Guest, goal: Target) -> list[VmMgrError]:
    """Refuse to move live what libvirt or QEMU would refuse in the middle of it."""
    if not (vm.live_migration and guest.immovable) or IMMOVABLE in goal.allow:
        return []
    message = f"{vm.name} can't be migrated live: it has {', '.join(guest.immovable)}"
    hint = (
        f"have it stopped and started for a move: vm-mgr set {vm.name} --on-move restart; "
        f"or, if these versions of libvirt and QEMU can move that: --allow {IMMOVABLE}"
    )
    return [VmMgrError(Kind.NOT_SUPPORTED, message, hint=hint)]


def _can_ask(env: Env, state: ClusterState) -> bool:
    """Tell whether this node may ask others' libvirt; an observer has no key for that, and warns instead."""
    here = state.node(env.cluster.local_node())
    if here is None or not here.observer:
        return True
    text = "an observer can't look whether the target is fit; the source does when the move begins"
    env.say(Note(Level.WARNING, "not-checked", text, "for checks and progress call it on a hypervisor"))
    return False


def _say_if_too_slow(env: Env, facts: Facts, guest: Guest, terms: Terms) -> None:
    if terms.bandwidth_mib is None:
        return
    with suppress(VmMgrError):  # whoever asks next says why there is no answer
        note = too_slow(facts.vm.name, terms, env.definitions.machine(guest.xml).memory_bytes)
        if note is not None:
            env.say(note)


def _plan(env: Env, facts: Facts, guest: Guest, terms: Terms) -> Plan | None:
    """Pick here, where somebody hears why; None leaves it to the agent."""
    source = facts.source
    try:
        plan = plan_for(
            env.hypervisor_at(source),
            facts.vm.name,
            memory_bytes=env.definitions.machine(guest.xml).memory_bytes,
            bandwidth_mib=terms.bandwidth_mib,
            limits=terms.limits,
        )
    except VmMgrError as error:
        text = f"{source} picks the strategy itself: {error.message}"
        env.say(Note(Level.WARNING, "no-plan", text, error.hint))
        return None
    env.say(Note(Level.INFO, "migration-plan", f"{plan.strategy.value}: {plan.reason}"))
    return plan
