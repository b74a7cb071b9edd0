"""Commands that look at VMs, describe and place them, on the real cluster and in both storages."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from lxml import etree

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .guest import NAMES, QUICK, at, clean, create, domain_of, node_of, shown
from .test_life import DEFINITION, shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.turns, pytest.mark.timeout(400)]

# rbd's own command takes no empty value.
EMPTY_NOTE = """
import rados, rbd, sys
with rados.Rados(conffile="/etc/ceph/ceph.conf") as ceph, ceph.open_ioctx("rbd") as pool:
    with rbd.Image(pool, sys.argv[1]) as image:
        image.metadata_set("aaa", "")
"""
BOTH = pytest.mark.parametrize("storage", ["ceph", "vms"])
ODD, ODDER = "cmd-3_x.y", "cmd_4.y-z"
OVF = """<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:o="http://schemas.dmtf.org/ovf/envelope/1">
<References><File o:id="f" o:href="cmd.vmdk"/></References>
<DiskSection><Disk o:diskId="d" o:fileRef="f" o:capacity="8388608"/></DiskSection>
<VirtualSystem o:id="cmd1"><VirtualHardwareSection>
<Item><InstanceID>1</InstanceID><ResourceType>3</ResourceType><VirtualQuantity>1</VirtualQuantity></Item>
<Item><InstanceID>2</InstanceID><ResourceType>4</ResourceType><VirtualQuantity>32</VirtualQuantity></Item>
<Item><InstanceID>3</InstanceID><ResourceType>5</ResourceType></Item>
<Item><InstanceID>4</InstanceID><ResourceType>17</ResourceType><Parent>3</Parent>
<HostResource>ovf:/disk/d</HostResource></Item>
<Item><InstanceID>5</InstanceID><ResourceType>10</ResourceType><Connection>VM Network</Connection></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>"""


@pytest.fixture(autouse=True)
def around(lab: Lab) -> Iterator[None]:
    with clean(lab, (*NAMES, ODD, ODDER)):
        yield


def kept_xml(lab: Lab, storage: str, name: str) -> str:
    """Read the definition where the storage has it."""
    ceph = f"rbd image-meta get rbd/system_{name} xml"
    return shell(lab, ceph if storage == "ceph" else f"cat /srv/vms/{name}/domain.xml")


def canonical(xml: str) -> str:
    return etree.tostring(etree.fromstring(xml.encode()), method="c14n").decode()


def on_terminal(lab: Lab, command: str, typed: str = "") -> tuple[int, str]:
    """Run a command on a terminal of n1, with what is typed there."""
    line = ["script", "--quiet", "--return", "--log-out", "/dev/null", "--command", command]
    done = lab.execute("n1", line, stdin=typed, check=False, timeout_s=60)
    return done.returncode, done.stdout


def bans(lab: Lab) -> list[str]:
    done = lab.execute("n1", ["cibadmin", "-Q", "--xpath", "//rsc_location[@rsc='cmd1']"], check=False)
    return [word for word in done.stdout.replace('"', " ").split() if word.startswith("cli-")]


def agrees_with_cluster(lab: Lab, seen: dict[str, Any]) -> None:
    cluster = etree.fromstring(shell(lab, "crm_mon -1 --output-as=xml").encode())
    assert (seen["state"], seen["node"]) == (
        "Started",
        cluster.find(".//resource[@id='cmd1']/node").get("name"),
    )
    started = cluster.findall(
        f".//node_history/node[@name='{seen['node']}']/resource_history[@id='cmd1']/*[@task='start']"
    )
    when = started[-1].get("last-rc-change")
    assert seen["since"] == at(lab, "n1", f"date -u -d '{when}' +%Y-%m-%dT%H:%M:%SZ").strip()


def agrees_with_libvirt(lab: Lab, seen: dict[str, Any]) -> None:
    info = dict(
        line.split(":", 1) for line in domain_of(lab, "cmd1", "dominfo NAME").splitlines() if ":" in line
    )
    assert seen["machine"]["uuid"] == info["UUID"].strip()
    assert seen["machine"]["vcpus"] == int(info["CPU(s)"])
    assert seen["machine"]["memory_bytes"] == int(info["Max memory"].split()[0]) << 10
    assert seen["machine"]["macs"] == [domain_of(lab, "cmd1", "domiflist NAME").split()[-1]]


@BOTH
def test_show_agrees_with_cluster_storage_and_libvirt(lab: Lab, storage: str) -> None:
    options = ["--preferred-host", "n2", "--priority", "3", "--metadata", "owner=team grid"]
    options += ["--stop-timeout", "20", "--enable-live-migration", "--additional-disk", "/root/cmd.qcow2"]
    create(lab, "cmd1", storage, *options, *QUICK)
    vm_mgr(lab, "create-snapshot", "cmd1", "--snap-name", "s")
    shell(lab, "crm_resource --resource cmd1 --ban --node n3")
    seen = shown(lab, "cmd1")
    agrees_with_cluster(lab, seen)
    assert (seen["storage"], seen["paused"], seen["failures"], seen["unknown"]) == (storage, "", [], [])
    agrees_with_libvirt(lab, seen)
    assert [(disk["image"], disk["size_bytes"], disk["parent"]) for disk in seen["disks"]] == [
        ("system_cmd1", 8 << 20, ""),
        ("data_cmd1_0", 8 << 20, ""),
    ]
    assert [(one["name"], one["consistency"]) for one in seen["snapshots"]] == [("s", "crash")]
    placed = {
        "preferred_host": "n2",
        "pinned_host": "",
        "priority": 3,
        "live_migration": True,
        "stop_timeout_s": 20,
    }
    assert placed.items() <= seen["placement"].items()
    assert [(one["id"], one["leftover"]) for one in seen["constraints"]] == [("cli-ban-cmd1-on-n3", True)]
    assert (seen["metadata"], seen["unfinished"]) == ({"owner": "team grid"}, "")
    for part in ("team grid", seen["machine"]["uuid"], "system_cmd1", "vm-mgr unmigrate cmd1"):
        assert part in vm_mgr(lab, "show", "cmd1")
    assert canonical(vm_mgr(lab, "show", "cmd1", "--xml")) == canonical(kept_xml(lab, storage, "cmd1"))
    listed = {vm["name"]: vm for vm in json.loads(vm_mgr(lab, "list", "--output", "json"))}
    assert listed["cmd1"] == {key: seen[key] for key in ("name", "state", "node", "detail")}
    assert "cli-ban-cmd1-on-n3" in vm_mgr(lab, "unmigrate", "cmd1")
    shell(lab, "crm_resource --resource cmd1 --ban --node n1")
    assert "cli-ban-cmd1-on-n1" in vm_mgr(lab, "clear", "cmd1")
    vm_mgr(lab, "clear", "cmd1")
    assert bans(lab) == []
    assert shown(lab, "cmd1")["placement"] == seen["placement"]


def test_show_tells_what_failed(lab: Lab) -> None:
    # Only QEMU itself knows its own arguments: nothing can tell of them before the start.
    arguments = (
        "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='-nosuch'/></commandline>"
    )
    shell(lab, f'sed -i "s,</domain>,{arguments}</domain>," /root/cmd.xml')
    files = ("--xml", "/root/cmd.xml", "--image", "/root/cmd.qcow2")
    assert "cmd1 is Failed: start on" in vm_mgr(lab, "create", "cmd1", *files, code=11)
    seen = shown(lab, "cmd1")
    assert (seen["state"], seen["node"]) == ("Failed", "")
    assert all("start" in one["text"] and one["when"] for one in seen["failures"])
    assert seen["failures"]


@BOTH
def test_dry_runs_change_nothing(lab: Lab, storage: str) -> None:
    def everything() -> str:
        each = "rbd info rbd/$i; rbd snap ls rbd/$i; rbd image-meta list rbd/$i"
        rbd = f"for i in $(rbd ls rbd | grep cmd); do {each}; done"
        folders = "find /srv/vms -path '*cmd*' ! -path '*/.vm-mgr*' -printf '%p %s %T@\\n'"
        return shell(lab, f"{rbd}; {folders}; cibadmin -Q --scope configuration | grep cmd")

    create(lab, "cmd1", storage, *QUICK)
    vm_mgr(lab, "create-snapshot", "cmd1", "--snap-name", "s")
    node, before = node_of(lab, "cmd1"), everything()
    for line in (
        "remove cmd1", "stop cmd1", "stop --force cmd1", "disable cmd1", "restart cmd1", "migrate cmd1",
        "pause cmd1", "set cmd1 --memory 64M --priority 5", "add-disk cmd1 4M", "resize-disk cmd1 16M",
        "purge cmd1", "rollback cmd1 --snap-name s", "create-snapshot cmd1 --snap-name t", "repair",
        "remove-snapshot cmd1 --snap-name s", "clone cmd1 --dst-name cmd2",
        "set-metadata cmd1 --metadata-name k --metadata-value v",
        f"create cmd2 --xml /root/cmd.xml --image /root/cmd.qcow2 --storage {storage}",
    ):  # fmt: skip
        assert "nothing " in vm_mgr(lab, *line.split(), "--dry-run").splitlines()[-1], line
        assert (line, everything()) == (line, before)
    assert "runs" in vm_mgr(lab, "rename", "cmd1", "--new-name", "cmd2", "--dry-run", code=5)
    assert (node_of(lab, "cmd1"), domain_of(lab, "cmd1", "domstate NAME")) == (node, "running")


@BOTH
def test_appliance_is_imported(lab: Lab, storage: str) -> None:
    lab.execute("n1", ["sh", "-c", "cat > /root/cmd1.ovf"], stdin=OVF)
    vmdk = "qemu-img convert -O vmdk -o subformat=streamOptimized cmd.qcow2 cmd.vmdk"
    shell(lab, f"cd /root; {vmdk}; tar -cf cmd.ova cmd1.ovf cmd.vmdk; rm cmd.vmdk cmd1.ovf")
    options = ("--network", "br0", "--no-kvm", "--storage", storage, "--verify", *QUICK)
    try:
        assert "cmd1 is Started" in vm_mgr(lab, "import", "/root/cmd.ova", *options)
    finally:
        shell(lab, "rm -f /root/cmd.ova")
    assert shown(lab, "cmd1")["machine"]["memory_bytes"] == 32 << 20
    assert domain_of(lab, "cmd1", "domstate NAME") == "running"


@BOTH
def test_odd_names_and_notes_are_kept(lab: Lab, storage: str) -> None:
    create(lab, ODD, storage, *QUICK, "--nostart")
    vm_mgr(
        lab, "set-metadata", ODD, "--metadata-name", "owner", "--metadata-value", "team grid, ümlaut & <x>"
    )
    vm_mgr(lab, "create-snapshot", ODD, "--snap-name", "s-1_a.b")
    vm_mgr(lab, "rename", ODD, "--new-name", ODDER)
    assert "Undefined" in vm_mgr(lab, "status", ODD)
    assert vm_mgr(lab, "get-metadata", ODDER, "--metadata-name", "owner") == "team grid, ümlaut & <x>\n"
    assert json.loads(vm_mgr(lab, "list-metadata", ODDER, "-o", "json"))["owner"] == "team grid, ümlaut & <x>"
    vm_mgr(lab, "get-metadata", ODDER, "--metadata-name", "nosuch", code=3)
    if storage == "ceph":  # as other tools leave it; the binding's own list would now mix up all keys
        lab.execute("n1", ["python3", "-c", EMPTY_NOTE, f"system_{ODDER}"])
    vm_mgr(lab, "set", ODDER, "--metadata", "empty=", "site=north")
    vm_mgr(lab, "set-metadata", ODDER, "--metadata-name", "owner", "--metadata-value", "")
    vm_mgr(lab, "remove-metadata", ODDER, "--metadata-name", "site")
    assert shown(lab, ODDER)["metadata"] == ({"aaa": ""} if storage == "ceph" else {})
    assert [one["name"] for one in shown(lab, ODDER)["snapshots"]] == ["s-1_a.b"]
    verified = lab.execute("n1", ["crm_verify", "--live-check", "--verbose"])
    assert verified.stdout + verified.stderr == ""
    vm_mgr(lab, "start", ODDER)
    assert domain_of(lab, ODDER, "domstate NAME") == "running"
    vm_mgr(lab, "remove", ODDER)
    assert "Undefined" in vm_mgr(lab, "status", ODDER)


@BOTH
def test_set_does_not_disturb_the_running_guest(lab: Lab, storage: str) -> None:
    create(lab, "cmd1", storage, *QUICK)
    node = node_of(lab, "cmd1")
    pid = at(lab, node, "cat /run/libvirt/qemu/cmd1.pid")
    changes = (
        "--memory",
        "48M",
        "--vcpus",
        "2",
        "--description",
        "a & b",
        "--priority",
        "7",
        "--metadata",
        "k=v",
    )
    vm_mgr(lab, "set", "cmd1", *changes, "--preferred-host", node)
    meta = "crm_resource --resource cmd1 --meta --get-parameter priority --quiet"
    assert shell(lab, meta).split()[-1] == "7"
    foreseen = shell(lab, "crm_simulate --live-check --simulate").partition("Transition Summary")[2]
    assert "cmd1" not in foreseen.partition("Executing")[0], "the cluster would do something to it"
    assert at(lab, node, "cat /run/libvirt/qemu/cmd1.pid") == pid
    assert domain_of(lab, "cmd1", "vcpucount NAME --live --maximum") == "1"
    seen = shown(lab, "cmd1")
    assert (seen["machine"]["memory_bytes"], seen["machine"]["vcpus"]) == (48 << 20, 2)
    assert (seen["placement"]["preferred_host"], seen["metadata"]) == (node, {"k": "v"})
    vm_mgr(lab, "set", "cmd1", "--unset", "priority", "--unset", "preferred-host")
    vm_mgr(lab, "restart", "cmd1")
    assert domain_of(lab, "cmd1", "vcpucount NAME --live --maximum") == "2"
    assert "49152 KiB" in domain_of(lab, "cmd1", "dominfo NAME")
    assert domain_of(lab, "cmd1", "desc NAME") == "a & b"
    assert (shown(lab, "cmd1")["placement"]["priority"]) == 1


@BOTH
def test_edit_takes_a_file_or_an_editor_and_asks_on_a_terminal(lab: Lab, storage: str) -> None:
    def editor(text: str) -> str:
        return f"""env EDITOR='sed -i "s,</os>,</os><description>{text}</description>,"' vm-mgr edit cmd1"""

    create(lab, "cmd1", storage, "--disable")
    first = vm_mgr(lab, "show", "cmd1", "--xml")
    assert "+" in shell(lab, editor("one") + " --yes")
    assert "<description>one</description>" in kept_xml(lab, storage, "cmd1")
    lab.execute("n1", ["sh", "-c", "cat > /root/cmd-edit.xml"], stdin=first)
    vm_mgr(lab, "edit", "cmd1", "--file", "/root/cmd-edit.xml")
    assert canonical(kept_xml(lab, storage, "cmd1")) == canonical(first)
    assert on_terminal(lab, editor("two"), "y\n")[0] == 0
    assert "<description>two</description>" in kept_xml(lab, storage, "cmd1")
    vm_mgr(lab, "edit", "cmd1", "--file", "/root/cmd-edit.xml", "--yes")
    code, said = on_terminal(lab, editor("three"), "n\n")
    assert (code, "vm-mgr edit cmd1 --file /tmp/cmd1-" in said) == (5, True)
    assert canonical(kept_xml(lab, storage, "cmd1")) == canonical(first)
    lab.execute("n1", ["sh", "-c", "cat > /root/cmd-edit.xml"], stdin=first.replace("cmd1", "cmd2"))
    vm_mgr(lab, "edit", "cmd1", "--file", "/root/cmd-edit.xml", code=2)
    shell(lab, "rm /root/cmd-edit.xml /tmp/cmd1-*.xml")


def test_vms_of_two_storages_are_kept_apart_and_together(lab: Lab) -> None:
    create(lab, "cmd1", "ceph", *QUICK)
    create(lab, "cmd2", "vms", *QUICK)
    vm_mgr(lab, "separate", "cmd1", "cmd2", "--strong", "--restart-others")
    wait_until(lambda: "" not in nodes(lab) and len(nodes(lab)) == 2, what="two nodes", timeout_s=180)
    assert json.loads(vm_mgr(lab, "list-colocation", "cmd1", "-o", "json")) == {"cmd2": "-INFINITY"}
    assert shown(lab, "cmd2")["colocations"] == [{"name": "cmd1", "beside": "cmd2", "score": "-INFINITY"}]
    vm_mgr(lab, "add-colocation", "cmd1", "cmd2", "--strong", "--restart-others")
    wait_until(lambda: "" not in nodes(lab) and len(nodes(lab)) == 1, what="one node", timeout_s=180)
    vm_mgr(lab, "remove-colocation", "cmd1")
    assert json.loads(vm_mgr(lab, "list-colocation", "cmd1", "-o", "json")) == {}


def nodes(lab: Lab) -> set[str]:
    return {node_of(lab, "cmd1"), node_of(lab, "cmd2")}


def test_flattened_clone_outlives_its_source(lab: Lab) -> None:
    create(lab, "cmd1", "ceph", "--disable")
    vm_mgr(lab, "clone", "cmd1", "--dst-name", "cmd2", *QUICK)
    assert "vm-mgr flatten cmd2" in vm_mgr(lab, "remove", "cmd1", code=5)
    assert shown(lab, "cmd2")["disks"][0]["parent"] == "system_cmd1"
    assert "system_cmd2" in vm_mgr(lab, "flatten", "cmd2")
    assert "parent" not in json.loads(shell(lab, "rbd info rbd/system_cmd2 --format json"))
    assert shown(lab, "cmd2")["disks"][0]["parent"] == ""
    vm_mgr(lab, "flatten", "cmd2", "--disk", "0")
    vm_mgr(lab, "remove", "cmd1")
    assert domain_of(lab, "cmd2", "domstate NAME") == "running"
    shell(lab, "qemu-img compare -f qcow2 -F raw /root/cmd.qcow2 rbd:rbd/system_cmd2:id=vm-mgr")


def test_local_domain_is_taken_over_into_the_shared_directory(lab: Lab) -> None:
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/root/cmd.qcow2'/>"
    )
    xml = DEFINITION.replace("any", "cmdold").replace(
        "<devices>", f"<devices>{disk}<target dev='vda'/></disk>"
    )
    lab.execute("n1", ["sh", "-c", "cat > /root/cmdold.xml"], stdin=xml)
    shell(lab, "virsh -q define /root/cmdold.xml; rm /root/cmdold.xml")
    taken = vm_mgr(lab, "add-to-cluster", "cmdold", "--new-name", "cmd1", "--storage", "vms", *QUICK)
    assert "Started" in taken
    assert "cmdold" not in shell(lab, "virsh list --all --name")
    assert shown(lab, "cmd1")["storage"] == "vms"
    shell(lab, "qemu-img compare -U -f qcow2 -F qcow2 /root/cmd.qcow2 /srv/vms/cmd1/system.qcow2")


def test_list_watches_until_it_is_interrupted(lab: Lab) -> None:
    """timeout gives the command's own exit status."""
    watch = "timeout --preserve-status --signal INT 3 vm-mgr list --watch 1"
    rest, lists = shell(lab, f"{watch} --output json").strip(), []
    while rest:
        found, end = json.JSONDecoder().raw_decode(rest)
        lists.append(found)
        rest = rest[end:].strip()
    assert len(lists) > 1
    code, page = on_terminal(lab, watch)
    assert (code, page.count("Every 1 s") > 1) == (0, True)


def test_shell_completes_and_version_is_told(lab: Lab) -> None:
    def completed(line: str) -> list[str]:
        count = len(line.split(" ")) - 1
        set_up = f"COMP_WORDS='{line}' COMP_CWORD={count} _VM_MGR_COMPLETE=bash_complete"
        return [word.partition(",")[2] for word in shell(lab, f"env {set_up} vm-mgr").split()]

    create(lab, "cmd1", "vms", "--disable")
    vm_mgr(lab, "create-snapshot", "cmd1", "--snap-name", "before")
    assert completed("vm-mgr fl") == ["flatten"]
    assert completed("vm-mgr show cm") == ["cmd1"]
    assert completed("vm-mgr migrate cmd1 n") == [node.name for node in lab.nodes]
    assert completed("vm-mgr rollback cmd1 --snap-name b") == ["before"]
    assert completed("vm-mgr rollback cmd1 --snap_") == ["--snap_name"]
    assert completed("vm-mgr create cmd2 --storage v") == ["vms"]
    for name in ("bash", "zsh", "fish"):
        assert "_VM_MGR_COMPLETE" in vm_mgr(lab, "completion", name)
    assert "_vm_mgr" in shell(lab, "vm-mgr completion bash | bash -c '. /dev/stdin; complete -p vm-mgr'")
    assert vm_mgr(lab, "--version").startswith("vm-mgr ")


@BOTH
def test_answers_are_as_their_schema_says(lab: Lab, storage: str) -> None:
    create(lab, "cmd1", storage)
    vm_mgr(lab, "create-snapshot", "cmd1", "--snap-name", "before")
    looks = ("status", "show", "timeouts", "list-metadata", "list-snapshots", "list-colocation")
    for words in (["list"], ["events"], *([look, "cmd1"] for look in looks)):
        told = json.loads(vm_mgr(lab, *words, "--output", "json"))
        assert told or words[0] == "list-colocation"
        jsonschema.validate(told, json.loads(vm_mgr(lab, "schema", words[0])))
