"""The command migrate."""

from typing import Any

import click

from vm_mgr.cli.complete import node_names
from vm_mgr.cli.render import show_done
from vm_mgr.cli.run import name_and_words, run
from vm_mgr.cli.settings import STRATEGIES, TIMEOUT_ACTIONS
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.migration import OnTimeout, Strategy
from vm_mgr.model.vm import VmName

__all__ = ["migrate_command"]


@click.command("migrate")
@name_and_words("[NODE]", node_names)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    help="How to deal with a guest that changes its memory; auto measures and picks.",
)
@click.option(
    "--bandwidth",
    "bandwidth_mib",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="MiB/s that it may take of the network.",
)
@click.option("--parallel", type=click.IntRange(1, 255), metavar="N", help="Connections side by side.")
@click.option(
    "--downtime",
    "downtime_ms",
    type=click.IntRange(min=1),
    metavar="MS",
    help="Milliseconds that the guest may stand at the end.",
)
@click.option(
    "--timeout", "timeout_s", type=click.IntRange(min=1), metavar="S", help="Seconds after which it is late."
)
@click.option(
    "--on-timeout",
    type=click.Choice(TIMEOUT_ACTIONS),
    help="What then: pause the guest to finish (the default), or abort.",
)
@click.option(
    "--max-pause",
    "max_pause_s",
    type=click.IntRange(min=1),
    metavar="S",
    help="Seconds that the guest may be paused to finish; 10 by default.",
)
def migrate_command(name: VmName, words: tuple[str, ...], **options: Any) -> None:
    """Move a running VM to NODE, or to any other node; live where the VM has live migration.

    The options hold for this move only and stand above the VM's own settings. A live migration that can't
    finish is aborted: the VM runs on where it is. Post-copy is never picked by itself: if the network is lost
    while the guest's memory is on both nodes, the VM has to be started anew.

    \b
    Example:
      vm-mgr migrate web1 n2
      vm-mgr migrate web1 n2 --bandwidth 100 --timeout 60 --on-timeout abort
    """
    from vm_mgr.operations.migrate import migrate  # noqa: PLC0415
    from vm_mgr.operations.move_terms import MoveTerms  # noqa: PLC0415

    if len(words) > 1:
        raise click.UsageError("give the name of the VM and at most one node")
    to = NodeName(words[0]) if words else None
    strategy, on_timeout = options.pop("strategy"), options.pop("on_timeout")
    terms = MoveTerms(
        strategy=Strategy(strategy) if strategy else None,
        on_timeout=OnTimeout(on_timeout) if on_timeout else None,
        **options,
    )
    show_done(run(lambda env: migrate(env, name, to, terms)))
