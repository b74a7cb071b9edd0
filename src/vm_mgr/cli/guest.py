"""Commands at a running guest: pause, resume, console."""

import sys

import click

from vm_mgr.cli.run import fail, name_argument, run
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName

__all__ = ["console_command", "pause_command", "resume_command"]


@click.command("pause")
@name_argument
def pause_command(name: VmName) -> None:
    """Stop a guest's processors; it keeps its memory and its node, and to the cluster it goes on.

    \b
    Example:
      vm-mgr pause web1
    """
    from vm_mgr.operations.pause import pause  # noqa: PLC0415

    seen = run(lambda env: pause(env, name))
    print(f"{name} is paused on {seen.node}")


@click.command("resume")
@name_argument
def resume_command(name: VmName) -> None:
    """Let a paused guest go on: one that was paused by `pause`, or by an I/O error.

    \b
    Example:
      vm-mgr resume web1
    """
    from vm_mgr.operations.pause import resume  # noqa: PLC0415

    seen = run(lambda env: resume(env, name))
    print(f"{name} goes on on {seen.node}")


@click.command("console")
@name_argument
@click.option("--ssh-user", "user", metavar="U", default="", help="Who logs in at the VM's node.")
def console_command(name: VmName, user: str) -> None:
    """Attach to a VM's serial console, on whichever node it runs; Ctrl-] leaves it.

    \b
    Example:
      vm-mgr console web1
    """
    from vm_mgr.operations.console import console  # noqa: PLC0415

    if not sys.stdin.isatty():
        hint = "run it from an interactive shell; over ssh: ssh -t NODE vm-mgr console NAME"
        fail(VmMgrError(Kind.NOT_SUPPORTED, "a console needs a terminal", hint=hint))
    run(lambda env: console(env, name, user=user))
