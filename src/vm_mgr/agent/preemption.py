"""Have a live migration give way to a recovery.

Pacemaker does nothing about a loss before all actions that it has begun have ended: a migration of two
minutes would hold up the fencing of a lost node for two minutes.
"""

from contextlib import suppress

from vm_mgr.agent import state_files
from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import ClusterState, Failure
from vm_mgr.model.migration import PREEMPTED, JobSample
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["RecoveryWatch"]

INTERVAL_S = 1.0
# What the cluster takes to answer; a migration has decisions of its own to make meanwhile.
LOOK_S = 2.0
# The failures of one VM end no second migration within this time: the cluster forgets them then, too.
ONCE_IN_S = 600.0
NODE = "node "
# Not worth giving up: it ends by itself as soon as an abort would. One that does not end after all has mostly
# lost its target, to which the last bytes are on their way for ever.
SOON_S = 2.0
END_S = 4.0


class RecoveryWatch:
    """Tell when something is lost that was not when the migration began; nothing is no reason."""

    def __init__(self, env: NodeEnv, name: VmName, target: str = "", *, others: bool = True) -> None:
        """Watch the target, and if asked for all others, too."""
        self.env = env
        self.name = name
        self.target = f"{NODE}{target}"
        self.others = others
        self.next_s = 0.0
        self.ends_since_s: float | None = None
        self.known = self._look()

    def reason(self, sample: JobSample) -> str:
        """Say why the migration is to end at once; mostly nothing."""
        if self._is_ending(sample) or sample.elapsed_s < self.next_s:
            return ""
        self.next_s = sample.elapsed_s + INTERVAL_S
        now = self._look()
        if now is None:
            return ""
        if self.target in now:
            return f"{PREEMPTED}: {now[self.target]}"
        # A cluster that did not answer at first tells from now on what is new.
        known = now if self.known is None else self.known
        for key in sorted(now.keys() - known.keys()) if self.others else ():
            vm = key.split(" ")[0]
            if key.startswith(NODE) or self._is_first(VmName(vm)):
                return f"{PREEMPTED}: {now[key]}"
        self.known = known | now
        return ""

    def _is_ending(self, sample: JobSample) -> bool:
        if not sample.paused and (sample.left_s is None or sample.left_s >= SOON_S):
            self.ends_since_s = None
            return False
        if self.ends_since_s is None:
            self.ends_since_s = sample.elapsed_s
        return sample.elapsed_s - self.ends_since_s < END_S

    def _is_first(self, vm: VmName) -> bool:
        """Tell whether this VM has pre-empted no migration of this node lately, and remember that one does.

        A guest that ends itself again and again would hold up a drain for as long as it likes.
        """
        now = self.env.clock.monotonic()
        with suppress(ValueError):
            if 0 <= now - float(state_files.read(self.env, "gave-way", vm)) < ONCE_IN_S:
                return False
        with suppress(OSError):
            state_files.write(self.env, "gave-way", vm, f"{now}\n")
        return True

    def _look(self) -> dict[str, str] | None:
        """Give what is lost, in words; None if the cluster doesn't answer."""
        try:
            return _losses(bounded(self.env.cluster.state, LOOK_S), self.name)
        except (VmMgrError, OutOfTimeError):
            return None


def _losses(state: ClusterState, name: VmName) -> dict[str, str]:
    nodes = {f"{NODE}{node.name}": f"node {node.name} is lost" for node in state.nodes if node.unclean}
    vms = {
        f"{vm.name} {failure.when} {failure.node}": f"{vm.name} has failed on {failure.node}"
        for vm in state.resources.values()
        if vm.is_vm and vm.name != name and vm.managed and not vm.blocked
        for failure in vm.failures
        if not _is_move(failure)
    }
    return nodes | vms


def _is_move(failure: Failure) -> bool:
    return failure.task.startswith("migrate")
