"""Stand in for SEAPATH's vm_manager: programs written for its Python interface run on vm-mgr unchanged.

list_vms, status, … do what the functions of these names do there, and return and refuse the same things (see
docs/howto/move-from-seapath.md for what is different). Failures are vm_manager.exceptions.VmManagerException,
a RuntimeError whose message ends with a hint, but for a missing file (OSError) and a missing metadata key
(KeyError); a wrong name or argument is a ValueError too.
"""

from os.path import realpath

# As in vm_mgr: what is imported later is of the version that this program has begun with.
__path__ = [realpath(folder) for folder in __path__]

from vm_manager.environment import use
from vm_manager.making import add_to_cluster, clone, create
from vm_manager.metadata import get_metadata, list_metadata, set_metadata
from vm_manager.placement import add_colocation, add_pacemaker_remote, remove_pacemaker_remote
from vm_manager.running import (
    console,
    disable_vm,
    enable_vm,
    is_enabled,
    list_all_uuids,
    list_vms,
    remove,
    start,
    status,
    stop,
)
from vm_manager.snapshots import (
    create_snapshot,
    list_snapshots,
    purge_image,
    remove_snapshot,
    rollback_snapshot,
)

__all__ = [
    "add_colocation",
    "add_pacemaker_remote",
    "add_to_cluster",
    "clone",
    "cluster_mode",
    "console",
    "create",
    "create_snapshot",
    "disable_vm",
    "enable_vm",
    "get_metadata",
    "is_enabled",
    "list_all_uuids",
    "list_metadata",
    "list_snapshots",
    "list_vms",
    "purge_image",
    "remove",
    "remove_pacemaker_remote",
    "remove_snapshot",
    "rollback_snapshot",
    "set_metadata",
    "start",
    "status",
    "stop",
    "use",
]

cluster_mode = True  # which programs ask for; there is no other mode here
