"""Give each call its environment: this machine's, or what a test or another program wants it to work in."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from vm_manager.exceptions import translated
from vm_mgr.interruption import current
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Progress, Report, Say
from vm_mgr.wiring import RealEnv

__all__ = ["Build", "log", "log_report", "print_progress", "use", "working"]

Build = Callable[[Say], AbstractContextManager[Env]]

log = logging.getLogger("vm_manager")


@contextmanager
def _real(say: Say) -> Iterator[Env]:
    """Connect for one call: a program may live long, and storage or claim be lost between two calls."""
    env = RealEnv(say)
    try:
        yield env
    finally:
        env.close()


_build: Build = _real


def use(build: Build | None) -> None:
    """Work in what build(say) gives from now on; None goes back to this machine's cluster and storage."""
    global _build  # noqa: PLW0603 - the interface is module functions
    _build = build or _real


@contextmanager
def working(say: Say | None = None) -> Iterator[Env]:
    """Give the environment of one call; what fails inside is raised as programs know it."""
    current.begin()
    with translated(), _build(say or log_report) as env:
        yield env


def log_report(report: Report) -> None:
    """Log a report; where a program has not set logging up, warnings go to stderr."""
    if isinstance(report, Progress):
        log.debug("%s", report.step)
        return
    level = logging.WARNING if report.level is Level.WARNING else logging.INFO
    log.log(level, "%s%s", report.message, f" ({report.hint})" if report.hint else "")


def print_progress(report: Report) -> None:
    """Print how far an import is, one line that is rewritten; log the rest."""
    if isinstance(report, Note) or report.fraction is None:
        log_report(report)
        return
    print(f"\r{report.step} {report.fraction:.0%}", end="\n" if report.fraction >= 1 else "", flush=True)
