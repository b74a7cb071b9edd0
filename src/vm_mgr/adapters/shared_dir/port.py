"""Meet the storage port with a folder per VM: qcow2 disks, the definition, metadata."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import layout, staging
from vm_mgr.adapters.shared_dir.clients import SharedClients
from vm_mgr.adapters.shared_dir.definitions import SharedDefinitions
from vm_mgr.adapters.shared_dir.disks import SharedDisks
from vm_mgr.adapters.shared_dir.files import delete, is_folder
from vm_mgr.adapters.shared_dir.saved_memory import SharedSavedMemory
from vm_mgr.adapters.shared_dir.snapshots import SharedSnapshots
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.clones import WholeClones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.model.vm import VmName

__all__ = ["SharedDirectory"]


class SharedDirectory:
    """VMs as folders of a mounted directory. A clone is a whole file, even where files can share blocks."""

    def __init__(self, folders: VmFolders) -> None:
        self.folders = folders
        self.definitions = SharedDefinitions(folders)
        self.disks = SharedDisks(folders)
        self.snapshots = SharedSnapshots(folders)
        self.clones = WholeClones()
        self.saved_memory = SharedSavedMemory(folders)
        self.clients = SharedClients(folders)

    @contextmanager
    def stage(self, name: VmName) -> Iterator[staging.StagedFolder]:
        """Begin a VM in a folder of its own."""
        staged = staging.StagedFolder(self.folders, name)
        try:
            yield staged
        finally:
            staged.close()

    def unstage(self, name: VmName) -> bool:
        """Recover what a killed creation left."""
        return staging.unstage(self.folders, name)

    def rename(self, name: VmName, new: VmName) -> None:
        """Rename the folder: nothing in it but definition and metadata has the VM's name."""
        with self.folders.working(f"can't rename {name}") as root:
            old, folder = layout.vm_folder(root, name), layout.vm_folder(root, new)
            if not self.folders.is_vm(name):
                return
            if folder.is_symlink() or folder.exists():
                message = f"{folder} is there already"
                raise VmMgrError(Kind.EXISTS, message, hint="choose another name")
            self.folders.require_unused(name)
            self.folders.mount.files.rename(old, folder)
            self.folders.mount.files.sync(root)

    def remove(self, name: VmName) -> bool:
        """Take the folder away by one rename, then delete it, and what an unfinished operation left."""
        with self.folders.working(f"can't remove {name}") as root:
            files, old = self.folders.mount.files, layout.old_folder(root, name)
            begun = is_folder(old)
            found = self.unstage(name) or begun or self.folders.is_vm(name)
            if self.folders.is_vm(name):
                self.folders.require_unused(name)
                files.rename(layout.vm_folder(root, name), old)
                files.sync(root)
                delete(files, old)
        return found
