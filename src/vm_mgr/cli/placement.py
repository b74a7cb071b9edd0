"""Commands about where a VM runs beside others, and about nodes inside of guests."""

import click

from vm_mgr.cli.answer import answer, output_format
from vm_mgr.cli.complete import vm_names
from vm_mgr.cli.render import print_values
from vm_mgr.cli.run import name_and_words, name_argument, output_option, run
from vm_mgr.model.vm import VmName

__all__ = [
    "add_colocation_command",
    "add_pacemaker_remote_command",
    "list_colocation_command",
    "remove_colocation_command",
    "remove_pacemaker_remote_command",
    "separate_command",
]


@click.command("add-colocation")
@name_and_words("RESOURCE...", vm_names)
@click.option("--strong", is_flag=True, help="Run only where the others run.")
def add_colocation_command(name: VmName, words: tuple[str, ...], strong: bool) -> None:  # noqa: FBT001
    """Keep a VM on the node where other VMs or resources run.

    \b
    Example:
      vm-mgr add-colocation --name web1 db1 --strong
    """
    from vm_mgr.operations.colocation import add_colocation  # noqa: PLC0415

    _require_others(words)
    print_values(run(lambda env: add_colocation(env, name, words, strong=strong)), output_format())


@click.command("separate")
@name_and_words("RESOURCE...", vm_names)
@click.option("--strong", is_flag=True, help="Never run on a node where the others run.")
def separate_command(name: VmName, words: tuple[str, ...], strong: bool) -> None:  # noqa: FBT001
    """Keep a VM away from the nodes where other VMs or resources run.

    \b
    Example:
      vm-mgr separate web1 web2
    """
    from vm_mgr.operations.colocation import separate  # noqa: PLC0415

    _require_others(words)
    print_values(run(lambda env: separate(env, name, words, strong=strong)), output_format())


@click.command("remove-colocation")
@name_and_words("[RESOURCE]...", vm_names)
def remove_colocation_command(name: VmName, words: tuple[str, ...]) -> None:
    """Stop keeping a VM together with, or apart from, the named resources, or all if none is named.

    \b
    Example:
      vm-mgr remove-colocation web1 db1
    """
    from vm_mgr.operations.colocation import remove_colocation  # noqa: PLC0415

    print_values(run(lambda env: remove_colocation(env, name, words)), output_format())


@click.command("list-colocation")
@name_argument
@output_option
def list_colocation_command(name: VmName, output: str) -> None:
    """List the resources that a VM is kept together with (score above 0) or apart from (below 0).

    \b
    Example:
      vm-mgr list-colocation web1
    """
    from vm_mgr.operations.colocation import list_colocation  # noqa: PLC0415

    print_values(run(lambda env: list_colocation(env, name)), output)


@click.command("add-pacemaker-remote")
@name_argument
@click.option("--remote-name", "node", metavar="N", required=True, help="The guest's name as a node.")
@click.option("--remote-address", "address", metavar="A", required=True, help="The guest's address.")
@click.option("--remote-port", "port", type=click.IntRange(1, 65535), metavar="P",
              help="The guest's port; 3121 by default.")  # fmt: skip
@click.option("--remote-timeout", "timeout_s", type=click.IntRange(min=1), metavar="T",
              help="Seconds to wait for the connection.")  # fmt: skip
def add_pacemaker_remote_command(
    name: VmName, node: str, address: str, port: int | None, timeout_s: int | None
) -> None:
    """Let the cluster manage resources inside a VM. Its guest must run pacemaker-remote.

    \b
    Example:
      vm-mgr add-pacemaker-remote web1 --remote-name guest1 --remote-address 192.0.2.50
    """
    from vm_mgr.operations.pacemaker_remote import add_pacemaker_remote  # noqa: PLC0415

    run(lambda env: add_pacemaker_remote(env, name, node, address, port=port, timeout_s=timeout_s))
    answer("", name=name, remote=node)


@click.command("remove-pacemaker-remote")
@name_argument
def remove_pacemaker_remote_command(name: VmName) -> None:
    """Remove the guest of a VM as a node of the cluster.

    \b
    Example:
      vm-mgr remove-pacemaker-remote web1
    """
    from vm_mgr.operations.pacemaker_remote import remove_pacemaker_remote  # noqa: PLC0415

    run(lambda env: remove_pacemaker_remote(env, name))
    answer("", name=name, remote="")


def _require_others(words: tuple[str, ...]) -> None:
    if not words:
        raise click.UsageError("give at least one other VM or resource")
