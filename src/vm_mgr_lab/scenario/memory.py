"""The engine `model`: the cluster in memory, whose starts, stops and moves the agent does."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from vm_mgr.adapters.memory.cluster import MemoryCluster
from vm_mgr.agent.parameters import Parameters
from vm_mgr.model.cluster import ClusterState, Failure, NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.ocf.parameters import read
from vm_mgr.ports.cluster import VmResource
from vm_mgr_lab.scenario.world import NODES, World

if TYPE_CHECKING:
    from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor

__all__ = ["AgentCluster"]


class Everywhere:
    """The domains of all nodes, as far as the cluster in memory asks for them."""

    ignores_shutdown = False

    def __init__(self, world: World) -> None:
        self._world = world
        self.halted: dict[VmName, str] = {}

    @property
    def running(self) -> dict[VmName, int]:
        """Give all."""
        found: dict[VmName, int] = {}
        for node in self._world.nodes.values():
            found |= node.hypervisor.running
        return found


class AgentCluster(MemoryCluster):
    """What Pacemaker would do about a fault it does not know: such scenarios are for the engine policy."""

    def __init__(self, world: World, folder: Path) -> None:  # noqa: ARG002 - the other engine keeps a file
        super().__init__(*NODES, domains=cast("MemoryHypervisor", Everywhere(world)))
        self.world = world
        self._acting = False

    def state(self) -> ClusterState:
        """Look, but do nothing more while the agent acts."""
        stuck = self.stuck
        try:
            if self._acting:
                self.stuck = set(self.resources)
            for node in NODES:
                self.nodes[node] = self.nodes[node]._replace(standby="standby" in self.world.told[node])
            return super().state()
        finally:
            self.stuck = stuck

    def settle(self) -> None:
        """Do the next steps."""
        self.state()
        self.state()

    def stand_by(self, node: NodeName) -> None:
        """Remember it until the node boots."""
        self.world.told[node]["standby"] = "on"

    def _start(self, name: VmName, node: NodeName) -> None:
        present = self.places.get(name)
        steps = [(present, "stop", "")] if present else []
        steps += [(node, "start", "")]
        if present and self.resources[name].live_migration:
            steps = [(present, "migrate_to", node), (node, "migrate_from", "")]
        for where, action, target in steps:
            if not self._act(where, action, name, target=target):
                if action == "migrate_to":
                    self.held[name] = where  # on-fail=block
                else:
                    self.failing[name] = self.failures[name][-1].text
                return
        super()._start(name, node)

    def _stop(self, name: VmName) -> None:
        present = self.places.get(name)
        if present is None or self._act(present, "stop", name):
            self.places.pop(name, None)

    def _act(self, node: NodeName, action: str, name: VmName, *, target: str = "") -> bool:
        """Run the agent; remember its failure as Pacemaker does."""
        self._acting = True
        try:
            error = self.world.act(node, action, self._parameters(self.resources[name], action, target))
        finally:
            self._acting = False
        if error is not None:
            past = self.failures.setdefault(name, [])
            when = f"the {len(past) + 1}th time"
            past.append(Failure(f"{action} on {node}: {error.message}", when, action, node))
        return error is None

    def _parameters(self, vm: VmResource, action: str, target: str) -> Parameters:
        """Give what Pacemaker hands over."""
        times = {
            "start": vm.start_timeout_s + vm.hibernation_s,
            "stop": vm.stop_timeout_s + vm.hibernation_s,
            "migrate_to": vm.migrate_to_timeout_s,
            "migrate_from": vm.migrate_from_timeout_s,
        }
        told = {**vm.params, "CRM_meta_timeout": str(times[action] * 1000), "CRM_meta_migrate_target": target}
        if action == "stop":
            told["CRM_meta_vm_mgr_hibernation"] = str(vm.hibernation_s or "")
        if action == "migrate_to":
            told["CRM_meta_vm_mgr_move"] = self.terms.get(vm.name, "")
        environment = {f"OCF_RESKEY_{name}": value for name, value in told.items()}
        return read({"OCF_RESOURCE_INSTANCE": vm.name, **environment})
