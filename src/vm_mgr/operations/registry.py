"""The table of contents: each operation's name, function, request, and what it needs permission for.

The command line calls operations through this table. What an operation may be given are its fields
(operations/requests). How its result becomes data, and of which shape, is in answers/data.py.
"""

from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from vm_mgr.model.fields import Field

__all__ = ["ALIASES", "OPERATIONS", "Operation", "Permission", "fields_of"]


class Permission(Enum):
    """What a caller must be allowed to do."""

    READ = "read"
    OPERATE = "operate"
    CHANGE = "change"


READ, OPERATE, CHANGE = Permission.READ, Permission.OPERATE, Permission.CHANGE
# Pages of the documents.
DAILY, LAYOUT, AGENT = "howto/everyday.md", "reference/storage-layout.md", "reference/agent.md"
MOVES, RECOVERY, SETTINGS = "explanation/migration.md", "explanation/recovery.md", "reference/settings.md"
IMAGES = "howto/images.md"
SAFETY, START = "explanation/safety.md", "explanation/second-start.md"

# Older names of commands.
ALIASES = {"clear": "unmigrate"}


class Operation(NamedTuple):
    """An operation; its module is only imported when it is used.

    page: of the documents, where it is explained. changes: whether it changes anything, so that it has a dry
    run. requests: the module of operations/requests that has its fields. command: of the command line, where
    it is another's; empty for its own name. several: whether its command takes several VMs, one by one.
    """

    module: str
    function: str
    permission: Permission
    page: str
    changes: bool = True
    requests: Literal["vms", "making", "moving"] = "vms"
    command: str = ""
    several: bool = False

    def load(self) -> Any:
        """Import and give the function, whose first argument is the Env."""
        return getattr(import_module(f"vm_mgr.operations.{self.module}"), self.function)


def fields_of(verb: str) -> "tuple[Field, ...]":
    """Give what an operation may be given, in the order in which its command shows it.

    >>> [field.name for field in fields_of("stop")]
    ['name', 'force']
    """
    module = import_module(f"vm_mgr.operations.requests.{OPERATIONS[verb].requests}")
    fields: tuple[Field, ...] = module.FIELDS[verb]
    return fields


def _look(module: str, function: str, page: str) -> Operation:
    return Operation(module, function, READ, page, changes=False)


OPERATIONS: dict[str, Operation] = {
    "add-colocation": Operation("colocation", "add_colocation", CHANGE, MOVES),
    "add-disk": Operation("add_disk", "add_disk", CHANGE, LAYOUT),
    "add-pacemaker-remote": Operation("pacemaker_remote", "add_pacemaker_remote", CHANGE, LAYOUT),
    "add-to-cluster": Operation("add_to_cluster", "add_to_cluster", CHANGE, SETTINGS, requests="making"),
    "address": _look("guest_access", "addresses", DAILY),
    "clone": Operation("clone", "clone", CHANGE, SETTINGS, requests="making"),
    "console": Operation("console", "console", OPERATE, DAILY, changes=False),
    "create": Operation("create", "create", CHANGE, SETTINGS, requests="making"),
    "create-snapshot": Operation("create_snapshot", "create_snapshot", OPERATE, LAYOUT),
    "disable": Operation("disable", "disable", CHANGE, SAFETY, several=True),
    "drain": Operation("drain", "drain", OPERATE, MOVES, requests="moving", command="migrate"),
    "edit": Operation("edit", "edit", CHANGE, DAILY, requests="making"),
    "enable": Operation("enable", "enable", CHANGE, SAFETY, several=True),
    "events": _look("events", "events", RECOVERY),
    "exec": Operation("guest_access", "execute", OPERATE, DAILY, changes=False),
    "flatten": Operation("flatten", "flatten", CHANGE, LAYOUT),
    "get-metadata": _look("metadata", "get_metadata", LAYOUT),
    "import": Operation("import_appliance", "import_appliance", CHANGE, IMAGES, requests="making"),
    "list": _look("list_vms", "look", DAILY),
    "list-colocation": _look("colocation", "list_colocation", MOVES),
    "list-metadata": _look("metadata", "list_metadata", LAYOUT),
    "list-snapshots": _look("list_snapshots", "list_snapshots", LAYOUT),
    "migrate": Operation("migrate", "migrate", OPERATE, MOVES, requests="moving", several=True),
    "pause": Operation("pause", "pause", OPERATE, DAILY, several=True),
    "purge": Operation("remove_snapshot", "purge", CHANGE, LAYOUT),
    "release-node": Operation("release_node", "release_node", OPERATE, RECOVERY),
    "remove": Operation("remove", "remove", CHANGE, DAILY, several=True),
    "remove-colocation": Operation("colocation", "remove_colocation", CHANGE, MOVES),
    "remove-disk": Operation("remove_disk", "remove_disk", CHANGE, LAYOUT),
    "remove-metadata": Operation("metadata", "remove_metadata", OPERATE, LAYOUT),
    "remove-pacemaker-remote": Operation("pacemaker_remote", "remove_pacemaker_remote", CHANGE, LAYOUT),
    "remove-snapshot": Operation("remove_snapshot", "remove_snapshot", CHANGE, LAYOUT),
    "rename": Operation("rename", "rename", CHANGE, LAYOUT),
    "repair": Operation("repair", "repair", CHANGE, DAILY),
    "resize-disk": Operation("resize_disk", "resize_disk", CHANGE, LAYOUT),
    "restart": Operation("restart", "restart", OPERATE, DAILY, several=True),
    "resume": Operation("pause", "resume", OPERATE, DAILY, several=True),
    "rollback": Operation("rollback", "rollback", CHANGE, LAYOUT),
    "screenshot": Operation("guest_access", "screenshot", OPERATE, DAILY, changes=False),
    "separate": Operation("colocation", "separate", CHANGE, MOVES),
    "set": Operation("set_vm", "set_vm", CHANGE, SETTINGS, requests="making"),
    "set-metadata": Operation("metadata", "set_metadata", OPERATE, LAYOUT),
    "show": _look("show", "show", DAILY),
    "start": Operation("start", "start", OPERATE, START, several=True),
    "status": _look("status", "full_status", DAILY),
    "stop": Operation("stop", "stop", OPERATE, AGENT, several=True),
    "timeouts": _look("timeouts", "timeouts", "explanation/recovery-time.md"),
    "unmigrate": Operation("unmigrate", "unmigrate", CHANGE, MOVES, several=True),
}
