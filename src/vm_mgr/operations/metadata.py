"""Keep a user's own notes with a VM."""

from collections.abc import Mapping

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.vm import VmName, metadata_key_problems
from vm_mgr.operations.alone import alone
from vm_mgr.operations.checks import require_defined
from vm_mgr.ports.env import Env

__all__ = ["get_metadata", "list_metadata", "set_metadata"]

HIDDEN = "_vm_mgr_"


def list_metadata(env: Env, name: VmName) -> Mapping[str, str]:
    """Give everything that is stored beside the system disk, but vm-mgr's own notes."""
    require_defined(env, name)
    kept = env.storage.metadata(name)
    return {key: kept[key] for key in sorted(kept) if not key.startswith(HIDDEN)}


def get_metadata(env: Env, name: VmName, key: str) -> str:
    """Give one value; raises NOT_FOUND."""
    kept = list_metadata(env, name)
    if key not in kept:
        hint = f"see them: vm-mgr list-metadata {name}"
        raise VmMgrError(Kind.NOT_FOUND, f"{name} has no metadata {key!r}", hint=hint)
    return kept[key]


def set_metadata(env: Env, name: VmName, key: str, value: str) -> None:
    """Set one of the user's own values."""
    raise_all(metadata_key_problems(key))
    with alone(env, name):
        require_defined(env, name)
        env.storage.describe(name, {key: value})
