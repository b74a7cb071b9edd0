"""Recover what killed operations left unfinished."""

from vm_mgr.errors import VmMgrError, raise_all
from vm_mgr.model.vm import VmName
from vm_mgr.operations.support.locking import asked, locked
from vm_mgr.operations.support.preconditions import quorum_problems
from vm_mgr.operations.support.requirements import withdraw_rules
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["repair"]


def repair(env: Env) -> list[VmName]:
    """Recover every VM that nobody is at; return the names.

    In an opt-in cluster it also removes the rules by which VMs avoid nodes: there they open nodes.
    A VM that can't be recovered does not keep the others from it; the first failure is raised at the end.
    """
    raise_all(quorum_problems(env.cluster.state()))  # or each storage's time limit would tell less, later
    settled, failures = [], []
    for name in sorted(env.intent_log.intents()):
        try:
            with locked(env, name):
                asked(env, name, "repair")
                settled.append(name)
        except VmMgrError as error:
            env.say(Note(Level.WARNING, "unfinished", f"{name}: {error.message}", error.hint))
            failures.append(error)
    _withdraw_rules(env)
    if failures:
        raise failures[0]
    return settled


def _withdraw_rules(env: Env) -> None:
    for name in map(VmName, sorted(env.cluster.state().ruled)):
        try:
            with locked(env, name):
                withdraw_rules(env, name)
        except VmMgrError as error:
            text = f"the rules by which {name} avoids nodes stay: {error.message}"
            env.say(Note(Level.WARNING, "rules-kept", text, error.hint))
