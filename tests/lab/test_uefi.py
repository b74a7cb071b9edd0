"""UEFI variables and the TPM: they are where the VM is, whatever has happened to the node that it was on."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until
from vm_mgr_lab.up import wait_ready

from .guest import QUICK, at, node_of
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.turns, pytest.mark.timeout(900)]

MARK = "VmMgrMark -guid 6a1cc03d-4b0e-4a53-8f0e-0f6a5a1f5f01"
# What the firmware's shell runs: it shows the variable that an earlier boot has set, then sets it.
STARTUP = f"""@echo -off
echo VM-MGR-BOOT
dmpstore {MARK}
setvar {MARK} -bs -rt -nv =L"MARKED"
echo VM-MGR-END
"""
LOG = "/var/log/libvirt/qemu/{}uefi.console.log"
DEFINITION = f"""<domain type="qemu"><name>any</name><memory unit="MiB">160</memory>
<os firmware="efi"><type arch="x86_64" machine="q35">hvm</type>
<firmware><feature enabled="no" name="secure-boot"/></firmware></os>
<features><acpi/></features><cpu mode="maximum"/>
<devices><memballoon model="none"/><controller type="usb" model="none"/>
<serial type="pty"><log file="{LOG.format("")}" append="on"/></serial>
<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm></devices></domain>"""
# Commands are run on n1.
HOME, OTHER = "n2", "n3"
NAMES = ("uefi1", "uefi2", "uefi3")
# Without KVM.
BOOT_S = 150


@pytest.fixture
def files(lab: Lab, tmp_path: Path):
    """Lay out a disk that the firmware finds its script on; afterwards nothing of these VMs is left."""
    disk, script = tmp_path / "uefi.raw", tmp_path / "startup.nsh"
    script.write_text(STARTUP.replace("\n", "\r\n"))
    disk.write_bytes(bytes(3 << 20))
    subprocess.run(["mkfs.vfat", "-n", "BOOT", disk], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mcopy", "-i", disk, script, "::startup.nsh"], check=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, f"{disk}.qcow2"], check=True)
    packed = base64.b64encode(Path(f"{disk}.qcow2").read_bytes()).decode()
    lab.execute("n1", ["sh", "-c", "base64 -d >/root/uefi.qcow2"], stdin=packed)
    lab.execute("n1", ["sh", "-c", "cat >/root/uefi.xml"], stdin=DEFINITION)
    yield
    for name in NAMES:
        lab.execute("n1", ["vm-mgr", "remove", name], check=False, timeout_s=120)
    shell(lab, "rm -f /root/uefi.*")
    for node in lab.nodes:
        at(lab, node.name, f"rm -f {LOG.format('*')} /var/log/swtpm/libvirt/qemu/uefi*")
    left = shell(lab, "{ rados -p rbd ls; find /srv/vms; } | grep -E 'uefi|nvram' || true")
    assert left == ""


def printed(lab: Lab, node: str, log: str = "") -> list[str]:
    """Give what the firmware's shell has printed at each boot on a node."""
    text = at(lab, node, f"cat {LOG.format(log)} 2>/dev/null || true")
    return [boot for boot in text.split("VM-MGR-BOOT")[1:] if "VM-MGR-END" in boot]


def finds_mark(lab: Lab, node: str, *, after: int, log: str = "") -> bool:
    """Wait for the boot on this node that comes after so many, and tell whether it has found the mark."""
    wait_until(lambda: len(printed(lab, node, log)) > after, what=f"a boot on {node}", timeout_s=BOOT_S)
    return "DataSize" in printed(lab, node, log)[-1]


def made_tpm(lab: Lab, node: str) -> bool:
    """Tell whether swtpm has made a TPM with keys of its own there; the target of a migration gets them."""
    log = at(lab, node, "cat /var/log/swtpm/libvirt/qemu/uefi1-swtpm.log 2>/dev/null || true")
    return "created RSA 2048 EK" in log


def copies(lab: Lab, node: str, uuid: str) -> list[str]:
    """Name what a node has of the VM's variables and TPM."""
    folders = "/var/lib/libvirt/qemu/nvram /var/lib/libvirt/swtpm"
    found = at(lab, node, f"find {folders} -type f | grep {uuid} || true")
    return [path for path in found.split() if not path.endswith(".lock")]


def is_kept(lab: Lab, storage: str, name: str) -> bool:
    """Tell whether the storage has something."""
    if storage == "vms":
        return "nvram" in shell(lab, f"ls /srv/vms/{name}").split()
    described = json.loads(shell(lab, f"rbd info --format json rbd/system_{name}"))
    keys = f"rados -p rbd listomapkeys vm-mgr.nvram.{described['id']} 2>/dev/null || true"
    return "now" in shell(lab, keys).split()


@pytest.mark.parametrize("storage", ["ceph", "vms"])
def test_boot_entries_and_tpm_are_wherever_the_vm_is(lab: Lab, storage: str, files: None) -> None:
    places = ("--storage", storage, "--preferred-host", HOME)
    live = ("--enable-live-migration", "--migration-user", "root", *QUICK)
    vm_mgr(lab, "create", "uefi1", "--xml", "/root/uefi.xml", "--image", "/root/uefi.qcow2", *places, *live)
    assert node_of(lab, "uefi1") == HOME
    uuid = at(lab, HOME, "virsh -q domuuid uefi1").strip()
    assert not finds_mark(lab, HOME, after=0)
    assert made_tpm(lab, HOME)
    assert len(copies(lab, HOME, uuid)) >= 2
    wait_until(lambda: is_kept(lab, storage, "uefi1"), what="the agent's monitor to keep it", timeout_s=180)

    vm_mgr(lab, "migrate", "uefi1", OTHER)
    assert (copies(lab, HOME, uuid), len(copies(lab, OTHER, uuid)) >= 2) == ([], True)
    vm_mgr(lab, "create-snapshot", "uefi1", "--snap-name", "s1")
    vm_mgr(lab, "stop", "uefi1")
    assert copies(lab, OTHER, uuid) == []
    vm_mgr(lab, "start", "uefi1")
    assert node_of(lab, "uefi1") == HOME
    assert finds_mark(lab, HOME, after=1)

    lab.cut_power(HOME)
    wait_until(lambda: node_of(lab, "uefi1") not in (HOME, ""), what="the recovery", timeout_s=180)
    there = node_of(lab, "uefi1")
    assert finds_mark(lab, there, after=0)
    assert not made_tpm(lab, there)
    lab.power_on(HOME)
    wait_ready(lab, print)

    vm_mgr(lab, "stop", "uefi1")
    vm_mgr(lab, "clone", "uefi1", "--dst-name", "uefi2")
    assert finds_mark(lab, node_of(lab, "uefi2"), after=0, log="uefi2-")
    vm_mgr(lab, "remove", "uefi2")
    vm_mgr(lab, "rollback", "uefi1", "--snap-name", "s1")
    vm_mgr(lab, "disable", "uefi1")
    vm_mgr(lab, "rename", "uefi1", "--new-name", "uefi3")
    assert is_kept(lab, storage, "uefi3")


def test_takeover_brings_variables_and_tpm_and_deletes_nothing(lab: Lab, files: None) -> None:
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        "<source file='/root/uefi.qcow2'/><target dev='vda' bus='virtio'/></disk>"
    )
    xml = DEFINITION.replace(">any<", ">uefi1<").replace("<devices>", f"<devices>{disk}")
    lab.execute("n1", ["sh", "-c", "cat >/root/uefi.xml"], stdin=xml)
    shell(lab, "virsh -q define /root/uefi.xml; virsh -q start uefi1")
    assert not finds_mark(lab, "n1", after=0)
    uuid = shell(lab, "virsh -q domuuid uefi1").strip()
    shell(lab, "virsh -q destroy uefi1")
    # libvirt itself names the variables after the domain.
    had = [*copies(lab, "n1", uuid), *copies(lab, "n1", "uefi1_VARS")]
    assert len(had) >= 2
    vm_mgr(lab, "add-to-cluster", "uefi1", "--preferred-host", OTHER, *QUICK)
    assert [*copies(lab, "n1", uuid), *copies(lab, "n1", "uefi1_VARS")] == had
    assert node_of(lab, "uefi1") == OTHER
    assert finds_mark(lab, OTHER, after=0)
    assert not made_tpm(lab, OTHER)
    shell(lab, "rm -rf " + " ".join(had))
