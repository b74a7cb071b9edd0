"""Print data as a table, JSON or YAML."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vm_mgr.model.vm import VmStatus

__all__ = ["print_list", "print_status"]

COLUMNS = ("name", "state", "node", "detail")


def print_list(vms: Sequence[VmStatus], output: str) -> None:
    """Print VMs; a table has a heading and no rulers."""
    rows = [_row(vm) for vm in vms]
    if output != "table":
        _print_data(rows, output)
        return
    table = [[column.upper() for column in COLUMNS], *([row[column] for column in COLUMNS] for row in rows)]
    widths = [max(len(line[index]) for line in table) for index in range(len(COLUMNS))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_status(vm: VmStatus, output: str) -> None:
    """Print one VM: a line for people, or data."""
    if output != "table":
        _print_data(_row(vm), output)
        return
    where = f" on {vm.node}" if vm.node else ""
    why = f" ({vm.detail})" if vm.detail else ""
    print(f"{vm.state.value}{where}{why}")


def _row(vm: VmStatus) -> Mapping[str, str]:
    return {"name": vm.name, "state": vm.state.value, "node": vm.node, "detail": vm.detail}


def _print_data(data: Any, output: str) -> None:
    if output == "json":
        import json  # noqa: PLC0415

        json.dump(data, sys.stdout, indent=2)
        print()
    else:
        import yaml  # noqa: PLC0415

        yaml.safe_dump(data, sys.stdout, sort_keys=False)
