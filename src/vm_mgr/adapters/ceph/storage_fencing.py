"""Meet the port for lost nodes: mark OSDs down, blocklist clients, break RBD locks.

Ceph's own ways take their time: heartbeats that stay away for osd_heartbeat_grace, leases that run out,
watches that last 30 s. A node that was fenced needs none of them.
"""

from __future__ import annotations

import errno
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph import clients as looking
from vm_mgr.adapters.ceph.connection import load_rbd, translated, wait_for_map
from vm_mgr.adapters.ceph.pool import threads_of
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.storage_fencing import Daemons

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from vm_mgr.adapters.ceph.connection import Connection
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.model.storage import DiskClient

__all__ = ["CephStorageFencing"]

# Calls wait for Ceph nearly all of their time, so this is no matter of processors.
AT_ONCE = 16


class CephStorageFencing:
    """The OSDs of the cluster and the clients of its VMs' pool."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        # By number, the epoch in which an OSD came up: when connected, and when last looked at.
        self._known: dict[int, int] | None = None
        self._seen: dict[int, int] = {}

    def connect(self) -> None:
        """Load Ceph's libraries, find a monitor that answers, and the pool.

        A silent monitor is otherwise noticed after mon_client_ping_timeout only.
        """
        self._known = None
        self.connection.close()
        found = self._ask({"prefix": "osd dump"})
        self._known = {int(osd["osd"]): int(osd["up_from"]) for osd in found.get("osds", ()) if osd["up"]}
        _ = self.connection.ioctx

    def daemons(self, node: NodeName, addresses: Collection[str]) -> Daemons:
        """Read map and metadata; both must say that an OSD is the node's.

        An OSD's `up_from` is the epoch in which it came up last. The map of that epoch has the time; one that
        is not kept any more (mon_min_osdmap_epochs are: 500) is old.
        """
        with threads_of(2) as pool:
            reading = pool.submit(self._ask, {"prefix": "osd metadata"})
            found = self._ask({"prefix": "osd dump"})
            hosts = {entry.get("id"): str(entry.get("hostname", "")) for entry in reading.result()}
        own = [
            osd
            for osd in found["osds"]
            if osd["up"] and _hosts(osd) & set(addresses) and _is_named(hosts.get(osd["osd"], ""), node)
        ]
        if not own:
            return Daemons()
        self._seen = {int(osd["osd"]): int(osd["up_from"]) for osd in own}
        newest = max(int(osd["up_from"]) for osd in own)
        return Daemons(tuple(sorted(int(osd["osd"]) for osd in own)), self._time_of(newest))

    def came_up(self, numbers: Sequence[int]) -> bool | None:
        """Compare the epochs, which no clock has a part in."""
        if self._known is None:
            return None
        return any(self._seen.get(number) != self._known.get(number) for number in numbers)

    def end_daemons(self, numbers: Sequence[int], *, certain: bool = True) -> None:
        """Mark them down; if definitely dead, their leases on reads needn't run out either.

        (`osd down … --definitely-dead` in Ceph's src/mon/MonCommands.h; its dead_epoch is what
        PeeringState::recalc_readable_until goes by.)
        """
        ids = [str(number) for number in numbers]
        self._ask({"prefix": "osd down", "ids": ids} | ({"definitely_dead": True} if certain else {}))

    def clients(self, addresses: Collection[str]) -> list[DiskClient]:
        """Look at all images of the pool at once: what ran on a node is not known once it is fenced."""
        ioctx = self.connection.ioctx
        rbd = load_rbd()

        with translated("can't see which disks the node has open"), threads_of(AT_ONCE) as pool:
            wait_for_map(self.connection.cluster)
            images = rbd.RBD().list(ioctx)
            lists = pool.map(lambda image: looking.clients_of(rbd, ioctx, image), images)
            return [holder for found in lists for holder in found if holder.host in addresses]

    def blocklist(self, holders: Sequence[DiskClient]) -> None:
        """Blocklist all, so that the monitors make one map of it; then break the locks."""
        cluster, ioctx = self.connection.cluster, self.connection.ioctx
        rbd = load_rbd()

        addresses = sorted({holder.address for holder in holders})
        with translated("can't blocklist the node's clients"), threads_of(AT_ONCE) as pool:
            list(pool.map(lambda address: looking.blocklist(cluster, address), addresses))
            wait_for_map(cluster)
            with looking.entries_stay(cluster):
                list(pool.map(lambda holder: looking.break_lock(rbd, ioctx, holder), holders))

    def _time_of(self, epoch: int) -> float | None:
        found = self._ask({"prefix": "osd dump", "epoch": epoch}, absent={})
        try:
            return datetime.fromisoformat(found["modified"]).timestamp() if found else None
        except (KeyError, ValueError) as error:
            message = f"Ceph does not report when its map {epoch} was made"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"see: ceph osd dump {epoch}") from error

    def _ask(self, command: dict[str, Any], absent: Any = None) -> Any:
        """Send a monitor command and read its answer; give absent, if any, for what the monitors lack."""
        words = f"ceph {command['prefix']}"
        with translated(words):
            status, answer, why = self.connection.cluster.mon_command(
                json.dumps({**command, "format": "json"}), b""
            )
        if status == -errno.ENOENT and absent is not None:
            return absent
        if status != 0:
            hint = "client.vm-mgr needs the monitor capabilities 'allow r, allow command \"osd down\"'"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{words} failed: {why or status}", hint=hint)
        try:
            return json.loads(answer) if answer.strip() else None
        except ValueError as error:
            hint = f"see: {words}"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{words} gave no JSON", hint=hint) from error


def _hosts(osd: dict[str, Any]) -> set[str]:
    """Give an OSD's addresses without port.

    >>> _hosts({"public_addrs": {"addrvec": [{"type": "v2", "addr": "[fd00::1]:6800", "nonce": 7}]}})
    {'fd00::1'}
    """
    found = osd.get("public_addrs", {}).get("addrvec", [])
    return {str(one["addr"]).rpartition(":")[0].strip("[]") for one in found}


def _is_named(host: str, node: str) -> bool:
    """Compare a machine's name, which may have a domain, with a node's.

    >>> _is_named("n1.site.example", "n1"), _is_named("n1", "n10"), _is_named("", "")
    (True, False, False)
    """
    return bool(host) and (host == node or host.partition(".")[0] == node)
