"""What a definition requires of nodes: read from it, looked for on a node, and asked before a VM is made."""

import json
import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.libvirt.node_facts import LocalFacts, RemoteFacts
from vm_mgr.adapters.pacemaker import cib_write, requirements
from vm_mgr.adapters.pacemaker.cib_read import read_configured
from vm_mgr.agent.actions import ACTIONS
from vm_mgr.agent.parameters import Parameters
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.requirement_words import cure, requirement, text, word
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.add_to_cluster import Takeover, add_to_cluster
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import disable
from vm_mgr.operations.edit import edit
from vm_mgr.operations.enable import enable, resource_for
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.show import show
from vm_mgr.operations.stop import stop
from vm_mgr.operations.support.requirements import UNFIT
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.runner import Completed

from .conftest import DOMAIN

WHOLE = """<domain type='{kind}'><name>x</name>{top}<memory unit='MiB'>64</memory>
<os{firmware}><type{type}>hvm</type>{os}</os><devices>{devices}</devices></domain>"""
ISO = "<disk type='file' device='cdrom'><source file='/var/tmp/inst.iso'{}/><target dev='sdb'/></disk>"
MEDIUM = "has-medium-__var__tmp__inst.iso"
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"


def domain(devices="", *, os="", top="", firmware="", kind="qemu", arch="", machine=""):
    words = "".join(f" {key}='{value}'" for key, value in (("arch", arch), ("machine", machine)) if value)
    given = {"kind": kind, "top": top, "firmware": firmware and f" firmware='{firmware}'", "type": words}
    return WHOLE.format(os=os, devices=devices, **given)


def interface(kind, inner, tail=""):
    return f"<interface type='{kind}'>{inner}</interface>{tail}"


def secret(kind, attribute):
    auth = f"<auth username='u'><secret type='{kind}' {attribute}/></auth>"
    return f"<disk type='network'>{auth}<source protocol='x' name='y'/></disk>"


def pci(bus):
    return f"<source><address domain='0x0000' bus='{bus}' slot='0x00' function='0x1'/></source>"


USB = """<hostdev mode='subsystem' type='usb'>
<source{}><vendor id='0x1d6b'/><product id='0x0002'/></source></hostdev>"""
PINS = "<vcpupin vcpu='0' cpuset='2,9'/><emulatorpin cpuset='1'/>"
LISTENS = "<graphics type='vnc' listen='{0}'><listen type='address' address='{0}'/></graphics>"
LESS = "<feature policy='disable' name='hle'/>"
SKYLAKE = "<cpu mode='custom'><model>Skylake-Client</model>{}</cpu>"
SOCKET = "<channel type='unix'><source mode='{}' path='/a.sock'/></channel>"
RANDOM = "<rng model='virtio'><backend model='random'>{}</backend></rng>"
VOLUME = "<disk type='volume'><source pool='fast' volume='data 1'{}/><target dev='vdb'/></disk>"
SCSI = "<adapter name='scsi_host1'/><address bus='0' target='3' unit='4'/>"
RESERVATIONS = """<disk type='block' device='lun'><source dev='/d'><reservations managed='{}'>
<source type='unix' path='/pr.sock' mode='client'/></reservations></source></disk>"""
REQUIRED = [
    (domain(interface("ethernet", "<target dev='ovsp1' managed='no'/>")), ["link-ovsp1"]),
    (domain(interface("ethernet", "<target dev='tap1'/>")), []),  # libvirt makes it
    (domain(interface("direct", "<source dev='eno1' mode='bridge'/>")), ["link-eno1"]),
    (domain(interface("bridge", "<source bridge='ovs0'/><virtualport type='openvswitch'/>")), ["link-ovs0"]),
    (domain(interface("network", "<source network='my net'/>")), [word("has-network", "my net")]),
    (domain(interface("hostdev", pci("0x05"))), [word("has-pci", "0000:05:00.1")]),
    (domain(f"<hostdev type='pci'>{pci('0xaf')}</hostdev>"), [word("has-pci", "0000:af:00.1")]),
    (domain(f"<disk type='nvme'>{pci('0x06')}<target dev='vda'/></disk>"), [word("has-pci", "0000:06:00.1")]),
    (domain(USB.format("")), [word("has-usb", "1d6b:0002")]),
    (domain(USB.format(" startupPolicy='optional'")), []),
    (domain(USB.format(" startupPolicy='requisite'")), [word("has-usb", "1d6b:0002")]),
    (domain("<hostdev mode='subsystem' type='mdev'><source><address uuid='AB-1'/></source></hostdev>"),
     [word("has-mdev", "ab-1")]),
    (domain(top="<memoryBacking><hugepages/></memoryBacking>"), ["has-hugepages-default-65536"]),
    (domain(top="<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>"),
     ["has-hugepages-1048576-65536"]),
    (domain(top="<memoryBacking><hugepages><page size='2048'/><page size='4'/></hugepages></memoryBacking>"),
     ["has-hugepages-2048-0", "has-hugepages-4-0"]),
    (domain(top=f"<vcpu cpuset='0-3'>1</vcpu><cputune>{PINS}</cputune>"), ["has-cpu-9"]),
    (domain(top="<numatune><memory mode='strict' nodeset='0-1'/></numatune>"), ["has-numa-1"]),
    (domain(top="<numatune><memory mode='preferred' nodeset='1'/></numatune>"), []),
    (domain(LISTENS.format("192.0.2.1")), ["has-address-192.0.2.1"]),
    (domain(LISTENS.format("::")), []),
    (domain("<graphics><listen type='network' network='front'/></graphics>"), ["has-network-front"]),
    (domain("<graphics type='spice'/>"), ["has-spice"]),
    (domain("<redirdev bus='usb' type='spicevmc'/>"), ["has-spice"]),
    (domain("<video><model type='qxl'/></video>"), ["has-qxl"]),
    (domain(TPM), ["has-tpm"]),
    (domain("<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>"),
     [word("has-file", "/dev/tpm0")]),
    (domain("<filesystem><driver type='virtiofs'/><source dir='/srv/x'/><target dir='x'/></filesystem>"),
     ["has-virtiofs", word("has-file", "/srv/x")]),
    (domain("<filesystem><driver type='virtiofs'/><binary path='/opt/v'/><source dir='/s'/></filesystem>"),
     [word("has-file", "/opt/v"), word("has-file", "/s")]),
    (domain(firmware="efi", arch="x86_64"), [word("has-efi", "x86_64")]),
    (domain(firmware="bios"), []),
    (domain(os="<loader type='pflash'>/c.fd</loader><nvram template='/v.fd'>/var/n.fd</nvram>"),
     [word("has-file", "/c.fd"), word("has-file", "/v.fd")]),
    (domain(os="<kernel>/k</kernel><initrd>/i</initrd><dtb>/d</dtb>"),
     [word("has-file", one) for one in ("/d", "/i", "/k")]),
    (domain("<disk type='block'><source dev='/dev/sdq'/><target dev='vda'/></disk>"),
     [word("has-file", "/dev/sdq")]),
    (domain("<disk type='file'><source file='/a' startupPolicy='optional'/><target dev='vda'/></disk>"), []),
    (domain(ISO.format("")), [MEDIUM]),
    (domain(ISO.format(" startupPolicy='mandatory'")), [word("has-file", "/var/tmp/inst.iso")]),
    (domain(ISO.format(" startupPolicy='requisite'")), [word("has-file", "/var/tmp/inst.iso")]),
    (domain("<disk type='file' device='floppy'><source file='/f'/><target dev='fda'/></disk>"),
     [word("has-medium", "/f")]),
    (domain("<disk type='network' device='cdrom'><source protocol='rbd' name='p/i'/></disk>"), []),
    (domain("<disk type='file' device='cdrom'><target dev='sda'/></disk>"), []),
    (domain("<serial type='dev'><source path='/dev/ttyS7'/></serial>"), [word("has-file", "/dev/ttyS7")]),
    (domain("<serial type='pty'><source path='/dev/pts/7'/></serial>"), []),
    (domain(SOCKET.format("connect")), [word("has-file", "/a.sock")]),
    (domain(SOCKET.format("bind")), []),
    (domain(RANDOM.format("/dev/hwrng")), [word("has-file", "/dev/hwrng")]),
    (domain(RANDOM.format("/dev/urandom")), []),
    (domain("<emulator>/usr/bin/qemu-system-x86_64</emulator>"), []),
    (domain("<emulator>/usr/bin/qemu-system-arm</emulator>"), [word("has-file", "/usr/bin/qemu-system-arm")]),
    (domain(interface("user", "<model type='virtoi'/>"), arch="x86_64"), [word("has-nic", "x86_64-virtoi")]),
    (domain(interface("user", "<model type='virtio'/>"), arch="x86_64"), []),
    (domain(kind="kvm", arch="x86_64", top=SKYLAKE.format("")),
     ["kvm", word("has-model", "kvm-x86_64-Skylake-Client")]),
    (domain(VOLUME.format("")), [word("has-volume", "fast/data 1")]),
    (domain(VOLUME.format(" startupPolicy='optional'")), []),
    (domain(interface("bridge", "<source bridge='br0'/><filterref filter='clean-traffic'/>")),
     ["bridge-br0", "has-nwfilter-clean-traffic"]),
    (domain(secret("ceph", "uuid='0A-1'")), [word("has-secret", "0a-1")]),
    (domain(secret("iscsi", "usage='my target'")), [word("has-secret", "iscsi/my target")]),
    (domain(secret("ceph", "usage='client.libvirt secret'")), []),  # the deployment's own
    (domain("<tpm><backend type='emulator'><encryption secret='0A-1'/></backend></tpm>"),
     [word("has-secret", "0a-1"), "has-tpm"]),
    (domain(interface("user", "<backend type='passt'/><source dev='eno1'/>")), ["link-eno1", "has-passt"]),
    (domain(interface("user", "<portForward proto='tcp' address='192.0.2.1' dev='eno2'/>")),
     ["link-eno2", "has-address-192.0.2.1"]),
    # libvirt makes the socket.
    (domain(interface("vhostuser", "<backend type='passt'/><source path='/run/p' mode='client'/>")),
     ["has-passt"]),
    (domain(interface("vhostuser", "<source type='unix' path='/o' mode='client'/>")),
     [word("has-file", "/o")]),
    (domain(interface("vhostuser", "<source type='unix' path='/o' mode='server'/>")), []),
    # Open vSwitch makes the folder, and QEMU the socket in it.
    (domain(interface("vhostuser", "<source type='unix' path='/run/ovs/o' mode='server'/>")),
     [word("has-file", "/run/ovs")]),
    (domain(interface("vdpa", "<source dev='/dev/vhost-vdpa-0'/>")), [word("has-file", "/dev/vhost-vdpa-0")]),
    (domain(interface("server", "<source address='192.0.2.1' port='5558'/>")), ["has-address-192.0.2.1"]),
    (domain(interface("udp", "<source address='192.0.2.9'><local address='192.0.2.1'/></source>")),
     ["has-address-192.0.2.1"]),
    (domain(interface("ethernet", "<script path='/etc/up'/><backend tap='/dev/t' vhost='/dev/v'/>")),
     [word("has-file", one) for one in ("/dev/t", "/dev/v", "/etc/up")]),
    (domain(f"<hostdev type='scsi'><source>{SCSI}</source></hostdev>"), [word("has-scsi", "1:0:3:4")]),
    (domain("<hostdev type='scsi_host'><source protocol='vhost' wwpn='naa.5'/></hostdev>"),
     [word("has-file", "/sys/kernel/config/target/vhost/naa.5")]),
    (domain("<hostdev type='usb'><source><address bus='1' device='4'/></source></hostdev>"),
     [word("has-file", "/dev/bus/usb/001/004")]),
    (domain("<vsock><cid auto='yes'/></vsock>"), [word("has-file", "/dev/vhost-vsock")]),
    (domain(top="<launchSecurity type='sev-snp'/>"), [word("has-file", "/dev/sev")]),
    (domain(top="<cputune><cachetune vcpus='0'/></cputune>"), [word("has-file", "/sys/fs/resctrl/info")]),
    (domain(top="<blkiotune><device><path>/dev/sdq</path></device></blkiotune>"),
     [word("has-file", "/dev/sdq")]),
    (domain(top="<numatune><memnode cellid='0' mode='strict' nodeset='3'/></numatune>"), ["has-numa-3"]),
    (domain("<tpm><backend type='external'><source type='unix' mode='connect' path='/t'/></backend></tpm>"),
     [word("has-file", "/t")]),
    (domain(RESERVATIONS.format("no")), [word("has-file", "/d"), word("has-file", "/pr.sock")]),
    (domain(RESERVATIONS.format("yes")), [word("has-file", "/d")]),  # libvirt makes the socket
    (domain("<video><model type='virtio'><acceleration accel3d='yes'/></model></video>", arch="x86_64"),
     [word("has-gl", "x86_64")]),
    (domain(top="<seclabel type='static' model='selinux'/><seclabel type='dynamic' model='dac'/>"),
     ["has-secmodel-selinux"]),
    (domain(top="<seclabel type='none' model='selinux'/>"), []),
    # A model that is there in part may do.
    (domain(kind="kvm", arch="x86_64", top=SKYLAKE.format(LESS)), ["kvm"]),
    (domain(kind="kvm", arch="x86_64", top="<cpu mode='host-passthrough'/>"), ["kvm"]),
    (domain(kind="kvm", arch="x86_64", top="<cpu check='none'><model>qemu64</model></cpu>"), ["kvm"]),
]  # fmt: skip


@pytest.mark.parametrize(("xml", "required"), REQUIRED)
def test_definition_is_read_into_what_only_some_nodes_have(xml, required):
    assert list(DomainXml().requirements(xml)) == required
    for one in required:
        assert requirement(one) is not None
        assert text(one)
        assert cure(one)


def test_paths_in_folders_that_all_nodes_mount_are_everywhere():
    xml = domain(ISO.format("").replace("/var/tmp", "/srv/vms"), os="<kernel>/srv/vms/k</kernel>")
    assert DomainXml(lambda: ["/srv/vms/"]).requirements(xml) == ()


@pytest.mark.parametrize(
    "path", ["/a b", "/ü/日", "/x_y-z.iso", "/a__b", "/_2f", "/%2f;$(reboot)'\"", "/" + "d" * 300]
)
def test_any_path_is_a_safe_word_and_is_read_again(path):
    one = word("has-file", path)
    assert not set(one) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    assert requirement(one).of == path


@pytest.mark.parametrize(
    "one", ["has-hugepages-x", "has-hugepages-2048", "has-model-a", "machine-x", "has-file-_zz"]
)
def test_word_that_makes_no_sense_is_shown_all_the_same(one):
    """Whoever may write attributes, or rules, may write anything."""
    assert text(one)
    assert cure(one) is not None


class TestCib:
    @pytest.fixture
    def cib(self):
        return cib_write.parse_cib(
            "<cib epoch='4' num_updates='7'><configuration><crm_config/><nodes/><resources/><constraints/>"
            "</configuration></cib>"
        )

    def scores(self, cib):
        return {one.get("id"): one[0].get("score") for one in cib.iter("rsc_location")}

    def test_medium_is_published_and_weighs_nothing(self, cib):
        asked = ("has-tpm", MEDIUM)
        cib_write.add_vm(cib, VmResource("web1", TargetRole.STARTED, requirements=asked))
        assert self.scores(cib) == {
            "vm-mgr-fits-web1..has-tpm": "100000",
            f"vm-mgr-fits-web1..{MEDIUM}": "0",
        }
        assert read_configured(cib, "web1").vm.requirements == asked

    def test_what_has_too_long_a_name_has_no_rule(self, cib):
        asked = ("kvm", word("has-file", "/" + "d" * 300))
        cib_write.add_vm(cib, VmResource("web1", TargetRole.STARTED, requirements=asked))
        assert read_configured(cib, "web1").vm.requirements == ("kvm",)
        before = etree.tostring(cib)
        requirements.change_rules(cib, "web1", asked, follow_uplink=True)
        assert etree.tostring(cib) == before, "nothing has changed, so nothing is written"


class FakeHost:
    """libvirt as far as it is asked; it is its own binding and its own connection."""

    VIR_ERR_NO_NETWORK, VIR_ERR_NO_STORAGE_POOL, VIR_ERR_NO_STORAGE_VOL = 43, 49, 50
    VIR_ERR_NO_NWFILTER, VIR_ERR_NO_SECRET = 62, 66
    VIR_SECRET_USAGE_TYPE_VOLUME, VIR_SECRET_USAGE_TYPE_ISCSI = 1, 3

    class libvirtError(Exception):  # noqa: N801 - as the binding has it
        def __init__(self, code, said="sorry"):
            super().__init__(said)
            self.code = code

        def get_error_code(self):
            return self.code

    def __init__(self):
        self.networks = {"default": True, "idle": False}
        self.pools = {"fast": ["data 1"], "idle": None}
        self.capabilities = "<domainCapabilities/>"
        self.argv_error = None
        self.asked = []

    def getHostname(self):  # noqa: N802
        return "n1"

    def networkLookupByName(self, name):  # noqa: N802
        if name not in self.networks:
            raise self.libvirtError(self.VIR_ERR_NO_NETWORK)
        return SimpleNamespace(isActive=lambda: self.networks[name])

    def storagePoolLookupByName(self, name):  # noqa: N802
        if name not in self.pools:
            raise self.libvirtError(self.VIR_ERR_NO_STORAGE_POOL)
        volumes = self.pools[name]

        def look(volume):
            if volume not in volumes:
                raise self.libvirtError(self.VIR_ERR_NO_STORAGE_VOL)

        return SimpleNamespace(isActive=lambda: volumes is not None, storageVolLookupByName=look)

    def nwfilterLookupByName(self, name):  # noqa: N802
        if name != "clean-traffic":
            raise self.libvirtError(self.VIR_ERR_NO_NWFILTER)

    def secretLookupByUUIDString(self, uuid):  # noqa: N802
        if uuid != "0a-1":
            raise self.libvirtError(self.VIR_ERR_NO_SECRET)

    def secretLookupByUsage(self, kind, usage):  # noqa: N802
        if (kind, usage) != (self.VIR_SECRET_USAGE_TYPE_ISCSI, "my target"):
            raise self.libvirtError(self.VIR_ERR_NO_SECRET)

    def getCapabilities(self):  # noqa: N802
        models = "".join(f"<secmodel><model>{one}</model></secmodel>" for one in ("apparmor", "dac"))
        return f"<capabilities><host>{models}</host></capabilities>"

    def getDomainCapabilities(self, *given):  # noqa: N802
        self.asked.append(given)
        if self.capabilities is None:
            raise self.libvirtError(8)
        return self.capabilities

    def domainXMLToNative(self, kind, _xml, _flags):  # noqa: N802
        assert kind == "qemu-argv"
        if self.argv_error:
            raise self.argv_error


class FakeConnection:
    def __init__(self, host):
        self.libvirt = host
        self.down = False

    def host(self, _libvirt):
        return self.libvirt

    def call(self, function, _timeout_s):
        if self.down:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")
        return function(self.libvirt)


class FakeQemu:
    def __init__(self):
        self.ran = []

    def run(self, argv, *, timeout_s):
        self.ran.append(argv)
        if argv[0] != "/usr/bin/qemu-system-x86_64":
            raise VmMgrError(Kind.ENVIRONMENT, "not installed")
        told = {
            "-machine": "Supported machines are:\npc-q35-9.2   PC\n",
            "-device": 'name "virtio-net-pci", bus PCI\nname "virtio-gpu-gl-pci", bus PCI\n',
        }
        return Completed(argv, 0, told[argv[1]], "")


@pytest.fixture
def facts(tmp_path):
    for path, content in {
        "sys/devices/system/cpu/online": "0-3,8\n",
        "sys/devices/system/node/node0/x": "",
        "sys/bus/pci/devices/0000:05:00.0/x": "",
        "sys/bus/usb/devices/1-1/idVendor": "1d6b\n",
        "sys/bus/usb/devices/1-1/idProduct": "0002\n",
        "sys/bus/mdev/devices/ab-1/x": "",
        "sys/bus/scsi/devices/1:0:3:4/x": "",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "40\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages": "0\n",
        "proc/meminfo": "MemTotal: 1 kB\nHugepagesize:       2048 kB\n",
        "etc/qemu/vhost-user/50.json": json.dumps({"type": "fs", "binary": "/usr/libexec/virtiofsd"}),
        "a b": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    return LocalFacts(FakeQemu(), FakeConnection(FakeHost()), root=tmp_path)


CAPABILITIES = """<domainCapabilities><os><enum name='firmware'>{efi}</enum></os>
<cpu><mode name='custom'><model usable='yes'>A</model><model usable='no'>B</model>
<model usable='unknown'>C</model></mode></cpu>
<devices><graphics><enum name='type'><value>vnc</value>{spice}</enum></graphics>
<video><enum name='modelType'><value>vga</value></enum></video></devices></domainCapabilities>"""


class TestNode:
    def answers(self, facts, *words):
        found = facts.answers(words)
        return [found.get(one) for one in words]

    @pytest.mark.parametrize(
        ("there", "missing", "unknown"),
        [
            ([word("has-file", "/a b")], [word("has-file", "/gone"), word("has-file", "/a b/c")], []),
            ([word("has-medium", "/a b")], [word("has-medium", "/gone.iso")], []),
            (["link-lo", "bridge-lo"], ["link-nosuchif", "bridge-nosuchif"], []),
            (["has-cpu-3", "has-cpu-8"], ["has-cpu-4", "has-cpu-9"], ["has-cpu-x"]),
            (["has-numa-0"], ["has-numa-1"], []),
            ([word("has-pci", "0000:05:00.0")], [word("has-pci", "0000:05:00.1")], []),
            ([word("has-usb", "1d6b:0002")], [word("has-usb", "1d6b:0003")], []),
            (["has-mdev-ab-1"], ["has-mdev-ab-2"], []),
            (["has-hugepages-2048-81920", "has-hugepages-default-0"],
             ["has-hugepages-2048-81921", "has-hugepages-1048576-0"], ["has-hugepages-x"]),
            (["has-address-127.0.0.1"], ["has-address-192.0.2.99"], ["has-address-1.2"]),
            (["has-network-default"], ["has-network-idle", "has-network-none"], []),
            ([word("has-volume", "fast/data 1")],
             [word("has-volume", one) for one in ("fast/data 2", "idle/data 1", "none/data 1")], []),
            (["has-nwfilter-clean-traffic"], ["has-nwfilter-mine"], []),
            ([word("has-secret", "0a-1"), word("has-secret", "iscsi/my target")],
             [word("has-secret", "0a-2"), word("has-secret", "passphrase/x")], [word("has-secret", "odd/x")]),
            (["has-secmodel-apparmor"], ["has-secmodel-selinux"], []),
            ([word("has-scsi", "1:0:3:4")], [word("has-scsi", "2:0:3:4")], []),
            ([word("has-gl", "x86_64")], [], ["has-gl-sparc"]),
            (["machine-x86_64-pc-q35-9.2"], ["machine-x86_64-pc-q35-9.20"], ["machine-sparc-SS-5.0"]),
            ([word("has-nic", "x86_64-virtio-net-pci")], [word("has-nic", "x86_64-virtoi")], []),
            ([], ["kvm"], ["has-tea-pot", "role"]),
        ],
    )  # fmt: skip
    def test_kernel_files_and_programs_are_looked_at(self, facts, there, missing, unknown):
        words = [*there, *missing, *unknown]
        expected = ["2"] * len(there) + ["0"] * len(missing) + [None] * len(unknown)
        assert self.answers(facts, *words) == expected

    @pytest.mark.parametrize("has", [True, False])
    def test_libvirts_capabilities_are_read(self, facts, has):
        given = (
            {"efi": "<value>efi</value>", "spice": "<value>spice</value>"}
            if has
            else {"efi": "", "spice": ""}
        )
        facts.connection.libvirt.capabilities = CAPABILITIES.format(**given)
        answer = "2" if has else "0"
        assert self.answers(facts, word("has-efi", "x86_64"), "has-efi", "has-spice", "has-qxl") == [
            *[answer] * 3,
            "0",
        ]
        models = [word("has-model", f"kvm-x86_64-{one}") for one in "ABCD"]
        assert self.answers(facts, *models) == ["2", "0", None, None]

    @pytest.mark.parametrize("broken", ["down", "refuses", "older"])
    def test_libvirt_that_can_not_tell_says_nothing(self, facts, broken):
        facts.connection.down = broken == "down"
        if broken == "refuses":
            facts.connection.libvirt.capabilities = None
        assert self.answers(facts, "has-efi", "has-spice", word("has-file", "/a b")) == [None, None, "2"]

    def test_virtiofsd_is_where_its_description_says(self, facts, tmp_path):
        assert self.answers(facts, "has-virtiofs") == ["0"]
        (tmp_path / "usr/libexec").mkdir(parents=True)
        (tmp_path / "usr/libexec/virtiofsd").touch()
        assert self.answers(facts, "has-virtiofs") == ["2"]
        (tmp_path / "etc/qemu/vhost-user/50.json").write_text("[")
        assert self.answers(facts, "has-virtiofs") == ["0"]

    @pytest.mark.parametrize("missing", ["", "swtpm", "swtpm_setup"])
    def test_swtpm_needs_both_of_its_programs(self, facts, monkeypatch, missing):
        monkeypatch.setattr(shutil, "which", lambda one: None if one == missing else f"/usr/bin/{one}")
        assert self.answers(facts, "has-tpm") == ["0" if missing else "2"]

    @pytest.mark.parametrize("there", [True, False])
    def test_passt_is_a_program(self, facts, monkeypatch, there):
        monkeypatch.setattr(shutil, "which", lambda one: f"/usr/bin/{one}" if there else None)
        assert self.answers(facts, "has-passt") == ["2" if there else "0"]

    def test_file_system_that_fails_is_not_known(self, facts, monkeypatch):
        def fail(_path, **_named):
            raise PermissionError(13, "no")

        monkeypatch.setattr(Path, "stat", fail)
        assert self.answers(facts, word("has-file", "/a b")) == [None]

    def test_qemu_is_run_once_for_all_its_types(self, facts):
        self.answers(facts, "machine-x86_64-pc-q35-9.2", "machine-x86_64-pc-q35-8.0")
        assert len(facts.runner.ran) == 1

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            *((code, Kind.INVALID) for code in (27, 35, 92)),
            *((code, Kind.NOT_SUPPORTED) for code in (9, 16, 67, 91)),
            *((code, None) for code in (1, 38, 49)),
        ],
    )
    def test_definition_is_read_by_libvirt_without_a_trace(self, facts, code, kind):
        assert facts.rejection(DOMAIN) is None
        facts.connection.libvirt.argv_error = FakeHost.libvirtError(code, "missing\n <memory>")
        found = facts.rejection(DOMAIN)
        assert (found and found.kind) == kind
        assert found is None or "missing <memory>" in found.message, "in one line"
        facts.connection.down = True
        assert facts.rejection(DOMAIN) is None

    def test_another_node_is_asked_in_one_call(self):
        calls = []

        def run(node, verb, *words):
            calls.append((node, verb.value, words))
            return "kvm=0 has-tpm=2 other=2 kvm2=7"

        facts = RemoteFacts(SimpleNamespace(run=run), "n2", None)
        assert facts.answers(["kvm", "has-tpm", "has-efi"]) == {"kvm": "0", "has-tpm": "2"}
        assert facts.answers([]) == {}
        assert calls == [("n2", "has", ("kvm", "has-tpm", "has-efi"))]


KERNEL = word("has-file", "/k")


def lack(env, *words, nodes=("n1", "n2", "n3")):
    for node in nodes:
        env.facts_at(node).lacks |= set(words)


def notes(env, code):
    return [one.message for one in env.said if getattr(one, "code", "") == code]


@pytest.fixture
def request_(image):
    return CreateRequest("web1", domain(os="<kernel>/k</kernel>"), (image,))


class TestCreate:
    def test_what_no_node_has_is_refused_before_anything_is_copied(self, env, request_):
        lack(env, KERNEL)
        with pytest.raises(VmMgrError) as caught:
            create(env, request_)
        said = [one.message for one in (caught.value, *caught.value.others)]
        assert said == [
            *(f"{node} can't start web1: it lacks /k" for node in ("n1", "n2", "n3")),
            "no node can start web1 now",
        ]
        assert UNFIT in caught.value.others[-1].hint
        assert not env.storage.definitions.exists("web1")
        assert not env.intent_log.intents()
        assert "web1" not in env.cluster.resources

    def test_nodes_that_lack_it_are_named_with_the_cure(self, env, request_):
        lack(env, KERNEL, nodes=("n2",))
        create(env, request_)
        (one,) = [note for note in env.said if getattr(note, "code", "") == "node-unfit"]
        assert "n2 can't start web1: it lacks /k" in one.message
        assert one.hint == cure(KERNEL)

    def test_variables_and_tpm_in_the_storage_are_required_as_programs_only(self, env, image):
        store = "<loader type='pflash'>/c.fd</loader><nvram template='/v.fd'>/var/lib/own.fd</nvram>"
        create(env, CreateRequest("web1", domain(TPM, os=store), (image,)))
        (asked,) = env.facts_at("n2").asked
        assert asked == ("has-tpm", word("has-file", "/c.fd"), word("has-file", "/v.fd"))

    def test_it_can_be_allowed(self, env, request_):
        lack(env, KERNEL)
        create(env, request_._replace(allow=(UNFIT,)))
        assert len(notes(env, "node-unfit")) == 3

    def test_pinned_vm_is_compared_with_its_own_node(self, env, request_):
        lack(env, KERNEL, nodes=("n2",))
        pinned = VmSettings(pinned_host="n2")
        with pytest.raises(VmMgrError, match="n2 can't start"):
            create(env, request_._replace(settings=pinned))
        lack(env, KERNEL, nodes=("n1", "n3"))
        env.facts_at("n2").lacks.clear()
        create(env, request_._replace(settings=pinned))
        assert not notes(env, "node-unfit")

    @pytest.mark.parametrize("offline", [False, True])
    def test_silent_node_is_named_and_hinders_nothing(self, env, request_, offline):
        if offline:
            env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(online=False)
        env.facts_at("n3").silent = True
        create(env, request_)
        (message,) = notes(env, "node-silent")
        assert "n3" in message

    def test_nothing_is_asked_where_nothing_is_required(self, env, image):
        create(env, CreateRequest("web1", DOMAIN, (image,)))
        assert not any(facts.asked for facts in env.facts.values())

    def test_text_that_libvirt_can_not_take_is_refused_whatever_is_allowed(self, env, request_):
        env.facts_at("n1").rejects = VmMgrError(Kind.INVALID, "libvirt can't take it: no memory")
        with pytest.raises(VmMgrError, match="no memory"):
            create(env, request_._replace(allow=(UNFIT,)))
        assert not env.storage.definitions.exists("web1")

    def test_what_one_libvirt_doubts_is_told_and_refuses_nothing(self, env, request_):
        env.facts_at("n1").rejects = VmMgrError(Kind.NOT_SUPPORTED, "n1 doubts it: machine")
        create(env, request_)
        assert notes(env, "node-doubtful") == ["n1 doubts it: machine"]
        assert not notes(env, "node-unfit")

    def test_what_every_libvirt_doubts_is_refused_before_the_import_unless_it_is_allowed(self, env, request_):
        """As a machine type that no emulator has: F13."""
        nodes = ("n1", "n2", "n3")
        for node in nodes:
            env.facts_at(node).rejects = VmMgrError(Kind.NOT_SUPPORTED, f"{node} doubts it: machine")
        with pytest.raises(VmMgrError, match="no node's libvirt takes it: n1 doubts it") as caught:
            create(env, request_)
        assert UNFIT in caught.value.hint
        assert not env.storage.definitions.exists("web1")
        create(env, request_._replace(allow=(UNFIT,)))
        assert notes(env, "node-doubtful") == [f"{node} doubts it: machine" for node in nodes * 2]

    def test_observer_says_that_it_can_not_ask(self, env, request_):
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(observer=True)
        lack(env, KERNEL)
        create(env, request_)
        assert notes(env, "not-checked")
        assert not any(facts.asked for facts in env.facts.values())

    def test_disks_that_are_copied_are_required_of_no_node(self, env, image):
        disk = "<disk type='file'><source file='/var/lib/libvirt/images/a.qcow2'/><target dev='vda'/></disk>"
        create(env, CreateRequest("web1", domain(disk), (image,)))
        assert not any(facts.asked for facts in env.facts.values())


class TestOtherCommands:
    @pytest.fixture
    def vm(self, env, request_):
        create(env, request_)
        env.said.clear()
        return "web1"

    def test_clone_is_refused_before_its_source_is_touched(self, env, vm):
        lack(env, KERNEL)
        with pytest.raises(VmMgrError, match="/k"):
            clone(env, CloneRequest(vm, "web2", VmSettings()))
        assert not env.storage.definitions.exists("web2")
        assert not env.storage.snapshots.of(vm)
        clone(env, CloneRequest(vm, "web2", VmSettings(), allow=(UNFIT,)))

    def test_take_over_is_refused_and_the_source_stays(self, env, image):
        inner = f"<driver name='qemu' type='qcow2'/><source file='{image}'/><target dev='vda'/>"
        disk = f"<disk type='file'>{inner}</disk>"
        env.hypervisor.kept["old1"] = domain(disk, os="<kernel>/k</kernel>")
        lack(env, KERNEL)
        with pytest.raises(VmMgrError, match="/k"):
            add_to_cluster(env, Takeover("old1", "web1"))
        assert "old1" in env.hypervisor.kept

    def test_enable_is_refused_unless_the_vm_stays_stopped(self, env, vm):
        disable(env, vm)
        lack(env, KERNEL)
        with pytest.raises(VmMgrError, match="/k") as caught:
            enable(env, vm)
        assert "--nostart" in caught.value.others[-1].hint
        assert vm not in env.cluster.resources
        enable(env, vm, start=False)
        assert notes(env, "node-unfit")

    def test_edit_is_refused_for_what_is_new(self, env, vm):
        before = env.storage.definitions.read(vm)
        lack(env, word("has-file", "/k2"))
        with pytest.raises(VmMgrError, match="/k2"):
            edit(env, vm, before.replace(">/k<", ">/k2<"), before)
        assert env.storage.definitions.read(vm) == before
        assert edit(env, vm, before.replace(">/k<", ">/k2<"), before, allow=(UNFIT,))

    def test_edit_goes_on_where_what_was_there_is_missing(self, env, vm):
        before = env.storage.definitions.read(vm)
        lack(env, KERNEL)
        assert edit(env, vm, before.replace("<devices", "<description>x</description><devices"), before)
        assert notes(env, "node-unfit")

    @pytest.mark.parametrize("live", [True, False])
    def test_node_that_says_so_is_no_target(self, env, vm, live):
        env.cluster.resources[vm] = env.cluster.resources[vm]._replace(live_migration=live)
        if live:
            env.hypervisor.xmls[vm] = domain(os="<kernel>/k</kernel>")
            lack(env, KERNEL, nodes=("n2",))
        else:
            env.cluster.nodes["n2"] = env.cluster.nodes["n2"]._replace(attributes={KERNEL: "0"})
        with pytest.raises(VmMgrError, match="/k") as caught:
            migrate(env, vm, "n2")
        assert caught.value.hint == cure(KERNEL)
        assert not env.cluster.moves

    def test_show_has_a_matrix_of_nodes_and_requirements(self, env, vm):
        env.cluster.nodes["n1"] = env.cluster.nodes["n1"]._replace(attributes={KERNEL: "2"})
        env.cluster.nodes["n2"] = env.cluster.nodes["n2"]._replace(attributes={KERNEL: "0"})
        env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(online=False)
        (found,) = show(env, vm).readiness
        assert found.nodes == {"n1": True, "n2": False, "n3": None}
        done = CliRunner(mix_stderr=False).invoke(app, ["show", vm], obj=env)
        lines = [line.split() for line in done.stdout.splitlines()]
        assert ["/k", "n1", "n2", "n3"] in lines
        assert lines[lines.index(["/k", "n1", "n2", "n3"]) - 1] == [
            "NEEDS",
            "THERE",
            "ON",
            "MISSING",
            "ON",
            "NOT",
            "KNOWN",
            "ON",
        ]
        done = CliRunner(mix_stderr=False).invoke(app, ["show", vm, "--output", "json"], obj=env)
        assert json.loads(done.stdout)["readiness"] == [
            {
                "requirement": KERNEL,
                "text": "/k",
                "nodes": [
                    {"node": "n1", "has": True},
                    {"node": "n2", "has": False},
                    {"node": "n3", "has": None},
                ],
            }
        ]

    def test_show_asks_for_what_is_not_published(self, env, vm):
        asked = len(env.facts_at("n1").asked)
        lack(env, KERNEL, nodes=("n2",))
        assert show(env, vm).readiness[0].nodes == {"n1": True, "n2": False, "n3": True}
        for node in env.cluster.nodes:
            env.cluster.nodes[node] = env.cluster.nodes[node]._replace(attributes={KERNEL: "2"})
        show(env, vm)
        assert len(env.facts_at("n1").asked) == asked + 1, "what is published is not asked again"


class TestMedia:
    @pytest.fixture
    def vm(self, env, image):
        lack(env, MEDIUM, nodes=("n2", "n3"))
        create(env, CreateRequest("web1", domain(ISO.format("")), (image,), VmSettings(live_migration=True)))
        return "web1"

    def test_drive_may_be_empty_where_its_medium_is_missing(self, env, vm):
        assert 'startupPolicy="optional"' in env.storage.definitions.read(vm)
        (message,) = notes(env, "medium-missing")
        assert "/var/tmp/inst.iso" in message
        assert message.endswith("n2, n3")
        assert not notes(env, "node-unfit")

    def test_what_is_set_for_that_is_told_once(self, env, vm):
        (changed,) = notes(env, "definition-changed")
        assert changed.count("startupPolicy optional") == 1
        clone(env, CloneRequest(vm, "web2", VmSettings(), enable=False))
        assert notes(env, "definition-changed") == [changed]

    @pytest.mark.parametrize("policy", ["mandatory", "requisite"])
    def test_policy_that_somebody_has_chosen_stays(self, env, image, policy):
        xml = domain(ISO.format(f" startupPolicy='{policy}'"))
        create(env, CreateRequest("web1", xml, (image,)))
        assert f'startupPolicy="{policy}"' in env.storage.definitions.read("web1")

    def test_definition_of_an_earlier_version_starts_so_too_and_the_journal_has_it(self, env, vm, tmp_path):
        env.state_dir = tmp_path
        stop(env, vm)
        old = env.storage.definitions.read(vm).replace(' startupPolicy="optional"', "")
        env.storage.definitions.describe(vm, {"xml": old})
        lack(env, MEDIUM, nodes=("n1",))
        ACTIONS["start"](env, Parameters(name=vm, timeout_s=30))
        assert 'startupPolicy="optional"' in env.hypervisor.xmls[vm]
        assert any("empty drive" in line and "/var/tmp/inst.iso" in line for line in env.journal.lines)

    def test_live_migration_is_refused_with_the_way_out(self, env, vm):
        env.hypervisor.xmls[vm] = env.storage.definitions.read(vm)
        with pytest.raises(VmMgrError, match="/var/tmp/inst") as caught:
            migrate(env, vm, "n2")
        assert f"vm-mgr set {vm} --eject" in caught.value.hint
        assert not env.cluster.moves

    def test_move_by_a_stop_says_where_the_drive_is_empty(self, env, vm):
        env.storage.definitions.change_settings(vm, VmSettings())
        env.cluster.reconfigure(resource_for(env, vm, VmSettings(), start=True))
        for node, told in (("n2", ["n2"]), ("n1", [])):
            env.said.clear()
            migrate(env, vm, node)
            assert [message.rpartition(": ")[2] for message in notes(env, "medium-missing")] == told

    def test_nothing_speaks_against_the_nodes_without_it(self, env, vm):
        for node in ("n2", "n3"):
            env.cluster.nodes[node] = env.cluster.nodes[node]._replace(attributes={MEDIUM: "0"})
        assert not show(env, vm).placement_problems


def test_address_of_this_host_is_found_by_binding():
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
    facts = LocalFacts(FakeQemu(), FakeConnection(FakeHost()), root=Path(os.sep))
    assert facts.answers(["has-address-127.0.0.1"]) == {"has-address-127.0.0.1": "2"}
