"""Control groups: find, freeze and kill every process of a node at once, whatever state it is in.

Needs cgroup v2, on its own or beside v1 (kernel 5.14 for cgroup.kill); see cgroups(7).
"""

import contextlib
import os
from pathlib import Path

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.process import wait_until

__all__ = ["Cgroup", "all_groups", "remove_all"]

TOP = "vm-mgr-lab"


class Cgroup:
    """One control group of the lab, named as the node or daemon whose processes are in it."""

    def __init__(self, name: str) -> None:
        self.path = _hierarchy() / TOP / name

    def create(self) -> None:
        """Make the group; one that exists is fine."""
        self.path.mkdir(parents=True, exist_ok=True)

    def enter_command(self) -> list[str]:
        """Return a command prefix that starts a program inside this group."""
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.path)]

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
        """Remove the emptied group and what was made below it, also in systemd's own v1 hierarchy."""
        for top in (self.path, Path("/sys/fs/cgroup/systemd") / TOP / self.path.name):
            _remove_tree(top)


def all_groups() -> list[Cgroup]:
    """Return the groups that exist, also those that an interrupted command left."""
    top = _hierarchy() / TOP
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
    for top in (_hierarchy() / TOP, Path("/sys/fs/cgroup/systemd") / TOP):
        _remove_tree(top)


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
