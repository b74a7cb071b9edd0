"""Follow a live migration as libvirt has it at the source."""

from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.migration import JobSample
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress

__all__ = ["Job"]

MIB = 1 << 20


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
            self.last, self.sample = _progress(self.name, sample), sample
        return sample is not None and sample.remaining_bytes > 0


def _progress(name: VmName, sample: JobSample) -> Progress:
    whole = sample.processed_bytes + sample.remaining_bytes
    if not whole:  # nothing is known of it yet
        return Progress(f"moving {name}")
    fraction = sample.processed_bytes / whole
    left = f"{sample.left_s:.0f} s left" if sample.left_s is not None else "no end in sight"
    rates = f"{sample.rate_bps / MIB:.0f} MiB/s, dirties {sample.dirty_bps / MIB:.0f} MiB/s"
    extra = f", slowed down by {sample.throttle_percent}%" if sample.throttle_percent else ""
    extra += ", paused to finish" if sample.paused else ""
    detail = f"{sample.processed_bytes // MIB} of {whole // MIB} MiB, {rates}, {left}{extra}"
    return Progress(f"moving {name}", fraction, whole, detail)
