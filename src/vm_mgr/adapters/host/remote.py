"""Ask another node over ssh, by the key that also opens its libvirt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from vm_mgr.ports.runner import Runner

__all__ = ["ASKED", "ask", "has_ended", "utc"]

TIMEOUT_S = 20.0
# What the key for libvirt may call beside it (deploy/roles/libvirt); its answer is like no other program's.
CALL = ("/usr/bin/python3", "-P", "-m", "vm_mgr.ocf.hold")
ASKED = "vm-mgr hold:"


def ask(runner: Runner, host: str, *words: str) -> str:
    """Give what vm_mgr.ocf.hold answers there.

    Raises EXTERNAL_FAILURE; in an older deployment virt-ssh-helper is called instead, which is mute.
    """
    argv = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", host, "--", *CALL, *words)
    done = runner.run(argv, timeout_s=TIMEOUT_S)
    if done.stdout.startswith(ASKED):
        return done.stdout.removeprefix(ASKED).strip()
    why = " ".join(done.stderr.split()) or "it does not know how"
    hint = "deploy this version of vm-mgr on all nodes, or run the command on the VM's own node"
    raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{host} does not do {words[0]!r}: {why}", hint=hint)


def utc(runner: Runner, host: str) -> float:
    """Give its wall clock, in seconds; raises EXTERNAL_FAILURE."""
    told = ask(runner, host, "clock")
    try:
        return float(told)
    except ValueError as error:
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{host} does not report its time: {told!r}") from error


def has_ended(runner: Runner, host: str, pid: int, birth: str) -> bool:
    """Tell whether a process of it that began then has provably ended; raises EXTERNAL_FAILURE."""
    told = ask(runner, host, "process", str(pid), birth)
    if told not in ("ended", "lives"):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, f"{host} does not report its processes: {told!r}")
    return told == "ended"
