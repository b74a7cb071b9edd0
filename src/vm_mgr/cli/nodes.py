"""Commands about nodes."""

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.options import completer
from vm_mgr.cli.run import perform

__all__ = ["release_node_command"]


@click.command("release-node")
@click.argument("node", shell_complete=completer("node"))
def release_node_command(node: str) -> None:
    """Tell Ceph at once that a fenced node is off.

    The command marks the node's OSDs down, blocklists its clients and breaks their locks. The cluster does
    this by itself after each fencing. Run the command only if that has failed. It is refused for a node that
    Pacemaker has not fenced in the last ten minutes, and for a node that is back.

    \b
    Example:
      vm-mgr release-node n2
    """
    given = {"node": node}
    released = perform("release-node", given)
    lines = [f"osd.{number} is marked down" for number in released.daemons]
    lines += [f"the client {address} is blocklisted" for address in released.clients]
    words = "\n".join(lines) or f"nothing of {node} is left"
    answer("release-node", given, released, words)
