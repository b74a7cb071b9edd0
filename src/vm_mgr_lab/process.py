"""Run the host's programs: the lab's only door to subprocess."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vm_mgr_lab.errors import LabError

__all__ = [
    "bytes_of",
    "copy_through",
    "output_of",
    "require_programs",
    "require_root",
    "run",
    "spawn",
    "wait_clear",
    "wait_until",
]

log = logging.getLogger(__name__)

# program → the Debian package that has it
PROGRAMS = {
    "cpio": "cpio",
    "ip": "iproute2",
    "lz4": "lz4",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
    "sfdisk": "fdisk",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "syslinux": "syslinux",
    "systemd-nspawn": "systemd-container",
    "tc": "iproute2",
}


def require_root() -> None:
    """Refuse to go on without root: namespaces, overlays and control groups need it."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root", hint="run the same command with sudo")


def require_programs() -> None:
    """Refuse to go on when a host program is missing, and name the packages to install."""
    _complete_path()
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[program] for program in missing}))
        raise LabError(f"missing host programs: {', '.join(missing)}", hint=f"apt-get install {packages}")


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    timeout_s: float = 60,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its exit status and output as text.

    A failure raises LabError with the last lines of stderr, unless check is false.
    """
    started = time.monotonic()
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        )
    except FileNotFoundError as error:
        raise LabError(f"program not found: {argv[0]}", hint="./bootstrap installs it") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no answer within {timeout_s:g} s: {_shown(argv)}") from error
    log.debug("%s → %d in %.3f s", _shown(argv), done.returncode, time.monotonic() - started)
    if check and done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise LabError(f"{_shown(argv)} failed with {done.returncode}: {' / '.join(told)}")
    return done


def output_of(argv: Sequence[str | Path], *, timeout_s: float = 60) -> str:
    """Run a program that must succeed and return what it printed."""
    return run(argv, timeout_s=timeout_s).stdout


def copy_through(argv: Sequence[str | Path], *, source: Path, timeout_s: float = 120) -> None:
    """Run a program that reads a file's bytes as its standard input."""
    with source.open("rb") as content:
        subprocess.run([str(part) for part in argv], stdin=content, check=True, timeout=timeout_s)


def bytes_of(argv: Sequence[str | Path], *, timeout_s: float = 120) -> bytes:
    """Run a program that must succeed and return the bytes it wrote."""
    done = subprocess.run(
        [str(part) for part in argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode != 0:
        raise LabError(
            f"{_shown(argv)} failed with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}"
        )
    return done.stdout


def spawn(argv: Sequence[str | Path], *, console: Path, env: Mapping[str, str] | None = None) -> None:
    """Start a program that outlives this process, detached; its output is appended to a file."""
    console.parent.mkdir(parents=True, exist_ok=True)
    with console.open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", *[str(part) for part in argv]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
            cwd="/",
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        )


def wait_until(probe: Callable[[], bool], *, what: str, timeout_s: float, interval_s: float = 0.2) -> None:
    """Wait until the probe is true; LabError names what did not happen in time."""
    deadline = time.monotonic() + timeout_s
    while not probe():
        if time.monotonic() > deadline:
            raise LabError(f"gave up after {timeout_s:g} s waiting for {what}")
        time.sleep(interval_s)


def wait_clear(trouble: Callable[[], str], *, what: str, timeout_s: float, interval_s: float = 0.5) -> None:
    """Wait until there is no trouble; LabError tells the last one that there was."""
    last = ""

    def is_clear() -> bool:
        nonlocal last
        last = trouble()
        return not last

    try:
        wait_until(is_clear, what=what, timeout_s=timeout_s, interval_s=interval_s)
    except LabError as error:
        raise LabError(f"{error}: {last}") from None


def _shown(argv: Sequence[str | Path]) -> str:
    line = " ".join(str(part) for part in argv)
    return line if len(line) <= 200 else line[:200] + "…"


def _complete_path() -> None:
    """Put the sbin folders on PATH: a user's PATH on Debian lacks them, and so does sudo's at times."""
    parts = os.environ.get("PATH", "").split(":")
    own = str(Path(sys.executable).parent)
    for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin", own):
        if folder not in parts:
            parts.append(folder)
    os.environ["PATH"] = ":".join(parts)
