"""Commands about where a VM runs beside others, and about nodes inside of guests."""

from typing import Any

import click

from vm_mgr.cli.answer import answer, output_format
from vm_mgr.cli.options import options_of
from vm_mgr.cli.render import print_scores
from vm_mgr.cli.run import name_and_words, name_argument, output_option, perform
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
@name_and_words("RESOURCE...", "vm")
@options_of("add-colocation")
def add_colocation_command(name: VmName, words: tuple[str, ...], **given: Any) -> None:
    """Keep a VM on the node where other VMs or resources run.

    \b
    Example:
      vm-mgr add-colocation --name web1 db1 --strong
    """
    _require_others(words)
    print_scores(perform("add-colocation", {"name": name, "others": words, **given}), output_format())


@click.command("separate")
@name_and_words("RESOURCE...", "vm")
@options_of("separate")
def separate_command(name: VmName, words: tuple[str, ...], **given: Any) -> None:
    """Keep a VM away from the nodes where other VMs or resources run.

    \b
    Example:
      vm-mgr separate web1 web2
    """
    _require_others(words)
    print_scores(perform("separate", {"name": name, "others": words, **given}), output_format())


@click.command("remove-colocation")
@name_and_words("[RESOURCE]...", "vm")
def remove_colocation_command(name: VmName, words: tuple[str, ...]) -> None:
    """Stop keeping a VM together with, or apart from, the named resources, or all if none is named.

    \b
    Example:
      vm-mgr remove-colocation web1 db1
    """
    print_scores(perform("remove-colocation", {"name": name, "others": words}), output_format())


@click.command("list-colocation")
@name_argument
@output_option
def list_colocation_command(name: VmName, output: str) -> None:
    """List the resources that a VM is kept together with (score above 0) or apart from (below 0).

    \b
    Example:
      vm-mgr list-colocation web1
    """
    print_scores(perform("list-colocation", {"name": name}), output)


@click.command("add-pacemaker-remote")
@name_argument
@options_of("add-pacemaker-remote")
def add_pacemaker_remote_command(**given: Any) -> None:
    """Let the cluster manage resources inside a VM. Its guest must run pacemaker-remote.

    \b
    Example:
      vm-mgr add-pacemaker-remote web1 --remote-name guest1 --remote-address 192.0.2.50
    """
    answer("add-pacemaker-remote", given, perform("add-pacemaker-remote", given))


@click.command("remove-pacemaker-remote")
@name_argument
def remove_pacemaker_remote_command(**given: Any) -> None:
    """Remove the guest of a VM as a node of the cluster.

    \b
    Example:
      vm-mgr remove-pacemaker-remote web1
    """
    answer("remove-pacemaker-remote", given, perform("remove-pacemaker-remote", given))


def _require_others(words: tuple[str, ...]) -> None:
    if not words:
        raise click.UsageError("give at least one other VM or resource")
