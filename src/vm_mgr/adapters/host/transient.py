"""Start transient units of systemd, which outlive who starts them and a shutdown that has begun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.errors import ProgramError

if TYPE_CHECKING:
    from vm_mgr.ports.runner import Runner

__all__ = ["TIMEOUT_S", "start", "timer"]

TIMEOUT_S = 10.0
# Without this a unit conflicts with a shutdown, and the node would wait for a VM that nobody lets go.
_LASTING = "DefaultDependencies=no"
_PASSED = (
    *("VM_MGR_CONFIG", "VM_MGR_PROC", "VM_MGR_LIBVIRT_RUN"),
    *("VM_MGR_STATE", "VM_MGR_ALERTS", "VM_MGR_JOURNAL"),
)


def timer(after_s: float, accuracy: str) -> tuple[str, ...]:
    """Say when a unit is to start: not now, but by a timer."""
    when = (f"--on-active={max(after_s, 1):.0f}s", f"--timer-property=AccuracySec={accuracy}")
    return (*when, f"--timer-property={_LASTING}")


def start(runner: Runner, unit: str, when: tuple[str, ...], command: tuple[str, ...]) -> None:
    """Start it, with our library and the places that this process goes by; raises ProgramError."""
    library = Path(__file__).parents[3]
    environment = [f"--setenv={key}={os.environ[key]}" for key in _PASSED if key in os.environ]
    argv = (
        *("systemd-run", "--quiet", "--collect", f"--unit={unit}", *when, f"--property={_LASTING}"),
        *(f"--setenv=PYTHONPATH={library}", *environment),
        *command,
    )
    done = runner.run(argv, timeout_s=TIMEOUT_S)
    if done.exit_code != 0:
        raise ProgramError(done.argv, done.exit_code, done.stderr, hint="see: systemctl status")
