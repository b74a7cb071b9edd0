"""What operations may be given on a VM, its disks, snapshots, notes and colocations, and those that look."""

from vm_mgr.model.fields import Field

__all__ = ["FIELDS", "NAME", "OVERCOMMIT", "RESTART_OTHERS"]

NAME = Field(
    "name",
    "The VM's name; can also be the first argument.",
    options=("-n", "--name"),
    metavar="NAME",
    required=True,
    completes="vm",
)
OVERCOMMIT = Field(
    "allow",
    "Accept a size that no node, or no storage, can ever provide.",
    options=("--allow",),
    words=("overcommit",),
    many=True,
)
_OTHERS = Field("others", "Other VMs or resources.", many=True, required=True, completes="vm")
_KEY = Field("key", "The note's name.", options=("--metadata-name",), metavar="KEY", required=True)
_SNAPSHOT = Field(
    "snapshot",
    "The name of the snapshot.",
    options=("--snap-name",),
    metavar="S",
    required=True,
    completes="snapshot",
)


# Consent to what the cluster's rules would have happen to VMs at once.
RESTART_OTHERS = Field(
    "restart_others",
    "Go on although VMs are moved for it, or stopped and started.",
    "flag",
    ("--restart-others",),
)


def _strong(text: str) -> Field:
    return Field("strong", text, "flag", ("--strong",))


FIELDS: dict[str, tuple[Field, ...]] = {
    "add-colocation": (NAME, _OTHERS, _strong("Run only where the others run."), RESTART_OTHERS),
    "add-disk": (
        NAME,
        Field("size_bytes", "The size of an empty disk.", "size", unit="bytes"),
        Field(
            "image",
            "Copy this image instead of making an empty disk.",
            options=("-i", "--image"),
            metavar="FILE",
            completes="file",
        ),
        Field(
            "image_format",
            "The format of an image that has no signature, mostly raw.",
            options=("--image-format",),
            metavar="[FILE:]FORMAT",
        ),
        Field(
            "bus",
            "The bus of the disk; by default the VM's setting, else virtio.",
            options=("--disk-bus",),
            metavar="BUS",
        ),
        OVERCOMMIT,
    ),
    "add-pacemaker-remote": (
        NAME,
        Field("node", "The guest's name as a node.", options=("--remote-name",), metavar="N", required=True),
        Field("address", "The guest's address.", options=("--remote-address",), metavar="A", required=True),
        Field(
            "port",
            "The guest's port; 3121 by default.",
            "number",
            ("--remote-port",),
            "P",
            least=1,
            most=65535,
            default=3121,
        ),
        Field(
            "timeout_s",
            "Seconds to wait for the connection.",
            "number",
            ("--remote-timeout",),
            "T",
            "s",
            least=1,
        ),
    ),
    "address": (NAME,),
    "console": (
        NAME,
        Field("user", "The user to log in as on the VM's node.", options=("--ssh-user",), metavar="U"),
    ),
    "create-snapshot": (NAME, _SNAPSHOT),
    "disable": (NAME,),
    "enable": (
        NAME,
        Field("start", "Leave the VM stopped.", "flag", ("--nostart",), negates=True),
    ),
    "events": (
        NAME._replace(help="The VM or node that the events are of.", required=False),
        Field(
            "since_s",
            "How far to look back: 90s, 10m, 2h, 7d.",
            "duration",
            ("--since",),
            "DURATION",
            "s",
            default="1d",
            shows_default=True,
        ),
    ),
    "exec": (
        NAME,
        Field("argv", "The program and its arguments.", many=True, required=True),
        Field(
            "timeout_s",
            "How long to wait for the program's end: 90s, 10m, 2h.",
            "duration",
            ("--timeout",),
            "DURATION",
            "s",
            default="60s",
            shows_default=True,
        ),
    ),
    "flatten": (
        NAME,
        Field("number", "Flatten only this disk.", "number", ("--disk",), "N", least=0),
    ),
    "get-metadata": (NAME, _KEY),
    "list": (),
    "list-colocation": (NAME,),
    "list-metadata": (NAME,),
    "list-snapshots": (NAME,),
    "pause": (NAME,),
    "purge": (
        NAME,
        Field(
            "before_utc",
            "Remove those from before this local time.",
            "time",
            ("--date",),
            "'DD/MM/YYYY HH:MM:SS'",
        ),
        Field("number", "Remove the N oldest ones.", "number", ("--number",), "N", least=0),
    ),
    "release-node": (Field("node", "A node that was fenced.", required=True, completes="node"),),
    "remove": (NAME,),
    "remove-colocation": (NAME, _OTHERS._replace(required=False)),
    "remove-disk": (
        NAME,
        Field("number", "The number of the disk.", "number", least=1, required=True),
    ),
    "remove-metadata": (NAME, _KEY),
    "remove-pacemaker-remote": (NAME,),
    "remove-snapshot": (NAME, _SNAPSHOT),
    "rename": (
        NAME,
        Field("new", "The new name.", options=("--new-name",), metavar="NEW", required=True),
    ),
    "repair": (),
    "resize-disk": (
        NAME,
        Field("size_bytes", "The new size.", "size", unit="bytes", required=True),
        Field(
            "number",
            "The number of the disk; 0 is the system disk.",
            "number",
            ("--disk",),
            "N",
            default=0,
            shows_default=True,
        ),
        OVERCOMMIT,
    ),
    "restart": (NAME,),
    "resume": (NAME,),
    "rollback": (NAME, _SNAPSHOT),
    "screenshot": (
        NAME,
        Field("path", "The file to write, on this machine.", required=True, completes="file"),
    ),
    "separate": (
        NAME,
        _OTHERS,
        _strong("Never run on a node where the others run."),
        RESTART_OTHERS,
    ),
    "set-metadata": (
        NAME,
        _KEY,
        Field(
            "value",
            "The text of the note; an empty one removes the note.",
            options=("--metadata-value",),
            metavar="VALUE",
            required=True,
        ),
    ),
    "show": (NAME,),
    "start": (
        NAME,
        Field(
            "allow",
            "Start from the stored disks, although the VM last wrote elsewhere, for example to an overlay.",
            options=("--allow",),
            words=("lost-writes",),
            argument="allow_lost_writes",
        ),
    ),
    "status": (NAME,),
    "stop": (
        NAME,
        Field(
            "force",
            "Power off at once (virsh destroy) instead of a guest shutdown.",
            "flag",
            ("-f", "--force"),
        ),
    ),
    "timeouts": (NAME._replace(required=False),),
    "unmigrate": (NAME,),
}
