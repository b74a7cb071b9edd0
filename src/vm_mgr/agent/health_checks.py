"""Look deeper at a running VM: QEMU's monitor, the counters of vCPUs and disks, the guest's agent.

What shows that the VM is dead is a miss. Where nobody tells, because libvirt is down, hangs or is busy with
something else, nothing is known: that never speaks against the VM.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["CHECKS", "Kept", "Verdict", "Word"]

# QEMU's states (RunState) that it does not leave by itself and that nobody has asked for.
DEAD = ("internal-error", "guest-panicked")
# How far libvirt's and our own watch may be apart.
TOLERANCE_S = 1.5


class Word(Enum):
    """What a look has shown."""

    ALIVE = "alive"
    MISSED = "missed"
    UNKNOWN = "unknown"


class Kept(NamedTuple):
    """What is kept from one look to the next, about one process.

    answered: the guest's agent has answered since the process began. asked_s: when QEMU was asked what it has
    not answered yet. vcpu_ns, requests: the counters; moved_s: when they last moved. Times are of the
    monotonic clock.
    """

    process: str
    misses: int = 0
    answered: bool = False
    asked_s: float | None = None
    vcpu_ns: int | None = None
    requests: int | None = None
    moved_s: float = 0.0


class Verdict(NamedTuple):
    """What a look has shown, why, and what to keep."""

    word: Word
    why: str
    kept: Kept


def qmp(env: NodeEnv, name: VmName, pid: int, kept: Kept) -> Verdict:  # noqa: ARG001
    """Have QEMU's monitor answer.

    libvirt waits for QEMU without a limit, and everybody else behind it. So it is first asked whether it
    waits already: a second question would only leave one more thread behind. Only our own question counts
    as unanswered: deleting a snapshot, for one, keeps QEMU from answering for minutes, and the VM is well.
    """
    control = env.evidence.control(name)
    if control.word == "ok":
        return _ask_qemu(env, name, kept)
    if control.word == "broken":
        return Verdict(Word.MISSED, "libvirt has lost its connection to QEMU's monitor", kept)
    if control.word == "job":
        return Verdict(Word.ALIVE, "", kept)
    if control.word != "busy":
        return Verdict(Word.UNKNOWN, f"libvirt says: {control.word}", kept)
    began = env.clock.monotonic() - control.busy_s
    if kept.asked_s is not None and abs(began - kept.asked_s) < TOLERANCE_S:
        return Verdict(Word.MISSED, f"QEMU's monitor has not answered for {control.busy_s:.0f} s", kept)
    return Verdict(Word.UNKNOWN, f"another command waits for QEMU since {control.busy_s:.0f} s", kept)


def _ask_qemu(env: NodeEnv, name: VmName, kept: Kept) -> Verdict:
    asked = env.clock.monotonic()
    try:
        status = env.evidence.qemu_status(name)
    except VmMgrError as error:
        control = env.evidence.control(name)
        now = env.clock.monotonic()
        if control.word == "busy" and control.busy_s < now - asked + TOLERANCE_S:
            why = f"QEMU's monitor has not answered for {control.busy_s:.0f} s"
            return Verdict(Word.MISSED, why, kept._replace(asked_s=now - control.busy_s))
        if control.word == "broken":
            return Verdict(Word.MISSED, "libvirt has lost its connection to QEMU's monitor", kept)
        return Verdict(Word.UNKNOWN, error.message, kept)
    if status in DEAD:
        return Verdict(Word.MISSED, f"QEMU says {status}", kept)
    return Verdict(Word.ALIVE, "", kept._replace(asked_s=None))


def counters(env: NodeEnv, name: VmName, pid: int, kept: Kept) -> Verdict:
    """Compare how long the vCPUs have run, and what the disks were asked for, with the last look.

    The kernel tells the first without any daemon; the disks are only looked at where the vCPUs stand still.
    """
    if env.processes.is_halted(pid):
        return Verdict(Word.MISSED, f"a signal or a debugger has stopped QEMU's process {pid}", kept)
    now, vcpu_ns = env.clock.monotonic(), env.processes.vcpu_time_ns(pid)
    if vcpu_ns is None:
        return Verdict(
            Word.UNKNOWN, f"the kernel does not report how long its vCPUs (process {pid}) have run", kept
        )
    if vcpu_ns != kept.vcpu_ns:
        return Verdict(Word.ALIVE, "", kept._replace(vcpu_ns=vcpu_ns, requests=None, moved_s=now))
    return _look_at_disks(env, name, kept, now)


def _look_at_disks(env: NodeEnv, name: VmName, kept: Kept, now: float) -> Verdict:
    still = f"its vCPUs have not run for {now - kept.moved_s:.0f} s"
    try:
        requests = env.evidence.disk_requests(name)
    except VmMgrError as error:
        return Verdict(Word.UNKNOWN, f"{still}; of its disks nothing is known: {error.message}", kept)
    if kept.requests is None:
        return Verdict(
            Word.UNKNOWN, f"{still}; its disks are compared the next time", kept._replace(requests=requests)
        )
    if requests != kept.requests:
        return Verdict(Word.ALIVE, "", kept._replace(requests=requests, moved_s=now))
    return Verdict(Word.MISSED, f"{still}, and its disks were not used", kept)


def guest_agent(env: NodeEnv, name: VmName, pid: int, kept: Kept) -> Verdict:  # noqa: ARG001
    """Have the guest's agent answer; before its first answer the guest may still be booting, or have none."""
    answers = env.evidence.agent_answers(name)
    if answers:
        return Verdict(Word.ALIVE, "", kept._replace(answered=True))
    if answers is None:
        return Verdict(Word.UNKNOWN, "its definition has no channel for a guest agent", kept)
    if not kept.answered:
        return Verdict(Word.UNKNOWN, "its guest agent has not answered since its start", kept)
    return Verdict(Word.MISSED, "its guest agent does not answer any more", kept)


CHECKS: dict[str, Callable[[NodeEnv, VmName, int, Kept], Verdict]] = {
    "qmp": qmp,
    "counters": counters,
    "guest-agent": guest_agent,
}
