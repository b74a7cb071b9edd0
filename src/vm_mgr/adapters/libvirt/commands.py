"""Build virsh's argv."""

from vm_mgr.ports.hypervisor import Migration

__all__ = ["domjobabort", "migrate", "virsh"]

URI = "qemu:///system"


def virsh(*arguments: str) -> tuple[str, ...]:
    """Call virsh on this node's system daemon."""
    return ("virsh", "--connect", URI, "--quiet", *arguments)


def domjobabort(name: str) -> tuple[str, ...]:
    """Cancel what the domain's job is doing."""
    return virsh("domjobabort", name)


def migrate(migration: Migration) -> tuple[str, ...]:
    """Move live; the domain is transient on both sides, so nothing has to be undefined here."""
    return virsh(
        "migrate",
        "--live",
        "--abort-on-error",
        *migration.extra_options,
        migration.name,
        migration.destination_uri,
        "--migrateuri",
        migration.migrate_uri,
    )
