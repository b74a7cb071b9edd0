"""Keep the VMs' UUIDs in one file, by number and last change of their folders.

A file system gives the number of a removed folder to the next one at once.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import layout
from vm_mgr.adapters.shared_dir.files import read as read_file
from vm_mgr.adapters.shared_dir.files import write
from vm_mgr.model.uuid_index import refreshed, uuids
from vm_mgr.model.vm import VmName, name_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vm_mgr.adapters.shared_dir.folders import VmFolders

__all__ = ["known"]


def known(folders: VmFolders, read: Callable[[str], str], *, keep: bool) -> Mapping[VmName, str]:
    """Give all UUIDs; the definitions of VMs that are not in the index are read."""
    root, index = folders.mount.root, folders.mount.uuids

    def uuid_of(name: VmName) -> str:
        xml = read_file(root / name / layout.DEFINITION) if folders.is_vm(name) else None
        return read(xml) if xml is not None else ""

    with os.scandir(root) as entries:
        named = {VmName(one.name): _ident(one) for one in entries if not name_problems(one.name)}
    present = {name: ident for name, ident in named.items() if ident}
    kept = _parse(read_file(index) or "")
    fresh = refreshed(kept, present, uuid_of)
    if keep and fresh != kept:
        with suppress(OSError):  # it is read again, then
            write(folders.mount.files, index, json.dumps(fresh))
    return uuids(fresh)


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
