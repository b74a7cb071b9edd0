"""Who has the majority after a split: what checks.yml takes, and what two nodes are given."""

import base64
import os
import subprocess
import xml.etree.ElementTree as ET

import pytest
import yaml

from vm_mgr.model.inconsistencies import inconsistencies

from .test_deployed_inventory import refusal
from .test_deployed_timeouts import DEPLOY, LAB, Deployment

ENOUGH = "A machine can be lost"
DEVICE = "The quorum device is one machine, and none of the cluster"
MAJORITY = "After any split one side has the majority"
MONITORS = "Ceph's monitors have a majority, too"
ADDRESS = "The quorum device has an address"
VOTER = {"qnetd": ["q1"]}


def groups(hypervisors, observers=0, **more):
    names = [f"n{number}" for number in range(1, hypervisors + observers + 1)]
    return {"groups": {"hypervisors": names[:hypervisors], "observers": names[hypervisors:], **more}}


def refused(cluster, *, storages=("shared_dir",)):
    told = [refusal(one, **cluster, cluster_storages=list(storages)) for one in (ENOUGH, DEVICE, MAJORITY)]
    return [one for one in (*told, refusal(MONITORS, **cluster, cluster_storages=list(storages))) if one]


@pytest.mark.parametrize(
    "cluster",
    [
        groups(3),
        groups(2, 1),
        groups(1, 2),
        groups(5),
        groups(2),
        groups(2, **VOTER),
        groups(4, **VOTER),
        groups(3, 1, **VOTER),
        {"groups": {"hypervisors": ["n1", "n2"]}},
    ],
)
def test_odd_votes_are_taken_and_two_hypervisors(cluster):
    assert refused(cluster) == []


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (groups(1), ("1 machine (n1)", "Add a machine")),
        (groups(1, 1), ("2 machines (n1, n2), of which 1 can run VMs", "Add a machine")),
        (groups(1, 1, **VOTER), ("of which 1 can run VMs",)),
        (groups(4), ("4 machines (n1, n2, n3, n4) and as many votes", '"observers"', '"qnetd"')),
        (groups(2, 2), ("odd number of votes", "take one out")),
        (groups(3, **VOTER), ("quorum device (q1): 4 votes", "3 machines need no further vote")),
        (groups(2, qnetd=["q1", "q2"]), ("q1, q2", "one machine")),
        (groups(3, qnetd=["n2"]), ('"qnetd" has n2', 'use the group "observers"')),
    ],
)
def test_what_could_leave_no_majority_is_refused_with_what_to_do(cluster, words):
    told = refused(cluster)
    assert told
    assert all(word in told[0] for word in words), told[0]


@pytest.mark.parametrize("cluster", [groups(2), groups(2, **VOTER), groups(4, **VOTER)])
def test_ceph_of_their_own_needs_odd_machines(cluster):
    (told,) = refused(cluster, storages=["ceph"])
    assert "monitors need a majority of their own" in told
    assert refused(cluster | {"ceph_existing": True}, storages=["ceph"]) == []
    assert refused(groups(2, 1), storages=["ceph"]) == []


def test_quorum_device_has_an_address_to_be_reached_by():
    assert refusal(ADDRESS, groups={}) == ""
    assert refusal(ADDRESS, groups=VOTER, hostvars={"q1": {"admin_address": "192.0.2.20"}}) == ""
    assert refusal(ADDRESS, groups=VOTER, hostvars={"q1": {}}).startswith("q1 lacks admin_address")


def deployment(size, *, device=False, **extra):
    built = Deployment(size, **extra)
    if device:
        built.values["groups"] = built.values["groups"] | VOTER
        built.values["hostvars"] = built.values["hostvars"] | {"q1": {"admin_address": "192.0.2.20"}}
    return built


def quorum(built):
    """Give what corosync.conf says of quorum, without comments."""
    text = built.template("corosync", "corosync.conf.j2").partition("\nquorum {")[2].partition("\n}")[0]
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def devices(built):
    root = ET.fromstring(built.template("fencing", "configuration.xml.j2"))  # noqa: S314
    return {
        one.get("id").removeprefix("vm-mgr-fence-"): {
            pair.get("name"): pair.get("value") for pair in one.iter("nvpair")
        }
        for one in root.iter("primitive")
    }


@pytest.mark.parametrize("size", [3, 5])
def test_odd_clusters_stay_as_they_were(size):
    built = deployment(size)
    assert quorum(built) == ["provider: corosync_votequorum"]
    assert not any("pcmk_delay_base" in one for one in devices(built).values())


def test_two_nodes_are_each_enough_and_the_first_wins_a_tie():
    built = deployment(2)
    assert quorum(built) == ["provider: corosync_votequorum", "two_node: 1", "wait_for_all: 1"]
    found = devices(built)
    assert found["n1"]["pcmk_delay_base"] == "n1:3s"
    assert "pcmk_delay_base" not in found["n2"]


def test_quorum_device_votes_and_nobody_waits():
    built = deployment(2, device=True)
    lines = quorum(built)
    assert {"votes: 1", "model: net", "host: 192.0.2.20", "algorithm: ffsplit", "tls: required"} < set(lines)
    assert not {"two_node: 1", "wait_for_all: 1"} & set(lines)
    assert not any("pcmk_delay_base" in one for one in devices(built).values())
    assert built.cluster().pacemaker.priority_fencing_delay == 0


@pytest.mark.parametrize("extra", [{}, LAB])
@pytest.mark.parametrize(("size", "device"), [(2, False), (2, True), (4, True)])
def test_deployed_delays_contradict_nothing(size, device, extra):
    cluster = deployment(size, device=device, **extra).cluster(quorum_device=device)
    assert [one.code for one in inconsistencies(cluster, None)] == []


def test_priority_decides_before_the_static_delay_does():
    """Pacemaker adds the one to the other: the head start has to outlast it."""
    cluster = deployment(2).cluster()
    longest = max(one.pcmk_delay_base for one in cluster.devices)
    assert longest > 0
    assert cluster.pacemaker.priority_fencing_delay > 2 * longest


def test_lost_vote_is_given_on_before_corosync_gives_up_waiting():
    """corosync-qnetd(8): dpd_interval_coefficient; corosync-qdevice's heartbeat is 0.8 of its timeout."""
    values = yaml.safe_load((DEPLOY / "roles/corosync/defaults/main.yml").read_text())
    missed = 1.5 * 0.8 * values["corosync_qdevice_timeout_ms"]
    assert 2 * missed < values["corosync_qdevice_sync_timeout_ms"]


SCRIPT = (DEPLOY / "roles/corosync/files/certificate.sh").read_text()
TOOLS = {
    "corosync-qdevice-net-certutil": """
folder=$VM_MGR_ROOT/etc/corosync/qdevice/net/nssdb
case $1 in
-i) [ ! -e "$folder/cert9.db" ] || exit 1; mkdir -p "$folder"; cat "$3" >"$folder/cert9.db" ;;
-r) echo "request of $3 to $(cat "$folder/cert9.db")" >"$folder/qdevice-net-node.crq" ;;
-M) [ -z "$DIES" ] || exit 1; echo "pair of $(cat "$3")" >"$folder/qdevice-net-node.p12" ;;
-m) [ -z "$DIES" ] || exit 1; cat "$3" >"$folder/key4.db" ;;
esac
echo words of the tool""",
    "corosync-qnetd-certutil": """
mkdir -p "$VM_MGR_ROOT/etc/corosync/qnetd/nssdb"
echo "signed: $(cat "$3")" >"$VM_MGR_ROOT/etc/corosync/qnetd/nssdb/cluster-$5.crt"
echo words of the tool""",
}


def encoded(text):
    return base64.b64encode(text.encode()).decode()


class Machine:
    """A folder in place of a machine's, and what stands for corosync's tools."""

    def __init__(self, folder):
        self.root = folder
        (folder / "bin").mkdir(parents=True)
        for name, text in TOOLS.items():
            (folder / "bin" / name).write_text("#!/bin/sh -e\n" + text)
            (folder / "bin" / name).chmod(0o755)

    def run(self, *words, data="", dies=""):
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", f"set -- {' '.join(words)}\n{SCRIPT}"],
            input=data + "\n",
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": path, "VM_MGR_ROOT": str(self.root), "DIES": dies},
        )
        assert bool(done.returncode) == bool(dies), done.stderr
        return done.stdout

    def kept(self, name):
        return (self.root / "etc/corosync/qdevice/net/nssdb" / name).read_text()


@pytest.fixture
def machines(tmp_path):
    return [Machine(tmp_path / name) for name in ("first", "second", "voter")]


def deploy(machines, authority="authority"):
    """Do what certificate.yml does; tell which nodes have changed."""
    first, second, voter = machines
    request = first.run("request", "vm-mgr", data=encoded(authority))
    if request:
        first.run("accept", data=voter.run("sign", "vm-mgr", data=request))
    pair = encoded(first.kept("qdevice-net-node.p12"))
    given = f"{encoded(authority)}\n{pair}"
    return bool(request), [one.run("take", data=given) for one in (first, second)]


def test_all_nodes_have_one_certificate_of_the_quorum_device(machines):
    assert deploy(machines) == (True, ["", "changed\n"])
    first, second, _ = machines
    pair = first.kept("qdevice-net-node.p12")
    assert pair == "pair of signed: request of vm-mgr to authority\n"
    assert second.kept("key4.db") == second.kept("qdevice-net-node.p12") == pair
    assert second.kept("cert9.db") == "authority"
    folder = first.root / "etc/corosync/qdevice/net/nssdb"
    assert {one.stat().st_mode & 0o077 for one in folder.iterdir()} == {0}


def test_second_deployment_makes_no_certificate(machines):
    deploy(machines)
    assert deploy(machines) == (False, ["", ""])


def test_another_quorum_device_gives_another_certificate(machines):
    deploy(machines)
    assert deploy(machines, "another") == (True, ["", "changed\n"])
    assert machines[1].kept("cert9.db") == "another"
    assert deploy(machines, "another") == (False, ["", ""])


@pytest.mark.parametrize("step", ["accept", "take"])
def test_what_was_interrupted_is_made_anew(machines, step):
    first, second, voter = machines
    signed = voter.run("sign", "vm-mgr", data=first.run("request", "vm-mgr", data=encoded("authority")))
    if step == "accept":
        first.run("accept", data=signed, dies="yes")
    else:
        first.run("accept", data=signed)
        given = f"{encoded('authority')}\n{encoded('pair')}"
        second.run("take", data=given, dies="yes")
    assert deploy(machines)[1] == ["", "changed\n"]
    assert deploy(machines) == (False, ["", ""])
