"""The options that say how a VM is to be run: the same for all commands that make one."""

import re
from typing import Any

import click

from vm_mgr.model.on_move import OnMove, settings_for
from vm_mgr.model.settings import PLACES, SETTINGS
from vm_mgr.model.vm import VmSettings

__all__ = [
    "UNSETTABLE",
    "SettingsCommand",
    "progress_option",
    "settings_changes",
    "settings_from",
]

progress_option = click.option(
    "-p",
    "--progress",
    is_flag=True,
    expose_value=False,
    help="Accepted for older scripts; progress is always shown.",
)

_PAIRS = {one.field.word: one.name for one in SETTINGS if one.field.sort == "pairs" and one.field.options}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class SettingsCommand(click.Command):
    """A command whose options of pairs take several of them, as SEAPATH's do: `--metadata a=1 b=2`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option for each."""
        return super().parse_args(ctx, _one_by_one(args))


# How a setting is called to take it back to its default.
UNSETTABLE = {one.field.word: one.name for one in SETTINGS if one.unset}


def settings_from(options: dict[str, Any], base: VmSettings | None = None) -> VmSettings:
    """Take the settings out of a command's options, on top of a VM's own where there is a base."""
    pairs = {field: _pairs(word, options.pop(field)) for word, field in _PAIRS.items()}
    pairs["checks"] = {check: seconds_of(check, text) for check, text in pairs["checks"].items()}
    pairs["checks"] |= dict.fromkeys(options.pop("no_check", ()), "")
    moves = moves_from(options)
    found = {name: options.pop(name) for name in list(options) if name in VmSettings._fields}
    given: dict[str, Any] = {
        name: "\n".join(one) if isinstance(one, tuple) else one
        for name, one in found.items()
        if one is not None and one is not False and one != ()
    }
    base = VmSettings() if base is None else base
    if set(PLACES) & set(given):
        base = base._replace(pinned_host=None, preferred_host=None)
    if given.get("pinned_host"):
        base = base._replace(failback=None)  # it has nowhere to return to
    merged: dict[str, Any] = {field: {**getattr(base, field), **pairs[field]} for field in _PAIRS.values()}
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


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise click.UsageError(f"--{option} {pair}: write KEY=VALUE")
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
        elif option.lstrip("-").replace("_", "-") in _PAIRS and "=" in word:
            result += [option] if taken else []
            taken += 1
        else:
            option = ""
        result.append(word)
    return result
