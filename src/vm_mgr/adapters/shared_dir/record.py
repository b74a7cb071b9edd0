"""Translate what is kept beside the disks in metadata.json."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

from vm_mgr.model.settings_text import own_notes, settings_from_data, settings_to_data
from vm_mgr.model.storage import Consistency, Snapshot
from vm_mgr.model.vm import VmSettings

__all__ = ["Record", "parse", "render"]


class Record(NamedTuple):
    """Settings, the keys of the metadata without the definition, and the snapshots.

    A snapshot without a value is being taken or removed: some disks may have it, nobody may count on it.
    """

    settings: VmSettings = VmSettings()
    keys: Mapping[str, str] = {}
    snapshots: Mapping[str, Snapshot | None] = {}

    def with_keys(self, given: Mapping[str, str | None]) -> "Record":
        """Give the record with keys set, and without those that have no value."""
        gone = {key for key, value in given.items() if not value}
        kept = {key: value for key, value in self.keys.items() if key not in gone}
        return self._replace(keys={**kept, **{key: value for key, value in given.items() if value}})

    def with_snapshot(self, name: str, snapshot: Snapshot | None) -> "Record":
        """Give the record with a snapshot, finished or not."""
        return self._replace(snapshots={**self.snapshots, name: snapshot})

    def without_snapshot(self, name: str) -> "Record":
        """Give the record without a snapshot."""
        return self._replace(snapshots={key: one for key, one in self.snapshots.items() if key != name})


def render(record: Record) -> str:
    """Write a record; a user's own notes are among the keys.

    >>> print(render(Record(VmSettings(priority=7), {"owner": "me"})))
    {
      "format": 1,
      "settings": {
        "priority": 7
      },
      "metadata": {
        "owner": "me"
      },
      "snapshots": {}
    }
    <BLANKLINE>
    """
    settings = settings_to_data(record.settings)
    snapshots = {
        name: one and {"taken_utc": one.taken_utc, "consistency": one.consistency.value}
        for name, one in record.snapshots.items()
    }
    whole = {"format": 1, "settings": settings, "metadata": dict(record.keys), "snapshots": snapshots}
    text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    # A text that is no UTF-8, as another tool's escapes can make one, is kept as such an escape.
    return text if text.isascii() or _is_utf8(text) else json.dumps(whole, indent=2) + "\n"


def parse(raw: str) -> Record:
    """Read a record; single values that can't be read count as absent.

    A text that is no object raises ValueError: the next write would lose all that somebody's slip has hidden.

    >>> parse(render(Record(VmSettings(priority=7), {"owner": "me"}))).settings.priority
    7
    """

    whole = json.loads(raw)
    if not isinstance(whole, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one kind of failure for the caller
    keys = _texts(whole.get("metadata"))
    settings = settings_from_data(_object(whole.get("settings")), own_notes(keys))
    snapshots = {name: _snapshot(name, one) for name, one in _object(whole.get("snapshots")).items()}
    return Record(settings, keys, snapshots)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _snapshot(name: str, value: object) -> Snapshot | None:
    found = _object(value)
    try:
        snapshot = Snapshot(name, float(found["taken_utc"]), Consistency(found["consistency"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return snapshot if isfinite(snapshot.taken_utc) else None


def _texts(value: object) -> dict[str, str]:
    return {key: str(text) for key, text in _object(value).items()}


def _object(value: object) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}
