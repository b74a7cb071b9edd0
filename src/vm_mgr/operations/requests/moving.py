"""What a move may be given, of one VM or of all of a node."""

from vm_mgr.model.fields import Field
from vm_mgr.model.migration import OnTimeout, Strategy
from vm_mgr.operations.migration.options import IMMOVABLE
from vm_mgr.operations.requests.vms import NAME

__all__ = ["FIELDS", "OF_A_NODE", "TERMS", "TO"]

# The terms of a single move, which override the VM's settings.
TERMS = (
    Field(
        "strategy",
        "How to migrate a guest that keeps changing its memory; auto measures and chooses.",
        options=("--strategy",),
        words=tuple(word.value for word in Strategy),
    ),
    Field(
        "bandwidth_mib",
        "Limit of the network bandwidth in MiB/s.",
        "number",
        ("--bandwidth",),
        "MIB",
        "MiB/s",
        least=1,
    ),
    Field("parallel", "Number of parallel connections.", "number", ("--parallel",), "N", least=1, most=255),
    Field(
        "downtime_ms",
        "Longest pause of the guest at the end, in milliseconds.",
        "number",
        ("--downtime",),
        "MS",
        "ms",
        least=1,
    ),
    Field(
        "timeout_s",
        "Seconds after which the migration is late.",
        "number",
        ("--timeout",),
        "S",
        "s",
        least=1,
    ),
    Field(
        "on_timeout",
        "What to do when it is late: pause the guest to finish (the default), or cancel it (abort).",
        options=("--on-timeout",),
        words=tuple(word.value for word in OnTimeout),
    ),
    Field(
        "max_pause_s",
        "Longest pause of the guest to finish the migration, in seconds; 10 by default.",
        "number",
        ("--max-pause",),
        "S",
        "s",
        least=1,
    ),
)
TO = Field(
    "to",
    "The node to move to; any other one if none is given. With it all plain words are VMs.",
    options=("--to",),
    metavar="NODE",
    completes="node",
)
RESTART = Field(
    "restart_others",
    "Go on although other VMs are moved for it, or stopped and started; with --all-from also move those of "
    "the node that must be stopped and started.",
    "flag",
    ("--restart-others",),
)
ALLOW = Field(
    "allow",
    "Try to migrate live also what libvirt or QEMU, or some versions of them, do not move.",
    options=("--allow",),
    words=(IMMOVABLE,),
    many=True,
)
OF_A_NODE = (
    Field(
        "node",
        "Drain this node: move all its VMs away, instead of one VM.",
        options=("--all-from",),
        metavar="NODE",
        completes="node",
    ),
    Field(
        "at_once",
        "With --all-from: how many VMs move at the same time; 2 by default.",
        "number",
        ("--at-once",),
        "N",
        least=1,
        most=32,
    ),
    RESTART,
    Field(
        "standby",
        "With --all-from: once the node is empty, put it in standby until its next boot, or until its "
        "Pacemaker is restarted. Not done if a VM stays.",
        "flag",
        ("--standby",),
    ),
)

FIELDS: dict[str, tuple[Field, ...]] = {
    "drain": (*OF_A_NODE, ALLOW, *TERMS),
    "migrate": (NAME, TO, RESTART, ALLOW, *TERMS),
}
