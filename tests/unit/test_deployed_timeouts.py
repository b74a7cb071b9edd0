"""The timeouts that our roles deploy fit together, in clusters of every size, as the adapters read them."""

import re
from pathlib import Path

import jinja2
import pytest
import yaml
from jinja2 import meta
from lxml import etree

from vm_mgr.adapters.ceph.timings import combine, parse_conf
from vm_mgr.adapters.pacemaker import cib_write
from vm_mgr.adapters.pacemaker.timings import parse_cluster
from vm_mgr.model.inconsistencies import Severity, inconsistencies
from vm_mgr.model.recovery import node_lost
from vm_mgr.model.timings import TotemTimes
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import VmResource

DEPLOY = Path(__file__).parents[2] / "deploy"
LAB = yaml.safe_load((DEPLOY / "vars" / "containers.yml").read_text())
SIZES = (3, 5, 6, 7, 9, 15)
LAB_SIZES = (3, 5, 7)
ROLES = ("corosync", "pacemaker", "fencing", "ceph")


def play_variables():
    """Give what site.yml makes of the inventory, as it stands there."""
    return yaml.safe_load((DEPLOY / "site.yml").read_text())[0]["vars"]


class Deployment:
    """The roles' templates, filled in as Ansible would for machines n1, n2, …"""

    def __init__(self, size, **extra):
        nodes = [f"n{number}" for number in range(1, size + 1)]
        self.jinja = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701
        self.jinja.filters["extract"] = lambda key, container, name: container[key][name]
        self.jinja.filters["regex_replace"] = lambda text, pattern, new: re.sub(pattern, new, text)
        addresses = {"cluster_address": "198.51.100.11", "admin_address": "192.0.2.11"}
        bmc = {"bmc_address": "192.0.2.101", "bmc_user": "u"}
        self.values = play_variables() | {
            "cluster_nodes": nodes,
            "groups": {"hypervisors": nodes},
            "hostvars": dict.fromkeys(nodes, addresses | bmc),
            "ceph_fsid": "x",
            **addresses,
        }
        for role in ROLES:
            for folder in ("defaults", "vars"):
                for file in sorted((DEPLOY / "roles" / role / folder).glob("main.yml")):
                    self.values |= yaml.safe_load(file.read_text())
        self.values |= extra

    def fill(self, text):
        """Fill in a text, and before it each variable that it uses, as Ansible does."""
        used = meta.find_undeclared_variables(self.jinja.parse(text)) & self.values.keys()
        return self.jinja.from_string(text).render({name: self.value(self.values[name]) for name in used})

    def value(self, value):
        if isinstance(value, dict):
            return {key: self.value(one) for key, one in value.items()}
        if not (isinstance(value, str) and "{{" in value):
            return value
        filled = self.fill(value)
        return yaml.safe_load(filled) if filled.startswith("[") or filled in ("True", "False") else filled

    def template(self, role, name):
        return self.fill((DEPLOY / "roles" / role / "templates" / name).read_text())

    def cluster(self, *, quorum_device=False):
        cib = etree.fromstring(f"<cib>{self.template('pacemaker', 'configuration.xml.j2')}</cib>")
        alert = etree.parse(DEPLOY / "roles" / "vm_mgr" / "files" / "alert.xml").getroot()
        cib.find("configuration").extend(alert)
        for section in ("resources", "constraints"):
            if cib.find(f"configuration/{section}") is None:
                etree.SubElement(cib.find("configuration"), section)
        fencing = etree.fromstring(self.template("fencing", "configuration.xml.j2"))
        cib.find("configuration/resources").extend(fencing.find("resources"))
        cib_write.add_vm(cib, VmResource("web1", TargetRole.STARTED, live_migration=True))
        text = etree.tostring(cib, encoding="unicode")
        return parse_cluster(text, self.totem(), quorum_device=quorum_device)

    def totem(self):
        """Compute what is in effect: corosync.conf(5), token_coefficient."""
        lines = self.template("corosync", "corosync.conf.j2").split("\n")
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        conf = {key.strip(): value.strip() for key, value in pairs}
        more = max(len(self.values["cluster_nodes"]) - 2, 0) * int(conf["token_coefficient"])
        return TotemTimes(
            token=(int(conf["token"]) + more) / 1000, consensus=int(conf["consensus"]) / 1000, join=0.05
        )

    def ceph(self):
        conf = parse_conf(self.template("ceph", "ceph.conf.j2"))
        return combine(conf, [], osd_hosts=len(self.values["cluster_nodes"]))


@pytest.mark.parametrize(
    ("size", "extra"), [*((size, {}) for size in SIZES), *((size, LAB) for size in LAB_SIZES)]
)
def test_deployed_timeouts_are_consistent(size, extra):
    deployment = Deployment(size, **extra)
    cluster, ceph = deployment.cluster(), deployment.ceph()
    found = inconsistencies(cluster, ceph)
    assert [one for one in found if one.severity is Severity.ERROR] == []
    assert [one.code for one in found] == []
    assert (len(cluster.nodes), len(cluster.devices), len(cluster.vms)) == (size, size, 1)


def test_what_the_rules_see_is_what_was_deployed():
    """A template that is read wrongly must not pass for one that is consistent."""
    deployment = Deployment(3)
    cluster, ceph = deployment.cluster(), deployment.ceph()
    assert (cluster.totem.token, cluster.totem.consensus) == (1.3, 1.56)
    assert cluster.pacemaker.dc_deadtime == 10
    assert cluster.pacemaker.priority_fencing_delay == 7
    assert cluster.pacemaker.cluster_recheck_interval == 60
    device = cluster.devices[0]
    assert (device.targets, device.power_wait, device.pcmk_reboot_timeout) == (("n1",), 2, 60)
    assert device.waits
    assert cluster.vms[0].migration_threshold == 3
    assert cluster.vms[0].failure_timeout == 600
    assert (ceph.osd_heartbeat_grace, ceph.mon_osd_heartbeat_grace, ceph.objecter_timeout) == (6, 6, 2)
    assert ceph.sources["mon_lease"] == "ceph.conf"


def test_larger_clusters_get_a_consensus_that_fits_their_token():
    totem = Deployment(7).totem()
    assert (totem.token, totem.consensus) == (2.3, 2.76)


def test_foreseen_recovery_of_the_lab_is_what_was_measured():
    """Noticed after 2.9 to 3.2 s, QEMU started after 3.8 to 5.6 s (docs/reference/performance.md)."""
    deployment = Deployment(3, **LAB)
    cluster = deployment.cluster()
    foreseen = node_lost(cluster, deployment.ceph(), cluster.vms[0])
    noticed = foreseen.phases[0]
    assert 2.8 <= noticed.typical_s <= 3.3 <= noticed.worst_s
    assert 3.8 <= foreseen.typical_s <= 5.6 <= foreseen.worst_s
