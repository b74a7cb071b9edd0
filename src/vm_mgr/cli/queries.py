"""Commands that look: list, status."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from vm_mgr.cli.render import print_status, show_listing
from vm_mgr.cli.run import name_argument, output_option, perform, run
from vm_mgr.cli.wide import wide_rows
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.operations.wide import look_wide

if TYPE_CHECKING:
    from vm_mgr.model.vm import VmName
    from vm_mgr.operations.list_vms import Listing
    from vm_mgr.ports.env import Env

__all__ = ["list_command", "status_command"]


@click.command("list")
@click.option("--watch", "every_s", is_flag=False, flag_value="2", type=click.IntRange(1, 3600),
              metavar="[SECONDS]", help="Refresh every SECONDS, 2 by default, until Ctrl-C.")  # fmt: skip
@click.option(
    "--wide", is_flag=True, help="Add since when, what is wanted, memory, vCPUs, on-move, storage, pauses."
)
@output_option
def list_command(every_s: int | None, output: str, wide: bool) -> None:  # noqa: FBT001
    """List all VMs, with state and node; with --wide also what is stored of them, which takes longer.

    \b
    Example:
      vm-mgr list --output json
      vm-mgr list --watch 5
      vm-mgr list --wide
    """

    def look(env: Env) -> Listing:
        listing: Listing = OPERATIONS["list"].load()(env)
        return look_wide(env, listing) if wide else listing

    def show(found: Listing) -> None:
        show_listing(found, output, wide_rows(found) if wide else ())

    if every_s is None:
        run(lambda env: show(look(env)))
        return
    from vm_mgr.cli.watch import watch  # noqa: PLC0415

    between = {"table": "\n", "yaml": "---\n"}.get(output, "")
    again = partial(watch, every_s=every_s, between=between, terminal=sys.stdout.isatty())
    run(lambda env: again(env, lambda: look(env), show))


@click.command("status")
@name_argument
@output_option
def status_command(name: VmName, output: str) -> None:
    """Show the state of a VM: Undefined, Disabled, Failed, Started, Starting, Stopping, Stopped or Unknown.

    \b
    Example:
      vm-mgr status web1
    """
    print_status(perform("status", {"name": name}), output)
