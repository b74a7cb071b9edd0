"""The table of a VM's settings: options, storage keys, the agent's parameters and the reference come from it.

A new setting is a field of VmSettings, a row here, and the code that acts on it.
"""

from typing import Any, Literal, NamedTuple

from vm_mgr.model.failback import Failback
from vm_mgr.model.fields import Field, Sort
from vm_mgr.model.migration import OnTimeout, Strategy
from vm_mgr.model.node_requirements import Uplink
from vm_mgr.model.on_move import OnMove
from vm_mgr.model.vm import VmSettings

__all__ = ["PLACES", "PRIORITY", "SETTINGS", "Effect", "Setting", "default_of", "of_sort", "parameters"]

# When a change by `set` takes effect. enable: once the VM was disabled and enabled, since Pacemaker would
# restart it for another parameter of its agent. disks: for disks that are added later. kept: only kept.
Effect = Literal["now", "enable", "disks", "kept"]
# What a VM has unless told otherwise. With 0, which is Pacemaker's own, a VM would not count where two nodes
# without a third vote fence each other (priority-fencing-delay).
PRIORITY = 1
# Pages of the documents, and placeholders of numbers.
AGENT, CHECKS, DAILY = "reference/agent.md", "explanation/monitoring.md", "howto/everyday.md"
MOVES, RECOVERY, STORED = "explanation/migration.md", "explanation/recovery.md", "reference/storage-layout.md"
METAVARS = {"s": "S", "ms": "MS", "MiB/s": "MIB", "": "N"}
# A VM has one of them at most.
PLACES = ("pinned_host", "preferred_host")


class Setting(NamedTuple):
    """A setting: its field, which has the name of a field of VmSettings and of the key in metadata.json.

    key: of the system disk's image metadata, which SEAPATH's tools read too; none for the user's own notes.
    page: of the documents, where it is explained. parameter: of the resource agent, which gets the value as
    it is. unset: `set --unset` may clear it. signed: a number that may be below zero.
    """

    field: Field
    key: str
    page: str = MOVES
    parameter: str = ""
    effect: Effect = "now"
    unset: bool = False
    signed: bool = False

    @property
    def name(self) -> str:
        """Name the field of VmSettings."""
        return self.field.name


def of_sort(*sorts: Sort) -> tuple[Setting, ...]:
    """Give the settings of these sorts that have a key.

    >>> [setting.name for setting in of_sort("flag")]
    ['live_migration']
    """
    return tuple(setting for setting in SETTINGS if setting.field.sort in sorts and setting.key)


def default_of(name: str) -> Any:
    """Give what holds where a VM has no such setting.

    >>> default_of("stop_timeout_s")
    30
    """
    return next(setting.field.default for setting in SETTINGS if setting.name == name)


def parameters(settings: VmSettings) -> dict[str, str]:
    """Give the agent's parameters for what is set; zero is a default, too.

    >>> parameters(VmSettings(migration_bandwidth_mib=100, priority=3, migration_parallel=0))
    {'migration_speed': '100'}
    """
    values = {one.parameter: getattr(settings, one.name) for one in SETTINGS if one.parameter}
    return {parameter: str(value) for parameter, value in values.items() if value}


def _row(name: str, key: str, text: str, sort: Sort, **more: Any) -> Setting:
    """Make a row; its option is named as its key unless another one is given."""
    own = {
        word: more.pop(word) for word in ("page", "parameter", "effect", "unset", "signed") if word in more
    }
    if own.get("parameter"):
        own["effect"] = "enable"
    options = more.pop("options", (key.replace("_", "-").replace("-", "--", 1),))
    return Setting(Field(name, text, sort, options, **more), key, **own)


def _text(name: str, key: str, text: str, metavar: str = "", **more: Any) -> Setting:
    return _row(name, key, text, "text", metavar=metavar, **{"unset": True, **more})


def _number(name: str, key: str, text: str, unit: str = "", least: int | None = 1, **more: Any) -> Setting:
    metavar = METAVARS[unit]
    return _row(name, key, text, "number", metavar=metavar, unit=unit, least=least, unset=True, **more)


def _pairs(name: str, key: str, text: str, metavar: str = "KEY=VALUE", **more: Any) -> Setting:
    return _row(name, key, text, "pairs", metavar=metavar, many=True, **more)


# In the order in which the commands show them.
SETTINGS = (
    _row("live_migration", "_live_migration", "Keep the guest running when the VM is moved.", "flag",
         options=("--enable-live-migration",)),
    _text("on_move", "_on_move",
          "What a move does with the guest: keep it running (migrate, --enable-live-migration), resume it "
          "from its saved memory (hibernate), or boot it (restart, the default).",
          words=tuple(word.value for word in OnMove), default=OnMove.RESTART.value, unset=False),
    _text("migration_user", "_migration_user", "The user for ssh between nodes.", "USER",
          parameter="migration_user"),
    _number("migrate_to_timeout_s", "_migrate_to_timeout",
            "Longest duration of a live migration, in seconds.", "s", 10, default=120,
            options=("--migrate-to-timeout", "--migration-to-timeout")),
    _number("stop_timeout_s", "_stop_timeout",
            "Longest duration of a stop, in seconds. A slow guest is powered off shortly before that.",
            "s", 5, default=30, page=AGENT),
    _number("migration_downtime_ms", "_migration_downtime",
            "Longest pause of the guest at the end of a live migration, in milliseconds.", "ms",
            parameter="migration_downtime"),
    _text("migration_strategy", "_migration_strategy",
          "How to live-migrate a guest that keeps changing its memory; auto by default.",
          words=tuple(word.value for word in Strategy), default=Strategy.AUTO.value,
          parameter="migration_strategy"),
    _number("migration_bandwidth_mib", "_migration_bandwidth",
            "Limit of a live migration's network bandwidth, in MiB/s.", "MiB/s", parameter="migration_speed"),
    _number("migration_parallel", "_migration_parallel",
            "Number of parallel connections of a live migration.", most=255, parameter="migration_parallel"),
    _text("migration_timeout_action", "_migration_timeout_action",
          "When a migration is late: pause the guest to finish (the default), or cancel it (abort).",
          words=tuple(word.value for word in OnTimeout), default=OnTimeout.PAUSE.value,
          parameter="migration_timeout_action"),
    _number("migration_max_pause_s", "_migration_max_pause",
            "Longest pause of the guest to finish a live migration, in seconds; 10 by default.", "s",
            default=10, parameter="migration_max_pause"),
    _text("pinned_host", "_pinned_host", "Run on this node only.", "NODE", completes="node"),
    _text("preferred_host", "_preferred_host", "Run on this node when possible.", "NODE", completes="node"),
    _text("failback", "_failback",
          "When the preferred host is back after a recovery: stay (the default), or return to it.",
          words=tuple(word.value for word in Failback), default=Failback.STAY.value),
    _text("uplink", "_uplink",
          "Leave a node where a bridge has lost its uplink (follow, the default), or stay (ignore).",
          words=Uplink.WORDS, default=Uplink.FOLLOW, page=DAILY),
    _number("priority", "_priority", "Recover VMs of higher priority first.", least=None, default=PRIORITY,
            signed=True, page=RECOVERY),
    _text("disk_bus", "_disk_bus", "The bus of the VM's disks; by default the definition's, or virtio.",
          "BUS", effect="disks", page=STORED),
    _pairs("user_metadata", "", "A note of your own; can be repeated. KEY= means no note.",
           options=("--metadata",), effect="kept", page=STORED),
    _pairs("pacemaker_meta", "_pacemaker_meta", "A meta attribute of the resource.", page=STORED),
    _pairs("pacemaker_params", "_pacemaker_params", "A parameter of the resource agent.", effect="enable",
           page=AGENT),
    _pairs("pacemaker_utilization", "_pacemaker_utilization", "What the VM uses of a node's capacity.",
           page=STORED),
    _pairs("checks", "_checks",
           "Turn a deeper check on: qmp, counters or guest-agent, for example qmp=60s; can be repeated.",
           "NAME=INTERVAL", options=("--check",), page=CHECKS),
    _text("crm_config_cmd", "_crm_config_cmd", "A crm command, stored with the VM for older tools; not run.",
          "CMD", options=("--add-crm-config-cmd",), many=True, effect="kept", page=STORED),
    # Without an option: the commands add-colocation, separate and remove-colocation change it.
    _row("colocations", "_colocations", "Scores of other VMs or resources; below 0 they are kept apart.",
         "pairs", options=(), many=True, page=STORED),
)  # fmt: skip
