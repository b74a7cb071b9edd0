"""Keep UEFI variables and TPM with a VM's disks, on behalf of Pacemaker; only a start fails for it."""

from collections.abc import Callable
from functools import partial

from vm_mgr.agent.agent_log import say
from vm_mgr.agent.parameters import Parameters
from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.operations.storage.nvram import forget_nvram, keep_nvram, note_nvram, settle_nvram
from vm_mgr.ports.node_env import NodeEnv
from vm_mgr.ports.storage import Storage

__all__ = ["nvram_arrived", "nvram_changed", "nvram_ended", "nvram_left"]

# A stop has so much time for it; what the storage did not take stays here until the next start.
SETTLE_S = 5.0


def nvram_changed(env: NodeEnv, given: Parameters) -> None:
    """Bring what has changed to the storage; raises where that does not work now."""
    keep_nvram(env, _storage(env, given), given.name)


def nvram_arrived(env: NodeEnv, given: Parameters) -> None:
    """Begin to keep them where the guest has arrived."""

    def note() -> None:
        note_nvram(env, given.name)
        if env.nvram_files.kept(given.name) is not None:
            keep_nvram(env, _storage(env, given), given.name)

    _try(env, given.name, "are not kept from here yet", note)


def nvram_left(env: NodeEnv, name: VmName) -> None:
    """Have no copy where the guest has left: its target has all of it."""
    _try(env, name, "have left a copy here", partial(forget_nvram, env, name))


def nvram_ended(env: NodeEnv, given: Parameters) -> None:
    """Keep the last changes of a VM that has ended here, and leave no copy."""
    if env.nvram_files.kept(given.name) is None:
        return

    def settle() -> None:
        settle_nvram(env, _storage(env, given), given.name)

    _try(env, given.name, "stay on this node until its next start here", settle)


def _try(env: NodeEnv, name: VmName, otherwise: str, action: Callable[[], None]) -> None:
    try:
        bounded(action, SETTLE_S)
    except (VmMgrError, OutOfTimeError) as error:
        say(env, f"the UEFI variables and TPM of {name} {otherwise}: {error}")


def _storage(env: NodeEnv, given: Parameters) -> Storage:
    return env.storages.get(given.storage or env.storages.label_of(given.name))
