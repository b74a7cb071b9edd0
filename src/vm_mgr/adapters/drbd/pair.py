"""Have steps taken at both halves of a resource, and wait until the two agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from vm_mgr.adapters.drbd.proc_drbd import Seen
from vm_mgr.adapters.drbd.steps import Order, Step
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import Room
from vm_mgr.ports.node_runner import NodeVerb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vm_mgr.adapters.drbd.record import Record
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.node_disks import NodeDisks
    from vm_mgr.ports.node_runner import NodeRunner

__all__ = ["Look", "Pair"]

POLL_S = 0.3
# The peers of a new resource find each other at once, or something is wrong with the network.
CONNECT_S = 30.0


class Look(NamedTuple):
    """What a node sees of its volumes, and which process there has each open; 0 for none."""

    volumes: tuple[Seen, ...]
    openers: tuple[int, ...]

    @property
    def opened(self) -> bool:
        """Tell whether any is open."""
        return any(self.openers)

    @property
    def up(self) -> bool:
        """Tell whether any volume is configured there."""
        return any(one.up for one in self.volumes)

    @property
    def whole(self) -> bool:
        """Tell whether all volumes are UpToDate on both sides."""
        return bool(self.volumes) and all(one.whole for one in self.volumes)

    @property
    def primary(self) -> bool:
        """Tell whether it may write."""
        return any(one.role == "Primary" for one in self.volumes)


class Pair:
    """The nodes of a resource: this one directly, another one over ssh."""

    def __init__(
        self, local: NodeDisks, here: Callable[[], NodeName], others: NodeRunner, clock: Clock
    ) -> None:
        self.local = local
        self.here = here
        self.others = others
        self.clock = clock

    def on(self, node: NodeName, step: Step, record: Record, number: int = 0) -> str:
        """Have one node take a step."""
        return self._ask(node, Order(step, record.port, record.serial, number))

    def both(self, step: Step, record: Record, number: int = 0) -> Mapping[NodeName, str]:
        """Have both take a step, the other node first: it is the one that may be out of reach."""
        here = self.here()
        nodes = sorted(record.nodes, key=lambda node: node == here)
        return {node: self.on(node, step, record, number) for node in nodes}

    def first(self, record: Record) -> NodeName:
        """Choose a node for what one of them does: this one, if it is one of them."""
        here = self.here()
        return here if here in record.nodes else next(iter(record.nodes))

    def look(self, record: Record, node: NodeName) -> Look:
        """Look at the volumes as a node sees them."""
        rows = json.loads(self.on(node, Step.LOOK, record))
        volumes = tuple(Seen(*row[:-1]) for row in rows)
        return Look(volumes, tuple(int(row[-1]) for row in rows))

    def looks(self, record: Record) -> dict[NodeName, Look]:
        """Look at both sides."""
        return {node: self.look(record, node) for node in record.nodes}

    def room(self, node: NodeName) -> Room:
        """Ask a node for the size of its thin pool, and what is free of it."""
        size, free = json.loads(self._ask(node, Order(Step.ROOM)))
        return Room(size, free)

    def await_look(
        self, record: Record, done: Callable[[Look], bool], doing: str, limit_s: float = CONNECT_S
    ) -> None:
        """Wait until both sides show what is awaited; raises TRY_LATER."""
        deadline = self.clock.monotonic() + limit_s
        while not all(done(one) for one in self.looks(record).values()):
            if self.clock.monotonic() > deadline:
                message = f"the nodes {' and '.join(record.nodes)} do not {doing} within {limit_s:.0f} s"
                raise VmMgrError(Kind.TRY_LATER, message, hint="look on both: cat /proc/drbd")
            self.clock.sleep(POLL_S)

    def _ask(self, node: NodeName, order: Order) -> str:
        if node == self.here():
            return self.local.do(order.words)
        return self.others.run(node, NodeVerb.DISKS, *order.words)
