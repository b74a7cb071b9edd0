"""Describe the two sides of replicated disks, and say in words what is wrong with them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import VmName

__all__ = ["Side", "Trouble", "troubles"]

SYNCING = ("SyncSource", "SyncTarget", "PausedSyncS", "PausedSyncT", "VerifyS", "VerifyT")
NO_DISK = ("Diskless", "Failed", "Detaching")


class Side(NamedTuple):
    """A disk at a node, in DRBD's words; silent: the node did not tell, and why not.

    lacks_kib: what the other side does not have of what was written here. synced_percent, finish_s: below 0
    where nothing is synchronised, or it is not known. held: writes wait.
    """

    node: NodeName
    image: str
    role: str = ""
    disk: str = ""
    connection: str = ""
    lacks_kib: int = 0
    synced_percent: float = -1.0
    finish_s: int = -1
    held: bool = False
    silent: str = ""

    @property
    def up(self) -> bool:
        """Tell whether the node has it configured."""
        return self.connection not in ("", "Unconfigured")


class Trouble(NamedTuple):
    """What is wrong, and what to do."""

    code: str
    text: str
    hint: str = ""


def troubles(name: VmName, sides: Sequence[Side]) -> list[Trouble]:
    """Say what is wrong; nothing where both sides have the same, or the VM is out of the cluster.

    >>> [one.text for one in troubles(VmName("web1"), [Side(NodeName("n1"), "system_web1", disk="Diskless",
    ...     connection="Connected")])]
    ['n1 has lost its disk below system_web1 (Diskless): the other side is used over the network']
    """
    silent = {one.node: one.silent for one in sides if one.silent}
    found = [
        Trouble("side-unknown", f"{node} does not tell of its disks: {why}") for node, why in silent.items()
    ]
    if not any(one.up for one in sides):
        return found
    images = list(dict.fromkeys(one.image for one in sides if one.image))
    for image in images:
        found += _of_disk(name, [one for one in sides if one.image == image and not one.silent])
    return found


def _of_disk(name: VmName, sides: Sequence[Side]) -> Iterator[Trouble]:
    alone = [one for one in sides if one.connection == "StandAlone"]
    if len(alone) > 1:
        yield _split(name, alone)
    for one in sides:
        yield from _of_side(name, one, split=len(alone) > 1)


def _split(name: VmName, sides: Sequence[Side]) -> Trouble:
    each = "; ".join(
        f"{one.node}: {one.role}, {one.disk}, {one.lacks_kib} KiB that the other one lacks" for one in sides
    )
    text = f"both sides of {sides[0].image} refuse to connect, so each may have writes of its own ({each})"
    hint = f"see what happened: vm-mgr events {name}; then docs/explanation/drbd.md"
    return Trouble("split-brain", text, hint)


def _of_side(name: VmName, one: Side, *, split: bool) -> Iterator[Trouble]:
    if not one.up:
        yield Trouble("side-down", f"{one.node} has not started its side of {one.image}", "see: crm_mon -1")
        return
    if one.disk in NO_DISK:
        text = f"{one.node} has lost its disk below {one.image} ({one.disk})"
        hint = f"look at {one.node}: lvs; journalctl -k; then: drbdadm attach"
        yield Trouble("no-disk", f"{text}: the other side is used over the network", hint)
    elif one.connection in SYNCING:
        if one.disk != "UpToDate":
            yield Trouble("syncing", f"{one.node} is catching up with {one.image}{_progress(one)}")
    elif one.disk != "UpToDate":
        yield Trouble(
            "behind", f"{one.node} has older data of {one.image} ({one.disk}): {name} can't start there"
        )
    if one.connection not in ("Connected", *SYNCING) and not split:
        lacks = f", and has {one.lacks_kib} KiB that it lacks" if one.lacks_kib else ""
        text = f"{one.node} has no connection to the other side of {one.image} ({one.connection}){lacks}"
        yield Trouble("peer-lost", text, "see whether the other node is there: crm_mon -1")
    if one.held:
        text = f"{one.node} holds all writes to {one.image}"
        yield Trouble(
            "held", text, "until the peer is fenced, or a snapshot is taken: journalctl -t vm-mgr-agent"
        )


def _progress(one: Side) -> str:
    done = f": {one.synced_percent:.1f} % done" if one.synced_percent >= 0 else ""
    return done + (f", {one.finish_s} s left" if done and one.finish_s >= 0 else "")
