"""Meet the port for timers with transient units of systemd."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from vm_mgr.adapters.host import transient

if TYPE_CHECKING:
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.runner import Runner

__all__ = ["SystemdTimers"]

# A process has its number until its parent has seen its end; a number that is given anew costs a late look.
_WAIT = 'while [ -e "/proc/$0" ]; do sleep 1; done; exec "$@"'


class SystemdTimers:
    """The systemd of this node."""

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self.runner = runner
        self.clock = clock

    def schedule_unblock(self, name: VmName, after_s: float) -> str:
        """Start a timer whose service is `python3 -m vm_mgr.ocf.unblock NAME`."""
        return self._run(self._unit(name), transient.timer(after_s, "1s"), _lift(name))

    def watch(self, name: VmName, pid: int) -> str:
        """Start a service that waits for the process, in a shell, then does the same."""
        words = (str(pid), *_lift(name))
        return self._run(f"{self._unit(name)}-watch", (), ("/bin/sh", "-c", _WAIT, *words))

    def cancel(self, timer: str) -> None:
        """Stop the timer; systemd then forgets it, and does not know one that has gone off."""
        unit = f"{timer}.service" if timer.endswith("-watch") else f"{timer}.timer"
        self.runner.run(("systemctl", "stop", unit), timeout_s=transient.TIMEOUT_S)

    def _unit(self, name: VmName) -> str:
        return f"vm-mgr-lift-{name}..{int(self.clock.utc() * 1000)}-{os.getpid()}"

    def _run(self, unit: str, when: tuple[str, ...], command: tuple[str, ...]) -> str:
        transient.start(self.runner, unit, when, command)
        return unit


def _lift(name: VmName) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "vm_mgr.ocf.unblock", name)
