"""Know of unfinished operations after which a VM may not be started: its disks are those of no instant.

Anything else that is unfinished keeps no VM down: it has what it had before, or what it was to have, and a
recovery must not wait for a person.
"""

from collections.abc import Mapping

from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import HALF, Intent
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.ports.storage import Storage

__all__ = ["half_done", "require_whole"]

# A command that is at the VM may be about to end.
PATIENCE_S = 10.0
POLL_S = 0.25
LEDGER_S = 5.0
# In these phases the disks, or their names, are on their way.
PHASES = {"rollback": "rolling", "remove": "deleting", "create": "committing"}


def require_whole(
    env: Env, storage: Storage, name: VmName, *, foreign_intent_log: bool, limit_s: float
) -> None:
    """Raise TRY_LATER while an operation has left the VM between two states; one that ends is waited for.

    foreign_intent_log: the intent log is in another storage than the VM, and an outage of that one must not
    keep the VM down. Then what the VM's own storage says counts, which knows of the one half state that could
    be booted: a rollback.
    """
    deadline = env.clock.monotonic() + min(PATIENCE_S, limit_s)
    while True:
        found = half_done(_intents(env, storage, name, foreign_intent_log=foreign_intent_log), name)
        if found is None:
            return
        if env.clock.monotonic() >= deadline:
            message = f"{name} is not started: {found.verb} of it is under way, or was left unfinished"
            raise VmMgrError(Kind.TRY_LATER, message, hint="vm-mgr repair")
        env.clock.sleep(POLL_S)


def half_done(intents: Mapping[VmName, Intent], name: VmName) -> Intent | None:
    """Give the intent of an operation that has left a VM between two states.

    A renaming is at work only while both names have its intent. What can't be read may be anything.
    """
    intent = intents.get(name)
    if intent is None:
        return None
    if intent.verb == "rename":
        both = (intents.get(VmName(intent.details.get(key, ""))) for key in ("old", "new"))
        return intent if all(one is not None and one.details == intent.details for one in both) else None
    if intent.verb == "unknown" or intent.details.get("phase") == PHASES.get(intent.verb, ""):
        return intent
    return None


def _intents(
    env: Env, storage: Storage, name: VmName, *, foreign_intent_log: bool
) -> Mapping[VmName, Intent]:
    try:
        return bounded(env.intent_log.intents, LEDGER_S) if foreign_intent_log else env.intent_log.intents()
    except (VmMgrError, OutOfTimeError):
        if not foreign_intent_log:
            raise
    half = storage.definitions.metadata(name).get(HALF, "")
    return {name: Intent("rollback", details={"phase": PHASES["rollback"]})} if half else {}
