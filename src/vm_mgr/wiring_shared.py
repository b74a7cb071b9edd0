"""Build a storage in a directory; loaded with all of it when one is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.libvirt.open_disks import QemuDisks
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.adapters.shared_dir.port import SharedDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.libvirt.port import LocalLibvirt
    from vm_mgr.adapters.shared_dir.mount import Mount
    from vm_mgr.config import DirectorySettings
    from vm_mgr.model.vm import VmName
    from vm_mgr.ports.clock import Clock
    from vm_mgr.ports.runner import Runner

__all__ = ["shared_directory"]


def shared_directory(
    directory: DirectorySettings,
    mount: Mount,
    runner: Runner,
    clock: Clock,
    *,
    where_it_runs: Callable[[VmName], LocalLibvirt],
    require: Callable[[], None],
) -> SharedDirectory:
    """Give the storage; where_it_runs: the libvirt that has a VM."""
    folders = VmFolders(
        mount,
        runner,
        clock,
        cache=directory.cache,
        io=directory.io,
        open_disks=QemuDisks(where_it_runs),
        require=require,
    )
    return SharedDirectory(folders)
