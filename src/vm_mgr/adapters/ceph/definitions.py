"""Keep definition and settings of VMs as metadata of their system disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.adapters.ceph import exclusive
from vm_mgr.adapters.ceph.layout import read_settings, settings_keys, write_settings
from vm_mgr.adapters.ceph.listing import group_names, is_group
from vm_mgr.adapters.ceph.nvram import read_nvram, write_nvram
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import disk_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_mgr.adapters.ceph.pool import Pool
    from vm_mgr.model.exclusive_index import Exclusives
    from vm_mgr.model.vm import VmName, VmSettings
    from vm_mgr.ports.stored_definitions import Read

__all__ = ["CephDefinitions"]


class CephDefinitions:
    """VMs as RBD groups; what is known of them beside their system disk."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def names(self) -> set[VmName]:
        """List the groups."""
        return group_names(self.pool.connection)

    def exists(self, name: VmName) -> bool:
        """Look for the group."""
        return is_group(self.pool.connection, name)

    def read(self, name: VmName) -> str:
        """Read the domain XML that is started."""
        try:
            return self.metadata(name)["xml"]
        except KeyError as error:
            message = f"{name} has no definition in Ceph"
            hint = f"look: rbd image-meta list {self.pool.connection.pool}/{disk_image(name, 0)}"
            raise VmMgrError(Kind.NOT_FOUND, message, hint=hint) from error

    def settings(self, name: VmName) -> VmSettings:
        """Read the settings."""
        return read_settings(self.metadata(name))

    def change_settings(self, name: VmName, settings: VmSettings) -> None:
        """Write all keys of the settings anew."""
        kept = {**dict.fromkeys(settings_keys()), **settings.user_metadata, **write_settings(settings)}
        self.describe(name, kept)

    def metadata(self, name: VmName) -> Mapping[str, str]:
        """Read all metadata of the system disk."""
        return self.pool.metadata(name)

    def describe(self, name: VmName, metadata: Mapping[str, str | None]) -> None:
        """Set and remove keys of the system disk's metadata."""
        self.pool.describe(name, metadata)
        if "xml" in metadata:
            exclusive.forget(self.pool, name)

    def nvram(self, name: VmName, snapshot: str = "") -> bytes:
        """Read the object beside the system disk."""
        return read_nvram(self.pool, name, snapshot)

    def keep_nvram(self, name: VmName, packed: bytes) -> None:
        """Write it."""
        write_nvram(self.pool, name, packed)

    def exclusive(self, read: Read, *, keep: bool = True) -> Mapping[VmName, Exclusives]:
        """Read the definitions that are not yet in the index."""
        return exclusive.known(self.pool, lambda name: read(self.read(name)), keep=keep)
