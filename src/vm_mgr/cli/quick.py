"""Answer the plain forms of `list` and `status` without click, whose loading takes as long as crm_mon."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from vm_mgr.cli.render import print_status, show_listing
from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.operations.registry import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.reports import Report
    from vm_mgr.wiring import RealEnv

__all__ = ["answer"]


def answer(env: RealEnv, words: list[str]) -> bool:
    """Print the answer to `list` or `status NAME`; False for any other form."""
    show: Callable[[RealEnv], None]
    match words:
        case ["list"]:
            show = _list
        case ["status", name] if name.isprintable() and not name.startswith("-"):
            show = partial(_status, name=VmName(name))
        case ["status", "--name" | "-n", name] if name.isprintable():
            show = partial(_status, name=VmName(name))
        case _:
            return False
    env.say = _say
    try:
        show(env)
    except VmMgrError as error:
        from vm_mgr.cli.run import fail  # noqa: PLC0415 - brings click

        fail(error)
    return True


def _say(report: Report) -> None:
    """Print a warning, as the other forms do; nothing is waited for, so there is no progress."""
    from vm_mgr.cli.progress import Printer  # noqa: PLC0415 - brings click

    Printer(time.monotonic, terminal=sys.stderr.isatty()).say(report)


def _list(env: RealEnv) -> None:
    _ = env.storages, env.intent_log  # loaded while crm_mon and Ceph are waited for
    show_listing(OPERATIONS["list"].load()(env), "table")


def _status(env: RealEnv, name: VmName) -> None:
    print_status(OPERATIONS["status"].load()(env, name), "table")
