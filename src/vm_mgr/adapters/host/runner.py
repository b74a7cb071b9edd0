"""Run external programs; the only module that imports subprocess."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, NoReturn

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.runner import Completed

__all__ = ["HostRunner"]

LINGER_S = 3.0
# How often a program that shows nothing is looked at: it may have ended, and left a child with its pipes.
LOOK_S = 0.5
CommandLog = Callable[[Sequence[str], int, float], None]
_KEPT = ("PATH", "HOME", "CIB_file", "CIB_shadow_dir", "CEPH_ARGS", "SSH_AUTH_SOCK")


def _environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **kept, "LC_ALL": "C.UTF-8"}


class _Process:
    """A started program with its deadline."""

    def __init__(
        self, argv: Sequence[str], timeout_s: float, log: CommandLog | None, stdin: str | None
    ) -> None:
        self.argv = tuple(argv)
        self.timeout_s = timeout_s
        self.log = log
        self.stdin = stdin
        self.streams = False
        self.began = time.monotonic()
        try:
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=_environment(),
            )
        except FileNotFoundError as error:
            raise VmMgrError(Kind.ENVIRONMENT, f"the program {argv[0]} is not installed here") from error
        except PermissionError as error:
            raise VmMgrError(Kind.NOT_PERMITTED, f"{argv[0]} may not be run", hint="run as root") from error

    def result(self) -> Completed:
        """Collect the output; stop the program at its deadline."""
        stdin, ended_at = self.stdin, None
        try:
            while True:
                try:
                    stdout, stderr = self.popen.communicate(stdin, timeout=self._slice_s(ended_at))
                    return self.completed(stdout, stderr)
                except subprocess.TimeoutExpired as late:
                    stdin = None  # it is being written
                    if self.popen.poll() is not None:
                        ended_at = ended_at or time.monotonic()
                        if time.monotonic() - ended_at >= LINGER_S:
                            return self._without_its_children(late)
                    elif self.left_s <= 0:
                        raise
        except subprocess.TimeoutExpired as error:
            raise self.too_slow(ended=self.stop()) from error
        except BaseException:
            self.stop()
            raise

    def _slice_s(self, ended_at: float | None) -> float:
        """Look now and then whether it has ended: one of its children may keep the pipes open."""
        return max(0.01, min(self.left_s, LOOK_S) if ended_at is None else LOOK_S)

    def _without_its_children(self, late: subprocess.TimeoutExpired) -> Completed:
        """Take what there is: a child that lives on writes for nobody."""
        self._close()
        texts = [(raw or b"").decode("utf-8", "replace") for raw in (late.stdout, late.stderr)]
        return self.completed(*texts)

    def stream(self, on_line: Callable[[str], None]) -> Completed:
        """Collect the output, showing stdout to on_line as it comes."""
        self.streams = True
        out, errors = _Output(self.popen.stdout), _Output(self.popen.stderr)
        try:
            stdout = self._show(out, on_line)
        except BaseException:
            self.stop()
            raise
        if stdout is None:
            raise self.too_slow(ended=self.stop())
        return self.completed(stdout, "".join(errors.rest(LINGER_S)))

    def _show(self, out: "_Output", on_line: Callable[[str], None]) -> str | None:
        """Show line after line until it has ended; None where it has not at its deadline."""
        seen: list[str] = []
        while self.left_s > 0:
            line = out.next(min(self.left_s, LOOK_S))
            if line:
                seen.append(line)
                on_line(line.strip())
            elif self.popen.poll() is not None:
                return "".join([*seen, *out.rest(LINGER_S)])
            elif out.ended:
                with suppress(subprocess.TimeoutExpired):
                    self.popen.wait(max(self.left_s, 0.01))
        return None

    @property
    def left_s(self) -> float:
        """Tell how long it may still take."""
        return self.timeout_s - (time.monotonic() - self.began)

    def completed(self, stdout: str, stderr: str) -> Completed:
        if self.log is not None:
            self.log(self.argv, self.popen.returncode, time.monotonic() - self.began)
        return Completed(self.argv, self.popen.returncode, stdout, stderr)

    def too_slow(self, *, ended: bool) -> VmMgrError:
        message = f"{' '.join(self.argv[:3])} did not end within {self.timeout_s:.0f} s"
        if not ended:
            message += f", nor by SIGKILL: process {self.popen.pid} hangs in the kernel"
        hint = "see what it waits for: a storage or a device that does not answer"
        if ended:
            hint = (
                "what it asks does not answer, or a machine is too busy; see: vm-mgr list; crm_mon -1; uptime"
            )
        return VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint)

    def stop(self) -> bool:
        """End the program: TERM, linger, KILL, linger; False for one that hangs in the kernel (D state)."""
        self.popen.terminate()
        try:
            self.popen.wait(LINGER_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(LINGER_S)
        self._close()
        return self.popen.returncode is not None

    def _close(self) -> None:
        """Leave the pipes; those that a thread reads, it closes itself."""
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None and not self.streams:
                with suppress(OSError):  # what a program that ended did not read
                    pipe.close()


class _Output:
    """The lines of a pipe, read by a thread: who waits for them can stop waiting.

    Text mode with universal newlines turns the carriage returns of progress bars into line ends.
    """

    def __init__(self, pipe: IO[str] | None) -> None:
        assert pipe is not None  # noqa: S101 - Popen was given pipes
        self.pipe = pipe
        self.ended = False
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, limit_s: float) -> str:
        """Give the next line; nothing at the end, or where none comes in time."""
        try:
            line = None if self.ended else self._lines.get(timeout=limit_s)
        except queue.Empty:
            return ""
        self.ended = line is None
        return line or ""

    def rest(self, limit_s: float) -> list[str]:
        """Give the lines that are still to come, as far as they come in time."""
        until, lines = time.monotonic() + limit_s, []
        while line := self.next(max(until - time.monotonic(), 0.01)):
            lines.append(line)
        return lines

    def _read(self) -> None:
        try:
            with self.pipe:
                for line in self.pipe:
                    self._lines.put(line)
        finally:
            self._lines.put(None)


class HostRunner:
    """Programs on this machine, in a clean environment."""

    def __init__(self, log: CommandLog | None = None) -> None:
        self.log = log

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: str | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run to the end."""
        process = _Process(argv, timeout_s, self.log, stdin)
        return process.result() if on_line is None else process.stream(on_line)

    def start(self, argv: Sequence[str], *, timeout_s: float) -> _Process:
        """Begin and return at once."""
        return _Process(argv, timeout_s, self.log, None)

    def become(self, argv: Sequence[str]) -> NoReturn:
        """Replace this process."""
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            os.execvpe(argv[0], tuple(argv), _environment())  # noqa: S606 - argv without a shell is what is wanted
        except OSError as error:
            text = f"can't run {argv[0]}: {error.strerror}"
            raise VmMgrError(Kind.ENVIRONMENT, text, hint=f"install {argv[0]} on this node") from error
