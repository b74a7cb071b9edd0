"""The verbs of vm-mgr-lab that do harm to a node, and undo it."""

import click

from vm_mgr_lab import bmc
from vm_mgr_lab.chosen import NODE, the_lab
from vm_mgr_lab.topology import NETWORKS

__all__ = ["FAULTS"]


@click.command()
@NODE
@click.argument("action", type=click.Choice(["on", "off", "reset", "status"]))
def power(node: str, action: str) -> None:
    """Cut or restore a node's power, at once and without warning.

    \b
    Example:
      sudo vm-mgr-lab power n1 off
    """
    lab = the_lab()
    lab.topology.node(node)
    if action == "status":
        click.echo("on" if lab.machine(node).is_on() else "off")
    else:
        {"on": lab.power_on, "off": lab.cut_power, "reset": lab.reset}[action](node)


@click.command()
@NODE
@click.argument("action", type=click.Choice(["cut", "heal"]))
@click.option(
    "--network",
    "networks",
    type=click.Choice(list(NETWORKS)),
    multiple=True,
    help="The network; both by default.",
)
def network(node: str, action: str, networks: tuple[str, ...]) -> None:
    """Disconnect a node from its networks, or connect it again.

    \b
    Example:
      sudo vm-mgr-lab network n1 cut --network cluster
    """
    lab = the_lab()
    change = lab.cut_network if action == "cut" else lab.heal_network
    change(node, networks or tuple(NETWORKS))


@click.command()
@click.argument("groups", nargs=-1, required=True)
def partition(groups: tuple[str, ...]) -> None:
    """Split the cluster into groups that can't reach each other.

    \b
    Example:
      sudo vm-mgr-lab partition n1 / n2,n3
    """
    wanted = " ".join(groups).split("/")
    the_lab().partition([group.replace(",", " ").split() for group in wanted])


@click.command()
def heal() -> None:
    """Undo partitions, cut links, pauses and broken BMCs. Nodes that are off stay off.

    \b
    Example:
      sudo vm-mgr-lab heal
    """
    the_lab().heal()


@click.command()
@NODE
def pause(node: str) -> None:
    """Hang a node: nothing in it runs until it is resumed.

    \b
    Example:
      sudo vm-mgr-lab pause n1
    """
    the_lab().machine(node).pause()


@click.command()
@NODE
def resume(node: str) -> None:
    """Resume a hung node.

    \b
    Example:
      sudo vm-mgr-lab resume n1
    """
    the_lab().machine(node).resume()


@click.command(name="bmc")
@NODE
@click.argument("action", type=click.Choice(["break", "heal"]))
def bmc_command(node: str, action: str) -> None:
    """Break a node's BMC so that fencing the node fails, or heal the BMC.

    \b
    Example:
      sudo vm-mgr-lab bmc n1 break
    """
    lab = the_lab()
    found = lab.topology.node(node)
    if action == "break":
        bmc.break_down(found)
    else:
        bmc.heal(lab.paths, found)


FAULTS = (power, network, partition, heal, pause, resume, bmc_command)
