"""Bind each operation's name to its function and to what it needs permission for."""

from enum import Enum
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["OPERATIONS", "Operation", "Permission"]


class Permission(Enum):
    """What a caller must be allowed to do."""

    READ = "read"
    OPERATE = "operate"
    CHANGE = "change"


class Operation(NamedTuple):
    """An operation; its module is only imported when it is used."""

    module: str
    function: str
    permission: Permission

    def load(self) -> Any:
        """Import and give the function."""
        return getattr(import_module(f"vm_mgr.operations.{self.module}"), self.function)


OPERATIONS: dict[str, Operation] = {
    "add-colocation": Operation("colocation", "add_colocation", Permission.CHANGE),
    "add-disk": Operation("add_disk", "add_disk", Permission.CHANGE),
    "add-pacemaker-remote": Operation("pacemaker_remote", "add_pacemaker_remote", Permission.CHANGE),
    "add-to-cluster": Operation("add_to_cluster", "add_to_cluster", Permission.CHANGE),
    "list-colocation": Operation("colocation", "list_colocation", Permission.READ),
    "remove-colocation": Operation("colocation", "remove_colocation", Permission.CHANGE),
    "remove-metadata": Operation("metadata", "remove_metadata", Permission.OPERATE),
    "remove-pacemaker-remote": Operation("pacemaker_remote", "remove_pacemaker_remote", Permission.CHANGE),
    "separate": Operation("colocation", "separate", Permission.CHANGE),
    "clone": Operation("clone", "clone", Permission.CHANGE),
    "create-snapshot": Operation("create_snapshot", "create_snapshot", Permission.OPERATE),
    "drain": Operation("drain", "drain", Permission.OPERATE),
    "edit": Operation("edit", "edit", Permission.CHANGE),
    "events": Operation("events", "events", Permission.READ),
    "flatten": Operation("flatten", "flatten", Permission.CHANGE),
    "get-metadata": Operation("metadata", "get_metadata", Permission.READ),
    "list-metadata": Operation("metadata", "list_metadata", Permission.READ),
    "list-snapshots": Operation("list_snapshots", "list_snapshots", Permission.READ),
    "purge": Operation("remove_snapshot", "purge", Permission.CHANGE),
    "remove-disk": Operation("remove_disk", "remove_disk", Permission.CHANGE),
    "remove-snapshot": Operation("remove_snapshot", "remove_snapshot", Permission.CHANGE),
    "rename": Operation("rename", "rename", Permission.CHANGE),
    "repair": Operation("repair", "repair", Permission.CHANGE),
    "resize-disk": Operation("resize_disk", "resize_disk", Permission.CHANGE),
    "restart": Operation("restart", "restart", Permission.OPERATE),
    "rollback": Operation("rollback", "rollback", Permission.CHANGE),
    "set": Operation("set_vm", "set_vm", Permission.CHANGE),
    "set-metadata": Operation("metadata", "set_metadata", Permission.OPERATE),
    "console": Operation("console", "console", Permission.OPERATE),
    "create": Operation("create", "create", Permission.CHANGE),
    "disable": Operation("disable", "disable", Permission.CHANGE),
    "enable": Operation("enable", "enable", Permission.CHANGE),
    "list": Operation("list_vms", "list_vms", Permission.READ),
    "migrate": Operation("migrate", "migrate", Permission.OPERATE),
    "release-node": Operation("release_node", "release_node", Permission.OPERATE),
    "remove": Operation("remove", "remove", Permission.CHANGE),
    "pause": Operation("pause", "pause", Permission.OPERATE),
    "resume": Operation("pause", "resume", Permission.OPERATE),
    "show": Operation("show", "show", Permission.READ),
    "start": Operation("start", "start", Permission.OPERATE),
    "status": Operation("status", "status", Permission.READ),
    "stop": Operation("stop", "stop", Permission.OPERATE),
    "timeouts": Operation("timeouts", "timeouts", Permission.READ),
    "unmigrate": Operation("unmigrate", "unmigrate", Permission.CHANGE),
}
