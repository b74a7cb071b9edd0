"""Meet the hypervisor port with bounded calls of libvirt's API and of virsh."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vm_mgr.adapters.libvirt import commands
from vm_mgr.adapters.libvirt.connection import ASLEEP, Connection
from vm_mgr.adapters.libvirt.failures import started_badly
from vm_mgr.adapters.libvirt.guest_access import LibvirtGuests
from vm_mgr.adapters.libvirt.parse import parse_capacity
from vm_mgr.adapters.libvirt.virsh import CONNECT_S, DEVICE_S, FREEZE_S, MONITOR_S, SHORT_S, check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.pause import PauseReason
from vm_mgr.ports.hypervisor import half_error, saved_error
from vm_mgr.ports.live_migration import quiet
from vm_mgr.room import in_memory

if TYPE_CHECKING:
    from vm_mgr.adapters.libvirt.moves import LibvirtMoves
    from vm_mgr.model.capacity import NodeCapacity
    from vm_mgr.model.migration import JobSample
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.definition import LiveChange
    from vm_mgr.ports.guest_access import GuestAccess
    from vm_mgr.ports.live_migration import Migration, Tell
    from vm_mgr.ports.runner import Completed, Runner

__all__ = ["LocalLibvirt"]

# So often, and so far apart, it is looked whether a guest is awake.
WAKE_TRIES, WAKE_S = 25, 0.2

# libvirt refuses to forget a domain of which it keeps any of these; its files stay.
# Without --managed-save it refuses one whose saved memory would be deleted.
UNDEFINE = ("--snapshots-metadata", "--checkpoints-metadata", "--keep-nvram", "--keep-tpm")


class LocalLibvirt:
    """The libvirt of this node."""

    def __init__(
        self,
        runner: Runner,
        state_dir: Path,
        *,
        uri: str = commands.URI,
        etc: Path = Path("/etc"),
        run: Path = Path("/run/libvirt/qemu"),
    ) -> None:
        self.runner = runner
        self.etc = etc
        self.run = run
        self.state_dir = state_dir
        self.uri = uri
        self.connection = Connection(uri)
        self.guest: GuestAccess = LibvirtGuests(runner, uri)

    def close(self) -> None:
        """Leave the kept connection; the next call that needs it connects again."""
        self.connection.close()

    def capacity(self) -> NodeCapacity:
        """Read virsh's nodeinfo, and its nodememstats where it has them."""
        done = self._virsh("nodeinfo", timeout_s=CONNECT_S)
        check(done)
        return parse_capacity(done.stdout, self._virsh("nodememstats", timeout_s=CONNECT_S).stdout)

    def create(self, xml: str, name: VmName, *, timeout_s: float) -> None:
        """Start a transient domain."""
        try:
            self.connection.call(lambda libvirt: self.connection.host(libvirt).createXML(xml, 0), timeout_s)
        except VmMgrError as error:
            raise started_badly(error, name) from error.__cause__

    def shutdown(self, name: VmName, *, timeout_s: float) -> None:
        """Ask the guest to power off; one that sleeps does not hear it, until it is resumed."""
        check(self._virsh("shutdown", name, timeout_s=timeout_s))

    def destroy(self, name: VmName, *, timeout_s: float) -> None:
        """Power off."""
        check(self._virsh("destroy", name, timeout_s=timeout_s))

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Give libvirt's word for the state, or "absent"."""
        completed = self._virsh("list", "--all", "--name", timeout_s=timeout_s)
        check(completed)
        if name not in _names(completed):
            return "absent"
        state = self._virsh("domstate", name, timeout_s=timeout_s)
        return state.stdout.strip() if state.exit_code == 0 else "absent"

    @cached_property
    def _moves(self) -> LibvirtMoves:
        """What only moves need; with lxml it takes 30 ms to load, which a stop would wait for."""
        from vm_mgr.adapters.libvirt.moves import LibvirtMoves  # noqa: PLC0415

        return LibvirtMoves(self.runner, self.connection, self.run)

    def migrate(self, migration: Migration, tell: Tell = quiet) -> bool:
        """Move live through libvirt's API; with virsh where an option is one that only virsh knows."""
        return self._moves.migrate(
            migration,
            tell,
            is_paused=lambda: bool(self.paused(migration.name, timeout_s=SHORT_S)),
            abort=lambda: self.abort_job(migration.name),
        )

    def let_go(self, name: VmName, *, timeout_s: float, ident: str = "") -> None:
        """Take the mark of its arrival away and resume."""
        self._moves.let_go(name, timeout_s, ident)

    def migration_progress(self, name: VmName) -> JobSample | None:
        """Ask for the job's statistics; a domain that leaves meanwhile has none."""
        return self._moves.progress(name)

    def receives(self, name: VmName) -> bool:
        """Ask for the job, which libvirt has for an incoming migration from beginning to end."""

        def look(libvirt: Any) -> bool:
            domain = self.connection.find(libvirt, name)
            return domain is not None and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE

        return bool(self.connection.call(look, SHORT_S))

    def begin_dirty_rate(self, name: VmName) -> None:
        """Have QEMU begin; what keeps it from that is met again by dirty_rate."""
        self._moves.begin_dirty_rate(name)

    def dirty_rate(self, name: VmName) -> float | None:
        """Have QEMU measure it."""
        return self._moves.dirty_rate(name)

    def migration_problems(self, xml: str) -> list[VmMgrError]:
        """Ask libvirt for what the definition names."""
        return self._moves.problems(xml)

    def abort_job(self, name: VmName) -> None:
        """Cancel a migration under way."""
        # Fails when there is no job, which is what we want.
        self.runner.run(commands.domjobabort(name, self.uri), timeout_s=SHORT_S)

    def freeze(self, name: VmName) -> bool:
        """Ask the guest's agent; libvirt says no at once where the domain has none."""
        done = self._virsh("domfsfreeze", name, timeout_s=FREEZE_S)
        return done.exit_code == 0

    def thaw(self, name: VmName) -> bool:
        """Ask the guest's agent."""
        return self._virsh("domfsthaw", name, timeout_s=FREEZE_S).exit_code == 0

    def is_frozen(self, name: VmName) -> bool:
        """Send guest-fsfreeze-status, which a frozen guest's agent answers, too."""
        return commands.says_frozen(self._ask_agent(name, commands.FREEZE_STATUS))

    def agent_answers(self, name: VmName) -> bool:
        """Send guest-ping, which does nothing."""
        return self._ask_agent(name, commands.PING) != ""

    def _ask_agent(self, name: VmName, command: str) -> str:
        """Give the answer; nothing where there is none within a second."""
        done = self._virsh("qemu-agent-command", name, command, "--timeout", "1")
        return (done.stdout.strip() or "{}") if done.exit_code == 0 else ""

    def pause(self, name: VmName) -> None:
        """Suspend; libvirt can't pause a guest that sleeps: it is woken."""
        done = self._virsh("suspend", name)
        if done.exit_code != 0 and self._wake(name):
            done = self._virsh("suspend", name)
        check(done)

    def _wake(self, name: VmName) -> bool:
        """Wake a guest that has put itself to sleep (ACPI S3); tell whether it slept."""
        if not self._is_asleep(name):
            return False
        self._rouse(name)
        for _ in range(WAKE_TRIES):
            if not self._is_asleep(name):
                break
            time.sleep(WAKE_S)
        return True

    def _is_asleep(self, name: VmName) -> bool:
        return self._virsh("domstate", name).stdout.strip() == ASLEEP

    def _rouse(self, name: VmName) -> None:
        check(self._virsh("dompmwakeup", name))

    def resume(self, name: VmName) -> None:
        """Resume, or wake from sleep (ACPI S3); libvirt refuses that for a domain that runs."""
        reason = self.paused(name, timeout_s=SHORT_S)
        if reason is PauseReason.ARRIVING:
            raise half_error(name, reason)
        if reason:
            self.take_back(name)
        elif self._is_asleep(name):
            self._rouse(name)

    def take_back(self, name: VmName) -> None:
        """Resume, whatever it stands for."""
        done = self._virsh("resume", name)
        if done.exit_code != 0 and self.domain_state(name, timeout_s=SHORT_S) != "running":
            check(done)

    def paused(self, name: VmName, *, timeout_s: float) -> PauseReason:
        """Read the reason in parentheses: `paused (I/O error)`."""
        done = self._virsh("domstate", "--reason", name, timeout_s=timeout_s)
        check(done)
        state, _, reason = done.stdout.strip().partition(" (")
        if state != "paused":
            return PauseReason.RUNS
        found = PauseReason.of(reason.removesuffix(")") or "unknown")
        return PauseReason.ARRIVING if found is PauseReason.USER and self._is_arriving(name) else found

    def _is_arriving(self, name: VmName) -> bool:
        """Tell a guest that waits for the end of its source: libvirt calls that a pause by its user."""
        told = self._virsh("metadata", name, commands.ARRIVAL, "--live")
        return told.exit_code == 0 and "<arrival" in told.stdout.replace("<vm-mgr:", "<")

    def console(self, name: VmName, user: str = "") -> NoReturn:
        """Become virsh."""
        self.runner.become(commands.console(name, self.uri, user))

    def grow(self, name: VmName, source: str, size_bytes: int) -> None:
        """Resize the block device that has this source."""
        check(self._virsh("blockresize", name, self._target(name, source), f"{size_bytes}B"))

    def disk_sources(self, name: VmName) -> list[str]:
        """List the sources; a drive without a medium has none."""
        return [source for _, source in self._disks(name) if source != "-"]

    def attach(self, name: VmName, device: str) -> None:
        """Attach to the running domain only: it is transient, what starts next is in the storage.

        virsh reads the device from a file of this machine, whichever node's libvirt it speaks to.
        """
        with in_memory(device, f"{name}-device.xml") as path:
            check(self._virsh("attach-device", name, path, "--live", timeout_s=DEVICE_S))

    def has_kvm(self) -> bool:
        """Ask what a domain of the type kvm could have; libvirt refuses that where there is no KVM."""
        check(self._virsh("nodeinfo", timeout_s=CONNECT_S))  # a silent libvirt is no word on KVM
        return self._virsh("domcapabilities", "--virttype", "kvm", timeout_s=CONNECT_S).exit_code == 0

    def change_device(self, name: VmName, change: LiveChange, device: str) -> None:
        """Change the running domain only, as `attach` does."""
        with in_memory(device, f"{name}-device.xml") as path:
            check(self._virsh(change.value, name, path, "--live", timeout_s=DEVICE_S))

    def detach(self, name: VmName, source: str) -> None:
        """Send the request; libvirt waits some seconds for the guest and then returns without it.

        (virDomainDetachDeviceFlags: "may just request device removal while the device is actually removed
        later".) The target is the running domain's: by its name alone libvirt finds the disk, and in the
        stored definition it may be another one by now.
        """
        target = self._target(name, source)
        check(self._virsh("detach-disk", name, target, "--live", timeout_s=DEVICE_S))

    def monitor(self, name: VmName, command: str) -> str:
        """Hand a command in JSON to QEMU's monitor and give its answer in JSON."""
        done = self._virsh("qemu-monitor-command", name, command, timeout_s=MONITOR_S)
        check(done)
        return done.stdout

    def save_memory(self, name: VmName, path: str, *, timeout_s: float) -> None:
        """Take a snapshot of the memory alone."""
        self._moves.save_memory(name, path, timeout_s)

    def restore(self, path: str, name: VmName, *, timeout_s: float) -> None:  # noqa: ARG002 - it is in the file
        """Have libvirt start from the file."""
        self._moves.restore(path, timeout_s)

    def running_definition(self, name: VmName) -> str:
        """Dump the live XML, as a migration hands it over."""
        done = self._virsh("dumpxml", "--migratable", name)
        check(done)
        return done.stdout

    def definition(self, name: VmName) -> str:
        """Dump the inactive XML, with what is usually kept back."""
        if name not in self._kept():
            hint = "see them: virsh list --all --persistent"
            raise VmMgrError(Kind.NOT_FOUND, f"libvirt keeps no domain {name} on this node", hint=hint)
        if name in self._kept("--with-managed-save"):
            raise saved_error(name)
        done = self._virsh("dumpxml", "--inactive", "--security-info", name)
        check(done)
        return done.stdout

    def acts_alone(self, name: VmName) -> str:
        """Look for libvirt's autostart and for libvirt-guests, whose unit suspends and resumes domains."""
        if (self.etc / "libvirt/qemu/autostart" / f"{name}.xml").exists():
            return f"libvirt starts {name} by itself (virsh autostart --disable {name})"
        units = self.etc / "systemd/system"
        wanted = any(units.glob("*.wants/libvirt-guests.service"))
        if wanted and not (units / "libvirt-guests.service").is_symlink():
            return "libvirt-guests suspends and resumes VMs (systemctl mask libvirt-guests)"
        return ""

    def undefine(self, name: VmName) -> None:
        """Undefine, with what libvirt keeps beside the definition."""
        if name in self._kept():
            check(self._virsh("undefine", name, *UNDEFINE))

    def _target(self, name: VmName, source: str) -> str:
        targets = [target for target, found in self._disks(name) if found == source]
        if not targets:
            hint = f"see what it has: virsh domblklist {name}"
            raise VmMgrError(Kind.NOT_FOUND, f"the running {name} has no disk {source}", hint=hint)
        return targets[0]

    def _disks(self, name: VmName) -> list[tuple[str, str]]:
        listed = self._virsh("domblklist", name)
        check(listed)
        rows = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
        return [(row[0], row[1].strip()) for row in rows if len(row) == 2]

    def _kept(self, *only: str) -> list[str]:
        listed = self._virsh("list", "--all", "--persistent", *only, "--name")
        check(listed)
        return _names(listed)

    def _virsh(self, *arguments: str, timeout_s: float = SHORT_S) -> Completed:
        return self.runner.run(commands.virsh(*arguments, uri=self.uri), timeout_s=timeout_s)


def _names(listed: Completed) -> list[str]:
    """Take the lines: a name that isn't ours can have spaces."""
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()]
