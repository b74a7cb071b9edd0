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
        unit = f"vm-mgr-lift-{name}..{int(self.clock.utc() * 1000)}-{os.getpid()}"
        library = Path(__file__).parents[3]
        environment = [f"--setenv={key}={os.environ[key]}" for key in _PASSED if key in os.environ]
        argv = (
            *("systemd-run", "--quiet", "--collect", f"--unit={unit}", f"--on-active={max(after_s, 1):.0f}s"),
            *("--timer-property=AccuracySec=1s", f"--timer-property={_LASTING}", f"--property={_LASTING}"),
            *(f"--setenv=PYTHONPATH={library}", *environment),
            *(sys.executable, "-P", "-m", "vm_mgr.ocf.lift", name),
        )
        done = self.runner.run(argv, timeout_s=TIMEOUT_S)
        if done.exit_code != 0:
            raise ProgramError(done.argv, done.exit_code, done.stderr, hint="see: systemctl status")
        return unit

    def cancel(self, timer: str) -> None:
        """Stop the timer; systemd then forgets it, and does not know one that has gone off."""
        self.runner.run(("systemctl", "stop", f"{timer}.timer"), timeout_s=TIMEOUT_S)
