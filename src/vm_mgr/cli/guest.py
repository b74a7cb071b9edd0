"""Commands at a running guest: pause, resume, console."""

import sys

import click

from vm_mgr.cli.options import options_of
from vm_mgr.cli.run import each, fail, name_argument, names_argument, perform, run
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.operations.guest_access import display

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
@click.option("--graphical", is_flag=True, help="Say how to reach the screen instead, over ssh.")
def console_command(name: VmName, user: str | None, graphical: bool) -> None:  # noqa: FBT001
    """Open a VM's serial console, on whichever node the VM runs. Ctrl-] leaves it.

    With --graphical vm-mgr prints the ssh tunnel to the VM's VNC or SPICE port, and what to open then. The
    port changes with each start and move of the VM.

    \b
    Example:
      vm-mgr console web1
      vm-mgr console web1 --graphical
    """
    if graphical:
        seen = run(lambda env: display(env, name))
        login = f"{user}@{seen.node}" if user else seen.node
        print(f"ssh -N -L {seen.port}:{_bracketed(seen.address)}:{seen.port} {login}")
        print(f"{seen.scheme}://localhost:{seen.port}")
        return
    if not sys.stdin.isatty():
        hint = "run it from an interactive shell; over ssh: ssh -t NODE vm-mgr console NAME"
        fail(VmMgrError(Kind.NOT_SUPPORTED, "a console needs a terminal", hint=hint))
    perform("console", {"name": name, "user": user or ""})


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
