"""What happens to a VM between its creation and its removal, on the real cluster."""

import json
from collections.abc import Iterator

import pytest

from vm_mgr_lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

DEFINITION = """<domain type="qemu"><name>any</name><memory unit="MiB">32</memory>
<os><type arch="x86_64">hvm</type></os>
<devices><memballoon model="none"/><interface type="bridge"><source bridge="br0"/></interface></devices>
</domain>"""

# A machine without a system on its disk does not hear the power button.
QUICK = ("--disable", "--stop-timeout", "5")


def vm_mgr(lab: Lab, *arguments: str, code: int = 0) -> str:
    done = lab.execute("n1", ["vm-mgr", *arguments], check=False, timeout_s=180)
    assert done.returncode == code, done.stdout + done.stderr + libvirt_said(lab)
    return done.stdout if code == 0 else done.stderr


def libvirt_said(lab: Lab) -> str:
    """Give what libvirt's daemons last said: other agents tell no more than that a start has failed."""
    line = "journalctl --no-pager -n 15 -o short-iso -u libvirtd -u virtqemud -u virtlockd"
    told = [lab.execute(one.name, ["sh", "-c", line], check=False, timeout_s=30).stdout for one in lab.nodes]
    return "\nlibvirt:\n" + "".join(told)


def shell(lab: Lab, line: str) -> str:
    return lab.execute("n1", ["sh", "-ec", line], timeout_s=180).stdout


def content(lab: Lab, name: str) -> str:
    return shell(lab, f"rbd export --no-progress rbd/system_{name} - | md5sum").split()[0]


def write(lab: Lab, name: str, pattern: int) -> None:
    """Write 64 KiB of a pattern at the beginning of a stopped VM's disk."""
    shell(lab, f"qemu-io -f raw -c 'write -P {pattern} 0 64k' rbd:rbd/system_{name}:id=vm-mgr")


@pytest.fixture
def vm(lab: Lab) -> Iterator[str]:
    """Give a disabled VM with a small disk; all that was made from it is removed."""
    before = shell(lab, "rbd ls rbd; rbd trash ls rbd; cibadmin -Q --xpath '//primitive' --node-path")
    lab.execute("n1", ["sh", "-c", "cat > /root/life.xml"], stdin=DEFINITION)
    shell(lab, "qemu-img create -q -f qcow2 /root/life.qcow2 8M")
    vm_mgr(lab, "create", "life1", "--xml", "/root/life.xml", "--image", "/root/life.qcow2", *QUICK)
    yield "life1"
    for name in ("life2", "life1"):
        lab.execute("n1", ["vm-mgr", "remove", name], check=False, timeout_s=120)
    after = shell(lab, "rbd ls rbd; rbd trash ls rbd; cibadmin -Q --xpath '//primitive' --node-path")
    assert after == before
    assert vm_mgr(lab, "repair") == "nothing is unfinished\n"


def test_rollback_brings_the_content_back(lab: Lab, vm: str) -> None:
    write(lab, vm, 1)
    first = content(lab, vm)
    assert "offline" in vm_mgr(lab, "create_snapshot", "--name", vm, "--snap_name", "one")
    write(lab, vm, 2)
    vm_mgr(lab, "create_snapshot", "--name", vm, "--snap_name", "two")
    assert content(lab, vm) != first
    vm_mgr(lab, "rollback", "--name", vm, "--snap_name", "one")
    assert content(lab, vm) == first
    listed = json.loads(vm_mgr(lab, "list_snapshots", vm, "--output", "json"))
    assert [one["name"] for one in listed] == ["one", "two"]
    vm_mgr(lab, "remove_snapshot", "--name", vm, "--snap_name", "one")
    vm_mgr(lab, "purge", vm)
    assert json.loads(vm_mgr(lab, "list_snapshots", vm, "--output", "json")) == []


def test_snapshot_of_another_tool_is_understood(lab: Lab, vm: str) -> None:
    write(lab, vm, 1)
    first = content(lab, vm)
    shell(
        lab, f"rbd snap create --no-progress rbd/system_{vm}@theirs; rbd snap protect rbd/system_{vm}@theirs"
    )
    write(lab, vm, 2)
    assert "unknown" in vm_mgr(lab, "list_snapshots", vm)
    vm_mgr(lab, "rollback", vm, "--snap_name", "theirs")
    assert content(lab, vm) == first
    vm_mgr(lab, "remove_snapshot", vm, "--snap_name", "theirs")


def test_running_vm_is_snapshotted_rolled_back_and_runs_again(lab: Lab, vm: str) -> None:
    assert "Started" in shell(lab, f"vm-mgr enable {vm} && vm-mgr status {vm}")
    assert "crash" in vm_mgr(lab, "create_snapshot", vm, "--snap_name", "now")
    assert "Started" in vm_mgr(lab, "rollback", vm, "--snap_name", "now", "--yes")
    vm_mgr(lab, "restart", vm)
    vm_mgr(lab, "rename", vm, "--new_name", "life2", code=5)


def test_clone_shares_blocks_and_has_its_own_identity(lab: Lab, vm: str) -> None:
    write(lab, vm, 3)
    vm_mgr(lab, "clone", vm, "--dst_name", "life2", "--disable")
    assert content(lab, "life2") == content(lab, vm)
    write(lab, "life2", 4)
    assert content(lab, "life2") != content(lab, vm)
    xml = [shell(lab, f"rbd image-meta get rbd/system_{name} xml") for name in (vm, "life2")]
    own = [[line.strip() for line in text.splitlines() if "<uuid>" in line or "<mac" in line] for text in xml]
    assert len(own[0]) == 2
    assert not set(own[0]) & set(own[1])
    assert "vm-mgr flatten life2" in vm_mgr(lab, "remove", vm, code=5)
    assert vm_mgr(lab, "list_snapshots", vm, "-o", "json").strip() == "[]"


def test_full_clone_outlives_its_source(lab: Lab, vm: str) -> None:
    write(lab, vm, 5)
    first = content(lab, vm)
    vm_mgr(lab, "clone", vm, "--dst_name", "life2", "--full", "--disable")
    vm_mgr(lab, "remove", vm)
    assert content(lab, "life2") == first


def test_renamed_vm_keeps_content_and_placement(lab: Lab, vm: str) -> None:
    write(lab, vm, 6)
    first = content(lab, vm)
    vm_mgr(lab, "create_snapshot", vm, "--snap_name", "s")
    shell(lab, f"vm-mgr enable {vm} --nostart")
    constraint = f"<rsc_location id='hand-{vm}' rsc='{vm}' node='n2' score='10'/>"
    shell(lab, f'cibadmin --create --scope constraints --xml-text "{constraint}"')
    vm_mgr(lab, "rename", vm, "--new_name", "life2")
    assert content(lab, "life2") == first
    assert 'rsc="life2"' in shell(lab, f"cibadmin -Q --xpath \"//rsc_location[@id='hand-{vm}']\"")
    assert "Undefined" in vm_mgr(lab, "status", vm)
    vm_mgr(lab, "start", "life2")
    assert "n2" in vm_mgr(lab, "status", "life2")
    vm_mgr(lab, "stop", "life2")
    vm_mgr(lab, "rollback", "life2", "--snap_name", "s")


def test_metadata_is_that_of_the_image(lab: Lab, vm: str) -> None:
    vm_mgr(lab, "set_metadata", vm, "--metadata_name", "owner", "--metadata_value", "team grid")
    assert shell(lab, f"rbd image-meta get rbd/system_{vm} owner") == "team grid\n"
    shell(lab, f"rbd image-meta set rbd/system_{vm} site north")
    assert vm_mgr(lab, "get_metadata", vm, "--metadata_name", "site") == "north\n"


def test_killed_creation_is_listed_and_repaired(lab: Lab, vm: str) -> None:
    """A kill in the middle of an import, from outside, with everything that takes."""
    shell(lab, "qemu-img create -q -f qcow2 /root/large.qcow2 2G")
    shell(lab, "qemu-io -c 'write -P 7 0 1500M' /root/large.qcow2")
    create = "vm-mgr create life2 --xml /root/life.xml --image /root/large.qcow2 --disable"
    # The image is checked first, which takes its time.
    begun = "until vm-mgr list | grep -q 'create under way'; do sleep 0.2; done"
    begin = f"({create} >/dev/null 2>&1 & echo $! >/root/pid); {begun}; kill -9 $(cat /root/pid)"
    shell(lab, begin + "; rm /root/large.qcow2 /root/pid")
    assert "create under way on n1, or unfinished" in vm_mgr(lab, "list")
    # For 30 s nobody can tell a dead process from a slow one: repair waits.
    assert vm_mgr(lab, "repair") == "recovered: life2\n"
    assert "life2" not in vm_mgr(lab, "list")


def test_running_guest_sees_its_larger_disk(lab: Lab, vm: str) -> None:
    shell(lab, f"vm-mgr enable {vm}")
    vm_mgr(lab, "resize-disk", vm, "16M")
    node = json.loads(vm_mgr(lab, "status", vm, "-o", "json"))["node"]
    seen = lab.execute(node, ["virsh", "domblkinfo", vm, "vda"]).stdout
    assert f"Capacity:       {16 << 20}" in seen
    vm_mgr(lab, "resize-disk", vm, "4M", code=2)


def test_colocation_outlives_disable_and_enable(lab: Lab, vm: str) -> None:
    """SEAPATH's tool loses it; the constraint can only exist while both ends do."""

    def constraints() -> str:
        found = lab.execute("n1", ["cibadmin", "-Q", "--xpath", "//rsc_colocation"], check=False)
        return found.stdout if found.returncode == 0 else ""

    vm_mgr(lab, "clone", vm, "--dst_name", "life2", "--nostart")
    vm_mgr(lab, "enable", vm, "--nostart")
    vm_mgr(lab, "add_colocation", "--name", vm, "life2", "--strong")
    assert "life2" in constraints()
    vm_mgr(lab, "disable", "life2")
    assert "life2" not in constraints()
    vm_mgr(lab, "enable", "life2", "--nostart")
    assert "life2" in constraints()
    vm_mgr(lab, "disable", vm)
    vm_mgr(lab, "enable", vm, "--nostart")
    assert "life2" in constraints()
    assert json.loads(vm_mgr(lab, "list-colocation", vm, "-o", "json")) == {"life2": "INFINITY"}
    vm_mgr(lab, "remove-colocation", vm)
    assert "life2" not in constraints()


def test_remote_node_is_kept_as_seapath_keeps_it(lab: Lab, vm: str) -> None:
    vm_mgr(lab, "enable", vm, "--nostart")
    vm_mgr(lab, "add_pacemaker_remote", vm, "--remote_name", "inner1", "--remote_address", "192.0.2.77")
    assert shell(lab, f"rbd image-meta get rbd/system_{vm} _remote_node") == "inner1\n"
    assert "192.0.2.77" in shell(lab, "cibadmin -Q --scope resources")
    vm_mgr(lab, "remove_pacemaker_remote", vm)
    assert "inner1" not in shell(lab, f"cibadmin -Q --scope resources; rbd image-meta list rbd/system_{vm}")


def test_local_domain_is_taken_over_with_all_its_disks(lab: Lab, vm: str) -> None:
    """SEAPATH's tool destroys the source before the copy is complete."""
    disks = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='{kind}'/>"
        f"<source file='/root/old.{kind}'/><target dev='vd{letter}' bus='virtio'/>"
        f"<serial>OLD{letter}</serial><iotune><total_iops_sec>900</total_iops_sec></iotune></disk>"
        for kind, letter in (("qcow2", "a"), ("raw", "b"))
    )
    xml = DEFINITION.replace("any", "old1").replace("<devices>", f"<devices>{disks}")
    lab.execute("n1", ["sh", "-c", "cat > /root/old.xml"], stdin=xml)
    shell(lab, "qemu-img create -q -f qcow2 /root/old.qcow2 8M; qemu-img create -q -f raw /root/old.raw 4M")
    shell(
        lab,
        "qemu-io -c 'write -P 9 0 64k' /root/old.qcow2; qemu-io -f raw -c 'write -P 8 0 64k' /root/old.raw",
    )
    shell(lab, "virsh -q define /root/old.xml")
    assert "Disabled" in vm_mgr(lab, "add-to-cluster", "old1", "--new-name", "life2", *QUICK)
    assert "old1" not in shell(lab, "virsh list --all --name")
    for kind, image in (("qcow2", "system_life2"), ("raw", "data_life2_0")):
        shell(lab, f"qemu-img compare -F raw -f {kind} /root/old.{kind} rbd:rbd/{image}:id=vm-mgr")
    kept = shell(lab, "rbd image-meta get rbd/system_life2 xml")
    assert all(word in kept for word in ("rbd/data_life2_0", "OLDa", "OLDb", "total_iops_sec"))
    shell(lab, "rm /root/old.*")
    vm_mgr(lab, "enable", "life2")
    vm_mgr(lab, "create_snapshot", "life2", "--snap_name", "both")
    snapshots = shell(lab, "for i in system_life2 data_life2_0; do rbd snap ls rbd/$i; done")
    assert snapshots.count("both") == 2
    vm_mgr(lab, "stop", "life2")


def test_name_that_a_killed_removal_has_left_in_ceph_is_free(lab: Lab, vm: str) -> None:
    """librbd deletes an image before its name; a kill in between leaves a name that opens nothing."""
    shell(lab, "rbd create --size 1M rbd/system_life2")
    ident = json.loads(shell(lab, "rbd info --format json rbd/system_life2"))["id"]
    shell(lab, f"rados -p rbd rm rbd_header.{ident}")
    vm_mgr(lab, "clone", vm, "--dst_name", "life2", "--disable")
    assert content(lab, "life2") == content(lab, vm)


BY_PATTERN = '<rsc_location id="theirs-loc" rsc-pattern="^life" node="n3" score="5"/>'


def test_what_others_have_set_for_a_vm_is_seen_named_and_kept(lab: Lab, vm: str) -> None:
    """By crm's own commands: a ticket, a hand on the VM, a constraint by a pattern, a group."""
    shell(lab, f"vm-mgr set {vm} --enable-live-migration; vm-mgr enable {vm} --nostart")
    shell(lab, f"crm configure rsc_ticket theirs siteA: {vm} loss-policy=stop; crm resource unmanage {vm}")
    shell(lab, f"cibadmin -C -o constraints -X '{BY_PATTERN}'")
    shown = shell(lab, f"vm-mgr show {vm} 2>&1")
    assert "is-managed=false" in shown
    assert "siteA" in shown
    assert "theirs-loc" in shown
    assert "is-managed" in shell(lab, f"vm-mgr set {vm} --priority 3 2>&1")
    assert "is-managed=false" in shell(lab, f"vm-mgr show {vm}")
    vm_mgr(lab, "start", vm, code=5)
    shell(lab, f"crm resource manage {vm}")
    assert "the ticket siteA is not granted" in vm_mgr(lab, "start", vm, code=6)
    vm_mgr(lab, "stop", vm)
    shell(lab, f"crm configure delete theirs; cibadmin -D -o constraints -X '{BY_PATTERN}'")
    shell(lab, f"crm configure group theirs-group {vm}")
    assert "theirs-group" in vm_mgr(lab, "disable", vm, code=5)
    assert vm in shell(lab, "vm-mgr list")
    shell(lab, "crm configure delete theirs-group")
    events = json.loads(vm_mgr(lab, "events", vm, "-o", "json"))["events"]
    asked = [one["detail"] for one in events if one["event"] == "asked"]
    asked_for = [detail.partition(" by ")[0] for detail in asked][-5:]
    assert asked_for == [
        "set --enable-live-migration",
        "enable --nostart",
        "set --priority 3",
        "start",
        "stop",
    ]
    assert all(detail.endswith(" on n1") for detail in asked)
