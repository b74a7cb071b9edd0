"""Describe an operation that was begun and has not ended."""

import json
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from vm_mgr.model.vm import VmName

__all__ = ["HALF", "Intent", "Key", "KeyKind", "read_intent", "write_intent"]

# A key of a VM's metadata in a shared directory: the snapshot that its disks are being taken back to.
HALF = "_vm_mgr_rolling"
# The details that are names of VMs: of a clone's source, of a VM before and after it is renamed.
NAMES = ("source", "old", "new")


class KeyKind(Enum):
    """What else than a VM can be locked; clusters keep these words, in front of the name."""

    DRAIN = "drain-"
    UUID = "uuid-"
    MAC = "mac-"


class Key(NamedTuple):
    """The name of a lock that is no VM's.

    >>> str(Key(KeyKind.DRAIN, "n1"))
    'drain-n1'
    """

    kind: KeyKind
    name: str

    def __str__(self) -> str:
        """Give it as it is stored."""
        return f"{self.kind.value}{self.name}"


class Intent(NamedTuple):
    """What is being done to a VM, by which node, since when (seconds since 1970), and what recovers it."""

    verb: str
    node: str = ""
    began_utc: float = 0.0
    details: Mapping[str, str] = {}

    @property
    def names(self) -> frozenset[VmName]:
        """Name the VMs that recovering it changes, besides the one it was written for."""
        return frozenset(VmName(name) for key in NAMES if (name := self.details.get(key)))


def write_intent(intent: Intent) -> str:
    """Give an intent as text.

    >>> read_intent(write_intent(Intent("create", "n1", 7.5, {"was": ""})))
    Intent(verb='create', node='n1', began_utc=7.5, details={'was': ''})
    """
    return json.dumps({**intent._asdict(), "details": dict(intent.details)})


def read_intent(raw: str) -> Intent:
    """Read an intent; what can't be read is one of an unknown verb, which nobody recovers.

    >>> read_intent("{").verb
    'unknown'
    """
    try:
        value = json.loads(raw)
        details = {str(key): str(text) for key, text in dict(value.get("details", {})).items()}
        return Intent(
            str(value["verb"]), str(value.get("node", "")), float(value.get("began_utc", 0)), details
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Intent("unknown")
