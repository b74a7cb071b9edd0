"""Call an operation for a command: reports to stderr, errors as one line, exit codes by kind."""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

import click

from vm_mgr.errors import SignalError, VmMgrError
from vm_mgr.reports import Level, Note, Progress, Report
from vm_mgr.wiring import RealEnv

__all__ = ["chosen_name", "fail", "name_argument", "output_option", "run"]

T = TypeVar("T")


def run(operation: Callable[[RealEnv], T]) -> T:
    """Run an operation in the environment of the current command."""
    context = click.get_current_context()
    env: RealEnv = context.obj
    printer = _Printer()
    env.say = printer.say
    debug = bool(context.meta.get("debug"))
    if debug:
        env.runner.log = _log_command
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        return operation(env)
    except VmMgrError as error:
        printer.finish()
        if debug:
            import traceback  # noqa: PLC0415

            traceback.print_exc()
        fail(error)
    finally:
        printer.finish()


def name_argument(command: Callable[..., object]) -> Callable[..., object]:
    """Let a command take the VM's name as --name/-n or as a plain argument."""
    command = click.option(
        "-n", "--name", "named", metavar="NAME", help="The VM's name; also a plain argument."
    )(command)
    return click.argument("plain", metavar="[NAME]", required=False)(command)


output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True
)


def chosen_name(named: str | None, plain: str | None) -> str:
    """Take the name from wherever it was given; exactly one place."""
    if named is not None and plain is not None and named != plain:
        raise click.UsageError(f"two names are given: {named} and {plain}")
    name = named if named is not None else plain
    if name is None:
        raise click.UsageError("give the name of the VM")
    return name


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    signal.signal(number, signal.SIG_IGN)  # the undo steps are not to be interrupted
    raise SignalError(number)


def fail(error: VmMgrError) -> NoReturn:
    """Print every problem with its hint, and end with the exit status of the first."""
    for problem in (error, *error.others):
        message = " ".join(problem.message.split())
        click.echo(f"vm-mgr: error: {message}", err=True)
        if problem.hint:
            click.echo(f"hint: {problem.hint}", err=True)
    sys.exit(error.exit_code)


def _log_command(argv: object, exit_code: int, seconds: float) -> None:
    words = " ".join(str(word) for word in argv) if isinstance(argv, (list, tuple)) else argv
    click.echo(f"vm-mgr: debug: {words} → {exit_code} in {seconds * 1000:.0f} ms", err=True)


class _Printer:
    """Show reports: a line that is rewritten on a terminal, a plain line now and then elsewhere."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.shown = ""
        self.plain_at = 0.0

    def say(self, report: Report) -> None:
        if isinstance(report, Note):
            self.finish()
            mark = "warning" if report.level is Level.WARNING else "note"
            hint = f" ({report.hint})" if report.hint else ""
            click.echo(f"vm-mgr: {mark}: {report.message}{hint}", err=True)
        else:
            self._progress(report)

    def _progress(self, progress: Progress) -> None:
        percent = "" if progress.fraction is None else f" {progress.fraction:.0%}"
        line = f"{progress.step}{percent} …"
        if self.terminal:
            if line != self.shown:
                click.echo(f"\r\x1b[K{line}", nl=False, err=True)
            self.shown = line
            return
        import time  # noqa: PLC0415

        now = time.monotonic()
        if line != self.shown and now - self.plain_at >= 2:
            click.echo(line, err=True)
            self.shown, self.plain_at = line, now

    def finish(self) -> None:
        if self.terminal and self.shown:
            click.echo("\r\x1b[K", nl=False, err=True)
            self.shown = ""
