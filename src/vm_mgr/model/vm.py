"""Describe a VM: its name, state and settings."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, NewType

from vm_mgr.errors import Kind, VmMgrError

__all__ = [
    "NAME_MAX",
    "TargetRole",
    "VmName",
    "VmSettings",
    "VmState",
    "VmStatus",
    "metadata_key_problems",
    "name_problems",
    "note_problems",
    "pacemaker_problems",
    "text_problems",
    "word_problems",
]

VmName = NewType("VmName", str)

# RBD allows 96 bytes for an image's name, of which prefixes, disk numbers and temporary names need 32.
NAME_MAX = 64
RESERVED = frozenset({"xml"})
KEY_MAX = 128
# In bytes, of a text that is stored with a VM.
TEXT_MAX = 1 << 20
# What Pacemaker's configuration and the storage have of ours besides VMs.
OURS = "vm-mgr-"
UUID_LENGTH = 36
_BREAKS = dict.fromkeys(map(ord, "\t\n\r"))


class VmState(Enum):
    """The states that a user sees; these spellings are the interface."""

    UNDEFINED = "Undefined"
    DISABLED = "Disabled"
    FAILED = "Failed"
    STARTED = "Started"
    STARTING = "Starting"
    STOPPED = "Stopped"
    STOPPING = "Stopping"
    UNKNOWN = "Unknown"


class TargetRole(Enum):
    """What Pacemaker is asked for."""

    STARTED = "Started"
    STOPPED = "Stopped"


class VmStatus(NamedTuple):
    """What is known of a VM at one moment.

    alarm: what must not be, and stays so until it is started anew. moving: a live migration is under way.
    kept_by: who else has a say in it: the group that it is in, the agent of another tool. unmanaged: why the
    cluster leaves it alone. waits: it is to run, and the cluster has not begun to start it. awaits: for what,
    where that is known. barred: why it does not; it is in detail or unmanaged, too.
    """

    name: VmName
    state: VmState
    node: str = ""
    detail: str = ""
    alarm: str = ""
    moving: bool = False
    kept_by: str = ""
    unmanaged: str = ""
    waits: bool = False
    awaits: str = ""
    barred: str = ""

    @property
    def words(self) -> str:
        """Say all that there is to say beside state and node."""
        return "; ".join(filter(None, (self.alarm, self.unmanaged, self.detail, self.awaits, self.kept_by)))


class VmSettings(NamedTuple):
    """How a VM is to be run; stored with its disk, turned into Pacemaker configuration by `enable`.

    migration_bandwidth_mib: in MiB/s; migration_parallel: connections side by side;
    migration_max_pause_s: how long the guest may be paused so that a migration ends.
    colocations: other resource → score, above 0 to run on the same node, below 0 to run on another one.
    checks: deeper check of model/health_checks.py → how often it is made, in seconds.
    failback: a word of model/failback.py.
    uplink: whether the VM follows the uplinks of its bridges; a word of model/node_requirements.py.
    on_move: hibernate, or nothing where live_migration decides (model/on_move.py).
    """

    live_migration: bool = False
    migration_user: str | None = None
    stop_timeout_s: int | None = None
    migrate_to_timeout_s: int | None = None
    migration_downtime_ms: int | None = None
    pinned_host: str | None = None
    preferred_host: str | None = None
    priority: int | None = None
    disk_bus: str | None = None
    crm_config_cmd: str | None = None
    pacemaker_meta: Mapping[str, str] = {}
    pacemaker_params: Mapping[str, str] = {}
    pacemaker_utilization: Mapping[str, str] = {}
    colocations: Mapping[str, str] = {}
    checks: Mapping[str, str] = {}
    user_metadata: Mapping[str, str] = {}
    migration_strategy: str | None = None
    migration_bandwidth_mib: int | None = None
    migration_parallel: int | None = None
    migration_timeout_action: str | None = None
    migration_max_pause_s: int | None = None
    failback: str | None = None
    uplink: str | None = None
    on_move: str | None = None


def name_problems(name: str) -> list[VmMgrError]:
    """Check a name for a new VM: letters, digits, dashes, underscores and dots, not reserved, at most 64.

    A letter comes first because Pacemaker's ids are XML ids, which can't begin with a digit. No name contains
    "..": it separates a name from what follows it in those ids.

    >>> name_problems("web1"), name_problems("db-2.site_a")
    ([], [])
    >>> [p.message for p in name_problems("")]
    ['the name of the VM is empty']
    >>> [len(name_problems(name)) for name in ("1web", "web-", "a..b", "vm-mgr-a", "xml")]
    [1, 1, 1, 1, 1]
    """
    if not name:
        hint = "give it one, for example web-1"
        return [VmMgrError(Kind.INVALID, "the name of the VM is empty", hint=hint)]
    if len(name) > NAME_MAX:
        message = f"the name {name[:20]}… has {len(name)} characters; at most {NAME_MAX} are allowed"
        reason = f"Ceph limits the names of a VM's disks to 96 bytes; choose at most {NAME_MAX} characters"
        return [VmMgrError(Kind.INVALID, message, hint=reason)]
    if name in RESERVED or name.startswith(OURS):
        return [VmMgrError(Kind.INVALID, f"the name {name!r} is reserved", hint="choose another name")]
    if not _is_plain(name) or not (name[0].isalpha() and name[-1].isalnum()) or ".." in name:
        hint = (
            "use letters, digits, dashes, underscores and single dots; begin with a letter, "
            "end with a letter or digit, for example web-1"
        )
        return [VmMgrError(Kind.INVALID, f"{name!r} is not a valid name for a VM", hint=hint)]
    if len(name) == UUID_LENGTH and set(name) <= set("0123456789abcdefABCDEF-"):
        message = f"libvirt would take the name {name} for a UUID, and so for another VM's"
        return [VmMgrError(Kind.INVALID, message, hint="choose another name")]
    return []


def _is_plain(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()


def metadata_key_problems(key: str) -> list[VmMgrError]:
    """Check a key of a user's own notes: letters and digits, as SEAPATH has them; xml is the definition's.

    >>> metadata_key_problems("owner")
    []
    >>> [p.message for p in metadata_key_problems("xml")]
    ["'xml' is not a valid metadata key"]
    """
    if key.isascii() and key.isalnum() and key != "xml" and len(key) <= KEY_MAX:
        return []
    hint = f"use letters and digits only, at most {KEY_MAX}; xml is reserved"
    return [VmMgrError(Kind.INVALID, f"{key[:KEY_MAX]!r} is not a valid metadata key", hint=hint)]


def note_problems(notes: Mapping[str, str]) -> list[VmMgrError]:
    """Check a user's own notes, keys and values; an empty value takes a note away."""
    problems = [problem for key in notes for problem in metadata_key_problems(key)]
    return problems + [
        problem for key, value in notes.items() for problem in text_problems(f"the note {key[:40]!r}", value)
    ]


def text_problems(what: str, text: str) -> list[VmMgrError]:
    """Check what every storage and tool gives back as it was: UTF-8 without NULs, of limited size.

    >>> text_problems("the note", "")
    []
    >>> [len(text_problems("it", text)) for text in ("a" + chr(0), chr(0xDCFF), "ö" * (1 << 20))]
    [1, 1, 1]
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        hint = "give valid UTF-8"
        return [VmMgrError(Kind.INVALID, f"{what} can't be stored: it is not text", hint=hint)]
    if "\0" in text:
        hint = "leave NUL characters out, or encode it, for example with base64"
        return [VmMgrError(Kind.INVALID, f"{what} can't be stored: it has a NUL character", hint=hint)]
    if size > TEXT_MAX:
        message = f"{what} can't be stored: it has {size} bytes"
        hint = f"at most {TEXT_MAX} bytes are kept with a VM; put it on a disk of the VM"
        return [VmMgrError(Kind.INVALID, message, hint=hint)]
    return []


def pacemaker_problems(pairs: Mapping[str, str]) -> list[VmMgrError]:
    """Check meta attributes, parameters or utilization.

    Pacemaker turns keys into names of XML attributes when it plans (hash2smartfield and hash2metafield in its
    lib/common/nvpair.c) and checks nothing: one with a space stops the whole cluster from acting.

    >>> pacemaker_problems({"failure-timeout": "60 s", "_x.y": "ö"})
    []
    >>> [p.message for p in pacemaker_problems({"#a": "1", "vm-mgr-x": "1", "a": "\\x00"})]
    ["'#a' is not a valid key", "'vm-mgr-x' is not a valid key", "the value of a can't be kept"]
    """
    problems = []
    for key, value in pairs.items():
        if not (_is_plain(key) and (key[0].isalpha() or key[0] == "_")) or key.startswith(OURS):
            hint = f"use letters, digits, dashes, underscores and dots, a letter first; {OURS} is reserved"
            problems.append(VmMgrError(Kind.INVALID, f"{key[:80]!r} is not a valid key", hint=hint))
        elif not value.translate(_BREAKS).isprintable():
            hint = "leave out control characters"
            problems.append(VmMgrError(Kind.INVALID, f"the value of {key} can't be kept", hint=hint))
    return problems


def word_problems(what: str, word: str, *, also: str = "") -> list[VmMgrError]:
    """Check what other programs are given as one word: it may not begin as their options do.

    >>> word_problems("the address", "fd00::1", also=":")
    []
    >>> [p.message for p in word_problems("the user", "-oProxyCommand=x")]
    ["the user '-oProxyCommand=x' is not valid"]
    """
    allowed = all(letter.isalnum() or letter in f"._-{also}" for letter in word)
    if word and allowed and word.isascii() and word[0] not in ".-":
        return []
    hint = f"use letters, digits and any of ._-{also}"
    return [VmMgrError(Kind.INVALID, f"{what} {word[:80]!r} is not valid", hint=hint)]
