"""Find out who has an image open, and blocklist clients that are dead."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph import naming
from vm_mgr.adapters.ceph.connection import BLOCKLIST_S, wait_for_map
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import DiskClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.storage import DiskSource
    from vm_mgr.model.vm import VmName

__all__ = ["CephClients", "blocklist", "break_lock", "clients_of", "entries_stay"]

# librbd's ManagedLock names its lock after its watch.
OF_A_WATCH = "auto "
AGAIN = "rbd_blocklist_on_break_lock"


class CephClients:
    """Watchers and lockers of images."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def images(self, name: VmName) -> list[str]:
        """List the group's images, the system disk first."""
        return self.pool.images(name)

    def of(self, images: Sequence[str]) -> list[DiskClient]:
        """Read watchers and locks; reading needs no watch of our own."""
        with self.pool.working("can't see who has the disks open") as (rbd, ioctx):
            return [client for image in images for client in clients_of(rbd, ioctx, image)]

    def evict(self, client: DiskClient) -> None:
        """Blocklist first: once the lock is broken nothing else stops a client that is alive after all."""
        with self.pool.working(f"can't blocklist {client.address}") as (rbd, ioctx):
            cluster = self.pool.connection.cluster
            blocklist(cluster, client.address)
            wait_for_map(cluster)
            with entries_stay(cluster):
                break_lock(rbd, ioctx, client)

    def image_of(self, source: str) -> str:
        """Take the pool off."""
        in_pool, _, image = source.partition("/")
        return image if in_pool == self.pool.connection.pool else ""

    def opened(self, sources: Sequence[DiskSource]) -> list[str]:
        """Name the images of the pool."""
        return naming.named(sources, self.pool.connection.pool)


def clients_of(rbd: Any, ioctx: Any, image_name: str) -> list[DiskClient]:
    """List lockers first, then watchers without a lock; an absent image has none."""
    try:
        with rbd.Image(ioctx, image_name, read_only=True) as image:
            locks = _lock_list(image)  # first: who takes the lock watches already
            watching = [
                (_bare(str(entry["addr"])), int(entry.get("cookie", 0))) for entry in image.watchers_list()
            ]
            lockers = [_locker(image_name, entry, dict(watching)) for entry in locks]
            locked = {holder.address for holder in lockers}
    except rbd.ImageNotFound:
        return []
    return lockers + [
        DiskClient(image_name, one, watch=watch) for one, watch in watching if one not in locked
    ]


@contextmanager
def entries_stay(cluster: Any) -> Iterator[None]:
    """Let librbd break locks without an entry of its own, which would replace ours and end earlier."""
    cluster.conf_set(AGAIN, "false")
    try:
        yield
    finally:
        cluster.conf_set(AGAIN, "true")


def blocklist(cluster: Any, address: str) -> None:
    """Have Ceph refuse one client from now on; its address has a port and a nonce, so no later one."""
    command = {"prefix": "osd blocklist", "blocklistop": "add", "addr": address, "expire": BLOCKLIST_S}
    status, _, words = cluster.mon_command(json.dumps(command), b"")
    if status != 0:
        hint = "the client needs the monitor capability 'profile rbd': ceph auth get client.NAME"
        message = f"Ceph refused to blocklist {address}: {words or status}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint)


def break_lock(rbd: Any, ioctx: Any, holder: DiskClient) -> None:
    """Break the holder's lock, if it has one and nobody has done so meanwhile."""
    if not holder.client:
        return
    with suppress(rbd.ImageNotFound), rbd.Image(ioctx, holder.image) as image:
        image.break_lock(holder.client, holder.cookie)


def _lock_list(image: Any) -> list[tuple[str, str, str]]:
    answer = image.list_lockers()
    return list(answer["lockers"]) if answer else []


def _locker(image_name: str, entry: tuple[str, str, str], watching: Mapping[str, int]) -> DiskClient:
    """Describe who has a lock; one that RBD takes by itself belongs to a watch, a person's does not."""
    client, cookie, address = entry[0], entry[1], _bare(entry[2])
    lasting = not cookie.startswith(OF_A_WATCH)
    watch = watching.get(address, 0)
    return DiskClient(
        image_name, address, client, cookie, watching=lasting or address in watching, watch=watch
    )


def _bare(address: str) -> str:
    # Newer releases may name the protocol: v1:198.51.100.11:0/42.
    return address.removeprefix("v1:").removeprefix("v2:")
