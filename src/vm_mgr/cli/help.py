"""Say what there is; without click, whose loading takes three times as long as Python itself."""

__all__ = ["COMMANDS", "EFFECTS", "GROUPS", "OTHER_WORDS", "QUESTIONS", "overview"]

# name → module that has it, summary; older scripts write underscores for the dashes
COMMANDS = {
    "add-colocation": ("placement", "Keep a VM on the node where others run."),
    "add-disk": ("disks", "Add a disk to a VM."),
    "add-pacemaker-remote": ("placement", "Let the cluster manage resources inside a VM."),
    "add-to-cluster": ("takeover", "Take over a VM of this node's libvirt, or of another agent."),
    "address": ("guest_access", "Show the addresses of a running guest."),
    "clear": ("changes", "Same as unmigrate."),
    "clone": ("clone", "Clone a VM at once."),
    "completion": ("completion", "Print the completion script of a shell."),
    "console": ("guest", "Open a VM's serial console."),
    "create": ("create", "Create a VM from a disk image and a domain definition."),
    "create-snapshot": ("snapshots", "Take a snapshot of all disks of a VM."),
    "disable": ("changes", "Stop a VM and take it out of the cluster's control; its disks stay."),
    "edit": ("edit", "Edit a VM's definition."),
    "enable": ("changes", "Put a disabled VM under the cluster's control and start it."),
    "events": ("events", "Show what happened to nodes and VMs, and how failovers went."),
    "exec": ("guest_access", "Run a program in a guest."),
    "flatten": ("disks", "Make a clone independent of its source."),
    "get-metadata": ("metadata", "Print one metadata value of a VM."),
    "import": ("import_appliance", "Create a VM from an OVA or OVF."),
    "list": ("queries", "List all VMs."),
    "list-colocation": ("placement", "List what a VM is kept together with, or apart from."),
    "list-metadata": ("metadata", "List the metadata of a VM."),
    "list-snapshots": ("snapshots", "List a VM's snapshots."),
    "migrate": ("migrate", "Move a running VM to another node."),
    "pause": ("guest", "Pause a guest."),
    "purge": ("snapshots", "Remove many snapshots of a VM at once."),
    "release-node": ("nodes", "Tell Ceph at once that a fenced node is off."),
    "remove": ("changes", "Remove a VM and its disks."),
    "remove-colocation": ("placement", "Stop keeping a VM together with, or apart from, others."),
    "remove-disk": ("disks", "Detach a VM's last disk and delete it."),
    "remove-metadata": ("metadata", "Remove a note from a VM."),
    "remove-pacemaker-remote": ("placement", "Remove the guest of a VM as a node of the cluster."),
    "remove-snapshot": ("snapshots", "Remove a snapshot."),
    "rename": ("changes", "Rename a VM."),
    "repair": ("changes", "Recover what killed commands left unfinished."),
    "resize-disk": ("disks", "Make a VM's disk larger."),
    "restart": ("changes", "Shut a VM down and start it again."),
    "resume": ("guest", "Resume a paused guest."),
    "rollback": ("snapshots", "Roll a VM's disks back to a snapshot."),
    "schema": ("schema", "Print the JSON Schema of what commands print."),
    "screenshot": ("guest_access", "Write a guest's screen to a file."),
    "separate": ("placement", "Keep a VM off the nodes where others run."),
    "set": ("set", "Change a VM's settings, memory, vCPUs or description."),
    "set-metadata": ("metadata", "Store a note with a VM."),
    "show": ("show", "Show everything about a VM."),
    "start": ("changes", "Start a VM."),
    "status": ("queries", "Show the state of a VM."),
    "stop": ("changes", "Stop a VM."),
    "timeouts": ("timeouts", "Show how long recoveries take, and which timeouts contradict each other."),
    "unmigrate": ("changes", "Remove a VM's leftover move constraints, and cancel a move."),
}

GROUPS = {
    "Look": ("list", "status", "show", "events", "timeouts"),
    "Run": ("start", "stop", "restart", "pause", "resume"),
    "Reach the guest": ("console", "address", "exec", "screenshot"),
    "Make and remove": (
        "create",
        "import",
        "clone",
        "add-to-cluster",
        "enable",
        "disable",
        "rename",
        "remove",
    ),
    "Change": ("set", "edit", "add-disk", "resize-disk", "remove-disk", "flatten"),
    "Snapshots": ("create-snapshot", "list-snapshots", "rollback", "remove-snapshot", "purge"),
    "Move and place": (
        "migrate",
        "unmigrate",
        "clear",
        "add-colocation",
        "separate",
        "list-colocation",
        "remove-colocation",
        "add-pacemaker-remote",
        "remove-pacemaker-remote",
    ),
    "Notes": ("set-metadata", "get-metadata", "list-metadata", "remove-metadata"),
    "After failures": ("repair", "release-node"),
    "About vm-mgr": ("completion", "schema"),
}

# What virsh, qm, crm, incus and shells call it; nothing where it depends on the words after it.
OTHER_WORDS = {
    "attach-disk": "add-disk",
    "backup": "create-snapshot",
    "cleanup": "start",
    "config": "show",
    "copy": "clone",
    "crm": "",
    "define": "create",
    "del": "remove",
    "delete": "remove",
    "delsnapshot": "remove-snapshot",
    "destroy": "stop --force",
    "detach-disk": "remove-disk",
    "dominfo": "show",
    "domifaddr": "address",
    "domrename": "rename",
    "domstate": "status",
    "drain": "migrate --all-from",
    "dumpxml": "show --xml",
    "evacuate": "migrate --all-from",
    "guest": "exec",
    "ha-manager": "",
    "help": "--help",
    "history": "events",
    "info": "show",
    "kill": "stop --force",
    "launch": "create",
    "listsnapshot": "list-snapshots",
    "log": "events",
    "logs": "events",
    "ls": "list",
    "move": "migrate",
    "mv": "rename",
    "new": "create",
    "pcs": "",
    "ps": "list",
    "qm": "",
    "reboot": "restart",
    "reset": "restart",
    "resize": "resize-disk",
    "restore": "rollback",
    "revert": "rollback",
    "rm": "remove",
    "run": "start",
    "shutdown": "stop",
    "snapshot": "create-snapshot",
    "snapshot-create": "create-snapshot",
    "snapshot-delete": "remove-snapshot",
    "snapshot-list": "list-snapshots",
    "snapshot-revert": "rollback",
    "snapshots": "list-snapshots",
    "standby": "migrate --all-from",
    "suspend": "pause",
    "vncdisplay": "console --graphical",
    "undefine": "remove",
    "unpause": "resume",
    "version": "--version",
    "vms": "list",
}

# What a command stops, moves or deletes: nobody is led to one of these without being told so.
EFFECTS = {
    "disable": "shuts the guest down",
    "migrate": "moves the VM, and stops it for that if it has no live migration",
    "migrate --all-from": "moves all VMs away from a node",
    "pause": "pauses the guest",
    "purge": "deletes snapshots",
    "release-node": "shuts a fenced node out of the storage",
    "remove": "stops the VM and deletes its disks",
    "remove-disk": "deletes the VM's last disk",
    "remove-snapshot": "deletes a snapshot",
    "restart": "shuts the guest down and boots it again",
    "rollback": "stops the VM and takes its disks back to a snapshot",
    "stop": "shuts the guest down",
    "stop --force": "powers the guest off",
}

# What is asked in a word that is no command, and where the answer is.
NODES = "see the nodes: crm_mon -1; the VMs and where they run: vm-mgr list"
QUESTIONS = {
    "health": "see: vm-mgr list; vm-mgr timeouts --check; of the cluster: crm_mon -1",
    "node": NODES,
    "nodes": NODES,
}

HEAD = """\
Usage: vm-mgr [OPTIONS] COMMAND [ARGS]...

  Run highly available virtual machines on Pacemaker, libvirt and Ceph.

  Example:
    vm-mgr create --name web1 --xml web1.xml --image web1.qcow2
    vm-mgr list

Options:
  --debug     Log every command that is run, and show tracebacks.
  --version   Show the version and exit.
  -h, --help  Show this message, or that of a command, and exit.

"""


def overview() -> str:
    """Give the text of `vm-mgr --help`."""
    width = max(map(len, COMMANDS))
    groups = (
        "\n".join((f"{title}:", *(f"  {name:{width}}  {COMMANDS[name][1]}" for name in names)))
        for title, names in GROUPS.items()
    )
    return HEAD + "\n\n".join(groups)
