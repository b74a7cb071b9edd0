"""Meet the port for timers with transient units of systemd."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.errors import ProgramError

if TYPE_CHECKING:
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.runner import Runner

__all__ = ["SystemdTimers"]

TIMEOUT_S = 10.0
# Without this a unit conflicts with a shutdown, and the node would wait for a VM that nobody lets go.
_LASTING = "DefaultDependencies=no"
# A process has its number until its parent has seen its end; a number that is given anew costs a late look.
_WAIT = 'while [ -e "/proc/$0" ]; do sleep 1; done; exec "$@"'
_PASSED = (
    *("VM_MGR_CONFIG", "VM_MGR_PROC", "VM_MGR_LIBVIRT_RUN"),
    *("VM_MGR_STATE", "VM_MGR_ALERTS", "VM_MGR_JOURNAL"),
)


class SystemdTimers:
    """The systemd of this node."""

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self.runner = runner
        self.clock = clock

    def set_lift(self, name: VmName, after_s: float) -> str:
        """Start a timer whose service is `python3 -m vm_mgr.ocf.lift NAME`."""
        when = (f"--on-active={max(after_s, 1):.0f}s", "--timer-property=AccuracySec=1s")
        return self._run(f"{self._unit(name)}", (*when, f"--timer-property={_LASTING}"), _lift(name))

    def watch(self, name: VmName, pid: int) -> str:
        """Start a service that waits for the process, in a shell, then does the same."""
        words = (str(pid), *_lift(name))
        return self._run(f"{self._unit(name)}-watch", (), ("/bin/sh", "-c", _WAIT, *words))

    def cancel(self, timer: str) -> None:
        """Stop the timer; systemd then forgets it, and does not know one that has gone off."""
        unit = f"{timer}.service" if timer.endswith("-watch") else f"{timer}.timer"
        self.runner.run(("systemctl", "stop", unit), timeout_s=TIMEOUT_S)

    def _unit(self, name: VmName) -> str:
        return f"vm-mgr-lift-{name}..{int(self.clock.utc() * 1000)}-{os.getpid()}"

    def _run(self, unit: str, when: tuple[str, ...], command: tuple[str, ...]) -> str:
        library = Path(__file__).parents[3]
        environment = [f"--setenv={key}={os.environ[key]}" for key in _PASSED if key in os.environ]
        argv = (
            *("systemd-run", "--quiet", "--collect", f"--unit={unit}", *when, f"--property={_LASTING}"),
            *(f"--setenv=PYTHONPATH={library}", *environment),
            *command,
        )
        done = self.runner.run(argv, timeout_s=TIMEOUT_S)
        if done.exit_code != 0:
            raise ProgramError(done.argv, done.exit_code, done.stderr, hint="see: systemctl status")
        return unit


def _lift(name: VmName) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "vm_mgr.ocf.lift", name)
