"""Meet the node runner port over ssh, by the key that also opens another node's libvirt.

What that key may call beside libvirt is `vm_mgr.ocf.hold` alone (deploy/roles/libvirt), which knows the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import migration_host
from vm_mgr.ports.node_runner import NodeVerb

if TYPE_CHECKING:
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.ports.runner import Runner

__all__ = ["ASKED", "SshNodes"]

TIMEOUT_S = 20.0
CALL = ("/usr/bin/python3", "-P", "-m", "vm_mgr.ocf.hold")
# Its answer is like no other program's.
ASKED = "vm-mgr hold:"


class SshNodes:
    """The hypervisors of the cluster, by their names on the migration network."""

    def __init__(self, runner: Runner, suffix: str) -> None:
        """Suffix makes a node's name that of its address there."""
        self.runner = runner
        self.suffix = suffix

    def run(self, node: NodeName, verb: NodeVerb, *words: str) -> str:
        """Call it; in an older deployment virt-ssh-helper is called instead, which is mute."""
        host = migration_host(node, self.suffix)
        options = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
        done = self.runner.run(("ssh", *options, host, "--", *CALL, verb, *words), timeout_s=TIMEOUT_S)
        if done.stdout.startswith(ASKED):
            return done.stdout.removeprefix(ASKED).strip()
        why = " ".join(done.stderr.split()) or "it does not know how"
        hint = "deploy this version of vm-mgr on all nodes, or run the command on the VM's own node"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{host} does not do {verb.value!r}: {why}", hint=hint)

    def utc(self, node: NodeName) -> float:
        """Give its wall clock, in seconds; raises EXTERNAL_FAILURE."""
        told = self.run(node, NodeVerb.CLOCK)
        try:
            return float(told)
        except ValueError as error:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{node} does not report its time: {told!r}") from error

    def has_ended(self, node: NodeName, pid: int, birth: str) -> bool:
        """Tell whether a process of it that began then has provably ended; raises EXTERNAL_FAILURE."""
        told = self.run(node, NodeVerb.PROCESS, str(pid), birth)
        if told not in ("ended", "lives"):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{node} does not report its processes: {told!r}")
        return told == "ended"
