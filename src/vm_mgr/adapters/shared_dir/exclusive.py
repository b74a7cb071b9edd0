"""Keep what each VM has alone in one file, by number and last change of their folders.

A file system gives the number of a removed folder to the next one at once. A new definition changes its
folder.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import layout
from vm_mgr.adapters.shared_dir.files import read as read_file
from vm_mgr.adapters.shared_dir.files import write
from vm_mgr.model.exclusive_index import exclusives, refreshed
from vm_mgr.model.vm import VmName, name_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.model.exclusive_index import Exclusives
    from vm_mgr.ports.stored_definitions import Read

__all__ = ["known"]


def known(folders: VmFolders, read: Read, *, keep: bool) -> Mapping[VmName, Exclusives]:
    """Give all; the definitions of VMs that are not in the index are read."""
    root, index = folders.mount.root, folders.mount.exclusive

    def read_one(name: VmName) -> Iterable[tuple[str, str]]:
        xml = read_file(root / name / layout.DEFINITION) if folders.is_vm(name) else None
        return () if xml is None else read(xml)

    with os.scandir(root) as entries:
        named = {VmName(one.name): _ident(one) for one in entries if not name_problems(one.name)}
    present = {name: ident for name, ident in named.items() if ident}
    kept = _parse(read_file(index) or "")
    fresh = refreshed(kept, present, read_one)
    if keep and fresh != kept:
        with suppress(OSError):  # it is read again, then
            write(folders.mount.files, index, json.dumps(fresh))
    return exclusives(fresh)


def _ident(entry: os.DirEntry[str]) -> str:
    """Name a folder; nothing for one that has been removed since it was listed."""
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return ""
    return f"{found.st_ino}-{found.st_ctime_ns}"


def _parse(text: str) -> dict[str, str]:
    """Read the index; nothing of one that is broken."""
    try:
        return {str(name): str(entry) for name, entry in json.loads(text).items()}
    except (ValueError, AttributeError):
        return {}
