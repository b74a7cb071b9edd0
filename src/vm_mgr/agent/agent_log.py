"""Say what the resource agent has to say: to Pacemaker on stderr, and to people in the journal.

From 3.0 on Pacemaker keeps the agents' stderr in a log of its own (/var/log/pacemaker/pacemaker.log); in the
journal `journalctl -t vm-mgr-agent` finds these lines with every version.
"""

import errno
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from vm_mgr.agent import state_files
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["cut", "exit_reason", "log_throttled", "no_file", "reset_throttle", "say"]

# What Pacemaker looks for on stderr; of the last one it keeps so many bytes of the line
# (lib/services/services_linux.c: parse_exit_reason_from_stderr).
PREFIX = "ocf-exit-reason:"
KEPT_BYTES = 128
# So long a monitor does not write again into the journal what it has said there; as in ocf/VirtualDomain.
AGAIN_S = 600
# Who says it, and QEMU's option where one is to blame: both stand before the cause.
SPEAKER = re.compile(r"(?:^|(?<=: ))libvirt: (?:-[a-z]+ (?:\{.*?\}|[^ ]+): )?")
# Where the agent and what it calls write on a node, and what is too little there.
FOLDERS = ("/run", "/tmp", "/var/tmp", "/var/lib", "/var/log", "/")  # noqa: S108 - they are only looked at
LITTLE = 64 << 10


def say(env: NodeEnv, text: str, *, warning: bool = False) -> None:
    """Say a line on stderr and in the journal; a journal that takes nothing fails nothing."""
    print(f"vm-mgr: {text}", file=sys.stderr)
    env.journal.say(text, warning=warning)


def exit_reason(env: NodeEnv, name: str, reason: str, hint: str = "") -> None:
    """Tell Pacemaker why an action fails, in the words that it keeps, and the journal everything."""
    whole = f"{reason} ({hint})" if hint else reason
    fits = len(whole.encode(errors="replace")) <= KEPT_BYTES
    print(f"{PREFIX}{cut(whole if fits else reason)}", file=sys.stderr)
    env.journal.say(f"{name}: {whole}" if name else whole, warning=True)


def log_throttled(env: NodeEnv, name: VmName, level: int, text: str, *, failed: bool) -> None:
    """Say what a recurring monitor has found; only what is new, or was said long ago, is written down."""
    if failed:
        print(f"{PREFIX}{cut(text)}", file=sys.stderr)
    else:
        print(f"WARNING: {text}", file=sys.stderr)
    kind, now = f"said-{level}", env.clock.monotonic()
    # The last miss says the same as those before it, but is a failure.
    said = f"{'failed: ' if failed else ''}{' '.join(text.split())}"
    words = "".join(letter for letter in said if not letter.isdigit())
    with suppress(ValueError):
        when, _, last = state_files.read(env, kind, name).partition("\n")
        if last.rstrip("\n") == words and 0 <= now - int(when) < AGAIN_S:
            return
    env.journal.say(text, warning=True)
    if failed:
        env.journal.record(Event(env.clock.utc(), EventKind.FAILED, name, detail=f"monitor: {text}"))
    with suppress(OSError):
        state_files.write(env, kind, name, f"{now:.0f}\n{words}\n")


def reset_throttle(env: NodeEnv, name: VmName, level: int) -> None:
    """Note that a recurring monitor has nothing to say: what comes next is new."""
    state_files.forget(env, name, f"said-{level}")


def no_file(error: OSError, state_dir: Path) -> str:
    """Say that a file of this node can't be used, which is neither the VM's fault nor a defect.

    An error in writing does not name its file: then the folder is named whose file system is full.

    >>> no_file(OSError(errno.ENOSPC, "No space left on device", "/run/vm-mgr/x"), Path("/run"))[:25]
    'no space on /run/vm-mgr o'
    """
    node, file = os.uname().nodename, os.fsdecode(error.filename or "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = str(Path(file).parent) if file else next(filter(_is_full, (str(state_dir), *FOLDERS)), "")
        return f"no space on {folder or 'a file system'} of {node} (see: df)"
    return f"a file of {node} can't be used: {error.strerror or error} {file}".rstrip()


def _is_full(folder: str) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < LITTLE or found.f_files > 0 == found.f_favail


def cut(reason: str) -> str:
    """Cut a reason to what Pacemaker keeps: one line, whole characters, no second prefix, which would win.

    >>> cut("no\\nroute")
    'no route'
    >>> len(cut("é" * 200).encode()), cut("é" * 200)[-4:]
    (127, 'é...')
    >>> cut(f"start: libvirt: -device {{'driver':'virtoi','id':'{'net0' * 30}'}}: no such model")
    'start: no such model'
    """
    line = " ".join(reason.replace(PREFIX, "").split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    raw = line.encode(errors="replace")
    if len(raw) > KEPT_BYTES:
        raw = SPEAKER.sub("", line, count=1).encode(errors="replace")
    if len(raw) <= KEPT_BYTES:
        return raw.decode()
    return raw[: KEPT_BYTES - 3].decode(errors="ignore") + "..."
