"""Hold a running guest still, so that all of its disks show one instant."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.intent import Intent
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.disk_interlock import held, node_beside
from vm_mgr.ports.env import Env
from vm_mgr.ports.holds import Hold
from vm_mgr.ports.hypervisor import Guests
from vm_mgr.reports import Level, Note

__all__ = ["HOLD_S", "Quiescence", "held_on", "node_of", "quiesced", "resume", "resume_quietly", "will_pause"]

LOOK_S = 10.0
# After this time the VM's own node lets a guest go on (docs/design/0015-limit-of-a-hold.md).
HOLD_S = 30.0


class Quiescence:
    """What the disks show as long as the guest is held, and what they have shown to the end."""

    def __init__(self, expected: Consistency) -> None:
        self.expected = expected

    def proven(self) -> Consistency:
        """Look whether the guest was still until now; raises WRONG_STATE where the disks differ in time."""
        return self.expected


class _Frozen(Quiescence):
    """A guest whose agent has frozen its file systems."""

    def __init__(self, env: Env, name: VmName, hypervisor: Guests) -> None:
        super().__init__(Consistency.FROZEN)
        self.env = env
        self.name = name
        self.hypervisor = hypervisor

    def proven(self) -> Consistency:
        """Ask the agent: its node lets a guest go on that is held for too long, and so may anybody else."""
        if self.hypervisor.is_frozen(self.name):
            return Consistency.FROZEN
        if len(self.env.storage.clients.images(self.name)) > 1:
            raise _went_on(self.name)
        text = f"{self.name} was resumed before the instant of the snapshot: crash-consistent, not frozen"
        hint = f"nothing holds a guest for longer than {HOLD_S:.0f} s"
        self.env.say(Note(Level.WARNING, "not-frozen", text, hint))
        return Consistency.CRASH


class _Paused(Quiescence):
    """A guest whose processors stand."""

    def __init__(self, name: VmName, hypervisor: Guests) -> None:
        super().__init__(Consistency.CRASH)
        self.name = name
        self.hypervisor = hypervisor

    def proven(self) -> Consistency:
        """Look: the agent lets a guest go on to stop it, its node after a limit, and users have virsh."""
        if not self.hypervisor.paused(self.name, timeout_s=LOOK_S):
            raise _went_on(self.name)
        return Consistency.CRASH


@contextmanager
def quiesced(env: Env, name: VmName) -> Iterator[Quiescence]:
    """Freeze the guest's file systems if it has an agent, else pause it if it has several disks.

    One disk alone always shows one instant. The guest goes on when the context is left, whatever happens,
    unless its user had paused it; after HOLD_S its own node lets it go on, where this process can't. A VM
    that somebody runs beside the cluster is held too. Raises WRONG_STATE where its disks are open elsewhere,
    or where it stands for another reason, like an I/O error, which the agent tries to end;
    EXTERNAL_FAILURE where a frozen guest does not thaw, or where its node sets no limit.
    """
    node = held_on(env, name)
    if node is None:
        if _are_open(env, name):
            yield _in_unknown_hands(env, name)
            return
        saved = env.storage.saved_memory.of(name)
        yield Quiescence(Consistency.OFFLINE if saved is None else Consistency.CRASH)
        return
    hypervisor = env.hypervisor_at(node)
    if _may_freeze(env, name, hypervisor) and _limited(env, name, node):
        with _freezing(env, name, node, hypervisor) as frozen:
            if frozen:
                yield _Frozen(env, name, hypervisor)
                return
    if len(env.storage.clients.images(name)) > 1:
        with _pausing(env, name, node, hypervisor):
            yield _Paused(name, hypervisor)
    else:
        yield Quiescence(Consistency.CRASH)


def will_pause(env: Env, name: VmName) -> str:
    """Tell an intent whether `quiesced` will have to pause the guest; one that is paused already stays so."""
    node = held_on(env, name)
    if node is None or len(env.storage.clients.images(name)) < 2:
        return ""
    return "" if env.hypervisor_at(node).paused(name, timeout_s=LOOK_S) else "yes"


def resume(env: Env, name: VmName, intent: Intent) -> None:
    """Let a guest go on that the operation of this intent may have held; one that goes on is fine."""
    node = held_on(env, name)
    if node is not None:
        hypervisor = env.hypervisor_at(node)
        thawed = hypervisor.thaw(name)
        if intent.details.get("pauses", "yes"):
            hypervisor.resume(name)
        with suppress(VmMgrError):  # a limit that stays finds nothing to do, or asks a mute agent again
            if thawed or not _has_agent(env, name):
                env.holds_at(node).end(name)


def resume_quietly(env: Env, name: VmName, hold: Hold) -> bool:
    """Let a guest go on wherever it runs now; tells whether it was held.

    Raises EXTERNAL_FAILURE where that can't be done now, or whether it was done is not known.
    """
    node = env.cluster.local_node()
    if env.processes.find_vm(name) is None:  # it has ended, or was moved meanwhile
        found = held_on(env, name)
        if found is None or found == node:
            return False
        node = found
    hypervisor = env.hypervisor_at(node)
    if hold is Hold.FROZEN:
        held = hypervisor.is_frozen(name)
        if not hypervisor.thaw(name):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"the agent of {name} does not answer")
        return held
    if hypervisor.paused(name, timeout_s=LOOK_S) is not PauseReason.USER:
        return False
    hypervisor.resume(name)
    return True


@contextmanager
def _freezing(env: Env, name: VmName, node: NodeName, hypervisor: Guests) -> Iterator[bool]:
    """Freeze, under the limit that was set; gives whether the guest has an agent that does so."""
    if not hypervisor.freeze(name):
        _end(env, name, node)
        yield False
        return
    try:
        yield True
    finally:
        _thaw(hypervisor, name, node)
        _end(env, name, node)


@contextmanager
def _pausing(env: Env, name: VmName, node: NodeName, hypervisor: Guests) -> Iterator[None]:
    """Pause a guest, unless its user has done so."""
    stood = hypervisor.paused(name, timeout_s=LOOK_S)
    if not stood.is_wanted:
        hint = f"resume it first: vm-mgr resume {name}"
        raise VmMgrError(Kind.WRONG_STATE, f"{name} is paused: {stood}", hint=hint)
    if stood:
        yield
        return
    env.holds_at(node).begin(name, Hold.PAUSED, HOLD_S)
    hypervisor.pause(name)
    try:
        yield
    finally:
        hypervisor.resume(name)
        _end(env, name, node)


def _may_freeze(env: Env, name: VmName, hypervisor: Guests) -> bool:
    """Tell whether an agent could answer: where none can, no timer is needed, which takes time to set."""
    return _has_agent(env, name) or hypervisor.agent_answers(name)


def _has_agent(env: Env, name: VmName) -> bool:
    return env.definitions.has_agent(env.storage.definitions.read(name))


def _limited(env: Env, name: VmName, node: NodeName) -> bool:
    """Set the limit; a guest that nobody would thaw is not frozen."""
    try:
        env.holds_at(node).begin(name, Hold.FROZEN, HOLD_S)
    except VmMgrError as error:
        text = f"the file systems of {name} are not frozen: {error.message}"
        env.say(Note(Level.WARNING, "not-frozen", text, error.hint))
        return False
    return True


def _end(env: Env, name: VmName, node: NodeName) -> None:
    """Forget the limit; it would find nothing to do."""
    with suppress(VmMgrError):
        env.holds_at(node).end(name)


def _thaw(hypervisor: Guests, name: VmName, node: NodeName) -> None:
    """Ask twice: nothing can be written in the guest until its agent answers."""
    if not hypervisor.thaw(name) and not hypervisor.thaw(name):
        message = f"the file systems of {name} are frozen: its agent no longer answers"
        hint = f"on {node}: virsh domfsthaw {name}; if that fails: vm-mgr restart {name}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint)


def _went_on(name: VmName) -> VmMgrError:
    message = f"{name} went on while its disks were being caught at one instant"
    hint = f"run the command again; nothing holds a guest for longer than {HOLD_S:.0f} s"
    return VmMgrError(Kind.WRONG_STATE, message, hint=hint)


def node_of(env: Env, name: VmName) -> NodeName | None:
    """Name the node where a VM runs now."""
    resource = env.cluster.state().resources.get(name)
    return resource.nodes[0] if resource is not None and resource.active and resource.nodes else None


def held_on(env: Env, name: VmName) -> NodeName | None:
    """Name the node where a VM runs, by the cluster or beside it, as somebody's own `virsh create` has it."""
    node = node_of(env, name)
    return node or (node_beside(env, name) if _are_open(env, name) else None)


def _are_open(env: Env, name: VmName) -> bool:
    return bool(env.storage.clients.of(env.storage.clients.images(name)))


def _in_unknown_hands(env: Env, name: VmName) -> Quiescence:
    """Promise of a disk that a program has open no more than one instant; several have none in common."""
    images = env.storage.clients.images(name)
    if len(images) > 1:
        raise held(env, name, env.storage.clients.of(images)[0], "not caught at one instant")
    return Quiescence(Consistency.CRASH)
