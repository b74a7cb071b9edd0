"""Make the table of `list --wide`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from vm_mgr.model.capacity import size_words

if TYPE_CHECKING:
    from vm_mgr.operations.list_vms import Listing

__all__ = ["wide_rows"]

COLUMNS = (
    "name",
    "state",
    "node",
    "since",
    "wanted",
    "memory",
    "vcpus",
    "on-move",
    "storage",
    "detail",
    "description",
)


def wide_rows(listing: Listing) -> list[tuple[str, ...]]:
    """Give the heading and a line for each VM; what is not known is left empty."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for vm in listing.vms:
        wide = (listing.wide or {}).get(vm.name)
        stored = ("", "", "", "")
        if wide is not None:
            stored = (size_words(wide.memory_bytes), str(wide.vcpus), wide.on_move, wide.storage)
        description = " ".join(wide.description.split()) if wide else ""
        since_utc = listing.since_utc.get(vm.name)
        since = (
            "" if since_utc is None else f"{datetime.fromtimestamp(since_utc).astimezone():%Y-%m-%d %H:%M:%S}"
        )
        now = (vm.name, vm.state.value, vm.node, since, listing.wanted.get(vm.name, ""))
        detail = "; ".join(
            filter(None, ("its guest is paused" if vm.name in listing.paused else "", vm.words))
        )
        rows.append((*now, *stored, detail, description))
    return rows
