"""The command migrate."""

import sys
from typing import TYPE_CHECKING, Any

import click

from vm_mgr.cli.dry_run import can_ask, is_dry_run, yes_option
from vm_mgr.cli.options import options_of, with_options
from vm_mgr.cli.render import print_answer, print_table
from vm_mgr.cli.run import each, fail, name_and_words, output_option, run
from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import NodeName, standby_end
from vm_mgr.model.migration import OnTimeout, Strategy
from vm_mgr.model.vm import VmName
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.operations.requests.moving import TO

if TYPE_CHECKING:
    from vm_mgr.operations.drain import Drained
    from vm_mgr.operations.migration.options import MigrateOptions
    from vm_mgr.ports.env import Env

__all__ = ["migrate_command"]

OF_A_NODE = ("at_once", "restart_others", "standby", "allow")


@click.command("migrate")
@name_and_words("[NODE]", "node", required=False)
@with_options([TO])
@options_of("drain")
@yes_option
@output_option
def migrate_command(
    name: VmName | None, words: tuple[str, ...], to: str | None, node: str | None, output: str, **options: Any
) -> None:
    """Move a running VM to NODE, or to any other node. Give --to to move several VMs to one node.

    The VM's --on-move decides how: live, by its saved memory, or by a stop and a start. Before a stop, a
    terminal is asked; --yes answers that. The cluster's rules may have other VMs moved or restarted for it:
    they are named, and on a terminal you are asked; --restart-others answers that.

    With --all-from all VMs of a node move, those of the highest priority first. The cluster chooses their
    targets. VMs that can't move are named and stay, and the exit status is 5. The node can take VMs again at
    once: the cluster may place a started or recovered VM there. Before a reboot give --standby.

    The options hold for this move only and override the VM's own settings. A live migration that can't finish
    is cancelled: the VM keeps running at its source, and the exit status is 11. The status is 7 if a recovery
    had to come first: try later. Post-copy is never chosen automatically: if the network is lost while the
    guest's memory is on both nodes, the VM has to be restarted.

    \b
    Example:
      vm-mgr migrate web1 n2
      vm-mgr migrate web1 web2 --to n2
      vm-mgr migrate web1 n2 --bandwidth 100 --timeout 60 --on-timeout abort
      vm-mgr migrate --all-from n1 --standby
    """
    from vm_mgr.operations.migration.options import MigrateOptions  # noqa: PLC0415

    of_a_node = {key: options.pop(key) for key in OF_A_NODE}
    allow_stop = options.pop("yes") or not can_ask()
    strategy, on_timeout = options.pop("strategy"), options.pop("on_timeout")
    terms = MigrateOptions(
        strategy=Strategy(strategy) if strategy else None,
        on_timeout=OnTimeout(on_timeout) if on_timeout else None,
        **options,
    )
    if node is not None:
        if name is not None or to is not None:
            raise click.UsageError("--all-from is for all VMs of a node: leave out the name and --to")
        _drain(NodeName(node), terms, output, **of_a_node)
        return
    allowed = {key: of_a_node.pop(key) for key in ("restart_others", "allow")}
    if any(of_a_node.values()):
        raise click.UsageError("--at-once and --standby are for --all-from")
    if name is None or (to is None and len(words) > 1):
        raise click.UsageError("give a VM and at most one node, or VMs with --to NODE, or --all-from NODE")
    names = [name, *(VmName(word) for word in words)] if to else [name]
    target = to or next(iter(words), None)
    given = {"to": NodeName(target) if target else None, "terms": terms, **allowed}
    each("migrate", list(dict.fromkeys(names)), {**given, "allow_stop": allow_stop})


def _drain(
    node: NodeName, terms: "MigrateOptions", output: str, *, at_once: int | None, **given: Any
) -> None:
    from vm_mgr.operations.drain import AT_ONCE, DrainOptions, require_empty  # noqa: PLC0415

    wishes = DrainOptions(at_once=at_once or AT_ONCE, terms=terms, **given)

    def operation(env: "Env") -> "Drained":
        drained: Drained = OPERATIONS["drain"].load()(env, node, wishes)
        if is_dry_run():
            require_empty(drained)  # a dry run ends before anything is printed
        return drained

    drained = run(operation)
    if output == "table":
        _print(drained)
    else:
        print_answer("drain", drained, output)
    try:
        require_empty(drained)
    except VmMgrError as error:
        sys.stdout.flush()
        fail(error)


def _print(drained: "Drained") -> None:
    rows = [(one.name, one.to, one.how.value, f"{one.took_s:g}") for one in drained.moved]
    rows += [(one.name, drained.node, "stays", "") for one in drained.stays]
    if rows:
        print_table([("vm", "node", "how", "seconds"), *rows])
    moved, stay = len(drained.moved), len(drained.stays)
    standby = "; in standby until it is booted the next time" if drained.standby else ""
    print(f"{drained.node}: {moved} moved, {stay} still there{standby}")
    if drained.standby:
        print(f"to end the standby before that: {standby_end(drained.node)}")
