"""Let the cluster act on a VM whose migration failed, or try again a little later."""

from contextlib import suppress

from vm_mgr.agent import departure, retry_backoff, state_files
from vm_mgr.model.vm import VmName
from vm_mgr.operations.migration.unblock import unblock
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["unblock_or_retry"]

# For so long a guest may stand before the cluster stops and starts it.
PATIENCE_S = 20.0


def unblock_or_retry(env: NodeEnv, name: VmName) -> None:
    """Unblock it, or set the next timer; that one comes first: this process may be killed at any point."""
    number = max(retry_backoff.count(env, name), 1)
    timer = env.timers.schedule_unblock(name, retry_backoff.pause_s(number))
    departure.finish(env, name)
    if unblock(env, name, patient=_is_patient(env, name)):
        env.timers.cancel(timer)
        state_files.forget(env, name, "lifting")
        departure.end(env, name)
    elif retry_backoff.pause_s(number) > retry_backoff.SHORTEST_S:
        # The pause is for the next try to move it; what is not decided does not wait so long.
        env.timers.schedule_unblock(name, retry_backoff.SHORTEST_S)


def _is_patient(env: NodeEnv, name: VmName) -> bool:
    """Tell whether this has been tried for a short time only; where that can't be kept it has."""
    now = env.clock.monotonic()
    try:
        return 0 <= now - float(state_files.read(env, "lifting", name)) < PATIENCE_S
    except ValueError:
        with suppress(OSError):
            state_files.write(env, "lifting", name, f"{now}\n")
        return True
