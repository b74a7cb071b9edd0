"""Change the CIB: read it, build the new one, apply the difference as one versioned patch."""

from collections.abc import Callable
from contextlib import suppress

from lxml import etree

from vm_mgr.adapters.pacemaker import cib_read, cib_write, moves
from vm_mgr.adapters.pacemaker.cib_xml import find
from vm_mgr.adapters.pacemaker.requirements import change_rules
from vm_mgr.adapters.pacemaker.simulation import simulate
from vm_mgr.adapters.pacemaker.tools import CONFLICT, call, check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.clock import Clock
from vm_mgr.ports.cluster import Configured, Constraint, Move, SideEffect, VmResource
from vm_mgr.ports.runner import Runner
from vm_mgr.room import in_memory

__all__ = ["CibEditor"]

# A patch names the version that it was made from, which also counts changes of status (num_updates): while
# resources move, a lost race is normal and says nothing about another editor. Of several editors one
# always wins, so patience is enough.
PATIENCE_S = 30.0
LONGEST_PAUSE_S = 0.3
# How far the clocks of nodes may differ for what one of them calls expired.
CLOCKS_S = 24 * 3600
# A constraint that is only thought of has to be in effect now.
FORESIGHT_S = 600


UtcAt = Callable[[NodeName], float]


class CibEditor:
    """The configuration: each change is one transaction."""

    def __init__(self, runner: Runner, clock: Clock, utc_at: UtcAt | None = None) -> None:
        """utc_at gives the wall clock of any node, in seconds; without it all nodes have this one's."""
        self.runner = runner
        self.clock = clock
        self.utc_at = utc_at
        self._ahead: float | None = None

    def configured(self, name: VmName) -> Configured:
        """Read what it says of a VM."""
        return cib_read.read_configured(cib_write.parse_cib(self._query()), name)

    def add(self, resource: VmResource) -> None:
        """Put a VM under the cluster's control."""

        def change(cib: etree._Element) -> None:
            cib_write.add_vm(cib, resource)
            moves.sweep_moves(cib, resource.name, self._long_ago())

        self._edit(change)

    def reconfigure(self, resource: VmResource) -> None:
        """Change resource and placement."""
        self._edit(lambda cib: cib_write.update_vm(cib, resource))

    def change_requirements(
        self, name: VmName, requirements: tuple[str, ...], *, follow_uplink: bool
    ) -> None:
        """Replace the rules by which it avoids nodes."""
        self._edit(lambda cib: change_rules(cib, name, requirements, follow_uplink=follow_uplink))

    def remove(self, name: VmName) -> None:
        """Take a VM out of the configuration."""

        def change(cib: etree._Element) -> None:
            cib_write.remove_vm(cib, name)
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

    def simulate_move(self, move: Move) -> dict[str, SideEffect]:
        """Compare what would happen with the move's constraint with what happens anyway."""
        before = self._query()
        cib, expires = cib_write.parse_cib(before), self.clock.utc() + FORESIGHT_S
        moves.add_move(cib, move, expires)
        anyway = simulate(self.runner, before)
        found = simulate(self.runner, etree.tostring(cib, encoding="unicode"))
        return {resource: harm for resource, harm in found.items() if anyway.get(resource) is not harm}

    def end_move(self, name: VmName) -> None:
        """Remove the constraint of a move."""
        self._edit(lambda cib: moves.sweep_moves(cib, name, self._long_ago()))

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
            if self.utc_at and self._ahead is None:
                self._ahead = 0.0
                with suppress(VmMgrError):
                    self._ahead = self.utc_at(NodeName(node.get("uname", ""))) - self.clock.utc()
        return self.clock.utc() + (self._ahead or 0.0)

    def _long_ago(self) -> float:
        return self.clock.utc() - CLOCKS_S

    def _query(self) -> str:
        return check(call(self.runner, ("cibadmin", "--query"))).stdout

    def _edit(self, change: Callable[[etree._Element], None]) -> None:
        deadline, pause_s = self.clock.monotonic() + PATIENCE_S, 0.0
        while self.clock.monotonic() < deadline:
            self.clock.sleep(pause_s)
            pause_s = min(pause_s + 0.05, LONGEST_PAUSE_S)
            before = self._query()
            cib = cib_write.parse_cib(before)
            unchanged = etree.tostring(cib)
            change(cib)
            if etree.tostring(cib) == unchanged:
                return
            cib_write.bump_version(cib)
            if self._apply(before, etree.tostring(cib, encoding="unicode")):
                return
        message = "the cluster's configuration kept changing while it was being edited"
        raise VmMgrError(Kind.TRY_LATER, message, hint="run the command again")

    def _apply(self, before: str, after: str) -> bool:
        """Apply the difference if the CIB is still the one that was read; False after a lost race."""
        with in_memory(before, "old.xml") as old, in_memory(after, "new.xml") as new:
            diff = call(self.runner, ("crm_diff", "--original", old, "--new", new))
        if diff.exit_code != 1:  # 1 says that they differ
            check(diff)
        patched = call(self.runner, ("cibadmin", "--patch", "--xml-pipe"), stdin=diff.stdout)
        if patched.exit_code in CONFLICT:
            return False
        check(patched)
        return True
