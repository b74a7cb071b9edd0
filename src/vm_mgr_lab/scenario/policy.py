"""The engine `policy`: our Pacemaker adapter on a CIB in a file, played by Pacemaker's own scheduler."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_write import parse_cib
from vm_mgr.adapters.pacemaker.port import Pacemaker
from vm_mgr.model.cluster import ClusterState, Fencing, Node, NodeName
from vm_mgr.model.node_requirements import ask_of
from vm_mgr.model.vm import VmName
from vm_mgr.ocf.parameters import read
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.scenario import cib as edit
from vm_mgr_lab.scenario.simulate import Action, CibRunner, Transition, simulate
from vm_mgr_lab.scenario.world import NODES, World

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CibCluster"]

MOST_TRANSITIONS = 30
# What every node tells unless a step says otherwise: a bridge with its uplink, KVM, a machine type.
PRESENT = "2"
AGENT = "VirtualDomain"
TRANSITION_S = 2.0


class CibCluster(Pacemaker):
    """Pacemaker with its scheduler, but no daemons: what it wants done is done when somebody looks."""

    def __init__(self, world: World, file: Path) -> None:
        super().__init__(CibRunner(file), world.clock)
        self.world = world
        self.file = file
        self.file.write_text(edit.fresh_cib(NODES))
        self.fencings: list[Fencing] = []
        self._acting = False
        self._fenced_now: set[NodeName] = set()
        self._at_rest: object = None
        self._seen: tuple[object, ClusterState] | None = None

    def prefetch(self) -> None:
        """Look when asked."""

    def state(self) -> ClusterState:
        """Look, after all that Pacemaker does about what has happened."""
        self.settle()
        text = self.file.read_text()
        if self._seen is None or self._seen[0] != text:
            self._seen = (text, super().state())
        return self._with_fencing(self._seen[1])

    def _with_fencing(self, state: ClusterState) -> ClusterState:
        """Add the fencer's history, which is in no CIB, and what the present transition has fenced."""
        nodes = tuple(self._now_is(one) for one in state.nodes)
        return state._replace(nodes=nodes, fencings=tuple(self.fencings))

    def _now_is(self, node: Node) -> Node:
        """Show a node that was lost or fenced while the agent acts: no transition has told the CIB of it."""
        if node.name in self._fenced_now:
            return node._replace(online=False, unclean=False)
        if node.online and not self.world.is_up(node.name):
            return node._replace(online=False, unclean=True)
        return node

    def remembers(self, node: NodeName) -> bool:
        """Look into the history, which is empty of what was just fenced."""
        return node not in self._fenced_now and super().remembers(node)

    def cleanup(self, name: VmName) -> None:
        """Forget failures, and find what runs."""
        self.change(lambda cib: edit.forget_failures(cib, name))

    def cleanup_failed(self, name: VmName, *_only: object) -> None:
        """Forget it; all are looked at."""
        self.cleanup(name)

    def reprobe(self, name: VmName) -> None:
        """Find what runs."""
        self.cleanup(name)

    def stand_by(self, node: NodeName) -> None:
        """Set the transient attribute."""
        self.world.told[node]["standby"] = "on"

    def alarm(self, name: VmName, node: NodeName, *, on: bool) -> None:
        """Set the transient attribute."""
        told = self.world.told[node]
        told.pop(f"vm-mgr-second-{name}", None)
        if on:
            told[f"vm-mgr-second-{name}"] = "1"

    def change(self, change: "Callable[[etree._Element], object]") -> None:
        """Edit the file as another program would."""
        cib = parse_cib(self.file.read_text())
        change(cib)
        self.file.write_text(etree.tostring(cib, encoding="unicode"))

    def settle(self) -> None:
        """Let transitions take place until there is nothing to do; LabError if that never ends."""
        if self._acting:
            return
        self._acting = True
        try:
            for _ in range(MOST_TRANSITIONS):
                self._tell()
                before = self._facts()
                if before == self._at_rest:
                    return
                if not self._transition():
                    self._at_rest = self._facts()
                    return
        finally:
            self._acting = False
        raise LabError(f"Pacemaker does not come to rest in {MOST_TRANSITIONS} transitions")

    def _facts(self) -> object:
        """Give all on which the scheduler's answer depends; once a minute it looks at the time, too."""
        silent = frozenset(self.world.silent_bmcs)
        return self.file.read_text(), silent, self.world.clock.now // 60

    def _tell(self) -> None:
        """Write what nodes and monitors tell into the status."""

        def change(cib: etree._Element) -> None:
            up = [node for node in NODES if self.world.is_up(node)]
            cib.set("have-quorum", "1" if len(up) > len(NODES) / 2 else "0")
            asked = {str(one.get("attribute")) for one in cib.iterfind(".//rsc_location/rule/expression")}
            for node in NODES:
                if node in up:
                    if node in self.world.booted:
                        edit.leave(cib, node, in_order=False)
                    edit.join(cib, node)
                    common = dict.fromkeys(filter(ask_of, asked), PRESENT)
                    edit.set_attributes(cib, node, common | self.world.told[node])
                else:
                    edit.leave(cib, node, in_order=False)

        self.change(change)
        self.world.booted -= {node for node in NODES if self.world.is_up(node)}
        whole = parse_cib(self.file.read_text())
        for node in [one for one in NODES if self.world.is_up(one)]:
            for vm in sorted(edit.running(whole, node)):
                if node not in self.world.places(vm):
                    self.inject(vm, node, status=7)

    def inject(self, vm: str, node: str, *, status: int) -> None:
        """Let the VM's monitor on a node end with a status."""
        now_utc = self.world.clock.now
        self.change(lambda cib: edit.fail_monitor(cib, node, vm, status, now_utc))

    def _transition(self) -> bool:
        """Play one, again with the failure where an action of the agent fails; False if there is nothing."""
        # What a probe finds; elsewhere it finds nothing.
        nodes = self.world.nodes.items()
        probes = [f"{vm}_monitor_0@{node}=0" for node, env in nodes for vm in env.hypervisor.running]
        failed: list[Action] = []
        done: set[tuple[str, str, str]] = set()
        while True:
            failing = [f"{one.resource}_{one.task}_0@{one.node}=1" for one in failed]
            played = simulate(self.file, now_utc=self.world.clock.now, failing=[*probes, *failing])
            if self._waits_for_fencing(played):
                return False
            for one in played.actions:
                if (one.task, one.node, one.resource) not in done:
                    done.add((one.task, one.node, one.resource))
                    if not self._act(one):
                        failed.append(one)
                        break
            else:
                break
        self._commit(played, failed)
        if played.actions:  # Pacemaker tells by the second what came first on two nodes
            self.world.clock.sleep(TRANSITION_S)
        return bool(played.actions)

    def _commit(self, played: Transition, failed: Sequence[Action]) -> None:
        """Take over the new status, and do what the controller does and crm_simulate does not."""
        cib = parse_cib(played.cib)
        for one in played.actions:
            if one.task == "delete":
                edit.forget(cib, one.node, one.resource)
            elif one.task == "cancel":
                edit.cancel(cib, one.node, one.resource)
            elif one.task == "clear_failcount":
                edit.forget_counts(cib, one.node, one.resource)
        for one in failed:
            if one.task in ("start", "stop"):  # start-failure-is-fatal; a failed stop always is
                which = f"{one.resource}#{one.task}_0"
                edit.count(cib, one.node, which, edit.INFINITY, self.world.clock.now)
        edit.date(cib, older_than=self.world.began_utc, now_utc=self.world.clock.now)
        self.file.write_text(etree.tostring(cib, encoding="unicode"))
        self._fenced_now.clear()
        self._leave()

    def _waits_for_fencing(self, played: Transition) -> bool:
        """Tell whether a node is to be fenced whose BMC is silent; nothing may go on meanwhile."""
        for node in sorted(self.world.silent_bmcs & played.unfenced.keys()):
            if self._vms(played.unfenced[node]):
                raise LabError(f"what does not wait for the fencing of {node} can't be played alone")
            self.fencings.append(Fencing(NodeName(node), succeeded=False, completed=self._now()))
            return True
        return False

    def _vms(self, actions: tuple[Action, ...]) -> list[Action]:
        cib = parse_cib(self.file.read_text())
        ours = {
            str(one.get("id")) for one in cib.iterfind(f"configuration/resources/primitive[@type='{AGENT}']")
        }
        return [one for one in actions if one.resource in ours]

    def _act(self, action: Action) -> bool:
        """Do it in the world; False where the agent fails."""
        node = NodeName(action.node)
        if action.task == "fence":
            self.world.fence(node)
            self._fenced_now.add(node)
            self.fencings.append(Fencing(node, succeeded=True, completed=self._now()))
            return True
        if action.task not in ("start", "stop", "migrate_to", "migrate_from") or not self._vms((action,)):
            return True
        told = {f"OCF_RESKEY_{name}": value for name, value in action.parameters.items()}
        given = read({"OCF_RESOURCE_INSTANCE": action.resource, **told})
        return self.world.act(node, action.task, given) is None

    def _leave(self) -> None:
        """Let the nodes go that are being shut down and empty."""
        for node in NODES:
            if "shutdown" in self.world.told[node] and self.world.is_up(node):
                if left := self.world.nodes[node].hypervisor.running:
                    raise LabError(f"{node} goes down while it runs {', '.join(left)}")
                self.world.power_off(node)
                self.change(lambda cib, node=node: edit.leave(cib, node, in_order=True))  # type: ignore[misc]

    def _now(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(self.world.clock.now))
