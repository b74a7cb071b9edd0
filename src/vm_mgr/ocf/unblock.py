"""Let the cluster act on a VM whose migration failed: python3 -m vm_mgr.ocf.unblock NAME, by a timer."""

import sys
from contextlib import suppress

from vm_mgr import private
from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.ocf import departure, identity, retry_backoff
from vm_mgr.operations.migration.unblock import unblock
from vm_mgr.wiring import RealEnv

__all__ = ["main"]

# For so long a guest may stand before the cluster stops and starts it.
PATIENCE_S = 20.0
# What Ceph may take to say whether a command is at work.
CEPH_S = 30.0


def main(env: RealEnv, name: VmName) -> int:
    """Do it, or set the next timer; that one comes first: this process may be killed at any point."""
    number = max(retry_backoff.count(env, name), 1)
    try:
        timer = env.timers.schedule_unblock(name, retry_backoff.pause_s(number))
        departure.finish(env, name)
        if unblock(env, name, patient=_is_patient(env, name)):
            env.timers.cancel(timer)
            identity.path(env, "lifting", name).unlink(missing_ok=True)
            departure.end(env, name)
        elif retry_backoff.pause_s(number) > retry_backoff.SHORTEST_S:
            # The pause is for the next try to move it; what is not settled does not wait so long.
            env.timers.schedule_unblock(name, retry_backoff.SHORTEST_S)
    except (VmMgrError, OSError) as error:
        print(f"vm-mgr: {name} may still be held by its failed migration: {error}", file=sys.stderr)
        return 1
    return 0


def _is_patient(env: RealEnv, name: VmName) -> bool:
    """Tell whether this has been tried for a short time only; where that can't be kept it has."""
    file, now = identity.path(env, "lifting", name), env.clock.monotonic()
    try:
        return 0 <= now - float(file.read_text(encoding="utf-8")) < PATIENCE_S
    except (OSError, ValueError):
        with suppress(OSError):
            private.write(file, f"{now}\n")
        return True


if __name__ == "__main__":
    sys.exit(main(RealEnv(storage_patience_s=CEPH_S), VmName(sys.argv[1])))
