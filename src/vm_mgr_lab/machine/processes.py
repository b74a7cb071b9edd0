"""What both kinds of lab machine have in common: each is the processes of one control group."""

from vm_mgr_lab.cgroup import Cgroup

__all__ = ["Processes"]


class Processes:
    """A machine that is on while its group has processes, and hangs while that is frozen."""

    def __init__(self, group: Cgroup) -> None:
        self._cgroup = group

    def is_on(self) -> bool:
        """Tell whether anything of the machine runs."""
        return self._cgroup.is_populated()

    def pause(self) -> None:
        """Hang the whole machine."""
        self._cgroup.freeze(frozen=True)

    def resume(self) -> None:
        """Let a hung machine go on."""
        self._cgroup.freeze(frozen=False)

    def is_paused(self) -> bool:
        """Tell whether the machine hangs."""
        return self._cgroup.is_frozen()
