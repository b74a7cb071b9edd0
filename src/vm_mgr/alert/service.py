"""Act on events: release the storage of a fenced node, keep what happened, ask guests whether they live.

Several workers, so that nothing waits for what it doesn't need: a release not for the event log, which may be
on the very disks that hang, nor for the release of another node, and none of them for a guest that boots.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING

from vm_mgr.alert.message import from_pacemaker, read_line
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.event import OF_DEVICES, OF_NODES, Event, EventKind
from vm_mgr.model.vm import VmName, VmState
from vm_mgr.operations.release_node import release_node
from vm_mgr.operations.support.vm_state import derive_status

if TYPE_CHECKING:
    from vm_mgr.ports.env import Env

__all__ = ["Failures", "Guests", "Keeper", "Nodes", "Service", "Worker"]

# The cluster's configuration may say a moment later that a node is fenced than the alert does.
PROOF_S = 15.0
# How long the members may take to elect a coordinator, who knows whether there is quorum.
QUORUM_S = 5.0
POLL_S = 0.2
# How long Ceph's monitors, one of which the cluster may just have lost, are asked again.
RELEASE_S = 60.0
# How long the storage may refuse events before they are in the journal only.
KEEP_S = 300.0
OFF_S = 30.0
START_S = 120.0
AGAIN_S = 1.0
GUEST_S = 300.0
# How the names of the fence devices begin that our deployment makes.
FENCE_DEVICE = "vm-mgr-fence-"


class Worker:
    """Does one job after the other, in a thread; a job that fails does not keep it from the next one."""

    def __init__(self) -> None:
        self._jobs: Queue[Callable[[], None]] = Queue()
        Thread(target=self._work, daemon=True).start()

    def do(self, job: Callable[[], None]) -> None:
        """Queue a job."""
        self._jobs.put(job)

    @property
    def busy(self) -> bool:
        """Tell whether there is anything left to do."""
        return self._jobs.unfinished_tasks > 0

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except (VmMgrError, OSError) as error:
                _warn(str(error))
            finally:
                self._jobs.task_done()


class Keeper:
    """Puts events into the event log; those that the storage does not take are tried again with the next."""

    def __init__(self, env: "Env") -> None:
        self.env = env
        self.waiting: list[Event] = []
        self.vms: set[str] = set()
        self.powered_off: dict[str, float] = {}
        self._refused_since: float | None = None
        self._node = ""

    def keep(self, event: Event) -> None:
        """Add an event, filling in this node's name."""
        self.waiting.append(event._replace(node=event.node or self.node()))

    def keep_of_resource(self, event: Event) -> None:
        """Add an event of a VM or of a fence device, and tell it."""
        seen = event if event.subject in self.vms else self._looked_up(event)
        if seen is None or self._is_no_failure(seen):
            return
        self.env.journal.write(seen)
        self.keep(seen)

    def _looked_up(self, event: Event) -> Event | None:
        """Give what is to be told of it: of a VM all, of a fence device only changes, of others nothing."""
        name = event.subject
        if not name.startswith(FENCE_DEVICE):
            try:
                found = self.env.cluster.state().resources.get(name)
                if found is not None:
                    return event if found.is_vm else None
                if name not in {one.name for one in self.env.timings.cluster().devices}:
                    return event
            except VmMgrError:
                return event
        kind = OF_DEVICES.get(event.kind)
        if kind is None or kind is self._last_of_device(name):
            return None
        return event._replace(kind=kind)

    def _last_of_device(self, name: str) -> EventKind:
        """Say what was told of a fence device by the last node that had to; one that works is not told of."""
        known: list[Event] = []
        with suppress(VmMgrError):
            known = self.env.event_log.read()
        told = [one.kind for one in (*known, *self.waiting) if one.subject == name]
        return next((kind for kind in reversed(told) if kind in OF_DEVICES.values()), EventKind.DEVICE_WORKS)

    def _is_no_failure(self, event: Event) -> bool:
        """Tell of the monitor's end, as Pacemaker tells it, that the agent has just told better."""
        now = self.env.clock.monotonic()
        if event.kind is EventKind.POWERED_OFF:
            self.powered_off[event.subject] = now
        if event.kind is not EventKind.FAILED or event.detail.partition(":")[0] != "monitor":
            return False
        # The next one is a failure again: the guest may boot into one.
        began = self.powered_off.pop(event.subject, None)
        return began is not None and now - began < OFF_S

    def flush(self) -> bool:
        """Write what is waiting; tells whether that is done, or else has waited a moment."""
        if not self.waiting:
            return True
        now = self.env.clock.monotonic()
        try:
            self.env.event_log.append(self.waiting)
        except VmMgrError as error:
            self._refused_since = now if self._refused_since is None else self._refused_since
            if now - self._refused_since < KEEP_S:
                self.env.clock.sleep(AGAIN_S)
                return False
            _warn(f"{len(self.waiting)} events are in the journal only: {error}")
        self.waiting.clear()
        self._refused_since = None
        return True

    def node(self) -> str:
        """Name this node, by the host's name where the cluster does not answer."""
        if not self._node:
            try:
                self._node = self.env.cluster.local_node()
            except VmMgrError:
                return os.uname().nodename
        return self._node


class Nodes:
    """Acts on what happens to nodes."""

    def __init__(self, env: "Env") -> None:
        self.env = env

    def seen(self, event: Event) -> Event | None:
        """Say which VMs a lost node had, as long as the cluster knows it.

        Gives None where this node is in the part that has no quorum: it is the one that was lost. Without a
        coordinator, who may be the one that was lost, nobody knows for a moment.
        """
        if event.kind is not EventKind.LOST:
            return event
        deadline = self.env.clock.monotonic() + QUORUM_S
        while True:
            try:
                state = self.env.cluster.state()
            except VmMgrError:
                return event
            if state.quorate:
                found = state.resources.values()
                ran = [one.name for one in found if one.is_vm and event.subject in one.nodes]
                return event._replace(vms=tuple(sorted(ran)))
            if self.env.clock.monotonic() >= deadline:
                return None
            self.env.clock.sleep(POLL_S)

    def act(self, event: Event) -> None:
        """Release a fenced node; for a lost one, which may be fenced next, get ready."""
        if event.kind is EventKind.LOST:
            with suppress(VmMgrError):  # takes longer than the rest of a release
                self.env.storage_fencing.connect()
        if event.kind is EventKind.FENCED:
            self._release(NodeName(event.subject))

    def _release(self, node: NodeName) -> None:
        deadline = self.env.clock.monotonic() + RELEASE_S
        while True:
            try:
                release_node(self.env, node, wait_s=PROOF_S)
            except VmMgrError as error:
                if error.kind is Kind.NOT_SUPPORTED:
                    return
                if error.kind is Kind.EXTERNAL_FAILURE and self.env.clock.monotonic() < deadline:
                    self.env.clock.sleep(AGAIN_S)
                    continue
                self.env.journal.record(
                    Event(self.env.clock.utc(), EventKind.RELEASE_FAILED, node, detail=error.message)
                )
            return


class Failures:
    """Has the cluster forget that a VM was gone whose guest has shut down by itself."""

    def __init__(self, env: "Env") -> None:
        self.env = env

    def forget(self, name: VmName) -> None:
        """Wait until the VM runs again, then clear the failure of its monitor here.

        Before that the cluster needs the failure: it starts the VM again because of it.
        """
        deadline, here = self.env.clock.monotonic() + START_S, self.env.cluster.local_node()
        while self.env.clock.monotonic() < deadline:
            self.env.clock.sleep(AGAIN_S)
            state = self.env.cluster.state()
            resource = state.resources.get(name)
            if resource is None or derive_status(resource, state).state is VmState.STOPPED:
                return
            failed = [one for one in resource.failures if (one.task, one.node) == ("monitor", here)]
            runs = resource.active and not (resource.failed or resource.blocked or resource.in_transition)
            if failed and runs:
                latest = max(failed, key=lambda one: one.when)
                self.env.cluster.cleanup_failed(name, here, "monitor", latest.interval_ms)
                return


class Guests:
    """Asks the agents of guests that have just been started until they answer."""

    def __init__(self, env: "Env") -> None:
        self.env = env
        self.booting: dict[VmName, float] = {}

    def expect(self, name: VmName) -> None:
        """Begin with a guest."""
        self.booting[name] = self.env.clock.monotonic()

    def ask(self) -> None:
        """Ask all, in turns, until each has answered, has ended or has taken too long."""
        while self.booting:
            for name, began in list(self.booting.items()):
                if self._answers(name):
                    took_ms = round((self.env.clock.monotonic() - began) * 1000)
                    waited = {"guest agent": took_ms}
                    self.env.journal.record(Event(self.env.clock.utc(), EventKind.ALIVE, name, waited=waited))
                elif self._may_answer(name, began):
                    continue
                self.booting.pop(name, None)
            if self.booting:
                self.env.clock.sleep(AGAIN_S)

    def _answers(self, name: VmName) -> bool:
        try:
            return self.env.hypervisor.agent_answers(name)
        except VmMgrError:
            return False

    def _may_answer(self, name: VmName, began: float) -> bool:
        with suppress(VmMgrError):
            return (
                self.env.clock.monotonic() - began < GUEST_S and self.env.processes.find_vm(name) is not None
            )
        return False


class Service:
    """Hands each line that comes to the workers; each has an environment of its own, with its connections.

    Each node has a worker: nodes that are lost together don't wait for each other's release.
    """

    def __init__(self, make_env: "Callable[[], Env]") -> None:
        self.keeper, self.guests = Keeper(make_env()), Guests(make_env())
        self._make_env = make_env
        self._keeping, self._asking, self._forgetting = Worker(), Worker(), Worker()
        self._acting: dict[str, tuple[Nodes, Worker]] = {}

    @property
    def busy(self) -> bool:
        """Tell whether any worker has something to do."""
        acting = [worker for _, worker in self._acting.values()]
        return any(one.busy for one in (*acting, self._keeping, self._asking, self._forgetting))

    def handle(self, line: str) -> None:
        """Take one line, and return at once."""
        event = read_line(line)
        if event is None:
            return
        if not from_pacemaker(line):  # it is in the journal already
            if event.kind not in OF_NODES:
                self.keeper.vms.add(event.subject)
            self._keep(event)
            if event.kind is EventKind.RUNNING and event.expects_agent:
                self.guests.expect(VmName(event.subject))  # also if those before it are still being asked
                self._asking.do(self.guests.ask)
        elif event.kind in OF_NODES:
            if event.subject not in self._acting:
                self._acting[event.subject] = Nodes(self._make_env()), Worker()
            nodes, worker = self._acting[event.subject]
            worker.do(partial(self._node, nodes, event))
        else:
            self._keeping.do(partial(self.keeper.keep_of_resource, event))
            self._keeping.do(self._flush)
            if event.kind is EventKind.POWERED_OFF:
                self._forgetting.do(partial(self._forget, VmName(event.subject)))

    def _forget(self, name: VmName) -> None:
        Failures(self._make_env()).forget(name)

    def _node(self, nodes: Nodes, event: Event) -> None:
        seen = nodes.seen(event)
        nodes.env.journal.write(seen or event)
        if seen:
            self._keep(seen)
            nodes.act(seen)

    def _keep(self, event: Event) -> None:
        self._keeping.do(partial(self.keeper.keep, event))
        self._keeping.do(self._flush)

    def _flush(self) -> None:
        if not self.keeper.flush():
            self._keeping.do(self._flush)  # after what has come meanwhile


def _warn(text: str) -> None:
    print(f"vm-mgr: {text}", file=sys.stderr, flush=True)
