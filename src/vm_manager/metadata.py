"""Read and write what is kept with a VM's system disk."""

from vm_manager.environment import working
from vm_manager.options import new_name
from vm_mgr.model.vm import VmName
from vm_mgr.operations import metadata

__all__ = ["get_metadata", "list_metadata", "set_metadata"]


def list_metadata(vm_name: str) -> list[str]:
    """Name all that is kept, the definition xml and the settings among it."""
    with working() as env:
        return list(metadata.list_metadata(env, VmName(vm_name)))


def get_metadata(vm_name: str, metadata_name: str) -> str:
    """Give one value; raises KeyError where there is none of this name."""
    with working() as env:
        return metadata.list_metadata(env, VmName(vm_name))[metadata_name]


def set_metadata(vm_name: str, metadata_name: str, metadata_value: str) -> None:
    """Keep one of the user's own values; an empty one takes it away."""
    new_name(metadata_name, "metadata key")
    with working() as env:
        metadata.set_metadata(env, VmName(vm_name), metadata_name, str(metadata_value))
