"""Say where a single move goes, and what it wants differently from the VM's settings; check both."""

from collections.abc import Collection, Iterator
from math import ceil
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.migration import (
    MAX_PAUSE_S,
    AbortReason,
    JobSample,
    Limits,
    OnTimeout,
    Plan,
    Strategy,
    limits_within,
)
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.ports.cluster import VmResource
from vm_mgr.reports import Level, Note

__all__ = [
    "AS_SET",
    "IMMOVABLE",
    "MigrateOptions",
    "Target",
    "Terms",
    "advice",
    "agent_terms",
    "move_problems",
    "term_problems",
    "terms_of",
    "too_slow",
]

MIB = 1 << 20
# The override: `--allow immovable`.
IMMOVABLE = "immovable"

# What the agent keeps of its operation's timeout for cleaning up (ocf/parameters.py).
RESERVE_S = 12


class MigrateOptions(NamedTuple):
    """The wishes of one call; None leaves it to the VM's settings. bandwidth in MiB/s."""

    strategy: Strategy | None = None
    bandwidth_mib: int | None = None
    parallel: int | None = None
    downtime_ms: int | None = None
    timeout_s: int | None = None
    on_timeout: OnTimeout | None = None
    max_pause_s: int | None = None


AS_SET = MigrateOptions()


class Target(NamedTuple):
    """Where a VM is to go: to a node, or to any other one but those that are to be avoided.

    source: the node that it is to leave; where it has left it already, there is nothing to do.
    allow_restart: whether other VMs, which are colocated with it, may be restarted for it.
    allow_moves: whether they may be moved live. allow_stop: whether it may itself be stopped and started.
    allow: what is else refused: IMMOVABLE.
    """

    to: NodeName | None = None
    source: NodeName | None = None
    avoid: frozenset[NodeName] = frozenset()
    allow_restart: bool = True
    allow_moves: bool = True
    allow_stop: bool = True
    allow: Collection[str] = ()


# The agent's parameters without their prefix (ocf/parameters.py).
_WORDS = {
    "bandwidth_mib": "bandwidth",
    "parallel": "parallel",
    "downtime_ms": "downtime",
    "timeout_s": "timeout",
    "on_timeout": "timeout-action",
    "max_pause_s": "max-pause",
}


def agent_terms(terms: MigrateOptions, plan: Plan | None) -> dict[str, str]:
    """Write them as the agent reads them; without a plan the agent picks by itself.

    The agent keeps the reason of the pick in its record of the move.

    >>> agent_terms(MigrateOptions(bandwidth_mib=8), Plan(Strategy.AUTO_CONVERGE, reason="it is busy"))
    {'bandwidth': '8', 'strategy': 'auto-converge', 'reason': 'it is busy'}
    """
    given = {word: str(value) for key, word in _WORDS.items() if (value := getattr(terms, key)) is not None}
    if plan is not None:
        given |= {"strategy": plan.strategy.value, "reason": plan.reason}
        given |= {"pause-early": "1"} if plan.pause_early else {}
    elif terms.strategy is not None:
        given["strategy"] = terms.strategy.value
    return given


class Terms(NamedTuple):
    """What the agent will go by; bandwidth in MiB/s, None where nobody has limited it."""

    strategy: Strategy
    bandwidth_mib: int | None
    limits: Limits


def terms_of(options: MigrateOptions, vm: VmResource) -> Terms:
    """Take the call's wishes, or the VM's as its agent has them, which refuses an unknown strategy."""
    kept = vm.params
    bandwidth_mib = options.bandwidth_mib or whole_number(kept.get("migration_speed", "")) or None
    longest = whole_number(kept.get("migration_max_pause", ""))
    keeps_on = OnTimeout.ABORT if kept.get("migration_timeout_action") == "abort" else OnTimeout.PAUSE
    limits = limits_within(
        vm.migrate_to_timeout_s - RESERVE_S,
        timeout_s=options.timeout_s,
        on_timeout=options.on_timeout or keeps_on,
        max_pause_s=options.max_pause_s or (MAX_PAUSE_S if longest is None else float(longest)),
    )
    return Terms(_strategy(options, vm), bandwidth_mib, limits)


def _strategy(options: MigrateOptions, vm: VmResource) -> Strategy:
    kept = vm.params.get("migration_strategy", "")
    return options.strategy or Strategy(kept if kept in set(Strategy) else Strategy.AUTO)


def too_slow(name: VmName, terms: Terms, memory_bytes: int) -> Note | None:
    """Tell what the bandwidth carries in time, where that is less than all memory.

    How much of it is in use, which is what has to be sent, is not known here.
    """
    bandwidth_mib, timeout_s = terms.bandwidth_mib, terms.limits.timeout_s
    if bandwidth_mib is None or bandwidth_mib * timeout_s >= memory_bytes / MIB:
        return None
    text = (
        f"at {bandwidth_mib} MiB/s the first {timeout_s:.0f} s carry {bandwidth_mib * timeout_s:.0f} MiB: "
        f"{name} is late if it uses more of its {memory_bytes // MIB} MiB"
    )
    return Note(Level.INFO, "too-slow", text, "raise --bandwidth or --timeout")


def advice(
    why: AbortReason, options: MigrateOptions, vm: VmResource, terms: Terms, sample: JobSample | None
) -> str:
    """Say what would help a live migration that has failed for this reason; sample is the last one."""
    if why is AbortReason.RECOVERY:
        return f"when that is over: vm-mgr migrate {vm.name}"
    if why not in (AbortReason.LATE, AbortReason.PAUSE):
        return f"mend that, and move it again; what the nodes have to say: vm-mgr events {vm.name}"
    return "; or ".join(_ways(why, options, vm, terms, sample))


def _ways(
    why: AbortReason, options: MigrateOptions, vm: VmResource, terms: Terms, sample: JobSample | None
) -> Iterator[str]:
    limits = terms.limits
    if terms.bandwidth_mib is not None:
        yield f"allow it more than {terms.bandwidth_mib} MiB/s: --bandwidth"
    if why is AbortReason.LATE and (sample is None or sample.converges):
        more = f"vm-mgr set {vm.name} --migrate-to-timeout {2 * vm.migrate_to_timeout_s}"
        yield f"give it more time: {'--timeout' if options.timeout_s else more}"
    if why is not AbortReason.PAUSE and sample is not None and sample.converges:
        return
    if limits.on_timeout is not OnTimeout.PAUSE:
        yield "let the guest be paused to finish: --on-timeout pause"
    elif limits.max_pause_s is not None:
        needed_s = 2 * (sample.pause_s or 0) if sample is not None else 0
        yield f"let it pause longer: --max-pause {ceil(max(2 * limits.max_pause_s, needed_s))}"
    if terms.strategy is not Strategy.AUTO_CONVERGE:
        yield "slow the guest down: --strategy auto-converge"


def term_problems(name: VmName, terms: MigrateOptions, vm: VmResource, agent: str) -> list[VmMgrError]:
    """Refuse what has no effect, or can't be done."""
    if terms == AS_SET:
        return []
    problems = []
    if not vm.live_migration:
        message = f"{name} has no live migration, which the options are for"
        hint = f"vm-mgr set {name} --enable-live-migration"
        problems.append(VmMgrError(Kind.INVALID, message, hint=hint))
    elif agent != "ocf:vm-mgr:VirtualDomain":
        message = f"{name} is run by {agent}, which does not take options of a single move"
        hint = f"leave the options out, or: vm-mgr disable {name}; vm-mgr enable {name}"
        problems.append(VmMgrError(Kind.NOT_SUPPORTED, message, hint=hint))
    longest_s = vm.migrate_to_timeout_s - RESERVE_S
    if terms.timeout_s is not None and terms.timeout_s > longest_s:
        message = f"a migration of {name} may take {vm.migrate_to_timeout_s} s as a whole"
        longer = f"vm-mgr set {name} --migrate-to-timeout {terms.timeout_s + RESERVE_S}"
        hint = f"give at most {longest_s} s, or: {longer}"
        problems.append(VmMgrError(Kind.INVALID, message, hint=hint))
    parallel = terms.parallel or vm.params.get("migration_parallel")
    return problems + _parallel_problems(_strategy(terms, vm), several=bool(parallel))


def move_problems(settings: VmSettings) -> list[VmMgrError]:
    """Check what is to be stored about live migrations."""
    problems = []
    strategy, action = settings.migration_strategy, settings.migration_timeout_action
    for what, given, words in (("strategy", strategy, Strategy), ("timeout action", action, OnTimeout)):
        known = [word.value for word in words]
        if given is not None and given not in known:
            hint = f"use one of {', '.join(known)}"
            problems.append(VmMgrError(Kind.INVALID, f"unknown migration {what} {given!r}", hint=hint))
    postcopy = Strategy.POSTCOPY if strategy == Strategy.POSTCOPY.value else Strategy.AUTO
    return problems + _parallel_problems(postcopy, several=bool(settings.migration_parallel))


def _parallel_problems(strategy: Strategy, *, several: bool) -> list[VmMgrError]:
    if strategy is not Strategy.POSTCOPY or not several:
        return []
    hint = "leave out the parallel connections, or choose auto-converge"
    return [VmMgrError(Kind.INVALID, "QEMU has no post-copy over parallel connections", hint=hint)]
