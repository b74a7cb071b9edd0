"""What a node tells of itself, under the shells of a node, with a /sys and tools made for the test."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from vm_mgr_lab.process import wait_until

AGENT = Path(__file__).parents[2] / "ocf" / "Node"
NOT_RUNNING, CONFIGURED = 7, 6
# Writes down what it is called with, and fails while there is a file `down`.
TOOL = '#!/bin/sh\n[ ! -e "{folder}/down" ] || exit 1\necho "${{0##*/}} $*" >>"{folder}/calls"\n'
RULE = """    <rsc_location id="vm-mgr-fits-web1..{ask}" rsc="web1">
      <rule id="vm-mgr-fits-web1..{ask}..rule" score="-100000">
        <expression id="vm-mgr-fits-web1..{ask}..told" attribute="vm-mgr-{ask}" operation="eq" value="0"/>
      </rule>
    </rsc_location>
"""


class Node:
    """A node whose bridges and cards the test makes and breaks."""

    def __init__(self, folder, shell):
        self.folder = folder
        self.shell = ["busybox", "sh"] if shell == "busybox" else [shell]
        self.net = folder / "net"
        self.parameters = {}
        for path in ("net/lo", "bin"):
            (folder / path).mkdir(parents=True)
        self.dev = folder / "dev"
        self.dev.write_text("Inter-|   Receive\n face |bytes\n    lo: 12 0\n")
        self.tool("attrd_updater", TOOL)
        self.tool("logger", TOOL)
        self.tool("cibadmin", TOOL + 'cat "{folder}/rules"\n')
        self.requirements("bridge-br0")

    def tool(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(text.format(folder=self.folder))
        path.chmod(0o755)

    def requirements(self, *requirements):
        rules = "".join(RULE.format(ask=ask) for ask in requirements)
        (self.folder / "rules").write_text(f"<constraints>\n{rules}</constraints>\n")
        (self.folder / "cib.xml").write_text("changed")
        # Newer than what was read, whatever the file system's clock.
        later = (self.folder / "cib.xml").stat().st_mtime + 100
        os.utime(self.folder / "cib.xml", (later, later))

    def interface(self, name, *, on=(), card=False, carrier=True, bridge=False):
        path = self.net / name
        path.mkdir()
        self.dev.write_text(f"{self.dev.read_text()}{name:>6}:9 0\n")
        self.carrier(name, carrier)
        for below in on:
            (path / f"lower_{below}").symlink_to(self.net / below)
        if card:
            (path / "device").mkdir()
        if bridge:
            (path / "bridge").mkdir()

    def hide(self, name):
        """Let /proc have no such interface."""
        lines = self.dev.read_text().splitlines(keepends=True)
        self.dev.write_text("".join(line for line in lines if not line.strip().startswith(f"{name}:")))

    def carrier(self, name, up):
        (self.net / name / "carrier").write_text("1\n" if up else "0\n")

    def run(self, action, *, probe=False):
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "VM_MGR_NET": str(self.net),
            "VM_MGR_DEV": str(self.dev),
            "VM_MGR_KVM": str(self.folder / "kvm"),
            "VM_MGR_CIB": str(self.folder / "cib.xml"),
            "VM_MGR_QEMU": str(self.folder / "qemu-"),
            "VM_MGR_STATE": str(self.folder / "state"),
            "VM_MGR_LIBVIRT_RUN": str(self.folder / "run"),
            "VM_MGR_PROC": str(self.folder / "proc"),
            "VM_MGR_PACKAGES": str(self.folder / "packages"),
            "OCF_RESKEY_CRM_meta_interval": "0" if probe else "10000",
            **{f"OCF_RESKEY_{key}": value for key, value in self.parameters.items()},
        }
        return subprocess.run(
            [*self.shell, str(AGENT), action], env=environment, capture_output=True, text=True, check=False
        )

    def look(self, action="monitor"):
        """Give what this look tells, in the order in which it is told."""
        log = self.folder / "calls"
        log.unlink(missing_ok=True)
        done = self.run(action)
        assert (done.returncode, done.stderr) == (0, "")
        self.calls = log.read_text().splitlines() if log.exists() else []
        words = [call.split() for call in self.calls if call.startswith("attrd_updater")]
        return [(one[2], one[4] if one[3] == "--update-both" else one[3]) for one in words]

    def settle(self):
        """Start, and read a configuration that has not changed since."""
        told = self.look("start")
        os.utime(self.folder / "cib.xml", (0, 0))
        return told


@pytest.fixture(params=["dash", "busybox", "bash"])
def node(request, tmp_path):
    return Node(tmp_path, request.param)


@pytest.fixture
def bridged(node):
    """Give a node with a bridge of one card and the tap of a VM, that has begun to tell."""
    node.interface("eth0", card=True)
    node.interface("vnet0")
    node.interface("br0", on=("eth0", "vnet0"), bridge=True)
    assert node.settle() == [("vm-mgr-bridge-br0", "2")]
    return node


def test_steady_bridge_is_told_once_and_no_program_is_started_for_it(bridged):
    assert "--delay 15" in bridged.calls[-1]
    for _ in range(3):
        assert bridged.look() == []
        assert bridged.calls == []


def test_card_without_a_carrier_cuts_the_bridge_off(bridged):
    bridged.carrier("eth0", up=False)
    assert bridged.look() == [("vm-mgr-bridge-br0", "1")]
    assert bridged.look() == []
    bridged.carrier("eth0", up=True)
    assert bridged.look() == [("vm-mgr-bridge-br0", "2")]


def test_card_that_is_switched_off_has_no_carrier(bridged):
    (bridged.net / "eth0" / "carrier").unlink()
    (bridged.net / "eth0" / "carrier").mkdir()  # reading fails, as with EINVAL
    assert bridged.look() == [("vm-mgr-bridge-br0", "1")]


def test_bridge_that_goes_is_missing(bridged):
    for file in sorted((bridged.net / "br0").iterdir()):
        file.unlink() if file.is_symlink() or file.is_file() else file.rmdir()
    (bridged.net / "br0").rmdir()
    bridged.hide("br0")
    assert bridged.look() == [("vm-mgr-bridge-br0", "0")]


def test_bridge_without_cards_has_nothing_to_lose(node):
    node.interface("vnet0", carrier=False)
    node.interface("veth0", carrier=False)
    node.interface("br0", on=("vnet0", "veth0"), bridge=True, carrier=False)
    assert node.settle() == [("vm-mgr-bridge-br0", "2")]


@pytest.mark.parametrize(
    ("down", "answer"),
    [((), "2"), (("eth0",), "2"), (("eth0", "eth1"), "1"), (("bond0",), "1"), (("bond0.5",), "1")],
)
def test_bond_and_vlan_between_bridge_and_cards(node, down, answer):
    for name, below in {"eth0": (), "eth1": (), "bond0": ("eth0", "eth1"), "bond0.5": ("bond0",)}.items():
        node.interface(name, on=below, card=not below, carrier=name not in down)
    node.interface("br0", on=("bond0.5",), bridge=True)
    assert node.settle() == [("vm-mgr-bridge-br0", answer)]


@pytest.mark.parametrize(("carrier", "answer"), [(True, "2"), (False, "1")])
def test_bridge_on_a_vlan_of_a_bridge_goes_by_the_card_of_the_lower_one(node, carrier, answer):
    """The lower bridge has a carrier by the VMs that are on it, too."""
    node.interface("eth0", card=True, carrier=carrier)
    node.interface("vnet0")
    node.interface("br1", on=("eth0", "vnet0"), bridge=True)
    node.interface("br1.5", on=("br1",))
    node.interface("br0", on=("br1.5",), bridge=True)
    assert node.settle() == [("vm-mgr-bridge-br0", answer)]


@pytest.mark.parametrize(
    ("uplinks", "answer"),
    [
        ("br0=veth0", "1"),
        ("br0=veth0,eth0", "2"),
        ("br0=veth0 br0=eth0", "2"),
        ("br0=gone", "1"),
        ("br1=veth0", "2"),
    ],
)
def test_uplinks_that_the_operator_names_are_the_ones(node, uplinks, answer):
    node.interface("eth0", card=True)
    node.interface("veth0", carrier=False)
    node.interface("br0", on=("eth0", "veth0"), bridge=True)
    node.parameters["uplinks"] = uplinks
    assert node.settle() == [("vm-mgr-bridge-br0", answer)]


def test_what_is_no_bridge_of_the_kernels_is_not_judged(node):
    node.interface("br0", carrier=False)  # as Open vSwitch's are, and plain cards
    assert node.settle() == []
    assert node.look() == []


@pytest.mark.parametrize("wrong", ["sys lacks one", "sys has one more", "no proc", "no sys"])
def test_nothing_is_told_in_a_container_that_sees_the_hosts_interfaces(node, wrong):
    if wrong == "sys lacks one":
        node.dev.write_text(f"{node.dev.read_text()}  br0: 1\n")
    if wrong == "sys has one more":
        (node.net / "eth9").mkdir()
    if wrong == "no proc":
        node.dev.unlink()
    if wrong == "no sys":
        (node.net / "lo").rmdir()
    assert node.settle() == []
    assert node.look() == []


def test_file_among_the_interfaces_is_none(bridged):
    (bridged.net / "bonding_masters").touch()
    assert bridged.look() == []


def test_what_is_not_known_any_more_is_taken_back(bridged):
    bridged.hide("eth0")
    assert bridged.look() == [("vm-mgr-bridge-br0", "--delete")]
    assert bridged.look() == []


def test_flapping_bridge_is_trusted_later_and_later(bridged):
    def looks_until(answer, carrier):
        bridged.carrier("eth0", up=carrier)
        for number in range(1, 20):
            if bridged.look() == [("vm-mgr-bridge-br0", answer)]:
                return number
        raise AssertionError

    waits = []
    for _ in range(5):
        assert looks_until("1", carrier=False) == 1
        waits.append(looks_until("2", carrier=True))
    assert waits == [1, 2, 4, 8, 8]
    # What flaps faster than it is trusted stays cut off.
    bridged.carrier("eth0", up=False)
    assert bridged.look() == [("vm-mgr-bridge-br0", "1")]
    for up in (True, False, True, False, True):
        bridged.carrier("eth0", up=up)
        assert [told for told in bridged.look() if told[1] != "1"] == []


def test_bridge_that_was_calm_for_long_is_trusted_at_once_again(bridged):
    for _ in range(2):
        bridged.carrier("eth0", up=False)
        bridged.look()
        bridged.carrier("eth0", up=True)
        for _ in range(34):
            bridged.look()
    bridged.carrier("eth0", up=False)
    bridged.look()
    bridged.carrier("eth0", up=True)
    assert bridged.look() == [("vm-mgr-bridge-br0", "2")]


def test_what_is_told_is_repeated_now_and_then(bridged):
    """A daemon of Pacemaker's may have lost it."""
    told = [bridged.look() for _ in range(60)]
    assert [one for one in told if one] == [[("vm-mgr-bridge-br0", "2")]] * 2


def test_answer_that_the_cluster_did_not_take_is_told_again(bridged):
    bridged.carrier("eth0", up=False)
    (bridged.folder / "down").touch()
    assert bridged.look() == []
    (bridged.folder / "down").unlink()
    assert bridged.look() == [("vm-mgr-bridge-br0", "1")]


def test_full_file_system_is_no_failure_of_the_node(bridged):
    (looks,) = (bridged.folder / "state").rglob("looks")
    looks.unlink()
    # What is there, and can't be written nor read: reading /dev/full would never end.
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(looks))
    for _ in range(2):
        assert ("vm-mgr-bridge-br0", "2") in bridged.look()  # each look is a thorough one


def test_new_vms_bridges_are_looked_at_when_the_configuration_has_changed(bridged):
    bridged.requirements("bridge-br0", "bridge-br9", "bridge-br9")
    assert bridged.look() == [("vm-mgr-bridge-br9", "0")]


def test_what_nobody_asks_for_any_more_is_taken_away(bridged):
    bridged.requirements()
    assert bridged.look() == [("vm-mgr-bridge-br0", "--delete")]


def test_unreadable_configuration_changes_nothing_and_is_read_later(bridged):
    bridged.requirements("bridge-br9")
    bridged.tool("cibadmin", "#!/bin/sh\nexit 1\n")
    assert bridged.look() == []
    bridged.tool("cibadmin", TOOL + 'cat "{folder}/rules"\n')
    assert bridged.look() == [("vm-mgr-bridge-br0", "--delete"), ("vm-mgr-bridge-br9", "0")]


@pytest.mark.parametrize(
    "ask",
    ["role", "bridge-", "bridge-a/../b", "machine-x86", "bridge-a b", "kvmx", "has-", "has-a;b", "has-$(b)"],
)
def test_rules_that_ask_for_something_else_are_left_alone(node, ask):
    node.requirements(ask)
    assert node.settle() == []


def test_kvm_that_can_not_be_opened_is_none(node):
    node.requirements("kvm")
    assert node.settle() == [("vm-mgr-kvm", "0")]
    assert not (node.folder / "kvm").exists(), "looking must not make it"
    (node.folder / "kvm").touch()
    assert [told for _ in range(31) for told in node.look()] == [("vm-mgr-kvm", "2")]


@pytest.mark.parametrize(
    ("qemu", "told"),
    [
        ("echo 'Supported machines are:'; echo 'pc-q35-9.2   Standard PC'", "2"),
        ("echo 'Supported machines are:'; echo 'pc-q35-9.20  Standard PC'", "0"),
        ("echo 'Supported machines are:'; echo 'pc-q35-9.2   Standard PC'; exit 1", None),
        ("", None),
    ],
)
def test_machine_type_is_qemus_word(node, qemu, told):
    if qemu:
        path = node.folder / "qemu-x86_64"
        path.write_text(f"#!/bin/sh\n{qemu}\n")
        path.chmod(0o755)
    node.requirements("machine-x86_64-pc-q35-9.2")
    assert node.settle() == ([("vm-mgr-machine-x86_64-pc-q35-9.2", told)] if told else [])


def test_qemu_is_asked_once_for_all_its_types_and_not_at_each_look(node):
    path = node.folder / "qemu-x86_64"
    path.write_text(f"#!/bin/sh\necho asked >>{node.folder}/qemu\necho Supported:\necho 'pc-a-1.0 A'\n")
    path.chmod(0o755)
    node.requirements("machine-x86_64-pc-a-1.0", "machine-x86_64-pc-b-1.0")
    assert [answer for _, answer in node.settle()] == ["2", "0"]
    assert [node.look() for _ in range(20)] == [[]] * 20
    assert (node.folder / "qemu").read_text() == "asked\n"


def test_probe_before_the_start_finds_nothing_and_tells_nothing(node):
    node.interface("br0", bridge=True)
    assert node.run("monitor", probe=True).returncode == NOT_RUNNING
    assert not (node.folder / "calls").exists()


def test_pacemaker_that_was_restarted_is_told_again(bridged):
    (bridged.folder / "calls").unlink()
    assert bridged.run("monitor", probe=True).returncode == 0
    assert not (bridged.folder / "calls").exists()
    assert bridged.look() == [("vm-mgr-bridge-br0", "2")]


def test_stop_takes_all_back_and_never_fails(bridged):
    assert bridged.look("stop") == [("vm-mgr-bridge-br0", "--delete")]
    assert bridged.run("monitor").returncode == NOT_RUNNING
    bridged.settle()
    (bridged.folder / "down").touch()
    bridged.parameters["uplinks"] = "nonsense"
    assert bridged.run("stop").returncode == 0
    assert bridged.run("monitor").returncode == NOT_RUNNING


@pytest.mark.parametrize(
    ("parameter", "value", "code"),
    [
        ("uplinks", "br0=eth0,bond0.5 br1=eth1", 0),
        ("uplinks", "br0", CONFIGURED),
        ("uplinks", "br0=", CONFIGURED),
        ("uplinks", "br0=*", CONFIGURED),
        ("dampening", "15s", CONFIGURED),
        ("dampening", "30", 0),
    ],
)
def test_parameters_are_validated(node, parameter, value, code):
    node.parameters[parameter] = value
    assert node.run("validate-all").returncode == code
    assert node.run("start").returncode == code


def test_meta_data_and_what_is_unknown(node):
    assert '<resource-agent name="Node"' in node.run("meta-data").stdout
    assert node.run("promote").returncode == 3


def test_interface_of_its_name_is_looked_for_at_each_look(node):
    node.interface("ovs0")
    node.requirements("link-ovs0", "link-tap9")
    assert node.settle() == [("vm-mgr-link-ovs0", "2"), ("vm-mgr-link-tap9", "0")]
    node.interface("tap9")
    assert node.look() == [("vm-mgr-link-tap9", "2")]


class TestFoundByPython:
    """What only Python can tell of is looked for in the background, and told at the next look."""

    TPM, FILE = "has-tpm", "has-file-__a_20b"

    @pytest.fixture
    def finder(self, node):
        node.tool("python3", TOOL + 'cat "{folder}/found"\n')
        (node.folder / "found").write_text(f"{self.TPM}=0\n{self.FILE}=2\n")
        (node.folder / "packages").touch()
        os.utime(node.folder / "packages", (0, 0))
        node.requirements(self.TPM, self.FILE)
        assert node.settle() == []
        self.wait(node)
        return node

    def wait(self, node):
        """Wait for the background, if it has something to do."""
        state = node.folder / "state" / "node"
        wait_until(
            lambda: (state / "found").exists() and not (state / "found.new").exists(),
            what="the background",
            timeout_s=30,
            interval_s=0.01,
        )

    def asked(self, node, *, waits=False):
        """Look, and give what Python was asked for meanwhile; waits: it is to be asked."""
        told, log = node.look(), node.folder / "calls"
        deadline = time.monotonic() + (30 if waits else 0.2)
        while True:
            calls = log.read_text().splitlines() if log.exists() else []
            asked = [
                call.split("vm_mgr.ocf.requirements ")[1] for call in calls if "ocf.requirements" in call
            ]
            if (asked and waits) or time.monotonic() > deadline:
                return told, asked
            time.sleep(0.01)

    def test_it_is_told_once_known_and_no_program_is_started_while_nothing_changes(self, finder):
        assert finder.look() == [(f"vm-mgr-{self.TPM}", "0"), (f"vm-mgr-{self.FILE}", "2")]
        for _ in range(3):
            assert self.asked(finder) == ([], [])

    def test_packages_and_asks_that_have_changed_are_looked_at(self, finder):
        finder.look()
        later = time.time() + 100
        (finder.folder / "found").write_text(f"{self.TPM}=2\n{self.FILE}=2\n")
        os.utime(finder.folder / "packages", (later, later))
        assert self.asked(finder, waits=True)[1] == [f"{self.TPM} {self.FILE}"]
        self.wait(finder)
        os.utime(finder.folder / "packages", (0, 0))
        assert self.asked(finder) == ([(f"vm-mgr-{self.TPM}", "2")], [])
        finder.requirements(self.TPM)
        assert self.asked(finder, waits=True) == ([(f"vm-mgr-{self.FILE}", "--delete")], [self.TPM])

    def test_what_it_can_not_tell_any_more_is_taken_back(self, finder):
        finder.look()
        (finder.folder / "found").write_text("")
        told = []
        for _ in range(33):
            told += finder.look()
            self.wait(finder)
        assert (f"vm-mgr-{self.TPM}", "--delete") in told

    def test_python_that_fails_changes_nothing(self, finder):
        finder.look()
        finder.tool("python3", "#!/bin/sh\nexit 1\n")
        assert [told for _ in range(40) for told in finder.look() if told[1] == "--delete"] == []

    def test_look_waits_for_nothing_that_hangs_and_does_not_pile_up(self, node):
        node.tool("python3", TOOL + "exec sleep 30 <&- >&- 2>&-\n")
        node.requirements(self.TPM)
        began = time.monotonic()
        node.settle()
        assert time.monotonic() - began < 20
        while not any("ocf.requirements" in one for one in (node.folder / "calls").read_text().splitlines()):
            assert time.monotonic() - began < 30
            time.sleep(0.01)
        (node.folder / "proc").symlink_to("/proc")
        pid = int((node.folder / "state/node/finds").read_text())
        try:
            node.requirements(self.TPM, self.FILE)
            assert self.asked(node) == ([], [])
        finally:
            subprocess.run(["pkill", "-P", str(pid)], check=False)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert self.asked(node, waits=True)[1] == [f"{self.TPM} {self.FILE}"]

    def test_stop_takes_all_back(self, finder):
        finder.look()
        assert sorted(finder.look("stop")) == [(f"vm-mgr-{one}", "--delete") for one in (self.FILE, self.TPM)]


class TestStrangers:
    """A QEMU of which the VM's agent knows nothing here is looked at."""

    @pytest.fixture
    def host(self, bridged):
        (bridged.folder / "run").mkdir()
        (bridged.folder / "proc/77").mkdir(parents=True)
        bridged.tool("python3", TOOL + "exit $(cat {folder}/verdict)\n")
        (bridged.folder / "verdict").write_text("0")
        (bridged.folder / "run/web1.pid").write_text("77")
        return bridged

    def asked(self, host):
        host.look()
        return [call.split("vm_mgr.ocf.second ")[1] for call in host.calls if call.startswith("python3")]

    def test_one_without_a_record_of_the_agent_is_looked_at_each_time(self, host):
        assert self.asked(host) == ["web1=77"]
        assert self.asked(host) == ["web1=77"]

    @pytest.mark.parametrize(
        ("record", "asked"), [("77 1 x", []), ("78 1 x", ["web1=77"]), ("", ["web1=77"])]
    )
    def test_one_that_the_agent_has_recorded_is_known(self, host, record, asked):
        (host.folder / "state/running..web1").write_text(record)
        assert self.asked(host) == asked

    def test_one_with_which_nothing_is_wrong_is_looked_at_once(self, host):
        (host.folder / "verdict").write_text("3")
        assert self.asked(host) == ["web1=77"]
        assert self.asked(host) == []
        (host.folder / "proc/78").mkdir()
        (host.folder / "run/web1.pid").write_text("78")
        assert self.asked(host) == ["web1=78"]

    @pytest.mark.parametrize("file", ["web1.pid", "a b.pid"])
    def test_what_is_none_is_left_alone(self, host, file):
        (host.folder / "run/web1.pid").unlink()
        (host.folder / "run" / file).write_text("99" if file == "web1.pid" else "77")
        assert self.asked(host) == []

    def test_monitor_does_not_fail_for_it(self, host):
        (host.folder / "verdict").write_text("1")
        assert host.run("monitor").returncode == 0
