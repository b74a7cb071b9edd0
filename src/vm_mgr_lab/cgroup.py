"""Control groups: find, freeze and kill every process of a node at once, and share processors between nodes.

Needs cgroup v2, on its own or beside v1 (kernel 5.14 for cgroup.kill); see cgroups(7). Without the shares a
node that boots takes the processors from those that work, which no real machine can do.
"""

import contextlib
import os
from pathlib import Path

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import wait_until

__all__ = ["Cgroup", "all_groups", "remove_all"]

SYSTEMD_V1 = Path("/sys/fs/cgroup/systemd")
# Where cgroup v1 has the processors, and how much of one a node's real-time processes, as Corosync, may use:
# none by default, and all nodes together less than one (cpu.rt_runtime_us in sched-rt-group.rst).
SHARES_V1 = Path("/sys/fs/cgroup/cpu")
REALTIME_US, ALL_REALTIME_US = 90_000, 900_000
ENTER = 'for one in "$0" "$1"; do [ ! -e "$one" ] || echo $$ >"$one/cgroup.procs"; done; shift; exec "$@"'


class Cgroup:
    """One control group of the lab, named as the node or daemon whose processes are in it."""

    def __init__(self, name: str, *, realtime: bool = False) -> None:
        self.path = _hierarchy() / _top() / name
        self._share = SHARES_V1 / _top() / name.partition("/")[0]
        self._realtime = realtime

    def create(self) -> None:
        """Make the group; one that exists is fine."""
        self.path.mkdir(parents=True, exist_ok=True)
        if (SHARES_V1 / "cpu.shares").exists():
            self._share.mkdir(parents=True, exist_ok=True)
            if self._realtime:
                _allow_realtime(self._share.parent, ALL_REALTIME_US)
                _allow_realtime(self._share, REALTIME_US)
        else:
            for top in (_hierarchy(), _hierarchy() / _top()):
                with contextlib.suppress(OSError):  # a kernel or a host that does not give it
                    (top / "cgroup.subtree_control").write_text("+cpu")

    def enter_command(self) -> list[str]:
        """Return a command prefix that starts a program inside this group."""
        return ["sh", "-ec", ENTER, str(self.path), str(self._share)]

    def kill(self) -> None:
        """Send SIGKILL to every process of the group in one step; none can fork away from it."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "cgroup.kill").write_text("1")

    def freeze(self, *, frozen: bool) -> None:
        """Stop or continue every process of the group, as a hang of the whole machine would."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "cgroup.freeze").write_text("1" if frozen else "0")

    def is_frozen(self) -> bool:
        """Tell whether the group was frozen."""
        try:
            return (self.path / "cgroup.freeze").read_text().strip() == "1"
        except FileNotFoundError:
            return False

    def is_populated(self) -> bool:
        """Tell whether any process is left in the group or below it."""
        try:
            return "populated 1" in (self.path / "cgroup.events").read_text()
        except FileNotFoundError:
            return False

    def pids(self) -> list[int]:
        """Return the processes of the group and all groups below it."""
        found: list[int] = []
        for folder, _, _ in os.walk(self.path):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, OSError):
                found += [int(line) for line in (Path(folder) / "cgroup.procs").read_text().split()]
        return found

    def wait_empty(self, *, timeout_s: float) -> None:
        """Wait until the last process has gone."""
        wait_until(
            lambda: not self.is_populated(),
            what=f"the processes of {self.path.name} to end",
            timeout_s=timeout_s,
            interval_s=0.02,
        )

    def remove(self) -> None:
        """Remove the emptied group and what was made below it, also in the v1 hierarchies."""
        for top in (self.path, self._share, SYSTEMD_V1 / _top() / self.path.name):
            _remove_tree(top)


def all_groups() -> list[Cgroup]:
    """Return the groups that exist, also those that an interrupted command left."""
    top = _hierarchy() / _top()
    return [Cgroup(entry.name) for entry in sorted(top.iterdir()) if entry.is_dir()] if top.is_dir() else []


def remove_all() -> None:
    """Kill what is in the lab's groups, thawing it first, and remove the groups."""
    groups = all_groups()
    for group in groups:
        group.kill()
        group.freeze(frozen=False)
    for group in groups:
        group.wait_empty(timeout_s=60)
        group.remove()
    for top in (_hierarchy() / _top(), SHARES_V1 / _top(), SYSTEMD_V1 / _top()):
        _remove_tree(top)


def _allow_realtime(group: Path, limit_us: int) -> None:
    with contextlib.suppress(OSError):  # a kernel without this limit, or more than ten nodes
        (group / "cpu.rt_runtime_us").write_text(str(limit_us))


def _top() -> str:
    """Return the name of the lab's own groups: two labs with state folders of two names don't meet."""
    return Paths.from_environment().state.name


def _hierarchy() -> Path:
    for folder in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (folder / "cgroup.controllers").exists():
            return folder
    raise LabError(
        "this machine has no cgroup v2 file system", hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
    )


def _remove_tree(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            Path(folder).rmdir()
