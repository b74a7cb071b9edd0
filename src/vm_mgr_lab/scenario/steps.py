"""The verbs that a scenario's steps.toml can use; each is a function of the run and the step's arguments.

Nodes are named directly or as "@vm" (where the VM runs now), "@first" (where it ran before the first step)
and "@other" (a hypervisor where it doesn't run now). A scenario is played with a VM in each storage, all on
the same node at first: what is done to "the VM" is done to each of them.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vm_mgr_lab import bmc, demo
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.history import History, qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import run as execute
from vm_mgr_lab.process import wait_until
from vm_mgr_lab.topology import HOST_ADDRESS, NETWORKS
from vm_mgr_lab.up import wait_ready

__all__ = ["VERBS", "Run", "Subject"]

WITHIN_S = 240  # a hang ends; how fast it is, tests/bench measures


@dataclass(slots=True, kw_only=True)
class Subject:
    """A VM that a scenario is played with, and what the steps need to remember of it."""

    vm: str
    mac_byte: int
    history: History
    session: "subprocess.Popen[str] | None" = None
    output: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Run:
    """A scenario being played: the lab and the VMs; lost are the nodes that were lost with a VM on them."""

    lab: Lab
    first_node: str
    fault_s: float
    cleanup: contextlib.ExitStack
    subjects: list[Subject] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)

    def lose(self, names: Sequence[str]) -> None:
        """Note a fault of nodes, and which of them have a VM."""
        self.fault_s = time.time()
        self.lost |= {name for one in self.subjects for name in qemu_nodes(self.lab, one.vm)} & set(names)

    def node(self, name: str) -> str:
        """Return the node that a name in a step means."""
        if name == "@first":
            return self.first_node
        if name == "@vm":
            return self.running_node()
        if name == "@other":
            here = self.running_node()
            return next(n.name for n in self.lab.nodes if n.role == "hypervisor" and n.name != here)
        return self.lab.topology.node(name).name

    def running_node(self) -> str:
        """Return the one node where the VMs' QEMUs run."""
        nodes = {node for one in self.subjects for node in qemu_nodes(self.lab, one.vm) or ("no node",)}
        if len(nodes) != 1 or nodes == {"no node"}:
            raise LabError(f"the VMs run on {', '.join(sorted(nodes))}, not on one")
        return nodes.pop()

    def healthy_node(self) -> str:
        """Return a node that is on, to give commands on."""
        return next(n.name for n in self.lab.nodes if self.lab.machine(n.name).is_on())


def cut_power(run: Run, *, node: str) -> None:
    """Cut a node's power, or that of "all" at once."""
    victims = [n.name for n in run.lab.nodes] if node == "all" else [run.node(node)]
    run.lose(victims)
    for name in victims:
        run.lab.network.unplug(run.lab.topology.node(name))
    for name in victims:
        run.lab.cut_power(name)


def power_on(run: Run, *, node: str) -> None:
    """Restore a node's power, or that of "all"."""
    for name in [n.name for n in run.lab.nodes] if node == "all" else [run.node(node)]:
        run.lab.power_on(name)


def reboot(run: Run, *, node: str) -> None:
    """Reboot a node as an administrator does."""
    run.fault_s = time.time()
    run.lab.execute(run.node(node), ["systemctl", "reboot", "--no-block"])


def kill_qemu(run: Run) -> None:
    """Kill the VM's QEMU with SIGKILL, as the kernel's OOM killer does."""
    run.fault_s = time.time()
    if run.lab.topology.own_kernel:
        node = run.running_node()
        for one in run.subjects:
            run.lab.execute(node, ["pkill", "-KILL", "-f", f"guest={one.vm},"])
        return
    wanted = [f"guest={one.vm},".encode() for one in run.subjects]
    for pid in run.lab.processes(run.running_node()):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if any(name in line for name in wanted):
                os.kill(pid, signal.SIGKILL)


def cut_network(run: Run, *, node: str, networks: list[str] | None = None) -> None:
    """Unplug a node from both networks, or those named."""
    name = run.node(node)
    run.lose([name])
    run.lab.cut_network(name, networks or list(NETWORKS))


def heal(run: Run) -> None:
    """Undo every fault and restore power."""
    run.lab.heal()
    for node in run.lab.nodes:
        run.lab.power_on(node.name)


def break_bmc(run: Run, *, node: str) -> None:
    """Let a node's BMC fall silent."""
    bmc.break_down(run.lab.topology.node(run.node(node)))


def heal_bmc(run: Run, *, node: str) -> None:
    """Bring a node's BMC back."""
    run.fault_s = time.time()
    bmc.heal(run.lab.paths, run.lab.topology.node(run.node(node)))


def vm_mgr(run: Run, *, command: str, fails: bool = False, once: bool = False) -> None:
    """Run vm-mgr on a node that is up, for each VM; once for what concerns all of them.

    {vm} stands for the VM, {first} for its first node, {other} for a node where it doesn't run.
    """
    run.fault_s = time.time()  # a write is waited for that comes after this
    other = run.node("@other") if "{other}" in command else ""
    for one in run.subjects[:1] if once else run.subjects:
        words = [word.format(vm=one.vm, first=run.first_node, other=other) for word in command.split()]
        done = run.lab.execute(run.healthy_node(), ["vm-mgr", *words], check=False, timeout_s=180)
        if (done.returncode != 0) != fails:
            raise LabError(
                f"vm-mgr {' '.join(words)} exited with {done.returncode}: {done.stderr.strip()[-500:]}"
            )


def standby(run: Run, *, node: str) -> None:
    """Put a node in standby until it boots."""
    run.fault_s = time.time()
    _crm_standby(run, node, "--lifetime", "reboot", "--update", "on")


def unstandby(run: Run, *, node: str) -> None:
    """Let a node take VMs again."""
    _crm_standby(run, node, "--lifetime", "reboot", "--delete")


def _crm_standby(run: Run, node: str, *change: str) -> None:
    run.lab.execute(run.healthy_node(), ["crm_standby", "--node", run.node(node), *change])


def status(run: Run, *, state: str, node: str = "any", within_s: float = WITHIN_S) -> None:
    """Wait for what `vm-mgr status` is to say: a state, and "any" node, "other" or one by name.

    A VM whose source has not yet been cleared is still on its way.
    """
    where = node if node in ("any", "other") else run.node(node)

    def fits(one: Subject) -> bool:
        try:
            told = demo.told_of(run.lab, one.vm, ask=run.healthy_node())
        except LabError:  # a node that is just back has not booted, or has no quorum yet
            return False
        here = told.get("node")
        there = where == "any" or (here != run.first_node if where == "other" else here == where)
        return told["state"] == state and told.get("detail") != "moving" and there

    for one in run.subjects:
        wait_until(partial(fits, one), what=f"{one.vm} to be {state} on {where} node", timeout_s=within_s)


def wait_for_nodes(run: Run) -> None:
    """Wait until all nodes are members, can be fenced, and the storage is whole again."""
    wait_ready(run.lab, print)


def wait(run: Run, *, seconds: float) -> None:  # noqa: ARG001 - as all verbs are called
    """Let time pass."""
    time.sleep(seconds)


def start_by_hand(run: Run, *, node: str) -> None:
    """Start the VM's own definition with virsh on another node; libvirt must refuse it and leave nothing."""
    here, there = run.running_node(), run.node(node)
    for one in run.subjects:
        definition = run.lab.execute(here, ["virsh", "dumpxml", "--security-info", one.vm]).stdout
        run.lab.execute(there, ["sh", "-c", "cat > /root/by-hand.xml"], stdin=definition)
        for verb in (["create", "/root/by-hand.xml"], ["define", "/root/by-hand.xml"], ["start", one.vm]):
            done = run.lab.execute(there, ["virsh", *verb], check=False)
            if verb[0] != "define" and done.returncode == 0:
                raise LabError(f"virsh {verb[0]} started a second {one.vm} on {there}")
        run.lab.execute(there, ["virsh", "undefine", one.vm])
        run.lab.execute(there, ["rm", "/root/by-hand.xml"])
        if qemu_nodes(run.lab, one.vm) != (here,):
            raise LabError(f"{one.vm} runs on {qemu_nodes(run.lab, one.vm)} after virsh on {there}")


def open_ssh(run: Run) -> None:
    """Open an ssh session to the guest that counts, one line every 200 ms."""
    script = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.2; done"
    for one in run.subjects:
        command = run.lab.ssh_command(f"{HOST_ADDRESS.rsplit('.', 1)[0]}.{one.mac_byte}")
        _wait_ssh(one.vm, command)  # a guest writes its first records before it has a network
        session = subprocess.Popen(
            [*command, script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        one.session = session
        run.cleanup.callback(_end, session)
        _next_tick(one)


def _wait_ssh(vm: str, command: list[str]) -> None:
    wait_until(
        lambda: execute([*command, "true"], check=False, timeout_s=20).returncode == 0,
        what=f"the ssh of {vm}",
        timeout_s=WITHIN_S,
    )


def ssh_still_counts(run: Run) -> None:
    """Check that the ssh session opened before is the same one and still counts."""
    for one in run.subjects:
        if one.session is None or one.session.poll() is not None:
            raise LabError(f"the ssh session to {one.vm} has ended")
        _next_tick(one)
        ticks = [int(line.split()[1]) for line in one.output if line.startswith("tick")]
        if ticks != list(range(1, len(ticks) + 1)):
            raise LabError(f"the ssh session to {one.vm} lost lines: {ticks[-5:]}")


def wait_for_write(run: Run, *, node: str = "any", within_s: float = WITHIN_S) -> None:
    """Wait for the next acknowledged write after the last fault, on "any" node, "@first" or "other"."""

    def fits(name: str) -> bool:
        return node == "any" or (name == run.first_node) == (node == "@first")

    def written(one: Subject) -> bool:
        return one.history.first("record", after_s=run.fault_s, where=lambda e: fits(e.node)) is not None

    for one in run.subjects:
        wait_until(partial(written, one), what=f"a write of {one.vm} on {node} node", timeout_s=within_s)


def wait_offline(run: Run, *, node: str, within_s: float = WITHIN_S) -> None:
    """Wait until the rest of the cluster no longer counts a node as a member."""
    name = run.node(node)
    wait_until(
        lambda: (
            run.subjects[0].history.first(
                "membership", after_s=run.fault_s, where=lambda e: (e.node, e.detail) == (name, "offline")
            )
            is not None
        ),
        what=f"{name} to be seen as lost",
        timeout_s=within_s,
    )


def stays_down(run: Run, *, seconds: float) -> None:
    """Check for some seconds that no QEMU of the VM is started and nothing is written."""
    since = time.time()
    while time.time() < since + seconds:
        for one in run.subjects:
            nodes = qemu_nodes(run.lab, one.vm)
            if nodes or one.history.first("record", after_s=since) is not None:
                raise LabError(f"{one.vm} came to life on {nodes}")
        time.sleep(0.2)


def stays_up(run: Run, *, seconds: float, node: str) -> None:
    """Check for some seconds that the VM's QEMU runs on a node, and nowhere else."""
    where, since = run.node(node), time.time()
    while time.time() < since + seconds:
        for one in run.subjects:
            if qemu_nodes(run.lab, one.vm) != (where,):
                raise LabError(f"{one.vm} runs on {qemu_nodes(run.lab, one.vm)}, expected on {where}")
        time.sleep(0.5)


def _next_tick(one: Subject) -> None:
    """Read what the ssh session said, up to one line that it said after this call."""
    session = one.session
    if session is None or session.stdout is None:
        raise LabError("no ssh session was opened")
    asked = time.time()
    while True:
        line = session.stdout.readline()
        if not line:
            raise LabError(f"the ssh session to {one.vm} has ended: {' / '.join(one.output[-2:])}")
        one.output.append(line.strip())
        if time.time() > asked + 1.0:
            return


def _end(session: "subprocess.Popen[str]") -> None:
    session.kill()
    session.wait()
    if session.stdout is not None:
        session.stdout.close()


VERBS: dict[str, Callable[..., None]] = {
    "break-bmc": break_bmc,
    "cut-network": cut_network,
    "cut-power": cut_power,
    "heal": heal,
    "heal-bmc": heal_bmc,
    "kill-qemu": kill_qemu,
    "open-ssh": open_ssh,
    "power-on": power_on,
    "reboot": reboot,
    "ssh-still-counts": ssh_still_counts,
    "standby": standby,
    "start-by-hand": start_by_hand,
    "status": status,
    "stays-down": stays_down,
    "stays-up": stays_up,
    "unstandby": unstandby,
    "vm-mgr": vm_mgr,
    "wait": wait,
    "wait-for-nodes": wait_for_nodes,
    "wait-for-write": wait_for_write,
    "wait-offline": wait_offline,
}
