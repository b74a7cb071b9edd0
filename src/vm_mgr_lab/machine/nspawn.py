"""A lab machine as a systemd-nspawn container with a full systemd, over an overlay of the node image.

The overlay is mounted in a mount namespace that ends with the machine, so the host's mount table never
shows it. It is volatile: fsync inside does not wait for the host's disk. A power cut here kills processes,
not the host's kernel, so what a node wrote is there after it, as on a disk with a cache that survives power
loss. The network cards belong to the host's kernel, which would answer for a machine that is off or in its
firmware that nobody listens there: they are on only from the beginning of the boot to its end.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from vm_mgr_lab.cgroup import Cgroup
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.machine.port import INSIDE, SHARE
from vm_mgr_lab.machine.processes import Processes
from vm_mgr_lab.network import cards_command, node_namespace
from vm_mgr_lab.process import run, spawn

__all__ = ["NspawnMachine"]

MOUNT_AND_BOOT = """\
sleep "$3"
$4
rm -rf "$2/work/work/incompat"  # what an earlier volatile mount left, see overlayfs.rst
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work,volatile" "$2/root"
cards_off=$5
shift 5
status=133  # what nspawn returns when the machine was rebooted from inside
while [ "$status" = 133 ]; do
    "$@" && status=0 || status=$?
done
$cards_off
"""
DEVICES = ("/dev/net/tun", "/dev/vhost-net")
POWER_OFF_SIGNAL = "SIGRTMIN+4"  # systemd(1): start poweroff.target


class NspawnMachine(Processes):
    """One node: folder holds upper, work and root; layers are the read-only disks below, topmost first."""

    def __init__(self, name: str, folder: Path, layers: Sequence[Path], *, share: Path, kvm: bool) -> None:
        self._name = name
        self._folder = folder
        self._layers = layers
        self._share = share
        self._kvm = kvm
        super().__init__(Cgroup(name, realtime=True))
        # What is run from outside belongs to the machine too: it must die and hang with it.
        self._visitors = Cgroup(f"{name}/exec")

    def switch_on(self, *, after_s: float = 0) -> None:
        """Start booting after some seconds of firmware, return at once; one that is on is left alone."""
        if self.is_on():
            return
        for part in ("upper", "work", "root"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        self._share.mkdir(parents=True, exist_ok=True)
        self._cgroup.remove()
        self._cgroup.create()
        layers = ":".join(str(layer) for layer in self._layers)
        argv = [
            *self._cgroup.enter_command(),
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            MOUNT_AND_BOOT,
            "sh",
            layers,
            str(self._folder),
            str(after_s),
            *(shlex.join(cards_command(self._name, on=on)) for on in (True, False)),
            *self._nspawn_command(),
        ]
        # On a host with cgroup v1, systemd 257 refuses to boot and libvirt 11 to start a domain without this.
        spawn(argv, console=self._folder / "console.log", env={"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})

    def _nspawn_command(self) -> list[str]:
        devices = [*DEVICES, *(["/dev/kvm"] if self._kvm else [])]
        return [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self._folder / 'root'}",
            f"--machine={self._name}",
            f"--hostname={self._name}",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            f"--network-namespace-path={node_namespace(self._name).path}",
            "--capability=all",
            "--console=pipe",
            f"--bind={self._share}:{SHARE}",
            *(f"--bind={device}" for device in devices if Path(device).exists()),
        ]

    def cut_power(self) -> None:
        """End every process at once; returns when the last one has gone."""
        self._cgroup.kill()
        self._cgroup.freeze(frozen=False)
        self._cgroup.wait_empty(timeout_s=60)
        run(cards_command(self._name, on=False))

    def shut_down(self, *, timeout_s: float) -> None:
        """Ask systemd to power off, and wait until it has."""
        leader = self._leader()
        if leader is not None:
            run(["kill", "-s", POWER_OFF_SIGNAL, str(leader)], check=False)
        self._cgroup.wait_empty(timeout_s=timeout_s)

    def is_booted(self) -> bool:
        """Tell whether systemd is past its early boot."""
        if self._leader() is None:
            return False
        done = run([*self.enter_command(), "systemctl", "is-system-running"], check=False)
        return done.stdout.strip() in {"running", "degraded", "starting"} and "starting" not in done.stdout

    def enter_command(self) -> list[str]:
        """Return a command prefix that runs a program inside, as root; LabError when the machine is off."""
        leader = self._leader()
        if leader is None:
            if self.is_on():
                raise LabError(f"{self._name} is still booting", hint="try again in some seconds")
            raise LabError(f"{self._name} is off", hint=f"vm-mgr-lab power {self._name} on")
        self._visitors.create()
        return [
            *self._visitors.enter_command(),
            "nsenter",
            "-t",
            str(leader),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "-r",
            "-w",
            "--",
            "env",
            "-i",
            *INSIDE,
        ]

    def _leader(self) -> int | None:
        """Return the process that is PID 1 inside, if it has come that far."""
        try:
            pids = (self._cgroup.path / "payload" / "init.scope" / "cgroup.procs").read_text().split()
        except OSError:
            return None
        return int(pids[0]) if pids else None
