"""What an action of the resource agent is told."""

from typing import NamedTuple

from vm_mgr.model.migration import AS_ASKED, MAX_PAUSE_S, OnTimeout, Strategy
from vm_mgr.model.vm import VmName

__all__ = ["Parameters"]

RESERVE_S = 10.0


class Parameters(NamedTuple):
    """The agent's parameters, and the time that the action has.

    A single move's own terms stand above the parameters. move_timeout_s: after so long on_timeout is done.
    reason: why a move has its strategy.
    hibernation_s: of timeout_s, what a stop that is part of a move has to save the guest's memory.
    """

    name: VmName
    timeout_s: float = 120.0
    target_node: str = ""
    transport: str = "ssh"
    user: str = ""
    downtime_ms: int | None = None
    speed_mib: int | None = None
    port: int | None = None
    network_suffix: str = ""
    options: tuple[str, ...] = ()
    force_stop: bool = False
    storage: str = ""
    scripts: bool = False
    check_level: int = 0
    check_misses: int = 3
    strategy: Strategy = Strategy.AUTO
    reason: str = AS_ASKED
    pause_early: bool = False
    parallel: int | None = None
    move_timeout_s: float | None = None
    on_timeout: OnTimeout = OnTimeout.PAUSE
    max_pause_s: float | None = MAX_PAUSE_S
    hibernation_s: float = 0.0

    @property
    def budget_s(self) -> float:
        """Give the time for the action's main step; what remains is for cleaning up."""
        return max(self.timeout_s - RESERVE_S, self.timeout_s / 2)
