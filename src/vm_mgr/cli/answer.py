"""Say what a command has done: a line for people, or data. Every command has the option --output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vm_mgr.cli.render import FORMATS, print_data, print_done

if TYPE_CHECKING:
    from vm_mgr.model.vm import VmStatus

__all__ = ["answer", "output_format", "remember_output", "show_done", "with_output"]

KEY = "vm_mgr.output"
# One becomes another program, the other prints a script.
NO_ANSWER = {"console", "completion"}


def with_output(command: click.Command) -> click.Command:
    """Add the option, unless the command has it already."""
    if command.name in NO_ANSWER or any(option.name == "output" for option in command.params):
        return command
    command.params.append(
        click.Option(
            ["-o", "--output"],
            type=click.Choice(FORMATS),
            default="table",
            show_default=True,
            expose_value=False,
            callback=remember_output,
            help="A line for people, or data with stable fields.",
        )
    )
    return command


def output_format() -> str:
    """Give the word after --output of the current command."""
    return str(click.get_current_context().meta.get(KEY, "table"))


def answer(text: str, **data: Any) -> None:
    """Print the text, if there is any, or the data (docs/reference/output.md)."""
    if output_format() != "table":
        print_data(data, output_format())
    elif text:
        print(text)


def show_done(vm: VmStatus) -> None:
    """Say where a VM has been brought."""
    print_done(vm, output_format())


def remember_output(context: click.Context, _: click.Parameter, value: str) -> str:
    """Note the word for what is printed later."""
    context.meta[KEY] = value
    return value
