"""Say what a command has done: a line for people, or data. Every command has the option --output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vm_mgr.cli.render import FORMATS, print_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["answer", "answer_all", "output_format", "remember_output", "with_output"]

KEY = "vm_mgr.output"
# One becomes another program, the others print a script, or a schema.
NO_ANSWER = {"console", "completion", "schema"}


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


def answer(verb: str, given: Mapping[str, Any], result: Any, text: str = "") -> None:
    """Print what an operation answers: its data (docs/reference/output.md), or the text, if there is any."""
    if output_format() != "table":
        answer_all(verb, [(given, result)], many=False)
    elif text:
        print(text)


def answer_all(verb: str, done: Sequence[tuple[Mapping[str, Any], Any]], *, many: bool) -> None:
    """Print what an operation answers for each of several VMs as one list of data; for one, its data."""
    if output_format() == "table" or not (done or many):
        return
    from vm_mgr.answers.data import to_data  # noqa: PLC0415 - seldom needed

    data = [to_data(verb, given, result) for given, result in done]
    print_data(data if many else data[0], output_format())


def remember_output(context: click.Context, _: click.Parameter, value: str) -> str:
    """Note the word for what is printed later."""
    context.meta[KEY] = value
    return value
