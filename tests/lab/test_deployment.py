"""What the roles leave on the nodes: idempotent, fenced, secrets kept, ssh trust limited."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lxml import etree

from vm_mgr_lab.bmc import ask_password
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import CHECKOUT

from .guest import QUICK, clean, create
from .test_life import shell, vm_mgr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

LOOKER = Path(__file__).parent / "node" / "arguments.py"


def cib(lab: Lab) -> etree._Element:
    return etree.fromstring(lab.execute("n1", ["cibadmin", "--query"]).stdout.encode())


def test_second_run_changes_nothing(lab: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vm_mgr_lab.cli", "deploy"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    recap = re.findall(
        r"^(n\d+) .*changed=(\d+) .*failed=(\d+)", (lab.paths.state / "deploy.log").read_text(), re.MULTILINE
    )
    assert recap[-3:] == [(node.name, "0", "0") for node in lab.nodes]


def test_every_node_has_a_fence_device_that_never_runs_on_it(lab: Lab) -> None:
    config = cib(lab)
    devices = {str(p.get("id")) for p in config.iterfind(".//primitive") if p.get("class") == "stonith"}
    assert devices == {f"vm-mgr-fence-{node.name}" for node in lab.nodes}
    banned = {
        (c.get("rsc"), c.get("node"))
        for c in config.iterfind(".//rsc_location")
        if c.get("score") == "-INFINITY"
    }
    assert {(f"vm-mgr-fence-{node.name}", node.name) for node in lab.nodes} <= banned
    enabled = config.xpath("string(.//nvpair[@name='stonith-enabled']/@value)")
    assert enabled == "true"


def test_bmc_passwords_are_in_no_cib_and_in_root_only_files(lab: Lab) -> None:
    text = etree.tostring(cib(lab), encoding="unicode")
    folder = "/etc/vm-mgr/fence"
    for node in lab.nodes:
        password = ask_password(lab.paths, node)
        assert password not in text
        assert lab.execute("n2", ["cat", f"{folder}/{node.name}.password"]).stdout == f"{password}\n"
        assert lab.execute("n2", [f"{folder}/{node.name}.name"]).stdout == f"{node.name}\n"
    modes = lab.execute("n2", ["sh", "-c", f"stat -c '%U %a' {folder} {folder}/*.password {folder}/*.name"])
    files = len(lab.nodes)
    assert modes.stdout.splitlines() == ["root 700", *["root 600"] * files, *["root 700"] * files]


VNC = "vnc-Pa55"


def secrets_of(lab: Lab) -> dict[str, str]:
    """Name all that nobody may see: passwords of BMCs and of a console, Ceph's keys, libvirt's secret."""
    found = {f"BMC of {node.name}": ask_password(lab.paths, node) for node in lab.nodes}
    keyrings = "cat /var/lib/ceph/vm-mgr/cluster.keyring /var/lib/ceph/osd/*/keyring /etc/ceph/*.keyring"
    for node in lab.nodes:
        text = lab.execute(node.name, ["sh", "-c", keyrings]).stdout
        for name, key in re.findall(r"\[(.*)\]\s+(?:[^\[]*\n)?\s*key = (\S+)", text):
            found[f"Ceph's key of {name}"] = key
        listed = lab.execute(node.name, ["virsh", "secret-list"]).stdout
        for uuid in re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", listed):
            found[f"libvirt's secret on {node.name}"] = lab.execute(
                node.name, ["virsh", "secret-get-value", uuid]
            ).stdout.strip()
    assert {"Ceph's key of client.admin", "Ceph's key of client.libvirt", "Ceph's key of osd.0"} <= set(found)
    return found | {"a console's password": VNC, "decoy": "nothing-but-a-decoy"}


@contextmanager
def looking(lab: Lab, secrets: dict[str, str]) -> Iterator[dict[str, dict[str, str]]]:
    """Look at all processes of all nodes meanwhile; afterwards the dictionary tells what was found where."""
    found: dict[str, dict[str, str]] = {}
    lookers = {}
    for node in lab.nodes:
        lab.copy_in(node.name, LOOKER, "/run/arguments.py")
        argv = [*lab.machine(node.name).enter_command(), "python3", "/run/arguments.py"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        lookers[node.name] = subprocess.Popen(argv, text=True, **pipes)
    for looker in lookers.values():
        looker.stdin.write(json.dumps(secrets) + "\n")
        looker.stdin.flush()
        assert looker.stdout.readline() == "looking\n"
    try:
        yield found
    finally:
        for name, looker in lookers.items():
            output, _ = looker.communicate(timeout=30)
            told = json.loads(output)
            assert told["looks"] > 10
            found[name] = told["found"]


def fence_and_monitor(lab: Lab) -> None:
    """Have each device asked by Pacemaker, and each machine that is on switched on: both call ipmitool."""
    for node in lab.nodes:
        lab.execute("n1", ["crm_resource", "--refresh", f"--resource=vm-mgr-fence-{node.name}"], timeout_s=60)
        lab.execute("n1", ["stonith_admin", f"--unfence={node.name}", "--timeout=40"], timeout_s=60)


def test_no_secret_is_in_an_argument_or_an_environment_or_a_journal(lab: Lab) -> None:
    secrets = secrets_of(lab)
    with looking(lab, secrets) as found, clean(lab):
        for node in lab.nodes:
            lab.execute(node.name, ["sh", "-c", "sleep 0.5; :", secrets["decoy"]])
        fence_and_monitor(lab)
        console = f'<graphics type="vnc" listen="127.0.0.1" passwd="{VNC}"/></devices>'
        definition = shell(lab, "cat /root/cmd.xml").replace("</devices>", console)
        lab.execute("n1", ["sh", "-c", "cat >/root/cmd.xml"], stdin=definition)
        create(lab, "cmd1", "ceph", "--enable-live-migration", *QUICK)
        vm_mgr(lab, "migrate", "cmd1")
    assert all(one.pop("decoy", None) for one in found.values()), "what looks can find something"
    assert found == {node.name: {} for node in lab.nodes}
    patterns = "\n".join(secret for name, secret in secrets.items() if name != "decoy") + "\n"
    for node in lab.nodes:
        line = (
            "umask 077; cat >/run/patterns; journalctl -b -o cat | grep -cFf /run/patterns; rm /run/patterns"
        )
        assert lab.execute(node.name, ["sh", "-c", line], stdin=patterns).stdout == "0\n"


def test_clients_are_let_into_their_pool_only(lab: Lab) -> None:
    for user in ("libvirt", "vm-mgr"):
        told = json.loads(lab.execute("n1", ["ceph", "auth", "get", f"client.{user}", "-f", "json"]).stdout)
        assert told[0]["caps"]["osd"] == told[0]["caps"]["mgr"] == "profile rbd pool=rbd"
        as_user = ["rados", "--id", user, "--pool", ".mgr", "ls"]
        assert "not permitted" in lab.execute("n1", as_user, check=False).stderr


def test_locks_are_proven_between_the_nodes(lab: Lab) -> None:
    """And a node whose mount makes them local is told of it (here only its libvirt is asked otherwise)."""
    line = "PYTHONPATH=/usr/lib/vm-mgr/current python3 -P -m vm_mgr.ocf.disk_locks check 10 /srv/vms"
    for node in lab.nodes:
        lab.execute(node.name, ["sh", "-c", line])
        assert lab.execute(node.name, ["systemctl", "is-active", "vm-mgr-disk-locks.service"]).returncode == 0
    other = "mkdir /run/etc; VM_MGR_LIBVIRT_ETC=/run/etc /usr/lib/ocf/resource.d/vm-mgr/DiskLocks start"
    done = lab.execute("n1", ["sh", "-c", f"{other}; code=$?; rmdir /run/etc; exit $code"], check=False)
    assert (done.returncode, "takes no leases" in done.stderr) == (1, True)


def test_observers_are_banned_by_one_rule(lab: Lab) -> None:
    rules = [c for c in cib(lab).iterfind(".//rsc_location") if c.get("id") == "vm-mgr-observers"]
    assert len(rules) == 1
    assert rules[0].get("rsc-pattern") is not None


def test_migration_key_opens_nothing_but_libvirt(lab: Lab) -> None:
    done = lab.execute("n1", ["ssh", "-o", "BatchMode=yes", "n2-cluster", "id"], check=False, timeout_s=30)
    assert "uid=" not in done.stdout
    listed = lab.execute(
        "n1", ["virsh", "-c", "qemu+ssh://root@n2-cluster/system", "list", "--name"], timeout_s=30
    )
    assert listed.returncode == 0


UNITS = ("corosync.service", "pacemaker.service", "vm-mgr-alerts.service", "libvirtd.service", "system.slice")


def test_daemons_are_protected_and_qemu_is_not(lab: Lab) -> None:
    """What is in effect of it is the host's to say; that systemd has understood it is seen here."""
    asked = "OOMScoreAdjust,CPUWeight,IOWeight,MemoryMin,MemoryLow,MemorySwapMax"
    for node in lab.nodes:
        told = {}
        for unit in UNITS:
            shown = lab.execute(node.name, ["systemctl", "show", unit, "-p", asked]).stdout
            told[unit] = dict(line.split("=", 1) for line in shown.splitlines())
        for unit in ("corosync.service", "pacemaker.service"):
            found = told[unit]
            assert (found["OOMScoreAdjust"], found["MemorySwapMax"]) == ("-1000", "0")
            assert (found["CPUWeight"], found["IOWeight"]) == ("1000", "1000")
            assert int(found["MemoryMin"]) >= 192 << 20
        assert told["vm-mgr-alerts.service"]["OOMScoreAdjust"] == "-900"
        assert told["libvirtd.service"]["OOMScoreAdjust"] == "0", "QEMU would inherit it"
        assert int(told["libvirtd.service"]["MemoryLow"]) == 160 << 20
        assert int(told["system.slice"]["MemoryMin"]) == 672 << 20
        failed = lab.execute(node.name, ["systemd-analyze", "verify", *UNITS[:4]], check=False)
        assert "vm-mgr" not in "".join(
            line for line in failed.stderr.splitlines(keepends=True) if "nknown" in line or "nvalid" in line
        )


def test_two_machines_with_a_ceph_of_their_own_are_refused(lab: Lab, tmp_path: Path) -> None:
    inventory = lab.paths.inventory.read_text()
    reduced = re.sub(r"^( +)n3:\n(\1 +.*\n)+", "", inventory, flags=re.MULTILINE)
    assert reduced != inventory
    (tmp_path / "inventory.yml").write_text(reduced)
    (tmp_path / "inventory.yml").chmod(0o600)
    done = subprocess.run(
        [
            f"{sys.prefix}/bin/ansible-playbook",
            "-i",
            str(tmp_path / "inventory.yml"),
            str(CHECKOUT / "deploy/site.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=CHECKOUT / "deploy",
    )
    assert done.returncode != 0
    told = " ".join((done.stdout + done.stderr).split())
    assert "A Ceph of 2 machines would stand still" in told
