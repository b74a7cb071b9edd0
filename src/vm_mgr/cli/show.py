"""The command show."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import click

from vm_mgr.answers.data import on_move_word
from vm_mgr.cli.render import print_answer, print_table
from vm_mgr.cli.run import name_argument, output_option, perform, run
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.storage import DiskInfo
from vm_mgr.model.vm import VmName
from vm_mgr.operations.lifecycle.saved_memory import describe
from vm_mgr.operations.show import Readiness, Shown, show_definition
from vm_mgr.operations.support.foreign_settings import words_of_others
from vm_mgr.ports.cluster import VmResource

__all__ = ["show_command"]

# Pauses that only their user ends; others are steps of something that is under way.
RESUMABLE = (PauseReason.USER, PauseReason.IO_ERROR, PauseReason.WATCHDOG, PauseReason.UNKNOWN)


@click.command("show")
@name_argument
@click.option("--xml", "definition", is_flag=True, help="Print only the definition.")
@output_option
def show_command(name: VmName, output: str, definition: bool) -> None:  # noqa: FBT001
    """Show everything about a VM: node, disks, snapshots, placement, failures, unfinished operations.

    \b
    Example:
      vm-mgr show web1
      vm-mgr show web1 --xml > web1.xml
    """
    if definition:
        print(run(lambda env: show_definition(env, name)))
        return
    shown = perform("show", {"name": name})
    if output == "table":
        _print(shown)
    else:
        print_answer("show", shown, output)


def _print(shown: Shown) -> None:
    lines = [line for section in (_state, _machine, _placed, _others) for line in section(shown)]
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        print(f"{label:<{width}}  {text}".rstrip())
    if shown.readiness:
        print()
        print_table(list(_readiness_rows(shown.readiness)))
    if shown.disks:
        print()
        print_table(list(_disk_rows(shown.disks)))
    if shown.snapshots:
        taken = [(one.name, _local(one.taken_utc), one.consistency.value) for one in shown.snapshots]
        print()
        print_table([("snapshot", "taken", "consistency"), *taken])


def _readiness_rows(readiness: Sequence[Readiness]) -> Iterator[list[str]]:
    """Name nodes in the cells: what they are called stays as it is written."""
    yield ["needs", "there on", "missing on", "not known on"]
    for one in readiness:
        nodes = [
            ", ".join(name for name, has in one.nodes.items() if has is what) for what in (True, False, None)
        ]
        yield [one.text, *(found or "-" for found in nodes)]


def _disk_rows(disks: Sequence[DiskInfo]) -> Iterator[list[str]]:
    """Leave out what they take where the storage does not tell: Ceph would have to look at all objects."""
    told = any(one.used_bytes is not None for one in disks)
    yield ["disk", "size", *(["used"] if told else []), "parent"]
    for one in disks:
        used = [_size(one.used_bytes)] if told else []
        yield [one.image, _size(one.size_bytes), *used, one.parent or "-"]


def _state(shown: Shown) -> Iterator[tuple[str, str]]:
    status = shown.status
    where = f" on {status.node}" if status.node else ""
    since = "" if shown.since_utc is None else f" since {_local(shown.since_utc)}"
    yield "name", status.name
    yield "state", f"{status.state.value}{where}{since}" + (f" ({status.words})" if status.words else "")
    if shown.paused:
        hint = f" (vm-mgr resume {status.name})" if shown.paused in RESUMABLE else ""
        yield "paused", shown.paused + hint
    if shown.saved:
        yield "memory", describe(shown.saved)
    for failure in shown.failures:
        yield "failure", f"{failure.when}  {failure.text}".strip()
    if shown.unfinished:
        mark = shown.unfinished
        began = f"since {_local(mark.began_utc)}"
        yield "unfinished", f"{mark.verb} on {mark.node} {began}: under way, or for vm-mgr repair"
    if shown.unknown:
        yield "not seen", ", ".join(shown.unknown)


def _machine(shown: Shown) -> Iterator[tuple[str, str]]:
    if shown.storage:
        yield "storage", shown.storage
    if shown.machine:
        machine = shown.machine
        yield (
            "machine",
            f"{machine.vcpus} vCPU{'' if machine.vcpus == 1 else 's'}, {_size(machine.memory_bytes)}",
        )
        if machine.description:
            yield "description", " ".join(machine.description.split())
        yield "uuid", machine.uuid
        for mac in machine.macs:
            yield "mac", mac


def _placed(shown: Shown) -> Iterator[tuple[str, str]]:
    vm = shown.placement
    if vm is None:
        return
    yield "host", _host(vm)
    yield "priority", str(vm.priority)
    yield "on-move", on_move_word(vm)
    yield (
        "timeouts",
        f"start {vm.start_timeout_s} s, stop {vm.stop_timeout_s} s, migrate {vm.migrate_to_timeout_s} s",
    )
    for name, seconds in vm.checks.items():
        yield "check", f"{name} every {seconds} s"
    if not vm.follow_uplink:
        yield "uplink", "ignored"
    for one in shown.placement_problems:
        yield ("not on" if one.never else "avoids"), f"{one.node}: {one.reason}"


def _host(vm: VmResource) -> str:
    if vm.pinned_host:
        return f"pinned to {vm.pinned_host}"
    returns = ", and returns to it" if vm.returns else ""
    return f"prefers {vm.preferred_host}{returns}" if vm.preferred_host else "any node"


def _others(shown: Shown) -> Iterator[tuple[str, str]]:
    for one in shown.colocations:
        yield (
            ("apart" if one.score.startswith("-") else "together"),
            f"{one.name} → {one.beside} ({one.score})",
        )
    for constraint in shown.constraints:
        hint = f"; left by a move: vm-mgr unmigrate {shown.status.name}" if constraint.leftover else ""
        yield "constraint", f"{constraint.id}: {constraint.text}{hint}"
    if shown.set_by_others:
        yield "set by others", words_of_others(shown.set_by_others)
    for key, value in (shown.metadata or {}).items():
        yield "metadata", f"{key} = {' '.join(value.split())}"


def _size(size_bytes: int | None) -> str:
    """Write a size for people.

    >>> [_size(size) for size in (None, 0, 512, 1536, 20 << 30)]
    ['?', '0 B', '512 B', '1.5 KiB', '20 GiB']
    """
    if size_bytes is None:
        return "?"
    size, units = float(size_bytes), ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = 0
    while size >= 1024 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.1f}".removesuffix(".0") + f" {units[power]}"


def _local(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"
