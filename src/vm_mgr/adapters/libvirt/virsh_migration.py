"""Move a domain live with virsh, where an option is one that the API has no word for.

Here too the guest arrives standing, and is let go on by the caller when its process here has ended.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from vm_mgr.adapters.libvirt import commands
from vm_mgr.adapters.libvirt.arrival import mark
from vm_mgr.adapters.libvirt.virsh import SHORT_S, check
from vm_mgr.errors import SignalError, VmMgrError
from vm_mgr.room import in_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.ports.live_migration import Migration
    from vm_mgr.ports.runner import Runner

__all__ = ["migrate"]

# With it the guest runs at the target before its source can end.
POSTCOPY = "--postcopy"


def migrate(
    runner: Runner, migration: Migration, *, is_paused: Callable[[], bool], abort: Callable[[], None]
) -> bool:
    """Do it; False where the guest waits at the target. A failure or a signal aborts it."""
    if migration.speed_mib is not None:
        _set(runner, "migrate-setspeed", migration.name, str(migration.speed_mib))
    if migration.downtime_ms is not None:
        _set(runner, "migrate-setmaxdowntime", migration.name, str(migration.downtime_ms))
    waits = not any(option.startswith(POSTCOPY) for option in migration.extra_options)
    with ExitStack() as file:
        try:
            arrival: tuple[str, ...] = ()
            if waits:
                marked = in_memory(
                    _marked(runner, migration, stands=is_paused()), f"{migration.name}-arrival.xml"
                )
                arrival = ("--suspend", "--xml", file.enter_context(marked))
            argv = commands.migrate(migration, arrival)
            check(runner.run(argv, timeout_s=migration.timeout_s))
        except (VmMgrError, SignalError):
            abort()
            raise
    return not waits


def _marked(runner: Runner, migration: Migration, *, stands: bool) -> str:
    dump = commands.virsh("dumpxml", "--migratable", "--security-info", migration.name)
    done = runner.run(dump, timeout_s=SHORT_S)
    check(done)
    return mark(done.stdout, migration.ident, stands=stands)


def _set(runner: Runner, *arguments: str) -> None:
    check(runner.run(commands.virsh(*arguments), timeout_s=SHORT_S))
