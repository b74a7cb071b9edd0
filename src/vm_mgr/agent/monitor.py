"""Make a deeper check of a running VM, and count its misses: only several in a row are a failure."""

import json
from contextlib import suppress
from typing import NamedTuple

from vm_mgr.agent import identity, state_files
from vm_mgr.agent.health_checks import CHECKS, Kept, Verdict, Word
from vm_mgr.agent.parameters import Parameters
from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.health_checks import LEVELS, level_for
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["Finding", "monitor"]


# What a guest that waits for its disks misses; QEMU itself goes on.
WAITING = ("counters", "guest-agent")
FULL_S = 5.0


class Finding(NamedTuple):
    """Whether the VM has failed, and what there is to say."""

    failed: bool = False
    text: str = ""


def monitor(env: NodeEnv, given: Parameters, *, keep: bool = True) -> Finding:
    """Make the check of the depth that is asked for; a person's (not keep) is no miss that counts.

    Raises VmMgrError where nothing is known, which is no failure of the VM.
    """
    level = level_for(given.check_level)
    check = next((name for name, depth in LEVELS.items() if depth == level), "")
    pid = identity.own_pid(env, given.name) if check else None
    if pid is None:
        return Finding()  # it has ended since the agent looked, whose next look will say so
    kept = _read(env, given.name, check, f"{pid} {env.processes.birth(pid)}")
    verdict = _look(env, given.name, check, pid, kept)
    misses = {Word.ALIVE: 0, Word.UNKNOWN: kept.misses, Word.MISSED: kept.misses + 1}[verdict.word]
    if keep:
        _write(env, given.name, check, verdict.kept._replace(misses=misses))
    if verdict.word is Word.MISSED:
        text = f"check {check} of {given.name}: {verdict.why} (miss {misses} of {given.check_misses})"
        failed = misses >= given.check_misses
        waits = failed and check in WAITING and not env.processes.is_halted(pid)
        full = _full(env, given) if waits else ""
        return Finding(failed and not full, f"{text}; {full}: it waits" if full else text)
    return Finding(
        text=f"check {check} of {given.name}: nothing is known: {verdict.why}" if verdict.why else ""
    )


def _full(env: NodeEnv, given: Parameters) -> str:
    """Say that a guest may only wait for room, as one in Ceph does; no other node has more."""
    with suppress(VmMgrError, OutOfTimeError):
        storage = env.storages.get(given.storage or env.storages.label_of(given.name))
        return str(bounded(lambda: storage.disks.full(given.name), FULL_S))
    return ""


def _look(env: NodeEnv, name: VmName, check: str, pid: int, kept: Kept) -> Verdict:
    """Judge only a guest that is to run: one that stands by somebody's will, or moves, is left alone."""
    if any(state_files.path(env, kind, name).exists() for kind in identity.PAUSES):
        return Verdict(
            Word.ALIVE, "", Kept(kept.process, answered=kept.answered)
        )  # the agent's monitor sees to it
    state = env.evidence.state(name, pid)
    # libvirt does not know why QEMU has stopped the vCPUs: QEMU does.
    if not (state.startswith("running") or (check == "qmp" and state == "paused (unknown)")):
        if state:
            return Verdict(Word.ALIVE, "", Kept(kept.process, answered=kept.answered))
        return Verdict(Word.UNKNOWN, "libvirt's state file does not show its state", kept)
    try:
        return CHECKS[check](env, name, pid, kept)
    except VmMgrError as error:
        return Verdict(Word.UNKNOWN, error.message, kept)


def _read(env: NodeEnv, name: VmName, check: str, process: str) -> Kept:
    """Read what was kept of this process; what can't be understood is no more than a first look."""
    try:
        whole = json.loads(state_files.read(env, f"check-{check}", name))
        kept = Kept(**{key: value for key, value in whole.items() if key in Kept._fields})
    except (ValueError, TypeError, AttributeError):
        return Kept(process)
    return kept if kept.process == process else Kept(process)


def _write(env: NodeEnv, name: VmName, check: str, kept: Kept) -> None:
    try:
        state_files.write(env, f"check-{check}", name, json.dumps(kept._asdict()))
    except OSError as error:
        message = f"can't keep what the check {check} of {name} has found: {error}"
        raise VmMgrError(Kind.ENVIRONMENT, message, hint=f"see: df {env.state_dir}") from error
