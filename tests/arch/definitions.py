"""Say what becomes of each element of a domain's XML: `python -m tests.arch.definitions` prints the page.

Each row has an example. What the page says of it is what the code does with it: nothing here is told twice.
"""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.errors import VmMgrError
from vm_mgr.model.node_requirements import needed
from vm_mgr.model.requirement_words import text
from vm_mgr.model.storage import Disk, DiskKind, NetworkAccess
from vm_mgr.model.vm import VmName

__all__ = ["ROWS", "Row", "page", "row_of"]

DISK = Disk(
    *("rbd/system_web2", DiskKind.NETWORK, "raw", "", "writeback", ""),
    access=NetworkAccess("rbd", "libvirt", "ceph", "client.libvirt secret"),
)
WHOLE = """<domain type="{type}" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">{top}
<os{efi}><type arch="x86_64" machine="{machine}">hvm</type>{os}</os>
<devices>{disk}{devices}</devices></domain>"""
HARD_DISK = """<disk type="file"{attributes}><driver type="qcow2"{driver}/><source file="/old.qcow2"{source}/>
<target dev="{dev}" bus="{bus}"{target}/>{inner}</disk>"""
OURS = HARD_DISK.format(attributes="", driver="", source="", dev="vda", bus="virtio", target="", inner="")
UUID = "0b5b0d0c-3f0e-4c1a-9d53-6f2f4c3b1a01"

# Sections of the page → what is looked at: (its name, an example). A name with @ is an attribute.
TOP = """name=<name>web1</name>|uuid=<uuid>{uuid}</uuid>|hwuuid=<hwuuid>{uuid}</hwuuid>
genid=<genid>{uuid}</genid>|title=<title>t</title>|description=<description>d</description>
metadata=<metadata/>|memory=<memory>1024</memory>|maxMemory=<maxMemory slots="2">2048</maxMemory>
currentMemory=<currentMemory>512</currentMemory>|memoryBacking=<memoryBacking><hugepages/></memoryBacking>
memtune=<memtune><hard_limit>1</hard_limit></memtune>
numatune=<numatune><memory mode="strict" nodeset="0"/></numatune>
blkiotune=<blkiotune><weight>9</weight></blkiotune>|vcpu=<vcpu>2</vcpu>
vcpus=<vcpus><vcpu id="0" enabled="yes"/></vcpus>|iothreads=<iothreads>1</iothreads>
iothreadids=<iothreadids><iothread id="1"/></iothreadids>
cputune=<cputune><vcpupin vcpu="0" cpuset="1"/></cputune>
defaultiothread=<defaultiothread thread_pool_min="1"/>
resource=<resource><partition>/p</partition></resource>
sysinfo, UUID=<sysinfo type="smbios"><system><entry name="uuid">{uuid}</entry></system></sysinfo>
bootloader=<bootloader>/usr/bin/b</bootloader>|features=<features><acpi/></features>
cpu=<cpu mode="host-model"/>|clock=<clock offset="utc"/>|on_poweroff=<on_poweroff>destroy</on_poweroff>
on_reboot=<on_reboot>restart</on_reboot>|on_crash=<on_crash>restart</on_crash>
on_lockfailure=<on_lockfailure>pause</on_lockfailure>|pm=<pm><suspend-to-mem enabled="yes"/></pm>
perf=<perf><event name="cmt" enabled="yes"/></perf>
throttlegroups=<throttlegroups><throttlegroup/></throttlegroups>|idmap=<idmap/>
seclabel=<seclabel type="none"/>
seclabel@model=<seclabel type="dynamic" model="selinux"/>
launchSecurity=<launchSecurity type="sev"/>|keywrap=<keywrap/>
qemu:capabilities=<qemu:capabilities/>|qemu:override=<qemu:override/>
qemu:deprecation=<qemu:deprecation behavior="omit"/>
qemu:commandline=<qemu:commandline><qemu:arg value="-s"/></qemu:commandline>
qemu:arg with a MAC=<qemu:commandline><qemu:arg value="nic,mac=52:54:00:00:00:01"/></qemu:commandline>
qemu:arg with a path=<qemu:commandline><qemu:arg value="file=/x"/></qemu:commandline>
qemu:arg with a port=<qemu:commandline><qemu:arg value="user,hostfwd=tcp::2222-:22"/></qemu:commandline>"""
OS = """os/type=|os/loader=<loader type="rom">/fw/code.fd</loader>|os/kernel=<kernel>/k</kernel>
os/nvram=<nvram>/var/lib/libvirt/qemu/nvram/web1_VARS.fd</nvram>|os/initrd=<initrd>/i</initrd>
os/nvram, network=<nvram type="network"><source protocol="rbd" name="rbd/vars"/></nvram>
os/dtb=<dtb>/d</dtb>|os/cmdline=<cmdline>quiet</cmdline>|os/shim=<shim>/s</shim>|os/boot=<boot dev="hd"/>
os/bootmenu=<bootmenu enable="yes"/>|os/bios=<bios useserial="yes"/>|os/smbios=<smbios mode="sysinfo"/>
os/firmware=<firmware/>|os/varstore=<varstore path="/var/lib/web1.json"/>
os/acpi/table=<acpi><table type="slic">/slic</table></acpi>"""
DEVICES = """emulator=<emulator>/opt/qemu</emulator>|controller=<controller type="scsi" model="virtio-scsi"/>
disk, CD-ROM=<disk type="file" device="cdrom"><source file="/a.iso"/><target dev="sda"/><readonly/></disk>
disk, floppy=<disk type="file" device="floppy"><source file="/a.img"/><target dev="fda"/></disk>
disk, further=<disk type="file"><source file="/srv/data.img"/><target dev="vdb"/></disk>
disk, further, shareable=<disk type="file"><source file="/srv/s.img"/><target dev="vdb"/><shareable/></disk>
disk, of libvirt's pool=<disk type="volume"><source pool="p" volume="v"/><target dev="vdb"/><readonly/></disk>
disk, further/secret=<disk><source file="/e"/><encryption><secret type="iscsi" usage="e"/></encryption></disk>
lease=<lease><lockspace>s</lockspace><key>k</key><target path="/lease"/></lease>
filesystem=<filesystem type="mount"><source dir="/export"/><target dir="t"/></filesystem>
filesystem, by socket=<filesystem><source socket="/fs.sock"/><target dir="t"/></filesystem>
interface/mac=<interface type="bridge"><mac address="52:54:00:00:00:01"/><source bridge="br0"/></interface>
interface, bridge=<interface type="bridge"><source bridge="br0"/></interface>
interface, network=<interface type="network"><source network="default"/></interface>
interface, direct=<interface type="direct"><source dev="eno7" mode="bridge"/></interface>
interface, hostdev=<interface type="hostdev"><source><address type="pci" bus="0x07"/></source></interface>
interface, vhostuser=<interface type="vhostuser"><source type="unix" path="/o" mode="client"/></interface>
interface, vdpa=<interface type="vdpa"><source dev="/dev/vhost-vdpa-0"/></interface>
interface, udp=<interface type="udp"><source address="192.0.2.1" port="5"/></interface>
interface/target=<interface type="ethernet"><target dev="ovsp1" managed="no"/></interface>
interface/filterref=<interface type="bridge"><filterref filter="clean-traffic"/></interface>
interface/backend, passt=<interface type="user"><backend type="passt"/></interface>
interface/virtualport=<interface><virtualport><parameters interfaceid="{uuid}"/></virtualport></interface>
interface/portForward=<interface type="user"><portForward><range start="2022"/></portForward></interface>
input=<input type="tablet" bus="usb"/>
input, evdev=<input type="evdev"><source dev="/dev/input/event4"/></input>
graphics, automatic port=<graphics type="vnc" autoport="yes"/>
graphics/port=<graphics type="vnc" port="5905"/>|graphics/tlsPort=<graphics type="spice" tlsPort="5906"/>
graphics/websocket=<graphics type="vnc" websocket="5700"/>
graphics/socket=<graphics type="vnc" socket="/run/web1.sock"/>|video=<video><model type="virtio"/></video>
sound=<sound model="ich9"/>|audio=<audio id="1" type="file" path="/s.wav"/>|hub=<hub type="usb"/>
watchdog=<watchdog model="i6300esb" action="reset"/>|memballoon=<memballoon model="virtio"/>
rng=<rng model="virtio"><backend model="random">/dev/hwrng</backend></rng>|panic=<panic model="isa"/>
tpm, emulator=<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm>
tpm, emulator, path=<tpm><backend type="emulator"><source type="dir" path="/tpm/web1"/></backend></tpm>
tpm, passthrough=<tpm><backend type="passthrough"><device path="/dev/tpm0"/></backend></tpm>
shmem=<shmem name="shm1"/>|memory=<memory model="nvdimm"><source><path>/nvdimm</path></source></memory>
iommu=<iommu model="intel"/>|vsock=<vsock><cid auto="no" address="7"/></vsock>
crypto=<crypto model="virtio"/>
hostdev=<hostdev type="pci"><source><address bus="0x06"/></source></hostdev>
hostdev, SCSI=<hostdev type="scsi"><source><adapter name="scsi_host0"/><address unit="0"/></source></hostdev>
redirdev=<redirdev bus="usb" type="spicevmc"/>|redirfilter=<redirfilter><usbdev allow="no"/></redirfilter>
smartcard=<smartcard mode="host"/>|pstore=<pstore backend="acpi-erst"><path>/pstore</path></pstore>
nvram=<nvram/>|serial, terminal=<serial type="pty"/>
serial, file=<serial type="file"><source path="/log/web1.log"/></serial>
serial, port=<serial type="tcp"><source mode="bind" host="::" service="4555"/></serial>
serial, device=<serial type="dev"><source path="/dev/ttyS0"/></serial>
serial/log=<serial type="pty"><log file="/log/web1.log"/></serial>|parallel=<parallel type="pty"/>
console=<console type="pty"/>|channel=<channel type="unix"><source mode="bind" path="/run/web1"/></channel>"""
# Of a disk that one of the VM's own takes the place of: where it is put in the example, and what.
PARTS = """@type=|@device=attributes device="lun"|@model=attributes model="virtio-transitional"
@snapshot=attributes snapshot="external"|@rawio=attributes rawio="yes"|@sgio=attributes sgio="filtered"
source=|source@startupPolicy=source startupPolicy="optional"|target@dev=|target@bus=
target@rotation_rate, on SATA=target rotation_rate="1"|target@removable, on USB=target removable="on"
driver@type=|driver@cache=driver cache="none"|driver@cache, unsafe=driver cache="unsafe"
driver@io=driver io="native" cache="none"|driver@discard=driver discard="ignore"
driver@detect_zeroes=driver detect_zeroes="on"|driver@error_policy=driver error_policy="report"
driver@rerror_policy=driver rerror_policy="report"|driver@queues=driver queues="2"
driver@queue_size=driver queue_size="128"|driver@iothread=driver iothread="1"
driver@ioeventfd=driver ioeventfd="on"|driver@event_idx=driver event_idx="on"
driver@iommu=driver iommu="on"|driver@ats=driver ats="on"|driver@packed=driver packed="on"
driver@page_per_vq=driver page_per_vq="on"|driver@copy_on_read=driver copy_on_read="on"
driver@discard_no_unref=driver discard_no_unref="on"
iotune=inner <iotune><total_iops_sec>5</total_iops_sec></iotune>|throttlefilters=inner <throttlefilters/>
serial=inner <serial>S1</serial>|wwn, on SATA=inner <wwn>5000c50015ea71ac</wwn>
boot=inner <boot order="1"/>|vendor, on SCSI=inner <vendor>V</vendor>
product, on SCSI=inner <product>P</product>|blockio=inner <blockio logical_block_size="512"/>
geometry, on IDE=inner <geometry cyls="1" heads="2" secs="3"/>|alias=inner <alias name="ua-a"/>
address=inner <address type="pci" slot="0x05"/>|acpi=inner <acpi index="7"/>|shareable=inner <shareable/>
transient=inner <transient/>|backenddomain=inner <backenddomain name="d"/>|auth=inner <auth username="u"/>
backingStore=inner <backingStore/>|mirror=inner <mirror/>|encryption=inner <encryption format="luks"/>"""
BUSES = {"SATA": ("sata", "sda"), "SCSI": ("scsi", "sda"), "IDE": ("ide", "hda"), "USB": ("usb", "sda")}


class Row(NamedTuple):
    """An element, and a whole domain that has it; example is what the table is about, or nothing."""

    section: str
    name: str
    xml: str
    example: str = ""


def _whole(*, disk: str = OURS, efi: str = "", machine: str = "q35", **places: str) -> str:
    given = {"top": "", "os": "", "devices": "", "type": "qemu", **places}
    return WHOLE.format(disk=disk, efi=efi, machine=machine, **given)


def _entries(table: str) -> list[tuple[str, str]]:
    cells = [cell for line in table.splitlines() for cell in line.split("|")]
    return [(name, text.replace("{uuid}", UUID)) for name, _, text in (one.partition("=") for one in cells)]


def _part(name: str, text: str) -> Row:
    place, _, what = text.partition(" ")
    bus, dev = BUSES.get(name.partition(", on ")[2], ("virtio", "vda"))
    parts = {"attributes": "", "driver": "", "source": "", "target": "", "inner": "", "bus": bus, "dev": dev}
    if place:
        parts[place] = what if place == "inner" else f" {what}"
    return Row("Own disks", name, _whole(disk=HARD_DISK.format(**parts)), what)


ROWS = (
    Row("Domain", "@type", _whole(type="kvm")),
    Row("Domain", "os@firmware", _whole(efi=' firmware="efi"')),
    Row("Domain", "os/type@machine", _whole(machine="pc-q35-9.2")),
    *(Row("Domain", name, _whole(top=text), text) for name, text in _entries(TOP)),
    *(Row("Domain", name, _whole(os=text), text) for name, text in _entries(OS)),
    *(Row("Devices", name, _whole(devices=text), text) for name, text in _entries(DEVICES)),
    *(_part(*one) for one in _entries(PARTS)),
)
# What the import itself is about: the disk is vm-mgr's own from then on.
IMPORTED = ("@type", "source", "driver@type", "auth", "backingStore", "mirror")
INTRO = """# What becomes of a definition

Generated by `python -m tests.arch.definitions`: each row is what the code does with an example of the
element.

`create`, `edit` and `add-to-cluster` keep what a definition says. What can't stay is named once in the
answer. An element that is not in the tables is kept, and libvirt judges it.

- **Encoding**: a file is read in the encoding that its byte order mark or its first line tells, as by every
  XML parser: UTF-8, UTF-16, UTF-32, ISO-8859-1 and others. A file in UTF-8 that declares ISO-8859-1 is read
  as ISO-8859-1, and a warning says so. What is stored is UTF-8. A file has one domain.
- **Own disks**: each image takes the place of a hard disk of the definition, in their order, and keeps what
  that disk has. `--disk-bus` replaces the bus, and all that belongs to the old one. Further hard disks stay
  as they are, and are named: vm-mgr does not keep them.
- **Cache**: the cache of the definition is kept where no acknowledged write can be lost and the VM can
  migrate live. That is every one but `unsafe` on Ceph, and `none` and `directsync` in a directory. Else it
  is the storage's.
- **Clones**: what only one VM may have is new in a clone. What can't be made anew is named.
- **Second VMs**: `create`, `edit` and `clone --xml` refuse a definition that has what another VM has alone,
  and name that VM. That is each *its own* of the tables, and a disk that is neither read-only nor
  shareable. A copy of `vm-mgr show --xml` needs `<uuid>` and `<mac>` removed; or use `vm-mgr clone`.
  `--allow shared-with-vm` accepts all but a UUID and a disk, for VMs that never run on one node at the same
  time.
- **Nodes**: what is *needed* must be there on each node where the VM is to start. What is *state* is lost
  with its node. It is refused without `--allow node-local-state`. Where the medium of an optical or floppy
  drive is missing, the VM starts with an empty drive, unless the definition has a `startupPolicy` for it.
- **Live migration**: libvirt and QEMU, or some versions of them, do not move what is marked *not moved live*,
  and do not save its memory. A VM with `--on-move migrate` or `hibernate` that has it gets a warning, and
  `migrate` refuses to move it live without `--allow immovable`. A card with `<teaming type='transient'>` is
  moved.
"""


def row_of(row: Row) -> tuple[str, str, str]:
    """Give what becomes of it, what a clone has, and what a node must have."""
    definitions = DomainXml()
    problems = definitions.problems(row.xml)
    if problems:
        return f"refused: {problems[0].message}", "", ""
    try:
        made = definitions.prepare(row.xml, VmName("web2"), [DISK])
    except VmMgrError as error:
        return f"refused: {error.message}", "", ""
    copy = definitions.prepare(row.xml, VmName("web2"), [DISK], fresh=True)
    own = [one for one in definitions.exclusive(row.xml) if one.value != "/old.qcow2"]
    clone = "its own" if own and "disk" not in {one.what for one in own} else ""
    clone = "refused" if own and not clone else "the same one, named" if copy.shared else clone or "the same"
    if row.name in ("name", "sysinfo, UUID") or (row.name.startswith("qemu:arg") and "mac=" in row.example):
        clone = "its own"
    return _fate(row, made.xml, made.changes), clone, _needs(row, made.xml)


def _fate(row: Row, xml: str, changes: tuple[str, ...]) -> str:
    if changes:
        return "; ".join(change.partition(": ")[2] for change in changes)
    if row.section == "Own disks" and row.name in IMPORTED:
        return "that of the VM's own disk"
    return "kept" if not row.example or _has(xml, row) else "set by vm-mgr"


def _has(xml: str, row: Row) -> bool:
    if not row.example.startswith("<"):
        return row.example.split()[0] in xml
    namespaces = 'xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"'
    wanted = etree.fromstring(f"<x {namespaces}>{row.example}</x>")[0]
    return any(_plain(one) == _plain(wanted) for one in etree.fromstring(xml).iter(wanted.tag))


def _plain(one: etree._Element) -> tuple[object, ...]:
    """Give an element without blanks, order of attributes, and addresses that are made where none is."""
    parts = [_plain(part) for part in one if part.tag != "mac"]
    return one.tag, sorted(one.attrib.items()), (one.text or "").strip(), parts


def _needs(row: Row, made: str) -> str:
    """Name what a start needs; what a tie names by its path is named once."""
    definitions = DomainXml()
    ties = [tie for tie in definitions.ties(row.xml, ["/old.qcow2"]) if not tie.optional]
    named = [f"{tie.text}{' (state)' if tie.state else ''}" for tie in ties]
    required = [text(one) for one in needed(definitions.requirements(made))]
    stays = ["*not moved live*"] if definitions.immovable(made) else []
    return ", ".join([*(one for one in required if not any(one in tie for tie in named)), *named, *stays])


def page() -> str:
    """Give the whole page."""
    lines = [INTRO]
    for section in dict.fromkeys(row.section for row in ROWS):
        about = " that an image takes the place of, on Ceph" if section == "Own disks" else ""
        lines += [f"## {section}{about}", ""]
        lines += ["| element | of the definition | in a clone | needed |", "|---|---|---|---|"]
        for row in (row for row in ROWS if row.section == section):
            fate, clone, needs = row_of(row)
            lines.append(
                f"| `{row.name}` | {fate} | {clone} | {needs} |".replace("<", "`<").replace(">", ">`")
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
