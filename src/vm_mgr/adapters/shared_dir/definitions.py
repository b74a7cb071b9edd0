"""Keep definition, settings and metadata of VMs as files beside their disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.shared_dir import exclusive, layout
from vm_mgr.adapters.shared_dir.files import read as read_file
from vm_mgr.adapters.shared_dir.files import write
from vm_mgr.adapters.shared_dir.listing import vm_names
from vm_mgr.adapters.shared_dir.nvram import read_nvram, write_nvram
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_mgr.adapters.shared_dir.folders import VmFolders
    from vm_mgr.model.exclusive_index import Exclusives
    from vm_mgr.model.vm import VmName, VmSettings
    from vm_mgr.ports.stored_definitions import Read

__all__ = ["SharedDefinitions"]


class SharedDefinitions:
    """domain.xml and metadata.json of each folder."""

    def __init__(self, folders: VmFolders) -> None:
        self.folders = folders

    def names(self) -> set[VmName]:
        """List the folders that are VMs."""
        return vm_names(self.folders.mount)

    def exists(self, name: VmName) -> bool:
        """Look for the folder."""
        with self.folders.working(f"can't look for {name}"):
            return self.folders.is_vm(name)

    def read(self, name: VmName) -> str:
        """Read the domain XML that is started."""
        with self.folders.working(f"can't read the definition of {name}") as root:
            path = self.folders.folder(name) / layout.DEFINITION
            xml = read_file(path)
        if xml is None:
            message = f"{name} has no definition in {root}"
            raise VmMgrError(Kind.NOT_FOUND, message, hint=f"put the domain XML there: {path}")
        return xml

    def settings(self, name: VmName) -> VmSettings:
        """Read the settings."""
        return self.folders.record(name).settings

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Replace the settings, add the user's own notes to the keys."""
        with self.folders.working(f"can't describe {name}"):
            record = self.folders.record(name).with_keys(settings.user_metadata)
            self.folders.write_record(name, record._replace(settings=settings))

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Give the keys, the definition among them."""
        return {**self.folders.record(name).keys, "xml": self.read(name)}

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys: the definition first, so that the other keys tell that it was written."""
        given = {key: value for key, value in metadata.items() if key != "xml"}
        xml = metadata.get("xml")
        with self.folders.working(f"can't describe {name}"):
            folder, record = self.folders.folder(name), self.folders.record(name)
            if xml is not None:
                write(self.folders.mount.files, folder / layout.DEFINITION, xml)
            if given:
                self.folders.write_record(name, record.with_keys(given))

    def nvram(self, name: VmName, snapshot: str = "") -> bytes:
        """Read the file."""
        with self.folders.working(f"can't read the UEFI variables of {name}"):
            return read_nvram(self.folders.folder(name), snapshot)

    def keep_nvram(self, name: VmName, packed: bytes) -> None:
        """Replace the file."""
        with self.folders.working(f"can't keep the UEFI variables of {name}"):
            write_nvram(self.folders.mount.files, self.folders.folder(name), packed)

    def exclusive(self, read: Read, *, keep: bool = True) -> Mapping[VmName, Exclusives]:
        """Read the definitions that are not yet in the index."""
        with self.folders.working("can't read what the VMs have alone"):
            return exclusive.known(self.folders, read, keep=keep)
