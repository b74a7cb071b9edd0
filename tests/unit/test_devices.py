"""A VM without a definition of its own, and network cards and media that come and go."""

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.cli.app import app
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.devices import NewMachine, changes_of, new_card
from vm_mgr.ports.cluster import SideEffect, Simulation

DISKS = DomainXml()
MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"


@pytest.fixture
def shell(env):
    return lambda *words: CliRunner(mix_stderr=False).invoke(app, words, obj=env, prog_name="vm-mgr")


def stored(env, name="web1"):
    return etree.fromstring(env.storage.definitions.read(name))


def macs(root):
    return [one.find("mac").get("address") for one in root.iterfind("devices/interface")]


def test_vm_needs_no_definition(shell, env, image):
    done = shell(
        *("create", "web1", "--image", image, "--memory", "4G", "--vcpus", "3"),
        *("--network", "br0", "--network", f"network=default,model=e1000,mac={MAC}"),
    )
    assert (done.exit_code, done.stdout) == (0, "web1 is Started on n1\n")
    machine = env.definitions.machine(env.storage.definitions.read("web1"))
    assert (machine.memory_bytes, machine.vcpus, machine.macs[1]) == (4 << 30, 3, MAC)
    root = stored(env)
    assert [one.get("type") for one in root.iterfind("devices/interface")] == ["bridge", "network"]
    assert root.find("devices/disk[@device='disk']/target").get("bus") == "virtio"
    assert root.find("devices/graphics/listen").get("address") == "127.0.0.1"
    assert env.definitions.has_agent(env.storage.definitions.read("web1"))
    assert env.definitions.problems(env.storage.definitions.read("web1")) == []


@pytest.mark.parametrize(("kvm", "type_"), [(True, "kvm"), (False, "qemu")])
def test_its_type_is_what_all_nodes_have(shell, env, image, kvm, type_):
    env.hypervisor.kvm = kvm
    done = shell("create", "web1", "--image", image)
    assert stored(env).get("type") == type_
    assert ("emulated" in done.stderr) is not kvm


def test_one_node_without_kvm_decides_and_a_pinned_vm_asks_only_its_own(shell, env, image):
    env.hypervisor.kvm = True
    there, without = env.hypervisor_at, type("", (), {"has_kvm": lambda _: False})()
    env.hypervisor_at = lambda node: without if node == "n2" else there(node)
    shell("create", "web1", "--image", image, "--disable")
    shell("create", "web2", "--image", image, "--disable", "--pinned-host", "n1")
    assert [stored(env, name).get("type") for name in ("web1", "web2")] == ["qemu", "kvm"]


def test_no_node_that_answers_is_no_guess(shell, env, image):
    env.hypervisor.hanging = True
    assert shell("create", "web1", "--image", image, "--disable").exit_code == EXIT_CODES[Kind.NO_RESOURCES]
    assert not env.storage.vms


def test_installer_has_an_empty_disk_and_its_medium(shell, env):
    done = shell("create", "web1", "--disk", "20G", "--iso", "/srv/vms/debian.iso")
    assert done.exit_code == 0
    assert [disk.size_bytes for disk in env.storage.disks.of("web1")] == [20 << 30]
    source = stored(env).find("devices/disk[@device='cdrom']/source")
    assert (source.get("file"), source.get("startupPolicy")) == ("/srv/vms/debian.iso", "optional")
    assert [one.get("dev") for one in stored(env).iterfind("os/boot")] == ["hd", "cdrom"]


def test_disk_is_made_larger_than_its_image(shell, env, image):
    assert shell("create", "web1", "--image", image, "--disk", "8G").exit_code == 0
    assert [disk.size_bytes for disk in env.storage.disks.of("web1")] == [8 << 30]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--iso", "x.iso"],
        ["--disk", "10"],
        ["--disk", "4K", "--image", "IMAGE"],
        ["--xml", "vm.xml", "--image", "IMAGE", "--memory", "1G"],
        ["--image", "IMAGE", "--network", "br0,model=none"],
        ["--image", "IMAGE", "--network", "br0,mac=01:00:00:00:00:00"],
        ["--image", "IMAGE", "--network", "model=virtio"],
        ["--image", "IMAGE", "--network", "br0,network=default"],
        ["--image", "IMAGE", "--network", "br0,vlan=3"],
        ["--image", "IMAGE", "--network", "br 0"],
        ["--image", "IMAGE", "--network", ""],
    ],
)
def test_what_makes_no_vm_is_refused(shell, env, image, words):
    done = shell("create", "web1", *(image if word == "IMAGE" else word for word in words))
    assert done.exit_code == 2, done.stderr
    assert "vm-mgr: error: " in done.stderr
    assert not env.storage.vms


def test_dry_run_needs_no_definition_either(shell, env, image):
    done = shell("create", "web1", "--image", image, "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert not env.storage.vms


@pytest.fixture
def web1(shell, env, image):
    assert shell("create", "web1", "--image", image, "--network", f"br0,mac={MAC}").exit_code == 0
    return shell


def test_card_comes_and_goes_at_once(web1, env):
    done = web1("set", "web1", "--add-network", f"br1,mac={OTHER}", "-o", "json")
    assert done.exit_code == 0, done.stderr
    assert '"changed": true' in done.stdout
    assert macs(stored(env)) == [MAC, OTHER]
    assert web1("set", "web1", "--remove-network", MAC.upper()).exit_code == 0
    assert macs(stored(env)) == [OTHER]
    (name, verb, device), (_, second, gone) = env.hypervisor.changed_devices
    assert (name, verb, second) == ("web1", "attach-device", "detach-device")
    assert OTHER in device
    assert MAC in gone


def test_card_changes_its_bridge_at_once_and_its_model_later(web1, env):
    web1("set", "web1", "--change-network", f"{MAC},bridge=br7")
    assert [verb for _, verb, _ in env.hypervisor.changed_devices] == ["update-device"]
    done = web1("set", "web1", "--change-network", f"{MAC},model=e1000,mac={OTHER}")
    assert "at its next start" in done.stderr
    assert len(env.hypervisor.changed_devices) == 1
    card = stored(env).find("devices/interface")
    assert card.find("source").get("bridge") == "br7"
    assert (card.find("model").get("type"), macs(stored(env))) == ("e1000", [OTHER])


def test_what_the_guest_can_not_take_is_there_at_the_next_start(web1, env):
    env.hypervisor.no_free_slot = True
    done = web1("set", "web1", "--add-network", "br1")
    assert done.exit_code == 0
    assert "no more available PCI slots" in done.stderr
    assert len(macs(stored(env))) == 2


def test_medium_is_inserted_and_ejected(web1, env):
    web1("set", "web1", "--insert", "/srv/a&b.iso")
    assert stored(env).find("devices/disk[@device='cdrom']/source").get("file") == "/srv/a&b.iso"
    web1("set", "web1", "--insert", "/srv/c.iso")
    web1("set", "web1", "--eject")
    assert stored(env).find("devices/disk[@device='cdrom']/source") is None
    assert [verb for _, verb, _ in env.hypervisor.changed_devices] == ["update-device"] * 3
    assert len(stored(env).findall("devices/disk")) == 2


def test_several_drives_are_told_apart(web1, env):
    more = "<disk type='{}' device='{}'><source file='/old'/><target dev='{}'/></disk>".format
    both = more("file", "cdrom", "sdx") + more("file", "floppy", "fda")
    before = env.storage.definitions.read("web1")
    env.storage.definitions.describe("web1", {"xml": before.replace("</devices>", f"{both}</devices>")})
    assert web1("set", "web1", "--insert", "/a.iso", "--drive", "sda").exit_code == 0
    for words in (["--eject"], ["--insert", "/b.iso"]):
        done = web1("set", "web1", *words)
        assert done.exit_code == EXIT_CODES[Kind.INVALID]
        assert "sda, sdx" in done.stderr

    def media():
        drives = stored(env).xpath("devices/disk[@device!='disk']")
        return {one.find("target").get("dev"): one.xpath("string(source/@file)") for one in drives}

    assert media() == {"sda": "/a.iso", "sdx": "/old", "fda": "/old"}
    for drive in ("sdx", "fda"):
        assert web1("set", "web1", "--eject", "--drive", drive).exit_code == 0
    assert media() == {"sda": "/a.iso", "sdx": "", "fda": ""}
    assert web1("set", "web1", "--eject", "--drive", "vda").exit_code == EXIT_CODES[Kind.NOT_FOUND]


def test_stopped_vm_is_only_described(web1, env):
    web1("stop", "web1")
    done = web1("set", "web1", "--eject", "--memory", "3G")
    assert (done.exit_code, env.hypervisor.changed_devices) == (0, [])
    assert env.definitions.machine(env.storage.definitions.read("web1")).memory_bytes == 3 << 30


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["--remove-network", OTHER], Kind.NOT_FOUND),
        (["--remove-network", "br0"], Kind.INVALID),
        (["--add-network", f"br0,mac={MAC}"], Kind.EXISTS),
        (["--add-network", "model=virtio"], Kind.INVALID),
        (["--change-network", f"{OTHER},br1"], Kind.NOT_FOUND),
        (["--change-network", MAC], Kind.INVALID),
        (["--insert", "/a.iso", "--eject"], Kind.INVALID),
        (["--drive", "sda"], Kind.INVALID),
    ],
)
def test_change_that_is_none_leaves_all_as_it_was(web1, env, words, kind):
    before = env.storage.definitions.read("web1")
    done = web1("set", "web1", "--priority", "3", *words)
    assert done.exit_code == EXIT_CODES[kind], done.stderr
    assert env.storage.definitions.read("web1") == before
    assert env.storage.definitions.settings("web1").priority is None


def test_card_of_another_vm_or_of_no_node_is_refused_and_can_be_consented_to(web1, env, image):
    """As `create` and `edit` do."""
    web1("create", "web2", "--image", image, "--network", f"br0,mac={OTHER}")
    before = env.storage.definitions.read("web1")
    done = web1("set", "web1", "--add-network", f"br0,mac={OTHER}")
    assert done.exit_code == EXIT_CODES[Kind.EXISTS], done.stderr
    assert "web2" in done.stderr
    for node in ("n1", "n2", "n3"):
        env.facts_at(NodeName(node)).lacks.add("bridge-br77")
    lacking = web1("set", "web1", "--add-network", "br77")
    assert lacking.exit_code == EXIT_CODES[Kind.NO_RESOURCES], lacking.stderr
    assert "bridge br77" in lacking.stderr
    assert env.storage.definitions.read("web1") == before
    assert not env.hypervisor.changed_devices
    assert web1("set", "web1", "--add-network", "br77", "--allow", "unfit-nodes").exit_code == 0


def test_running_vm_is_not_moved_for_its_new_card_without_consent(web1, env):
    asked = []

    def simulate(vm, before):
        asked.append((vm.requirements, before.requirements))
        return Simulation({"web1": SideEffect.RESTARTED})

    env.cluster.simulate_change = simulate
    done = web1("set", "web1", "--add-network", "br1")
    assert done.exit_code != 0
    assert "web1 would be stopped and started at once" in done.stderr
    assert [("bridge-br1" in after, "bridge-br1" in before) for after, before in asked] == [(True, False)]
    assert web1("set", "web1", "--add-network", "br1", "--restart-others").exit_code == 0


def test_dry_run_of_a_card_changes_nothing(web1, env):
    done = web1("set", "web1", "--add-network", "br1", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "attach-device at the running guest of web1" in done.stdout
    assert not env.hypervisor.changed_devices


def test_drive_is_made_for_a_medium_where_there_is_none():
    plain = "<domain><os><type machine='{}'>hvm</type></os><devices/></domain>"
    for machine, bus in (("pc-q35-8.2", "sata"), ("pc", "ide")):
        root = etree.fromstring(
            DISKS.edited(plain.format(machine), *changes_of([], [], [], "/a", eject=False)).xml
        )
        assert root.find("devices/disk/target").get("bus") == bus
    with pytest.raises(VmMgrError) as none:
        DISKS.edited(plain, *changes_of([], [], [], None, eject=True))
    assert none.value.kind is Kind.NOT_FOUND


def test_made_definition_has_one_of_each_and_no_address_twice():
    cards = tuple(new_card("br0") for _ in range(4))
    root = etree.fromstring(DISKS.made(NewMachine(cards=cards)))
    assert len(set(macs(root))) == 4
    assert DISKS.problems(DISKS.made(NewMachine())) == []


class TestNamesOfNodes:
    def test_no_vm_is_named_like_a_node(self, shell, env, image):
        assert shell("create", "n2", "--image", image).exit_code == EXIT_CODES[Kind.EXISTS]
        shell("create", "web1", "--image", image, "--nostart")
        assert shell("rename", "web1", "--new-name", "n1").exit_code == EXIT_CODES[Kind.EXISTS]
        assert shell("clone", "web1", "--dst-name", "n3").exit_code == EXIT_CODES[Kind.EXISTS]
        assert list(env.storage.vms) == ["web1"]

    def test_release_of_what_is_no_node_says_so(self, shell):
        done = shell("release-node", "n9")
        assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND]
        assert "the cluster has no node 'n9'" in done.stderr
