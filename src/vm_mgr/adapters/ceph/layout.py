"""Name things in the pool and translate settings to image metadata (docs/reference/storage-layout.md)."""

import json
from collections.abc import Mapping
from typing import Any

from vm_mgr.model.numbers import whole_number
from vm_mgr.model.settings import of_sort
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
_REMOTE = {
    "_remote_node": "remote-node",
    "_remote_node_address": "remote-addr",
    "_remote_node_port": "remote-port",
    "_remote_node_timeout": "remote-connect-timeout",
}


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
    plain, pairs = of_sort("text", "number"), of_sort("pairs")
    metadata = {one.key: str(values[one.name]) for one in plain if values[one.name] is not None}
    metadata |= {one.key: json.dumps(dict(values[one.name])) for one in pairs if values[one.name]}
    metadata |= {one.key: "true" for one in of_sort("flag") if values[one.name]}
    written = {**settings.user_metadata, **dict(sorted({**metadata, **remote}.items()))}
    return {key: value for key, value in written.items() if value}  # SEAPATH's tools misread empty ones


def settings_keys() -> list[str]:
    """Name every key that settings may be kept under, in the order of writing; the user's own notes apart."""
    groups = (of_sort("text"), of_sort("pairs"), of_sort("number"))
    keys = [one.key for group in groups for one in group]
    return [*keys, *_REMOTE, *(one.key for one in of_sort("flag"))]


def read_settings(metadata: Mapping[str, str]) -> VmSettings:
    """Translate image metadata to settings; values that can't be read count as absent.

    >>> read_settings({"_live_migration": "true", "_priority": "7", "owner": "me"}).priority
    7
    """
    given: dict[str, Any] = {one.name: metadata[one.key] for one in of_sort("text") if metadata.get(one.key)}
    given |= {
        one.name: number
        for one in of_sort("number")
        if (number := whole_number(metadata.get(one.key), signed=one.signed)) is not None
    }
    given |= {one.name: _object(metadata.get(one.key, "")) for one in of_sort("pairs")}
    given |= {one.name: metadata.get(one.key, "").lower() == "true" for one in of_sort("flag")}
    remote = {meta: metadata[raw] for raw, meta in _REMOTE.items() if metadata.get(raw)}
    given["pacemaker_meta"] = {**remote, **given["pacemaker_meta"]}
    own = {
        key: text
        for key, text in metadata.items()
        if not key.startswith("_") and key not in ("xml", "vm_name")
    }
    return VmSettings(**{**given, "user_metadata": own})


def _object(raw: str) -> dict[str, str]:
    try:
        value = json.loads(raw) if raw else {}
    except ValueError:
        return {}
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}
