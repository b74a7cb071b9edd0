"""Clones and second VMs of one definition have nothing in common that only one VM may have."""

import pytest
from lxml import etree

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.edit import edit
from vm_mgr.operations.support.ties import ALLOWABLE, SHARED_WITH_VM
from vm_mgr.reports import Note

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
DOMAIN = (
    "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>web1</name>{top}"
    "<memory>1</memory><os><type>hvm</type>{os}</os><devices>{devices}</devices>{qemu}</domain>"
)
CARD = "<interface type='bridge'><mac address='52:54:00:00:00:C9'/><source bridge='br0'/>{}</interface>"


def domain(devices="", *, top="", os="", qemu=""):
    return DOMAIN.format(devices=devices, top=top, os=os, qemu=qemu)


def line(tag, kind, source):
    return f"<{tag} type='{kind}'>{source}<target port='0'/></{tag}>"


# What it is → the definition, and the text that no second VM may have.
ALONE = {
    "MAC": (domain(CARD.format("")), "52:54:00:00:00:C9"),
    "UUID": (domain(top="<uuid>11111111-1111-4111-8111-111111111111</uuid>"), "11111111-1111-4111-8111"),
    "genid": (domain(top="<genid>11111111-1111-4111-8111-111111111112</genid>"), "111111111112"),
    "hwuuid": (domain(top="<hwuuid>11111111-1111-4111-8111-111111111113</hwuuid>"), "111111111113"),
    "nvram image": (
        domain(os="<nvram type='network'><source protocol='rbd' name='rbd/nv'/></nvram>"),
        "'rbd/nv'",
    ),
    "TPM": (
        domain("<tpm><backend type='emulator'><source type='dir' path='/tpm/web1'/></backend></tpm>"),
        "/tpm/web1",
    ),
    "log": (domain(line("serial", "pty", "<log file='/log/web1.log'/>")), "/log/web1.log"),
    "log of another name": (domain(line("console", "pty", "<log file='/log/c.log'/>")), "/log/c.log"),
    "serial": (domain(line("serial", "file", "<source path='/log/a'/>")), "/log/a"),
    "console": (domain(line("console", "file", "<source path='/log/b'/>")), "/log/b"),
    "parallel": (domain(line("parallel", "file", "<source path='/log/p'/>")), "/log/p"),
    "channel": (domain(line("channel", "unix", "<source mode='bind' path='/s/agent'/>")), "/s/agent"),
    "serial socket": (domain(line("serial", "unix", "<source mode='bind' path='/s/tty'/>")), "/s/tty"),
    "screen socket": (domain("<graphics type='vnc' socket='/s/vnc'/>"), "/s/vnc"),
    "screen listens": (
        domain("<graphics type='spice'><listen type='socket' socket='/s/spice'/></graphics>"),
        "/s/spice",
    ),
    "sound": (domain("<audio id='1' type='file' path='/s/sound.wav'/>"), "/s/sound.wav"),
    "tap": (
        domain("<interface type='ethernet'><target dev='ovsp1' managed='no'/></interface>"),
        "ovsp1",
    ),
    "named tap": (domain(CARD.format("<target dev='web1-lan'/>").replace("C9", "C8")), "web1-lan"),
    "switch port": (
        domain(
            "<interface type='bridge'><virtualport type='openvswitch'>"
            "<parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport></interface>"
        ),
        "09b11c53",
    ),
    "VNC": (domain("<graphics type='vnc' port='5905' autoport='no' listen='192.0.2.11'/>"), "5905"),
    "VNC without a word": (domain("<graphics type='vnc' port='5906'/>"), "5906"),
    "SPICE": (domain("<graphics type='spice' port='5907' tlsPort='5908'/>"), "5908"),
    "websocket": (domain("<graphics type='vnc' autoport='yes' websocket='5700'/>"), "5700"),
    "serial port": (
        domain(line("serial", "tcp", "<source mode='bind' host='0.0.0.0' service='4555'/>")),
        "4555",
    ),
    "UDP": (
        domain(line("console", "udp", "<source mode='bind' service='4556'/>")),
        "4556",
    ),
    "forwarded": (
        domain("<interface type='user'><portForward><range start='2022'/></portForward></interface>"),
        "2022",
    ),
    "vsock": (domain("<vsock><cid auto='no' address='77777'/></vsock>"), "77777"),
}  # fmt: skip


def prepared(text, **options):
    return DomainXml().prepare(text, VmName("web2"), [], **options)


@pytest.mark.parametrize("what", ALONE)
def test_clone_has_its_own(what):
    text, alone = ALONE[what]
    made = prepared(text, fresh=True)
    # Its own UUID is drawn: it may have such digits.
    assert alone.strip("'").lower() not in made.xml.replace(made.uuid, "").lower()
    assert not {*DomainXml().exclusive(text)} & {*DomainXml().exclusive(made.xml)}
    if what not in ("MAC", "UUID"):
        assert any(alone.strip("'") in change for change in made.changes)


@pytest.mark.parametrize("what", ALONE)
def test_second_vm_of_one_definition_is_refused_by_the_name_of_the_first(env, image, what):
    text, _ = ALONE[what]
    create(env, CreateRequest("web1", text, (image,), allow=ALLOWABLE))
    stored = env.storage.definitions.read("web1")
    for copy in (text, etree.tostring(without_uuid(stored), encoding="unicode")):
        if what == "UUID" and "<uuid>" not in copy:
            continue
        with pytest.raises(VmMgrError) as caught:
            create(env, CreateRequest("web2", copy, (image,), allow=("node-local-state",)))
        assert caught.value.kind is Kind.EXISTS
        assert "web1" in caught.value.message
        assert caught.value.hint
        assert set(env.storage.vms) == {"web1"}
    create(env, CreateRequest("web1", stored, (image,), force=True, allow=("node-local-state",)))


def without_uuid(text):
    root = etree.fromstring(text)
    root.remove(root.find("uuid"))
    return root


def test_who_allows_it_is_warned_but_uuid_and_disks_stay_refused(env, image):
    text = domain(CARD.format(""))
    create(env, CreateRequest("web1", text, (image,)))
    create(env, CreateRequest("web2", text, (image,), allow=(SHARED_WITH_VM,)))
    assert [one.code for one in env.said if isinstance(one, Note)].count(SHARED_WITH_VM) == 1
    copy = env.storage.definitions.read("web1")
    with pytest.raises(VmMgrError, match="UUID"):
        create(env, CreateRequest("web3", copy, (image,), allow=(SHARED_WITH_VM,)))


def test_copy_does_not_get_the_disks_of_its_model(env, image):
    create(env, CreateRequest("web1", domain(), (image, image)))
    copy = etree.tostring(without_uuid(env.storage.definitions.read("web1")), encoding="unicode")
    with pytest.raises(VmMgrError) as caught:
        create(env, CreateRequest("web2", copy, (image,), allow=(SHARED_WITH_VM,)))
    assert (caught.value.kind, "rbd/data_web1_0" in caught.value.message) == (Kind.EXISTS, True)
    assert "--additional-disk" in caught.value.hint
    create(env, CreateRequest("web2", copy, (image, image)))


def test_clone_does_not_share_a_disk_that_its_source_writes_to(env, image):
    create(env, CreateRequest("web1", domain(), (image,)))
    foreign = "<disk type='file'><source file='/x.img'/><target dev='vdz'/>{}</disk>"
    present = env.storage.definitions.read("web1")
    request = CloneRequest(VmName("web1"), VmName("web2"), lambda source: source)
    changed = present.replace("<devices>", "<devices>" + foreign.format(""))
    env.storage.definitions.describe("web1", {"xml": changed})
    with pytest.raises(VmMgrError) as caught:
        clone(env, request)
    assert (caught.value.kind, "/x.img" in caught.value.message) == (Kind.EXISTS, True)
    changed = present.replace("<devices>", "<devices>" + foreign.format("<readonly/>"))
    env.storage.definitions.describe("web1", {"xml": changed})
    clone(env, request)


def test_edit_takes_nothing_that_another_vm_has(env, image):
    create(env, CreateRequest("web1", domain(CARD.format("")), (image,)))
    create(
        env,
        CreateRequest(
            "web2", domain("<interface type='bridge'><source bridge='br0'/></interface>"), (image,)
        ),
    )
    before = env.storage.definitions.read("web2")
    mac = etree.fromstring(before).find("devices/interface/mac").get("address")
    with pytest.raises(VmMgrError, match="web1"):
        edit(env, VmName("web2"), before.replace(mac, "52:54:00:00:00:c9"), before)
    # The address that web1 gives up is free, whatever an index says.
    theirs = env.storage.definitions.read("web1")
    assert edit(env, VmName("web1"), theirs.replace("52:54:00:00:00:C9", "52:54:00:00:00:ca"), theirs)
    assert edit(env, VmName("web2"), before.replace(mac, "52:54:00:00:00:c9"), before)


def test_two_creations_with_one_address_do_not_pass_each_other(env, image):
    request = CreateRequest("web1", domain(CARD.format("")), (image,))
    with env.intent_log.lock("mac-5254000000c9"), pytest.raises(VmMgrError) as caught:
        create(env, request)
    assert caught.value.kind is Kind.TRY_LATER


@pytest.mark.parametrize(
    "shared",
    [
        domain("<hostdev mode='subsystem' type='pci'><source><address bus='0x06'/></source></hostdev>"),
        domain(
            "<interface type='vhostuser'><source type='unix' path='/ovs.sock' mode='client'/></interface>"
        ),
        domain("<interface type='direct'><source dev='eno7' mode='passthrough'/></interface>"),
        domain("<lease><lockspace>s</lockspace><key>k</key><target path='/lease'/></lease>"),
        domain("<input type='evdev'><source dev='/dev/input/event4'/></input>"),
        domain("<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>"),
        domain(line("serial", "dev", "<source path='/dev/ttyS7'/>")),
        domain("<filesystem><source socket='/virtiofs.sock'/><target dir='t'/></filesystem>"),
        domain("<memory model='nvdimm'><source><path>/nvdimm</path></source></memory>"),
        domain(qemu="<qemu:commandline><qemu:arg value='vhost-vsock-pci,guest-cid=3'/></qemu:commandline>"),
        domain(qemu="<qemu:commandline><qemu:arg value='user,hostfwd=tcp::2222-:22'/></qemu:commandline>"),
    ],
)
def test_what_can_not_be_given_twice_is_named(shared):
    assert len(prepared(shared, fresh=True).shared) == 1
    assert prepared(shared).shared == ()


@pytest.mark.parametrize(
    "text",
    [
        domain(CARD.format("<target dev='vnet3'/>").replace("C9", "C7")),
        domain("<graphics type='vnc' port='-1' autoport='yes'/>"),
        domain("<graphics type='vnc' port='5900' autoport='yes'/>"),  # of a running domain
        domain("<vsock><cid auto='yes' address='3'/></vsock>"),
        domain(line("serial", "file", "<source path='/dev/null'/>")),
        domain(line("channel", "unix", "<source mode='bind' path='/run/libvirt/qemu/channel/1-web1/a'/>")),
        domain("<interface type='bridge'><source bridge='br0'/></interface>"),
    ],
)
def test_what_libvirt_chooses_itself_hinders_no_second_vm(text):
    assert [one for one in DomainXml().exclusive(text) if one.what != "MAC address"] == []
    assert prepared(text, fresh=True).changes == ()


def test_arguments_for_qemu_get_new_addresses():
    arguments = "".join(f"<qemu:arg value='{one},mac=52:54:00:aa:bb:cc'/>" for one in ("nic", "virtio-net"))
    text = prepared(domain(qemu=f"<qemu:commandline>{arguments}</qemu:commandline>"), fresh=True).xml
    values = [one.get("value").partition("mac=")[2] for one in etree.fromstring(text).iter(f"{{{QEMU}}}arg")]
    assert "52:54:00:aa:bb:cc" not in values
    assert len(set(values)) == 1


def test_firmware_tells_the_uuid_that_the_vm_has():
    entry = "<entry name='uuid'>11111111-1111-4111-8111-111111111111</entry>"
    entry = f"<sysinfo type='smbios'><system>{entry}</system></sysinfo>"
    for options in ({}, {"fresh": True}):
        made = prepared(domain(top=entry), **options)
        assert etree.fromstring(made.xml).findtext("sysinfo/system/entry") == made.uuid


def test_clone_of_a_clone_has_no_chain_of_names():
    first = prepared(domain(line("serial", "pty", "<log file='/log/c.log'/>")), fresh=True).xml
    second = DomainXml().prepare(first, VmName("web3"), [], fresh=True).xml
    assert "/log/web3-c.log" in second
