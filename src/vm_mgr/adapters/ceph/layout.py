"""Name things in the pool and translate settings to image metadata (docs/reference/storage-layout.md)."""

import json
from collections.abc import Mapping

from vm_mgr.model.numbers import whole_number
from vm_mgr.model.vm import VmName, VmSettings

__all__ = [
    "NEW",
    "OLD",
    "REMOVING",
    "RESUMED",
    "SAVED",
    "SAVING",
    "SNAPSHOT",
    "STATE",
    "UNFINISHED",
    "disk_image",
    "disk_number",
    "is_of",
    "new_image",
    "old_image",
    "read_settings",
    "settings_keys",
    "state_image",
    "write_settings",
]

UNFINISHED = "_vm_mgr_unfinished"
REMOVING = "remove"
SNAPSHOT = "_vm_mgr_snapshot_"
NEW = "vm-mgr-new_"
OLD = "vm-mgr-old_"
# What becomes of a guest's saved memory is told by the name of its image; its metadata say what it is.
SAVING, SAVED, RESUMED = "vm-mgr-saving_", "vm-mgr-saved_", "vm-mgr-resumed_"
STATE = "_vm_mgr_state"
_TEXTS = (
    *("migration_user", "pinned_host", "preferred_host", "disk_bus", "crm_config_cmd"),
    *("migration_strategy", "migration_timeout_action", "failback"),
    *("uplink", "on_move"),
)
_NUMBERS = {
    "stop_timeout_s": "_stop_timeout",
    "migrate_to_timeout_s": "_migrate_to_timeout",
    "migration_downtime_ms": "_migration_downtime",
    "migration_bandwidth_mib": "_migration_bandwidth",
    "migration_parallel": "_migration_parallel",
    "migration_max_pause_s": "_migration_max_pause",
    "priority": "_priority",
}
_OBJECTS = ("pacemaker_meta", "pacemaker_params", "pacemaker_utilization", "colocations", "checks")
_REMOTE = {
    "_remote_node": "remote-node",
    "_remote_node_address": "remote-addr",
    "_remote_node_port": "remote-port",
    "_remote_node_timeout": "remote-connect-timeout",
}


def disk_image(name: VmName, number: int) -> str:
    """Name a VM's disk: 0 is the system disk.

    >>> disk_image(VmName("web1"), 0), disk_image(VmName("web1"), 1)
    ('system_web1', 'data_web1_0')
    """
    return f"data_{name}_{number - 1}" if number else f"system_{name}"


def disk_number(name: VmName, image: str) -> int | None:
    """Tell which of the VM's disks an image is by its name, or None for another image.

    >>> disk_number(VmName("web"), "data_web_1"), disk_number(VmName("web"), "data_web_1_1")
    (2, None)
    """
    if image == f"system_{name}":
        return 0
    number = image.removeprefix(f"data_{name}_")
    return int(number) + 1 if number != image and _is_ours(number) else None


def new_image(name: VmName, number: int) -> str:
    """Name a disk that is being made."""
    return f"{NEW}{number}_{name}"


def old_image(name: VmName, number: int) -> str:
    """Name a disk that has been replaced and will be deleted."""
    return f"{OLD}{number}_{name}"


def state_image(phase: str, name: VmName) -> str:
    """Name the image of a VM's saved memory.

    >>> state_image(SAVED, VmName("web1"))
    'vm-mgr-saved_web1'
    """
    return f"{phase}{name}"


def is_of(image: str, prefix: str, name: VmName) -> bool:
    """Tell whether an image is a new or an old one of the VM."""
    number, _, rest = image.removeprefix(prefix).partition("_")
    return image.startswith(prefix) and _is_ours(number) and rest == name


def _is_ours(text: str) -> bool:
    """Tell a number as we write it: 0, not 00."""
    return whole_number(text) is not None and (text == "0" or text[0] != "0")


def write_settings(settings: VmSettings) -> dict[str, str]:
    """Translate settings to image metadata.

    >>> write_settings(VmSettings(live_migration=True, stop_timeout_s=60))
    {'_live_migration': 'true', '_stop_timeout': '60'}
    """
    values = settings._asdict()
    remote = {
        raw: settings.pacemaker_meta[meta] for raw, meta in _REMOTE.items() if meta in settings.pacemaker_meta
    }
    values["pacemaker_meta"] = {
        key: value for key, value in settings.pacemaker_meta.items() if key not in _REMOTE.values()
    }
    metadata = {f"_{key}": values[key] for key in _TEXTS if values[key] is not None}
    metadata |= {raw: str(values[key]) for key, raw in _NUMBERS.items() if values[key] is not None}
    metadata |= {f"_{key}": json.dumps(dict(values[key])) for key in _OBJECTS if values[key]}
    if settings.live_migration:
        metadata["_live_migration"] = "true"
    written = {**settings.user_metadata, **dict(sorted({**metadata, **remote}.items()))}
    return {key: value for key, value in written.items() if value}  # SEAPATH's tools misread empty ones


def settings_keys() -> list[str]:
    """Name every key that settings may be kept under, the user's own notes apart."""
    plain = [f"_{key}" for key in (*_TEXTS, *_OBJECTS)]
    return [*plain, *_NUMBERS.values(), *_REMOTE, "_live_migration"]


def read_settings(metadata: Mapping[str, str]) -> VmSettings:
    """Translate image metadata to settings; values that can't be read count as absent.

    >>> read_settings({"_live_migration": "true", "_priority": "7", "owner": "me"}).priority
    7
    """
    texts = {key: metadata[f"_{key}"] for key in _TEXTS if metadata.get(f"_{key}")}
    numbers = {
        key: number
        for key, raw in _NUMBERS.items()
        if (number := whole_number(metadata.get(raw), signed=key == "priority")) is not None
    }
    objects = {key: _object(metadata.get(f"_{key}", "")) for key in _OBJECTS}
    remote = {meta: metadata[raw] for raw, meta in _REMOTE.items() if metadata.get(raw)}
    objects["pacemaker_meta"] = {**remote, **objects["pacemaker_meta"]}
    own = {
        key: text
        for key, text in metadata.items()
        if not key.startswith("_") and key not in ("xml", "vm_name")
    }
    live = metadata.get("_live_migration", "").lower() == "true"
    return VmSettings(live_migration=live, user_metadata=own, **texts, **numbers, **objects)  # type: ignore[arg-type]


def _object(raw: str) -> dict[str, str]:
    try:
        value = json.loads(raw) if raw else {}
    except ValueError:
        return {}
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}
