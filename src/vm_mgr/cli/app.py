"""Collect the sub-commands; each one's module is imported only when it is used."""

from __future__ import annotations

import io
import sys
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from vm_mgr import __version__
from vm_mgr.cli.help import COMMANDS, EFFECTS, OTHER_WORDS, QUESTIONS, overview
from vm_mgr.cli.render import SCHEMA
from vm_mgr.cli.run import fail
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.shell_completion import CompletionItem

__all__ = ["app"]


def _dashed(word: str) -> str:
    return word.replace("_", "-")


SHORT = 3
SURE = 0.8


def _underscored(word: str) -> str:
    return word.replace("-", "_")


def _is_text(word: str) -> bool:
    try:
        return b"\0" not in word.encode()
    except UnicodeEncodeError:  # the bytes that Python could not decode
        return False


class UnknownCommandError(click.UsageError):
    """There is no command of this name."""

    def __init__(self, word: str, ctx: click.Context | None) -> None:
        super().__init__(f"there is no command {word!r}", ctx)
        self.hint = _answer(_dashed(word.lower()))


def _answer(name: str) -> str:
    """Offer the command that was meant; one that stops or deletes only for what is surely a misspelling."""
    words = {**{one: one for one in COMMANDS}, **OTHER_WORDS, **dict.fromkeys(QUESTIONS, "")}
    # A short word is near to many: "crm" is none for "rm".
    long = [one for one in words if len(one) > SHORT]
    safe = [one for one in long if words[one] not in EFFECTS]
    near = [name] if name in words else get_close_matches(name, long, n=1, cutoff=SURE)
    near = near or get_close_matches(name, safe, n=1)
    found = near[0] if near else ""
    if found in QUESTIONS:
        return QUESTIONS[found]
    meant = words.get(found, "")
    effect = f", which {EFFECTS[meant]}" if meant in EFFECTS else ""
    return f"did you mean: vm-mgr {meant}{effect}" if meant else "see the commands: vm-mgr --help"


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Tell wrong usage as any other error: click would print the usage before it."""
    try:
        yield
    except (click.ClickException, VmMgrError) as error:
        if isinstance(error, VmMgrError):
            fail(error)
        fail(VmMgrError(Kind.INVALID, _sentence(error), hint=_hint(error)))


def _sentence(error: click.ClickException) -> str:
    """Give click's words as ours are: no capital, no stop; what was meant is the hint's."""
    words = f"no such option: {error.option_name}" if isinstance(error, click.NoSuchOption) else ""
    words = words or error.format_message()
    return words[:1].lower() + words[1:].removesuffix(".")


def _hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "vm-mgr"
    if isinstance(error, UnknownCommandError):
        return error.hint
    if isinstance(error, click.NoSuchOption) and context:
        options = [
            word for one in context.command.params if isinstance(one, click.Option) for word in one.opts
        ]
        near = get_close_matches(error.option_name, options, n=1, cutoff=0.7)
        if near:
            return f"did you mean {near[0]}? see: {path} --help"
    return f"see: {path} --help"


_SETTINGS = {"help_option_names": ["-h", "--help"], "token_normalize_func": _dashed}


class LazyGroup(click.Group):
    """A group that knows its commands' names and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command."""
        name = _dashed(cmd_name)
        if name not in COMMANDS:
            return None
        module = import_module(f"vm_mgr.cli.{COMMANDS[name][0]}")
        found: click.Command = getattr(module, f"{_underscored(name)}_command")
        from vm_mgr.cli.answer import with_output  # noqa: PLC0415
        from vm_mgr.cli.dry_run import with_dry_run  # noqa: PLC0415

        return with_dry_run(with_output(found))

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the words before the command."""
        with _in_one_line():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _in_one_line():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of a word that is none, say which one was meant."""
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise UnknownCommandError(args[0][:80], ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse words that nothing could be named or could store."""
        if not args and not ctx.resilient_parsing:
            click.echo(overview())
            ctx.exit()
        for word in args:
            if not _is_text(word):
                raise click.UsageError(f"{word[:80]!r} is not a text in UTF-8", ctx)
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name, in either spelling, without loading the commands."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        spell = _underscored if "_" in incomplete else str
        words = [(spell(name), summary) for name, (_, summary) in COMMANDS.items()]
        from click.shell_completion import CompletionItem  # noqa: PLC0415

        return [CompletionItem(word, help=text) for word, text in words if word.startswith(incomplete)]

    def get_help(self, ctx: click.Context) -> str:  # noqa: ARG002
        """Give the overview, which is written without click too."""
        return overview()


@click.command(cls=LazyGroup, context_settings=_SETTINGS)
@click.option("--debug", is_flag=True, help="Log every command that is run, and show tracebacks.")
@click.version_option(
    __version__, prog_name="vm-mgr", message=f"%(prog)s %(version)s, output schema {SCHEMA}"
)
@click.pass_context
def app(ctx: click.Context, debug: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Run highly available virtual machines on Pacemaker, libvirt and Ceph."""
    ctx.meta["debug"] = debug
    if isinstance(sys.stdout, io.TextIOWrapper):  # other tools' notes need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
