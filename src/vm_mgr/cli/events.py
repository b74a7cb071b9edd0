"""The command events."""

from collections.abc import Iterator
from datetime import datetime

import click

from vm_mgr.cli.options import options_of
from vm_mgr.cli.render import print_answer, print_table
from vm_mgr.cli.run import optional_name_argument, output_option, perform
from vm_mgr.model.event import OF_NODES, Event, waiting
from vm_mgr.model.failover import Failover, Phase
from vm_mgr.model.vm import VmName
from vm_mgr.operations.events import Told

__all__ = ["events_command"]


@click.command("events")
@optional_name_argument
@options_of("events")
@output_option
def events_command(name: VmName | None, since_s: int, output: str) -> None:
    """Show what happened to nodes and VMs, or only to the one named NAME, and how each failover went.

    Failovers are shown in milliseconds from the loss of the node, with what each step waited for. The event
    log keeps the newest few thousand events of the cluster. Each node's journal has the node's own events:
    journalctl -t vm-mgr.

    \b
    Example:
      vm-mgr events web1 --since 2h
      vm-mgr events --output json
    """
    told = perform("events", {"name": name or "", "since_s": since_s})
    if output == "table":
        _print(told)
    else:
        print_answer("events", told, output)


def _print(told: Told) -> None:
    rows = [(_local(one.when_utc), one.node, one.subject, one.kind.value, _what(one)) for one in told.events]
    print_table([("time", "node", "subject", "event", "what"), *rows])
    for failover in told.failovers:
        print(f"\nfailover of {failover.node}, lost at {_local(failover.began_utc)}")
        for line in _timeline(failover):
            print(f"  {line}".rstrip())


def _what(event: Event) -> str:
    had = f"had {', '.join(event.vms)}" if event.vms else ""
    return "; ".join(filter(None, (event.detail, had, waiting(event.waited))))


def _timeline(failover: Failover) -> Iterator[str]:
    yield from (_step(subject, phase) for subject, phase in failover.steps)
    for vm in failover.unseen:
        yield f"{'-':>9}     {vm} has not been seen to start again so far"


def _step(subject: str, phase: Phase) -> str:
    seen = f"seen by {phase.node}" if phase.node and phase.kind in OF_NODES else ""
    where = f" on {phase.node}" if phase.node and not seen else ""
    parts = (f"+{phase.took_ms} ms", waiting(phase.waited), phase.detail, seen)
    return f"{phase.at_ms:9d} ms  {subject} {phase.kind.value}{where} ({'; '.join(filter(None, parts))})"


def _local(seconds: float) -> str:
    shown = datetime.fromtimestamp(round(seconds, 3)).astimezone()
    return f"{shown:%Y-%m-%d %H:%M:%S}.{shown.microsecond // 1000:03d}"
