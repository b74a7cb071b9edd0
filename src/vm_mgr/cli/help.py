"""Say what there is; without click, whose loading takes three times as long as Python itself."""

__all__ = ["COMMANDS", "overview"]

# name → module that has it, summary; older scripts write underscores for the dashes
COMMANDS = {
    "add-colocation": ("placement", "Keep a VM where others run."),
    "add-disk": ("disks", "Give a VM a further disk."),
    "add-pacemaker-remote": ("placement", "Let the cluster manage resources inside a VM."),
    "add-to-cluster": ("takeover", "Take over a VM that this node's libvirt keeps."),
    "clear": ("changes", "The same as unmigrate."),
    "clone": ("clone", "Make a VM from another one, at once."),
    "completion": ("completion", "Print a shell's completion script."),
    "console": ("guest", "Attach to a VM's serial console."),
    "create": ("create", "Create a VM from a disk image and a domain definition."),
    "create-snapshot": ("snapshots", "Take a snapshot of all disks of a VM."),
    "disable": ("changes", "Stop a VM and take it out of the cluster's control; its disk stays."),
    "edit": ("edit", "Edit a VM's definition."),
    "enable": ("changes", "Put a defined VM under the cluster's control and start it."),
    "events": ("events", "Show what happened to nodes and VMs, and how failovers went."),
    "flatten": ("disks", "Make a clone independent of its source."),
    "get-metadata": ("metadata", "Print a note that is kept with a VM."),
    "list": ("queries", "List all VMs."),
    "list-colocation": ("placement", "List what a VM is kept together with or apart from."),
    "list-metadata": ("metadata", "List what is stored with a VM."),
    "list-snapshots": ("snapshots", "List a VM's snapshots."),
    "migrate": ("migrate", "Move a running VM to another node."),
    "pause": ("guest", "Stop a guest's processors."),
    "purge": ("snapshots", "Remove many snapshots of a VM."),
    "release-node": ("nodes", "Tell Ceph at once that a fenced node is dead."),
    "remove": ("changes", "Remove a VM and its disks."),
    "remove-colocation": ("placement", "Forget what a VM is kept together with or apart from."),
    "remove-disk": ("disks", "Take a VM's last disk away and delete it."),
    "remove-metadata": ("metadata", "Take a note away that is kept with a VM."),
    "remove-pacemaker-remote": ("placement", "Let the cluster forget the node inside a VM."),
    "remove-snapshot": ("snapshots", "Remove a snapshot."),
    "rename": ("changes", "Give a VM another name."),
    "repair": ("changes", "Settle what killed commands left unfinished."),
    "resize-disk": ("disks", "Make a VM's disk larger."),
    "restart": ("changes", "Stop a VM and start it again."),
    "resume": ("guest", "Let a paused guest go on."),
    "rollback": ("snapshots", "Take a VM's disks back to a snapshot."),
    "separate": ("placement", "Keep a VM away from others."),
    "set": ("set", "Change a VM's settings, memory, vCPUs or description."),
    "set-metadata": ("metadata", "Keep a note with a VM."),
    "show": ("show", "Show everything about a VM."),
    "start": ("changes", "Start a VM."),
    "status": ("queries", "Show the state of a VM."),
    "stop": ("changes", "Stop a VM."),
    "timeouts": ("timeouts", "Show how long recoveries take, and which timeouts contradict each other."),
    "unmigrate": ("changes", "Remove the constraints that moves left at a VM, and call a move off."),
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

Commands:
"""


def overview() -> str:
    """Give the text of `vm-mgr --help`."""
    width = max(map(len, COMMANDS))
    return HEAD + "\n".join(f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
