"""Build virsh's argv."""

import json
from collections.abc import Sequence

from vm_mgr.ports.live_migration import Migration

__all__ = [
    "ARRIVAL",
    "FREEZE_STATUS",
    "PING",
    "console",
    "domjobabort",
    "migrate",
    "remote_uri",
    "says_frozen",
    "virsh",
]

URI = "qemu:///system"
# Whose element in a domain's metadata says that the guest waits for the end of its source (arrival.py).
ARRIVAL = "urn:vm-mgr:arrival"


# To the guest's agent (qga/qapi-schema.json in QEMU's source).
PING = '{"execute": "guest-ping"}'
FREEZE_STATUS = '{"execute": "guest-fsfreeze-status"}'


def says_frozen(answer: str) -> bool:
    """Read the answer to FREEZE_STATUS; what can't be read is no proof.

    >>> says_frozen('{"return":"frozen"}'), says_frozen('{"return":"thawed"}'), says_frozen("")
    (True, False, False)
    """
    try:
        return bool(json.loads(answer)["return"] == "frozen")
    except (ValueError, KeyError, TypeError):
        return False


def virsh(*arguments: str, uri: str = URI) -> tuple[str, ...]:
    """Call virsh on this node's system daemon, or on another's."""
    return ("virsh", "--connect", uri, "--quiet", *arguments)


def remote_uri(host: str) -> str:
    """Reach another node's system daemon over ssh, as live migration does; ssh fails instead of asking."""
    return f"qemu+ssh://{host}/system?no_tty=1"


def console(name: str, uri: str, user: str = "") -> tuple[str, ...]:
    """Attach to a console; a user who is named can be asked for a password.

    >>> console("web1", remote_uri("n2-cluster"), "admin")[2]
    'qemu+ssh://admin@n2-cluster/system'
    """
    if user and uri.startswith("qemu+ssh://"):
        uri = uri.replace("://", f"://{user}@", 1).partition("?")[0]
    return virsh("console", name, uri=uri)


def domjobabort(name: str, uri: str = URI) -> tuple[str, ...]:
    """Cancel what the domain's job is doing."""
    return virsh("domjobabort", name, uri=uri)


def migrate(migration: Migration, arrival: Sequence[str] = ()) -> tuple[str, ...]:
    """Move live; the domain is transient on both sides, so nothing has to be undefined here.

    arrival: what the target is to do with it.
    """
    return virsh(
        "migrate",
        "--live",
        "--abort-on-error",
        *arrival,
        *migration.extra_options,
        migration.name,
        migration.destination_uri,
        "--migrateuri",
        migration.migrate_uri,
    )
