"""Turn the answer of `list` into data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_mgr.answers import shapes
    from vm_mgr.model.vm import VmStatus
    from vm_mgr.operations.list_vms import Listing

__all__ = ["listed", "vm_data"]


def vm_data(_: Mapping[str, Any], vm: VmStatus) -> shapes.Vm:
    """Give the data of one VM."""
    return {"name": vm.name, "state": vm.state.value, "node": vm.node, "detail": vm.words}


def listed(_: Mapping[str, Any], listing: Listing) -> list[shapes.ListedVm]:
    """Give the data of all, with what is stored of them where that was asked for."""
    return [_one(vm, listing) for vm in listing.vms]


def _one(vm: VmStatus, listing: Listing) -> shapes.ListedVm:
    plain: shapes.ListedVm = {"name": vm.name, "state": vm.state.value, "node": vm.node, "detail": vm.words}
    if listing.wide is None:
        return plain
    wide, since_utc = listing.wide.get(vm.name), listing.since_utc.get(vm.name)
    return {
        **plain,
        "since": "" if since_utc is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since_utc)),
        "wanted": listing.wanted.get(vm.name, ""),
        "paused": vm.name in listing.paused,
        "memory_bytes": wide.memory_bytes if wide else None,
        "vcpus": wide.vcpus if wide else None,
        "on_move": wide.on_move if wide else "",
        "storage": wide.storage if wide else "",
        "description": wide.description if wide else "",
    }
