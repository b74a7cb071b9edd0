"""What ties a definition to one node."""

import pytest
from click.testing import CliRunner

import vm_manager.making as shim
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, VmState
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import disable
from vm_mgr.operations.edit import edit
from vm_mgr.operations.enable import enable
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop
from vm_mgr.operations.support.ties import ALLOWABLE
from vm_mgr.reports import Note

WHOLE = """<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>x</name>
<memory>1024</memory><os{firmware}><type>hvm</type>{os}</os><devices>{devices}</devices>{qemu}</domain>"""
NBD = "<source protocol='nbd' name='x'><host name='h'/></source>"
ISO = "<disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='sda'/><readonly/></disk>"


def domain(devices="", *, os="", firmware="", qemu=""):
    return WHOLE.format(devices=devices, os=os, firmware=firmware, qemu=qemu)


def char(inner, tag="serial", kind="dev"):
    return f"<{tag} type='{kind}'>{inner}</{tag}>"


DEVICES = {
    "/iso/a.iso": ISO,
    "/f.img": "<disk type='file' device='floppy'><source file='/f.img'/><target dev='fda'/></disk>",
    "/ro.img": "<disk type='file'><source file='/ro.img'/><target dev='vdx'/><readonly/></disk>",
    "/dev/sdq": "<disk type='block' device='lun'><source dev='/dev/sdq'/><target dev='sdb'/></disk>",
    "/folder": "<disk type='dir'><source dir='/folder'/><target dev='vdb'/><readonly/></disk>",
    "pool1/vol1": "<disk type='volume'><source pool='pool1' volume='vol1'/><target dev='vdb'/></disk>",
    "/base": f"<disk type='network'>{NBD}<backingStore><source file='/base'/></backingStore></disk>",
    "/vu.sock": "<disk type='vhostuser'><source type='unix' path='/vu.sock'/><target dev='vdb'/></disk>",
    "0x02": "<disk type='nvme'><source type='pci' namespace='1'><address bus='0x02'/></source></disk>",
    "0x06": "<hostdev mode='subsystem' type='pci'><source><address bus='0x06'/></source></hostdev>",
    "0x1234": "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/></source></hostdev>",
    "/dev/vhost-vdpa-0": "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>",
    "/ovs.sock": "<interface type='vhostuser'><source type='unix' path='/ovs.sock'/></interface>",
    "eno7": "<interface type='direct'><source dev='eno7' mode='bridge'/></interface>",
    "0x07": "<interface type='hostdev'><source><address bus='0x07'/></source></interface>",
    "/export": "<filesystem type='mount'><source dir='/export'/><target dir='t'/></filesystem>",
    "/virtiofs.sock": "<filesystem><source socket='/virtiofs.sock'/><target dir='t'/></filesystem>",
    "/log/a.log": char("<log file='/log/a.log'/>", kind="pty"),
    "/log/b.log": char("<source path='/log/b.log'/>", kind="file"),
    "/log/c.log": char("<log file='/log/c.log'/>", tag="console", kind="pty"),
    "/dev/ttyS7": char("<source path='/dev/ttyS7'/>"),
    "/pipe": char("<source path='/pipe'/>", tag="parallel", kind="pipe"),
    "/connect.sock": char("<source mode='connect' path='/connect.sock'/>", tag="channel", kind="unix"),
    "/dev/hwrng": "<rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>",
    "shm1": "<shmem name='shm1'><model type='ivshmem-plain'/></shmem>",
    "/shm.sock": "<shmem name='s'><model type='ivshmem-doorbell'/><server path='/shm.sock'/></shmem>",
    "/dev/input/event3": "<input type='passthrough'><source evdev='/dev/input/event3'/></input>",
    "/dev/input/event4": "<input type='evdev'><source dev='/dev/input/event4'/></input>",
    "/nvdimm": "<memory model='nvdimm'><source><path>/nvdimm</path></source></memory>",
    "/dev/dri/r1": "<graphics type='egl-headless'><gl rendernode='/dev/dri/r1'/></graphics>",
    "/opt/qemu": "<emulator>/opt/qemu</emulator>",
    "TPM (passthrough)": "<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
}
SYSTEM = {
    "/kernel": "<kernel>/kernel</kernel>",
    "/initrd": "<initrd>/initrd</initrd>",
    "/dtb": "<dtb>/dtb</dtb>",
    "/fw.fd": "<loader type='rom'>/fw.fd</loader>",
    "/slic": "<acpi><table type='slic'>/slic</table></acpi>",
}
STATE = [
    domain("<tpm><backend type='emulator'><source type='dir' path='/state'/></backend></tpm>"),
    domain(os="<nvram type='block'><source dev='/dev/mapper/vars'/></nvram>"),
]
# Kept with the disks (test_nvram.py).
KEPT = [
    domain("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"),
    domain(os="<nvram>/var/VARS.fd</nvram>"),
    domain(os="<nvram type='file'><source file='/var/VARS.fd'/></nvram>"),
    domain(os="<nvram template='/OVMF_VARS.fd'/>"),
    domain(firmware=" firmware='efi'"),
]
SHARED = [
    domain(f"<disk type='network'>{NBD}<target dev='vda'/></disk>"),
    domain("<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>"),
    domain(char("<target type='virtio' name='org.qemu.guest_agent.0'/>", "channel", "unix")),
    domain(char("<source mode='bind' path='/run/a.sock'/>", "channel", "unix")),
    domain("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"),
    domain("<interface type='bridge'><source bridge='br0'/></interface><emulator>/usr/bin/qemu</emulator>"),
    domain("<input type='tablet' bus='usb'/><video><model type='virtio'/></video><graphics type='vnc'/>"),
    domain(os="<loader stateless='yes' type='pflash'>/shared/OVMF.fd</loader>", firmware=" firmware='efi'"),
    domain("<disk type='file' device='cdrom'><source file='/shared/a.iso'/><target dev='sda'/></disk>"),
    domain(os="<nvram type='network'><source protocol='rbd' name='rbd/x'/></nvram>"),
    domain("<tpm><backend type='emulator'><source type='dir' path='/shared/x'/></backend></tpm>"),
]


def ties(xml):
    return DomainXml(lambda: ["/shared"]).ties(xml)


@pytest.mark.parametrize("path", DEVICES)
def test_device_is_named(path):
    found = ties(domain(DEVICES[path]))
    assert [path in tie.text for tie in found] == [True]
    assert not any(tie.state for tie in found)
    second = domain("").replace("</domain>", f"<devices>{DEVICES[path]}</devices></domain>")
    assert [tie.text for tie in ties(second)] == [tie.text for tie in found]


@pytest.mark.parametrize("path", SYSTEM)
def test_file_of_the_boot_is_named(path):
    assert [path in tie.text for tie in ties(domain(os=SYSTEM[path]))] == [True]


def test_arguments_for_qemu_are_named():
    arguments = "<qemu:commandline><qemu:arg value='-drive'/><qemu:arg value='file=/x'/></qemu:commandline>"
    assert ["file=/x" in tie.text for tie in ties(domain(qemu=arguments))] == [True]


@pytest.mark.parametrize("xml", STATE)
def test_state_on_a_node_is_told_from_the_rest(xml):
    assert any(tie.state for tie in ties(xml))


@pytest.mark.parametrize("xml", [*SHARED, *KEPT])
def test_what_every_node_has_is_not_named(xml):
    assert ties(xml) == ()


@pytest.mark.parametrize(
    "twice",
    [
        "<devices/>",
        "<name>y</name>",
        "<memory>2</memory>",
        "<os><type>hvm</type></os>",
        "<vcpu>1</vcpu><vcpu>2</vcpu>",
        "<uuid>c0ffee00-0000-4000-8000-000000000001</uuid><uuid>c0ffee00-0000-4000-8000-000000000002</uuid>",
    ],
)
def test_what_is_there_twice_is_refused(env, image, twice):
    with pytest.raises(VmMgrError) as caught:
        create(env, CreateRequest("web1", domain().replace("</domain>", f"{twice}</domain>"), (image,)))
    assert (caught.value.kind, "more than one" in caught.value.message) == (Kind.INVALID, True)
    assert not env.storage.vms


@pytest.mark.parametrize(
    "device",
    [
        "<disk type='file'><source file='/a'/><source file='/b'/><target dev='vda'/></disk>",
        "<disk type='file'><source file='/a'/><target dev='vda'/><target dev='vdb'/></disk>",
        "<interface><mac address='52:54:00:00:00:01'/><mac address='52:54:00:00:00:02'/></interface>",
        "<emulator>/usr/bin/a</emulator><emulator>/usr/bin/b</emulator>",
    ],
)
def test_parts_that_are_there_twice_are_refused(device):
    assert [error.kind for error in DomainXml().problems(domain(device))] == [Kind.INVALID]


def test_usual_repetitions_are_fine():
    devices = "<disk/><disk/><interface/><interface/><serial/><serial/>"
    assert DomainXml().problems(domain(devices, os="<boot dev='hd'/><boot dev='cdrom'/>")) == []


def notes(env, code="node-local"):
    return [report.message for report in env.said if isinstance(report, Note) and report.code == code]


def test_all_is_told_in_one_warning_wherever_a_vm_is_made_or_enabled(env, image):
    xml = domain(ISO + DEVICES["/export"], os=SYSTEM["/kernel"])
    steps = [
        lambda: create(env, CreateRequest("web1", xml, (image,))),
        lambda: clone(env, CloneRequest(VmName("web1"), VmName("web2"), lambda source: source)),
        lambda: (disable(env, "web1"), enable(env, "web1")),
    ]
    for step in steps:
        env.said.clear()
        step()
        assert len(notes(env)) == 1
        assert all(path in notes(env)[0] for path in ("/iso/a.iso", "/export", "/kernel"))


@pytest.mark.parametrize(
    ("more", "start"),
    [("", ""), (DEVICES["/export"], "only where the rest exists"), (ISO, "")],
    ids=["medium", "and a folder", "twice"],
)
def test_medium_without_which_the_vm_starts_is_not_called_a_condition(env, image, more, start):
    create(env, CreateRequest("web1", domain(ISO + more.replace("sda", "sdb")), (image,)))
    (told,) = [one for one in env.said if isinstance(one, Note) and one.code == "node-local"]
    assert "/iso/a.iso [elsewhere the drive is empty]" in told.message
    assert start in told.hint
    assert ("it can start only" in told.hint) is bool(start)


@pytest.mark.parametrize("policy", ["mandatory", "requisite"])
def test_medium_that_a_start_needs_is_a_condition(env, image, policy):
    needed = ISO.replace("<source ", f"<source startupPolicy='{policy}' ")
    create(env, CreateRequest("web1", domain(needed), (image,)))
    (told,) = [one for one in env.said if isinstance(one, Note) and one.code == "node-local"]
    assert told.message.endswith("/iso/a.iso")
    assert "only where that exists" in told.hint


def test_edit_tells_what_is_new(env, image):
    create(env, CreateRequest("web1", domain(ISO), (image,)))
    before = env.storage.definitions.read("web1")
    env.said.clear()
    edit(env, "web1", before.replace("</devices>", f"{DEVICES['/export']}</devices>"), before)
    (told,) = notes(env)
    assert ("/export" in told, "/iso/a.iso" in told) == (True, False)
    env.said.clear()
    before = env.storage.definitions.read("web1")
    more = DEVICES["/dev/sdq"] + DEVICES["/dev/hwrng"]
    edit(env, "web1", before.replace("</devices>", f"{more}</devices>"), before)
    (told,) = notes(env, "foreign-disks")
    assert ("/dev/sdq" in told, "/dev/hwrng" in told, notes(env)) == (True, True, [])


@pytest.mark.parametrize("xml", STATE)
def test_state_that_stays_on_a_node_is_refused_unless_allowed(env, image, xml):
    def refused(act):
        with pytest.raises(VmMgrError) as caught:
            act()
        assert (caught.value.kind, "--allow node-local-state" in caught.value.hint) == (Kind.INVALID, True)

    refused(lambda: create(env, CreateRequest("web1", xml, (image,))))
    assert not env.storage.vms
    create(env, CreateRequest("web1", xml, (image,), allow=ALLOWABLE))
    refused(lambda: clone(env, CloneRequest(VmName("web1"), VmName("web2"), lambda source: source)))
    clone(env, CloneRequest(VmName("web1"), VmName("web2"), lambda source: source, allow=ALLOWABLE))
    # What a VM has already hinders nobody.
    disable(env, "web1")
    env.said.clear()
    assert enable(env, "web1").state is VmState.STARTED
    assert len(notes(env)) == 1
    stop(env, "web1")
    assert start(env, "web1").state is VmState.STARTED
    before = env.storage.definitions.read("web1")
    assert edit(env, "web1", before.replace("1024", "2048"), before)

    create(env, CreateRequest("web3", domain(), (image,)))
    plain = env.storage.definitions.read("web3")
    backend = "<backend type='emulator'><source type='dir' path='/other'/></backend>"
    tpm = plain.replace("</devices>", f"<tpm>{backend}</tpm></devices>")
    refused(lambda: edit(env, "web3", tpm, plain))
    assert edit(env, "web3", tpm, plain, allow=ALLOWABLE)


def test_override_is_an_option(env, image, tmp_path):
    path = tmp_path / "web1.xml"
    path.write_text(STATE[0])
    words = ["create", "web1", "--xml", str(path), "--image", image]
    shell = CliRunner(mix_stderr=False)
    done = shell.invoke(app, words, obj=env)
    assert (done.exit_code, "--allow node-local-state" in done.stderr) == (2, True)
    assert shell.invoke(app, [*words, "--allow", "node-local-state"], obj=env).exit_code == 0
    assert shell.invoke(app, ["clone", "web1", "--dst-name", "web2"], obj=env).exit_code == 2
    more = ["clone", "web1", "--dst-name", "web2", "--allow", "node-local-state"]
    assert shell.invoke(app, more, obj=env).exit_code == 0
    assert shell.invoke(app, [*more[:4], "--allow", "anything"], obj=env).exit_code == 2


def test_programs_for_seapath_are_warned_and_not_refused(env, image):
    from contextlib import contextmanager  # noqa: PLC0415

    from vm_manager import environment  # noqa: PLC0415

    @contextmanager
    def build(_say):
        yield env

    environment.use(build)
    try:
        shim.create({"name": "web1", "base_xml": STATE[0], "image": image})
        shim.clone({"name": "web1", "dst_name": "web2"})
    finally:
        environment.use(None)
    assert set(env.storage.vms) == {"web1", "web2"}
    assert len(notes(env)) == 2


def test_log_in_libvirts_own_folder_is_made_on_each_node():
    own = "<serial type='pty'><log file='/var/log/libvirt/qemu/web1.console.log'/></serial>"
    assert DomainXml().ties(domain(own)) == ()
    (told,) = DomainXml().ties(domain(own.replace("/var/log/libvirt/qemu", "/srv/logs")))
    assert told.text == "log of the serial /srv/logs/web1.console.log"
