"""Run external programs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, Protocol

__all__ = ["Completed", "Pending", "Runner"]


class Completed(NamedTuple):
    """A program that has ended."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


class Pending(Protocol):
    """A program that was started and may still run."""

    def result(self) -> Completed:
        """Wait for the end, within the time limit given at its start."""
        ...


class Runner(Protocol):
    """Programs by argv, without a shell, always with a time limit.

    A program that is missing raises ENVIRONMENT, one that is too slow EXTERNAL_FAILURE; a non-zero exit
    status is no error here.
    """

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: str | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run to the end; on_line sees each line (ended by LF or CR) of stdout as it comes."""
        ...

    def start(self, argv: Sequence[str], *, timeout_s: float) -> Pending:
        """Begin, so that the caller can do something else meanwhile."""
        ...

    def become(self, argv: Sequence[str]) -> NoReturn:
        """Replace this process by a program, which gets its terminal; without a time limit."""
        ...
