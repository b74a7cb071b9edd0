"""Tell events to systemd's journal, and hand them to the service that keeps them (vm_mgr.alert).

Both are one write that never waits: what happens to a VM must not depend on who listens.
"""

import errno
import logging
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vm_mgr.model.event import Event, EventKind, told, write_event
from vm_mgr.model.numbers import whole_number

__all__ = ["MESSAGE_ID", "HostJournal"]

log = logging.getLogger(__name__)

# What `journalctl MESSAGE_ID=…` finds all events by; made for this purpose.
MESSAGE_ID = "5c1e2b9d0f7a4c6e8a3d94b7e6f10d25"
NOTICE, WARNING = 5, 4
# What `journalctl -t` finds events and the agent's lines by; ocf/ has the second one, too.
EVENTS, AGENT = "vm-mgr", "vm-mgr-agent"
BAD = frozenset(
    {
        *(EventKind.LOST, EventKind.FENCING_FAILED, EventKind.RELEASE_FAILED, EventKind.FAILED),
        *(EventKind.SECOND, EventKind.NOT_SAVED, EventKind.NOT_RESUMED, EventKind.FULL),
        *(EventKind.DEVICE_FAILED, EventKind.SPLIT_BRAIN),
    }
)
PASSWD = Path("/etc/passwd")
NO_LOGIN = (1 << 32) - 1
# A longer write into a pipe may come out in pieces (pipe(7)).
PIPE_BUF = 4096
CUT = 1000


class HostJournal:
    """This machine's journal; listener is the pipe of the service that keeps events."""

    def __init__(self, listener: Path, journal: Path, proc: Path = Path("/proc")) -> None:
        self.listener = listener
        self.journal = journal
        self.proc = proc

    def caller(self) -> str:
        """Go by sudo, else by who has logged in, else by whose process this is."""
        return f"{os.environ.get('SUDO_USER') or _user(self._login_uid())} on {os.uname().nodename}"

    def _login_uid(self) -> int:
        """Read it, which su and sudo leave as it is (proc_pid_loginuid(5)); a service has none."""
        with suppress(OSError):
            uid = whole_number((self.proc / "self" / "loginuid").read_text().strip())
            if uid is not None and uid != NO_LOGIN:
                return uid
        return os.geteuid()

    def record(self, event: Event) -> None:
        """Write it and hand it over; where nobody listens only the journal has it."""
        self.write(event)
        line = write_event(event).encode() + b"\n"
        if len(line) > PIPE_BUF:
            line = write_event(event._replace(detail=event.detail[:CUT], vms=())).encode() + b"\n"
        try:
            pipe = os.open(self.listener, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(pipe, line)
            finally:
                os.close(pipe)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENXIO):
                _miss(event, f"not kept, but in the journal: {told(event)}: {error}")

    def write(self, event: Event) -> None:
        """Write it with fields to search by."""
        text = told(event)
        fields = {
            "MESSAGE": text,
            "MESSAGE_ID": MESSAGE_ID,
            "PRIORITY": str(WARNING if event.kind in BAD else NOTICE),
            "SYSLOG_IDENTIFIER": EVENTS,
            "VM_MGR_KIND": event.kind.value,
            "VM_MGR_SUBJECT": event.subject,
            "VM_MGR_NODE": event.node,
            "VM_MGR_TIME": f"{event.when_utc:.3f}",
            "VM_MGR_VMS": " ".join(event.vms),
            **{f"VM_MGR_WAITED_{_field(what)}_MS": str(ms) for what, ms in event.waited.items()},
        }
        try:
            self._send(fields)
        except OSError as error:
            _miss(event, f"not in the journal: {text}: {error}")

    def say(self, text: str, *, warning: bool = False) -> None:
        """Write a line; who calls this has said it on stderr, so that nothing is lost without a journal."""
        priority = str(WARNING if warning else NOTICE)
        with suppress(OSError):
            self._send({"MESSAGE": text, "PRIORITY": priority, "SYSLOG_IDENTIFIER": AGENT})

    def _send(self, fields: Mapping[str, str]) -> None:
        """Send one datagram (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""
        lines = "".join(f"{key}={' '.join(value.split())}\n" for key, value in fields.items() if value)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sending:
            sending.sendto(lines.encode(errors="replace"), str(self.journal))


def _miss(event: Event, text: str) -> None:
    """Say what is missing; that somebody has asked for something is worth no line among a command's own."""
    if event.kind is EventKind.ASKED:
        log.debug("%s", text)
    else:
        print(f"vm-mgr: {text}", file=sys.stderr)


def _user(uid: int) -> str:
    """Name a user of this machine; others' directories may be out of reach, and are not asked."""
    with suppress(OSError):
        for line in PASSWD.read_text(errors="replace").splitlines():
            name, _, given, *_rest = (*line.split(":"), "", "")
            if given == str(uid):
                return name
    return f"uid {uid}"


def _field(what: str) -> str:
    """Write a key as a field's name.

    >>> _field("guest agent")
    'GUEST_AGENT'
    """
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in what).upper()
