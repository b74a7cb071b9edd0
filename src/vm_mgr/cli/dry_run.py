"""The option --dry-run, which every command that changes something has; and --yes of those that ask."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from vm_mgr.cli.answer import output_format
from vm_mgr.cli.render import print_data
from vm_mgr.operations.registry import OPERATIONS

__all__ = [
    "Steps",
    "agrees",
    "can_ask",
    "confirm",
    "confirm_replacement",
    "is_dry_run",
    "with_dry_run",
    "yes_option",
]

KEY = "vm_mgr.dry_run"


def with_dry_run(command: click.Command) -> click.Command:
    """Add the option, unless the command changes nothing or has it already."""
    operation = OPERATIONS.get(str(command.name))
    if operation is None or not operation.changes:
        return command
    if not any(option.name == "dry_run" for option in command.params):
        command.params.append(
            click.Option(
                ["--dry-run"],
                is_flag=True,
                expose_value=False,
                callback=_remember,
                help="Check everything and show what would be done, but change nothing.",
            )
        )
    return command


class Steps:
    """Print the steps of a dry run, numbered; as data, all of them at the end."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def show(self, text: str) -> None:
        """Print the next one."""
        self.steps.append(text)
        if output_format() == "table":
            click.echo(f"{len(self.steps)}. {text}")

    def end(self, status: int = 0) -> NoReturn:
        """Say that this was all, and end the command: it has no result."""
        if output_format() == "table":
            if not status or self.summary:
                click.echo(self.summary or "nothing would be changed")
        else:
            from vm_mgr.answers.data import dry_run  # noqa: PLC0415 - seldom needed

            print_data(dry_run(self.steps), output_format())
        click.get_current_context().exit(status)

    def sum_up(self) -> None:
        """Say that nothing was changed where steps have been shown, before an error."""
        if self.summary:
            click.echo(self.summary)
            sys.stdout.flush()

    @property
    def summary(self) -> str:
        """Say that the steps were none, where there are any that people have read; also before an error."""
        return "nothing was changed" if self.steps and output_format() == "table" else ""


def is_dry_run() -> bool:
    """Tell whether the current command is to change nothing."""
    return bool(click.get_current_context().meta.get(KEY))


def yes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Hand a command `yes`: whether it goes on without a question."""
    return click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")(command)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal before anything is deleted; no, Ctrl-D or Ctrl-C end the command with status 1.

    Without a terminal it goes on: scripts of SEAPATH know no questions. A dry run needs none.
    """
    if yes or not can_ask() or agrees(question):
        return
    click.echo("vm-mgr: error: you did not agree: nothing is changed", err=True)
    sys.exit(1)


def can_ask() -> bool:
    """Tell whether there is a question to ask, and somebody who can answer."""
    return not is_dry_run() and click.get_text_stream("stdin").isatty()


def agrees(question: str) -> bool:
    """Ask; Ctrl-D, and Ctrl-C where nothing is under way, are a no."""
    try:
        return click.confirm(f"{question} Go on?", err=True)
    except click.Abort:
        click.echo(err=True)
        return False


def confirm_replacement(name: str, *, force: bool, yes: bool) -> None:
    """Ask before a new VM takes the place of one that may exist."""
    if force:
        confirm(f"If there is a VM {name}, it will be deleted with its disks and snapshots.", yes=yes)


def _remember(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click passes it so
    context.meta[KEY] = value
