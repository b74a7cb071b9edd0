"""The command vm-mgr-lab: one verb, one function; every failure is one line, a hint and an exit status."""

import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from vm_mgr_lab import bmc, demo, deployment, guest, image
from vm_mgr_lab import up as bring
from vm_mgr_lab.campaign import campaign
from vm_mgr_lab.chosen import NODE, lab_paths, the_lab
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.faults import FAULTS
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import require_programs, require_root
from vm_mgr_lab.topology import NETWORKS, Topology

__all__ = ["main"]

DEMO_VM, DEMO_MAC = "demo", 201
DEMO_NEXT = """
The cluster is still up:
  sudo .venv/bin/{lab} status                      # the nodes, seen from outside
  sudo .venv/bin/{lab} exec n1 -- vm-mgr list      # the VMs
  sudo .venv/bin/{lab} exec n1 -- crm_mon -1       # what Pacemaker says
  sudo .venv/bin/{lab} shell n1                    # look around
  sudo .venv/bin/{lab} down                        # remove everything
"""


class Size(click.ParamType):
    """A size as 512M or 4G, in MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it; a number alone is in MiB."""
        found = re.fullmatch(r"([1-9][0-9]*)([MG]?)", str(value))
        if found is None:
            self.fail(f"{value!r} is no size; write 512M or 4G", param, ctx)
        return int(found[1]) * (1024 if found[2] == "G" else 1)


SIZE = Size()
REQUESTS = {
    "ceph": bring.Request(),
    "drbd": bring.Request(hypervisors=2, observers=1, storages=("drbd",), own_kernel=True),
}


class LabGroup(click.Group):
    """Turns LabError into one line on stderr."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb and translate its failure."""
        try:
            return super().invoke(ctx)
        except LabError as error:
            click.echo(f"vm-mgr-lab: error: {error.message}", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
            sys.exit(1)


@click.group(cls=LabGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Log every command that is run.")
@click.option(
    "--kernel",
    "kernel",
    type=click.Choice(["host", "own"]),
    help="Which lab is meant, where both are up: that of containers or that of nodes with an own kernel.",
)
@click.pass_context
def main(ctx: click.Context, *, debug: bool, kernel: str | None) -> None:
    """A real cluster of several nodes inside one machine: Pacemaker, libvirt, Ceph and IPMI fencing.

    \b
    Example:
      sudo vm-mgr-lab up
      sudo vm-mgr-lab exec n1 -- crm_mon -1
      sudo vm-mgr-lab power n1 off
      sudo vm-mgr-lab down
    """
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(message)s")
    ctx.obj = kernel


def _progress() -> "bring.Say":
    started = time.monotonic()
    return lambda line: click.echo(f"[{time.monotonic() - started:6.1f} s] {line}", err=True)


@main.command()
@click.option(
    "--kernel",
    type=click.Choice(["host", "own"]),
    help="Containers on the host's kernel (default), or nodes with a kernel of their own (User-Mode Linux).",
)
@click.option("--nodes", type=int, help="Number of hypervisors; 3, or 2 with a kernel of their own.")
@click.option(
    "--observers",
    type=int,
    help="Number of nodes that vote and store but run no VM; 0, or with a kernel of their own as many "
    "as make the votes odd.",
)
@click.option(
    "--storage",
    "storages",
    multiple=True,
    type=click.Choice(["ceph", "shared_dir", "drbd"]),
    help="A storage for VMs; repeatable. ceph and shared_dir, or drbd with a kernel of their own.",
)
@click.option(
    "--disk", "disk_mib", default="4G", show_default=True, type=SIZE, help="Own kernel: each node's disk."
)
@click.option(
    "--shared-disk",
    "shared_disks_mib",
    multiple=True,
    type=SIZE,
    help="Own kernel: a disk that all nodes see; repeatable.",
)
@click.option(
    "--suite", default="trixie", show_default=True, help="Debian release of the nodes (bookworm is 12)."
)
@click.option("--fresh", is_flag=True, help="Deploy even if the deployed state is cached.")
@click.option("--bare", is_flag=True, help="Boot the nodes without deploying anything to them.")
def up(
    kernel: str | None, nodes: int | None, observers: int | None, storages: tuple[str, ...], **more: Any
) -> None:
    """Boot a cluster and wait until it is healthy.

    \b
    Example:
      sudo vm-mgr-lab up --nodes 2 --observers 1
      sudo vm-mgr-lab up --kernel own --storage drbd
    """
    wanted = kernel or click.get_current_context().find_root().obj or "host"
    own = wanted == "own"
    hypervisors = (2 if own else 3) if nodes is None else nodes
    request = bring.Request(
        hypervisors=hypervisors,
        observers=(1 - hypervisors % 2 if own else 0) if observers is None else observers,
        storages=storages or (("drbd",) if own else ("ceph", "shared_dir")),
        own_kernel=own,
        **more,
    )
    lab = bring.up(lab_paths(wanted), request, _progress())
    click.echo("up: " + ", ".join(f"{node.name} {node.address('admin')}" for node in lab.nodes))


@main.command()
@click.option("--suite", "suites", multiple=True, default=("trixie",), help="Debian release; repeatable.")
def build(suites: tuple[str, ...]) -> None:
    """Build the images that `up` needs, so that it finds them in the cache.

    \b
    Example:
      sudo vm-mgr-lab build --suite trixie --suite bookworm
    """
    bring.build(lab_paths(), suites, _progress())


@main.command()
def down() -> None:
    """Remove the cluster, whatever state it is in.

    \b
    Example:
      sudo vm-mgr-lab down
    """
    bring.down(lab_paths(), _progress())


@main.command(name="demo")
@click.option(
    "--storage",
    type=click.Choice(["ceph", "drbd"]),
    default="ceph",
    show_default=True,
    help="Where the VM's disk is; on DRBD the nodes have a kernel of their own.",
)
def demonstrate(storage: str) -> None:
    """Cut the power of a VM's node and watch the VM come back. Brings the lab up if it is not up.

    The exit status is 1 if an acknowledged write is missing, or if the VM ran on two nodes.

    \b
    Example:
      sudo vm-mgr-lab demo
      sudo vm-mgr-lab demo --storage drbd
    """
    require_root()
    say = _progress()
    paths = lab_paths("own" if storage == "drbd" else "host")
    lab = Lab.load(paths) if paths.description.exists() else bring.up(paths, REQUESTS[storage], say)
    bring.wait_ready(lab, say)
    demo.remove_guest(lab, DEMO_VM, node=lab.nodes[0].name)
    demo.create_guest(lab, DEMO_VM, say, mac_byte=DEMO_MAC, options=("--enable-live-migration",))
    failover = demo.power_loss(lab, DEMO_VM, say, mac_byte=DEMO_MAC)
    lab_command = "vm-mgr-lab --kernel own" if storage == "drbd" else "vm-mgr-lab"
    told = demo.tell(failover, DEMO_VM)
    click.echo("\n" + "\n".join(told) + "\n" + DEMO_NEXT.format(lab=lab_command))
    if failover.problems:
        sys.exit(1)


@main.command()
@click.option("--extra", multiple=True, help="Further arguments for ansible-playbook.")
def deploy(extra: tuple[str, ...]) -> None:
    """Run the deployment's roles on the running nodes again.

    \b
    Example:
      sudo vm-mgr-lab deploy --extra=--tags=vm_mgr
    """
    lab = the_lab()
    deployment.write_inventory(lab.paths, lab.topology)
    deployment.deploy(lab.paths, _progress(), extra=extra)


@main.command()
def status() -> None:
    """Show each node's power, links and BMC.

    \b
    Example:
      sudo vm-mgr-lab status
    """
    lab = the_lab()
    links = lab.network.links()
    click.echo(f"{'node':6} {'role':11} {'power':7} {'admin':16} {'cluster':17} {'bmc':16}")
    for node in lab.nodes:
        machine = lab.machine(node.name)
        power = "paused" if machine.is_paused() else "on" if machine.is_on() else "off"
        shown = {n: node.address(n) if links[node.name][n] else "cut" for n in NETWORKS}
        answers = "up" if bmc.is_up(node) else "broken"
        click.echo(
            f"{node.name:6} {node.role:11} {power:7} {shown['admin']:16} {shown['cluster']:17} {answers:16}"
        )


@main.command(name="exec", context_settings={"ignore_unknown_options": True})
@NODE
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(node: str, command: tuple[str, ...]) -> None:
    """Run a program on a node as root. This command ends with the program's exit status.

    \b
    Example:
      sudo vm-mgr-lab exec n1 -- ceph -s
    """
    argv = [*the_lab().machine(node).enter_command(), *command]
    sys.exit(subprocess.run(argv, check=False).returncode)


@main.command()
@NODE
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target")
def copy(node: str, source: Path, target: str) -> None:
    """Copy a file from the host to a node.

    \b
    Example:
      sudo vm-mgr-lab copy n1 guest.qcow2 /root/guest.qcow2
    """
    the_lab().copy_in(node, source, target)


@main.command()
@NODE
def shell(node: str) -> None:
    """Open a shell on a node.

    \b
    Example:
      sudo vm-mgr-lab shell n2
    """
    argv = [
        *the_lab().machine(node).enter_command(),
        f"TERM={os.environ.get('TERM', 'dumb')}",
        "bash",
        "--login",
    ]
    sys.exit(subprocess.run(argv, check=False).returncode)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("address")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(address: str, command: tuple[str, ...]) -> None:
    """Log in to a guest, or run a command in it, over the nodes' network and with the lab's key.

    \b
    Example:
      sudo vm-mgr-lab ssh 192.0.2.201
      sudo vm-mgr-lab ssh 192.0.2.201 uname -a
    """
    sys.exit(subprocess.run([*the_lab().ssh_command(address), *command], check=False).returncode)


@main.command()
@NODE
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def logs(node: str, arguments: tuple[str, ...]) -> None:
    """Show a node's journal. Further arguments go to journalctl.

    \b
    Example:
      sudo vm-mgr-lab logs n1 -- -u pacemaker -n 50
    """
    argv = [*the_lab().machine(node).enter_command(), "journalctl", "--no-pager", *arguments]
    sys.exit(subprocess.run(argv, check=False).returncode)


@main.command(name="guest-image")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--suite", default="trixie", show_default=True, help="Debian release of the guest.")
@click.option(
    "--mac",
    "mac_byte",
    default=202,  # the demo's guest has 201, and no two VMs have one address
    show_default=True,
    type=click.IntRange(1, 254),
    help="Last byte of the guest's MAC, and so of its address 192.0.2.N.",
)
def guest_image(out: Path, suite: str, mac_byte: int) -> None:
    """Write a guest's disk as qcow2, and its domain XML beside it.

    \b
    Example:
      sudo vm-mgr-lab guest-image guest.qcow2
    """
    require_root()
    require_programs()
    say = _progress()
    paths = lab_paths()
    bring.make_key(paths)
    if paths.description.exists():
        kvm = Topology.load(paths).kvm
    else:
        kvm = guest.kvm_works(
            paths, image.node_image(paths, suite, say), guest.base_image(paths, suite, say), say
        )
    guest.guest_image(paths, suite, out, say)
    xml = out.with_suffix(".xml")
    xml.write_text(guest.domain_xml(mac_byte=mac_byte, kvm=kvm))
    click.echo(f"{out} and {xml}: the guest will answer at 192.0.2.{mac_byte}")


for verb in (*FAULTS, campaign):
    main.add_command(verb)


if __name__ == "__main__":
    main()
