"""Move a domain live through libvirt's API: one thread moves it, the caller's looks and decides."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.libvirt import arrival
from vm_mgr.adapters.libvirt.connection import ASLEEP, PAUSED, STATES, Connection, binding
from vm_mgr.adapters.libvirt.migration_options import NOTHING, understood
from vm_mgr.adapters.libvirt.switchover import PROC, Switchover
from vm_mgr.errors import AbortedError, Kind, VmMgrError
from vm_mgr.model.migration import (
    AbortReason,
    Course,
    Decision,
    JobSample,
    Limits,
    Step,
    Strategy,
    decide,
    limits_within,
)
from vm_mgr.model.pause import PauseReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.ports.live_migration import Migration, Tell

__all__ = ["LiveMove", "progress"]

POLL_S = 0.5
CALL_S = 5.0
RUN = Path("/run/libvirt/qemu")
# ssh to the target.
CONNECT_S = 20.0
# After an abort QEMU goes back in a moment, and the target's libvirt ends its side.
SETTLE_S = 10.0
# A guest that sleeps (ACPI S3) is woken before it moves.
WAKE_S = 10.0
_STRATEGIES = {
    Strategy.AUTO_CONVERGE: "VIR_MIGRATE_AUTO_CONVERGE",
    Strategy.POSTCOPY: "VIR_MIGRATE_POSTCOPY",
}


def progress(libvirt: Any, domain: Any, elapsed_s: float | None = None) -> JobSample | None:
    """Look at an outgoing migration; to be called from within a call of a connection."""
    stats = domain.jobStats()
    if stats.get("type", 0) not in (libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED):
        return None
    outgoing = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
    if stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION, outgoing) != outgoing:
        return None
    # libvirt gives what the guest dirties in pages, everything else in bytes.
    page = stats.get(libvirt.VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE, 4096)
    return JobSample(
        elapsed_s=stats.get(libvirt.VIR_DOMAIN_JOB_TIME_ELAPSED, 0) / 1000
        if elapsed_s is None
        else elapsed_s,
        processed_bytes=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED, 0),
        remaining_bytes=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_REMAINING, 0),
        total_bytes=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_TOTAL, 0),
        rate_bps=float(stats.get(libvirt.VIR_DOMAIN_JOB_MEMORY_BPS, 0)),
        dirty_bps=float(stats.get(libvirt.VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE, 0) * page),
        iteration=stats.get(libvirt.VIR_DOMAIN_JOB_MEMORY_ITERATION, 0),
        throttle_percent=stats.get(libvirt.VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, 0),
        paused=domain.state()[0] == PAUSED,
    )


class LiveMove:
    """One migration from this node; poll_s is the time between two looks.

    But for post-copy the guest arrives standing, and is let go on when its source has ended: a lost answer
    leaves no two that run (docs/design/0016-end-of-a-live-migration.md).
    """

    def __init__(  # noqa: PLR0913 - the last five are for tests, or the world's
        self,
        source: Connection,
        migration: Migration,
        tell: Tell,
        *,
        now: Callable[[], float] = time.monotonic,
        poll_s: float = POLL_S,
        run: Path = RUN,
        proc: Path = PROC,
        end_streams: Callable[[int], object] = lambda _: None,
    ) -> None:
        """end_streams ends the connections to the target of a QEMU that does not hear of its abort."""
        self.source = source
        self.end_streams = end_streams
        self.target = Connection(migration.destination_uri)
        self.wanted = migration
        self.limits: Limits = migration.limits or limits_within(migration.timeout_s)
        self.tell = tell
        self.now = now
        self.poll_s = poll_s
        self.waits = migration.plan.strategy is not Strategy.POSTCOPY
        self.switchover = Switchover(run / f"{migration.name}.xml", self._let_go, proc=proc)
        self.course = Course()
        self.stood = False
        self.aborted = Decision(Step.GO_ON)
        self._aborted_at: float | None = None
        self._moved = False
        self._failure: Any = None
        self._ended = threading.Event()

    def run(self) -> bool:
        """Move it; False where it has arrived, and waits there for the end of its process here.

        Raises EXTERNAL_FAILURE with the reason, and with what is not as it was before.
        """
        began = self.now()
        flags, params = self._terms()
        self.target.call(self.target.host, CONNECT_S)
        stood = self._stands()
        self.stood = bool(stood)
        self._prepare()
        if self.waits:
            params[binding().VIR_MIGRATE_PARAM_DEST_XML] = self._marked(stands=bool(stood))
            self.switchover.start()
        mover = threading.Thread(target=self._move, args=(flags, params), daemon=True)
        mover.start()
        try:
            self._watch(began)
        except BaseException:
            self._abort()
            self._ended.wait(SETTLE_S)
            if not self._has_left():
                self._restored(stood)
            raise
        if self._has_left():
            return self._goes_on_there()
        reason, why = (self.aborted.reason, self.aborted.why) if self.aborted.reason else self._failed()
        raise AbortedError(f"{reason}; {self._restored(stood)}", why)

    def _has_left(self) -> bool:
        """Tell whether the target has all, and this side is ended for good."""
        return self._moved or self.switchover.has_ended or self._has_arrived()

    def _goes_on_there(self) -> bool:
        """Wait for who lets it go on; where its process here has ended try it for a while."""
        if not self.waits:
            return True
        self.switchover.finish(SETTLE_S)
        deadline = self.now() + SETTLE_S
        while self.switchover.has_ended and not self.switchover.has_gone and self.now() < deadline:
            with suppress(VmMgrError):  # libvirt of the target may just be started anew
                self._let_go()
                return True
            time.sleep(min(self.poll_s, 0.2))
        return self.switchover.has_gone

    def _let_go(self) -> None:
        arrival.let_go(self.target, self.wanted.name, CALL_S, self.wanted.ident)

    def _marked(self, *, stands: bool) -> str:
        """Give the definition for the target; ABI and secrets stay, as libvirt itself hands it over."""

        def look(libvirt: Any) -> str:
            wanted = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
            return str(self.source.domain(libvirt, self.wanted.name).XMLDesc(wanted))

        return arrival.mark(self.source.call(look, CALL_S), self.wanted.ident, stands=stands)

    def _terms(self) -> tuple[int, dict[str, Any]]:
        libvirt, wanted = binding(), self.wanted
        given = understood(wanted.extra_options) or NOTHING
        names = {"VIR_MIGRATE_LIVE", "VIR_MIGRATE_ABORT_ON_ERROR", *given.flags}
        names |= {_STRATEGIES[wanted.plan.strategy]} if wanted.plan.strategy in _STRATEGIES else set()
        names |= {"VIR_MIGRATE_PAUSED"} if self.waits else set()
        params: dict[str, Any] = {getattr(libvirt, key): number for key, number in given.numbers.items()}
        params[libvirt.VIR_MIGRATE_PARAM_URI] = wanted.migrate_uri
        if wanted.speed_mib is not None:
            params[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = wanted.speed_mib
        if wanted.parallel:
            names.add("VIR_MIGRATE_PARALLEL")
            params[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = wanted.parallel
        flags = 0
        for name in names:
            flags |= getattr(libvirt, name)
        return flags, params

    def _prepare(self) -> None:
        downtime_ms = self.wanted.downtime_ms
        if downtime_ms is not None:
            self._ask(lambda domain: domain.migrateSetMaxDowntime(downtime_ms))

    def _move(self, flags: int, params: dict[str, Any]) -> None:
        libvirt = binding()
        try:
            domain = self.source.domain(libvirt, self.wanted.name)
            domain.migrate3(self.target.host(libvirt), params, flags)
            self._moved = True
        except libvirt.libvirtError as error:
            self._failure = error
        finally:
            self._ended.set()

    def _watch(self, began: float) -> None:
        while not self._ended.wait(self.poll_s):
            if self._aborted_at is not None and self.now() - self._aborted_at > SETTLE_S:
                return  # libvirt waits for a target that is lost; here nothing moves any more
            elapsed_s = self.now() - began
            sample = self._look(elapsed_s) or JobSample(elapsed_s=elapsed_s)
            if self._ended.is_set():
                return
            if sample.paused and not self.stood and self.course == Course():
                # QEMU has stopped it to send the rest: no longer than we would let it stand.
                self.course = Course(paused_at_s=elapsed_s)
            decision = decide(self.wanted.plan, self.limits, sample, self.course)
            self._do(decision, sample)
            reason = self.tell(sample, decision)
            if reason and not self.course.postcopy:
                self._do(Decision(Step.ABORT, reason, AbortReason.RECOVERY), sample)

    def _look(self, elapsed_s: float) -> JobSample | None:
        def look(libvirt: Any) -> JobSample:
            domain = self.source.domain(libvirt, self.wanted.name)
            seen = progress(libvirt, domain, elapsed_s)
            # Without a job it is about to begin, or all is sent and the target is waited for.
            return seen or JobSample(elapsed_s=elapsed_s, paused=domain.state()[0] == PAUSED)

        try:
            return self.source.call(look, CALL_S)  # type: ignore[no-any-return]
        except VmMgrError:
            return None  # it may just have left

    def _do(self, decision: Decision, sample: JobSample) -> None:
        if decision.step is Step.PAUSE:
            if self._attempt(lambda domain: domain.suspend()):
                self.course = Course(paused_at_s=sample.elapsed_s)
        elif decision.step is Step.POSTCOPY:
            if self._attempt(lambda domain: domain.migrateStartPostCopy()):
                self.course = Course(postcopy=True)
        elif decision.step is Step.ABORT:
            if self._aborted_at is None:
                self.aborted, self._aborted_at = decision, self.now()
            self._abort()

    def _abort(self) -> None:
        """Ask for it; after the switch to post-copy that would be the end of the guest."""
        if self.course.postcopy or self._attempt(lambda domain: domain.abortJob()):
            return
        if self.switchover.pid and not self._ended.is_set():
            self.end_streams(self.switchover.pid)

    def _failed(self) -> tuple[str, AbortReason]:
        """Say why it has ended; libvirt has a code of its own for a job that somebody else has aborted."""
        failure, called_off = self._failure, binding().VIR_ERR_OPERATION_ABORTED
        if failure is not None and failure.get_error_code() == called_off:
            words = "it was cancelled: its vm-mgr migrate was interrupted, or somebody has aborted it"
            return words, AbortReason.CANCELLED
        return f"its live migration failed: {failure or 'it did not end'}", AbortReason.NONE

    def _has_arrived(self) -> bool:
        """Tell a failure after the fact: the domain has left, and runs at the target."""
        with suppress(VmMgrError):
            return self._state()[0] == "absent" and self._target_state() == "running"
        return False

    def _target_state(self) -> str:
        def look(libvirt: Any) -> str:
            domain = self.target.find(libvirt, self.wanted.name)
            return STATES[domain.state()[0]] if domain is not None else "absent"

        return str(self.target.call(look, CALL_S))

    def _restored(self, stood: str) -> str:
        """Bring the guest to where it was before, and say in words where it is.

        stood is why its processors stood before. libvirt lets a guest go on that it or we have paused for the
        migration; where that did not work it is done here, when the target can't go on any more.
        """
        deadline, doubt = self.now() + SETTLE_S, ""
        while True:
            state, reason = self._state()
            if state == "running" or (stood and state == "paused" and not reason.is_postcopy):
                left = self._left_at_target()
                return f"{left} there" if left else "it was aborted cleanly, the VM goes on here"
            if state == "paused" and not stood and not reason.is_postcopy:
                doubt = self._end_target()
                if not doubt:
                    self._attempt(lambda domain: domain.resume())
            if self.now() > deadline or state == "absent":
                break
            time.sleep(min(self.poll_s, 0.2))
        words = f"NOT CLEAN: here it is {state}" + (f" ({reason})" if reason else "")
        return f"{words}, and it stays so: {doubt}" if doubt else words

    def _end_target(self) -> str:
        """End the half at the target, which stands; say why it may go on there, where that is so.

        A guest that runs there has the disks, and one that can't be seen may have: the cluster decides then.
        """
        try:
            state = self._target_state()
            if state == "absent":
                return ""
            if state != "paused":
                return f"it is {state} at the target"
            if not self._ended.is_set():  # it may be just about to arrive, and then this side ends
                return "its migration has not ended"
            self.target.call(lambda libvirt: self.target.domain(libvirt, self.wanted.name).destroy(), CALL_S)
            return "" if self._target_state() == "absent" else "its half at the target does not end"
        except VmMgrError as error:
            return f"whether it runs at the target is unknown ({error.message})"

    def _left_at_target(self) -> str:
        """Wait until the target's libvirt has forgotten it, end what stands there, and say what is left."""
        deadline = self.now() + SETTLE_S
        while True:
            doubt = self._end_target()
            if not doubt:
                return ""
            if self.now() > deadline:
                return f"NOT CLEAN: it runs here, but {doubt}; a domain of its name may be left"
            time.sleep(min(self.poll_s, 0.2))

    def _stands(self) -> str:
        """Say why the guest is paused before it moves; mostly it runs."""
        state, reason = self._state()
        if state == ASLEEP:
            self._ask(lambda domain: domain.pMWakeup(0))
            deadline = self.now() + WAKE_S
            while state == ASLEEP and self.now() < deadline:
                time.sleep(min(self.poll_s, 0.2))
                state, reason = self._state()
        if state == "running":
            return ""
        if state == "paused" and reason is PauseReason.USER:
            return reason
        words = f"{state} ({reason})" if reason else state
        message = f"{self.wanted.name} is {words}: only a guest that runs can be moved"
        raise VmMgrError(Kind.WRONG_STATE, message)

    def _state(self) -> tuple[str, PauseReason]:
        def look(libvirt: Any) -> Any:
            domain = self.source.find(libvirt, self.wanted.name)
            return domain.state() if domain is not None else None

        try:
            found = self.source.call(look, CALL_S)
        except VmMgrError as error:
            return f"unknown ({error.message})", PauseReason.RUNS
        if found is None:
            return "absent", PauseReason.RUNS
        reason = PauseReason.of_number(found[1]) if found[0] == PAUSED else PauseReason.RUNS
        return STATES[found[0]], reason

    def _ask(self, action: Callable[[Any], object]) -> None:
        self.source.call(lambda libvirt: action(self.source.domain(libvirt, self.wanted.name)), CALL_S)

    def _attempt(self, action: Callable[[Any], object]) -> bool:
        """Ask; False where libvirt refuses, mostly because the job has just ended."""
        try:
            self._ask(action)
        except VmMgrError:
            return False
        return True
