"""Translate a VM's settings to plain data and back, as storages keep them that have no keys of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vm_mgr.model.numbers import whole_number
from vm_mgr.model.vm import VmSettings

if TYPE_CHECKING:
    from vm_mgr.model.settings import Setting

__all__ = ["own_notes", "settings_from_data", "settings_to_data"]


def settings_to_data(settings: VmSettings) -> dict[str, Any]:
    """Give what is set, without the user's own notes, which are metadata.

    >>> settings_to_data(VmSettings(priority=7, user_metadata={"owner": "me"}))
    {'priority': 7}
    """
    defaults = VmSettings()._asdict()
    given = settings._replace(user_metadata={})._asdict()
    return {
        key: dict(value) if isinstance(value, Mapping) else value
        for key, value in given.items()
        if value != defaults[key]
    }


def settings_from_data(given: Mapping[str, Any], notes: Mapping[str, str]) -> VmSettings:
    """Read settings; single values that can't be read count as absent.

    >>> settings_from_data({"priority": 7, "stop_timeout_s": "soon"}, {"owner": "me"}).priority
    7
    """
    from vm_mgr.model.settings import of_sort  # noqa: PLC0415 - not for `list`

    values: dict[str, Any] = {one.name: given[one.name] for one in of_sort("text") if _is_text(given, one)}
    values |= {one.name: given[one.name] for one in of_sort("number") if _is_number(given, one)}
    values |= {one.name: _texts(given.get(one.name)) for one in of_sort("pairs")}
    values |= {one.name: given.get(one.name) is True for one in of_sort("flag")}
    return VmSettings(**{**values, "user_metadata": dict(notes)})


def own_notes(keys: Mapping[str, str]) -> dict[str, str]:
    """Give the user's own among the keys of the metadata.

    >>> own_notes({"_base_xml": "<domain/>", "vm_name": "web1", "owner": "me"})
    {'owner': 'me'}
    """
    return {key: text for key, text in keys.items() if not key.startswith("_") and key != "vm_name"}


def _is_text(given: Mapping[str, Any], setting: Setting) -> bool:
    return isinstance(given.get(setting.name), str)


def _is_number(given: Mapping[str, Any], setting: Setting) -> bool:
    """Tell what Ceph's adapter would read from text."""
    value = given.get(setting.name)
    return type(value) is int and whole_number(str(value), signed=setting.signed) is not None


def _texts(value: object) -> dict[str, str]:
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, dict) else {}
