"""Follow a live migration as libvirt has it at the source."""

from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.migration import JobSample
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["Forecast", "Job"]

MIB = 1 << 20
# By half the smoothed rates follow those of the looks in this time.
HALF_S = 2.0
# For how long there must have been no end until that is said.
SURE_S = 5.0
# What is left goes in one pause, which QEMU or vm-mgr is about to make, if that is shorter than this.
SHORT_PAUSE_S = 1.0


class Job:
    """How far a move is. last: what to say of that; sample: the last look, or None where there was no job.

    asks: whether the source's libvirt can be asked; where it can't, it is only said that the VM moves.
    """

    def __init__(self, env: Env, name: VmName, source: NodeName, *, asks: bool) -> None:
        self.env = env
        self.name = name
        self.source = source
        self.asks = asks
        self.asked_utc = env.clock.utc()
        self.last = Progress(f"moving {name}")
        self.sample: JobSample | None = None
        self.forecast = Forecast()

    def is_sending(self) -> bool:
        """Look how far it is, and tell whether memory is left to be sent."""
        if not self.asks:
            return False
        try:
            sample = self.env.hypervisor_at(self.source).migration_progress(self.name)
        except VmMgrError as error:
            self.asks = False
            text = f"how far the move is can't be seen: {error.message}"
            self.env.say(Note(Level.WARNING, "no-progress", text, error.hint))
            return False
        if sample is not None:
            seen = self.forecast.look(sample, self.env.clock.monotonic())
            self.last, self.sample = _progress(self.name, seen, self.forecast.words()), sample
        return sample is not None and sample.remaining_bytes > 0


class Forecast:
    """When a move ends, by rates that are smoothed over the last looks: those of one look jump."""

    def __init__(self) -> None:
        self.smooth: JobSample | None = None
        self._looked_s = 0.0
        self._stuck_since_s: float | None = None

    def look(self, sample: JobSample, now_s: float) -> JobSample:
        """Take a sample in, and give it with the smoothed rates."""
        if self.smooth is not None:
            old, new = self.smooth, 1 - 0.5 ** ((now_s - self._looked_s) / HALF_S)
            rate, dirty = old.rate_bps, old.dirty_bps
            rate, dirty = rate + new * (sample.rate_bps - rate), dirty + new * (sample.dirty_bps - dirty)
            sample = sample._replace(rate_bps=rate, dirty_bps=dirty)
        self.smooth, self._looked_s = sample, now_s
        if sample.left_s is not None:
            self._stuck_since_s = None
        elif self._stuck_since_s is None:
            self._stuck_since_s = now_s
        return sample

    def words(self) -> str:
        """Say it; nothing where that is not sure, as before a short pause that ends it."""
        now = self.smooth
        if now is not None and now.left_s is not None:
            return f"{now.left_s:.0f} s left"
        if now is None or self._stuck_since_s is None or self._looked_s - self._stuck_since_s < SURE_S:
            return ""
        is_short = now.pause_s is not None and now.pause_s < SHORT_PAUSE_S
        return "" if is_short else "no end in sight"


def _progress(name: VmName, sample: JobSample, end: str) -> Progress:
    whole = sample.processed_bytes + sample.remaining_bytes
    if not whole:  # nothing is known of it yet
        return Progress(f"moving {name}")
    fraction = sample.processed_bytes / whole
    rates = f"{sample.rate_bps / MIB:.0f} MiB/s, dirties {sample.dirty_bps / MIB:.0f} MiB/s"
    extra = f", slowed down by {sample.throttle_percent}%" if sample.throttle_percent else ""
    extra += ", paused to finish" if sample.paused else ""
    sent = f"{sample.processed_bytes // MIB} of {whole // MIB} MiB"
    detail = ", ".join(filter(None, (sent, rates, end))) + extra
    return Progress(f"moving {name}", fraction, whole, detail)
