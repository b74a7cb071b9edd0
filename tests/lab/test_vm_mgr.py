"""vm-mgr on the real cluster: what is refused leaves nothing behind, what was imported is never lost."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vm_mgr_lab import demo
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until
from vm_mgr_lab.up import wait_ready

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

MAC = 230
XML = "/root/guest-230.xml"
DISK = "/root/guest-230.qcow2"

Answer = subprocess.CompletedProcess[str]


def vm_mgr(lab: Lab, *arguments: str, node: str = "n1") -> Answer:
    return lab.execute(node, ["vm-mgr", *arguments], check=False, timeout_s=180)


def create(lab: Lab, name: str, *options: str, xml: str = XML, image: str = DISK) -> Answer:
    return vm_mgr(lab, "create", "--name", name, "--xml", xml, "--image", image, *options)


def state(lab: Lab, name: str) -> str:
    return json.loads(vm_mgr(lab, "status", name, "--output", "json").stdout)["state"]


def contents(lab: Lab) -> dict[str, list[str]]:
    """Return all that a command could leave behind."""
    resources = lab.execute(
        "n1", ["cibadmin", "--query", "--xpath", "//primitive|//rsc_location", "--node-path"]
    )
    return {
        "images": sorted(lab.execute("n1", ["rbd", "ls", "rbd"]).stdout.split()),
        "groups": sorted(lab.execute("n1", ["rbd", "group", "ls", "rbd"]).stdout.split()),
        "trash": sorted(lab.execute("n1", ["rbd", "trash", "ls", "rbd"]).stdout.split()),
        "resources": sorted(resources.stdout.splitlines()),
    }


def assert_refused(answer: Answer, *names: str) -> None:
    """Check that a refusal names the thing in one line, with a hint and an exit status, and no traceback."""
    assert answer.returncode not in (0, 1), answer.stdout + answer.stderr
    lines = [line for line in answer.stderr.splitlines() if line.startswith("vm-mgr: error: ")]
    assert lines, answer.stderr
    assert "Traceback" not in answer.stderr
    assert any(line.strip().startswith("hint: ") for line in answer.stderr.splitlines()), answer.stderr
    for name in names:
        assert name in " ".join(lines)


@pytest.fixture(scope="module")
def files(lab: Lab) -> None:
    demo.guest_files(lab, "n1", print, mac_byte=MAC)
    write = {
        "empty": "",
        "text": "not an image",
        "notxml.xml": "domain",
        "other.xml": "<network><name>x</name></network>",
        "entity.xml": '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><domain><name>&e;</name></domain>',
    }
    for name, text in write.items():
        lab.execute("n1", ["sh", "-c", "cat > /root/" + name], stdin=text)
    lab.execute("n1", ["qemu-img", "create", "-q", "-f", "raw", "/root/raw.img", "1M"])


@pytest.fixture
def clean(lab: Lab, files: None) -> Iterator[Callable[[str], None]]:
    """Give a function that notes a VM for removal; afterwards the cluster must be as it was."""
    before, names = contents(lab), []
    yield names.append
    for name in names:
        vm_mgr(lab, "remove", name)
    assert contents(lab) == before


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 300,
        "bad name",
        "slash/x",
        "x;y",
        "xml",
        "vm-mgr-x",
        "../x",
        "ümlaut",
        "1\nb",
        "-x",
        "x-",
        "a..b",
    ],
)
def test_bad_name_is_refused(lab: Lab, clean: object, name: str) -> None:
    assert_refused(create(lab, name))


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("/root/missing.qcow2", "missing.qcow2"),
        ("/root/empty", "empty"),
        ("/root/text", "text"),
        ("/root/raw.img", "raw.img"),
        ("/root", "/root"),
    ],
)
def test_bad_image_is_refused(lab: Lab, clean: object, image: str, named: str) -> None:
    assert_refused(create(lab, "bad", image=image), named)


@pytest.mark.parametrize("xml", ["missing.xml", "empty", "notxml.xml", "other.xml", "entity.xml"])
def test_bad_definition_is_refused(lab: Lab, clean: object, xml: str) -> None:
    assert_refused(create(lab, "bad", xml=f"/root/{xml}"))


@pytest.mark.parametrize("option", ["--pinned-host", "--preferred-host"])
def test_unknown_host_is_refused(lab: Lab, clean: object, option: str) -> None:
    assert_refused(create(lab, "bad", option, "n99"), "n99")


@pytest.mark.parametrize("verb", ["status", "start", "stop", "enable", "disable", "migrate", "remove"])
def test_unknown_vm_is_named(lab: Lab, clean: object, verb: str) -> None:
    answer = vm_mgr(lab, verb, "nosuchvm")
    if verb == "status":
        assert "Undefined" in answer.stdout
    else:
        assert_refused(answer, "nosuchvm")


def test_existing_name_and_foreign_uuid_are_refused(lab: Lab, clean: Callable[[str], None]) -> None:
    clean("first")
    assert create(lab, "first", "--disable").returncode == 0
    assert_refused(create(lab, "first"), "first")
    stored = lab.execute("n1", ["rbd", "image-meta", "get", "rbd/system_first", "xml"]).stdout
    lab.execute("n1", ["sh", "-c", "cat > /root/uuid.xml"], stdin=stored)
    assert_refused(create(lab, "second", xml="/root/uuid.xml"), "first")
    assert state(lab, "first") == "Disabled"


def test_life_of_a_vm(lab: Lab, clean: Callable[[str], None]) -> None:
    clean("life")
    assert state(lab, "life") == "Undefined"
    assert (
        create(lab, "life", "--nostart", "--enable-live-migration", "--preferred-host", "n2").returncode == 0
    )
    assert state(lab, "life") == "Stopped"
    assert vm_mgr(lab, "start", "life").returncode == 0
    assert state(lab, "life") == "Started"
    assert qemu_nodes(lab, "life") == ("n2",)
    assert vm_mgr(lab, "migrate", "life", "n3", node="n3").returncode == 0
    assert qemu_nodes(lab, "life") == ("n3",)
    assert vm_mgr(lab, "disable", "life").returncode == 0
    assert state(lab, "life") == "Disabled"
    assert qemu_nodes(lab, "life") == ()
    assert vm_mgr(lab, "enable", "life").returncode == 0
    assert state(lab, "life") == "Started"
    assert vm_mgr(lab, "stop", "life").returncode == 0
    assert state(lab, "life") == "Stopped"
    assert vm_mgr(lab, "remove", "life").returncode == 0
    assert state(lab, "life") == "Undefined"


def test_layout_on_ceph_is_that_of_seapath(lab: Lab, clean: Callable[[str], None]) -> None:
    clean("layout")
    options = (
        "--disable",
        "--enable-live-migration",
        "--migration-user",
        "root",
        "--migration-to-timeout",
        "90",
    )
    assert create(lab, "layout", *options).returncode == 0
    grouped = lab.execute("n1", ["rbd", "group", "image", "list", "rbd/layout"]).stdout.split()
    assert grouped == ["rbd/system_layout"]
    listed = lab.execute("n1", ["rbd", "image-meta", "list", "rbd/system_layout", "--format", "json"]).stdout
    metadata = json.loads(listed)
    assert {
        key: metadata[key] for key in ("vm_name", "_live_migration", "_migration_user", "_migrate_to_timeout")
    } == {
        "vm_name": "layout",
        "_live_migration": "true",
        "_migration_user": "root",
        "_migrate_to_timeout": "90",
    }
    assert metadata["_base_xml"] == lab.execute("n1", ["cat", XML]).stdout
    assert 'usage="client.libvirt secret"' in metadata["xml"].replace("'", '"')


def test_vm_made_by_hand_in_the_seapath_layout_is_taken_over(lab: Lab, clean: Callable[[str], None]) -> None:
    clean("taken")
    assert create(lab, "maker", "--disable").returncode == 0
    xml = lab.execute("n1", ["rbd", "image-meta", "get", "rbd/system_maker", "xml"]).stdout.replace(
        "maker", "taken"
    )
    assert vm_mgr(lab, "remove", "maker").returncode == 0
    target = "rbd:rbd/system_taken:id=vm-mgr:conf=/etc/ceph/ceph.conf"
    lab.execute("n1", ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", DISK, target])
    for key, value in {"vm_name": "taken", "xml": xml, "_base_xml": xml, "_live_migration": "true"}.items():
        lab.execute("n1", ["rbd", "image-meta", "set", "rbd/system_taken", key, value])
    lab.execute("n1", ["rbd", "group", "create", "rbd/taken"])
    lab.execute("n1", ["rbd", "group", "image", "add", "rbd/taken", "rbd/system_taken"])
    assert state(lab, "taken") == "Disabled"
    assert vm_mgr(lab, "enable", "taken").returncode == 0
    assert state(lab, "taken") == "Started"
    assert vm_mgr(lab, "migrate", "taken").returncode == 0


def test_start_that_fails_keeps_the_imported_disk(lab: Lab, clean: Callable[[str], None]) -> None:
    clean("broken")
    xml = lab.execute("n1", ["cat", XML]).stdout.replace('bridge="br0"', 'bridge="nosuchbridge"')
    lab.execute("n1", ["sh", "-c", "cat > /root/broken.xml"], stdin=xml)
    assert_refused(create(lab, "broken", xml="/root/broken.xml"), "broken")
    assert state(lab, "broken") == "Undefined", "what no node can start is refused before anything is copied"
    assert_refused(create(lab, "broken", "--allow", "unfit-nodes", xml="/root/broken.xml"), "broken")
    assert state(lab, "broken") == "Failed"
    assert "system_broken" in contents(lab)["images"]


def test_no_quorum_is_refused_and_nothing_is_called_stopped(lab: Lab, clean: Callable[[str], None]) -> None:
    clean("stays")
    assert create(lab, "stays", "--preferred-host", "n2").returncode == 0
    lab.partition([["n1"], ["n2"], ["n3"]])
    try:
        wait_until(
            lambda: (
                'with_quorum="true"' not in lab.execute("n1", ["crm_mon", "-1", "--output-as=xml"]).stdout
            ),
            what="the loss of quorum",
            timeout_s=180,
        )
        answer, listed = create(lab, "bad"), vm_mgr(lab, "list", "--output", "json")
    finally:
        lab.heal()
        wait_ready(lab, print)
    assert_refused(answer, "quorum")
    (stays,) = (row for row in json.loads(listed.stdout) if row["name"] == "stays")
    assert stays["state"] != "Stopped"
    assert "quorum" in stays["detail"]


def test_no_ceph_is_refused_and_what_runs_is_listed(lab: Lab, clean: Callable[[str], None]) -> None:
    clean("stays")
    assert create(lab, "stays").returncode == 0
    monitors = ["n2", "n3"]
    try:
        for node in monitors:
            lab.execute(node, ["systemctl", "stop", f"ceph-mon@{node}"])
        ask = [
            "timeout",
            "8",
            "ceph",
            "--connect-timeout",
            "5",
            "osd",
            "blocklist",
            "ls",
        ]  # a lost lease still answers "health"
        wait_until(
            lambda: lab.execute("n1", ask, check=False).returncode != 0, what="Ceph to be lost", timeout_s=60
        )
        answer, listed = create(lab, "bad"), vm_mgr(lab, "list")
    finally:
        for node in monitors:
            lab.execute(node, ["systemctl", "start", f"ceph-mon@{node}"])
        wait_ready(lab, print)
    assert_refused(answer, "Ceph")
    assert "stays" in listed.stdout
    assert "Ceph" in listed.stderr


def test_machine_outside_of_a_cluster_is_refused() -> None:
    program = Path(sys.executable).with_name("vm-mgr")
    assert_refused(subprocess.run([program, "list"], capture_output=True, text=True, check=False, timeout=60))


def test_dead_ssh_to_the_target_leaves_the_vm_and_no_constraint(
    lab: Lab, clean: Callable[[str], None]
) -> None:
    clean("stays")
    assert create(lab, "stays", "--enable-live-migration", "--preferred-host", "n1").returncode == 0
    lab.execute("n2", ["systemctl", "stop", "ssh.service"])
    try:
        answer = vm_mgr(lab, "migrate", "stays", "n2")
    finally:
        lab.execute("n2", ["systemctl", "start", "ssh.service"])
    constraints = lab.execute("n1", ["cibadmin", "--query", "--scope", "constraints"]).stdout
    assert "vm-mgr-move" not in constraints
    assert answer.returncode == 5, answer.stderr
    assert "the libvirt of n2 can't be reached" in answer.stderr, "it is found before anything moves"
    try:
        wait_until(lambda: state(lab, "stays") == "Started", what="stays to run", timeout_s=180)
    except LabError as error:
        pytest.fail(error.message)
    assert len(qemu_nodes(lab, "stays")) == 1
