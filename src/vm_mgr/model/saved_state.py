"""Describe a guest's memory that is kept beside its disks until the guest goes on elsewhere."""

import json
from typing import NamedTuple

__all__ = ["SavedState", "read_state", "write_state"]


class SavedState(NamedTuple):
    """What was saved, of whom, and with which state of its disks.

    uuid: the VM's; node: where it was saved; digest: of the memory's bytes; disk_fingerprint: what the
    storage reports of the disks, which differs once one was written, replaced or resized. was_paused: its
    user had paused the guest. complete: it may be resumed. consumed: it was, or somebody has
    begun to; never again.
    """

    uuid: str = ""
    node: str = ""
    saved_utc: float = 0.0
    size_bytes: int = 0
    digest: str = ""
    disk_fingerprint: str = ""
    was_paused: bool = False
    complete: bool = False
    consumed: bool = False

    @property
    def resumable(self) -> bool:
        """Tell whether the next start resumes it."""
        return self.complete and not self.consumed


def write_state(state: SavedState) -> str:
    """Give a state as text; whether it is complete or consumed is told by where the text is.

    >>> read_state(write_state(SavedState("u", "n1", 7.5, 3, "d", "f", was_paused=True))).was_paused
    True
    """
    kept = {key: value for key, value in state._asdict().items() if key not in _PLACES}
    return json.dumps({_KEYS.get(key, key): value for key, value in kept.items()})


def read_state(raw: str) -> SavedState:
    """Read a state; what can't be read is one that fits no VM.

    >>> read_state("{") == read_state('{"uuid": 1, "size_bytes": "x"}') == SavedState()
    True
    """
    try:
        value = json.loads(raw)
        return SavedState(
            str(value["uuid"]),
            str(value["node"]),
            float(value["saved_utc"]),
            int(value["size_bytes"]),
            str(value["digest"]),
            str(value["moment"]),
            was_paused=value["stood"] is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return SavedState()


_PLACES = ("complete", "consumed")
# What the keys were called by the first version that wrote them; a cluster has several versions side by side.
_KEYS = {"disk_fingerprint": "moment", "was_paused": "stood"}
