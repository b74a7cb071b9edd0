"""Write the reference of all commands: python3 -m vm_mgr.cli.reference >docs/reference/commands.md."""

import inspect
from textwrap import dedent

import click

from vm_mgr.cli.app import app

__all__ = ["commands", "reference"]

HEAD = """\
# Commands

Written by `python3 -m vm_mgr.cli.reference` from the commands themselves; an overview is in [cli.md](cli.md).
Underscores in commands and options are taken for dashes. Every command has `--help`; before the command,
`vm-mgr` takes `--debug` and `--version`.
"""
UNFILLED = "\b\n"  # what click is told not to fill
EXAMPLE = "Example:\n"


def commands() -> dict[str, click.Command]:
    """Load all commands, by name."""
    context = click.Context(app, info_name="vm-mgr")
    found = {name: app.get_command(context, name) for name in app.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def reference() -> str:
    """Give the page."""
    return HEAD + "".join(_command(name, command) for name, command in commands().items())


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    words = " ".join(command.collect_usage_pieces(context))
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    table = ["| option | meaning | default |", "|---|---|---|", *map(_row, options)] if options else []
    parts = [f"\n## `{name}`\n", f"`vm-mgr {name} {words}`\n", *_help(command), *table]
    return "\n".join(parts).rstrip() + "\n"


def _help(command: click.Command) -> list[str]:
    """Give the help's paragraphs."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return [f"{_verbatim(text[2:]) if text.startswith(UNFILLED) else text}\n" for text in paragraphs]


def _verbatim(text: str) -> str:
    return f"```\n{dedent(text.removeprefix(EXAMPLE))}\n```"


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag or option.count else f" {_value(option)}"
    required = "required" if option.required else _default(option)
    return f"| {names}{value} | {_cell(option.help or '')} | {required} |"


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return _cell("|".join(option.type.choices))
    return _cell(option.metavar or option.type.name.upper())


def _default(option: click.Option) -> str:
    return "" if option.is_flag or option.default is None or option.multiple else f"`{option.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
