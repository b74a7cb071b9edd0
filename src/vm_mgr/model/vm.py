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
]

VmName = NewType("VmName", str)

# RBD allows 96 bytes for an image's name, of which prefixes, disk numbers and temporary names need 32.
NAME_MAX = 64
RESERVED = frozenset({"xml"})


class VmState(Enum):
    """The states that a user sees; these spellings are the interface."""

    UNDEFINED = "Undefined"
    DISABLED = "Disabled"
    FAILED = "Failed"
    STARTED = "Started"
    STARTING = "Starting"
    STOPPED = "Stopped"
    STOPPING = "Stopping"


class TargetRole(Enum):
    """What Pacemaker is asked for."""

    STARTED = "Started"
    STOPPED = "Stopped"


class VmStatus(NamedTuple):
    """What is known of a VM in one look."""

    name: VmName
    state: VmState
    node: str = ""
    detail: str = ""


class VmSettings(NamedTuple):
    """How a VM is to be run; stored with its disk, turned into Pacemaker configuration by `enable`.

    colocations: other resource → score, above 0 to run on the same node, below 0 to run on another one.
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
    user_metadata: Mapping[str, str] = {}


def name_problems(name: str) -> list[VmMgrError]:
    """Check a name for a new VM: letters and digits, a letter first, not reserved, at most 64.

    The letter comes first because Pacemaker's ids are XML ids, which can't begin with a digit.

    >>> name_problems("web1")
    []
    >>> [p.message for p in name_problems("")]
    ['the name of the VM is empty']
    """
    hint = "use letters and digits only, beginning with a letter, for example web1"
    if not name:
        return [VmMgrError(Kind.INVALID, "the name of the VM is empty", hint=hint)]
    if len(name) > NAME_MAX:
        message = f"the name {name[:20]}… has {len(name)} characters; at most {NAME_MAX} are allowed"
        reason = f"Ceph limits the names of a VM's disks to 96 bytes; choose at most {NAME_MAX} characters"
        return [VmMgrError(Kind.INVALID, message, hint=reason)]
    if name in RESERVED:
        return [VmMgrError(Kind.INVALID, f"the name {name!r} is reserved", hint="choose another name")]
    if not (name.isascii() and name.isalnum() and name[0].isalpha()):
        return [VmMgrError(Kind.INVALID, f"{name!r} is not a valid name for a VM", hint=hint)]
    return []


def metadata_key_problems(key: str) -> list[VmMgrError]:
    """Check a key of a user's own notes: letters and digits, as SEAPATH has them; xml is the definition's.

    >>> metadata_key_problems("owner")
    []
    >>> [p.message for p in metadata_key_problems("xml")]
    ["'xml' is not a valid metadata key"]
    """
    if key.isascii() and key.isalnum() and key != "xml":
        return []
    hint = "use letters and digits only; xml is reserved"
    return [VmMgrError(Kind.INVALID, f"{key!r} is not a valid metadata key", hint=hint)]
