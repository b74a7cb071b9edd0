"""Copy images into devices that this node has opened for writing."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_mgr.adapters.drbd.steps import Step
from vm_mgr.errors import ProgramError, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vm_mgr.adapters.drbd.pool import DrbdPool
    from vm_mgr.adapters.drbd.record import Record
    from vm_mgr.model.cluster import NodeName

__all__ = ["run_copy", "writable"]

NO_LIMIT_S = 24 * 3600.0
_PERCENT = re.compile(r"\(\s*([0-9.]+)/100%\)")


@contextmanager
def writable(pool: DrbdPool, record: Record) -> Iterator[NodeName]:
    """Let one node write to a resource that the cluster does not have in its hands; gives the node."""
    node = pool.pair.first(record)
    pool.pair.on(node, Step.PRIMARY, record)
    try:
        yield node
    finally:
        pool.pair.on(node, Step.SECONDARY, record)


def run_copy(pool: DrbdPool, argv: Sequence[str], on_progress: Callable[[float], None], what: str) -> None:
    """Run a copy or comparison that tells how far it is; what: the source, for people."""

    def on_line(line: str) -> None:
        if found := _PERCENT.search(line):
            on_progress(float(found[1]) / 100)

    done = pool.runner.run(argv, timeout_s=NO_LIMIT_S, on_line=on_line)
    if done.exit_code != 0:
        program = argv[argv.index("qemu-img") :]
        failure = ProgramError(program, done.exit_code, done.stderr or done.stdout)
        wrong = "and its copy are not the same" if "compare" in program else "can't be read whole"
        message = f"{what} {wrong}: {failure.message}"
        raise VmMgrError(failure.kind, message, hint=f"look: qemu-img check {what}") from failure
