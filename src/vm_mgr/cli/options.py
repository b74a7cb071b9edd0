"""Make click's options from the fields of the registry."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from vm_mgr.operations.registry import fields_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from vm_mgr.cli.complete import Completer
    from vm_mgr.model.fields import Completes, Field

__all__ = [
    "bytes_of",
    "completer",
    "formats_of",
    "names_completer",
    "options_of",
    "with_options",
    "words_completer",
]

SIZES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def options_of(verb: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an operation's options to a command; the VM's name and plain words are the command's own."""
    return with_options([field for field in fields_of(verb) if field.name != "name"])


def with_options(fields: Sequence[Field]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of fields, in this order; the command gets their values by the fields' names."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for field in reversed([one for one in fields if one.options]):
            command = _option(field)(command)
        return command

    return decorate


def completer(kind: Completes) -> Completer | None:
    """Complete names of a kind in a shell; what looks for them is loaded only then."""
    if not kind:
        return None

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from vm_mgr.cli.complete import COMPLETERS  # noqa: PLC0415

        return COMPLETERS[kind](context, parameter, incomplete)

    return complete


def names_completer() -> Completer:
    """Complete the plain words of a command that takes several VMs, unless --name has named one."""
    one_more = completer("vm")

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return (
            one_more(context, parameter, incomplete) if one_more and not context.params.get("named") else []
        )

    return complete


def words_completer(kind: Completes) -> Completer:
    """Complete the plain words of a command: the VM, unless it is named, then names of a kind."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from vm_mgr.cli.complete import first_vm_then  # noqa: PLC0415

        return first_vm_then(completer(kind))(context, parameter, incomplete)

    return complete


def bytes_of(text: str) -> int:
    """Read a size as people write it.

    >>> bytes_of("20G")
    21474836480
    """
    found = re.fullmatch(r"([0-9]{1,18})([KMGT]?)(?:i?B)?", text)
    if found is None:
        raise click.UsageError(f"{text!r} is not a size; write for example 20G")
    return int(found[1]) << SIZES[found[2]]


def formats_of(images: Sequence[str], given: Sequence[str]) -> tuple[str | None, ...]:
    """Give the format that is said of each image: FILE:FORMAT is of that file, FORMAT of all others.

    >>> formats_of(["a.img", "/b/c.img"], ["c.img:raw"])
    (None, 'raw')
    >>> formats_of(["a.img", "b.img"], ["raw"])
    ('raw', 'raw')
    """
    found: dict[str, str] = {}
    for text in given:
        file, colon, word = text.rpartition(":")
        named = [image for image in images if file in (image, PurePath(image).name)] if colon else [""]
        if not named:
            raise click.UsageError(f"--image-format {text}: there is no image {file}")
        for image in named:
            if found.setdefault(image, word) != word:
                raise click.UsageError(f"--image-format says {found[image]} and {word} of the same image")
    return tuple(found.get(image, found.get("")) for image in images)


class Size(click.ParamType):
    """Bytes, or with K, M, G, T."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ARG002
        """Give bytes."""
        return value if isinstance(value, int) else bytes_of(value)


class Duration(click.ParamType):
    """Some seconds, minutes, hours or days: 90s, 10m, 2h, 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Give seconds."""
        found = re.fullmatch(r"([0-9]{1,6})([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is no duration; write for example 90s, 10m, 2h or 7d", param, ctx)
        return int(found[1]) * SECONDS[found[2]]


class LocalTime(click.ParamType):
    """A local time: 31/12/2026 23:59:59."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002
        """Give seconds since 1970."""
        try:
            return datetime.strptime(value, "%d/%m/%Y %H:%M:%S").astimezone().timestamp()
        except ValueError as error:
            named = param.opts[0] if param else self.name
            raise click.UsageError(f"{named} {value!r}: write it as '31/12/2026 23:59:59'") from error


def _option(field: Field) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    if field.sort == "flag":
        return click.option(
            *field.options,
            field.name,
            is_flag=True,
            callback=_invert if field.negates else None,
            help=field.help,
        )
    default: dict[str, Any] = {"default": field.default, "show_default": True} if field.shows_default else {}
    return click.option(
        *field.options,
        field.name,
        type=_type(field),
        metavar=field.metavar or None,
        multiple=field.many,
        required=field.required,
        shell_complete=completer(field.completes),
        help=field.help,
        **default,
    )


def _invert(context: click.Context, parameter: click.Parameter, value: bool) -> bool:  # noqa: ARG001, FBT001
    return not value


def _type(field: Field) -> click.ParamType | type:
    if field.words:
        return click.Choice(field.words)
    if field.sort == "number":
        return int if field.least is None else click.IntRange(field.least, field.most)
    kinds = {"size": Size(), "duration": Duration(), "time": LocalTime()}
    return kinds.get(field.sort, str)
