"""Meet the event log port with a file per node, to which only that node appends."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir.files import FILE_MODE, is_folder, read
from vm_mgr.model.event import Event, read_event, write_event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vm_mgr.adapters.shared_dir.mount import Mount

__all__ = ["SharedEventLog"]

SUFFIX = ".jsonl"
OLD = ".old"
# Some two thousand events; a node has up to twice as many, in two files.
FULL_BYTES = 400_000


class SharedEventLog:
    """The folder events of the directory's .vm-mgr: NODE.jsonl, and NODE.old.jsonl before it."""

    def __init__(self, mount: Mount) -> None:
        self.mount = mount

    def append(self, events: Sequence[Event]) -> None:
        """Append lines; O_APPEND is safe for the one process of a node that does so."""
        with self.mount.working("can't keep what happened"):
            if not is_folder(self.mount.events):  # one made by an earlier vm-mgr
                with suppress(FileExistsError):  # two nodes at once
                    self.mount.files.make_folder(self.mount.events)
            for node in {event.node for event in events}:
                lines = "".join(f"{write_event(event)}\n" for event in events if event.node == node)
                self._append(self.mount.events / f"{_file(node)}{SUFFIX}", lines)

    def read(self, since_utc: float = 0.0) -> list[Event]:
        """Read all files; a line that a power cut has left incomplete is none."""
        with self.mount.working("can't read what happened"):
            if not is_folder(self.mount.events):
                return []
            texts = [read(path) or "" for path in self.mount.events.iterdir() if path.suffix == SUFFIX]
        found = [read_event(line) for text in texts for line in text.splitlines()]
        kept = (event for event in found if event and event.when_utc >= since_utc)
        return sorted(kept, key=lambda event: event.when_utc)

    def _append(self, path: Path, lines: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        opened = os.open(path, flags, FILE_MODE)
        try:
            os.write(opened, lines.encode())
            full = os.fstat(opened).st_size > FULL_BYTES
        finally:
            os.close(opened)
        if full:
            self.mount.files.rename(path, path.with_name(f"{path.stem}{OLD}{SUFFIX}"))


def _file(node: str) -> str:
    """Name a node's file, whatever the cluster calls its nodes.

    >>> _file("n1.site"), _file("../n1")
    ('n1.site', '_.._n1')
    """
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in node)
    return plain if plain[:1].isalnum() else f"_{plain}"
