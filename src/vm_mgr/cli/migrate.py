"""The command migrate."""

import sys
from typing import TYPE_CHECKING, Any

import click

from vm_mgr.cli.complete import node_names
from vm_mgr.cli.dry_run import is_dry_run
from vm_mgr.cli.render import print_data, print_done, print_table
from vm_mgr.cli.run import fail, name_and_words, output_option, run
from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.migration import OnTimeout, Strategy
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from vm_mgr.operations.drain import Drained
    from vm_mgr.operations.migration.options import MigrateOptions
    from vm_mgr.ports.env import Env

__all__ = ["migrate_command"]

OF_A_NODE = ("at_once", "restart_others", "standby")


@click.command("migrate")
@name_and_words("[NODE]", node_names, required=False)
@click.option(
    "--all-from",
    metavar="NODE",
    shell_complete=node_names,
    help="Drain this node: move all its VMs away, instead of one VM.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 32),
    metavar="N",
    help="With --all-from: how many VMs move at the same time; 2 by default.",
)
@click.option(
    "--restart-others",
    is_flag=True,
    help="With --all-from: also move VMs that must be stopped and started for it.",
)
@click.option(
    "--standby",
    is_flag=True,
    help="With --all-from: once the node is empty, put it in standby until its next boot, or until its "
    "Pacemaker is restarted. Not done if a VM stays.",
)
@click.option(
    "--strategy",
    type=click.Choice([word.value for word in Strategy]),
    help="How to migrate a guest that keeps changing its memory; auto measures and chooses.",
)
@click.option(
    "--bandwidth",
    "bandwidth_mib",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Limit of the network bandwidth in MiB/s.",
)
@click.option("--parallel", type=click.IntRange(1, 255), metavar="N", help="Number of parallel connections.")
@click.option(
    "--downtime",
    "downtime_ms",
    type=click.IntRange(min=1),
    metavar="MS",
    help="Longest pause of the guest at the end, in milliseconds.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.IntRange(min=1),
    metavar="S",
    help="Seconds after which the migration is late.",
)
@click.option(
    "--on-timeout",
    type=click.Choice([word.value for word in OnTimeout]),
    help="What to do when it is late: pause the guest to finish (the default), or cancel it (abort).",
)
@click.option(
    "--max-pause",
    "max_pause_s",
    type=click.IntRange(min=1),
    metavar="S",
    help="Longest pause of the guest to finish the migration, in seconds; 10 by default.",
)
@output_option
def migrate_command(
    name: VmName | None, words: tuple[str, ...], all_from: str | None, output: str, **options: Any
) -> None:
    """Move a running VM to NODE, or to any other node.

    The VM's --on-move decides how: live, by its saved memory, or by a stop and a start.

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
      vm-mgr migrate web1 n2 --bandwidth 100 --timeout 60 --on-timeout abort
      vm-mgr migrate --all-from n1 --standby
    """
    from vm_mgr.operations.migrate import migrate  # noqa: PLC0415
    from vm_mgr.operations.migration.options import MigrateOptions  # noqa: PLC0415

    of_a_node = {key: options.pop(key) for key in OF_A_NODE}
    strategy, on_timeout = options.pop("strategy"), options.pop("on_timeout")
    terms = MigrateOptions(
        strategy=Strategy(strategy) if strategy else None,
        on_timeout=OnTimeout(on_timeout) if on_timeout else None,
        **options,
    )
    if all_from is not None:
        if name is not None:
            raise click.UsageError("--all-from is for all VMs of a node: leave out the name")
        _drain(NodeName(all_from), terms, output, **of_a_node)
        return
    if any(of_a_node.values()):
        raise click.UsageError("--at-once, --restart-others and --standby are for --all-from")
    if name is None or len(words) > 1:
        raise click.UsageError("give the name of the VM and at most one node, or --all-from NODE")
    to = NodeName(words[0]) if words else None
    print_done(run(lambda env: migrate(env, name, to, terms)), output)


def _drain(
    node: NodeName, terms: "MigrateOptions", output: str, *, at_once: int | None, **given: bool
) -> None:
    from vm_mgr.operations.drain import AT_ONCE, DrainOptions, drain, require_empty  # noqa: PLC0415

    wishes = DrainOptions(at_once=at_once or AT_ONCE, terms=terms, **given)

    def operation(env: "Env") -> "Drained":
        drained = drain(env, node, wishes)
        if is_dry_run():
            require_empty(drained)  # a dry run ends before anything is printed
        return drained

    drained = run(operation)
    if output == "table":
        _print(drained)
    else:
        print_data(_data(drained), output)
    try:
        require_empty(drained)
    except VmMgrError as error:
        sys.stdout.flush()
        fail(error)


def _data(drained: "Drained") -> dict[str, Any]:
    """Give the fields of docs/reference/output.md."""
    return {
        "node": drained.node,
        "standby": drained.standby,
        "moved": [one._asdict() | {"how": one.how.value} for one in drained.moved],
        "stays": [one._asdict() for one in drained.stays],
    }


def _print(drained: "Drained") -> None:
    rows = [(one.name, one.to, one.how.value, f"{one.took_s:g}") for one in drained.moved]
    rows += [(one.name, drained.node, "stays", "") for one in drained.stays]
    if rows:
        print_table([("vm", "node", "how", "seconds"), *rows])
    moved, stay = len(drained.moved), len(drained.stays)
    standby = "; in standby until it is booted the next time" if drained.standby else ""
    print(f"{drained.node}: {moved} moved, {stay} still there{standby}")
