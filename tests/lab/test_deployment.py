"""What the roles leave on the nodes: idempotent, fenced, secrets kept, ssh trust limited."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from vm_mgr_lab.bmc import ask_password
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import CHECKOUT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]


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
    for node in lab.nodes:
        password, script = ask_password(lab.paths, node), f"/etc/vm-mgr/fence/{node.name}"
        assert password not in text
        assert lab.execute("n2", [script]).stdout.strip() == password
        assert lab.execute("n2", ["stat", "-c", "%U %a", script]).stdout.split() == ["root", "700"]
    assert lab.execute("n2", ["stat", "-c", "%U %a", "/etc/vm-mgr/fence"]).stdout.split() == ["root", "700"]


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


def test_even_number_of_machines_is_refused(lab: Lab, tmp_path: Path) -> None:
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
    assert "odd number of machines" in " ".join((done.stdout + done.stderr).split())
