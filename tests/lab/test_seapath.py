"""Clusters that SEAPATH has set up are taken over as they are, and what we make is laid out as theirs."""

import json
from collections.abc import Iterator

import pytest
from lxml import etree

from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .test_life import DEFINITION, shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

DISKS = ("system_sea1", "data_sea1_0")
UUID = "5ea9a7b0-0000-4000-8000-000000000001"

# What SEAPATH's tool writes beside the system disk, but for the definition.
SETTINGS = {
    "vm_name": "sea1",
    "_live_migration": "true",
    "_migration_user": "root",
    "_stop_timeout": "15",
    "_preferred_host": "n2",
    "_priority": "5",
    "_disk_bus": "virtio",
    "_pacemaker_meta": '{"resource-stickiness": "100"}',
    "_pacemaker_params": "{}",
    "_additional_disks": "1",
    "owner": "team grid",
}

# A primitive as crmsh writes it for SEAPATH's tool, with what it adds for an observer and for a pinned VM.
PRIMITIVE = """<primitive id="sea1" class="ocf" provider="{provider}" type="VirtualDomain">
<instance_attributes id="sea1-instance_attributes">
<nvpair name="force_stop" value="false" id="sea1-instance_attributes-force_stop"/>
<nvpair name="config" value="/etc/pacemaker/sea1.xml" id="sea1-instance_attributes-config"/>
<nvpair name="hypervisor" value="qemu:///system" id="sea1-instance_attributes-hypervisor"/>
<nvpair name="migration_transport" value="ssh" id="sea1-instance_attributes-migration_transport"/>
<nvpair name="migration_user" value="root" id="sea1-instance_attributes-migration_user"/>
</instance_attributes>
<meta_attributes id="sea1-meta_attributes">
<nvpair name="allow-migrate" value="true" id="sea1-meta_attributes-allow-migrate"/>
<nvpair name="is-managed" value="true" id="sea1-meta_attributes-is-managed"/>
<nvpair name="priority" value="5" id="sea1-meta_attributes-priority"/>
<nvpair name="target-role" value="Stopped" id="sea1-meta_attributes-target-role"/>
</meta_attributes>
<operations>
<op name="start" timeout="120" interval="0s" id="sea1-start-0s"/>
<op name="stop" timeout="15" interval="0s" id="sea1-stop-0s"/>
<op name="migrate_from" timeout="60" interval="0s" id="sea1-migrate_from-0s"/>
<op name="migrate_to" timeout="120" interval="0s" id="sea1-migrate_to-0s"/>
<op name="monitor" timeout="60" interval="10" id="sea1-monitor-10"/>
</operations>
</primitive>"""
CONSTRAINTS = (
    '<rsc_location id="pin-sea1-onn1" rsc="sea1" resource-discovery="exclusive" score="INFINITY" node="n1"/>',
    '<rsc_location id="cli-ban-sea1-on-n3" rsc="sea1" role="Started" node="n3" score="-INFINITY"/>',
)


def rbd(lab: Lab, *arguments: str) -> str:
    return lab.execute("n1", ["rbd", *arguments], timeout_s=120).stdout


def metadata(lab: Lab, name: str) -> dict[str, str]:
    """Read what stands beside a system disk, without vm-mgr's own notes."""
    listed = json.loads(rbd(lab, "image-meta", "list", f"rbd/system_{name}", "--format", "json") or "{}")
    return {key: value for key, value in listed.items() if not key.startswith("_vm_mgr_")}


def members(lab: Lab, name: str) -> set[str]:
    return set(rbd(lab, "group", "image", "list", f"rbd/{name}").split())


def snapshots(lab: Lab, image: str) -> list[str]:
    return [one["name"] for one in json.loads(rbd(lab, "snap", "ls", f"rbd/{image}", "--format", "json"))]


def content(lab: Lab, image: str) -> str:
    return shell(lab, f"rbd export --no-progress rbd/{image} - | md5sum").split()[0]


def write(lab: Lab, image: str, pattern: int) -> None:
    shell(lab, f"qemu-io -f raw -c 'write -P {pattern} 0 64k' rbd:rbd/{image}:id=vm-mgr")


def state(lab: Lab, name: str) -> tuple[str, str]:
    told = json.loads(vm_mgr(lab, "status", name, "--output", "json"))
    return told["state"], told["node"]


def configuration(lab: Lab) -> etree._Element:
    return etree.fromstring(lab.execute("n1", ["cibadmin", "--query"]).stdout.encode()).find("configuration")


def secret(lab: Lab, node: str) -> str:
    listed = lab.execute(node, ["virsh", "-q", "secret-list"]).stdout.splitlines()
    return next(line.split()[0] for line in listed if "client.libvirt secret" in line)


def definition(identity: str) -> str:
    """Write a definition as SEAPATH's tool does: the disks appended, opened by libvirt's secret."""
    disks = "".join(
        f"""<disk type="network" device="disk"><driver name="qemu" type="raw" cache="writeback"/>
<auth username="libvirt"><secret type="ceph" {identity}/></auth>
<source protocol="rbd" name="rbd/{image}"><host name="n1-cluster" port="6789"/></source>
<target dev="vd{letter}" bus="virtio"/></disk>"""
        for image, letter in zip(DISKS, "ab", strict=True)
    )
    named = DEFINITION.replace("<name>any</name>", f"<name>sea1</name><uuid>{UUID}</uuid>")
    return named.replace("</devices>", f"{disks}</devices>")


def make_as_seapath_does(lab: Lab, xml: str, **changed: str | None) -> dict[str, str]:
    """Make sea1 with two disks by rbd alone; give what stands beside its system disk."""
    for image in DISKS:
        rbd(lab, "create", "--size", "8M", f"rbd/{image}")
    rbd(lab, "group", "create", "rbd/sea1")
    for image in DISKS:
        rbd(lab, "group", "image", "add", "rbd/sea1", f"rbd/{image}")
    kept = {**SETTINGS, "xml": xml, "_base_xml": DEFINITION, **changed}
    given = {key: value for key, value in kept.items() if value is not None}
    for key, value in given.items():
        rbd(lab, "image-meta", "set", "rbd/system_sea1", key, value)
    return given


@pytest.fixture
def clean(lab: Lab) -> Iterator[None]:
    """Give the image and definition to make VMs of; afterwards nothing of sea1 and sea2 is left anywhere."""
    paths = "cibadmin -Q --xpath '//primitive|//rsc_location' --node-path"
    look = f"rbd ls rbd; rbd group ls rbd; rbd trash ls rbd; {paths}"
    before = shell(lab, look)
    lab.execute("n1", ["sh", "-c", "cat > /root/sea.xml"], stdin=DEFINITION)
    shell(lab, "qemu-img create -q -f qcow2 /root/sea.qcow2 8M")
    yield
    for name in ("sea2", "sea1"):
        lab.execute("n1", ["vm-mgr", "remove", name], check=False, timeout_s=120)
    shell(lab, "rm /root/sea.xml /root/sea.qcow2")
    assert shell(lab, look) == before


@pytest.fixture
def theirs(lab: Lab, clean: None) -> dict[str, str]:
    """Make a VM of SEAPATH's with two disks and two snapshots of both."""
    kept = make_as_seapath_does(lab, definition('usage="client.libvirt secret"'))
    for pattern, snapshot in ((1, "first"), (2, "second")):
        for image in DISKS:
            write(lab, image, pattern)
            rbd(lab, "snap", "create", "--no-progress", f"rbd/{image}@{snapshot}")
    return kept


def test_their_vm_is_seen_with_all_that_is_kept(lab: Lab, theirs: dict[str, str]) -> None:
    listed = json.loads(vm_mgr(lab, "list", "--output", "json"))
    assert ("sea1", "Disabled") in {(vm["name"], vm["state"]) for vm in listed}
    assert json.loads(vm_mgr(lab, "list_metadata", "--name", "sea1", "--output", "json")) == theirs
    told = vm_mgr(lab, "get_metadata", "--name", "sea1", "--metadata_name", "owner")
    assert told == "team grid\n"
    found = json.loads(vm_mgr(lab, "list_snapshots", "--name", "sea1", "--output", "json"))
    assert [(one["name"], one["consistency"]) for one in found] == [
        ("first", "unknown"),
        ("second", "unknown"),
    ]
    assert metadata(lab, "sea1") == theirs


def test_their_vm_is_enabled_as_its_settings_say(lab: Lab, theirs: dict[str, str]) -> None:
    vm_mgr(lab, "enable", "--name", "sea1", "--nostart")
    assert state(lab, "sea1") == ("Stopped", "")
    cib = configuration(lab)
    primitive = cib.find("resources//primitive[@id='sea1']")
    meta = {pair.get("name"): pair.get("value") for pair in primitive.iterfind("meta_attributes/nvpair")}
    assert meta == {
        "allow-migrate": "true",
        "priority": "5",
        "target-role": "Stopped",
        "resource-stickiness": "100",
    }
    stop = primitive.find("operations/op[@name='stop']")
    assert stop.get("timeout") == "15s"
    vm_mgr(lab, "start", "--name", "sea1")
    assert state(lab, "sea1") == ("Started", "n2")
    vm_mgr(lab, "migrate", "sea1", "n3")
    assert qemu_nodes(lab, "sea1") == ("n3",)
    vm_mgr(lab, "disable", "--name", "sea1")
    assert metadata(lab, "sea1") == theirs


def test_their_snapshots_and_ours_stand_side_by_side(lab: Lab, theirs: dict[str, str]) -> None:
    second = [content(lab, image) for image in DISKS]
    for image in DISKS:
        write(lab, image, 3)
    vm_mgr(lab, "create_snapshot", "--name", "sea1", "--snap_name", "third")
    third = [content(lab, image) for image in DISKS]
    assert [snapshots(lab, image) for image in DISKS] == [["first", "second", "third"]] * 2
    for snapshot, expected in (("second", second), ("third", third)):
        vm_mgr(lab, "rollback", "--name", "sea1", "--snap_name", snapshot)
        assert [content(lab, image) for image in DISKS] == expected
    vm_mgr(lab, "remove_snapshot", "--name", "sea1", "--snap_name", "second")
    assert [snapshots(lab, image) for image in DISKS] == [["first", "third"]] * 2
    vm_mgr(lab, "purge", "--name", "sea1", "--number", "1")
    assert [snapshots(lab, image) for image in DISKS] == [["third"]] * 2
    vm_mgr(lab, "purge", "--name", "sea1")
    assert [snapshots(lab, image) for image in DISKS] == [[]] * 2
    assert metadata(lab, "sea1") == theirs


def test_their_metadata_change_one_by_one(lab: Lab, theirs: dict[str, str]) -> None:
    vm_mgr(lab, "set_metadata", "--name", "sea1", "--metadata_name", "owner", "--metadata_value", "shift B")
    assert metadata(lab, "sea1") == {**theirs, "owner": "shift B"}


def test_their_vm_is_cloned_with_all_disks_and_settings(lab: Lab, theirs: dict[str, str]) -> None:
    vm_mgr(lab, "clone", "--name", "sea1", "--dst_name", "sea2", "--disable")
    assert members(lab, "sea2") == {"rbd/system_sea2", "rbd/data_sea2_0"}
    for image in DISKS:
        assert content(lab, image.replace("sea1", "sea2")) == content(lab, image)
        assert snapshots(lab, image) == ["first", "second"]
        assert snapshots(lab, image.replace("sea1", "sea2")) == []
    made = metadata(lab, "sea2")
    same = {
        "_live_migration",
        "_migration_user",
        "_stop_timeout",
        "_preferred_host",
        "_priority",
        "_disk_bus",
    }
    for key in (*same, "_additional_disks", "owner"):
        assert made[key] == theirs[key], key
    assert made["vm_name"] == "sea2"
    assert json.loads(made["_pacemaker_meta"]) == {"resource-stickiness": "100"}
    assert UUID not in made["xml"]
    assert "rbd/data_sea2_0" in made["xml"]
    assert "sea1" not in made["xml"]
    assert metadata(lab, "sea1") == theirs


def test_their_vm_is_renamed_with_all_disks_and_snapshots(lab: Lab, theirs: dict[str, str]) -> None:
    before = [content(lab, image) for image in DISKS]
    vm_mgr(lab, "rename", "--name", "sea1", "--new-name", "sea2")
    renamed = [image.replace("sea1", "sea2") for image in DISKS]
    assert members(lab, "sea2") == {f"rbd/{image}" for image in renamed}
    assert [content(lab, image) for image in renamed] == before
    assert [snapshots(lab, image) for image in renamed] == [["first", "second"]] * 2
    made = metadata(lab, "sea2")
    assert {key: made[key] for key in made if key != "xml"} == {
        **{key: theirs[key] for key in theirs if key != "xml"},
        "vm_name": "sea2",
    }
    domain = etree.fromstring(made["xml"].encode())
    assert domain.findtext("name") == "sea2"
    assert {source.get("name") for source in domain.iterfind("devices/disk/source")} == members(lab, "sea2")
    assert "sea1" not in rbd(lab, "group", "ls", "rbd").split()


def test_their_vm_is_removed_with_disks_and_snapshots(lab: Lab, theirs: dict[str, str]) -> None:
    vm_mgr(lab, "remove", "--name", "sea1")
    assert "sea1" not in rbd(lab, "ls", "rbd") + rbd(lab, "group", "ls", "rbd") + rbd(
        lab, "trash", "ls", "rbd"
    )


# How each option of create is to stand beside the system disk.
LAYOUT = {
    ("--enable-live-migration",): {"_live_migration": "true"},
    ("--migration-user", "root"): {"_migration_user": "root"},
    ("--stop-timeout", "40"): {"_stop_timeout": "40"},
    ("--migrate-to-timeout", "90"): {"_migrate_to_timeout": "90"},
    ("--migration-downtime", "300"): {"_migration_downtime": "300"},
    ("--pinned-host", "n2"): {"_pinned_host": "n2"},
    ("--priority", "7"): {"_priority": "7"},
    ("--disk-bus", "sata"): {"_disk_bus": "sata"},
    ("--add-crm-config-cmd", "location a", "--add-crm-config-cmd", "location b"): {
        "_crm_config_cmd": "location a\nlocation b"
    },
    ("--pacemaker-meta", "resource-stickiness=10"): {"_pacemaker_meta": '{"resource-stickiness": "10"}'},
    ("--pacemaker-params", "migration_speed=5", "force_stop=true"): {
        "_pacemaker_params": '{"migration_speed": "5", "force_stop": "true"}'
    },
    ("--pacemaker-utilization", "cpu=4"): {"_pacemaker_utilization": '{"cpu": "4"}'},
    ("--metadata", "owner=me", "site=north"): {"owner": "me", "site": "north"},
    ("--additional-disk", "/root/sea.qcow2"): {"_additional_disks": "1"},
}
REMOTE = {
    "_remote_node": "inner1",
    "_remote_node_address": "192.0.2.77",
    "_remote_node_port": "3122",
    "_remote_node_timeout": "20",
}


def test_our_vm_has_their_layout(lab: Lab, clean: None) -> None:
    options = [word for words in LAYOUT for word in words]
    create = ("create", "--name", "sea1", "--xml", "/root/sea.xml", "-i", "/root/sea.qcow2", "--disable")
    vm_mgr(lab, *create, *options)
    assert members(lab, "sea1") == {f"rbd/{image}" for image in DISKS}
    expected = {key: value for kept in LAYOUT.values() for key, value in kept.items()}
    made = metadata(lab, "sea1")
    xml, base = made.pop("xml"), made.pop("_base_xml")
    assert base == DEFINITION
    assert made.pop("vm_name") == "sea1"
    assert made == expected
    domain = etree.fromstring(xml.encode())
    disks = [
        (
            disk.find("source").get("name"),
            disk.find("auth").get("username"),
            disk.find("auth/secret").get("usage"),
        )
        for disk in domain.iterfind("devices/disk")
    ]
    assert disks == [(f"rbd/{image}", "libvirt", "client.libvirt secret") for image in DISKS]
    vm_mgr(lab, "create_snapshot", "--name", "sea1", "--snap_name", "one")
    assert [snapshots(lab, image) for image in DISKS] == [["one"]] * 2
    names = ("--remote_name", "inner1", "--remote_address", "192.0.2.77")
    more = ("--remote_port", "3122", "--remote_timeout", "20")
    vm_mgr(lab, "add_pacemaker_remote", "--name", "sea1", *names, *more)
    made = metadata(lab, "sea1")
    assert {key: made[key] for key in REMOTE} == REMOTE
    assert json.loads(made["_pacemaker_meta"]) == {"resource-stickiness": "10"}


@pytest.fixture(params=["heartbeat", "seapath"])
def their_resource(request: pytest.FixtureRequest, lab: Lab, clean: None) -> Iterator[str]:
    """Run sea1 by a resource as SEAPATH's tool makes it; their agent is heartbeat's with some additions."""
    provider = str(request.param)
    agents = "/usr/lib/ocf/resource.d"
    xml = definition(f'uuid="{secret(lab, "n1")}"')  # another one on every node of the lab: sea1 stays on n1
    xml = xml.replace("<name>", "\n<name>").replace("</name>", "</name>\n")  # their agent reads whole lines
    make_as_seapath_does(lab, xml, _preferred_host=None, _pinned_host="n1")
    for node in lab.nodes:
        lab.execute(
            node.name, ["sh", "-c", "mkdir -p /etc/pacemaker; cat > /etc/pacemaker/sea1.xml"], stdin=xml
        )
        if provider == "seapath":
            copy = f"mkdir -p {agents}/seapath; cp {agents}/heartbeat/VirtualDomain {agents}/seapath/"
            lab.execute(node.name, ["sh", "-ec", copy])
    primitive = PRIMITIVE.format(provider=provider)
    lab.execute("n1", ["cibadmin", "--create", "--scope", "resources", "--xml-pipe"], stdin=primitive)
    for text in CONSTRAINTS:
        lab.execute("n1", ["cibadmin", "--create", "--scope", "constraints", "--xml-text", text])
    shell(lab, "crm_resource --resource sea1 --meta --set-parameter target-role --parameter-value Started")
    wait_until(lambda: state(lab, "sea1")[0] == "Started", what="sea1 to start", timeout_s=180)
    yield provider
    vm_mgr(lab, "remove", "sea1")
    for node in lab.nodes:
        lab.execute(node.name, ["rm", "-rf", "/etc/pacemaker/sea1.xml", f"{agents}/seapath"])


@pytest.mark.turns
def test_their_resource_is_shown_stopped_and_becomes_ours(lab: Lab, their_resource: str) -> None:
    def provider() -> str:
        return str(configuration(lab).find("resources//primitive[@id='sea1']").get("provider"))

    def constraints() -> set[str]:
        named = configuration(lab).iterfind("constraints/rsc_location[@rsc='sea1']")
        return {str(element.get("id")) for element in named}

    listed = json.loads(vm_mgr(lab, "list", "--output", "json"))
    assert ("sea1", "Started", "n1") in {(vm["name"], vm["state"], vm["node"]) for vm in listed}
    assert qemu_nodes(lab, "sea1") == ("n1",)
    vm_mgr(lab, "stop", "--name", "sea1")
    assert state(lab, "sea1") == ("Stopped", "")
    assert qemu_nodes(lab, "sea1") == ()
    vm_mgr(lab, "start", "--name", "sea1")
    assert state(lab, "sea1") == ("Started", "n1")
    assert provider() == their_resource  # nothing of theirs is changed before it is disabled
    assert constraints() == {"pin-sea1-onn1", "cli-ban-sea1-on-n3"}
    vm_mgr(lab, "disable", "--name", "sea1")
    assert state(lab, "sea1") == ("Disabled", "")
    assert constraints() == set()
    vm_mgr(lab, "enable", "--name", "sea1")
    assert state(lab, "sea1") == ("Started", "n1")
    assert provider() == "vm-mgr"
    rules = {f"vm-mgr-{kind}-sea1..bridge-br0" for kind in ("fits", "uplink")}
    rules.add(f"vm-mgr-fits-sea1..has-secret-{secret(lab, 'n1')}")  # their definition names it by its UUID
    assert constraints() == {"vm-mgr-pin-sea1", *rules}


PROGRAM = """
import os
import vm_manager
from vm_manager import vm_manager_cluster
from vm_manager.helpers.libvirt import LibVirtManager

def refused(kind, call, *arguments):
    try:
        call(*arguments)
    except kind:
        return
    raise AssertionError(f"{call.__name__}{arguments} was not refused")

xml = open("/root/sea.xml").read()
options = {"name": "sea1", "base_xml": xml, "image": "/root/sea.qcow2", "stop_timeout": "5",
           "additional_disks": ["/root/sea.qcow2"], "metadata": {"owner": "me"}, "pinned_host": None}
refused(ValueError, vm_manager.create, {**options, "name": "bad-name"})
refused(OSError, vm_manager.create, {**options, "image": "/no/such/file"})
vm_manager.create({**options, "enable": False})
refused(RuntimeError, vm_manager.create, options)
assert "sea1" in vm_manager.list_vms() and "sea1" not in vm_manager.list_vms(enabled=True)
assert vm_manager.status("sea1") == "Disabled" and not vm_manager.is_enabled("sea1")
assert vm_manager.status("nobody") == "Undefined"

vm_manager.enable_vm("sea1", nostart=True)
assert vm_manager.status("sea1") == "Stopped (disabled)"
assert "sea1" in vm_manager_cluster.list_vms(enabled=True)
vm_manager.start("sea1")
assert vm_manager.status("sea1") == "Started"

vm_manager.create_snapshot("sea1", "one")
vm_manager.create_snapshot("sea1", "two")
assert vm_manager.list_snapshots("sea1") == ["one", "two"]
vm_manager.rollback_snapshot("sea1", "one")
assert vm_manager.status("sea1") == "Started"
vm_manager.remove_snapshot("sea1", "one")
vm_manager.purge_image("sea1", number=1)
assert vm_manager.list_snapshots("sea1") == []

vm_manager.set_metadata("sea1", "site", "north")
assert vm_manager.get_metadata("sea1", "owner") == "me" and vm_manager.get_metadata("sea1", "site") == "north"
assert {"xml", "vm_name", "_base_xml", "_stop_timeout", "site"} <= set(vm_manager.list_metadata("sea1"))
refused(KeyError, vm_manager.get_metadata, "sea1", "nosuch")

vm_manager.clone({"name": "sea1", "dst_name": "sea2", "enable": False})
assert vm_manager.get_metadata("sea2", "site") == "north"
refused(vm_manager.exceptions.UuidConflictError, vm_manager.create,
        {**options, "name": "sea3", "base_xml": vm_manager.get_metadata("sea1", "xml")})
vm_manager.remove("sea2")
vm_manager.stop("sea1")
vm_manager.disable_vm("sea1")

# A program that lives on does not gather clients of Ceph.
vm_manager.status("sea1")
before = len(os.listdir("/proc/self/task"))
for _ in range(5):
    vm_manager.status("sea1")
assert len(os.listdir("/proc/self/task")) < before + 5

vm_manager.remove("sea1")

# What SEAPATH's own tests do beside the cluster.
with LibVirtManager() as libvirt:
    libvirt.define(xml.replace("<devices>", "<devices><disk type='file' device='disk'>"
        "<driver name='qemu' type='qcow2'/><source file='/root/sea.qcow2'/><target dev='vda'/></disk>"))
    assert "any" in libvirt.list() and libvirt.status("any") == "Stopped"
    assert "client.libvirt secret" in libvirt.get_virsh_secrets()
vm_manager.add_to_cluster({"name": "any", "new_name": "sea1", "enable": False})
assert vm_manager.status("sea1") == "Disabled" and "sea1" in vm_manager.list_all_uuids().values()
with LibVirtManager() as libvirt:
    if "any" in libvirt.list():
        libvirt.undefine("any")
refused(SystemExit, vm_manager.console, "nobody")

vm_manager.remove("sea1")
vm_manager.remove("sea1")
assert vm_manager.status("sea1") == "Undefined"
print("done")
"""


def test_program_that_imports_vm_manager_runs(lab: Lab, clean: None) -> None:
    done = lab.execute("n1", ["python3", "-"], stdin=PROGRAM, check=False, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "done"


def test_command_lines_of_their_documentation_work(lab: Lab, clean: None) -> None:
    def cmd(line: str) -> str:
        return shell(lab, f"vm_manager_cmd {line}")

    cmd("create -n sea1 --xml /root/sea.xml -i /root/sea.qcow2 -p --disk-bus virtio --nostart")
    assert "sea1" in cmd("list")
    assert cmd("status -n sea1") == "Stopped\n"
    cmd("create_snapshot -n sea1 --snap_name one")
    assert "one" in cmd("list_snapshots -n sea1")
    cmd("rollback -n sea1 --snap_name one")
    cmd("remove_snapshot -n sea1 --snap_name one")
    cmd("purge -n sea1 --date '20/04/2021 14:02:32'")
    cmd("set_metadata -n sea1 --metadata_name site --metadata_value north")
    assert cmd("get_metadata -n sea1 --metadata_name site") == "north\n"
    assert "_base_xml" in cmd("list_metadata -n sea1").split()
    cmd("clone -n sea1 --dst_name sea2 --clear_constraint --clear-pacemaker-meta --clear-pacemaker-params"
        " --clear-pacemaker-utilization --nostart --metadata a=1 b=2 --migration-to-timeout 90")  # fmt: skip
    assert cmd("get_metadata -n sea2 --metadata_name b") == "2\n"
    cmd("add_colocation -n sea1 sea2")
    cmd("add_pacemaker_remote -n sea1 --remote_name inner1 --remote_address 192.0.2.77 --remote_port 3121")
    cmd("remove_pacemaker_remote -n sea1")
    cmd("disable -n sea1")
    cmd("enable -n sea1 --nostart")
    cmd("start -n sea1")
    cmd("stop -n sea1")
    cmd("add_colocation -n sea1 sea2 --strong")
    for name in ("sea2", "sea1"):
        cmd(f"remove -n {name}")
    assert cmd("status -n sea1") == "Undefined\n"
