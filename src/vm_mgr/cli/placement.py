"""Commands about where a VM runs beside others, and about nodes inside of guests."""

import click

from vm_mgr.cli.render import print_values
from vm_mgr.cli.run import chosen_name, name_argument, output_option, run
from vm_mgr.model.vm import VmName

__all__ = [
    "add_colocation_command",
    "add_pacemaker_remote_command",
    "list_colocation_command",
    "remove_colocation_command",
    "remove_pacemaker_remote_command",
    "separate_command",
]

_named = click.option("-n", "--name", "named", metavar="NAME", help="The VM's name; also the first argument.")


def _split(named: str | None, words: tuple[str, ...]) -> tuple[VmName, tuple[str, ...]]:
    given = words if named is None else (named, *words)
    if not given:
        raise click.UsageError("give the name of the VM")
    return VmName(given[0]), given[1:]


@click.command("add-colocation")
@_named
@click.option("--strong", is_flag=True, help="Run only where the others run.")
@click.argument("words", nargs=-1, metavar="[NAME] RESOURCE...")
def add_colocation_command(named: str | None, words: tuple[str, ...], strong: bool) -> None:  # noqa: FBT001
    """Keep a VM on the node where other VMs or resources run.

    \b
    Example:
      vm-mgr add-colocation --name web1 db1 --strong
    """
    from vm_mgr.operations.colocation import add_colocation  # noqa: PLC0415

    name, others = _split(named, words)
    if not others:
        raise click.UsageError("give at least one other VM or resource")
    print_values(run(lambda env: add_colocation(env, name, others, strong=strong)), "table")


@click.command("separate")
@_named
@click.option("--strong", is_flag=True, help="Never run beside the others.")
@click.argument("words", nargs=-1, metavar="[NAME] RESOURCE...")
def separate_command(named: str | None, words: tuple[str, ...], strong: bool) -> None:  # noqa: FBT001
    """Keep a VM away from the nodes where other VMs or resources run.

    \b
    Example:
      vm-mgr separate web1 web2
    """
    from vm_mgr.operations.colocation import separate  # noqa: PLC0415

    name, others = _split(named, words)
    if not others:
        raise click.UsageError("give at least one other VM or resource")
    print_values(run(lambda env: separate(env, name, others, strong=strong)), "table")


@click.command("remove-colocation")
@_named
@click.argument("words", nargs=-1, metavar="[NAME] [RESOURCE]...")
def remove_colocation_command(named: str | None, words: tuple[str, ...]) -> None:
    """Forget that a VM is kept together with, or apart from, others: these, or all.

    \b
    Example:
      vm-mgr remove-colocation web1 db1
    """
    from vm_mgr.operations.colocation import remove_colocation  # noqa: PLC0415

    name, others = _split(named, words)
    print_values(run(lambda env: remove_colocation(env, name, others)), "table")


@click.command("list-colocation")
@name_argument
@output_option
def list_colocation_command(named: str | None, plain: str | None, output: str) -> None:
    """List what a VM is kept together with (score above 0) or apart from (below 0).

    \b
    Example:
      vm-mgr list-colocation web1
    """
    from vm_mgr.operations.colocation import list_colocation  # noqa: PLC0415

    name = VmName(chosen_name(named, plain))
    print_values(run(lambda env: list_colocation(env, name)), output)


@click.command("add-pacemaker-remote")
@name_argument
@click.option("--remote-name", "node", metavar="N", required=True, help="The guest's name as a node.")
@click.option("--remote-address", "address", metavar="A", required=True, help="Its address.")
@click.option("--remote-port", "port", type=click.IntRange(1, 65535), metavar="P", help="3121 by default.")
@click.option("--remote-timeout", "timeout_s", type=click.IntRange(min=1), metavar="T",
              help="Seconds to wait for the connection.")  # fmt: skip
def add_pacemaker_remote_command(
    named: str | None, plain: str | None, node: str, address: str, port: int | None, timeout_s: int | None
) -> None:
    """Let the cluster manage resources inside a VM, whose guest runs pacemaker-remote.

    \b
    Example:
      vm-mgr add-pacemaker-remote web1 --remote-name guest1 --remote-address 192.0.2.50
    """
    from vm_mgr.operations.pacemaker_remote import add_pacemaker_remote  # noqa: PLC0415

    name = VmName(chosen_name(named, plain))
    run(lambda env: add_pacemaker_remote(env, name, node, address, port=port, timeout_s=timeout_s))


@click.command("remove-pacemaker-remote")
@name_argument
def remove_pacemaker_remote_command(named: str | None, plain: str | None) -> None:
    """Let the cluster forget the node inside a VM.

    \b
    Example:
      vm-mgr remove-pacemaker-remote web1
    """
    from vm_mgr.operations.pacemaker_remote import remove_pacemaker_remote  # noqa: PLC0415

    name = VmName(chosen_name(named, plain))
    run(lambda env: remove_pacemaker_remote(env, name))
