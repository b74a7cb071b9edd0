"""Commands at a running guest: pause, resume, console."""

import sys

import click

from vm_mgr.cli.options import options_of
from vm_mgr.cli.run import each, fail, name_argument, names_argument, perform
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName

__all__ = ["console_command", "pause_command", "resume_command"]


@click.command("pause")
@names_argument
def pause_command(names: list[VmName]) -> None:
    """Pause guests. They keep their memory and their nodes, and the VMs stay Started in the cluster.

    \b
    Example:
      vm-mgr pause web1
    """
    each("pause", names, {}, lambda name, seen: f"{name} is paused on {seen.node}")


@click.command("resume")
@names_argument
def resume_command(names: list[VmName]) -> None:
    """Resume paused guests, whether `pause` or an I/O error has paused them.

    \b
    Example:
      vm-mgr resume web1
    """
    each("resume", names, {}, lambda name, seen: f"{name} runs again on {seen.node}")


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
