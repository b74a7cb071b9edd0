"""What the engines `model` and `policy` have in common: a run of a scenario, and its audits."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.ports.cluster import Cluster
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.scenario.expectation import fenced_problems
from vm_mgr_lab.scenario.killed import DyingEnv, KilledError
from vm_mgr_lab.scenario.load import Expectation, Scenario
from vm_mgr_lab.scenario.world import NODES, World

__all__ = ["PlayedCluster", "SimulatedRun", "play_simulated"]

VM = "web1"
GIB = 1 << 30
QCOW2 = b"QFI\xfb" + bytes(20) + GIB.to_bytes(8, "big")
DEFINITION = (
    "<domain type='kvm'><name>x</name><memory unit='GiB'>1</memory><os><type>hvm</type></os><devices>"
    "<interface type='bridge'><source bridge='br0'/></interface></devices></domain>"
)


class PlayedCluster(Cluster, Protocol):
    """A cluster that does when it is looked at what there is to do."""

    def settle(self) -> None:
        """Do all of it."""
        ...


class SeenFrom:
    """The cluster as one of its nodes sees it."""

    def __init__(self, cluster: PlayedCluster, node: NodeName) -> None:
        self._cluster = cluster
        self._node = node

    def local_node(self) -> NodeName:
        """Name the node."""
        return self._node

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._cluster, verb)


@dataclass(slots=True, kw_only=True)
class SimulatedRun:
    """A scenario being played: the world, its cluster, and what the steps need to remember."""

    world: World
    cluster: PlayedCluster
    folder: Path
    first_node: NodeName = NODES[0]
    boots: dict[str, int] = field(default_factory=dict)
    vms: list[str] = field(default_factory=lambda: [VM])

    @property
    def image(self) -> Path:
        """Give the image that VMs are made from."""
        return self.folder / "disk.qcow2"

    @property
    def definition(self) -> Path:
        """Give the definition that VMs are made from."""
        return self.folder / "domain.xml"

    def node(self, name: str) -> NodeName:
        """Return the node that a name in a step means."""
        if name == "@first":
            return self.first_node
        if name == "@vm":
            return self.running_node(VM)
        if name == "@other":
            here = self.world.places(VM)
            return next(node for node in NODES if node not in here and self.world.is_up(node))
        if name not in NODES:
            raise LabError(f"no node {name!r}", hint=f"nodes: {', '.join(NODES)}, @first, @vm, @other")
        return NodeName(name)

    def running_node(self, vm: str) -> NodeName:
        """Return the one node where a VM's QEMU is."""
        nodes = self.world.places(vm)
        if len(nodes) != 1:
            raise LabError(f"{vm} runs on {', '.join(nodes) or 'no node'}, not on one")
        return nodes[0]

    def command(self, text: str, *, kill_at: str = "") -> tuple[int, str]:
        """Run vm-mgr on a node that is up; give its exit status, -1 if it was killed, and what it said."""
        names = {"vm": VM, "first": self.first_node, "image": str(self.image), "xml": str(self.definition)}
        if "{other}" in text:
            names["other"] = self.node("@other")
        words = [word.format(**names) for word in shlex.split(text)]
        env: Any = self.world.healthy()
        env = DyingEnv(env, kill_at) if kill_at else env
        try:
            done = CliRunner().invoke(app, words, obj=env)
        except KilledError:
            return -1, ""
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if kill_at:
            raise LabError(f"vm-mgr {' '.join(words)} has ended without the call {kill_at}")
        return done.exit_code, done.stdout if done.exit_code == 0 else done.output

    def status(self, vm: str) -> tuple[str, str | None]:
        """Return a VM's state and node, as `vm-mgr status` says."""
        code, said = self.command(f"status {vm} --output json")
        if code != 0:
            return "Undefined", None
        told = json.loads(said)
        return told["state"], told.get("node")

    def create(self, vm: str, options: tuple[str, ...]) -> None:
        """Create a VM as a user would."""
        self.image.write_bytes(QCOW2)
        self.definition.write_text(DEFINITION)
        command = " ".join(["create", vm, "--xml", "{xml}", "--image", "{image}", *options])
        code, said = self.command(command)
        if code != 0:
            raise LabError(f"vm-mgr {command} exited with {code}: {said[-500:]}")


def play_simulated(
    scenario: Scenario,
    folder: Path,
    build: Callable[[World, Path], PlayedCluster],
    verbs: dict[str, Callable[..., None]],
) -> list[str]:
    """Create the VMs, do the steps, heal everything; return what the audits found.

    LabError says which step could not be done.
    """
    world = World(folder=folder)
    cluster = build(world, folder / "cib.xml")
    world.build(lambda node: cast("Cluster", SeenFrom(cluster, node)))
    run = SimulatedRun(world=world, cluster=cluster, folder=folder)
    run.create(VM, scenario.vm_options)
    cluster.settle()
    run.first_node = next(iter(world.places(VM)), NODES[0])
    for name, one in scenario.others.items():
        run.create(name, one.options)
        run.vms.append(name)
    cluster.settle()
    run.boots = {vm: world.boots(vm) for vm in run.vms}
    before = len(world.happenings)
    for step in scenario.steps:
        verbs[step.verb](run, **step.arguments)
    verbs["heal"](run)
    cluster.settle()
    fenced = {one.node for one in world.happenings[before:] if one.kind == "fenced"}
    problems = [*dict.fromkeys(world.problems)]
    problems += fenced_problems(fenced, scenario.expect.fenced, run.first_node)
    problems += _expected(run, VM, scenario.expect)
    for name, one in scenario.others.items():
        problems += _expected(run, name, one.expect)
    return [*problems, *_left_over(run, cluster.state())]


def _expected(run: SimulatedRun, vm: str, expect: Expectation) -> list[str]:
    state, node = run.status(vm)
    problems = []
    if state != expect.state:
        problems.append(f"vm-mgr status says that {vm} is {state}, expected {expect.state}")
    fits = {"any": True, "same": node == run.first_node, "other": node not in (None, run.first_node)}
    if not fits.get(expect.node, node == expect.node):
        problems.append(f"{vm} is on {node}, expected {expect.node} (its first was {run.first_node})")
    if run.world.places(vm) != ([node] if node else []):
        problems.append(f"vm-mgr says that {vm} is on {node}, its QEMU runs on {run.world.places(vm)}")
    if expect.same_boot and run.world.boots(vm) != run.boots.get(vm):
        problems.append(f"the guest of {vm} booted {run.world.boots(vm)} times, expected once")
    return problems


def _left_over(run: SimulatedRun, state: ClusterState) -> list[str]:
    """Find what belongs to no VM or to nothing that is under way."""
    env = run.world.healthy()
    problems = []
    wanted = {vm for vm in run.vms if run.status(vm)[0] != "Undefined"}
    if env.storage.definitions.names() != wanted:
        problems.append(
            f"in the storage: {sorted(env.storage.definitions.names())}, expected {sorted(wanted)}"
        )
    vms = {name for name in state.resources if not name.startswith("vm-mgr-")}
    if not vms <= wanted:
        problems.append(f"resources in the cluster: {sorted(vms)}, expected at most {sorted(wanted)}")
    if env.intent_log.kept or env.intent_log.locked:
        problems.append(f"unfinished: {env.intent_log.kept}, locked: {env.intent_log.locked}")
    for vm in sorted(vms):
        left = [one.id for one in run.cluster.configured(VmName(vm)).others if one.leftover]
        problems += [f"constraints left by moves of {vm}: {left}"] if left else []
    return problems
