"""Show something again and again: in the same place on a terminal, one after the other elsewhere."""

import io
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from typing import TypeVar

from vm_mgr.cli.run import print_error
from vm_mgr.errors import SignalError, VmMgrError
from vm_mgr.ports.env import Env

__all__ = ["watch"]

T = TypeVar("T")


def watch(
    env: Env,
    look: Callable[[], T],
    show: Callable[[T], None],
    *,
    every_s: int,
    between: str = "",
    terminal: bool = False,
) -> None:
    """Look and show until Ctrl-C; a look that fails is shown too, and tried again."""
    lead = ""
    try:
        while True:
            text = _output(look, show, terminal=terminal)
            if terminal:
                now = datetime.fromtimestamp(env.clock.utc()).astimezone()
                text = _page(text, f"Every {every_s} s, end with Ctrl-C  {now:%H:%M:%S}")
            elif text:
                text, lead = lead + text, between
            sys.stdout.write(text)
            sys.stdout.flush()
            env.clock.sleep(every_s)
    except SignalError as error:
        if error.signal_number != signal.SIGINT:
            raise


def _output(look: Callable[[], T], show: Callable[[T], None], *, terminal: bool) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed):
        try:
            show(look())
        except SignalError:
            raise
        except VmMgrError as error:
            if not terminal:
                print_error(error)
                return ""
            with redirect_stderr(printed):
                print_error(error)
    return printed.getvalue()


def _page(text: str, title: str) -> str:
    """Paint over the last page; what the screen can't hold is cut."""
    columns, lines = shutil.get_terminal_size()
    page = [title, "", *text.splitlines()]
    if len(page) >= lines:
        page = [*page[: max(lines - 2, 1)], f"… {len(page) - lines + 2} more"]
    return "\x1b[H" + "".join(f"{line[:columns]}\x1b[K\n" for line in page) + "\x1b[J"
