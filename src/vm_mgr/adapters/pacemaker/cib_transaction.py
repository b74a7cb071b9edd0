"""Change what the CIB has of VMs and their moves."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from threading import Thread

from lxml import etree

from vm_mgr.adapters.pacemaker import cib_read, cib_write, moves
from vm_mgr.adapters.pacemaker.cib import Cib
from vm_mgr.adapters.pacemaker.cib_xml import find, parse_cib
from vm_mgr.adapters.pacemaker.foresight import Foresight
from vm_mgr.adapters.pacemaker.requirements import change_rules
from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.clock import Clock
from vm_mgr.ports.cluster import Cause, Configured, Constraint, Move, Simulation, VmResource
from vm_mgr.ports.runner import Runner

__all__ = ["CibEditor"]

# How far the clocks of nodes may differ for what one of them calls expired.
CLOCKS_S = 24 * 3600
# A constraint that is only thought of has to be in effect now.
FORESIGHT_S = 600


UtcAt = Callable[[NodeName], float]
# For so long it is taken for known by how much another node's clock is ahead.
KEPT_S = 10.0


class CibEditor:
    """The configuration: each change is one transaction."""

    def __init__(
        self,
        runner: Runner,
        clock: Clock,
        utc_at: UtcAt | None = None,
        ahead: dict[NodeName, tuple[float, float]] | None = None,
    ) -> None:
        """utc_at gives the wall clock of any node, in seconds; without it all nodes have this one's.

        ahead keeps by how much nodes' clocks are ahead of this one's, and since when that is known.
        """
        self.cib = Cib(runner, clock)
        self.runner = runner
        self.clock = clock
        self.utc_at = utc_at
        self.ahead = {} if ahead is None else ahead

    def configured(self, name: VmName) -> Configured:
        """Read what it says of a VM."""
        now = datetime.fromtimestamp(self.clock.utc(), tz=UTC).astimezone()
        return cib_read.read_configured(cib_write.parse_cib(self._query()), name, now)

    def add(self, resource: VmResource) -> None:
        """Put a VM under the cluster's control."""

        def change(cib: etree._Element) -> None:
            cib_write.add_vm(cib, resource)
            moves.sweep_moves(cib, resource.name, self._long_ago())

        self._edit(change)

    def reconfigure(self, resource: VmResource, before: VmResource | None = None) -> None:
        """Change resource and placement."""
        self._edit(lambda cib: cib_write.update_vm(cib, resource, before))

    def change_requirements(
        self, name: VmName, requirements: tuple[str, ...], *, follow_uplink: bool
    ) -> None:
        """Replace the rules by which it avoids nodes."""
        self._edit(lambda cib: change_rules(cib, name, requirements, follow_uplink=follow_uplink))

    def remove(self, name: VmName, expected: VmResource | None = None) -> None:
        """Take a VM out of the configuration."""

        def change(cib: etree._Element) -> None:
            cib_write.remove_vm(cib, name, expected)
            moves.sweep_moves(cib, name, self._long_ago())

        self._edit(change)

    def rename(self, name: VmName, new: VmName) -> None:
        """Rename a VM wherever the configuration names it."""
        self._edit(lambda cib: cib_write.rename_vm(cib, name, new))

    def set_target_role(self, name: VmName, role: TargetRole) -> None:
        """Ask for a VM to run or not; sweep the constraint that a killed move left."""

        def change(cib: etree._Element) -> None:
            cib_write.set_target_role(cib, name, role)
            moves.sweep_moves(cib, name, self._long_ago())

        self._edit(change)

    def begin_move(self, move: Move) -> None:
        """Constrain a VM for the time of a move."""

        def change(cib: etree._Element) -> None:
            expires = self._utc(cib) + move.lifetime_s
            moves.sweep_moves(cib, move.name, self._long_ago())
            moves.add_move(cib, move, expires)

        self._edit(change)

    def simulate_move(self, move: Move) -> Simulation:
        """Compare what would happen with the move's constraint with what happens anyway.

        Meanwhile the controller is asked for its time, which the move itself needs next.
        """
        present = self._query()
        asking = Thread(target=self._utc, args=(parse_cib(present),), daemon=True)
        asking.start()
        found = Foresight(self.runner, present).move(move, self.clock.utc() + FORESIGHT_S)
        asking.join()
        return found

    def simulate_change(self, resource: VmResource, before: VmResource | None = None) -> Simulation:
        """Compare what would happen after reconfigure with what happens anyway."""
        return self._foresight().change(resource, before)

    def bars(self, names: Collection[VmName]) -> dict[VmName, tuple[Cause, ...]]:
        """Look which of these would not be started, and why."""
        return self._foresight().bars(names)

    def end_move(self, name: VmName, where: Callable[[], Sequence[NodeName]]) -> None:
        """Remove the constraint of a move; where tells the nodes on which the VM is."""

        def change(cib: etree._Element) -> None:
            if not moves.may_be_promoted_twice(cib, name):
                moves.sweep_moves(cib, name, self._long_ago())
            elif len(nodes := where()) == 1:
                moves.keep_at(cib, name, nodes[0], self._utc(cib) + moves.KEPT_S)
            elif not nodes:
                moves.sweep_moves(cib, name, self._long_ago())

        self._edit(change)

    def recover_blocked(self, name: VmName, *, lifetime_s: int) -> None:
        """Have it recovered."""
        self._edit(lambda cib: moves.add_restart(cib, name, self._utc(cib) + lifetime_s))

    def clear_moves(self, name: VmName) -> tuple[Constraint, ...]:
        """Remove what moves left."""
        cleared: list[Constraint] = []

        def change(cib: etree._Element) -> None:
            found = cib_read.leftover_moves(cib, name)
            cleared[:] = [cib_read.read_constraint(element) for element in found]
            cib_write.remove_constraints(found)

        self._edit(change)
        return tuple(cleared)

    def _utc(self, cib: etree._Element) -> float:
        """Give the time of the cluster's controller, which compares a rule's date with its own clock.

        Where that does not tell it, this node's has to do.
        """
        for node in find(cib, "configuration/nodes/node[@id=$name]", name=cib.get("dc-uuid", "")):
            return self.clock.utc() + self._ahead_of_us(NodeName(node.get("uname", "")))
        return self.clock.utc()

    def _ahead_of_us(self, node: NodeName) -> float:
        """Ask once: a command asks while the scheduler looks ahead, and needs it a moment later."""
        ahead_s, asked = self.ahead.get(node, (0.0, None))
        if self.utc_at is None or (asked is not None and self.clock.monotonic() - asked < KEPT_S):
            return ahead_s
        ahead_s = 0.0
        with suppress(VmMgrError):
            ahead_s = self.utc_at(node) - self.clock.utc()
        self.ahead[node] = ahead_s, self.clock.monotonic()
        return ahead_s

    def _long_ago(self) -> float:
        return self.clock.utc() - CLOCKS_S

    def _foresight(self) -> Foresight:
        return Foresight(self.runner, self._query())

    def _query(self) -> str:
        return self.cib.query()

    def _edit(self, change: Callable[[etree._Element], None]) -> None:
        self.cib.edit(change)
