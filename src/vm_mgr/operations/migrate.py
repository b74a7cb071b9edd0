"""Move a running VM to another node."""

from contextlib import ExitStack

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState, NodeName, Resource
from vm_mgr.model.vm import VmName, VmState, VmStatus
from vm_mgr.operations.alone import alone
from vm_mgr.operations.checks import host_problems, quorum_problems, resource_of
from vm_mgr.operations.view import view
from vm_mgr.operations.waiting import known_settings, wait
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["migrate"]

OTHER_STEPS_S = 120  # migrate_from and settling, or stop and start where a live migration has failed
GRACE_S = 60


def migrate(env: Env, name: VmName, to: NodeName | None = None) -> VmStatus:
    """Constrain the VM for the time of the move, wait until it runs there, leave no constraint behind."""
    with alone(env, name):
        return _migrate(env, name, to)


def _migrate(env: Env, name: VmName, to: NodeName | None) -> VmStatus:
    state = env.cluster.state()
    raise_all(quorum_problems(state))
    before = resource_of(env, state, name)
    seen = view(before, state)
    source = NodeName(seen.node)
    settings = known_settings(env, name)
    raise_all(_problems(state, seen, to, settings.pinned_host))
    if source == to:
        return seen
    if not settings.live_migration:
        message = f"{name} has no live migration: it is stopped on {source} and started elsewhere"
        env.say(Note(Level.WARNING, "not-live", message))
    timeout_s = (settings.migrate_to_timeout_s or 120) + OTHER_STEPS_S
    with ExitStack() as stack:
        stack.callback(env.cluster.end_move, name)
        env.cluster.begin_move(name, to=to, away_from=source, lifetime_s=timeout_s + GRACE_S)
        seen = wait(env, name, f"moving {name}", lambda vm: _arrived(vm, source, to), timeout_s)
    if not _arrived(seen, source, to):
        raise _failure(seen)
    if settings.live_migration:
        _warn_of_restart(env, before, seen)
    return seen


def _warn_of_restart(env: Env, before: Resource, seen: VmStatus) -> None:
    """Say so when the VM has arrived but not alive: Pacemaker restarts it where a live migration failed."""
    after = env.cluster.state().resources.get(before.name)
    new = [failure.text for failure in after.failures if failure not in before.failures] if after else []
    if new:
        reason = "; ".join(new)
        message = f"{seen.name} was restarted on {seen.node}, because its live migration failed: {reason}"
        env.say(Note(Level.WARNING, "not-live", message))


def _problems(
    state: ClusterState, seen: VmStatus, to: NodeName | None, pinned: str | None
) -> list[VmMgrError]:
    problems = host_problems(state, to, now=True)
    if seen.state is not VmState.STARTED:
        reason = f" ({seen.detail})" if seen.detail else ""
        message = f"{seen.name} is {seen.state.value}{reason}; only a Started VM can be moved"
        problems.append(VmMgrError(Kind.WRONG_STATE, message, hint=_way_to_started(state, seen)))
    elif pinned and to != pinned:
        message = f"{seen.name} is pinned to {pinned}"
        problems.append(
            VmMgrError(Kind.WRONG_STATE, message, hint=f"vm-mgr set {seen.name} --unset pinned-host")
        )
    elif to is None and not any(node.can_host for node in state.nodes if node.name != seen.node):
        message = f"no other node can take {seen.name} now"
        problems.append(VmMgrError(Kind.NO_RESOURCES, message, hint="see the nodes: crm_mon -1"))
    return problems


def _way_to_started(state: ClusterState, seen: VmStatus) -> str:
    node = state.node(seen.node)
    if node is not None and node.unclean:
        return f"the cluster recovers it by itself once {node.name} is fenced; see how far it is: crm_mon -1"
    if seen.state in (VmState.STOPPED, VmState.FAILED):
        return f"start it: vm-mgr start {seen.name}"
    return f"look again: vm-mgr status {seen.name}"


def _arrived(seen: VmStatus, source: NodeName, to: NodeName | None) -> bool:
    there = seen.node == to if to else seen.node not in ("", source)
    return seen.state is VmState.STARTED and not seen.detail and there


def _failure(seen: VmStatus) -> VmMgrError:
    where = f" on {seen.node}" if seen.node else ""
    reason = f": {seen.detail}" if seen.detail else ""
    hint = f"look at the agent's messages: journalctl -t pacemaker-execd; vm-mgr status {seen.name}"
    return VmMgrError(
        Kind.EXTERNAL_FAILURE,
        f"{seen.name} was not moved; it is {seen.state.value}{where}{reason}",
        hint=hint,
    )
