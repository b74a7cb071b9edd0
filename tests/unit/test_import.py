"""Appliances: OVAs and OVFs as VMware and VirtualBox write them become VMs, or are refused as a whole."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.host.images import HostImages
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.cli.app import app
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.vm import VmSettings, VmState
from vm_mgr.operations.import_appliance import ImportRequest, import_appliance
from vm_mgr.reports import Note

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="the lab's nodes have it")

MIB = 1 << 20
RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf" '
    f'xmlns:rasd="{RASD}" xmlns:vbox="http://www.virtualbox.org/ovf/machine">'
)


def item(number, kind, words="", quantity="", more=""):
    parts = dict(pair.split("=", 1) for pair in words.split("|") if pair)
    inner = "".join(f"<rasd:{tag}>{text}</rasd:{tag}>" for tag, text in parts.items())
    count = f"<rasd:VirtualQuantity>{quantity}</rasd:VirtualQuantity>" if quantity else ""
    return (
        f"<Item {more}><rasd:InstanceID>{number}</rasd:InstanceID>"
        f"<rasd:ResourceType>{kind}</rasd:ResourceType>{inner}{count}</Item>"
    )


def disk_item(number, parent, place, ident):
    words = f"ElementName=disk|HostResource=ovf:/disk/{ident}|Parent={parent}|AddressOnParent={place}"
    return item(number, 17, words)


def ovf(items, *, disks=(("d1", "f1", 8),), files=(("f1", "disk1.vmdk"),), more="", name="web1", config=""):
    """disks: id, file and MiB; files: id and name."""
    refs = "".join(f'<File ovf:id="{ident}" ovf:href="{file}"/>' for ident, file in files)
    known = "".join(
        f'<Disk ovf:diskId="{ident}" {f"""ovf:fileRef="{file}" """ if file else ""}ovf:capacity="{size}" '
        'ovf:capacityAllocationUnits="byte * 2^20"/>'
        for ident, file, size in disks
    )
    return (
        f"{HEAD}<References>{refs}</References><DiskSection><Info/>{known}</DiskSection>"
        f'<VirtualSystem ovf:id="{name}"><Info/>{more}'
        f"<VirtualHardwareSection><Info/>{items}{config}</VirtualHardwareSection></VirtualSystem></Envelope>"
    )


BASE = item(1, 3, "vmw:CoresPerSocket=2".replace("vmw:", ""), 4) + item(
    2, 4, "AllocationUnits=byte * 2^20", 2048
)
VMWARE = (
    BASE
    + item(3, 6, "ResourceSubType=VirtualSCSI|Address=0")
    + item(4, 5, "Address=1")
    + item(5, 15, "ElementName=CD/DVD drive 1|Parent=4|AddressOnParent=0")
    + disk_item(6, 3, 1, "d2")
    + disk_item(7, 3, 0, "d1")
    + item(8, 10, "ResourceSubType=VmxNet3|Connection=VM Network|Address=00:50:56:01:02:03")
    + item(9, 10, "ResourceSubType=E1000|Connection=Storage")
    + item(10, 1, "ElementName=VMCI device|ResourceSubType=vmware.vmci")
    + item(11, 23, "ElementName=USB")
)
VMWARE_CONFIG = (
    '<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>'
    '<vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="true"/>'
    '<vmw:ExtraConfig ovf:required="false" vmw:key="svga.autodetect" vmw:value="TRUE"/>'
)
VIRTUALBOX = (
    item(1, 3, "Caption=1 virtual CPU", 1)
    + item(2, 4, "AllocationUnits=MegaBytes", 512)
    + item(3, 20, "ResourceSubType=AHCI|Caption=sataController0")
    + item(4, 35, "ResourceSubType=ensoniq1371|Caption=sound")
    + item(5, 23, "Caption=usb")
    + disk_item(6, 3, 0, "d1").replace("ovf:/disk", "/disk")
    + item(7, 10, "ResourceSubType=E1000|Connection=NAT|Caption=Ethernet adapter")
)
VIRTUALBOX_MORE = (
    '<OperatingSystemSection ovf:id="80"><vbox:OSType>Windows10_64</vbox:OSType></OperatingSystemSection>'
)


@pytest.fixture(scope="module")
def vmdk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vmdk")
    raw, path = folder / "disk.raw", folder / "disk.vmdk"
    raw.write_bytes(bytes(range(1, 256)) * 4096 + bytes(8 * MIB - 255 * 4096))
    options = ("-O", "vmdk", "-o", "subformat=streamOptimized")
    subprocess.run(["qemu-img", "convert", *options, str(raw), str(path)], check=True)
    return path.read_bytes()


@pytest.fixture
def env(env):
    """Read real packages and images; everything else is in memory."""
    env.images = HostImages(HostRunner())
    env.notes = []
    env.say = env.notes.append
    return env


def sums_of(members, algorithm="sha256"):
    return "".join(
        f"{algorithm.upper()}({name})= {hashlib.new(algorithm, content).hexdigest()}\n"
        for name, content in members.items()
    )


def ova(path, description, members, *, manifest=True, name="web1"):
    """Pack an OVA: the OVF first, then its manifest, then the disks."""
    content = description if isinstance(description, bytes) else description.encode()
    every = {f"{name}.ovf": content}
    if manifest:
        every[f"{name}.mf"] = sums_of({f"{name}.ovf": content, **members}).encode()
    every |= members
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for file, inner in every.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(inner)
            archive.addfile(entry, io.BytesIO(inner))
    return str(path)


@pytest.fixture
def vmware(tmp_path, vmdk):
    two = (("d1", "f1", 8), ("d2", "f2", 8))
    files = (("f1", "disk1.vmdk"), ("f2", "disk2.vmdk"))
    description = ovf(VMWARE, disks=two, files=files, config=VMWARE_CONFIG)
    return ova(tmp_path / "app.ova", description, {"disk2.vmdk": vmdk, "disk1.vmdk": vmdk})


@pytest.fixture
def virtualbox(tmp_path, vmdk):
    return ova(tmp_path / "app.ova", ovf(VIRTUALBOX, more=VIRTUALBOX_MORE), {"disk1.vmdk": vmdk})


@pytest.fixture
def plain(tmp_path, vmdk):
    return ova(tmp_path / "app.ova", ovf(BASE + disk_item(3, 9, 0, "d1")), {"disk1.vmdk": vmdk})


def refused(env, path, kind=Kind.INVALID, **request):
    with pytest.raises(VmMgrError) as caught:
        import_appliance(env, ImportRequest(str(path), **request))
    assert caught.value.kind is kind, caught.value.message
    assert caught.value.hint
    assert not env.storage.vms
    return caught.value


def definition(env, name="web1"):
    return etree.fromstring(env.storage.definitions.read(name))


def test_vmware_appliance_is_taken_over(env, vmware):
    request = ImportRequest(vmware, networks=("br0",))
    made = import_appliance(env, request)
    assert made.vm.state is VmState.STARTED
    domain = definition(env)
    assert DomainXml().machine(etree.tostring(domain, encoding="unicode")).memory_bytes == 2048 * MIB
    assert domain.findtext("vcpu") == "4"
    assert dict(domain.find("cpu/topology").attrib) == {"sockets": "2", "cores": "2", "threads": "1"}
    assert domain.find("os").get("firmware") == "efi"
    assert [one.get("type") for one in domain.iterfind("devices/interface/model")] == ["vmxnet3", "e1000"]
    assert {one.get("bridge") for one in domain.iterfind("devices/interface/source")} == {"br0"}
    assert [one.get("bus") for one in domain.iterfind("devices/disk/target")] == ["scsi", "scsi"]
    assert domain.find("devices/controller[@type='scsi']").get("model") == "vmpvscsi"
    assert "00:50:56:01:02:03" not in etree.tostring(domain, encoding="unicode")
    left = ", ".join(made.left)
    for what in (
        "CD-ROM drive",
        "VMCI device",
        "USB controller",
        "Secure Boot",
        "settings of VMware",
        "MAC",
    ):
        assert what in left
    assert [disk.rpartition(": ")[2] for disk in env.storage.vms["web1"].disks] == [
        "disk1.vmdk",
        "disk2.vmdk",
    ]


def test_virtualbox_appliance_is_taken_over(env, virtualbox):
    request = ImportRequest(virtualbox, name="win1", networks=("NAT=network:default",), kvm=False)
    made = import_appliance(env, request)
    domain = definition(env, "win1")
    assert domain.get("type") == "qemu"
    assert domain.find("clock").get("offset") == "localtime"
    assert domain.find("devices/interface").get("type") == "network"
    assert [one.get("bus") for one in domain.iterfind("devices/disk/target")] == ["sata"]
    assert {"sound card", "USB controller"} <= set(made.left)


def test_firmware_of_virtualbox_is_found(env, tmp_path, vmdk):
    machine = '<vbox:Machine OSType="Debian_64"><Hardware><Firmware type="EFI"/></Hardware></vbox:Machine>'
    path = ova(tmp_path / "app.ova", ovf(VIRTUALBOX, more=machine), {"disk1.vmdk": vmdk})
    import_appliance(env, ImportRequest(path, networks=("none",)))
    assert definition(env).find("os").get("firmware") == "efi"


def test_addresses_are_kept_only_on_request(env, vmware):
    networks = ("br0", "Storage=none")
    made = import_appliance(env, ImportRequest(vmware, networks=networks, keep_macs=True))
    assert [one.get("address") for one in definition(env).iterfind("devices/interface/mac")] == [
        "00:50:56:01:02:03"
    ]
    assert "network cards" in made.left


def test_networks_are_not_guessed(env, vmware):
    error = refused(env, vmware)
    assert "'VM Network', 'Storage'" in error.message
    assert "--network" in error.hint
    refused(env, vmware, networks=("br0", "Storgae=br1"))
    refused(env, vmware, networks=("br0", "br1"))
    refused(env, vmware, networks=("br0 up",))


@pytest.mark.parametrize(
    ("controller", "bus", "model", "told"),
    [
        ((5, ""), "ide", None, False),
        ((6, "lsilogicsas"), "scsi", "lsisas1068", False),
        ((6, "lsilogic"), "sata", None, True),
        ((6, "buslogic"), "sata", None, True),
        ((20, "vmware.sata.ahci"), "sata", None, False),
        ((20, "vmware.nvme.controller"), "sata", None, True),
        ((20, "VirtioSCSI"), "scsi", "virtio-scsi", False),
    ],
)
def test_disks_are_on_a_bus_that_the_guest_knows(env, tmp_path, vmdk, controller, bus, model, told):
    kind, subtype = controller
    items = BASE + item(3, kind, f"ResourceSubType={subtype}") + disk_item(4, 3, 0, "d1")
    made = import_appliance(env, ImportRequest(ova(tmp_path / "a.ova", ovf(items), {"disk1.vmdk": vmdk})))
    domain = definition(env)
    assert domain.find("devices/disk/target").get("bus") == bus
    found = domain.find("devices/controller[@type='scsi']")
    assert (None if found is None else found.get("model")) == model
    assert any("instead" in one for one in made.left) is told
    assert domain.find("os/type").get("machine") == ("pc" if bus == "ide" else "q35")


def test_bus_can_be_chosen(env, plain):
    import_appliance(env, ImportRequest(plain, settings=VmSettings(disk_bus="virtio")))
    assert definition(env).find("devices/disk/target").get("bus") == "virtio"


def test_description_with_its_files_beside_it_is_taken(env, tmp_path, vmdk):
    (tmp_path / "disk1.vmdk").write_bytes(vmdk)
    path = tmp_path / "web1.ovf"
    path.write_text(ovf(BASE + disk_item(3, 9, 0, "d1")))
    assert import_appliance(env, ImportRequest(str(path))).vm.state is VmState.STARTED
    assert any(isinstance(note, Note) and note.code == "no-manifest" for note in env.notes)


def test_disk_in_another_format_is_taken(env, tmp_path, vmdk):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "q"), "8M"], check=True)
    path = ova(
        tmp_path / "a.ova",
        ovf(BASE + disk_item(3, 9, 0, "d1")),
        {"disk1.vmdk": (tmp_path / "q").read_bytes()},
    )
    import_appliance(env, ImportRequest(path))


def test_empty_disk_is_made(env, tmp_path, vmdk):
    items = BASE + disk_item(3, 9, 0, "d1") + disk_item(4, 9, 1, "d2")
    description = ovf(items, disks=(("d1", "f1", 8), ("d2", "", 16)))
    import_appliance(env, ImportRequest(ova(tmp_path / "a.ova", description, {"disk1.vmdk": vmdk})))
    assert env.storage.vms["web1"].sizes == [8 * MIB, 16 * MIB]


def test_dry_run_shows_the_steps_and_makes_nothing(env, plain):
    done = CliRunner(mix_stderr=False).invoke(app, ("import", plain, "--dry-run"), obj=env)
    assert done.exit_code == 0, done.stderr
    assert "disk1.vmdk" in done.stdout
    assert not env.storage.vms


def test_answer_names_what_is_not_taken_over(env, virtualbox):
    words = ("import", virtualbox, "--network", "br0")
    done = CliRunner(mix_stderr=False).invoke(app, words, obj=env)
    assert done.stdout.splitlines()[0] == "web1 is Started on n1"
    assert "not taken over: sound card, USB controller" in done.stdout
    words = ("import", virtualbox, "--name", "web2", "--network", "br0", "-o", "json")
    done = CliRunner(mix_stderr=False).invoke(app, words, obj=env)
    assert "sound card" in json.loads(done.stdout)["not_taken_over"]


def test_existing_vm_is_refused_without_force(env, plain):
    import_appliance(env, ImportRequest(plain))
    with pytest.raises(VmMgrError) as caught:
        import_appliance(env, ImportRequest(plain))
    assert caught.value.kind is Kind.EXISTS
    import_appliance(env, ImportRequest(plain, force=True))


def test_failing_import_leaves_nothing(env, plain):
    env.storage.may_fail = lambda verb: (_ for _ in ()).throw(OSError(verb)) if verb == "fill" else None
    with pytest.raises(OSError, match="fill"):
        import_appliance(env, ImportRequest(plain))
    assert not env.storage.vms
    assert not env.cluster.resources


# What is refused


def test_name_that_no_vm_can_have_asks_for_another(env, tmp_path, vmdk):
    description = ovf(BASE + disk_item(3, 9, 0, "d1"), name="My Appliance 1.0")
    path = ova(tmp_path / "a.ova", description, {"disk1.vmdk": vmdk})
    assert "--name" in refused(env, path).hint
    assert import_appliance(env, ImportRequest(path, name="app1")).vm.name == "app1"


def test_changed_disk_is_refused_by_the_manifest(env, tmp_path, vmdk):
    path = tmp_path / "a.ova"
    ova(path, ovf(BASE + disk_item(3, 9, 0, "d1")), {"disk1.vmdk": vmdk})
    content = bytearray(path.read_bytes())
    place = content.index(vmdk[:512]) + 70_000
    content[place] ^= 0xFF
    path.write_bytes(content)
    assert "disk1.vmdk" in refused(env, path).message


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_manifest_of_each_algorithm_is_read(env, tmp_path, vmdk, algorithm):
    description = ovf(BASE + disk_item(3, 9, 0, "d1")).encode()
    (tmp_path / "disk1.vmdk").write_bytes(vmdk)
    (tmp_path / "web1.ovf").write_bytes(description)
    sums = sums_of({"web1.ovf": description, "disk1.vmdk": vmdk}, algorithm)
    (tmp_path / "web1.mf").write_text(sums)
    import_appliance(env, ImportRequest(str(tmp_path / "web1.ovf"), start=False))
    env.storage.vms.clear()
    (tmp_path / "web1.mf").write_text(sums.replace("= ", "= 0"))
    refused(env, tmp_path / "web1.ovf", name="web2")


def test_disk_that_the_manifest_does_not_name_is_told(env, tmp_path, vmdk):
    description = ovf(BASE + disk_item(3, 9, 0, "d1")).encode()
    (tmp_path / "disk1.vmdk").write_bytes(vmdk)
    (tmp_path / "web1.ovf").write_bytes(description)
    (tmp_path / "web1.mf").write_text(sums_of({"web1.ovf": description}))
    import_appliance(env, ImportRequest(str(tmp_path / "web1.ovf")))
    assert [note for note in env.notes if isinstance(note, Note) and "disk1.vmdk" in note.message]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_package_that_was_cut_is_refused(env, tmp_path, plain, share):
    content = (tmp_path / "app.ova").read_bytes()
    (tmp_path / "app.ova").write_bytes(content[: int(len(content) * share) // 512 * 512])
    refused(env, plain)


@pytest.mark.parametrize("name", ["../disk1.vmdk", "/etc/shadow", "a/disk1.vmdk", "..", "..\\disk1.vmdk"])
def test_name_that_leads_out_of_the_package_is_refused(env, tmp_path, vmdk, name):
    description = ovf(BASE + disk_item(3, 9, 0, "d1"), files=(("f1", name),))
    refused(env, ova(tmp_path / "a.ova", description, {name: vmdk}))
    refused(env, ova(tmp_path / "b.ova", description, {"disk1.vmdk": vmdk}))
    (tmp_path / "web1.ovf").write_text(description)
    refused(env, tmp_path / "web1.ovf")


@pytest.mark.parametrize(
    "href", ["http://192.0.2.1/d", "file:///etc/shadow", "nbd:192.0.2.1:1", 'json:{"driver":"nbd"}']
)
def test_address_in_place_of_a_file_is_refused(env, tmp_path, href):
    description = ovf(BASE + disk_item(3, 9, 0, "d1"), files=(("f1", href.replace('"', "&quot;")),))
    (tmp_path / "web1.ovf").write_text(description)
    assert "lacks the disk" in refused(env, tmp_path / "web1.ovf").message


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_link_or_device_in_a_package_is_refused(env, tmp_path, kind):
    path = tmp_path / "a.ova"
    with tarfile.open(path, "w") as archive:
        content = ovf(BASE + disk_item(3, 9, 0, "d1")).encode()
        entry = tarfile.TarInfo("web1.ovf")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("disk1.vmdk")
        link.type, link.linkname = kind, "/etc/shadow"
        archive.addfile(link)
    assert "disk1.vmdk" in refused(env, path).message


def test_link_beside_a_description_is_not_followed(env, tmp_path):
    (tmp_path / "web1.ovf").write_text(ovf(BASE + disk_item(3, 9, 0, "d1")))
    (tmp_path / "disk1.vmdk").symlink_to("/etc/passwd")
    refused(env, tmp_path / "web1.ovf")


def test_file_that_is_there_twice_is_refused(env, tmp_path, vmdk):
    path = tmp_path / "a.ova"
    ova(path, ovf(BASE + disk_item(3, 9, 0, "d1")), {"disk1.vmdk": vmdk}, manifest=False)
    with tarfile.open(path, "a") as archive:
        entry = tarfile.TarInfo("disk1.vmdk")
        archive.addfile(entry)
    assert "twice" in refused(env, path).message


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><Envelope>&x;</Envelope>",
        "<?xml version='1.0'?><Envelope><VirtualSystem>",
        "<domain/>",
        f"{HEAD}</Envelope>",
        ovf("").replace("VirtualHardwareSection", "Other"),
        ovf(disk_item(3, 9, 0, "d1")),
        ovf(item(1, 3, "", 1) + disk_item(3, 9, 0, "d1")),
        ovf(item(1, 3, "", 1) + item(2, 4, "AllocationUnits=furlong", 1) + disk_item(3, 9, 0, "d1")),
        ovf(BASE),
        ovf(BASE + disk_item(3, 9, 0, "other")),
        ovf(BASE + disk_item(3, 9, 0, "d1"), files=()),
    ],
)
def test_description_that_says_too_little_or_too_much_is_refused(env, tmp_path, vmdk, text):
    path = ova(tmp_path / "a.ova", text, {"disk1.vmdk": vmdk})
    with pytest.raises(VmMgrError) as caught:
        import_appliance(env, ImportRequest(path, name="web1"))
    assert caught.value.kind in (Kind.INVALID, Kind.NOT_SUPPORTED)
    assert caught.value.hint


def test_several_vms_in_one_are_refused_by_name(env, tmp_path):
    two = '<VirtualSystem ovf:id="a"/><VirtualSystem ovf:id="b"/>'
    path = ova(
        tmp_path / "a.ova", f"{HEAD}<VirtualSystemCollection>{two}</VirtualSystemCollection></Envelope>", {}
    )
    assert "a, b" in refused(env, path, kind=Kind.NOT_SUPPORTED).message


def test_disk_that_needs_a_parent_is_refused(env, tmp_path, vmdk):
    text = ovf(BASE + disk_item(3, 9, 0, "d1")).replace(
        'ovf:fileRef="f1"', 'ovf:fileRef="f1" ovf:parentRef="d0"'
    )
    refused(env, ova(tmp_path / "a.ova", text, {"disk1.vmdk": vmdk}), kind=Kind.NOT_SUPPORTED)


def test_guest_for_another_processor_is_refused(env, tmp_path, vmdk):
    system = '<OperatingSystemSection vmw:osType="arm-ubuntu-64Guest"/>'
    path = ova(tmp_path / "a.ova", ovf(BASE + disk_item(3, 9, 0, "d1"), more=system), {"disk1.vmdk": vmdk})
    refused(env, path, kind=Kind.NOT_SUPPORTED)


def test_packed_disk_in_a_package_is_refused(env, tmp_path):
    path = ova(
        tmp_path / "a.ova", ovf(BASE + disk_item(3, 9, 0, "d1")), {"disk1.vmdk": b"\x1f\x8b\x08" + bytes(509)}
    )
    assert "gzip" in refused(env, path).message


def test_configuration_that_counts_is_the_default_one(env, tmp_path, vmdk):
    section = (
        '<DeploymentOptionSection><Configuration ovf:id="small"/>'
        '<Configuration ovf:id="large" ovf:default="true"/></DeploymentOptionSection>'
    )
    items = (
        item(1, 3, "", 1)
        + item(2, 4, "", 512)
        + item(2, 4, "", 8192, more='ovf:configuration="large"')
        + item(2, 4, "", 1, more='ovf:bound="min"')
        + disk_item(3, 9, 0, "d1")
    )
    text = ovf(items).replace("<VirtualSystem ", f"{section}<VirtualSystem ", 1)
    made = import_appliance(env, ImportRequest(ova(tmp_path / "a.ova", text, {"disk1.vmdk": vmdk})))
    assert definition(env).findtext("memory") == str(8192 * MIB)
    assert any("configurations" in one for one in made.left)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 200, b"\x1f\x8b\x08" + bytes(509)])
def test_what_is_no_package_is_refused(env, tmp_path, content):
    path = tmp_path / "a.ova"
    path.write_bytes(content)
    refused(env, path)
    refused(env, tmp_path / "none.ova", kind=Kind.NOT_FOUND)


def test_exit_status_of_a_refusal(env, tmp_path):
    done = CliRunner(mix_stderr=False).invoke(app, ("import", str(tmp_path / "none.ova")), obj=env)
    assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND]
