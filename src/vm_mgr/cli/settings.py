"""The options that say how a VM is to be run: the same for all commands that make one."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from vm_mgr.model.vm import VmSettings

__all__ = ["settings_from", "settings_options"]

_OPTIONS = (
    click.option(
        "--enable-live-migration", "live_migration", is_flag=True, help="Move without stopping the guest."
    ),
    click.option("--migration-user", metavar="USER", help="The user of ssh between nodes."),
    click.option(
        "--migrate-to-timeout",
        "--migration-to-timeout",
        "migrate_to_timeout_s",
        type=click.IntRange(min=10),
        metavar="S",
        help="Seconds that a live migration may take.",
    ),
    click.option(
        "--stop-timeout",
        "stop_timeout_s",
        type=click.IntRange(min=5),
        metavar="S",
        help="Seconds that a stop may take before the VM is unplugged.",
    ),
    click.option(
        "--migration-downtime",
        "migration_downtime_ms",
        type=click.IntRange(min=1),
        metavar="MS",
        help="Milliseconds that the guest may pause at the end of a live migration.",
    ),
    click.option("--pinned-host", metavar="NODE", help="Run on this node only."),
    click.option("--preferred-host", metavar="NODE", help="Run on this node when possible."),
    click.option("--priority", type=int, metavar="N", help="Recover VMs of higher priority first."),
    click.option("--disk-bus", metavar="BUS", help="How the guest sees the disk; virtio by default."),
    click.option(
        "--metadata", multiple=True, metavar="KEY=VALUE", help="Your own notes; can be repeated."
    ),
    click.option(
        "--pacemaker-meta", multiple=True, metavar="KEY=VALUE", help="A meta attribute of the resource."
    ),
    click.option(
        "--pacemaker-params", multiple=True, metavar="KEY=VALUE", help="A parameter of the resource agent."
    ),
    click.option(
        "--pacemaker-utilization", multiple=True, metavar="KEY=VALUE", help="What the VM takes of a node."
    ),
    click.option("--add-crm-config-cmd", "crm_config_cmd", multiple=True, metavar="CMD",
                 help="Stored with the VM for older tools; not run."),
)  # fmt: skip
_PAIRS = {
    "metadata": "user_metadata",
    "pacemaker_meta": "pacemaker_meta",
    "pacemaker_params": "pacemaker_params",
    "pacemaker_utilization": "pacemaker_utilization",
}


def settings_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_from(options: dict[str, Any], base: VmSettings | None = None) -> VmSettings:
    """Take the settings out of a command's options, on top of a VM's own where there is a base."""
    pairs = {field: _pairs(name, options.pop(name)) for name, field in _PAIRS.items()}
    commands = options.pop("crm_config_cmd")
    given = {name: options.pop(name) for name in list(options) if name in VmSettings._fields}
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    base = VmSettings() if base is None else base
    merged: Mapping[str, Any] = {field: {**getattr(base, field), **pairs[field]} for field in _PAIRS.values()}
    if commands:
        given["crm_config_cmd"] = "\n".join(commands)
    return base._replace(**given, **merged)


def _pairs(name: str, given: tuple[str, ...]) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise click.UsageError(f"--{name.replace('_', '-')} {pair}: write KEY=VALUE")
    return {key: value for key, _, value in (pair.partition("=") for pair in given)}
