"""Tell who has disks open: DRBD lets one node write, and that node knows its processes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd.node_files import LINKS
from vm_mgr.adapters.drbd.record import Record, State
from vm_mgr.errors import VmMgrError
from vm_mgr.model.storage import DiskClient, disk_image, disk_owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_mgr.adapters.drbd.pool import DrbdPool
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.model.storage import DiskSource
    from vm_mgr.model.vm import VmName

__all__ = ["DrbdClients"]

UNKNOWN = -1


class DrbdClients:
    """Nodes that have a device open; the address is that of their DRBD."""

    def __init__(self, pool: DrbdPool) -> None:
        self.pool = pool

    def images(self, name: VmName) -> list[str]:
        """Name the VM's disks."""
        return [disk_image(name, one.number) for one in self.pool.placed(name).volumes]

    def of(self, images: Sequence[str]) -> list[DiskClient]:
        """Ask both nodes; one that is out of reach has the disks where this one sees it as the primary.

        The address has the process, so that a new one is not taken for one that has ended.
        """
        found = []
        for record in self.pool.all().values():
            ours = [disk_image(record.name, one.number) for one in record.volumes]
            if record.state is State.PLACED and not {*ours}.isdisjoint(images):
                for node, address in record.nodes.items():
                    opened = zip(ours, self._openers(record, node), strict=True)
                    found += [
                        DiskClient(image, f"{_host(address)}:0/{max(process, 0)}")
                        for image, process in opened
                        if process and image in images
                    ]
        return found

    def evict(self, client: DiskClient) -> None:
        """Leave it: a node that was fenced has nothing open, and DRBD knows."""

    def image_of(self, source: str) -> str:
        """Take the path apart."""
        path = Path(source)
        return path.name if path.parent == LINKS and disk_owner(path.name) is not None else ""

    def opened(self, sources: Sequence[DiskSource]) -> list[str]:
        """Name those whose path leads to our links."""
        return [image for one in sources if one.path and (image := self.image_of(one.path))]

    def _openers(self, record: Record, node: NodeName) -> Sequence[int]:
        """Ask a node, but not the other one where this one sees that it can't write: it may be dead.

        0 for a disk that is not open, below 0 where the process is not known.
        """
        pair, here = self.pool.pair, self.pool.pair.here()
        closed = [0] * len(record.volumes)
        if node != here and here in record.nodes:
            seen = pair.look(record, here)
            writes = any(one.peer_role == "Primary" for one in seen.volumes)
            if seen.up and not writes:
                return closed
            try:
                return pair.look(record, node).openers
            except VmMgrError:
                return [UNKNOWN] * len(closed) if writes else closed
        with suppress(VmMgrError):
            return pair.look(record, node).openers
        return closed


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
