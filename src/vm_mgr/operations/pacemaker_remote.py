"""Let Pacemaker manage resources inside a VM's guest, through the pacemaker-remote that runs there."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import VmName, VmSettings, word_problems
from vm_mgr.operations.enable import resource_for
from vm_mgr.operations.support.changes import changed_from, noted
from vm_mgr.operations.support.locking import first_change, locked, restore_settings_on_failure, with_intent
from vm_mgr.operations.support.preconditions import quorum_problems, require_defined
from vm_mgr.ports.env import Env

__all__ = ["add_pacemaker_remote", "recover", "remove_pacemaker_remote", "without_remote"]

KEYS = ("remote-node", "remote-addr", "remote-port", "remote-connect-timeout")


def add_pacemaker_remote(
    env: Env, name: VmName, node: str, address: str, *, port: int | None = None, timeout_s: int | None = None
) -> None:
    """Make the guest a node of the cluster by this name, reached at this address."""
    named = word_problems("the remote node's name", node)
    raise_all(named + word_problems("the remote node's address", address, also=":%"))
    values = (node, address, port and str(port), timeout_s and str(timeout_s))
    _change(env, name, {key: value for key, value in zip(KEYS, values, strict=True) if value})


def remove_pacemaker_remote(env: Env, name: VmName) -> None:
    """Make the guest a guest only; one that is no node is fine."""
    _change(env, name, {})


def without_remote(settings: VmSettings) -> VmSettings:
    """Give the settings of a guest that is no node: a clone can't be the one that its source is."""
    others = {key: value for key, value in settings.pacemaker_meta.items() if key not in KEYS}
    return settings._replace(pacemaker_meta=others)


def recover(env: Env, name: VmName, intent: Intent) -> None:
    """Bring the cluster to what is stored, which is what was asked for, or what was there before."""
    if env.storage.definitions.exists(name):
        stored = env.storage.definitions.settings(name)
        _apply(env, name, stored, changed_from(intent, stored, "pacemaker_meta"))


def _change(env: Env, name: VmName, remote: dict[str, str]) -> None:
    with locked(env, name):
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        require_defined(env, name)
        node = remote.get("remote-node", "")
        if node == name or state.node(node) or node in state.resources:
            hint = "choose another name for the remote node"
            raise VmMgrError(Kind.EXISTS, f"the cluster has a node or resource {node} already", hint=hint)
        before = env.storage.definitions.settings(name)
        settings = without_remote(before)
        settings = settings._replace(pacemaker_meta={**settings.pacemaker_meta, **remote})
        changed = noted(before.pacemaker_meta, settings.pacemaker_meta)
        with with_intent(env, name, "pacemaker-remote", **changed) as step:
            with first_change(step):
                env.storage.definitions.change_settings(name, settings)
            with restore_settings_on_failure(env, name, before):
                _apply(env, name, settings, before)


def _apply(env: Env, name: VmName, settings: VmSettings, before: VmSettings | None) -> None:
    was = None if before is None else resource_for(env, name, before, start=True)
    env.cluster.reconfigure(resource_for(env, name, settings, start=True), was)
