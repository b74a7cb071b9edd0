"""Save a guest's memory at a stop that is part of a move, and go on with it at the next start.

The rules (docs/design/0012-hibernation.md): a state is complete only when its QEMU has ended, and marked as
taken before a QEMU is started from it, which stands until it is known to be the VM's.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

from vm_mgr.agent import identity, state_files
from vm_mgr.agent.agent_log import say
from vm_mgr.agent.parameters import Parameters
from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.saved_state import SavedState
from vm_mgr.model.vm import VmName
from vm_mgr.operations.migration.stop_reason import reason_to_move
from vm_mgr.operations.storage.own_clients import dead_addresses
from vm_mgr.operations.support.stopwatch import Stopwatch
from vm_mgr.ports.node_env import NodeEnv
from vm_mgr.ports.storage import Storage

__all__ = ["Found", "clear", "go_on", "hibernate", "wake"]

T = TypeVar("T")
CALL_S = 5.0
# Kept of a start's time for an ordinary boot, should the memory be of no use.
BOOT_S = 30.0
# What any storage surely takes, written and read again: slower than this, a guest is not begun to be saved.
SURELY_BPS = 50 << 20
# Beside its memory a guest has devices with a state, and memory of their own.
DEVICES = 64 << 20


class Found(NamedTuple):
    """What a start has found: a state, and whether the guest is paused here with it."""

    state: SavedState | None = None
    stands: bool = False


def hibernate(env: NodeEnv, given: Parameters, until: float, end: Callable[[], None]) -> bool:
    """Save it and end its process; False where the guest runs on and is to be shut down.

    Until everything is in the storage, which is so by the time until, the guest only stands: whatever fails
    before, it is let go on.
    """
    name = given.name
    if not given.hibernation_s:
        return False
    saving = _Saving(env, given, until)
    try:
        reason = reason_to_move(env, name)
        if not reason:
            say(env, f"{name} is shut down: nothing says that it is moved")
            return False
        saving.save()
    except (VmMgrError, SignalError) as error:
        saving.take_back()
        _tell(env, name, EventKind.NOT_SAVED, f"its guest is shut down instead: {error.message}")
        if isinstance(error, SignalError):
            raise
        return False
    end()
    try:
        saving.finish()
    except VmMgrError as error:
        clear(env, saving.storage, name)
        _tell(env, name, EventKind.NOT_SAVED, f"it will boot, as after a power cut: {error.message}")
        return True
    _tell(env, name, EventKind.SAVED, reason, saving.waits)
    return True


class _Saving:
    """The steps of saving; until is when the guest must have been let go on, should it not be done."""

    def __init__(self, env: NodeEnv, given: Parameters, until: float) -> None:
        self.env = env
        self.given = given
        self.name = given.name
        self.until = until
        self.waits = Stopwatch(env.clock)
        self.storage: Storage | None = None
        self.state = SavedState()
        self.paused = False

    def save(self) -> None:
        """Have all of it in the storage, while the guest is paused."""
        env, name = self.env, self.name
        self.storage = env.storages.get(self.given.storage or env.storages.label_of(name))
        stands = env.hypervisor.paused(name, timeout_s=CALL_S)
        if not stands.is_wanted:
            raise VmMgrError(Kind.WRONG_STATE, f"its guest is paused: {stands}")
        intent = env.intent_log.intents().get(
            name
        )  # asked after the pause was seen: it may be that command's
        if intent is not None:
            raise VmMgrError(Kind.TRY_LATER, f"{intent.verb} of {name} is under way, or was left unfinished")
        xml = env.hypervisor.running_definition(name)
        machine = env.definitions.machine(xml)
        self._require_own_disks(self.storage, xml)
        self._require_time(machine.memory_bytes)
        needed = machine.memory_bytes + machine.memory_bytes // 50 + DEVICES
        path = self.storage.saved_memory.prepare(name, needed)
        self.state = SavedState(
            uuid=machine.uuid,
            node=env.cluster.local_node(),
            saved_utc=env.clock.utc(),
            was_paused=stands is PauseReason.USER and not self._was_paused_by_us(),
        )
        self.waits.end("checks")
        if not self.state.was_paused:
            self.paused = True  # it may stand even where the call fails
            self._note_pause()
            env.hypervisor.pause(name)
        env.hypervisor.save_memory(name, path, timeout_s=max(self.until - env.clock.monotonic(), CALL_S))
        self.waits.end("memory")
        keep = partial(self.storage.saved_memory.store, name, self.state, partial(_in_time, env, self.until))
        self.state = _soon(keep, max(self.until - env.clock.monotonic(), CALL_S))
        self.waits.end("storage")
        if not env.hypervisor.paused(name, timeout_s=CALL_S):
            raise VmMgrError(Kind.WRONG_STATE, "somebody let its guest go on while it was saved")

    def finish(self) -> None:
        """Make it complete; who may have opened the disks meanwhile makes it worthless."""
        if self.storage is None or identity.own_pid(self.env, self.name) is not None:
            raise VmMgrError(Kind.WRONG_STATE, "its process has not ended")
        self.waits.end("end")
        own = dead_addresses(self.env, self.name)
        held = self.storage.clients.of(self.storage.clients.images(self.name))
        alive = [one for one in held if one.address not in own]
        if alive:
            raise VmMgrError(Kind.WRONG_STATE, f"its disk {alive[0].image} is in use at {alive[0].address}")
        self.storage.saved_memory.commit(self.name, self.state)

    def take_back(self) -> None:
        """Let the guest go on, then remove what was written."""
        if self.paused:
            try:
                self.env.hypervisor.resume(self.name)
            except VmMgrError as error:
                say(self.env, f"the guest of {self.name} may be paused: {error.message}")
            else:
                state_files.forget(self.env, self.name, "saving")
        if self.storage is not None:
            with suppress(VmMgrError):  # the guest is to shut down in the time that is left
                _soon(partial(clear, self.env, self.storage, self.name), CALL_S)

    def _note_pause(self) -> None:
        """Tell a later stop, should this one be killed, that it was not the guest's user."""
        with suppress(OSError):
            state_files.write(self.env, "saving", self.name, self._process())

    def _was_paused_by_us(self) -> bool:
        process = self._process()
        return process != "" and state_files.read(self.env, "saving", self.name) == process

    def _process(self) -> str:
        pid = identity.own_pid(self.env, self.name)
        return "" if pid is None else f"{pid} {self.env.processes.birth(pid)}"

    def _require_time(self, memory_bytes: int) -> None:
        left_s = self.until - self.env.clock.monotonic()
        needed_s = memory_bytes / SURELY_BPS
        if needed_s > left_s:
            message = f"saving {memory_bytes >> 20} MiB may take {needed_s:.0f} s; it has {left_s:.0f} s"
            hint = f"have its time counted anew: vm-mgr set {self.name} --metadata hibernation=1"
            raise VmMgrError(Kind.TRY_LATER, message, hint=hint)

    def _require_own_disks(self, storage: Storage, xml: str) -> None:
        """Refuse where the guest writes to a disk that is in no moment: a change would go unseen."""
        images, image_of = storage.clients.images(self.name), storage.clients.image_of
        known = [source for source in self.env.definitions.sources(xml) if image_of(source) in images]
        if len(self.env.definitions.hard_disks(xml)) > len(known):
            message = "it has a disk that vm-mgr does not keep, and which others may change meanwhile"
            raise VmMgrError(Kind.NOT_SUPPORTED, message, hint=f"see: vm-mgr show {self.name}")


def wake(
    env: NodeEnv, given: Parameters, storage: Storage, uuid: str, deadline: float, end: Callable[[], None]
) -> Found:
    """Start the guest with its saved memory, standing; where that can't be, nothing runs and it is to boot.

    Raises where a state could be resumed a second time, or next to a boot: then nothing may be started.
    """
    name = given.name
    state = storage.saved_memory.of(name)
    if state is None:
        return Found()
    if state.consumed or not state.complete:
        why = "resuming it was begun before" if state.consumed else "saving it did not end"
        _tell(env, name, EventKind.NOT_RESUMED, f"{why}: it boots, as after a power cut")
        return Found(state)
    misfit = _misfit(storage, name, state, uuid)
    storage.saved_memory.consume(name)
    if misfit:
        _tell(env, name, EventKind.NOT_RESUMED, f"{misfit}: it boots")
        return Found(state)
    waits, until = Stopwatch(env.clock), deadline - BOOT_S
    try:
        path = storage.saved_memory.load(name, state, partial(_in_time, env, until))
        waits.end("storage")
        env.hypervisor.restore(path, name, timeout_s=max(until - env.clock.monotonic(), CALL_S))
        waits.end("libvirt")
    except (VmMgrError, SignalError) as error:
        if env.processes.find_vm(name) is not None:
            end()  # it stands: none of its processors has run
        _tell(env, name, EventKind.NOT_RESUMED, f"it boots, as after a power cut: {error.message}")
        if isinstance(error, SignalError):
            raise
        return Found(state)
    _tell(env, name, EventKind.RESUMED, f"saved on {state.node}", waits)
    return Found(state, stands=True)


def go_on(env: NodeEnv, name: VmName, found: Found, end: Callable[[], None]) -> None:
    """Let the guest's processors run, unless its user had paused it; they may have run where this fails."""
    if found.state is None or not found.stands or found.state.was_paused:
        return
    try:
        env.hypervisor.resume(name)
    except (VmMgrError, SignalError):
        end()
        raise


def clear(env: NodeEnv, storage: Storage | None, name: VmName) -> None:
    """Remove what is of no use any more; what stays is never resumed, and goes at the next time."""
    if storage is None:
        return
    try:
        storage.saved_memory.delete(name)
    except VmMgrError as error:
        say(env, f"what was saved of {name} is of no use any more and stays for now: {error.message}")


def _misfit(storage: Storage, name: VmName, state: SavedState, uuid: str) -> str:
    if not state.uuid or state.uuid != uuid:
        return f"the saved memory is of another VM ({state.uuid or 'unknown'})"
    if state.disk_fingerprint != storage.saved_memory.disk_fingerprint(name):
        return "its disks have changed since its memory was saved"
    return ""


def _soon(call: Callable[[], T], limit_s: float) -> T:
    """Give up on a storage that hangs: each call may take its patience, and the guest is paused meanwhile.

    What goes on can't make a state complete.
    """
    try:
        return bounded(call, limit_s)
    except OutOfTimeError as error:
        message = f"the storage did not answer within {limit_s:.0f} s"
        raise VmMgrError(Kind.TRY_LATER, message, hint="look at its health") from error


def _in_time(env: NodeEnv, until: float, fraction: float) -> None:
    if env.clock.monotonic() > until:
        raise VmMgrError(Kind.TRY_LATER, f"the time was up after {fraction:.0%} of its memory")


def _tell(env: NodeEnv, name: VmName, kind: EventKind, detail: str, waits: Stopwatch | None = None) -> None:
    waited = waits.milliseconds if waits else {}
    with suppress(VmMgrError):
        env.journal.record(Event(env.clock.utc(), kind, name, detail=detail, waited=waited))
    say(env, f"{name} {kind.value}: {detail}")
