"""Print data as a table, JSON or YAML."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from vm_mgr.errors import raise_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vm_mgr.model.storage import Snapshot
    from vm_mgr.model.vm import VmStatus
    from vm_mgr.operations.list_vms import Listing

__all__ = [
    "FORMATS",
    "SCHEMA",
    "done_words",
    "print_answer",
    "print_data",
    "print_keys",
    "print_list",
    "print_scores",
    "print_snapshots",
    "print_status",
    "print_table",
    "show_listing",
]

SCHEMA = 1  # of what --output json and yaml print: docs/reference/output.md
FORMATS = ("table", "json", "yaml")
COLUMNS = ("name", "state", "node", "detail")


def print_list(listing: Listing, output: str, rows: Sequence[Sequence[str]] = ()) -> None:
    """Print VMs; a table has a heading and no rulers, and these rows, where there are more to tell."""
    if output != "table":
        print_answer("list", listing, output)
        return
    print_table(rows or [COLUMNS, *((vm.name, vm.state.value, vm.node, vm.words) for vm in listing.vms)])


def show_listing(listing: Listing, output: str, rows: Sequence[Sequence[str]] = ()) -> None:
    """Print the VMs that were found, then raise what kept others from being found."""
    print_list(listing, output, rows)
    if listing.missing:
        sys.stdout.flush()
        what = "VMs that are not enabled, and what is unfinished, may be missing from this list"
        print(f"vm-mgr: warning: {what}", file=sys.stderr)
        raise_all(listing.missing)


def print_status(vm: VmStatus, output: str) -> None:
    """Print one VM: a line for people, or data."""
    if output != "table":
        print_answer("status", vm, output)
        return
    where = f" on {vm.node}" if vm.node else ""
    why = f" ({vm.words})" if vm.words else ""
    print(f"{vm.state.value}{where}{why}")


def done_words(vm: VmStatus) -> str:
    """Say where a VM has been brought."""
    why = f" ({vm.detail})" if vm.detail else ""
    return f"{vm.name} is {vm.state.value}" + (f" on {vm.node}" if vm.node else "") + why


def print_snapshots(snapshots: Sequence[Snapshot], output: str) -> None:
    """Print snapshots; a table has the local time."""
    from datetime import datetime  # noqa: PLC0415

    if output != "table":
        print_answer("list-snapshots", snapshots, output)
        return
    lines = [
        (
            one.name,
            f"{datetime.fromtimestamp(one.taken_utc).astimezone():%Y-%m-%d %H:%M:%S}",
            one.consistency.value,
        )
        for one in snapshots
    ]
    print_table([("name", "taken", "consistency"), *lines])


def print_keys(pairs: Mapping[str, str], output: str) -> None:
    """Print keys, or keys and values as data."""
    if output != "table":
        print_answer("list-metadata", pairs, output)
        return
    for key in pairs:
        print(key)


def print_scores(pairs: Mapping[str, str], output: str) -> None:
    """Print resources with their scores."""
    if output != "table":
        print_answer("list-colocation", pairs, output)
    elif pairs:
        print_table([("resource", "score"), *pairs.items()])


def print_table(table: Sequence[Sequence[str]]) -> None:
    """Print lines in columns, the first line as heading."""
    table = [[title.upper() for title in table[0]], *table[1:]]
    widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_answer(verb: str, result: Any, output: str) -> None:
    """Print the data of what an operation has read."""
    from vm_mgr.answers.data import to_data  # noqa: PLC0415 - not for tables

    print_data(to_data(verb, {}, result), output)


def print_data(data: Any, output: str) -> None:
    """Print JSON or YAML."""
    if output == "json":
        import json  # noqa: PLC0415

        json.dump(data, sys.stdout, indent=2)
        print()
    else:
        import yaml  # noqa: PLC0415

        yaml.safe_dump(data, sys.stdout, sort_keys=False)
