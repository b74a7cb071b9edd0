"""Make click's options from the fields that the registry and the settings describe."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from vm_mgr.cli.complete import Completer, files, node_names, snapshot_names, storage_labels, vm_names
from vm_mgr.model.fields import Completes, Field

__all__ = ["COMPLETERS", "option_of", "with_options"]

COMPLETERS: dict[Completes, Completer | None] = {
    "": None,
    "vm": vm_names,
    "node": node_names,
    "snapshot": snapshot_names,
    "storage": storage_labels,
    "file": files,
}


def with_options(fields: Sequence[Field]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the fields' options to a command, in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for field in reversed([one for one in fields if one.options]):
            command = option_of(field)(command)
        return command

    return decorate


def option_of(field: Field) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the option of a field; the command gets its value by the field's name."""
    if field.sort == "flag":
        return click.option(*field.options, field.name, is_flag=True, help=field.help)
    return click.option(
        *field.options,
        field.name,
        type=_type(field),
        metavar=field.metavar or None,
        multiple=field.many,
        required=field.required,
        shell_complete=COMPLETERS[field.completes],
        help=field.help,
    )


def _type(field: Field) -> click.ParamType | type:
    if field.words:
        return click.Choice(field.words)
    if field.sort != "number":
        return str
    return int if field.least is None else click.IntRange(field.least, field.most)
