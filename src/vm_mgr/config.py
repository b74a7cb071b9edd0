"""Read the configuration file; the only place that knows paths.

docs/reference/configuration.md describes /etc/vm-mgr/vm-mgr.toml.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName

__all__ = ["CephSettings", "Settings", "load"]

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
    state_dir: Path = Path("/run/vm-mgr")


def load() -> Settings:
    """Read the file named by VM_MGR_CONFIG or the default one; without a file everything has its default.

    Raises ENVIRONMENT for a file that can't be read or understood.
    """
    import tomllib  # noqa: PLC0415 - not for `status`

    path = Path(os.environ.get("VM_MGR_CONFIG", CONFIG_FILE))
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise VmMgrError(Kind.ENVIRONMENT, f"can't read the configuration {path}: {error}") from error
    try:
        return _settings(raw)
    except (TypeError, ValueError, AttributeError) as error:
        hint = "see docs/reference/configuration.md"
        raise VmMgrError(
            Kind.ENVIRONMENT, f"{path} is not a valid configuration: {error}", hint=hint
        ) from error


def _settings(raw: Mapping[str, Any]) -> Settings:
    ceph = CephSettings(**{key: str(value) for key, value in raw.get("ceph", {}).items()})
    if ceph.cache not in CACHES:
        raise ValueError(f"[ceph] cache is one of {', '.join(CACHES)}")
    addresses = {
        str(address): NodeName(node)
        for node, given in raw.get("nodes", {}).items()
        for address in ([given] if isinstance(given, str) else given)
    }
    suffix = str(raw.get("migration", {}).get("network_suffix", ""))
    return Settings(ceph, addresses, suffix)
