"""What a definition says is kept: of each disk that one of ours takes the place of; the rest is named."""

import pytest
from lxml import etree

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Disk, DiskKind, NetworkAccess
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.operations.add_to_cluster import Takeover, add_to_cluster
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.reports import Note

RBD = NetworkAccess("rbd", "libvirt", "ceph", "client.libvirt secret")
DOMAIN = """<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os>
<devices>{}</devices></domain>"""
WHOLE = """<disk type='file' device='disk'>
<driver name='qemu' type='qcow2' {driver}/><source file='/old.qcow2'/>
<target dev='{dev}' bus='{bus}' {target}/>{inner}</disk>"""


def disk_xml(inner="", *, driver="", bus="virtio", dev="vda", target="", **attributes):
    text = WHOLE.format(inner=inner, driver=driver, bus=bus, dev=dev, target=target)
    words = " ".join(f"{key}='{value}'" for key, value in attributes.items())
    return text.replace("device='disk'", f"{words} device='disk'" if "device" not in attributes else words)


def network(name="web1", bus=""):
    return Disk(f"rbd/system_{name}", DiskKind.NETWORK, "raw", bus, "writeback", "", RBD)


def file(bus="", cache="none"):
    return Disk(
        "/srv/web1/system.qcow2", DiskKind.FILE, "qcow2", bus, cache, "native" if cache == "none" else ""
    )


def prepare(devices, *disks, **options):
    made = DomainXml().prepare(DOMAIN.format(devices), VmName("web1"), disks or [network()], **options)
    return etree.fromstring(made.xml).findall("devices/disk"), made


KEPT = {
    "bus": ({"bus": "sata", "dev": "sda"}, "target[@bus='sata'][@dev='sda']"),
    "usb": ({"bus": "usb", "dev": "sda", "target": "removable='on'"}, "target[@bus='usb'][@removable='on']"),
    "sd": ({"bus": "sd", "dev": "sda"}, "target[@bus='sd']"),
    "bus by name": ({"bus": "ide", "dev": "hda"}, "target[@bus='ide'][@dev='hda']"),
    "target": ({"dev": "vdq"}, "target[@dev='vdq']"),
    "serial": ({"inner": "<serial>SYSDISK0001</serial>"}, "serial"),
    "wwn": ({"inner": "<wwn>5000c50015ea71ac</wwn>", "bus": "scsi", "dev": "sda"}, "wwn"),
    "vendor": ({"inner": "<vendor>V</vendor><product>P</product>", "bus": "scsi", "dev": "sda"}, "vendor"),
    "product": ({"inner": "<vendor>V</vendor><product>P</product>", "bus": "scsi", "dev": "sda"}, "product"),
    "iotune": ({"inner": "<iotune><total_iops_sec>5</total_iops_sec></iotune>"}, "iotune/total_iops_sec"),
    "throttling": (
        {"inner": "<throttlefilters><throttlefilter group='g'/></throttlefilters>"},
        "throttlefilters",
    ),
    "queues": ({"driver": "queues='2' queue_size='128'"}, "driver[@queues='2'][@queue_size='128']"),
    "iothread": ({"driver": "iothread='1'"}, "driver[@iothread='1']"),
    "zeroes": ({"driver": "detect_zeroes='unmap'"}, "driver[@detect_zeroes='unmap']"),
    "discard": ({"driver": "discard='ignore'"}, "driver[@discard='ignore']"),
    "copy": ({"driver": "copy_on_read='on'"}, "driver[@copy_on_read='on']"),
    "virtio": (
        {"driver": "packed='on' ats='on' iommu='on' event_idx='off'"},
        "driver[@packed='on'][@event_idx='off']",
    ),
    "cache": ({"driver": "cache='none'"}, "driver[@cache='none']"),
    "sync": ({"driver": "cache='writethrough'"}, "driver[@cache='writethrough']"),
    "blockio": (
        {"inner": "<blockio logical_block_size='512' physical_block_size='4096'/>"},
        "blockio[@physical_block_size='4096']",
    ),
    "geometry": (
        {"inner": "<geometry cyls='1' heads='2' secs='3'/>", "bus": "ide", "dev": "hda"},
        "geometry[@cyls='1']",
    ),
    "rotation": ({"bus": "sata", "dev": "sda", "target": "rotation_rate='1'"}, "target[@rotation_rate='1']"),
    "boot": ({"inner": "<boot order='3' loadparm='2'/>"}, "boot[@order='3'][@loadparm='2']"),
    "alias": ({"inner": "<alias name='ua-system'/>"}, "alias[@name='ua-system']"),
    "address": (
        {"inner": "<address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>"},
        "address[@bus='0x04']",
    ),
    "drive": (
        {
            "bus": "sata",
            "dev": "sdc",
            "inner": "<address type='drive' controller='0' bus='0' target='0' unit='2'/>",
        },
        "address[@unit='2']",
    ),
    "acpi": ({"inner": "<acpi index='7'/>"}, "acpi[@index='7']"),
    "model": ({"model": "virtio-transitional"}, "../disk[@model='virtio-transitional']"),
    "no snapshot": ({"snapshot": "no"}, "../disk[@snapshot='no']"),
    "what libvirt will have one day": ({"inner": "<future a='b'/>"}, "future[@a='b']"),
}


@pytest.mark.parametrize("what", KEPT)
@pytest.mark.parametrize("own", [network(), file()], ids=["network", "file"])
def test_what_a_disk_has_is_kept(what, own):
    if what == "sync" and own.kind is DiskKind.FILE:
        return  # a file is not cached: it could not migrate live
    given, place = KEPT[what]
    (disk,), made = prepare(disk_xml(**given), own)
    assert disk.xpath(place)
    assert made.changes == ()
    assert disk.find("source").attrib.values()[-1] == own.source
    assert disk.find("driver").get("error_policy") == "stop"


NAMED = {
    "shareable": ({"inner": "<shareable/>"}, "shareable"),
    "transient": ({"inner": "<transient/>"}, "transient"),
    "error_policy": ({"driver": "error_policy='report'"}, "driver error_policy report → stop"),
    "rerror_policy": ({"driver": "rerror_policy='ignore'"}, "driver rerror_policy ignore → stop"),
    "cache": ({"driver": "cache='unsafe'"}, "driver cache unsafe → writeback"),
    "io": ({"driver": "cache='writeback' io='native'"}, "driver io native → the default"),
    "lun": (
        {"device": "lun", "rawio": "yes", "sgio": "filtered", "bus": "scsi", "dev": "sda"},
        "device lun → disk",
    ),
    "rawio": ({"device": "lun", "rawio": "yes", "bus": "scsi", "dev": "sda"}, "rawio dropped"),
    "snapshot": ({"snapshot": "external"}, "snapshot external dropped"),
    "metadata cache": ({"driver": "discard_no_unref='on'"}, "driver discard_no_unref dropped"),
    "xen": ({"bus": "xen", "dev": "xvda"}, "bus xen → virtio"),
}


@pytest.mark.parametrize("what", NAMED)
def test_what_can_not_stay_is_named_with_its_disk(what):
    given, words = NAMED[what]
    (disk,), made = prepare(disk_xml(**given))
    assert [change for change in made.changes if f"{given.get('dev', 'vda')}: {words}" in change]
    assert disk.find("shareable") is None
    assert disk.find("transient") is None
    assert disk.find("driver").get("cache") == "writeback"


def test_what_we_would_set_anyhow_is_not_named():
    _, made = prepare(disk_xml(driver="cache='default' error_policy='stop'"))
    assert made.changes == ()


@pytest.mark.parametrize(
    ("asked", "cache", "has", "io"),
    [
        ("cache='none' io='native'", "none", "none", "native"),
        ("cache='none' io='threads'", "none", "none", "threads"),
        ("io='io_uring'", "none", "none", "io_uring"),
        ("cache='directsync' io='native'", "writeback", "directsync", "native"),
        ("cache='writeback' io='native'", "none", "none", "native"),
        ("io='native'", "writeback", "writeback", None),
        ("cache='unsafe'", "none", "none", "native"),
        ("", "none", "none", "native"),
    ],
)
def test_cache_and_io_of_a_file_stay_where_they_are_safe(asked, cache, has, io):
    (disk,), _ = prepare(disk_xml(driver=asked), file(cache=cache))
    assert (disk.find("driver").get("cache"), disk.find("driver").get("io")) == (has, io)


def test_asked_bus_wins_and_takes_along_what_is_told_to_the_other_one():
    given = disk_xml(
        "<serial>S</serial><wwn>5000c50015ea71ac</wwn><vendor>V</vendor><address type='drive' unit='1'/>",
        bus="scsi", dev="sda", target="rotation_rate='1'",
    )  # fmt: skip
    (disk,), made = prepare(given, network(bus="virtio"))
    assert disk.find("target").attrib == {"dev": "vda", "bus": "virtio"}
    assert (disk.findtext("serial"), disk.find("wwn"), disk.find("address")) == ("S", None, None)
    told = " ".join(made.changes)
    for word in ("bus scsi → virtio", "target sda → vda", "wwn", "vendor", "address", "rotation_rate"):
        assert word in told
    (disk,), made = prepare(disk_xml(driver="queues='2' iothread='1'", model="virtio"), network(bus="sata"))
    assert disk.find("target").attrib == {"dev": "sda", "bus": "sata"}
    assert {"queues", "iothread", "model"} & {*disk.attrib, *disk.find("driver").attrib} == set()
    assert all(word in " ".join(made.changes) for word in ("queues", "iothread", "model"))


def test_further_disks_get_free_targets_and_others_keep_theirs():
    cdrom = "<disk type='file' device='cdrom'><source file='/a.iso'/><target dev='vda'/><readonly/></disk>"
    second = network("more")._replace(source="rbd/data_web1_0")
    found, _ = prepare(disk_xml(dev="vdb") + cdrom, network(), second)
    sources = [one.find("source") for one in found]
    named = {one.get("file") or one.get("name"): one.getparent().find("target").get("dev") for one in sources}
    assert named == {"rbd/system_web1": "vdb", "rbd/data_web1_0": "vdc", "/a.iso": "vda"}


@pytest.mark.parametrize(
    "inner",
    [
        "<encryption format='luks'><secret type='passphrase' uuid='u'/></encryption>",
        "<source file='/x'><encryption format='luks'/></source>",
        "<source file='/x'><slices><slice type='storage' offset='1' size='2'/></slices></source>",
    ],
)
def test_disk_that_would_be_read_wrongly_is_refused(env, image, inner):
    text = disk_xml(inner)
    if "<source" in inner:
        text = text.replace("<source file='/old.qcow2'/>", "")
    with pytest.raises(VmMgrError) as caught:
        create(env, CreateRequest("web1", DOMAIN.format(text), (image,)))
    assert caught.value.kind is Kind.NOT_SUPPORTED
    assert "vda" in caught.value.message
    assert not env.storage.vms


def notes(env):
    return {one.code: one.message for one in env.said if isinstance(one, Note)}


def test_create_names_once_what_changes_and_the_place_that_an_image_takes(env, image):
    data = disk_xml("<shareable/>", dev="vdb").replace("/old.qcow2", "/srv/data.qcow2")
    create(env, CreateRequest("web1", DOMAIN.format(data), (image,)))
    told = [one.message for one in env.said if isinstance(one, Note) and one.code == "definition-changed"]
    assert len(told) == 1
    assert f"vdb: {image} in place of /srv/data.qcow2" in told[0]
    assert "vdb: shareable dropped" in told[0]
    env.said.clear()
    create(env, CreateRequest("web2", DOMAIN.format(""), (image,)))
    assert "definition-changed" not in notes(env)


@pytest.mark.parametrize(
    "source",
    ["type='file'><source file='/srv/data.qcow2'/>", "type='network'><source protocol='nbd' name='data'/>"],
)
def test_disk_without_an_image_is_kept_and_named(env, image, source):
    further = f"<disk device='disk' {source}<target dev='vdb'/></disk>"
    create(env, CreateRequest("web1", DOMAIN.format(disk_xml() + further), (image,)))
    assert "data" in env.storage.definitions.read("web1")
    assert "vdb" in notes(env)["foreign-disks"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("<source protocol='rbd' name='vms/old'><host name='mon1'/></source>", "rbd:vms/old"),
        ("<source protocol='iscsi' name='iqn.a:t/1'><host name='san1'/></source>", "iscsi://san1/iqn.a:t/1"),
        ("<source file='/srv/a.img'/>", ""),
        ("", ""),
    ],
)
def test_network_disk_is_called_as_qemu_img_does(source, name):
    kind = "network" if "protocol" in source else "file"
    disk = f"<disk type='{kind}'>{source}<target dev='vda'/></disk>"
    assert [one.network for one in DomainXml().hard_disks(DOMAIN.format(disk))] == [name]


def test_takeover_keeps_what_the_domain_has(env, image):
    text = DOMAIN.format(
        disk_xml("<serial>SYS1</serial>", bus="sata", dev="sda").replace("/old.qcow2", image)
    )
    env.hypervisor.kept["old1"] = text
    add_to_cluster(env, Takeover(VmName("old1"), VmName("web1")))
    disk = etree.fromstring(env.storage.definitions.read("web1")).find("devices/disk")
    assert (disk.find("target").get("bus"), disk.findtext("serial")) == ("sata", "SYS1")
    env.hypervisor.kept["old2"] = text
    add_to_cluster(env, Takeover(VmName("old2"), VmName("web2"), VmSettings(disk_bus="virtio")))
    assert "bus sata → virtio" in notes(env)["definition-changed"]


def test_clone_takes_the_places_of_its_sources_disks_wherever_they_are(env, image):
    create(env, CreateRequest("web1", DOMAIN.format(disk_xml(bus="sata", dev="sda")), (image,)))
    foreign = "<disk type='file'><source file='/ro.img'/><target dev='vdz'/><shareable/></disk>"
    present = env.storage.definitions.read("web1").replace("<devices>", f"<devices>{foreign}")
    env.storage.definitions.describe("web1", {"xml": present})
    clone(env, CloneRequest(VmName("web1"), VmName("web2"), lambda source: source))
    text = env.storage.definitions.read("web2")
    assert ("rbd/system_web2" in text, "rbd/system_web1" in text, "/ro.img" in text) == (True, False, True)
    assert etree.fromstring(text).xpath("devices/disk[target/@bus='sata'][source/@name='rbd/system_web2']")
