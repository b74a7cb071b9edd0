"""Running domains and their processes, in memory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vm_mgr.adapters.memory.guest_access import MemoryGuests
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import NodeCapacity
from vm_mgr.model.pause import PauseReason
from vm_mgr.ports.hypervisor import half_error, saved_error
from vm_mgr.ports.live_migration import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.model.migration import JobSample
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.definition import LiveChange
    from vm_mgr.ports.guest_access import GuestAccess
    from vm_mgr.ports.live_migration import Migration, Tell

__all__ = ["MemoryHypervisor"]


class MemoryHypervisor:
    """One node's libvirt and process table; hanging makes every call of libvirt fail."""

    def __init__(self) -> None:
        self.running: dict[VmName, int] = {}
        self.with_agent: set[VmName] = set()
        self.frozen: set[VmName] = set()
        self.halted: dict[VmName, str] = {}
        self.consoles: list[tuple[VmName, str]] = []
        self.grown: list[tuple[VmName, str, int]] = []
        self.kept: dict[VmName, str] = {}
        self.managed_saves: set[VmName] = set()
        self.alone: dict[VmName, str] = {}
        self.plugged: dict[VmName, list[str]] = {}
        self.no_free_slot = False
        self.kvm = False
        self.guest: GuestAccess = MemoryGuests()
        self.changed_devices: list[tuple[VmName, str, str]] = []
        self.keeps_disks = False
        self.hanging = False
        self.has = NodeCapacity(memory_bytes=1 << 40, cpus=256)
        self.ignores_shutdown = False
        self.ended: list[tuple[int, bool]] = []
        self.migrated: list[Migration] = []
        self.lets_go = True
        self.receiving: set[VmName] = set()
        self.arrived_by: dict[VmName, str] = {}
        self.failing_moves: dict[VmName, str] = {}
        self.moving: dict[VmName, JobSample] = {}
        self.dirty_rates: dict[VmName, float] = {}
        self.measuring: set[VmName] = set()
        self.refusals: list[VmMgrError] = []
        self.also_running: dict[int, str] = {}
        self.uuids: dict[VmName, str] = {}
        self.resumed: set[VmName] = set()
        self.stopped_by_signal: set[int] = set()
        self.vcpu_times_ns: dict[int, int] = {}
        self.births: dict[int, str] = {}
        self.variables: dict[int, set[int]] = {}
        # Each boot is a run of its own; a guest that is restored goes on with the one that was saved.
        self.runs: dict[VmName, int] = {}
        self.boots = 0
        self.xmls: dict[VmName, str] = {}
        self.restored: list[tuple[VmName, int]] = []
        self.failing_save = ""
        self.failing_restore = ""
        self.on_call: Callable[[str], None] = lambda _verb: None

    def capacity(self) -> NodeCapacity:
        """Give what a test has set."""
        self._call("capacity", 0)
        return self.has

    def create(self, xml: str, name: VmName, *, timeout_s: float) -> None:
        """Start."""
        self._call("create", timeout_s)
        if name in self.running:
            raise VmMgrError(Kind.TRY_LATER, f"the domain {name} exists")
        if not re.search("<domain", xml):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "not a domain")
        self.running[name] = 1000 + len(self.running)
        self.boots += 1
        self.runs[name] = self.boots
        found = re.search("<uuid>([^<]+)</uuid>", xml)
        self.resumed.discard(name)
        self.vcpu_times_ns[self.running[name]] = 0
        self.uuids[name] = found[1].strip().lower() if found else ""
        self.xmls[name] = xml

    def shutdown(self, name: VmName, *, timeout_s: float) -> None:
        """Ask the guest."""
        self._call("shutdown", timeout_s)
        if not self.ignores_shutdown and name not in self.halted:
            self.running.pop(name, None)

    def destroy(self, name: VmName, *, timeout_s: float) -> None:
        """Power off."""
        self._call("destroy", timeout_s)
        self._require(name)
        del self.running[name]
        self.halted.pop(name, None)

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Give libvirt's word."""
        self._call("domain_state", timeout_s)
        if name in self.running:
            return "paused" if name in self.halted else "running"
        return "shut off" if name in self.kept else "absent"

    def migrate(self, migration: Migration, tell: Tell = quiet) -> bool:  # noqa: ARG002 - it takes no time
        """Move away."""
        self._call("migrate", migration.timeout_s)
        self.migrated.append(migration)
        if migration.destination_uri.endswith(":1/system"):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "connection refused")  # nobody listens there
        if migration.name in self.failing_moves:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, self.failing_moves[migration.name])
        self.running.pop(migration.name, None)
        return self.lets_go

    def let_go(self, name: VmName, *, timeout_s: float, ident: str = "") -> None:
        """Let it go on, if that is what it waits for."""
        self._call("let_go", timeout_s)
        self._require(name)
        if self._paused(name) is PauseReason.ARRIVING and ident in ("", self.arrived_by.get(name, ident)):
            del self.halted[name]

    def migration_progress(self, name: VmName) -> JobSample | None:
        """Give what a test has set."""
        self._call("migration_progress", 0)
        return self.moving.get(name)

    def receives(self, name: VmName) -> bool:
        """Tell what a test has set."""
        self._call("receives", 0)
        return name in self.receiving

    def begin_dirty_rate(self, name: VmName) -> None:
        """Begin; what is measured is what a test has set."""
        self._call("begin_dirty_rate", 0)
        self.measuring.add(name)

    def dirty_rate(self, name: VmName) -> float | None:
        """Give what a test has set; a guest that is not there has no memory to look at."""
        self._call("dirty_rate", 0)
        self.measuring.discard(name)
        return self.dirty_rates.get(name, 0.0) if name in self.running else None

    def migration_problems(self, xml: str) -> list[VmMgrError]:
        """Refuse what a test has set."""
        self._call("migration_problems", 0)
        return list(self.refusals) if "<domain" in xml else []

    def abort_job(self, name: VmName) -> None:
        """Do nothing: no job takes time here."""

    def freeze(self, name: VmName) -> bool:
        """Freeze a guest that has an agent."""
        self._call("freeze", 0)
        if name in self.halted or name not in self.with_agent:
            return False
        self.frozen.add(name)
        return True

    def thaw(self, name: VmName) -> bool:
        """Let it go on, if it still has an agent."""
        self._call("thaw", 0)
        if name not in self.with_agent:
            return False
        self.frozen.discard(name)
        return True

    def is_frozen(self, name: VmName) -> bool:
        """Ask its agent."""
        self._call("is_frozen", 0)
        return name in self.frozen and name in self.with_agent

    def agent_answers(self, name: VmName) -> bool:
        """Ask it."""
        self._call("agent_answers", 0)
        return name in self.running and name in self.with_agent and name not in self.halted

    def pause(self, name: VmName) -> None:
        """Stop it."""
        self._call("pause", 0)
        self._require(name)
        self.halted.setdefault(name, PauseReason.USER)

    def resume(self, name: VmName) -> None:
        """Let it go on."""
        self._call("resume", 0)
        self._require(name)
        if self._paused(name) is PauseReason.ARRIVING:
            raise half_error(name, PauseReason.ARRIVING)
        if self.halted.pop(name, None):
            self.resumed.add(name)

    def take_back(self, name: VmName) -> None:
        """Let it go on, whatever it stands for."""
        self._call("take_back", 0)
        self._require(name)
        if self.halted.pop(name, None):
            self.resumed.add(name)

    def paused(self, name: VmName, *, timeout_s: float) -> PauseReason:
        """Say why."""
        self._call("paused", timeout_s)
        self._require(name)
        return self._paused(name)

    def _paused(self, name: VmName) -> PauseReason:
        return PauseReason.of(self.halted.get(name, ""))

    def console(self, name: VmName, user: str = "") -> NoReturn:
        """Remember it and end."""
        self._call("console", 0)
        self.consoles.append((name, user))
        raise SystemExit(0)

    def grow(self, name: VmName, source: str, size_bytes: int) -> None:
        """Remember it."""
        self._call("grow", 0)
        self.grown.append((name, source, size_bytes))

    def disk_sources(self, name: VmName) -> list[str]:
        """Name what was plugged in."""
        self._call("disk_sources", 0)
        self._require(name)
        return list(self.plugged.get(name, []))

    def attach(self, name: VmName, device: str) -> None:
        """Plug in."""
        self._call("attach", 0)
        if self.no_free_slot:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no more available PCI slots")
        self.plugged.setdefault(name, []).append(_source(device))

    def has_kvm(self) -> bool:
        """Give what a test has set."""
        self._call("has_kvm", 0)
        return self.kvm

    def change_device(self, name: VmName, change: LiveChange, device: str) -> None:
        """Remember it."""
        self._call("change_device", 0)
        if self.no_free_slot:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no more available PCI slots")
        self.changed_devices.append((name, change.value, device))

    def detach(self, name: VmName, source: str) -> None:
        """Detach it, if the guest lets go."""
        self._call("detach", 0)
        if not self.keeps_disks:
            self.plugged[name].remove(source)

    def save_memory(self, name: VmName, path: str, *, timeout_s: float) -> None:
        """Write what tells this run from any other."""
        self._call("save_memory", timeout_s)
        self._require(name)
        if name not in self.halted:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"the guest of {name} runs")
        if self.failing_save:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, self.failing_save)
        memory = {
            "pid": self.running[name],
            "uuid": self.uuids.get(name, ""),
            "run": self.runs.get(name, 0),
            "xml": self.xmls.get(name, ""),
        }
        Path(path).write_text(json.dumps(memory), encoding="utf-8")

    def restore(self, path: str, name: VmName, *, timeout_s: float) -> None:
        """Start with it; the run goes on."""
        self._call("restore", timeout_s)
        if name in self.running:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"the domain {name} exists")
        if self.failing_restore:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, self.failing_restore)
        try:
            memory = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{path} is no guest's memory") from error
        self.running[name] = 2000 + len(self.running)
        self.vcpu_times_ns[self.running[name]] = 0
        self.uuids[name], self.runs[name] = memory["uuid"], memory["run"]
        if memory["xml"]:
            self.xmls[name] = memory["xml"]
        self.halted[name] = PauseReason.USER
        self.restored.append((name, memory["run"]))

    def running_definition(self, name: VmName) -> str:
        """Give what it was started with, or any."""
        self._call("running_definition", 0)
        self._require(name)
        return self.xmls.get(name, f"<domain><name>{name}</name></domain>")

    def definition(self, name: VmName) -> str:
        """Give what libvirt keeps."""
        self._call("definition", 0)
        if name not in self.kept:
            raise VmMgrError(Kind.NOT_FOUND, f"there is no domain {name}")
        if name in self.managed_saves:
            raise saved_error(name)
        return self.kept[name]

    def acts_alone(self, name: VmName) -> str:
        """Say what a test has set."""
        return self.alone.get(name, "")

    def undefine(self, name: VmName) -> None:
        """Forget it."""
        self._call("undefine", 0)
        if name in self.managed_saves:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "domain managed save image exists")
        self.kept.pop(name, None)

    def find_vm(self, name: VmName, *, uuid: str = "") -> int | None:
        """Give the PID."""
        foreign = uuid and self.uuids.get(name, "") not in ("", uuid)
        return None if foreign else self.running.get(name)

    def uuid(self, pid: int) -> str:
        """Give what its definition had."""
        return next((self.uuids.get(name, "") for name, one in self.running.items() if one == pid), "")

    def birth(self, pid: int) -> str:
        """Give what a test has set, or the same for every process."""
        return self.births.get(pid, "1") if pid in self.running.values() else ""

    def has_ended(self, pid: int, birth: str) -> bool:
        """Compare."""
        return self.birth(pid) != birth

    def has_memory(self, pid: int, address: int) -> bool:
        """Tell what a test has set."""
        return address in self.variables.get(pid, ())

    def is_halted(self, pid: int) -> bool:
        """Tell what a test has set."""
        return pid in self.stopped_by_signal

    def vcpu_time_ns(self, pid: int) -> int | None:
        """Give what a test has set."""
        return self.vcpu_times_ns.get(pid)

    def mentions(self, text: str) -> list[int]:
        """Search other processes."""
        word = re.compile(rf"(?<![\w.-]){re.escape(text)}(?![\w.-])")
        return [pid for pid, argv in self.also_running.items() if word.search(argv)]

    def end(self, pid: int, *, force: bool) -> None:
        """Kill."""
        self.ended.append((pid, force))
        self.running = {name: other for name, other in self.running.items() if other != pid}

    def _require(self, name: VmName) -> None:
        if name not in self.running:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"there is no domain {name}")

    def _call(self, verb: str, timeout_s: float) -> None:
        self.on_call(verb)
        if self.hanging:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"libvirt did not answer within {timeout_s:.0f} s")


def _source(device: str) -> str:
    found = re.search(r'<source[^>]* (?:name|file)="([^"]+)"', device)
    return found[1] if found else ""
