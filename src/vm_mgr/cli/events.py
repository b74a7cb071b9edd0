"""The command events."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from vm_mgr.cli.complete import vm_names
from vm_mgr.cli.render import print_data, print_table
from vm_mgr.cli.run import output_option, run
from vm_mgr.model.event import OF_NODES, Event, waiting
from vm_mgr.model.failover import Failover, Phase
from vm_mgr.operations.events import Told

__all__ = ["events_command"]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType):
    """Some seconds, minutes, hours or days: 90s, 10m, 2h, 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Give seconds."""
        found = re.fullmatch(r"([0-9]{1,6})([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is no duration; write for example 90s, 10m, 2h or 7d", param, ctx)
        return int(found[1]) * UNITS[found[2]]


@click.command("events")
@click.argument("name", required=False, default="", shell_complete=vm_names)
@click.option("--since", "since_s", type=Duration(), default="1d", show_default=True, metavar="DURATION",
              help="How far to look back: 90s, 10m, 2h, 7d.")  # fmt: skip
@output_option
def events_command(name: str, since_s: int, output: str) -> None:
    """Show what happened to nodes and VMs, or only to the one named NAME, and how each failover went.

    Failovers are shown in milliseconds from the loss of the node, with what each step waited for. The event
    log keeps the newest few thousand events of the cluster. Each node's journal has the node's own events:
    journalctl -t vm-mgr.

    \b
    Example:
      vm-mgr events web1 --since 2h
      vm-mgr events --output json
    """
    from vm_mgr.operations.events import events  # noqa: PLC0415

    told = run(lambda env: events(env, name, since_s=since_s))
    if output == "table":
        _print(told)
    else:
        print_data(_data(told), output)


def _data(told: Told) -> dict[str, Any]:
    """Give the fields of docs/reference/output.md."""
    return {
        "events": [_event(one) for one in told.events],
        "failovers": [_failover(one) for one in told.failovers],
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "time": _utc(event.when_utc),
        "node": event.node,
        "subject": event.subject,
        "event": event.kind.value,
        "detail": event.detail,
        "waited_ms": dict(event.waited),
        "vms": list(event.vms),
        "why": event.why,
    }


def _failover(failover: Failover) -> dict[str, Any]:
    return {
        "node": failover.node,
        "began": _utc(failover.began_utc),
        "phases": [_phase(one) for one in failover.phases],
        "vms": [
            {"name": one.vm, "node": one.node, "phases": [_phase(phase) for phase in one.phases]}
            for one in failover.recoveries
        ],
        "unseen": list(failover.unseen),
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return {
        "event": phase.kind.value,
        "at_ms": phase.at_ms,
        "took_ms": phase.took_ms,
        "node": phase.node,
        "detail": phase.detail,
        "waited_ms": dict(phase.waited),
    }


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
    yield from (_step(failover.node, phase) for phase in failover.phases)
    for back in failover.recoveries:
        yield from (_step(back.vm, phase) for phase in back.phases)
    for vm in failover.unseen:
        yield f"{'-':>9}     {vm} has not been seen to start again so far"


def _step(subject: str, phase: Phase) -> str:
    seen = f"seen by {phase.node}" if phase.node and phase.kind in OF_NODES else ""
    where = f" on {phase.node}" if phase.node and not seen else ""
    parts = (f"+{phase.took_ms} ms", waiting(phase.waited), phase.detail, seen)
    return f"{phase.at_ms:9d} ms  {subject} {phase.kind.value}{where} ({'; '.join(filter(None, parts))})"


def _utc(seconds: float) -> str:
    """Write a time with milliseconds.

    >>> _utc(1.5)
    '1970-01-01T00:00:01.500Z'
    """
    return f"{datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def _local(seconds: float) -> str:
    shown = datetime.fromtimestamp(round(seconds, 3)).astimezone()
    return f"{shown:%Y-%m-%d %H:%M:%S}.{shown.microsecond // 1000:03d}"
