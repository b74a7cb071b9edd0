"""Keep a user's own notes with a VM."""

from collections.abc import Mapping

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.vm import VmName, note_problems
from vm_mgr.operations.support.locking import asked, locked
from vm_mgr.operations.support.preconditions import require_defined
from vm_mgr.ports.env import Env

__all__ = ["get_metadata", "list_metadata", "remove_metadata", "set_metadata"]

HIDDEN = "_vm_mgr_"
OURS = ("xml", "vm_name")


def list_metadata(env: Env, name: VmName) -> Mapping[str, str]:
    """Give everything that is stored beside the system disk, but vm-mgr's own notes."""
    require_defined(env, name)
    kept = env.storage.definitions.metadata(name)
    return {key: kept[key] for key in sorted(kept) if not key.startswith(HIDDEN)}


def get_metadata(env: Env, name: VmName, key: str) -> str:
    """Give one value; raises NOT_FOUND."""
    kept = list_metadata(env, name)
    if key not in kept:
        raise _absent(name, key)
    return kept[key]


def set_metadata(env: Env, name: VmName, key: str, value: str) -> None:
    """Set one of the user's own values; an empty one takes it away, as with `set`."""
    raise_all(note_problems({key: value}))
    with locked(env, name):
        require_defined(env, name)
        asked(env, name, "set-metadata")
        env.storage.definitions.describe(name, {key: value or None})


def remove_metadata(env: Env, name: VmName, key: str) -> None:
    """Take one of the user's own notes away, whatever tool has written it; raises NOT_FOUND."""
    if key.startswith("_") or key in OURS:
        hint = f"change settings with: vm-mgr set {name}; the definition with: vm-mgr edit {name}"
        raise VmMgrError(Kind.INVALID, f"{key[:80]!r} is no note of yours", hint=hint)
    with locked(env, name):
        require_defined(env, name)
        if key not in env.storage.definitions.metadata(name):
            raise _absent(name, key)
        asked(env, name, "remove-metadata")
        env.storage.definitions.describe(name, {key: None})


def _absent(name: VmName, key: str) -> VmMgrError:
    hint = f"see them: vm-mgr list-metadata {name}"
    return VmMgrError(Kind.NOT_FOUND, f"{name} has no metadata {key!r}", hint=hint)
