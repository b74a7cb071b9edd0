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

__all__ = [
    "CEPH",
    "DRBD",
    "DRBD_DISKS",
    "CephSettings",
    "DirectorySettings",
    "DrbdSettings",
    "Settings",
    "StorageSettings",
    "load",
    "load_storage",
]

CONFIG_FILE = "/etc/vm-mgr/vm-mgr.toml"
CEPH = "ceph"  # the label of the one Ceph; directories choose their own
DRBD_DISKS = "/var/lib/vm-mgr/drbd"  # where domains find them
DRBD = "drbd"  # the label of the disks on DRBD
CACHES = ("writeback", "none", "writethrough", "directsync")
IO = ("native", "threads", "io_uring")


class CephSettings(NamedTuple):
    """How to reach Ceph, and the disks' cache mode; `unsafe` is not offered, it ignores flushes."""

    conf: str = "/etc/ceph/ceph.conf"
    user: str = "admin"
    pool: str = "rbd"
    cache: str = "writeback"

    @property
    def label(self) -> str:
        """Its label among the storages."""
        return CEPH


class DirectorySettings(NamedTuple):
    """A directory that all nodes mount; resource is what mounts it, in the cluster's configuration."""

    path: str
    cache: str = "none"
    io: str = "native"
    resource: str = ""


class DrbdSettings(NamedTuple):
    """Disks on DRBD: nodes with a thin pool, whose addresses are the first ones of [nodes].

    group, pool: LVM's names, the same on all these nodes. ports: the first and the last one for DRBD.
    """

    nodes: tuple[str, ...]
    group: str = "vm-mgr"
    pool: str = "thin"
    ports: tuple[int, int] = (7800, 7999)
    cache: str = "none"
    io: str = "native"

    @property
    def label(self) -> str:
        """Its label among the storages."""
        return DRBD


class StorageSettings(NamedTuple):
    """The storages that stand side by side; default names one of them, None is one that is not there."""

    ceph: CephSettings | None = CephSettings()
    directories: Mapping[str, DirectorySettings] = {}
    default: str = CEPH
    drbd: DrbdSettings | None = None

    @property
    def paths(self) -> list[str]:
        """Folders whose content is a VM's own on every node that runs it: directories, and disks on DRBD."""
        return [*(one.path for one in self.directories.values()), *([DRBD_DISKS] if self.drbd else [])]


class Settings(NamedTuple):
    """The whole configuration."""

    storage: StorageSettings = StorageSettings()
    node_addresses: Mapping[str, NodeName] = {}
    migration_network_suffix: str = ""


def load() -> Settings:
    """Read the file named by VM_MGR_CONFIG or the default one; without a file everything has its default.

    Raises ENVIRONMENT for a file that can't be read or understood.
    """
    path, text = _text()
    return _parse(path, text)


def load_storage() -> StorageSettings:
    """Read which storages there are, without tomllib if it can: that takes a tenth of the time of `list`."""
    path, text = _text()
    plain = _plain_tables(text)
    try:
        return _parse(path, text).storage if plain is None else _storage(plain)
    except (TypeError, ValueError, AttributeError):
        return _parse(path, text).storage  # which says what is wrong


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


def _plain_tables(text: str) -> dict[str, Any] | None:
    """Read the storages' tables of lines like `key = "text"`; None where it takes a parser to tell.

    >>> _plain_tables('[ceph]\\nuser = "me"  # or you\\n')
    >>> _plain_tables('[nodes]\\nn1 = ["192.0.2.1"]\\n[ceph]\\nuser = "me"\\n')
    {'ceph': {'user': 'me'}, 'shared_dir': {}}
    >>> _plain_tables('[shared_dir.vms]\\npath = "/srv/vms"\\n')
    {'shared_dir': {'vms': {'path': '/srv/vms'}}}
    """
    if '"""' in text or "'''" in text:
        return None
    tables: dict[str, dict[str, str]] = {}
    header = ""
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            header = line[1:-1]
            if not line.endswith("]") or not _is_plain(header) or header in tables:
                return None
            tables[header] = {}
        elif not header or (not _add_plain(tables[header], line) and _is_storage(header)):
            return None
    found: dict[str, Any] = {key: tables[key] for key in (CEPH, DRBD, "storage") if key in tables}
    found["shared_dir"] = {
        key.partition(".")[2]: tables[key] for key in tables if key.startswith("shared_dir.")
    }
    return found


def _is_plain(header: str) -> bool:
    """Tell `name` and `shared_dir.label` from other headers."""
    name, dot, label = header.partition(".")
    if name in ("shared_dir", CEPH, DRBD, "storage"):
        return bool(dot and label.isalnum()) if name == "shared_dir" else not dot
    return name.isalnum() and not dot


def _is_storage(header: str) -> bool:
    return header in (CEPH, DRBD, "storage") or header.startswith("shared_dir.")


def _add_plain(table: dict[str, str], line: str) -> bool:
    key, _, value = line.partition("=")
    key, value = key.strip(), value.strip()
    if len(value) < 2 or value[0] + value[-1] != '""' or set(value[1:-1]) & set('"\\'):
        return False
    if not key.replace("_", "").isalnum() or key in table:
        return False
    table[key] = value[1:-1]
    return True


def _settings(raw: Mapping[str, Any]) -> Settings:
    if dotted := [node for node, given in raw.get("nodes", {}).items() if isinstance(given, dict)]:
        raise ValueError(f"[nodes] a name with dots is put in quotes, as {dotted[0]}.… is not")
    addresses = {
        str(address): node
        for node, given in raw.get("nodes", {}).items()
        for address in ([given] if isinstance(given, str) else given)
    }
    suffix = str(raw.get("migration", {}).get("network_suffix", ""))
    return Settings(_storage(raw), addresses, suffix)


def _storage(raw: Mapping[str, Any]) -> StorageSettings:
    directories = {str(label): _directory(label, table) for label, table in raw.get("shared_dir", {}).items()}
    drbd = _drbd(raw[DRBD]) if DRBD in raw else None
    ceph = _ceph(raw.get(CEPH, {})) if CEPH in raw or not (directories or drbd) else None
    labels = [*([CEPH] if ceph else []), *directories, *([DRBD] if drbd else [])]
    default = str({"default": labels[0], **raw.get("storage", {})}["default"])
    unknown = set(raw.get("storage", {})) - {"default"}
    if default not in labels or unknown:
        raise ValueError(f"[storage] has the key default, one of {', '.join(labels)}")
    return StorageSettings(ceph, directories, default, drbd)


def _ceph(table: Mapping[str, Any]) -> CephSettings:
    ceph = CephSettings(**{key: str(value) for key, value in table.items()})
    if ceph.cache not in CACHES:
        raise ValueError(f"[ceph] cache is one of {', '.join(CACHES)}")
    return ceph


def _drbd(table: Mapping[str, Any]) -> DrbdSettings:
    """Read [drbd]: nodes is a list of names, or a text with spaces between them."""
    rest = {key: str(value) for key, value in table.items() if key not in ("nodes", "ports")}
    given = table.get("nodes", ())
    nodes = tuple(given.split()) if isinstance(given, str) else tuple(map(str, given))
    first, _, last = str(table.get("ports", "7800-7999")).partition("-")
    if not (first.isdigit() and last.isdigit() and 1024 <= int(first) <= int(last) <= 65535):
        raise ValueError("[drbd] ports is a range from 1024 to 65535, like 7800-7999")
    drbd = DrbdSettings(nodes, ports=(int(first), int(last)), **rest)
    if len(set(nodes)) < 2:
        raise ValueError("[drbd] nodes names the nodes with a thin pool, two at least")
    if not all(_is_lvm_name(name) for name in (drbd.group, drbd.pool)):
        raise ValueError("[drbd] group and pool are names of LVM")
    if drbd.cache not in CACHES or drbd.io not in IO:
        raise ValueError(f"[drbd] cache is one of {', '.join(CACHES)}, io one of {', '.join(IO)}")
    return drbd


def _is_lvm_name(name: str) -> bool:
    return name[:1].isalnum() and all(letter.isalnum() or letter in "+_.-" for letter in name)


def _directory(label: str, table: Mapping[str, Any]) -> DirectorySettings:
    directory = DirectorySettings(**{key: str(value) for key, value in table.items()})
    if not (label.isascii() and label.isalnum()) or label in (CEPH, DRBD):
        raise ValueError(f"[shared_dir.{label}]: a label has letters and digits, and is not ceph or drbd")
    if not directory.path.startswith("/"):
        raise ValueError(f"[shared_dir.{label}] path is absolute")
    if directory.cache not in CACHES or directory.io not in IO:
        raise ValueError(
            f"[shared_dir.{label}] cache is one of {', '.join(CACHES)}, io one of {', '.join(IO)}"
        )
    return directory
