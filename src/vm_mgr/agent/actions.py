"""Start and stop a VM on behalf of Pacemaker.

Whether a VM runs is decided by its process alone; libvirt is asked to act, and believed only where the
process agrees.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from vm_mgr.agent import identity
from vm_mgr.agent.destroy_times import remember, reserve_s
from vm_mgr.agent.disk_leases import let_go
from vm_mgr.agent.disks import note_disks
from vm_mgr.agent.hibernation import clear, go_on, hibernate, wake
from vm_mgr.agent.moving import migrate_from, migrate_to, wait_gone
from vm_mgr.agent.nvram import nvram_arrived, nvram_ended, nvram_left
from vm_mgr.agent.parameters import Parameters
from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.config import CEPH
from vm_mgr.errors import AbortedError, Kind, SignalError, VmMgrError, raise_all
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.event import AGENT_EXPECTED, NO_SHUTDOWN, SCRIPTS_FOLLOW, Event, EventKind
from vm_mgr.model.node_requirements import MISSING
from vm_mgr.model.requirement_words import MEDIUM, text
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import VmName
from vm_mgr.operations.lifecycle.unfinished import require_whole
from vm_mgr.operations.migration.halves import end_half, end_halves
from vm_mgr.operations.storage.disk_interlock import blocklist_dead, free_disks, gone_nodes, holder_node
from vm_mgr.operations.storage.nvram import restore_nvram
from vm_mgr.operations.storage.overlay import noted_problems
from vm_mgr.operations.storage.own_clients import note_clients
from vm_mgr.operations.support.stopwatch import Stopwatch
from vm_mgr.ports.node_env import NodeEnv
from vm_mgr.ports.storage import Storage

__all__ = ["ACTIONS", "failure"]

CALL_S = 5.0
PRESS_S = 3.0
POLL_S = 0.2
# libvirt reads the end of a monitor at once, but acts on it only after the domain's job under way.
NOTICE_S = 10.0
# A command that has a disk open just now makes libvirt's hook refuse the start.
PASSING_S = 40.0
# What libvirt takes to be started anew.
BACK_S = 5.0
# Ceph answers at once, or is in trouble; a stop has better things to do then.
SHUT_OUT_S = 5.0
NOTE_S = 3.0


def start(env: NodeEnv, given: Parameters) -> None:
    """Start from the definition in the storage, after proving that nobody else has the disks open."""
    name = given.name
    deadline = env.clock.monotonic() + given.budget_s
    running = env.processes.find_vm(name)
    if running is not None and not _ended_half(env, name):
        _confirm(env, given, running)
        return
    rival = env.hypervisor.acts_alone(name)
    if rival:
        message = f"{name} is not started on a node where something else starts or stops VMs: {rival}"
        raise VmMgrError(Kind.WRONG_STATE, message)
    env.journal.record(Event(env.clock.utc(), EventKind.STARTING, name))
    waits = Stopwatch(env.clock)
    gone = gone_nodes(env)  # before Ceph is asked, which may have to wait while a fenced node reboots
    waits.end("cluster")
    label = given.storage or env.storages.label_of(name)
    storage = env.storages.get(label)
    xml = storage.definitions.read(name)
    raise_all(noted_problems(env, name, storage))
    uuid = env.definitions.uuid(xml)
    identity.expect(env, name, uuid)
    images = storage.clients.opened(env.definitions.opened(xml)) or storage.clients.images(name)
    has_agent = env.definitions.has_agent(xml)
    waits.end("definition")
    if any(holder_node(env, one) != env.cluster.local_node() for one in storage.clients.of(images)):
        end_halves(env, name, env.cluster.local_node(), shuts_out=False)
    _free(env, storage, given, images, gone, deadline - CALL_S)
    restore_nvram(env, storage, name, xml)
    waits.end("disk")
    end = partial(_unplug, env, name, deadline + CALL_S)
    found = wake(env, given, storage, uuid, deadline, end)
    if not found.stands:
        _create(env, env.definitions.with_optional_media(xml), name, uuid, deadline)
    pid = env.processes.find_vm(name, uuid=uuid)
    if pid is None:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{name} ended right after its start")
    identity.remember(env, name, pid, uuid)
    note_clients(env, storage, name, pid, images)
    go_on(env, name, found, end)
    waits.end("libvirt")
    event = Event(env.clock.utc(), EventKind.RUNNING, name, detail=_expected(given, has_agent=has_agent))
    env.journal.record(event._replace(waited=waits.milliseconds, expects_agent=has_agent))
    _end_alarm(env, name)
    _tell_empty_drives(env, name, xml)
    if found.state is not None:
        clear(env, storage, name)


def _end_alarm(env: NodeEnv, name: VmName) -> None:
    """Take back that a second one was found: this is a new one."""
    with suppress(VmMgrError):
        for node in env.cluster.state().nodes:
            if name in node.alarms:
                env.cluster.alarm(name, node.name, on=False)


def _tell_empty_drives(env: NodeEnv, name: VmName, xml: str) -> None:
    """Say which media are not on this node; the guest runs without them."""
    words = env.definitions.requirements(xml)
    media = [one for one in words if one.startswith(f"{MEDIUM}-")]
    if not media:
        return
    with suppress(VmMgrError):
        told = env.facts_at(env.cluster.local_node()).answers(media)
        for one in media:
            if told.get(one) == MISSING:
                env.journal.say(f"{name} has an empty drive: {text(one)} is missing here", warning=True)


def _ended_half(env: NodeEnv, name: VmName) -> bool:
    """End what stands here of a failed live migration: its guest can neither be started nor shut down."""
    try:
        if not end_half(env.hypervisor, name):
            return False
    except VmMgrError:
        return False  # what is not known to be a half is confirmed, or not, as any other process
    if not wait_gone(env, name, env.clock.monotonic() + CALL_S):
        raise VmMgrError(Kind.TRY_LATER, f"what a live migration has left of {name} does not end here")
    print(f"WARNING: a half of {name} that a live migration had left here was ended", file=sys.stderr)
    return True


def _free(
    env: NodeEnv,
    storage: Storage,
    given: Parameters,
    images: Sequence[str],
    gone: frozenset[NodeName],
    until: float,
) -> None:
    """Make sure that the disks are those of one instant, and nobody's.

    Their being free may have been waited for: then an operation may have begun meanwhile.
    """
    began = env.clock.monotonic()
    whole = partial(
        require_whole, env, storage, given.name, foreign_intent_log=_foreign_intent_log(env, given)
    )
    whole(limit_s=max(until - began, 0))
    free_disks(env, storage, given.name, images, gone=gone, limit_s=max(until - env.clock.monotonic(), 0))
    if env.clock.monotonic() > began + CALL_S:
        whole(limit_s=0)


def _foreign_intent_log(env: NodeEnv, given: Parameters) -> bool:
    settings = env.storage_settings
    own = given.storage or env.storages.label_of(given.name)
    return own != (CEPH if settings.ceph else settings.default)


def _expected(given: Parameters, *, has_agent: bool) -> str:
    """Say what comes after QEMU runs, for the record."""
    words = (AGENT_EXPECTED if has_agent else "", SCRIPTS_FOLLOW if given.scripts else "")
    return "; ".join(filter(None, words))


def _create(env: NodeEnv, xml: str, name: VmName, uuid: str, deadline: float) -> None:
    """Have libvirt start it, again where libvirt has not yet seen that its last process is gone.

    Again also where its hook has met a client that came after the disks had been free.
    """
    began = env.clock.monotonic()
    while True:
        now = env.clock.monotonic()
        try:
            env.hypervisor.create(xml, name, timeout_s=max(deadline - now, CALL_S))
        except (VmMgrError, SignalError) as error:
            if env.processes.find_vm(name, uuid=uuid) is not None:
                _unplug(env, name, env.clock.monotonic() + CALL_S)
                raise
            if isinstance(error, SignalError):
                raise
            patience_s = {Kind.TRY_LATER: NOTICE_S, Kind.WRONG_STATE: PASSING_S}.get(error.kind, 0)
            if now + POLL_S > min(deadline, began + patience_s):
                raise
        else:
            return
        env.clock.sleep(POLL_S)


def failure(env: NodeEnv, name: VmName, action: str, error: VmMgrError | SignalError) -> Event:
    """Give the event of an action that has failed; Pacemaker's own has no reason."""
    why = error.why if isinstance(error, AbortedError) else ""
    return Event(env.clock.utc(), EventKind.FAILED, name, detail=f"{action}: {error.message}", why=why)


def stop(env: NodeEnv, given: Parameters) -> None:
    """Shut down, power off when the time is up, kill when libvirt does not; success means that it is gone.

    Where the VM hibernates and the stop is part of a move, its memory is saved instead.
    """
    name = given.name
    began = env.clock.monotonic()
    deadline = began + given.timeout_s - 2
    pid = _pid(env, name, deadline)
    if pid is None and not _begins(env, name, deadline):
        if identity.was_seen(env, name) or env.own_clients.kept(name) is not None:
            _blocklist_dead(env, given)
        nvram_ended(env, given)
        let_go(env, name, None)
        identity.forget(env, name)
        return
    if _ended_half(env, name):
        nvram_left(env, name)
        identity.forget(env, name)
        return
    _note_disks(env, given)
    why = "its guest did not shut down in its time, or libvirt did not answer: it was powered off"
    ordinary_s = given.timeout_s - given.hibernation_s
    saved_until = began + given.hibernation_s
    if not given.force_stop and not hibernate(env, given, saved_until, partial(_unplug, env, name, deadline)):
        until = min(env.clock.monotonic(), saved_until) + ordinary_s
        if _shut_down(env, name, until - reserve_s(env, ordinary_s)):
            why = "no operating system runs in it that could hear the power button: it was powered off"
    if _pid(env, name, deadline) is not None:
        _unplug(env, name, deadline)
        _blocklist_dead(env, given)
        if not given.force_stop:
            env.journal.record(Event(env.clock.utc(), EventKind.STOPPED, name, detail=why, why=NO_SHUTDOWN))
    else:
        env.own_clients.forget(name)  # it has closed its disks
    nvram_ended(env, given)
    let_go(env, name, pid)
    identity.forget(env, name)


def _blocklist_dead(env: NodeEnv, given: Parameters) -> None:
    """Have Ceph forget a process that could not close its disks, so that another node need not wait for that.

    It is a help only: a stop never fails for it.
    """
    name = given.name

    def blocklist() -> list[DiskClient]:
        storage = env.storages.get(given.storage or env.storages.label_of(name))
        images = storage.clients.opened(env.definitions.opened(storage.definitions.read(name)))
        _wait_ended(env, name)
        return blocklist_dead(env, storage, name, images) if images else []

    with suppress(VmMgrError, OutOfTimeError):
        for one in bounded(blocklist, SHUT_OUT_S):
            print(f"INFO: {name} died: Ceph was asked to blocklist {one.address}", file=sys.stderr)


def _note_disks(env: NodeEnv, given: Parameters) -> None:
    """Keep where it has written last; nobody can refuse a stop for that, but the next start."""
    with suppress(VmMgrError, OutOfTimeError):
        bounded(partial(note_disks, env, given), NOTE_S)


def _wait_ended(env: NodeEnv, name: VmName) -> None:
    """Wait until nothing of its process is left: the kernel may still be at its memory."""
    kept, deadline = env.own_clients.kept(name), env.clock.monotonic() + SHUT_OUT_S
    while kept and not env.processes.has_ended(kept.pid, kept.birth) and env.clock.monotonic() < deadline:
        env.clock.sleep(POLL_S)


def _pid(env: NodeEnv, name: VmName, deadline: float) -> int | None:
    """Find its process; at its end one shows nothing, the longer the more memory it has to give back."""
    while True:
        try:
            return identity.own_pid(env, name)
        except VmMgrError:
            if env.clock.monotonic() + CALL_S > deadline:
                raise
            env.clock.sleep(POLL_S)


def _begins(env: NodeEnv, name: VmName, deadline: float) -> bool:
    """End what libvirt may be about to run for a start that was killed or too slow; tell what runs after all.

    libvirt goes on with a start that nobody waits for, and destroys only after its end.
    """
    if not identity.is_awaited(env, name) or env.processes.find_vm(name) is not None:
        return False
    left_s = deadline - env.clock.monotonic()
    _attempt(lambda: env.hypervisor.destroy(name, timeout_s=max(left_s / 2, CALL_S)))
    return _pid(env, name, deadline) is not None


def _confirm(env: NodeEnv, given: Parameters, pid: int) -> None:
    """Find that the process is this VM's; a storage that does not answer is no reason to doubt it."""
    name = given.name
    storage, images = None, []
    try:
        storage = env.storages.get(given.storage or env.storages.label_of(name))
        xml = storage.definitions.read(name)
        uuid, images = env.definitions.uuid(xml), storage.clients.opened(env.definitions.opened(xml))
    except VmMgrError:
        uuid = ""
    theirs = env.processes.uuid(pid)
    if env.processes.find_vm(name, uuid=uuid) is None:
        identity.expect(env, name, uuid)
        message = f"another VM of the name {name} runs here: process {pid}, UUID {theirs} instead of {uuid}"
        raise VmMgrError(Kind.WRONG_STATE, message, hint=f"end it or rename it: virsh dominfo {theirs}")
    identity.remember(env, name, pid, uuid)
    if storage is not None:
        note_clients(env, storage, name, pid, images)
    if env.nvram_files.kept(name) is None:
        nvram_arrived(env, given)


def _shut_down(env: NodeEnv, name: VmName, deadline: float) -> bool:
    """Press the power button until the VM is gone: a guest that is still booting ignores it.

    Gives True soon where no operating system runs that could hear it. A paused one can't hear it and is let
    go on, unless a snapshot holds it for these seconds. libvirt may be just about to be back, as when it is
    upgraded.
    """
    patient_until = min(env.clock.monotonic() + BACK_S, deadline)
    while not _attempt(lambda: env.hypervisor.shutdown(name, timeout_s=CALL_S)):
        if env.clock.monotonic() > patient_until:
            return False  # libvirt hangs, or is stopped: the time is better spent on powering off
        env.clock.sleep(POLL_S)
    asked = False
    while not wait_gone(env, name, min(deadline, env.clock.monotonic() + PRESS_S)):
        remaining = deadline - env.clock.monotonic()
        if remaining <= 0:
            return False
        if not asked and _is_deaf(env, name, min(CALL_S, remaining)):
            return True
        asked = True
        _attempt(lambda: _press(env, name, min(CALL_S, remaining)))  # noqa: B023 - called at once
    return False


def _is_deaf(env: NodeEnv, name: VmName, timeout_s: float) -> bool:
    try:
        return bounded(partial(env.evidence.is_deaf, name), timeout_s)
    except (VmMgrError, OutOfTimeError):
        return False


def _press(env: NodeEnv, name: VmName, timeout_s: float) -> None:
    if env.hypervisor.paused(name, timeout_s=timeout_s).is_half:
        return  # the other half may run: this one is powered off in the end
    env.hypervisor.resume(name)  # it may sleep, too
    env.hypervisor.shutdown(name, timeout_s=timeout_s)


def _unplug(env: NodeEnv, name: VmName, deadline: float) -> None:
    """End the process by stronger and stronger means, and remember how long it took."""
    began = env.clock.monotonic()
    _end(env, name, deadline)
    remember(env, env.clock.monotonic() - began)


def _end(env: NodeEnv, name: VmName, deadline: float) -> None:
    if _attempt(lambda: env.hypervisor.destroy(name, timeout_s=CALL_S)):
        wait_gone(env, name, min(deadline, env.clock.monotonic() + 2))
    for force in (False, True):
        pid = _pid(env, name, deadline)
        if pid is None:
            return
        env.processes.end(pid, force=force)
        if wait_gone(env, name, deadline if force else min(deadline, env.clock.monotonic() + 1)):
            return
    raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{name} can't be stopped, not even by SIGKILL")


def _attempt(action: Callable[[], None]) -> bool:
    try:
        action()
    except VmMgrError:
        return False
    return True


ACTIONS: dict[str, Callable[[NodeEnv, Parameters], None]] = {
    "start": start,
    "stop": stop,
    "migrate_to": migrate_to,
    "migrate_from": migrate_from,
}
