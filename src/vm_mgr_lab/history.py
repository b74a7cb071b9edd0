"""Watch a cluster from outside while something happens to it, and tell afterwards what happened when.

Sources, none of which asks the cluster to be honest: the host's process table (on which nodes a QEMU of the
VM runs), the BMCs' records (who was fenced), the guest's consoles (which writes were acknowledged), and
crm_mon on a node that is up (what the cluster believes). Times are the host's clock, in seconds since 1970.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lxml import etree

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.guest import Record, console_log, read_console
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.machine import RUNNING

__all__ = ["SLOW_S", "Event", "History", "bmc_events", "consoles", "qemu_nodes"]

# Looking takes processor time from those who are looked at.
FAST_S = 0.1
SLOW_S = 0.5


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """Something that was seen; kind is one of membership, fenced, power-on, process, record."""

    time_s: float
    kind: str
    node: str
    detail: str = ""


class History:
    """Records what happens to one VM and the nodes, from start to stop; use it as a context manager.

    beside: another VM's history, which asks the cluster about its members already.
    """

    def __init__(self, lab: Lab, vm: str, mac_byte: int, *, beside: "History | None" = None) -> None:
        self._lab = lab
        self._vm = vm
        self._mac_byte = mac_byte
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._running_on: dict[float, tuple[str, ...]] = {}
        self._offsets = {node.name: _size(self._console(node.name)) for node in lab.nodes}
        self._beside = beside
        probes = [(self._look_at_host, FAST_S), *([] if beside else [(self._ask_cluster, SLOW_S)])]
        self._threads = [threading.Thread(target=self._repeat, args=probe, daemon=True) for probe in probes]
        self._last: dict[tuple[str, str], str] = {}
        self._began_s = time.time()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def events(self) -> list[Event]:
        """Return all that was seen so far, in order of time."""
        members = [e for e in self._beside.events() if e.kind == "membership"] if self._beside else []
        with self._lock:
            return sorted([*self._events, *members, *bmc_events(self._lab, since_s=self._began_s)])

    def first(
        self, kind: str, *, after_s: float, where: Callable[[Event], bool] = lambda _: True
    ) -> Event | None:
        """Return the first event of a kind after a time."""
        return next((e for e in self.events() if e.kind == kind and e.time_s >= after_s and where(e)), None)

    def simultaneous(self) -> list[tuple[str, ...]]:
        """Return the sets of nodes, larger than one, that ran a QEMU of the VM at the same time."""
        with self._lock:
            return sorted({nodes for nodes in self._running_on.values() if len(nodes) > 1})

    def _add(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    def _changed(self, kind: str, node: str, detail: str) -> None:
        if self._last.get((kind, node)) != detail:
            self._last[kind, node] = detail
            self._add(Event(time.time(), kind, node, detail))

    def _repeat(self, probe: Callable[[], None], period_s: float) -> None:
        while not self._stop.wait(period_s):
            with contextlib.suppress(LabError, OSError, etree.XMLSyntaxError):  # a node that is going down
                probe()

    def _look_at_host(self) -> None:
        nodes = qemu_nodes(self._lab, self._vm)
        with self._lock:
            self._running_on[time.time()] = nodes
        for node in self._lab.nodes:
            self._changed("process", node.name, "running" if node.name in nodes else "gone")
            self._read_new_records(node.name)

    def _read_new_records(self, node: str) -> None:
        file = self._console(node)
        size = _size(file)
        if size < self._offsets[node]:  # rotated
            self._offsets[node] = 0
        if size == self._offsets[node]:
            return
        with file.open("rb") as console:
            console.seek(self._offsets[node])
            fresh = console.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._offsets[node] += len(whole)
        for record in read_console(whole.decode(errors="replace")):
            self._add(Event(time.time(), "record", node, f"{record.boot} {record.seq}"))

    def _ask_cluster(self) -> None:
        asked = next((n.name for n in self._lab.nodes if self._lab.machine(n.name).is_on()), None)
        if asked is None:
            return
        shown = self._lab.execute(asked, ["crm_mon", "-1", "--output-as=xml"], check=False, timeout_s=5)
        if shown.returncode != 0:
            return
        status = etree.fromstring(shown.stdout.encode())
        for node in status.iterfind("nodes/node"):
            kind = "online" if node.get("online") == "true" else "offline"
            self._changed("membership", str(node.get("name")), kind)

    def _console(self, node: str) -> Path:
        return self._lab.disk_of(node) / console_log(self._mac_byte).lstrip("/")


def qemu_nodes(lab: Lab, vm: str) -> tuple[str, ...]:
    """Return the nodes on which a QEMU of the VM exists, by the host's process table.

    A node with a kernel of its own says it itself, whenever it changes, in a file that is read from outside.
    """
    if lab.topology.own_kernel:
        return tuple(node.name for node in lab.nodes if vm in _told(lab, node.name))
    wanted = f"guest={vm},".encode()
    found = []
    for node in lab.nodes:
        for pid in lab.processes(node.name):
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(node.name)
                    break
    return tuple(found)


def _told(lab: Lab, node: str) -> list[str]:
    if not lab.machine(node).is_on():
        return []
    try:
        return (lab.disk_of(node) / RUNNING.lstrip("/")).read_text().splitlines()
    except FileNotFoundError:
        return []


def bmc_events(lab: Lab, *, since_s: float) -> list[Event]:
    """Return what the BMCs did since a time: fenced (they said that the node is off) and power-on."""
    kinds = {"is off": "fenced", "says off": "fenced", "on": "power-on"}
    found = []
    for node in lab.nodes:
        with contextlib.suppress(FileNotFoundError):
            for line in lab.paths.bmc_log(node.name).read_text().splitlines():
                raw = json.loads(line)
                if raw["command"] in kinds and raw["time"] >= since_s:
                    found.append(Event(raw["time"], kinds[raw["command"]], raw["node"]))
    return found


def consoles(lab: Lab, mac_byte: int) -> dict[str, list[Record]]:
    """Return for each node the records that were acknowledged to the guest there, also from rotated logs."""
    found = {}
    for node in lab.nodes:
        log = lab.disk_of(node.name) / console_log(mac_byte).lstrip("/")
        files = sorted(log.parent.glob(log.name + ".*"), reverse=True) if log.parent.is_dir() else []
        text = "".join(file.read_text(errors="replace") for file in [*files, log] if file.exists())
        found[node.name] = read_console(text)
    return found


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
