"""The port of a lab machine: what the lab asks of a node, whatever it is made of."""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["INSIDE", "SHARE", "Machine"]

# Where a node sees the folder that stands for a file server.
SHARE = "/run/vm-mgr-share"
# The environment of what is run inside from outside.
INSIDE = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LC_ALL=C.UTF-8",
    "TERM=dumb",
)


class Machine(Protocol):
    """A computer that can be switched on, cut off, hung, and spoken to."""

    def switch_on(self, *, after_s: float = 0) -> None:
        """Start booting after some seconds of firmware, return at once; one that is on is left alone."""

    def cut_power(self) -> None:
        """End every process at once, without a word to the network; returns when the last one has gone."""

    def shut_down(self, *, timeout_s: float) -> None:
        """Ask the operating system to power off, and wait until it has."""

    def is_on(self) -> bool:
        """Tell whether anything of the machine runs."""

    def pause(self) -> None:
        """Hang the whole machine: nothing in it runs, nothing is lost."""

    def resume(self) -> None:
        """Let a hung machine go on."""

    def is_paused(self) -> bool:
        """Tell whether the machine hangs."""

    def is_booted(self) -> bool:
        """Tell whether the operating system is up as far as accepting commands."""

    def enter_command(self) -> Sequence[str]:
        """Return a command prefix that runs a program inside, as root; LabError when the machine is off."""
