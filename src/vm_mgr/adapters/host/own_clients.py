"""Keep beside each running VM's file which storage clients its QEMU has.

The file clients..NAME holds a line `PID BIRTH`, then one address a line, and a line that ends it: half a file
is none.
"""

from contextlib import suppress
from pathlib import Path

from vm_mgr import private
from vm_mgr.model.vm import VmName
from vm_mgr.ports.own_clients import Opened

__all__ = ["FileOwnClients"]

END = "."


class FileOwnClients:
    """Files of the state directory, which a boot empties."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: VmName, opened: Opened) -> None:
        """Write beside it, then rename."""
        file = self._file(name)
        lines = [f"{opened.pid} {opened.birth}", *sorted(opened.addresses), END]
        with suppress(OSError):
            new = file.with_name(f"{file.name}..new")
            private.write(new, "\n".join(lines) + "\n")
            new.replace(file)

    def kept(self, name: VmName) -> Opened | None:
        """Read it."""
        try:
            first, *addresses, end = self._file(name).read_text(encoding="utf-8").splitlines()
            pid, birth = first.split()
            return Opened(int(pid), birth, frozenset(addresses)) if end == END else None
        except (OSError, ValueError):
            return None

    def forget(self, name: VmName) -> None:
        """Remove it."""
        with suppress(OSError):
            self._file(name).unlink(missing_ok=True)

    def _file(self, name: VmName) -> Path:
        # ".." is in no VM's name, so it can't be the file of another one.
        return self.folder / f"clients..{name.replace('/', '..')}"
