"""Read the configuration file; the only place that knows paths.

docs/reference/configuration.md describes /etc/vm-mgr/vm-mgr.toml.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_mgr.model.cluster import NodeName

__all__ = ["CephSettings", "Settings", "load", "load_ceph"]

CONFIG_FILE = "/etc/vm-mgr/vm-mgr.toml"
CACHES = ("writeback", "none", "writethrough", "directsync")


class CephSettings(NamedTuple):
    """How to reach Ceph, and the disks' cache mode; `unsafe` is not offered, it ignores flushes."""

    conf: str = "/etc/ceph/ceph.conf"
    user: str = "admin"
    pool: str = "rbd"
    cache: str = "writeback"


class Settings(NamedTuple):
    """The whole configuration."""

    ceph: CephSettings = CephSettings()
    node_addresses: Mapping[str, NodeName] = {}
    migration_network_suffix: str = ""
    state_dir: str = "/run/vm-mgr"


def load() -> Settings:
    """Read the file named by VM_MGR_CONFIG or the default one; without a file everything has its default.

    Raises ENVIRONMENT for a file that can't be read or understood.
    """
    path, text = _text()
    return _parse(path, text)


def load_ceph() -> CephSettings:
    """Read how to reach Ceph; plain lines without tomllib, which would take a tenth of the time of `list`."""
    path, text = _text()
    plain = _plain_table(text, "ceph")
    try:
        return _parse(path, text).ceph if plain is None else _ceph(plain)
    except (TypeError, ValueError):
        return _parse(path, text).ceph  # which says what is wrong


def _text() -> tuple[str, str]:
    path = os.environ.get("VM_MGR_CONFIG", CONFIG_FILE)
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes 4 ms to load
            return path, file.read()
    except FileNotFoundError:
        return path, ""
    except (OSError, ValueError) as error:
        raise VmMgrError(Kind.ENVIRONMENT, f"can't read the configuration {path}: {error}") from error


def _parse(path: str, text: str) -> Settings:
    import tomllib  # noqa: PLC0415 - not for `list` and `status`

    try:
        return _settings(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise VmMgrError(Kind.ENVIRONMENT, f"can't read the configuration {path}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        hint = "see docs/reference/configuration.md"
        raise VmMgrError(
            Kind.ENVIRONMENT, f"{path} is not a valid configuration: {error}", hint=hint
        ) from error


def _plain_table(text: str, name: str) -> dict[str, str] | None:
    """Read a table of lines like `key = "text"`; None where it takes a parser to tell.

    >>> _plain_table('[ceph]\\nuser = "me"  # or you\\n', "ceph")
    >>> _plain_table('[nodes]\\nn1 = ["192.0.2.1"]\\n[ceph]\\nuser = "me"\\n', "ceph")
    {'user': 'me'}
    """
    if '"""' in text or "'''" in text:
        return None
    table, inside = {}, None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line[1:-1].isalnum() and line.endswith("]"):
            inside = line == f"[{name}]"
        elif line.startswith("[") or (line and inside is None and not line.startswith("#")):
            return None
        elif inside and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            value = value.strip()
            if len(value) < 2 or value[0] + value[-1] != '""' or set(value[1:-1]) & set('"\\\\'):
                return None
            table[key.strip()] = value[1:-1]
    return table


def _settings(raw: Mapping[str, Any]) -> Settings:
    addresses = {
        str(address): node
        for node, given in raw.get("nodes", {}).items()
        for address in ([given] if isinstance(given, str) else given)
    }
    suffix = str(raw.get("migration", {}).get("network_suffix", ""))
    return Settings(_ceph(raw.get("ceph", {})), addresses, suffix)


def _ceph(table: Mapping[str, Any]) -> CephSettings:
    ceph = CephSettings(**{key: str(value) for key, value in table.items()})
    if ceph.cache not in CACHES:
        raise ValueError(f"[ceph] cache is one of {', '.join(CACHES)}")
    return ceph
