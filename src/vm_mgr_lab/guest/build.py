"""Build the guest: Debian's kernel, busybox, perl and dropbear on a disk with a boot loader of its own.

The disk has an MBR with two partitions: a FAT one that syslinux boots kernel and initramfs from, and a raw
one that the recorder writes to. No loop device or mount is needed to make it.
"""

import hashlib
import lzma
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lxml import etree

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.image import unpack_packages
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import run

__all__ = [
    "BOOT_START",
    "RECORDS_SECTORS",
    "RECORDS_START",
    "base_image",
    "console_log",
    "domain_xml",
    "guest_image",
]

Say = Callable[[str], None]

PACKAGES = ("busybox-static", "dropbear-bin", "linux-image-cloud-amd64", "perl-base")
PROGRAMS = ("bin/busybox", "bin/perl", "sbin/dropbear")
LIBRARIES = (
    "ld-linux-x86-64.so",
    "libc.so",
    "libcrypt.so",
    "libdl.so",
    "libgmp.so",
    "libm.so",
    "libpthread.so",
    "libtomcrypt.so",
    "libtommath.so",
    "libz.so",
)
# In the order they are loaded; those that a kernel has built in are left out.
MODULES = {
    "of-disk": (
        "virtio_ring",
        "virtio",
        "virtio_pci_modern_dev",
        "virtio_pci_legacy_dev",
        "virtio_pci",
        "virtio_blk",
    ),
    "others": ("failover", "net_failover", "virtio_net", "evdev", "button"),
}
SCRIPTS = ("init.sh", "services.sh", "recorder.pl", "power-button.pl")
# Parts of the kernel that are of no use here. Without KVM they are a part of the boot that can be felt.
NO_USE = (
    "jent_mod_init",  # tests another source of randomness
    "load_system_certificate_list",
    "crypto_kdf108_init",  # tests itself
    "trace_eval_init",
)
COMMAND_LINE = " ".join(
    (
        "console=ttyS0 quiet panic=1 tsc=unstable",
        # With one processor the kernel need not rewrite its locked instructions.
        "noreplace-smp",
        "nokaslr mitigations=off init_on_alloc=0 lsm=capability audit=0 no_timer_check edd=off",
        "pcie_ports=compat 8250.nr_uarts=1",
        f"cryptomgr.notests initcall_blacklist={','.join(NO_USE)}",
    )
)

SECTOR = 512
BOOT_START, BOOT_SECTORS = 2048, 40 * 2048
RECORDS_START, RECORDS_SECTORS = BOOT_START + BOOT_SECTORS, 32 * 2048
DISK_SECTORS = RECORDS_START + RECORDS_SECTORS + 2048
MBR_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")


def base_image(paths: Paths, suite: str, say: Say) -> Path:
    """Return a folder with the guest's kernel and initrd, building it when it isn't cached."""
    here = Path(__file__).parent
    sources = [Path(__file__).read_bytes(), *((here / script).read_bytes() for script in SCRIPTS)]
    key = hashlib.sha256(b"\0".join([suite.encode(), *sources])).hexdigest()[:12]
    folder = paths.cache / "guests" / f"{suite}-{key}"
    if not folder.exists():
        say("building the guest (kernel, busybox, dropbear, recorder; once)")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch:
            unpacked, draft = Path(scratch) / "unpacked", Path(scratch) / "guest"
            unpack_packages(PACKAGES, suite, unpacked, say)
            draft.mkdir()
            shutil.copy(_only(unpacked / "boot", "vmlinuz-*"), draft / "kernel")
            _pack(_lay_out(unpacked, Path(scratch) / "tree"), Path(scratch) / "cpio")
            # The boot loader reads slowly, and unpacking what another program packs takes the kernel longer.
            run(["lz4", "--quiet", "-l", "-9", Path(scratch) / "cpio", draft / "initrd"])
            draft.rename(folder)
    return folder


def guest_image(paths: Paths, suite: str, target: Path, say: Say) -> None:
    """Write a qcow2 with the guest that opens to the lab's ssh key."""
    base = base_image(paths, suite, say)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.cache) as scratch:
        tree, raw = Path(scratch) / "key", Path(scratch) / "disk.raw"
        (tree / "root" / ".ssh").mkdir(parents=True)
        shutil.copy(paths.ssh_key.with_suffix(".pub"), tree / "root" / ".ssh" / "authorized_keys")
        _pack(tree, Path(scratch) / "key.cpio")
        _write_disk(raw, base, Path(scratch) / "key.cpio")
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, target])


def domain_xml(*, mac_byte: int, kvm: bool, bridge: str = "br0", memory_mib: int = 192) -> str:
    """Return the libvirt domain of a guest with the address 192.0.2.MAC_BYTE; it does not name its disk."""
    domain = etree.Element("domain", type="kvm" if kvm else "qemu")
    _add(domain, "name", text="guest")
    _add(domain, "memory", text=str(memory_mib), unit="MiB")
    _add(domain, "vcpu", text="1")
    os = _add(domain, "os")
    _add(os, "type", text="hvm", arch="x86_64", machine="q35")
    _add(os, "boot", dev="hd")
    _add(_add(domain, "features"), "acpi")
    # Without KVM a boot takes a tenth less with all that QEMU can emulate.
    _add(domain, "cpu", mode="host-model" if kvm else "maximum")
    _add(domain, "on_crash", text="destroy")
    devices = _add(domain, "devices")
    card = _add(devices, "interface", type="bridge")
    _add(card, "mac", address=f"52:54:00:00:00:{mac_byte:02x}")
    _add(card, "source", bridge=bridge)
    _add(card, "model", type="virtio")
    _add(card, "rom", enabled="no")  # nothing that the firmware has to start, as it boots from the disk
    _add(devices, "controller", type="usb", model="none")
    serial = _add(devices, "serial", type="pty")
    _add(serial, "log", file=console_log(mac_byte), append="on")
    _add(devices, "memballoon", model="none")
    return str(etree.tostring(domain, pretty_print=True, encoding="unicode"))


def console_log(mac_byte: int) -> str:
    """Return the file, on the node that runs it, with all that a guest printed."""
    return f"/var/log/libvirt/qemu/guest-{mac_byte}.console.log"


def _add(parent: etree._Element, tag: str, *, text: str | None = None, **attributes: str) -> etree._Element:
    child = etree.SubElement(parent, tag, attributes)
    child.text = text
    return child


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise LabError(f"the guest's packages have no {pattern}", hint="a Debian amd64 suite is needed")
    return found[-1]


def _lay_out(unpacked: Path, tree: Path) -> Path:
    """Copy what the guest needs into a tree of its own and return it."""
    for folder in (
        "bin",
        "sbin",
        "lib64",
        "lib/x86_64-linux-gnu",
        "modules",
        "root/.ssh",
        "etc/dropbear",
        *("proc", "sys", "dev", "run", "tmp", "var/run", "var/log"),
    ):
        (tree / folder).mkdir(parents=True)
    for program in PROGRAMS:
        shutil.copy(_first(unpacked, program), tree / program)
    for libraries in (unpacked / "usr/lib/x86_64-linux-gnu", unpacked / "lib/x86_64-linux-gnu"):
        for file in libraries.glob("*.so*"):
            if file.name.startswith(LIBRARIES):
                shutil.copy(file, tree / "lib/x86_64-linux-gnu" / file.name, follow_symlinks=False)
    (tree / "lib64/ld-linux-x86-64.so.2").symlink_to("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    for kind, names in MODULES.items():
        _copy_modules(unpacked, tree / "modules", kind, names)
    for script in SCRIPTS:
        shutil.copy(Path(__file__).parent / script, tree)
        (tree / script).chmod(0o755)
    (tree / "init").symlink_to("init.sh")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "etc/shells").write_text("/bin/sh\n")
    return tree


def _first(unpacked: Path, program: str) -> Path:
    return next(path for path in (unpacked / "usr" / program, unpacked / program) if path.exists())


def _copy_modules(unpacked: Path, target: Path, kind: str, names: tuple[str, ...]) -> None:
    """Copy and unpack the modules of a kind that exist, and list them in the order of loading."""
    order = []
    for name in names:
        for folder in (unpacked / "usr/lib/modules", unpacked / "lib/modules"):
            for file in folder.rglob(f"{name}.ko*"):
                packed = file.read_bytes()
                (target / f"{name}.ko").write_bytes(
                    lzma.decompress(packed) if file.suffix == ".xz" else packed
                )
                order.append(f"{name}.ko")
    (target / kind).write_text("".join(f"{name}\n" for name in dict.fromkeys(order)))


def _pack(tree: Path, target: Path) -> None:
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))) + "\n"
    shell = f'cd "{tree}" && cpio --quiet -o -H newc -R 0:0 > "{target}"'
    run(["sh", "-c", shell], stdin=names)


def _write_disk(raw: Path, base: Path, key: Path) -> None:
    with raw.open("wb") as disk:
        disk.truncate(DISK_SECTORS * SECTOR)
        disk.write(MBR_CODE.read_bytes())
    table = (
        f"label: dos\nstart={BOOT_START}, size={BOOT_SECTORS}, type=c, bootable\n"
        f"start={RECORDS_START}, size={RECORDS_SECTORS}, type=da\n"
    )
    run(["sfdisk", "--quiet", raw], stdin=table)
    offset = BOOT_START * SECTOR
    # Large clusters: the boot loader looks up each of a file's.
    run(["mkfs.vfat", "-n", "BOOT", "-s", "64", f"--offset={BOOT_START}", raw, str(BOOT_SECTORS // 2)])
    run(["syslinux", "--offset", str(offset), "--install", raw])
    # The key first: what follows a file that lz4 has packed is taken for more of it.
    config = (
        f"DEFAULT guest\nLABEL guest\n  KERNEL kernel\n  INITRD key.cpio,initrd\n  APPEND {COMMAND_LINE}\n"
    )
    for source, name in ((base / "kernel", "kernel"), (base / "initrd", "initrd"), (key, "key.cpio")):
        run(["mcopy", "-i", f"{raw}@@{offset}", source, f"::{name}"])
    run(["mcopy", "-i", f"{raw}@@{offset}", "-", "::syslinux.cfg"], stdin=config)
