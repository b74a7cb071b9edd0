"""Show reports on stderr: a line that is rewritten on a terminal, a plain line now and then elsewhere."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from vm_mgr.reports import Level, Note, Progress, Report

__all__ = ["Printer"]

QUIET_S = 2.0  # between two plain lines, and of a step that nobody needs to hear of
SURE_S = 1.0  # after this time a rate means something


class Printer:
    """Follow the steps of one command; now gives seconds that never jump."""

    def __init__(self, now: Callable[[], float], *, terminal: bool) -> None:
        self.now = now
        self.terminal = terminal
        self.first: Progress | None = None  # report of the step that is under way
        self.last = ""
        self.began = self.printed = now()

    def say(self, report: Report) -> None:
        """Show a report."""
        if isinstance(report, Note):
            self._clear()
            mark = "warning" if report.level is Level.WARNING else "note"
            hint = f" ({report.hint})" if report.hint else ""
            _echo(f"vm-mgr: {mark}: {report.message}{hint}", err=True)
            return
        if self.first is None or self.first.step != report.step:
            self.end()
            self.first, self.began = report, self.now()
        self._show(self._line(report))

    def end(self, *, done: bool = True) -> None:
        """End the step under way: clear its line, or say how long it took; nothing of one that failed."""
        self._clear()
        step, self.first = self.first, None
        took_s = self.now() - self.began
        if done and step is not None and not self.terminal and took_s > QUIET_S:
            _echo(f"{step.step}: done in {_duration(took_s)}", err=True)
            self.printed = self.now()

    def _line(self, report: Progress) -> str:
        percent = "" if report.fraction is None else f" {report.fraction:.0%}"
        rest = f" {report.detail}" if report.detail else self._speed(report)
        return f"{report.step}{percent}{rest} …"

    def _speed(self, report: Progress) -> str:
        """Tell rate and remaining time from what was done since the step's first report."""
        took_s = self.now() - self.began
        done = (report.fraction or 0.0) - ((self.first and self.first.fraction) or 0.0)
        if done <= 0 or took_s < SURE_S or report.fraction is None:
            return ""
        rate = f" {done * report.total_bytes / took_s / 1e6:.0f} MB/s," if report.total_bytes else ""
        return f"{rate} {_duration((1 - report.fraction) / done * took_s)} left"

    def _show(self, line: str) -> None:
        if self.terminal:
            if line != self.last:
                _echo(f"\r\x1b[K{line}", nl=False, err=True, color=True)
            self.last = line
        elif line != self.last and self.now() - self.printed >= QUIET_S:
            _echo(line, err=True)
            self.last, self.printed = line, self.now()

    def _clear(self) -> None:
        if self.terminal and self.last:
            _echo("\r\x1b[K", nl=False, err=True, color=True)
        self.last = ""


def _duration(seconds: float) -> str:
    """Give a time for people.

    >>> _duration(9.6), _duration(600), _duration(3700)
    ('10 s', '10:00 min', '1:01 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60}:{whole % 60:02} min" if whole < 3600 else f"{whole // 3600}:{whole // 60 % 60:02} h"
    )


def _echo(text: str, **how: Any) -> None:
    """Write; who has hung up, or closed the pipe, must not end what is being done, nor what undoes it."""
    with suppress(OSError):
        click.echo(text, **how)
