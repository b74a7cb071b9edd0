"""Read Ceph's timeouts with the capabilities of a plain client.

A daemon's value is that of its ceph.conf, then that of the monitors' configuration, then Ceph's default
("Configuring Ceph" in Ceph's documentation). The file that is read is this node's, which all nodes of our
deployment have; the monitors are asked with `config dump`, which takes the capability `mon r` only. What a
daemon was told at run time (`ceph tell`) takes more rights to see, and is not seen here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vm_mgr.adapters.ceph.connection import Connection, failed, load_rados, translated
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.timings import CephTimes

__all__ = ["combine", "parse_conf", "read_ceph"]

Sections = Mapping[str, Mapping[str, str]]

# Our name → Ceph's name, and the sections that hold for who goes by it, the strongest first.
OSD, MON, CLIENT = (("osd", "global"), ("mon", "global"), ("client", "global"))
OPTIONS = {
    "osd_heartbeat_interval": ("osd_heartbeat_interval", OSD),
    "osd_heartbeat_grace": ("osd_heartbeat_grace", OSD),
    "mon_osd_heartbeat_grace": ("osd_heartbeat_grace", MON),
    "mon_osd_min_down_reporters": ("mon_osd_min_down_reporters", MON),
    "mon_osd_adjust_heartbeat_grace": ("mon_osd_adjust_heartbeat_grace", MON),
    "mon_osd_laggy_max_interval": ("mon_osd_laggy_max_interval", MON),
    "mon_lease": ("mon_lease", MON),
    "mon_lease_ack_timeout_factor": ("mon_lease_ack_timeout_factor", MON),
    "mon_election_timeout": ("mon_election_timeout", MON),
    "mon_client_ping_interval": ("mon_client_ping_interval", OSD),
    "mon_client_ping_timeout": ("mon_client_ping_timeout", OSD),
    "mon_osd_blocklist_default_expire": ("mon_osd_blocklist_default_expire", MON),
    "rbd_blocklist_expire_seconds": ("rbd_blocklist_expire_seconds", CLIENT),
    "osd_client_watch_timeout": ("osd_client_watch_timeout", OSD),
    "objecter_timeout": ("objecter_timeout", CLIENT),
    "objecter_tick_interval": ("objecter_tick_interval", CLIENT),
    "rados_osd_op_timeout": ("rados_osd_op_timeout", CLIENT),
}
NAMES = frozenset(name for name, _ in OPTIONS.values())


class Entry(NamedTuple):
    """A line of the monitors' configuration; mask limits it to some machines or kinds of disk."""

    section: str
    name: str
    value: str
    mask: str


def read_ceph(connection: Connection) -> CephTimes:
    """Read the file and ask the monitors; raises EXTERNAL_FAILURE where they don't answer."""
    try:
        conf = parse_conf(Path(connection.conf).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "set [ceph] conf in /etc/vm-mgr/vm-mgr.toml"
        raise VmMgrError(Kind.ENVIRONMENT, f"can't read {connection.conf}: {error}", hint=hint) from error
    entries = [
        Entry(*(str(one.get(key) or "") for key in Entry._fields)) for one in _ask(connection, "config dump")
    ]
    tree = _ask(connection, "osd tree").get("nodes", [])
    hosts = sum(1 for one in tree if one.get("type") == "host" and one.get("children"))
    return combine(conf, entries, osd_hosts=hosts)


def parse_conf(text: str) -> dict[str, dict[str, str]]:
    """Read a ceph.conf; words of an option's name may be joined by spaces or dashes (ceph.conf format).

    >>> parse_conf("[global]\\n\\tosd heartbeat-grace = 6 ; soon\\n[mon.a]\\n# no\\nmon_lease = '2'")
    {'global': {'osd_heartbeat_grace': '6'}, 'mon.a': {'mon_lease': '2'}}
    """
    sections: dict[str, dict[str, str]] = {}
    section = sections.setdefault("global", {})
    for raw in text.replace("\\\n", " ").splitlines():
        line = raw.partition("#")[0].partition(";")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            section = sections.setdefault(line[1:-1].strip(), {})
        elif "=" in line:
            name, _, value = line.partition("=")
            section["_".join(name.replace("-", " ").split())] = value.strip().strip("\"'")
    return sections


def combine(conf: Sections, entries: Sequence[Entry], *, osd_hosts: int | None = None) -> CephTimes:
    """Decide which value holds, and name what has its own."""
    monitors: dict[str, dict[str, str]] = {}
    for one in entries:
        if not one.mask:
            monitors.setdefault(one.section, {})[one.name] = one.value
    values: dict[str, Any] = {}
    sources = {}
    for ours, (name, sections) in OPTIONS.items():
        for source, given in (("ceph.conf", conf), ("monitors", monitors)):
            found = next((given[one][name] for one in sections if name in given.get(one, {})), None)
            if found is not None:
                values[ours], sources[ours] = _value(ours, found), source
                break
    exceptions = tuple(dict.fromkeys((*_own(conf), *_entries_apart(entries))))
    return CephTimes(**values, osd_hosts=osd_hosts, sources=sources, exceptions=exceptions)


def _own(conf: Sections) -> Iterator[str]:
    for section, options in conf.items():
        for name in options:
            if "." in section and name in NAMES:
                yield f"{name} of {section} in ceph.conf"


def _entries_apart(entries: Sequence[Entry]) -> Iterator[str]:
    for one in entries:
        if one.name in NAMES and ("." in one.section or one.mask):
            limits = f" ({one.mask})" if one.mask else ""
            yield f"{one.name} of {one.section}{limits} in the monitors' configuration"


def _value(name: str, text: str) -> bool | int | float | None:
    """Read a value; None where it is no plain number or truth, like `1_hr`."""
    if name == "mon_osd_adjust_heartbeat_grace":
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            text.lower()
        )
    try:
        return int(text) if name == "mon_osd_min_down_reporters" else float(text)
    except ValueError:
        return None


def _ask(connection: Connection, prefix: str) -> Any:
    """Send one command that only reads."""
    rados = load_rados()

    doing = f"can't read Ceph's timeouts ({prefix})"
    command = json.dumps({"prefix": prefix, "format": "json"})
    with translated(doing):
        status, answer, words = connection.cluster.mon_command(command, b"")
        if status != 0:
            raise failed(
                doing, rados.Error(f"{words or status}; the client needs the capability mon 'allow r'")
            )
    return json.loads(answer)
