"""Meet the hypervisor port with bounded calls of virsh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.libvirt import commands
from vm_mgr.errors import Kind, ProgramError, VmMgrError

if TYPE_CHECKING:
    from pathlib import Path

    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.hypervisor import Migration
    from vm_mgr.ports.runner import Completed, Runner

__all__ = ["Virsh"]

SHORT_S = 5.0
FREEZE_S = 15.0


class Virsh:
    """The libvirt of this node."""

    def __init__(self, runner: Runner, state_dir: Path, *, uri: str = commands.URI) -> None:
        self.runner = runner
        self.state_dir = state_dir
        self.uri = uri

    def create(self, xml: str, name: VmName, *, timeout_s: float) -> None:
        """Start a transient domain from a file that is gone afterwards."""
        path = self.state_dir / f"{name}.xml"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(xml, encoding="utf-8")
        try:
            _check(self.runner.run(commands.virsh("create", str(path)), timeout_s=timeout_s))
        finally:
            path.unlink(missing_ok=True)

    def shutdown(self, name: VmName, *, timeout_s: float) -> None:
        """Ask the guest to power off."""
        _check(self.runner.run(commands.virsh("shutdown", name), timeout_s=timeout_s))

    def destroy(self, name: VmName, *, timeout_s: float) -> None:
        """Unplug."""
        _check(self.runner.run(commands.virsh("destroy", name), timeout_s=timeout_s))

    def domain_state(self, name: VmName, *, timeout_s: float) -> str:
        """Give libvirt's word for the state, or "absent"."""
        completed = self.runner.run(commands.virsh("list", "--all", "--name"), timeout_s=timeout_s)
        _check(completed)
        if name not in completed.stdout.split():
            return "absent"
        state = self.runner.run(commands.virsh("domstate", name), timeout_s=timeout_s)
        return state.stdout.strip() if state.exit_code == 0 else "absent"

    def migrate(self, migration: Migration) -> None:
        """Move live within the time limit; cancel it otherwise."""
        if migration.speed_mib is not None:
            argv = commands.virsh("migrate-setspeed", migration.name, str(migration.speed_mib))
            _check(self.runner.run(argv, timeout_s=SHORT_S))
        if migration.downtime_ms is not None:
            self._limit_downtime(migration)
        try:
            _check(self.runner.run(commands.migrate(migration), timeout_s=migration.timeout_s))
        except VmMgrError:
            self.abort_job(migration.name)
            raise

    def abort_job(self, name: VmName) -> None:
        """Cancel a migration under way."""
        # Fails when there is no job, which is what we want.
        self.runner.run(commands.domjobabort(name), timeout_s=SHORT_S)

    def freeze(self, name: VmName) -> bool:
        """Ask the guest's agent; libvirt says no at once where the domain has none."""
        done = self._virsh("domfsfreeze", name, timeout_s=FREEZE_S)
        return done.exit_code == 0

    def thaw(self, name: VmName) -> None:
        """Ask the guest's agent, which answers with an error where nothing is frozen."""
        self._virsh("domfsthaw", name, timeout_s=FREEZE_S)

    def pause(self, name: VmName) -> None:
        """Suspend."""
        _check(self._virsh("suspend", name))

    def resume(self, name: VmName) -> None:
        """Resume."""
        _check(self._virsh("resume", name))

    def grow(self, name: VmName, source: str, size_bytes: int) -> None:
        """Resize the block device that has this source."""
        listed = self._virsh("domblklist", name)
        _check(listed)
        rows = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
        targets = [row[0] for row in rows if len(row) == 2 and row[1].strip() == source]
        if not targets:
            raise VmMgrError(Kind.NOT_FOUND, f"the running {name} has no disk {source}")
        _check(self._virsh("blockresize", name, targets[0], f"{size_bytes}B"))

    def definition(self, name: VmName) -> str:
        """Dump the inactive XML, with what is usually kept back."""
        if name not in self._kept():
            hint = "see them: virsh list --all --persistent"
            raise VmMgrError(Kind.NOT_FOUND, f"libvirt keeps no domain {name} on this node", hint=hint)
        done = self._virsh("dumpxml", "--inactive", "--security-info", name)
        _check(done)
        return done.stdout

    def undefine(self, name: VmName) -> None:
        """Undefine, with what libvirt keeps beside the definition."""
        if name in self._kept():
            _check(self._virsh("undefine", name, "--managed-save", "--snapshots-metadata", "--nvram"))

    def _kept(self) -> list[str]:
        listed = self._virsh("list", "--all", "--persistent", "--name")
        _check(listed)
        return listed.stdout.split()

    def _virsh(self, *arguments: str, timeout_s: float = SHORT_S) -> Completed:
        return self.runner.run(commands.virsh(*arguments, uri=self.uri), timeout_s=timeout_s)

    def _limit_downtime(self, migration: Migration) -> None:
        argv = commands.virsh("migrate-setmaxdowntime", migration.name, str(migration.downtime_ms))
        _check(self.runner.run(argv, timeout_s=SHORT_S))


def _check(completed: Completed) -> None:
    if completed.exit_code == 0:
        return
    failure = ProgramError(completed.argv, completed.exit_code, completed.stderr)
    if "Failed to connect" in completed.stderr or "failed to connect" in completed.stderr:
        # virsh has one exit status for everything.
        hint = "systemctl status libvirtd virtqemud"
        raise VmMgrError(
            Kind.EXTERNAL_FAILURE, "libvirt does not answer on this node", hint=hint
        ) from failure
    raise failure
