"""The end of a live migration, again and again, with a fault in its last second.

What must hold: never two that run; always one that runs within a minute; no acknowledged record lost; and
the cluster comes to rest by itself.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vm_mgr_lab import demo
from vm_mgr_lab.campaign.activity import longest_stand_s, ran_twice
from vm_mgr_lab.campaign.keep import keep_evidence
from vm_mgr_lab.campaign.plan import MoveEnd
from vm_mgr_lab.campaign.records import judge_records, on_disk
from vm_mgr_lab.campaign.rest import RestTimes, cleanup, come_to_rest, mend
from vm_mgr_lab.campaign.watch import Watch
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

__all__ = ["MAC_BYTES", "MoveEnds", "Outcome", "make_vm", "vm_of"]

Say = Callable[[str], None]

MAC_BYTES = {"ceph": 230, "vms": 231}
ONE_RUNS_S = 60.0
COMMAND_S = 200.0
WRITES_S = 120.0  # of a guest that boots, and a machine that is loaded
FIRST_GUESS_S = 0.9
NO_LIBVIRT = ("/usr/sbin/libvirtd", "/usr/sbin/virtqemud")


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a round; times in seconds."""

    plan: MoveEnd
    problems: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    took_s: float = 0.0
    hit: bool = True
    stood_s: float = 0.0  # the longest time that no QEMU ran, from the fault on
    offset_s: float | None = None  # of the fault, from the first instant that the target ran
    rested: bool = True


class MoveEnds:
    """Plays rounds on one VM in one storage."""

    def __init__(self, lab: Lab, storage: str, watch: Watch, keep: Path) -> None:
        self._lab = lab
        self._watch = watch
        self._keep = keep
        self._vm = vm_of(storage)
        self._switches: list[float] = []

    def play(self, plan: MoveEnd) -> Outcome:
        """Play one round and judge it; LabError where the VM is in no state to be moved."""
        began_s = time.time()
        outcome = Outcome(plan=plan)
        source, target, ask = self._nodes(plan)
        told = outcome.story
        told.append(f"{plan.fault} at {plan.offset_s:+.2f} s: {self._vm} {source} → {target}, asked on {ask}")
        command = self._begin(ask, target)
        appeared_s = self._wait_for_target(target, command)
        fault_s = self._strike(plan, source, target, command, outcome, appeared_s)
        self._heal_after(plan, source, target)
        self._wait_for_one(fault_s)
        outcome.problems += self._end_of(command, told)
        times = RestTimes()
        rest = come_to_rest(self._lab, [self._vm], times)
        outcome.problems += rest
        told.append(f"at rest after {time.time() - fault_s:.1f} s {times}")
        outcome.problems += self._writes_again()
        outcome.problems += self._audit(began_s, fault_s, outcome)
        self._learn(outcome, target, appeared_s, fault_s, began_s)
        outcome.took_s = time.time() - began_s
        if outcome.problems:
            told += ["", *(f"PROBLEM: {problem}" for problem in outcome.problems)]
            keep_evidence(
                self._lab, self._keep / f"round-{plan.round}", self._watch, began_s=began_s, story=told
            )
        if rest:
            outcome.rested = mend(self._lab, [self._vm], heal=self._lab.heal)
        cleanup(self._lab)
        # A clean-up after a failed migrate_from restarts the VM: Pacemaker then takes the move for half done.
        come_to_rest(self._lab, [self._vm], RestTimes())
        self._watch.forget(before_s=time.time() - 1)
        return outcome

    def _nodes(self, plan: MoveEnd) -> tuple[str, str, str]:
        names = [node.name for node in self._lab.nodes]
        here = self._watch.nodes_of(self._vm)
        if len(here) != 1:
            raise LabError(f"{self._vm} runs on {here or 'no node'}, not on one")
        others = [name for name in names if name != here[0]]
        return here[0], others[plan.target % len(others)], names[plan.ask % len(names)]

    def _begin(self, ask: str, target: str) -> "subprocess.Popen[str]":
        argv = [*self._lab.machine(ask).enter_command(), "vm-mgr", "migrate", self._vm, target]
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def _wait_for_target(self, target: str, command: "subprocess.Popen[str]") -> float:
        """Wait until the target has a QEMU; return when."""
        deadline = time.monotonic() + COMMAND_S
        while time.monotonic() < deadline and command.poll() is None:
            for one in self._watch.qemus(self._vm):
                if one.node == target:
                    return one.first_s
            time.sleep(0.01)
        told = command.communicate(timeout=5)[0] if command.poll() is not None else "it hangs"
        raise LabError(f"{self._vm} did not begin to move to {target}: {told.strip()[-300:]}")

    def _strike(
        self,
        plan: MoveEnd,
        source: str,
        target: str,
        command: "subprocess.Popen[str]",
        outcome: Outcome,
        appeared_s: float,
    ) -> float:
        """Do the fault at its time, and return that."""
        usual_s = statistics.median(self._switches[-9:]) if self._switches else FIRST_GUESS_S
        wait_s = appeared_s + usual_s + plan.offset_s - time.time()
        if wait_s > 0:
            time.sleep(wait_s)
        fault_s = time.time()
        outcome.hit = self._do(plan.fault, source, target, command)
        outcome.story.append(
            f"{datetime.fromtimestamp(fault_s, UTC):%H:%M:%S.%f} the fault"
            + ("" if outcome.hit else ": nobody was there to be hit")
        )
        return fault_s

    def _do(self, fault: str, source: str, target: str, command: "subprocess.Popen[str]") -> bool:
        what, _, side = fault.rpartition("-")
        node = source if side == "source" else target
        if what == "libvirt-killed":
            return self._kill([p for name in NO_LIBVIRT for p in self._watch.find_now(node, name)])
        if what == "agent-killed":
            return self._kill(self._watch.find_now(node, "vm_mgr.ocf", "migrate_"))
        if what == "qemu-killed":
            return self._kill([one.pid for one in self._watch.qemus(self._vm) if one.node == node])
        if what == "network-cut":
            self._lab.cut_network(node, ["cluster"])
        elif what == "power-cut":
            self._lab.cut_power(node)
        elif what == "hang":
            self._lab.machine(node).pause()
        elif what == "command":
            return self._end(command, signal.SIGKILL if side == "killed" else signal.SIGHUP)
        return True

    def _end(self, command: "subprocess.Popen[str]", number: signal.Signals) -> bool:
        """Signal the command itself; its own process is the one that the prefix has become."""
        if command.poll() is not None:
            return False
        command.send_signal(number)
        return self._kill(self._all("vm-mgr", "migrate", self._vm), number)

    def _all(self, *words: str) -> list[int]:
        return [pid for node in self._lab.nodes for pid in self._watch.find_now(node.name, *words)]

    def _kill(self, pids: list[int], number: signal.Signals = signal.SIGKILL) -> bool:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(pids)

    def _heal_after(self, plan: MoveEnd, source: str, target: str) -> None:
        what, _, side = plan.fault.rpartition("-")
        node = source if side == "source" else target
        if what == "network-cut":
            time.sleep(plan.hold_s)
            self._lab.heal_network(node, ["cluster"])
        elif what == "hang":
            time.sleep(plan.hold_s / 2)
            self._lab.machine(node).resume()

    def _wait_for_one(self, fault_s: float) -> None:
        """Wait a minute until one QEMU, and only one, runs and writes."""

        def alone() -> bool:
            running = self._watch.running(self._vm)
            fresh = self._watch.records(self._vm, since_s=max(fault_s, time.time() - 1.5))
            return len(running) == 1 and bool(fresh)

        # How long none ran is judged afterwards; a guest that boots on a loaded machine may write later.
        with contextlib.suppress(LabError):
            wait_until(alone, what=f"{self._vm} to run", timeout_s=ONE_RUNS_S, interval_s=0.1)

    def _writes_again(self) -> list[str]:
        since_s = time.time()
        try:
            wait_until(
                lambda: bool(self._watch.records(self._vm, since_s=since_s)),
                what=f"a write of {self._vm}",
                timeout_s=WRITES_S,
            )
        except LabError as error:
            return [str(error)]
        return []

    def _end_of(self, command: "subprocess.Popen[str]", told: list[str]) -> list[str]:
        try:
            output = command.communicate(timeout=COMMAND_S)[0]
        except subprocess.TimeoutExpired:
            command.kill()
            command.communicate()
            return [f"the command did not end within {COMMAND_S:g} s"]
        told.append(f"the command ended with {command.returncode}: {output.strip()[-1500:]}")
        return ["the command ended with a traceback"] if "Traceback" in output else []

    def _audit(self, began_s: float, fault_s: float, outcome: Outcome) -> list[str]:
        seen = self._watch.sightings(since_s=began_s)
        problems = ran_twice(seen)
        outcome.stood_s = longest_stand_s(seen, fault_s, time.time())
        if outcome.stood_s > ONE_RUNS_S:
            problems.append(f"{self._vm} ran nowhere for {outcome.stood_s:.1f} s")
        if len(nodes := self._watch.nodes_of(self._vm)) != 1:
            problems.append(f"at rest {self._vm} has a QEMU on {nodes or 'no node'}")
        acknowledged = self._watch.records(self._vm)  # before the disk is read: the guest goes on writing
        with contextlib.suppress(StopIteration):
            ask = next(n.name for n in self._lab.nodes if self._lab.machine(n.name).is_on())
            problems += judge_records(acknowledged, on_disk(self._lab, self._vm, acknowledged, node=ask))
        return problems

    def _learn(
        self, outcome: Outcome, target: str, appeared_s: float, fault_s: float, began_s: float
    ) -> None:
        """Remember when the target began to run, so that the next fault meets its time."""
        ran = [
            one.runs[0].began_s
            for one in self._watch.sightings(since_s=began_s)
            if one.vm == self._vm and one.node == target and one.runs and one.first_s <= appeared_s + 0.01
        ]
        if ran and ran[0] > appeared_s:
            outcome.offset_s = fault_s - ran[0]
            if ran[0] - appeared_s < 4:
                self._switches.append(ran[0] - appeared_s)


def vm_of(storage: str) -> str:
    """Return the name of the VM that is moved in a storage."""
    return f"mover-{storage}"


def make_vm(lab: Lab, storage: str, say: Say) -> None:
    """Create the VM, or take one that an earlier campaign left running."""
    name = vm_of(storage)
    listed = json.loads(lab.execute("n1", ["vm-mgr", "list", "--output", "json"]).stdout)
    if name not in {row["name"] for row in listed}:
        options = ("--storage", storage, "--enable-live-migration")
        demo.create_guest(lab, name, say, mac_byte=MAC_BYTES[storage], options=options)
