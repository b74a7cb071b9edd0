"""Run programs in a guest, and tell its addresses and its screen."""

from collections.abc import Sequence
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.operations.support.preconditions import running_node
from vm_mgr.ports.env import Env
from vm_mgr.ports.guest_access import AddressSource, Executed, GuestAddress
from vm_mgr.reports import Progress

__all__ = ["Display", "addresses", "display", "execute", "screenshot"]

POLL_S = 0.2


class Display(NamedTuple):
    """Where a graphical console is: scheme is vnc or spice, address and port as the node itself sees them."""

    node: NodeName
    scheme: str
    address: str
    port: int


def execute(env: Env, name: VmName, argv: Sequence[str], *, timeout_s: float = 60.0) -> Executed:
    """Run a program in the guest and wait for its end; raises TRY_LATER where it goes on."""
    hypervisor = env.hypervisor_at(running_node(env, env.cluster.state(), name))
    if not hypervisor.agent_answers(name):
        raise VmMgrError(Kind.NOT_SUPPORTED, f"no agent answers in the guest of {name}", hint=_AGENT_HINT)
    pid = hypervisor.guest.begin(name, argv)
    deadline = env.clock.monotonic() + timeout_s
    while (outcome := hypervisor.guest.ended(name, pid)) is None:
        if env.clock.monotonic() > deadline:
            message = f"{argv[0]} still runs in the guest of {name} after {timeout_s:g} s, as process {pid}"
            raise VmMgrError(Kind.TRY_LATER, message, hint="give it more time: --timeout 10m")
        env.say(Progress(f"waiting for {argv[0]} in the guest of {name}"))
        env.clock.sleep(POLL_S)
    return outcome


def addresses(env: Env, name: VmName) -> list[GuestAddress]:
    """Ask the guest's agent; else who has leased an address to it, or has seen it on this network."""
    guest = env.hypervisor_at(running_node(env, env.cluster.state(), name)).guest
    for source in AddressSource:
        found = guest.addresses(name, source)
        if found:
            return sorted(found, key=lambda one: (":" in one.address, one.mac))
    message = f"no address of {name} is known yet"
    raise VmMgrError(Kind.TRY_LATER, message, hint=f"wait until it has booted; {_AGENT_HINT}")


def screenshot(env: Env, name: VmName, path: str) -> None:
    """Write what the guest's screen shows to a file of this machine."""
    env.hypervisor_at(running_node(env, env.cluster.state(), name)).guest.screenshot(name, path)


def display(env: Env, name: VmName) -> Display:
    """Say where the guest's screen can be reached; raises NOT_SUPPORTED for one without."""
    node = running_node(env, env.cluster.state(), name)
    uri = env.hypervisor_at(node).guest.display(name)
    scheme, _, place = uri.partition("://")
    address, _, number = place.partition("?")[0].rpartition(":")
    if scheme not in ("vnc", "spice") or not number.isdecimal():
        hint = f"add <graphics type='vnc'> to it: vm-mgr edit {name}; the text console: vm-mgr console {name}"
        raise VmMgrError(Kind.NOT_SUPPORTED, f"{name} has no graphical console on the network", hint=hint)
    port = int(number) + (VNC_BASE if scheme == "vnc" and int(number) < VNC_BASE else 0)
    return Display(node, scheme, address.strip("[]"), port)


# VNC counts displays from this port (RFC 6143, section 4).
VNC_BASE = 5900
_AGENT_HINT = "install qemu-guest-agent in the guest; its VM needs the channel org.qemu.guest_agent.0"
