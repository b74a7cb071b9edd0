"""Move a VM on behalf of Pacemaker, and see to it that a move that fails does not hold the VM for ever."""

import os
from contextlib import suppress

from vm_mgr.agent import departure, identity, retry_backoff
from vm_mgr.agent.agent_log import say
from vm_mgr.agent.nvram import nvram_arrived, nvram_left
from vm_mgr.agent.parameters import Parameters
from vm_mgr.agent.preemption import RecoveryWatch
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName, migration_host
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.migration import Decision, JobSample, Limits, OnTimeout, Plan, Step, Strategy, limits_within
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.vm import VmName
from vm_mgr.operations.migration.blocked import has_arrived
from vm_mgr.operations.migration.plan import plan_for
from vm_mgr.operations.migration.unblock import is_shutting_down
from vm_mgr.operations.storage.own_clients import note_clients_of
from vm_mgr.ports.cluster_storage import Handover, NoHandover
from vm_mgr.ports.live_migration import Migration
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["migrate_from", "migrate_to", "wait_gone"]

POLL_S = 0.1
CALL_S = 5.0
# ssh to the target.
CONNECT_S = 20.0


def migrate_to(env: NodeEnv, given: Parameters) -> None:
    """Move the running VM to the node that Pacemaker names.

    A failure makes Pacemaker leave the VM alone (on-fail=block). The timer that ends this is set first: a
    process that is killed can't set one. Its end is watched too: the timer would go off minutes later.
    """
    number = retry_backoff.add(env, given.name)
    timer = _set_timer(env, given.name, given.timeout_s + retry_backoff.pause_s(number))
    watch = _watch(env, given.name)
    try:
        _move(env, given)
    except BaseException:
        # It may go off before Pacemaker knows of the failure. The first timer never does: that stays too.
        goes_on = _goes_on(env, given.name)
        _set_timer(env, given.name, retry_backoff.pause_s(number) if goes_on else retry_backoff.SHORTEST_S)
        if goes_on:
            _close_elsewhere(env, given)
        raise
    finally:
        _cancel(env, given.name, watch)
    _cancel(env, given.name, timer)
    retry_backoff.forget(env, given.name)


def migrate_from(env: NodeEnv, given: Parameters) -> None:
    """Confirm that the VM has arrived and runs."""
    deadline = env.clock.monotonic() + given.budget_s
    while (pid := env.processes.find_vm(given.name)) is not None:
        _go_on(env, given.name)
        if has_arrived(env.hypervisor, given.name, CALL_S):
            identity.remember(env, given.name, pid)
            note_clients_of(env, given.name, storage=given.storage)
            nvram_arrived(env, given)
            _close_elsewhere(env, given)
            return
        if env.clock.monotonic() > deadline:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{given.name} has arrived, but does not run")
        env.clock.sleep(POLL_S)
    raise VmMgrError(Kind.WRONG_STATE, f"{given.name} has not arrived here")


def _goes_on(env: NodeEnv, name: VmName) -> bool:
    """Tell whether it runs here as before, so that only the next try to move it is to be waited for."""
    try:
        return has_arrived(env.hypervisor, name, CALL_S)
    except VmMgrError:
        return False


def _go_on(env: NodeEnv, name: VmName) -> None:
    """Let a guest go on that still waits for its source: Pacemaker calls here after that has ended."""
    with suppress(VmMgrError):  # it is asked again, until the time is over
        if env.hypervisor.paused(name, timeout_s=CALL_S) is PauseReason.ARRIVING:
            env.hypervisor.let_go(name, timeout_s=CALL_S)


def _move(env: NodeEnv, given: Parameters) -> None:
    name = given.name
    if not given.target_node:
        raise VmMgrError(Kind.INVALID, "no target node is given")
    if identity.own_pid(env, name) is None:
        _require_arrived(env, name, NodeName(given.target_node))
        identity.forget(env, name)
        return
    began = env.clock.monotonic()
    limits = _limits(env, given)
    plan = _plan(env, given, limits)
    chosen = f"{plan.strategy.value}{', pausing early' if plan.pause_early else ''}: {plan.reason}"
    _record(env, name, chosen)
    env.journal.record(
        Event(env.clock.utc(), EventKind.MOVING, name, detail=f"to {given.target_node} by {chosen}")
    )
    measured_s = env.clock.monotonic() - began
    limits = limits._replace(end_s=limits.end_s - measured_s)
    # On a node that shuts down a stop would be next: there only the loss of the target ends it.
    way = RecoveryWatch(env, name, given.target_node, others=limits.max_pause_s is not None)
    target = NodeName(given.target_node)
    _handover(env, given).open_at(name, target)
    ident = departure.begin(env, name)
    goes_on = env.hypervisor.migrate(_migration(given, plan, limits, ident), Teller(env, name, way))
    _end_here(env, name)
    if not goes_on:
        _let_go(env, name, target, ident)
    departure.end(env, name)
    nvram_left(env, name)
    identity.forget(env, name)
    _close_elsewhere(env, given, target)


def _close_elsewhere(env: NodeEnv, given: Parameters, node: NodeName | None = None) -> None:
    """Let only the guest's node, mostly this one, have its disks open; a move does not fail for that."""
    try:
        _handover(env, given).close_elsewhere(given.name, node or env.cluster.local_node())
    except VmMgrError as error:
        _record(env, given.name, f"its disks stay open at two nodes for now: {error}")


def _handover(env: NodeEnv, given: Parameters) -> Handover:
    """Find who opens the disks at the target; without a configuration QEMU there has to get on by itself."""
    try:
        return env.storages.handover(given.storage)
    except VmMgrError as error:
        _record(env, given.name, f"its storage is unknown here: {error}")
        return NoHandover()


def _end_here(env: NodeEnv, name: VmName) -> None:
    """End the process of a guest that has left: libvirt does it, unless it is just being started anew.

    Raises EXTERNAL_FAILURE where it does not end: the guest must not go on at the target then.
    """
    if wait_gone(env, name, env.clock.monotonic() + CALL_S):
        return
    _record(env, name, "its process here has not ended with its migration, and is ended now")
    pid = identity.own_pid(env, name)
    if pid is not None:
        env.processes.end(pid, force=True)
    if not wait_gone(env, name, env.clock.monotonic() + CALL_S):
        message = f"{name} has left, but its process {pid} does not end here"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message)


def _let_go(env: NodeEnv, name: VmName, target: NodeName, ident: str) -> None:
    """Let the guest go on at the target; where that does not work now, migrate_from does it there."""
    try:
        env.hypervisor_at(target).let_go(name, timeout_s=CONNECT_S, ident=ident)
    except VmMgrError as error:
        _record(env, name, f"it has arrived on {target}, which is to resume it: {error}")


def _require_arrived(env: NodeEnv, name: VmName, target: NodeName) -> None:
    """Raise where a VM that has left this node does not run at its target.

    A new DC does not know how the migrate_to ended that a lost one had called for, and calls again.
    """
    try:
        departure.finish(env, name)
        there = has_arrived(env.hypervisor_at(target), name, CONNECT_S) and _is_the_same(env, name, target)
    except VmMgrError as error:
        message = f"{name} does not run here, and whether it runs on {target} is unknown: {error.message}"
        raise VmMgrError(Kind.WRONG_STATE, message) from error
    if not there:
        raise VmMgrError(Kind.WRONG_STATE, f"{name} runs neither here nor on {target}")
    _record(env, name, f"it runs on {target} already")


def _is_the_same(env: NodeEnv, name: VmName, target: NodeName) -> bool:
    """Tell another VM of its name, where it is still known here which one it was."""
    uuid = identity.known_uuid(env, name)
    return not uuid or env.definitions.uuid(env.hypervisor_at(target).running_definition(name)) == uuid


def _limits(env: NodeEnv, given: Parameters) -> Limits:
    """Take the parameters', but on a node that shuts down pause without a limit: next comes a stop."""
    on_timeout, max_pause_s = given.on_timeout, given.max_pause_s
    try:
        if is_shutting_down(env, env.cluster.local_node()):
            on_timeout, max_pause_s = OnTimeout.PAUSE, None
    except VmMgrError as error:
        _record(env, given.name, f"whether this node shuts down is unknown: {error}")
    return limits_within(
        given.budget_s, timeout_s=given.move_timeout_s, on_timeout=on_timeout, max_pause_s=max_pause_s
    )


def _plan(env: NodeEnv, given: Parameters, limits: Limits) -> Plan:
    if given.strategy is not Strategy.AUTO:
        return Plan(given.strategy, pause_early=given.pause_early, reason=given.reason)
    try:
        xml = env.hypervisor.running_definition(given.name)
        memory_bytes = env.definitions.machine(xml).memory_bytes
        return plan_for(
            env.hypervisor,
            given.name,
            memory_bytes=memory_bytes,
            bandwidth_mib=given.speed_mib,
            limits=limits,
        )
    except VmMgrError as error:
        return Plan(Strategy.AUTO_CONVERGE, reason=f"nothing could be measured ({error})")


def _migration(given: Parameters, plan: Plan, limits: Limits, ident: str) -> Migration:
    target = migration_host(given.target_node, given.network_suffix)
    user = f"{given.user}@" if given.user else ""
    # no_tty: ssh fails instead of asking.
    query = "?no_tty=1" if given.transport == "ssh" else ""
    port = f":{given.port}" if given.port else ""
    return Migration(
        name=given.name,
        destination_uri=f"qemu+{given.transport}://{user}{target}/system{query}",
        migrate_uri=f"tcp://{target}{port}",
        timeout_s=limits.end_s,
        downtime_ms=given.downtime_ms,
        speed_mib=given.speed_mib,
        extra_options=given.options,
        parallel=given.parallel,
        plan=plan,
        limits=limits,
        ident=ident,
    )


class Teller:
    """Write into the journal what is done for a migration, and how far it is; end it for a recovery."""

    def __init__(self, env: NodeEnv, name: VmName, way: RecoveryWatch) -> None:
        self.env = env
        self.name = name
        self.way = way
        self.ending = ""
        self.next_s = 0.0

    def __call__(self, sample: JobSample, decision: Decision) -> str:
        """Hear of a look, and say why the migration is to end, if it is."""
        if decision.step is not Step.GO_ON:
            _record(self.env, self.name, f"{decision.step.value}: {decision.reason}")
        elif sample.elapsed_s >= self.next_s:
            self.next_s = sample.elapsed_s + 10
            done, left = sample.processed_bytes >> 20, sample.remaining_bytes >> 20
            rates = (
                f"{sample.rate_bps / (1 << 20):.0f} MiB/s, dirtied {sample.dirty_bps / (1 << 20):.0f} MiB/s"
            )
            _record(self.env, self.name, f"{done} MiB sent, {left} MiB left, {rates}")
        if not self.ending and decision.step is Step.GO_ON:
            self.ending = self.way.reason(sample)
            if self.ending:
                _record(self.env, self.name, f"abort: {self.ending}")
        return self.ending


def _record(env: NodeEnv, name: VmName, text: str) -> None:
    say(env, f"migration of {name}: {text}")


def wait_gone(env: NodeEnv, name: VmName, deadline: float) -> bool:
    """Wait until the VM's process has ended here; False when it is too late."""
    while not _is_gone(env, name):
        if env.clock.monotonic() > deadline:
            return False
        env.clock.sleep(POLL_S)
    return True


def _is_gone(env: NodeEnv, name: VmName) -> bool:
    try:
        return identity.own_pid(env, name) is None
    except VmMgrError:
        return False  # a process that is ending shows nothing for a moment; the caller's next look raises


def _set_timer(env: NodeEnv, name: VmName, after_s: float) -> str:
    """Set it; a migration does not fail for this, but somebody has to hear of it."""
    try:
        return env.timers.schedule_unblock(name, after_s)
    except VmMgrError as error:
        _record(env, name, f"no timer could be set ({error}); if it stays held: vm-mgr start {name}")
        return ""


def _watch(env: NodeEnv, name: VmName) -> str:
    """Have the VM looked at if this process is killed; without it the timer does that, later."""
    try:
        return env.timers.watch(name, os.getpid())
    except VmMgrError as error:
        _record(env, name, f"nobody looks at once if its migration is killed ({error})")
        return ""


def _cancel(env: NodeEnv, name: VmName, timer: str) -> None:
    try:
        if timer:
            env.timers.cancel(timer)
    except VmMgrError as error:
        _record(env, name, f"its timer stays and will find nothing to do ({error})")
