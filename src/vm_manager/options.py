"""Turn the dictionaries that programs hand over into requests; a value of None counts as absent."""

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vm_manager.exceptions import ArgumentError
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.operations.add_to_cluster import Takeover
from vm_mgr.operations.clone import CloneRequest
from vm_mgr.operations.create import CreateRequest
from vm_mgr.operations.pacemaker_remote import without_remote

__all__ = [
    "clone_request",
    "clone_settings",
    "create_request",
    "new_name",
    "number",
    "settings_from",
    "takeover",
    "wants_progress",
]

_TEXTS = ("migration_user", "disk_bus")
_NUMBERS = {
    "stop_timeout": "stop_timeout_s",
    "migrate_to_timeout": "migrate_to_timeout_s",
    "migration_to_timeout": "migrate_to_timeout_s",  # as older programs write it
    "migration_downtime": "migration_downtime_ms",
}
_PLACES = ("pinned_host", "preferred_host")
_PAIRS = {
    "metadata": "user_metadata",
    "pacemaker_meta": "pacemaker_meta",
    "pacemaker_params": "pacemaker_params",
    "pacemaker_utilization": "pacemaker_utilization",
}
_CLEARED = ("clear_pacemaker_meta", "clear_pacemaker_params", "clear_pacemaker_utilization")
_SHARED = {
    *("name", "base_xml", "image", "force", "enable", "nostart", "progress"),
    *("live_migration", "priority", "crm_config_cmd", *_TEXTS, *_NUMBERS, *_PLACES, *_PAIRS),
}

Options = Mapping[str, Any]


def create_request(options: Options) -> CreateRequest:
    """Read the options of create; raises ArgumentError, or FileNotFoundError for a missing image."""
    options = _given(options, "additional_disks")
    name = new_name(_text(options, "name"))
    settings = settings_from(options)
    images = (_text(options, "image"), *_paths(options, "additional_disks"))
    _require_files(images)
    return CreateRequest(
        name=name,
        xml=_text(options, "base_xml"),
        images=images,
        settings=settings,
        **_switches(options),
    )


def clone_request(options: Options, source: VmSettings) -> CloneRequest:
    """Read the options of clone, on top of the source's settings."""
    settings = clone_settings(options, source)
    options = _given(options, "dst_name", "clear_constraint", *_CLEARED)
    return CloneRequest(
        source=_source(options),
        name=new_name(_text(options, "dst_name")),
        settings=settings,
        xml=str(options.get("base_xml", "")),
        **_switches(options),
    )


def clone_settings(options: Options, source: VmSettings) -> VmSettings:
    """Read what the options of clone make of the source's settings."""
    options = _given(options, "dst_name", "clear_constraint", *_CLEARED)
    for word in _CLEARED:
        if _truth(options, word):
            source = source._replace(**{word.removeprefix("clear_"): {}})  # type: ignore[arg-type]
    if _truth(options, "clear_constraint"):
        source = source._replace(pinned_host=None, preferred_host=None, colocations={})
    return settings_from(options, without_remote(source))


def takeover(options: Options) -> Takeover:
    """Read the options of add_to_cluster."""
    options = _given(options, "new_name")
    domain = VmName(_text(options, "name"))
    image = str(options.get("image", ""))
    _require_files((image,) if image else ())
    return Takeover(
        domain=domain,
        name=new_name(options.get("new_name", domain)),
        settings=settings_from(options),
        image=image,
        **_switches(options),
    )


def settings_from(options: Options, base: VmSettings | None = None) -> VmSettings:
    """Read how the VM is to be run; as in SEAPATH a pinned host goes before a preferred one.

    >>> settings_from({"stop_timeout": "40", "pacemaker_params": {"force_stop": False}}).stop_timeout_s
    40
    """
    base = VmSettings() if base is None else base
    changes: dict[str, Any] = {key: str(options[key]) for key in _TEXTS if options.get(key)}
    changes |= {
        field: value
        for key, field in _NUMBERS.items()
        if (value := number(options, key, least=0)) is not None
    }
    changes["priority"] = (
        number(options, "priority") if options.get("priority") is not None else base.priority
    )
    if _truth(options, "live_migration"):
        changes |= {"live_migration": True, "on_move": None}
    changes |= {field: {**getattr(base, field), **_pairs(options, key)} for key, field in _PAIRS.items()}
    place = next((key for key in _PLACES if options.get(key)), "")
    if place:
        changes |= {key: str(options[key]) if key == place else None for key in _PLACES}
    if options.get("crm_config_cmd"):
        commands = options["crm_config_cmd"]
        changes["crm_config_cmd"] = commands if isinstance(commands, str) else "\n".join(map(str, commands))
    return base._replace(**changes)


def wants_progress(options: Options) -> bool:
    """Tell whether to print how far it is."""
    return bool(options.get("progress"))


def new_name(name: object, what: str = "VM") -> VmName:
    """Check a new name as SEAPATH does: letters and digits, and not xml.

    >>> new_name("web1")
    'web1'
    """
    if not isinstance(name, str) or not re.fullmatch("[a-zA-Z0-9]+", name) or name == "xml":
        hint = "use letters and digits only; xml is reserved"
        raise ArgumentError(f"{name!r} is not a valid name for a {what}", hint=hint)
    return VmName(name)


def number(options: Options, key: str, *, least: int | None = None) -> int | None:
    """Read a whole number, which many programs hand over as text; 0 seconds are the default.

    >>> number({"remote_port": "3121"}, "remote_port", least=0)
    3121
    """
    value = options.get(key)
    if value is None or value == "":
        return None
    found = whole_number(str(value).strip(), signed=True)
    if found is None:
        raise ArgumentError(f"{key} {str(value)[:80]!r} is not a whole number", hint=f"for example {key}=60")
    if least is None:
        return found
    if found < least:
        raise ArgumentError(f"{key} {value!r} is below {least}", hint=f"for example {key}=60")
    return found or None


def _given(options: Options, *more: str) -> Options:
    """Leave out what is None; raises ArgumentError for what would have an effect that it has not here."""
    if not isinstance(options, Mapping):
        raise ArgumentError("the options are not a dictionary", hint="for example {'name': 'web1'}")
    unknown = [key for key, value in options.items() if value and key not in _SHARED and key not in more]
    if unknown:
        raise ArgumentError(f"unknown options: {', '.join(map(str, unknown))}", hint="leave them out")
    return {key: value for key, value in options.items() if value is not None}


def _source(options: Options) -> VmName:
    source = VmName(_text(options, "name"))
    if options.get("dst_name") == source:
        raise ArgumentError(f"source and clone have the same name {source}", hint="choose another dst_name")
    return source


def _switches(options: Options) -> dict[str, Any]:
    return {
        "enable": _truth(options, "enable", absent=True),
        "start": not _truth(options, "nostart"),
        "force": _truth(options, "force"),
    }


def _truth(options: Options, key: str, *, absent: bool = False) -> bool:
    """Read a switch; a text is refused, since "false" would count as true."""
    value = options.get(key)
    if isinstance(value, str):
        raise ArgumentError(f"{key} is {value!r}", hint="give True or False")
    return absent if value is None else bool(value)


def _text(options: Options, key: str) -> str:
    value = options.get(key)
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"the option {key} is missing or not a text", hint=f"give {key}")
    return value


def _pairs(options: Options, key: str) -> dict[str, str]:
    value = options.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{key} parameter must be a dictionary", hint=f"give {key}={{'key': 'value'}}")
    return {
        str(name): str(item).lower() if isinstance(item, bool) else str(item) for name, item in value.items()
    }


def _paths(options: Options, key: str) -> list[str]:
    value = options.get(key, ())
    if not isinstance(value, (list, tuple)):
        raise ArgumentError(f"{key} is not a list", hint=f"give {key}=['/path/of/disk.qcow2']")
    return [str(path) for path in value]


def _require_files(paths: tuple[str, ...]) -> None:
    for path in paths:
        if not (Path(path).is_file() or Path(path).is_block_device()):
            raise FileNotFoundError(errno.ENOENT, "there is no file", path)
