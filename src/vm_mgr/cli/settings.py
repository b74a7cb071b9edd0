"""The options that say how a VM is to be run: the same for all commands that make one."""

import re
from collections.abc import Callable
from typing import Any

import click

from vm_mgr.cli.complete import node_names, storage_labels
from vm_mgr.model.failback import Failback
from vm_mgr.model.health_checks import LEVELS
from vm_mgr.model.migration import OnTimeout, Strategy
from vm_mgr.model.node_requirements import Uplink
from vm_mgr.model.on_move import OnMove, settings_for
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.support.capacity import OVERCOMMIT
from vm_mgr.operations.support.ties import ALLOWABLE

__all__ = [
    "STRATEGIES",
    "TIMEOUT_ACTIONS",
    "UNSETTABLE",
    "SettingsCommand",
    "allow_any_option",
    "allow_option",
    "no_check_option",
    "settings_changes",
    "settings_from",
    "settings_options",
    "storage_option",
]

STRATEGIES = [strategy.value for strategy in Strategy]
TIMEOUT_ACTIONS = [action.value for action in OnTimeout]
FAILBACKS = [word.value for word in Failback]

storage_option = click.option(
    "--storage",
    metavar="LABEL",
    shell_complete=storage_labels,
    help="The storage for the new VM, if the configuration has several.",
)

allow_option = click.option(
    "--allow",
    multiple=True,
    type=click.Choice(ALLOWABLE),
    help="Accept what is otherwise refused: a TPM, or firmware variables, that stay on a node.",
)

allow_any_option = click.option(
    "--allow",
    multiple=True,
    type=click.Choice([*ALLOWABLE, OVERCOMMIT]),
    help="Accept what is otherwise refused: a TPM, or firmware variables, that stay on a node; a guest that "
    "is too large for every node. Of a pinned VM only its own node is compared.",
)

no_check_option = click.option(
    "--no-check",
    multiple=True,
    type=click.Choice(list(LEVELS)),
    help="Turn this check off; can be repeated.",
)

_OPTIONS = (
    click.option(
        "--enable-live-migration",
        "live_migration",
        is_flag=True,
        help="Keep the guest running when the VM is moved.",
    ),
    click.option(
        "--on-move",
        type=click.Choice([word.value for word in OnMove]),
        help="What a move does with the guest: keep it running (migrate, --enable-live-migration), resume it "
        "from its saved memory (hibernate), or boot it (restart, the default).",
    ),
    click.option("--migration-user", metavar="USER", help="The user for ssh between nodes."),
    click.option(
        "--migrate-to-timeout",
        "--migration-to-timeout",
        "migrate_to_timeout_s",
        type=click.IntRange(min=10),
        metavar="S",
        help="Longest duration of a live migration, in seconds.",
    ),
    click.option(
        "--stop-timeout",
        "stop_timeout_s",
        type=click.IntRange(min=5),
        metavar="S",
        help="Longest duration of a stop, in seconds. A slow guest is powered off shortly before that.",
    ),
    click.option(
        "--migration-downtime",
        "migration_downtime_ms",
        type=click.IntRange(min=1),
        metavar="MS",
        help="Longest pause of the guest at the end of a live migration, in milliseconds.",
    ),
    click.option(
        "--migration-strategy",
        type=click.Choice(STRATEGIES),
        help="How to live-migrate a guest that keeps changing its memory; auto by default.",
    ),
    click.option(
        "--migration-bandwidth",
        "migration_bandwidth_mib",
        type=click.IntRange(min=1),
        metavar="MIB",
        help="Limit of a live migration's network bandwidth, in MiB/s.",
    ),
    click.option(
        "--migration-parallel",
        type=click.IntRange(1, 255),
        metavar="N",
        help="Number of parallel connections of a live migration.",
    ),
    click.option(
        "--migration-timeout-action",
        type=click.Choice(TIMEOUT_ACTIONS),
        help="When a migration is late: pause the guest to finish (the default), or cancel it (abort).",
    ),
    click.option(
        "--migration-max-pause",
        "migration_max_pause_s",
        type=click.IntRange(min=1),
        metavar="S",
        help="Longest pause of the guest to finish a live migration, in seconds; 10 by default.",
    ),
    click.option("--pinned-host", metavar="NODE", shell_complete=node_names, help="Run on this node only."),
    click.option(
        "--preferred-host", metavar="NODE", shell_complete=node_names, help="Run on this node when possible."
    ),
    click.option(
        "--failback",
        type=click.Choice(FAILBACKS),
        help="When the preferred host is back after a recovery: stay (the default), or return to it.",
    ),
    click.option(
        "--uplink",
        type=click.Choice(Uplink.WORDS),
        help="Leave a node where a bridge has lost its uplink (follow, the default), or stay (ignore).",
    ),
    click.option("--priority", type=int, metavar="N", help="Recover VMs of higher priority first."),
    click.option("--disk-bus", metavar="BUS", help="The bus of the VM's disks; virtio by default."),
    click.option(
        "--metadata",
        multiple=True,
        metavar="KEY=VALUE",
        help="A note of your own; can be repeated. KEY= means no note.",
    ),
    click.option(
        "--pacemaker-meta", multiple=True, metavar="KEY=VALUE", help="A meta attribute of the resource."
    ),
    click.option(
        "--pacemaker-params", multiple=True, metavar="KEY=VALUE", help="A parameter of the resource agent."
    ),
    click.option(
        "--pacemaker-utilization",
        multiple=True,
        metavar="KEY=VALUE",
        help="What the VM uses of a node's capacity.",
    ),
    click.option(
        "--check",
        multiple=True,
        metavar="NAME=INTERVAL",
        help="Turn a deeper check on: qmp, counters or guest-agent, for example qmp=60s; can be repeated.",
    ),
    click.option("--add-crm-config-cmd", "crm_config_cmd", multiple=True, metavar="CMD",
                 help="A crm command, stored with the VM for older tools; not run."),
)  # fmt: skip
_PAIRS = {
    "metadata": "user_metadata",
    "pacemaker_meta": "pacemaker_meta",
    "pacemaker_params": "pacemaker_params",
    "pacemaker_utilization": "pacemaker_utilization",
    "check": "checks",
}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class SettingsCommand(click.Command):
    """A command whose options of pairs take several of them, as SEAPATH's do: `--metadata a=1 b=2`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option for each."""
        return super().parse_args(ctx, _one_by_one(args))


# How a setting is called to take it back to its default.
UNSETTABLE = {
    "migration-user": "migration_user",
    "migrate-to-timeout": "migrate_to_timeout_s",
    "stop-timeout": "stop_timeout_s",
    "migration-downtime": "migration_downtime_ms",
    "migration-strategy": "migration_strategy",
    "migration-bandwidth": "migration_bandwidth_mib",
    "migration-parallel": "migration_parallel",
    "migration-timeout-action": "migration_timeout_action",
    "migration-max-pause": "migration_max_pause_s",
    "pinned-host": "pinned_host",
    "preferred-host": "preferred_host",
    "failback": "failback",
    "uplink": "uplink",
    "priority": "priority",
    "disk-bus": "disk_bus",
    "add-crm-config-cmd": "crm_config_cmd",
}


def settings_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_from(options: dict[str, Any], base: VmSettings | None = None) -> VmSettings:
    """Take the settings out of a command's options, on top of a VM's own where there is a base."""
    pairs = {field: _pairs(name, options.pop(name)) for name, field in _PAIRS.items()}
    pairs["checks"] = {check: seconds_of(check, text) for check, text in pairs["checks"].items()}
    pairs["checks"] |= dict.fromkeys(options.pop("no_check", ()), "")
    commands = options.pop("crm_config_cmd")
    moves = moves_from(options)
    given = {name: options.pop(name) for name in list(options) if name in VmSettings._fields}
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    base = VmSettings() if base is None else base
    if {"pinned_host", "preferred_host"} & set(given):
        base = base._replace(pinned_host=None, preferred_host=None)
    if given.get("pinned_host"):
        base = base._replace(failback=None)  # it has nowhere to return to
    merged: dict[str, Any] = {field: {**getattr(base, field), **pairs[field]} for field in _PAIRS.values()}
    if commands:
        given["crm_config_cmd"] = "\n".join(commands)
    return base._replace(**given, **merged, **moves)


def moves_from(options: dict[str, Any]) -> dict[str, Any]:
    """Take what is said about moves out of a command's options, by the new name or by the older one."""
    live, on_move = options.pop("live_migration"), options.pop("on_move")
    if live and on_move not in (None, OnMove.MIGRATE.value):
        raise click.UsageError(f"--enable-live-migration means --on-move migrate, not {on_move}")
    if on_move is not None:
        return settings_for(OnMove(on_move))
    return settings_for(OnMove.MIGRATE) if live else {}


def settings_changes(options: dict[str, Any]) -> dict[str, Any]:
    """Take what is to be changed out of a command's options; an empty text is the default again."""
    moves = moves_from(options)
    options |= {"live_migration": False, "on_move": None}
    given, defaults = settings_from(options)._asdict(), VmSettings()._asdict()
    changed = {key: value for key, value in given.items() if value != defaults[key]}
    return {key: None if value == "" else value for key, value in changed.items()} | moves


def seconds_of(check: str, text: str) -> str:
    """Read an interval: whole seconds, or with s, m, h.

    >>> seconds_of("qmp", "90"), seconds_of("qmp", "2m")
    ('90', '120')
    """
    found = re.fullmatch(r"([0-9]{1,6})([smh]?)", text)
    if found is None:
        raise click.UsageError(
            f"--check {check}={text}: write seconds, or a number with s, m or h: {check}=60s"
        )
    return str(int(found[1]) * _UNITS[found[2]])


def _pairs(name: str, given: tuple[str, ...]) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise click.UsageError(f"--{name.replace('_', '-')} {pair}: write KEY=VALUE")
    return {key: value for key, _, value in (pair.partition("=") for pair in given)}


def _one_by_one(words: list[str]) -> list[str]:
    """Write an option of pairs before each of its pairs.

    >>> _one_by_one(["web1", "--metadata", "a=1", "b=2", "--force"])
    ['web1', '--metadata', 'a=1', '--metadata', 'b=2', '--force']
    """
    result: list[str] = []
    option, taken = "", 0
    for word in words:
        if word.startswith("-"):
            option, taken = word, 0
        elif option.lstrip("-").replace("-", "_") in _PAIRS and "=" in word:
            result += [option] if taken else []
            taken += 1
        else:
            option = ""
        result.append(word)
    return result
