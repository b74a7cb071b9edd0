"""Find out whether KVM works here, by booting the guest with it: a device file alone proves nothing."""

from collections.abc import Callable
from pathlib import Path

from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import run

__all__ = ["kvm_works"]

ENOUGH_S = 10
PROOF = "kernel-booted"


def kvm_works(paths: Paths, node_image: Path, guest: Path, say: Callable[[str], None]) -> bool:
    """Tell whether a kernel boots under KVM, trying it once per boot of this machine and guest."""
    if not Path("/dev/kvm").exists():
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    verdict = paths.cache / "kvm" / f"{boot}-{guest.name}"
    if not verdict.exists():
        say("trying whether KVM boots a kernel here")
        verdict.parent.mkdir(parents=True, exist_ok=True)
        verdict.write_text("kvm" if _boots(node_image, guest) else "tcg")
    return verdict.read_text() == "kvm"


def _boots(node_image: Path, guest: Path) -> bool:
    """Boot kernel and initrd under KVM in a throw-away copy of the node image."""
    machine = [
        "qemu-system-x86_64",
        "-accel",
        "kvm",
        "-m",
        "192",
        "-nographic",
        "-nodefaults",
        "-serial",
        "stdio",
        "-no-reboot",
        "-kernel",
        "/guest/kernel",
        "-initrd",
        "/guest/initrd",
        "-append",
        "console=ttyS0 quiet panic=-1 rdinit=/bin/busybox -- echo kernel-booted",
    ]
    done = run(
        [
            "systemd-nspawn",
            "--quiet",
            f"--directory={node_image}",
            "--volatile=overlay",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--bind=/dev/kvm",
            f"--bind-ro={guest}:/guest",
            "--pipe",
            "timeout",
            "-s",
            "KILL",
            str(ENOUGH_S),
            *machine,
        ],
        check=False,
        timeout_s=ENOUGH_S + 20,
        env={"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
    )
    return PROOF in done.stdout
