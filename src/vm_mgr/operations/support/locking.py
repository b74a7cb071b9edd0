"""Be alone at a VM, and leave it as before or as asked for, whatever happens on the way.

An operation of several steps writes an intent first and erases it last. Where it fails in between, or is
killed, the intent says what was begun, and its operation's `recover` brings the VM back or finishes: at once
after a failure, by the next operation on that VM or by `vm-mgr repair` after a kill. There is no second way,
so the one that is needed after a power cut is tested daily (docs/design/0004-crash-only-operations.md).
"""

import logging
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Any

from vm_mgr.errors import BusyError, Kind, SignalError, VmMgrError, raise_all
from vm_mgr.interruption import current
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.intent import Intent, Key
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.operations.support.preconditions import quorum_problems
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = [
    "REFUSALS",
    "Step",
    "asked",
    "first_change",
    "lock",
    "locked",
    "locked_if_reachable",
    "recover",
    "recover_others",
    "restore_settings_on_failure",
    "undo_on_failure",
    "with_intent",
]

log = logging.getLogger(__name__)

# verb → the module whose `recover(env, name, intent)` knows what it takes; where its intents name other VMs,
# `recover_others(env, name, intent)` does as much as these need, whatever becomes of the VM itself
RECOVERIES = {
    "add-disk": "add_disk",
    "colocation": "colocation",
    "create": "create",
    "disable": "disable",
    "drop-snapshot": "remove_snapshot",
    "handover": "migration.handover",
    "pacemaker-remote": "pacemaker_remote",
    "remove": "remove",
    "remove-disk": "remove_disk",
    "rename": "rename",
    "restart": "restart",
    "rollback": "rollback",
    "set": "set_vm",
    "snapshot": "create_snapshot",
}


# Errors with which a port's verb refuses: it has changed nothing.
REFUSALS = (
    Kind.INVALID,
    Kind.NOT_FOUND,
    Kind.EXISTS,
    Kind.WRONG_STATE,
    Kind.NOT_SUPPORTED,
    Kind.NO_RESOURCES,
    Kind.NOT_PERMITTED,
)
# A dead process' lock ends after 30 s.
PATIENCE_S = 35.0
POLL_S = 0.5


@contextmanager
def lock(env: Env, name: VmName | Key) -> Iterator[None]:
    """Lock a name, waiting while another command is there; raises TRY_LATER where it stays."""
    deadline = env.clock.monotonic() + PATIENCE_S
    with ExitStack() as claim:
        while True:
            try:
                claim.enter_context(env.intent_log.lock(name))
                break
            except VmMgrError as error:
                if error.kind is not Kind.TRY_LATER or env.clock.monotonic() > deadline:
                    raise
                who = error.who if isinstance(error, BusyError) else ""
            env.say(Progress(f"waiting for another command at {name}", detail=f"({who})" if who else ""))
            env.clock.sleep(POLL_S)
        yield


@contextmanager
def locked(env: Env, *names: VmName, recovered: bool = True) -> Iterator[None]:
    """Lock the names and recover what was left unfinished; raises TRY_LATER where others stay there.

    What recovering changes at further VMs is locked too, in one order: no two wait for each other.
    Unless the VM has to be recovered, what can't be recovered now is only told, and stays for later.
    """
    # Without quorum the storage mostly hangs too: who asks first is told at once.
    raise_all(quorum_problems(env.cluster.state()))
    wanted = frozenset(names)
    while True:
        with ExitStack() as claims:
            for name in sorted(wanted):
                claims.enter_context(lock(env, name))
            left = env.intent_log.intents()
            further = wanted.union(*(left[name].names for name in names if name in left))
            if further == wanted:
                current.at(*names)
                for name in names:
                    if name in left:
                        _recover(env, name, left[name], required=recovered)
                yield
                return
        wanted = further


class Step:
    """The intent of an operation under way."""

    def __init__(self, env: Env, name: VmName, intent: Intent) -> None:
        self.env = env
        self.name = name
        self.intent = intent
        self.refused = False

    def now(self, phase: str) -> None:
        """Say that the next phase begins: recovering goes by it."""
        self.intent = self.intent._replace(details={**self.intent.details, "phase": phase})
        self.env.intent_log.write(self.name, self.intent)


@contextmanager
def locked_if_reachable(env: Env, name: VmName) -> Iterator[None]:
    """Be alone, but go on with a warning where the storage can't say whether we are.

    What was left unfinished and can't be recovered may need just this, to be stopped above all.
    """
    with ExitStack() as claim:
        try:
            claim.enter_context(locked(env, name, recovered=False))
        except VmMgrError as error:
            if error.kind is not Kind.EXTERNAL_FAILURE:
                raise
            text = f"whether another command is at {name} is unknown: {error.message}"
            env.say(Note(Level.WARNING, "not-alone", text, error.hint))
        yield


def asked(env: Env, name: VmName, verb: str) -> None:
    """Record that a command begins to change a VM, and who has called it; at most once a command.

    verb: where the command has no name, as in a program. Whatever becomes of the record, the command goes on.
    """
    if name in current.asked:
        return
    current.asked.add(name)
    try:
        detail = f"{current.doing or verb} by {env.journal.caller()}"
        env.journal.record(Event(env.clock.utc(), EventKind.ASKED, name, detail=detail))
    except (VmMgrError, OSError) as error:
        log.debug("who has asked for %s is not recorded: %s", name, error)


@contextmanager
def with_intent(env: Env, name: VmName, verb: str, **details: str) -> Iterator[Step]:
    """Do the steps of an operation; after a failure recover it, or say that it stays unfinished."""
    step = Step(env, name, Intent(verb, env.cluster.local_node(), env.clock.utc(), details))
    env.intent_log.write(name, step.intent)
    asked(env, name, verb)
    try:
        yield step
    except BaseException as failure:
        if isinstance(failure, SignalError) and (failure.hanging or _takes_long(name, step.intent)):
            # To finish it may take as long again; the next command at the VM does, or repair.
            failure.add(f"{verb} of {name} is unfinished", hint="finish it: vm-mgr repair")
            raise
        try:
            finished: bool | None = False
            if step.refused:
                env.intent_log.erase(name)
            else:
                finished = recover(env, name, step.intent)
        except VmMgrError as error:
            text = f"{verb} of {name} is unfinished: {error.message}"
            env.say(Note(Level.WARNING, "unfinished", text, "mend the cause, then: vm-mgr repair"))
            if isinstance(failure, SignalError):
                failure.add(f"{verb} of {name} is unfinished", hint="finish it: vm-mgr repair")
            raise failure from error
        if isinstance(failure, SignalError) and finished is not None:
            failure.add(f"{verb} of {name} {'is done' if finished else 'has been undone'}")
        raise
    try:
        env.intent_log.erase(name)
    except VmMgrError:
        text = f"{verb} of {name} is done, but could not be marked as done"
        env.say(Note(Level.WARNING, "unfinished", text, "mend the cause, then: vm-mgr repair"))
        raise


@contextmanager
def first_change(*steps: Step, refusals: Collection[Kind] = REFUSALS) -> Iterator[None]:
    """Make the first change of an operation; where it is refused, its intent goes, and nothing is recovered.

    An intent that stayed would have a later command do what this one was refused.
    """
    try:
        yield
    except VmMgrError as error:
        if error.kind in refusals:
            for step in steps:
                step.refused = True
        raise


@contextmanager
def undo_on_failure(step: Step, **before: str) -> Iterator[None]:
    """Have a failure recovered by these details, which bring the VM to where it was before.

    A kill is still recovered as asked for: nobody has been told that it was refused.
    """
    try:
        yield
    except VmMgrError:
        step.intent = step.intent._replace(details={**step.intent.details, **before})
        with suppress(VmMgrError):  # of the same cause, mostly; what is recovered now goes by the intent here
            step.env.intent_log.write(step.name, step.intent)
        raise


@contextmanager
def restore_settings_on_failure(env: Env, name: VmName, before: VmSettings) -> Iterator[None]:
    """After a failure store the settings of before, where what recovers it goes by what is stored."""
    try:
        yield
    except VmMgrError:
        with suppress(VmMgrError):
            env.storage.definitions.change_settings(name, before)
        raise


def recover(env: Env, name: VmName, intent: Intent) -> bool | None:
    """Bring a VM to where it was before the marked operation, or to where that was to bring it.

    Tells whether the operation is done by that, or has been undone; None where only a look at the VM tells.
    """
    finished: bool | None = _recovery(name, intent).recover(env, name, intent)
    env.intent_log.erase(name)
    return finished


def _takes_long(name: VmName, intent: Intent) -> bool:
    """Tell whether recovering means to do again what a signal has just ended, and what can take long."""
    takes_long = getattr(_recovery(name, intent), "takes_long", None)
    return takes_long is not None and takes_long(intent)


def _recover(env: Env, name: VmName, intent: Intent, *, required: bool) -> None:
    try:
        recover(env, name, intent)
    except VmMgrError as error:
        if required:
            raise
        text = f"{intent.verb} of {name} is unfinished: {error.message}"
        env.say(Note(Level.WARNING, "unfinished", text, error.hint))


def recover_others(env: Env, name: VmName, intent: Intent) -> None:
    """Recover only what the marked operation has begun at other VMs, which the caller has locked."""
    if intent.names - {name}:
        _recovery(name, intent).recover_others(env, name, intent)


def _recovery(name: VmName, intent: Intent) -> Any:
    module = RECOVERIES.get(intent.verb)
    if module is None:
        message = f"{name} was left unfinished by {intent.verb}, which this version does not know"
        raise VmMgrError(Kind.NOT_SUPPORTED, message, hint="use the newest vm-mgr of the cluster")
    return import_module(f"vm_mgr.operations.{module}")
