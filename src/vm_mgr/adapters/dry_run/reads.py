"""Know which verbs of the ports only look, and which only keep the books.

Every verb is in exactly one table, here or in wording.py: what is in none of them can't be called in a dry
run, and a test fails. The parts of a storage have tables of their own.
"""

from collections.abc import Mapping

__all__ = ["BOOKS", "READS"]

READS: Mapping[str, frozenset[str]] = {
    "event_log": frozenset({"read"}),
    "cluster": frozenset(
        {"bars", "configured", "simulate_change", "simulate_move", "local_node", "remembers", "state"}
    ),
    "definitions": frozenset(
        {
            *("appliance", "of_appliance"),
            *(
                "changed",
                "completed",
                "device",
                "edited",
                "exclusive",
                "hard_disks",
                "has_agent",
                "machine",
                "made",
                "name",
                "immovable",
                "nvram",
                "opened",
                "prepare",
                "problems",
            ),
            *(
                "renamed",
                "requirements",
                "sources",
                "ties",
                "uuid",
                "with_disk",
                "with_optional_media",
                "without_disk",
                "written",
            ),
        }
    ),
    "hypervisor": frozenset(
        {
            *(
                "acts_alone",
                "agent_answers",
                "begin_dirty_rate",
                "migration_problems",
                "capacity",
                "definition",
            ),
            *(
                "dirty_rate",
                "disk_sources",
                "domain_state",
                "has_kvm",
                "is_frozen",
                "migration_progress",
                "paused",
            ),
            *("receives", "running_definition"),
        }
    ),
    "images": frozenset({"check_package", "inspect", "package"}),
    "intent_log": frozenset({"intents"}),
    "storage_fencing": frozenset({"came_up", "clients", "connect", "daemons"}),
    "nodes": frozenset({"why"}),
    "nvram_files": frozenset({"kept", "read"}),
    "own_clients": frozenset({"kept"}),
    "processes": frozenset(
        {"birth", "find_vm", "has_ended", "has_memory", "is_halted", "mentions", "uuid", "vcpu_time_ns"}
    ),
    "staged": frozenset(),
    "storage": frozenset(),
    "storage.clients": frozenset({"image_of", "images", "of", "opened"}),
    "storage.clones": frozenset({"of"}),
    "storage.definitions": frozenset(
        {"exists", "metadata", "names", "nvram", "read", "settings", "exclusive"}
    ),
    "storage.disks": frozenset({"full", "locate", "next_number", "of", "room", "ties"}),
    "storage.saved_memory": frozenset({"disk_fingerprint", "of"}),
    "storage.snapshots": frozenset({"of"}),
    "storages": frozenset({"cluster_parts", "get", "identified", "labels", "label_of", "names"}),
    "timings": frozenset({"ceph", "cluster"}),
}

# What only keeps the books, tells by further calls what it changes, or leaves this process.
BOOKS: Mapping[str, frozenset[str]] = {
    "event_log": frozenset({"append"}),
    "journal": frozenset({"record", "say", "write"}),
    "hypervisor": frozenset({"console"}),
    "intent_log": frozenset({"lock", "erase", "write"}),
    "node_runner": frozenset({"run"}),
    "nvram_files": frozenset({"forget", "note", "place"}),
    "own_clients": frozenset({"forget", "keep"}),
    "storage": frozenset({"stage"}),
    "storages": frozenset({"handover"}),
}
