"""The option --dry-run, which every command that changes something has."""

from typing import NoReturn

import click

from vm_mgr.cli.answer import output_format
from vm_mgr.cli.render import print_data
from vm_mgr.operations.registry import OPERATIONS

__all__ = ["Steps", "confirm", "is_dry_run", "with_dry_run"]

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

    def end(self) -> NoReturn:
        """Say that this was all, and end the command: it has no result."""
        if output_format() == "table":
            click.echo(self.summary or "nothing would be changed")
        else:
            from vm_mgr.answers.data import dry_run  # noqa: PLC0415 - seldom needed

            print_data(dry_run(self.steps), output_format())
        click.get_current_context().exit()

    @property
    def summary(self) -> str:
        """Say that the steps were none, where there are any that people have read; also before an error."""
        return "nothing was changed" if self.steps and output_format() == "table" else ""


def is_dry_run() -> bool:
    """Tell whether the current command is to change nothing."""
    return bool(click.get_current_context().meta.get(KEY))


def confirm(question: str) -> None:
    """Ask on a terminal whether to go on; there is no need to where nothing will be changed."""
    if not is_dry_run() and click.get_text_stream("stdin").isatty():
        click.confirm(question, abort=True, err=True)


def _remember(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click passes it so
    context.meta[KEY] = value
