"""A lab machine with a kernel of its own: a User-Mode Linux process over the node image.

It needs neither KVM nor a module of the host. The image is read-only (hostfs); over it lies the node's system
disk, a file as its other disks. What the lab reads from outside, guests' consoles and which QEMUs there are,
is in folders of the host. Its cards are taps in the switch's namespace; a third one, which no fault of the
lab cuts, carries what is run on it from outside.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from vm_mgr_lab.cgroup import Cgroup
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.machine.port import INSIDE
from vm_mgr_lab.machine.processes import Processes
from vm_mgr_lab.network import switch_namespace, tap_name
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import run, spawn
from vm_mgr_lab.topology import NETWORKS, SERVICE, Node, OwnKernel

__all__ = ["RUNNING", "UmlMachine", "personalise"]

RUNNING = "/var/lib/vm-mgr-lab/running"  # the VMs whose QEMUs run there, see layer/
# Folders of a node that are folders of the host.
OUTSIDE = ("/var/lib/vm-mgr-lab", "/var/log/libvirt/qemu")
SYSTEM_DISK_MIB = 4096

# $1 seconds, $2 image with the C library, $3 layers, $4 the node's folder, $5 kernel, $6 shared disks. All is
# mounted in a namespace that ends with the machine. A kernel that ends within two seconds has not booted at
# all; 10 is the exit status after a node's own power-off, see layer/.
MOUNT_AND_BOOT = """\
sleep "$1"
image=$2
mount -t tmpfs tmpfs "$image/mnt"
for part in root node kernel disks ram; do mkdir "$image/mnt/$part"; done
mount -t overlay overlay -o "lowerdir=$3" "$image/mnt/root"
mount --bind "$4" "$image/mnt/node"
mount --bind "$5" "$image/mnt/kernel"
mount --bind "$6" "$image/mnt/disks"
mount --rbind /dev "$image/dev"
mount -t proc proc "$image/proc"
ulimit -c 0
shift 6
status=0
while [ "$status" != 10 ]; do
    started=$(date +%s)
    rm -rf "$image/mnt/node/uml"
    mkdir "$image/mnt/node/uml"
    chroot "$image" env -i PATH=/usr/bin TMPDIR=/mnt/ram HOME=/mnt/node "$@" && status=0 || status=$?
    [ "$(date +%s)" -gt "$((started + 2))" ] || exit 1
done
"""
# What only takes time, or has no device to work with. libvirt needs logind and machined: they are not here.
MASKED = (
    "dev-mqueue.mount",
    "e2scrub_reap.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sshd-keygen.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-pstore.service",
)
# pty.legacy_count: 512 terminals less for udev to look at. noreboot: a kernel that restarts itself would find
# its taps busy; its process ends, and is started again.
COMMAND_LINE = (
    "con=null ssl=null con0=null,fd:1 loglevel=4 seccomp=auto root=/dev/root rootfstype=hostfs "
    "rootflags=/mnt/root/ ro init=/usr/sbin/vm-mgr-lab-init systemd.show_status=0 audit=0 apparmor=0 "
    "net.ifnames=0 panic=1 noreboot pty.legacy_count=0"
)
START = """\
#!/bin/sh
while [ ! -e /sys/class/net/vec{last} ]; do sleep 0.05; done
ip -batch - <<CARDS
{cards}
CARDS
for folder in {outside}; do
    mkdir -p $folder
    mount -t hostfs none $folder -o hostfs=/mnt/node/outside$folder
done
"""
SSH_OPTIONS = {
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "LogLevel": "ERROR",
    "BatchMode": "yes",
    "IdentitiesOnly": "yes",
    "ConnectTimeout": "5",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "2",
    "ControlMaster": "auto",
    "ControlPersist": "30",
}
# ssh makes one line of its arguments for the shell at the other end: bash quotes each of them.
QUOTED = 'n=$1; shift; to=("${@:1:n}"); shift "$n"; exec "${to[@]}" "${*@Q}"'


class UmlMachine(Processes):
    """One node: folder holds upper, its disks, outside and the console; all layers are read-only."""

    def __init__(
        self, node: Node, folder: Path, layers: Sequence[Path], kernel: OwnKernel, *, paths: Paths
    ) -> None:
        self._node = node
        self._folder = folder
        self._layers = layers
        self._kernel = kernel
        self._paths = paths
        super().__init__(Cgroup(node.name))
        # What is run from outside ends with the machine; the machine can be off while it has not ended.
        self._visitors = Cgroup(f"{node.name}-exec")

    def switch_on(self, *, after_s: float = 0) -> None:
        """Start booting after some seconds of firmware, return at once; one that is on is left alone."""
        if self.is_on():
            return
        for folder in ("upper", *(f"outside{outside}" for outside in OUTSIDE)):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        self._paths.disks.mkdir(parents=True, exist_ok=True)
        for file, mib in self._disks().items():
            if not file.exists():
                run(["truncate", "--size", f"{mib}M", file])
                if file == self._system_disk:
                    run(["mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard", file])
        self._cgroup.remove()
        self._cgroup.create()
        argv = [
            *self._cgroup.enter_command(),
            *switch_namespace().enter_command(),
            *("unshare", "--mount", "--propagation", "private", "--pid", "--fork"),
            *("sh", "-ec", MOUNT_AND_BOOT, "sh"),
            str(after_s),
            self._kernel.loader,
            ":".join(str(layer) for layer in (self._folder / "upper", *self._layers)),
            str(self._folder),
            self._kernel.folder,
            str(self._paths.disks),
            *self.kernel_command(),
        ]
        spawn(argv, console=self._folder / "console.log")

    @property
    def _system_disk(self) -> Path:
        return self._folder / "system.raw"

    def _disks(self) -> dict[Path, int]:
        """Return the node's own disks and those that it shares, with their sizes in MiB."""
        shared = enumerate(self._kernel.shared_disks_mib, start=1)
        return {
            self._system_disk: SYSTEM_DISK_MIB,
            self._folder / "disk.raw": self._kernel.disk_mib,
            **{self._paths.disks / f"shared-{number}.raw": mib for number, mib in shared},
        }

    def kernel_command(self) -> list[str]:
        """Return the kernel's process with its devices."""
        shared = range(1, len(self._kernel.shared_disks_mib) + 1)
        cards = enumerate((*NETWORKS, SERVICE))
        return [
            "/mnt/kernel/linux",
            f"mem={self._kernel.memory_mib}M",
            f"umid={self._node.name}",
            "uml_dir=/mnt/node/uml",
            "ubd0=/mnt/node/system.raw",
            "ubd1=/mnt/node/disk.raw",
            # c: several machines have it open.
            *(f"ubd{number + 1}c=/mnt/disks/shared-{number}.raw" for number in shared),
            # Without gro the driver drops what the switch has not cut into frames.
            *(
                f"vec{number}:transport=tap,ifname={tap_name(self._node, network)},depth=64,gro=1,"
                f"mac=52:54:00:71:{number:02x}:{self._node.index:02x}"
                for number, network in cards
            ),
            *shlex.split(COMMAND_LINE),
            *(f"systemd.mask={unit}" for unit in MASKED),
        ]

    def cut_power(self) -> None:
        """End every process at once; returns when the last one has gone."""
        for group in (self._cgroup, self._visitors):
            group.kill()
            group.freeze(frozen=False)
        for group in (self._cgroup, self._visitors):
            group.wait_empty(timeout_s=60)

    def shut_down(self, *, timeout_s: float) -> None:
        """Ask systemd to power off, and wait until it has."""
        if self.is_on():
            run([*self.enter_command(), "systemctl", "poweroff", "--no-block"], check=False)
        self._cgroup.wait_empty(timeout_s=timeout_s)

    def is_booted(self) -> bool:
        """Tell whether systemd is past its early boot."""
        if not self.is_on():
            return False
        done = run([*self.enter_command(), "systemctl", "is-system-running"], check=False)
        return done.stdout.strip() in {"running", "degraded"}

    def enter_command(self) -> list[str]:
        """Return a command prefix that runs a program inside, as root; LabError when the machine is off."""
        if not self.is_on():
            raise LabError(f"{self._node.name} is off", hint=f"vm-mgr-lab power {self._node.name} on")
        self._visitors.create()
        options = {**SSH_OPTIONS, "ControlPath": str(self._folder / "ssh")}
        ssh = [
            *("ssh", "-i", str(self._paths.ssh_key)),
            *(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
            f"root@{self._node.service_address}",
        ]
        return [
            *self._visitors.enter_command(),
            *switch_namespace().enter_command(),
            *("bash", "-c", QUOTED, "bash", str(len(ssh)), *ssh),
            *("env", "-i", *INSIDE),
        ]


def personalise(node: Node, upper: Path) -> None:
    """Write into a new node's topmost layer what sets up its cards, with the addresses of a container."""
    cards = [
        "link set lo up",
        # Its address first: a bridge that takes over its card's later is another machine to its neighbours.
        f"link add name br0 address 52:54:00:71:00:{node.index:02x} type bridge forward_delay 0",
        "link set vec0 name admin0",
        "link set admin0 master br0 up",
        "link set br0 up",
        "link set vec1 name cluster0",
        "link set cluster0 up",
        "link set vec2 name service0",
        "link set service0 up",
        f"address add {node.address('admin')}/24 dev br0",
        f"address add {node.address('cluster')}/24 dev cluster0",
        f"address add {node.service_address}/24 dev service0",
    ]
    file = upper / "etc/vm-mgr-lab/start"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(START.format(last=len(NETWORKS), cards="\n".join(cards), outside=" ".join(OUTSIDE)))
    file.chmod(0o755)
