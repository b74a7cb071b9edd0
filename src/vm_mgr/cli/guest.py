"""Commands at a running guest: pause, resume, console."""

import sys

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.options import options_of
from vm_mgr.cli.run import fail, name_argument, perform
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName

__all__ = ["console_command", "pause_command", "resume_command"]


@click.command("pause")
@name_argument
def pause_command(name: VmName) -> None:
    """Pause a guest. It keeps its memory and its node, and the VM stays Started in the cluster.

    \b
    Example:
      vm-mgr pause web1
    """
    given = {"name": name}
    seen = perform("pause", given)
    answer("pause", given, seen, f"{name} is paused on {seen.node}")


@click.command("resume")
@name_argument
def resume_command(name: VmName) -> None:
    """Resume a paused guest, whether `pause` or an I/O error has paused it.

    \b
    Example:
      vm-mgr resume web1
    """
    given = {"name": name}
    seen = perform("resume", given)
    answer("resume", given, seen, f"{name} runs again on {seen.node}")


@click.command("console")
@name_argument
@options_of("console")
def console_command(name: VmName, user: str | None) -> None:
    """Open a VM's serial console, on whichever node the VM runs. Ctrl-] leaves it.

    \b
    Example:
      vm-mgr console web1
    """
    if not sys.stdin.isatty():
        hint = "run it from an interactive shell; over ssh: ssh -t NODE vm-mgr console NAME"
        fail(VmMgrError(Kind.NOT_SUPPORTED, "a console needs a terminal", hint=hint))
    perform("console", {"name": name, "user": user or ""})
