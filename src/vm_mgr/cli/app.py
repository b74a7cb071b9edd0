"""Collect the sub-commands; each one's module is imported only when it is used."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from vm_mgr import __version__
from vm_mgr.cli.help import COMMANDS, overview
from vm_mgr.cli.render import SCHEMA

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["app"]


def _dashed(word: str) -> str:
    return word.replace("_", "-")


def _underscored(word: str) -> str:
    return word.replace("-", "_")


def _is_text(word: str) -> bool:
    try:
        return b"\0" not in word.encode()
    except UnicodeEncodeError:  # the bytes that Python could not decode
        return False


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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse words that nothing could be named or could store."""
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
