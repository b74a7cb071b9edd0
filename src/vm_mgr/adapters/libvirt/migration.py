"""Move a domain live through libvirt's API: one thread moves it, the caller's looks and decides."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from vm_mgr.adapters.libvirt.connection import PAUSED, REASONS, STATES, Connection, binding
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.migration import Course, Decision, JobSample, Limits, Step, Strategy, decide, limits_within
from vm_mgr.model.numbers import whole_number
from vm_mgr.ports.hypervisor import PAUSED_BY_USER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.live_migration import Migration, Tell

__all__ = ["LiveMove", "begin_dirty_rate", "measured_dirty_rate", "progress", "understood"]

POLL_S = 0.5
CALL_S = 5.0
# ssh to the target.
CONNECT_S = 20.0
# After an abort QEMU goes back in a moment, and the target's libvirt ends its side.
SETTLE_S = 10.0
MIB = 1 << 20
# How long the guest's memory is sampled before its migration.
SAMPLE_MS = 250
# virsh's options (virsh(1), migrate) that are flags of the API.
_FLAGS = {
    "--live": "VIR_MIGRATE_LIVE",
    "--abort-on-error": "VIR_MIGRATE_ABORT_ON_ERROR",
    "--auto-converge": "VIR_MIGRATE_AUTO_CONVERGE",
    "--compressed": "VIR_MIGRATE_COMPRESSED",
    "--change-protection": "VIR_MIGRATE_CHANGE_PROTECTION",
    "--parallel": "VIR_MIGRATE_PARALLEL",
    "--tls": "VIR_MIGRATE_TLS",
    "--unsafe": "VIR_MIGRATE_UNSAFE",
    "--zerocopy": "VIR_MIGRATE_ZEROCOPY",
}
_NUMBERS = {
    "--auto-converge-increment": "VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT",
    "--auto-converge-initial": "VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL",
    "--bandwidth": "VIR_MIGRATE_PARAM_BANDWIDTH",
    "--parallel-connections": "VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS",
}
_STRATEGIES = {
    Strategy.AUTO_CONVERGE: "VIR_MIGRATE_AUTO_CONVERGE",
    Strategy.POSTCOPY: "VIR_MIGRATE_POSTCOPY",
}


class Understood(NamedTuple):
    """Options of virsh as names of the API."""

    flags: tuple[str, ...]
    numbers: Mapping[str, int]


def understood(options: Sequence[str]) -> Understood | None:
    """Translate options of virsh; None where one has no translation here.

    >>> understood(["--auto-converge", "--bandwidth", "8"]).numbers
    {'VIR_MIGRATE_PARAM_BANDWIDTH': 8}
    >>> understood(["--copy-storage-all"]) is None
    True
    """
    flags, numbers, words = [], {}, [part for word in options for part in word.split("=", 1)]
    while words:
        word = words.pop(0)
        if word in _FLAGS:
            flags.append(_FLAGS[word])
        elif word in _NUMBERS and words and (number := whole_number(words[0])) is not None:
            numbers[_NUMBERS[word]] = number
            words.pop(0)
        else:
            return None
    return Understood(tuple(flags), numbers)


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


def begin_dirty_rate(connection: Connection, name: VmName) -> None:
    """Have QEMU sample the guest's memory; libvirt knows whole seconds only, QEMU less from 8.2 on."""

    def begin(libvirt: Any) -> None:
        domain = connection.domain(libvirt, name)
        if not _samples_shortly(domain):
            domain.startDirtyRateCalc(1)

    connection.call(begin, CALL_S)


def _samples_shortly(domain: Any) -> bool:
    arguments = {"calc-time": SAMPLE_MS, "calc-time-unit": "millisecond"}
    command = json.dumps({"execute": "calc-dirty-rate", "arguments": arguments})
    try:
        import libvirt_qemu  # noqa: PLC0415

        return "return" in json.loads(libvirt_qemu.qemuMonitorCommand(domain, command, 0))
    except (ImportError, ValueError, binding().libvirtError):
        return False


def measured_dirty_rate(
    connection: Connection, name: VmName, sleep: Callable[[float], None], *, begun: bool
) -> float | None:
    """Wait for what was sampled, or have it done; None where QEMU can't, or the guest stands."""

    def look(libvirt: Any) -> Mapping[str, Any]:
        domain = connection.domain(libvirt, name)
        wanted = libvirt.VIR_DOMAIN_STATS_DIRTYRATE
        return dict(connection.host(libvirt).domainListGetStats([domain], wanted)[0][1])

    try:
        if not begun:
            begin_dirty_rate(connection, name)
        for _ in range(40):
            stats = connection.call(look, CALL_S)
            if stats.get("dirtyrate.calc_status") == binding().VIR_DOMAIN_DIRTYRATE_MEASURED:
                return float(stats["dirtyrate.megabytes_per_second"]) * MIB
            sleep(0.05)
    except VmMgrError as error:
        if error.kind is not Kind.EXTERNAL_FAILURE:
            raise
    return None


class LiveMove:
    """One migration from this node; poll_s is the time between two looks."""

    def __init__(
        self,
        source: Connection,
        migration: Migration,
        tell: Tell,
        *,
        now: Callable[[], float] = time.monotonic,
        poll_s: float = POLL_S,
    ) -> None:
        self.source = source
        self.target = Connection(migration.destination_uri)
        self.wanted = migration
        self.limits: Limits = migration.limits or limits_within(migration.timeout_s)
        self.tell = tell
        self.now = now
        self.poll_s = poll_s
        self.course = Course()
        self.aborted = ""
        self._aborted_at: float | None = None
        self._moved = False
        self._failure: Any = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Move it; raises EXTERNAL_FAILURE with the reason, and with what is not as it was before."""
        began = self.now()
        flags, params = self._terms()
        self.target.call(self.target.host, CONNECT_S)
        stood = self._stands()
        self._prepare()
        mover = threading.Thread(target=self._move, args=(flags, params), daemon=True)
        mover.start()
        try:
            self._watch(began)
        except BaseException:
            self._abort()
            self._ended.wait(SETTLE_S)
            self._restored(stood)
            raise
        if self._moved or self._has_arrived():
            return
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{self.aborted or self._reason()}; {self._restored(stood)}")

    def _terms(self) -> tuple[int, dict[str, Any]]:
        libvirt, wanted = binding(), self.wanted
        given = understood(wanted.extra_options) or Understood((), {})
        names = {"VIR_MIGRATE_LIVE", "VIR_MIGRATE_ABORT_ON_ERROR", *given.flags}
        names |= {_STRATEGIES[wanted.plan.strategy]} if wanted.plan.strategy in _STRATEGIES else set()
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
            decision = decide(self.wanted.plan, self.limits, sample, self.course)
            self._do(decision, sample)
            reason = self.tell(sample, decision)
            if reason and not self.course.postcopy:
                self._do(Decision(Step.ABORT, reason), sample)

    def _look(self, elapsed_s: float) -> JobSample | None:
        def look(libvirt: Any) -> JobSample | None:
            return progress(libvirt, self.source.domain(libvirt, self.wanted.name), elapsed_s)

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
                self.aborted, self._aborted_at = decision.reason, self.now()
            self._abort()

    def _abort(self) -> None:
        """Ask for it; after the switch to post-copy that would be the end of the guest."""
        if not self.course.postcopy:
            self._attempt(lambda domain: domain.abortJob())

    def _reason(self) -> str:
        """Say why it has ended; libvirt has a code of its own for a job that somebody else has aborted."""
        failure, called_off = self._failure, binding().VIR_ERR_OPERATION_ABORTED
        if failure is not None and failure.get_error_code() == called_off:
            return "it was called off: its vm-mgr migrate was interrupted, or somebody has aborted it"
        return f"its live migration failed: {failure or 'it did not end'}"

    def _has_arrived(self) -> bool:
        """Tell a failure after the fact: the domain has left, and runs at the target."""

        def there(libvirt: Any) -> bool:
            domain = self.target.find(libvirt, self.wanted.name)
            return domain is not None and STATES[domain.state()[0]] == "running"

        try:
            return self._state()[0] == "absent" and bool(self.target.call(there, CALL_S))
        except VmMgrError:
            return False

    def _restored(self, stood: str) -> str:
        """Bring the guest to where it was before, and say in words where it is.

        stood is why its processors stood before. libvirt lets a guest go on that it or we have paused for the
        migration; where that did not work it is done here.
        """
        deadline = self.now() + SETTLE_S
        while True:
            state, reason = self._state()
            if state == "running" or (stood and state == "paused" and not reason.startswith("post-copy")):
                left = self._left_at_target()
                return f"{left} there" if left else "it was aborted cleanly, the VM goes on here"
            if state == "paused" and not stood and not reason.startswith("post-copy"):
                self._attempt(lambda domain: domain.resume())
            if self.now() > deadline or state == "absent":
                break
            time.sleep(min(self.poll_s, 0.2))
        return f"NOT CLEAN: here it is {state}" + (f" ({reason})" if reason else "")

    def _left_at_target(self) -> str:
        """Wait until the target's libvirt has forgotten it, and say what it has otherwise."""
        deadline = self.now() + SETTLE_S
        while True:
            try:
                found = self.target.call(lambda libvirt: self.target.find(libvirt, self.wanted.name), CALL_S)
            except VmMgrError as error:
                return f"it runs here, but whether something is left is unknown ({error.message})"
            if found is None:
                return ""
            if self.now() > deadline:
                return "NOT CLEAN: it runs here, but a domain of its name is left"
            time.sleep(min(self.poll_s, 0.2))

    def _stands(self) -> str:
        """Say why the guest stands before it moves; mostly it runs."""
        state, reason = self._state()
        if state == "running":
            return ""
        if state == "paused" and reason == PAUSED_BY_USER:
            return reason
        message = f"{self.wanted.name} is {state} ({reason}): only a guest that runs can be moved"
        raise VmMgrError(Kind.WRONG_STATE, message)

    def _state(self) -> tuple[str, str]:
        def look(libvirt: Any) -> Any:
            domain = self.source.find(libvirt, self.wanted.name)
            return domain.state() if domain is not None else None

        try:
            found = self.source.call(look, CALL_S)
        except VmMgrError as error:
            return "unknown", error.message
        if found is None:
            return "absent", ""
        reason = REASONS[found[1]] if found[0] == PAUSED and found[1] < len(REASONS) else ""
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
