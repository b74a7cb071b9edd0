"""Run external programs; the only module that imports subprocess."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, NoReturn

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.runner import Completed

__all__ = ["HostRunner"]

LINGER_S = 3.0
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
        remaining = max(0.01, self.timeout_s - (time.monotonic() - self.began))
        try:
            stdout, stderr = self.popen.communicate(self.stdin, timeout=remaining)
        except subprocess.TimeoutExpired as error:
            self.stop()
            raise self.too_slow() from error
        except BaseException:
            self.stop()
            raise
        return self.completed(stdout, stderr)

    def stream(self, on_line: Callable[[str], None]) -> Completed:
        """Collect the output, showing stdout to on_line as it comes."""
        errors: list[str] = []
        assert self.popen.stdout is not None  # noqa: S101 - Popen was given pipes
        assert self.popen.stderr is not None  # noqa: S101
        reader = threading.Thread(target=_drain, args=(self.popen.stderr, errors), daemon=True)
        timer = threading.Timer(self.timeout_s, self.popen.terminate)
        reader.start()
        timer.start()
        try:
            stdout = _by_line(self.popen.stdout, on_line)
            self.popen.wait()
        except BaseException:
            self.stop()
            raise
        finally:
            timed_out = timer.finished.is_set()
            timer.cancel()
        reader.join(LINGER_S)
        if timed_out:
            raise self.too_slow()
        return self.completed(stdout, "".join(errors))

    def completed(self, stdout: str, stderr: str) -> Completed:
        if self.log is not None:
            self.log(self.argv, self.popen.returncode, time.monotonic() - self.began)
        return Completed(self.argv, self.popen.returncode, stdout, stderr)

    def too_slow(self) -> VmMgrError:
        message = f"{' '.join(self.argv[:3])} did not end within {self.timeout_s:.0f} s"
        return VmMgrError(Kind.EXTERNAL_FAILURE, message)

    def stop(self) -> None:
        """End the program: TERM, linger, KILL."""
        self.popen.terminate()
        try:
            self.popen.wait(LINGER_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


def _drain(pipe: IO[str], into: list[str]) -> None:
    with pipe:
        into.extend(pipe)


def _by_line(pipe: IO[str], on_line: Callable[[str], None]) -> str:
    # Text mode with universal newlines turns the carriage returns of progress bars into line ends.
    seen = []
    with pipe:
        for line in pipe:
            seen.append(line)
            on_line(line.strip())
    return "".join(seen)


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
