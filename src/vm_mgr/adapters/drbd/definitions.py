"""Keep definition, settings, NVRAM and metadata of VMs in the configuration that all nodes have.

What is ours beside the definition's keys is hidden from the metadata: settings, and what firmware keeps.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.drbd.allocation import read_all
from vm_mgr.adapters.drbd.record import State
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.exclusive_index import exclusives, refreshed
from vm_mgr.model.settings_text import own_notes, settings_from_data, settings_to_data

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vm_mgr.adapters.drbd.pool import DrbdPool
    from vm_mgr.model.exclusive_index import Exclusives
    from vm_mgr.model.vm import VmName, VmSettings
    from vm_mgr.ports.storage_records import Kept
    from vm_mgr.ports.stored_definitions import Read

__all__ = ["NVRAM", "DrbdDefinitions", "nvram_key", "packed_nvram", "with_settings"]

SETTINGS = "_vm_mgr_settings"
NVRAM = "_vm_mgr_nvram"


class DrbdDefinitions:
    """What the cluster's configuration keeps of the VMs that have a resource."""

    def __init__(self, pool: DrbdPool) -> None:
        self.pool = pool
        # In this process only: all definitions come with one query, so that reading is all there is to save.
        self.known: dict[VmName, str] = {}

    def names(self) -> set[VmName]:
        """Name the VMs that have disks."""
        return _placed(self.pool.records.read())

    def exists(self, name: VmName) -> bool:
        """Look for it."""
        return name in self.names()

    def read(self, name: VmName) -> str:
        """Give the domain XML."""
        xml = self._all(name).get("xml")
        if xml is None:
            hint = f"set it: vm-mgr edit {name}"
            raise VmMgrError(Kind.NOT_FOUND, f"{name} has no definition", hint=hint)
        return xml

    def settings(self, name: VmName) -> VmSettings:
        """Read the settings."""
        keys = self._all(name)
        notes = own_notes({key: text for key, text in _shown(keys).items() if key != "xml"})
        return settings_from_data(_data(keys.get(SETTINGS, "")), notes)

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Replace the settings, add the user's own notes."""
        self._change(name, {**with_settings({}, settings), **settings.user_metadata})

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give the keys that are not ours alone."""
        return _shown(self._all(name))

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys."""
        self._change(name, metadata)

    def nvram(self, name: VmName, snapshot: str = "") -> bytes:
        """Read it."""
        text = self._all(name).get(nvram_key(snapshot), "")
        try:
            return zlib.decompress(b64decode(text, validate=True)) if text else b""
        except (ValueError, zlib.error) as error:
            message = f"can't read the UEFI variables of {name}: {error}"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"look: vm-mgr show {name}") from error

    def keep_nvram(self, name: VmName, packed: bytes) -> None:
        """Replace it."""
        self._change(name, {NVRAM: packed_nvram(packed)})

    def exclusive(self, read: Read, *, keep: bool = True) -> Mapping[VmName, Exclusives]:
        """Read the definitions that have changed; they are here already."""
        kept = self.pool.records.read()
        texts = {name: kept.definitions.get(name, {}).get("xml", "") for name in _placed(kept)}

        def read_one(name: VmName) -> Iterable[tuple[str, str]]:
            return read(texts[name]) if texts[name] else ()

        present = {name: f"{zlib.crc32(xml.encode(errors='replace')):08x}" for name, xml in texts.items()}
        fresh = refreshed(self.known, present, read_one)
        if keep:
            self.known = fresh
        return exclusives(fresh)

    def _all(self, name: VmName) -> Mapping[str, str]:
        kept = self.pool.records.read()
        if name not in _placed(kept):
            message = f"{name} has no disks on DRBD"
            raise VmMgrError(Kind.NOT_FOUND, message, hint="see the VMs: vm-mgr list")
        return kept.definitions.get(name, {})

    def _change(self, name: VmName, changes: Mapping[str, str | None]) -> None:
        def edit(kept: Kept) -> None:
            if name not in _placed(kept):
                message = f"{name} has no disks on DRBD"
                raise VmMgrError(Kind.NOT_FOUND, message, hint="see the VMs: vm-mgr list")
            keys = kept.definitions.setdefault(name, {})
            for key, text in changes.items():
                keys.pop(key, None)
                if text:
                    keys[key] = text

        self.pool.change(edit)


def with_settings(keys: Mapping[str, str], settings: VmSettings) -> dict[str, str]:
    """Give keys with the settings among them."""
    return {**keys, SETTINGS: json.dumps(settings_to_data(settings), separators=(",", ":"))}


def nvram_key(snapshot: str = "") -> str:
    """Name the key of what firmware keeps, now or in a snapshot."""
    return f"{NVRAM}@{snapshot}" if snapshot else NVRAM


def packed_nvram(content: bytes) -> str:
    """Write it as a text; empty for nothing."""
    return b64encode(zlib.compress(content, 9)).decode() if content else ""


def _placed(kept: Kept) -> set[VmName]:
    return {one.name for one in read_all(kept.disks).values() if one.state is State.PLACED}


def _shown(keys: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in keys.items() if key != SETTINGS and not key.startswith(NVRAM)}


def _data(raw: str) -> Mapping[str, Any]:
    try:
        found = json.loads(raw or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
