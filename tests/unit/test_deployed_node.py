"""The clone that tells what nodes have, as the role vm_mgr puts it into Pacemaker's configuration."""

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path

import jinja2
import pytest
import yaml

from vm_mgr_lab.image import role_packages

DEPLOY = Path(__file__).parents[2] / "deploy"
ROLE = DEPLOY / "roles" / "vm_mgr"
DEFAULTS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())


def configuration(**hosts):
    """Fill the template in, for hosts with these variables."""
    jinja = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701
    values = {**DEFAULTS, "groups": {"hypervisors": list(hosts)}, "hostvars": hosts}
    return jinja.from_string((ROLE / "templates" / "node.xml.j2").read_text()).render(values)


def parameters(text):
    pairs = ET.fromstring(text).iter("nvpair")  # noqa: S314
    return {pair.get("name"): pair.get("value") for pair in pairs}


@pytest.mark.parametrize(
    ("hosts", "uplinks"),
    [
        ({"n1": {}, "n2": {}}, None),
        ({"n1": {"vm_mgr_uplinks": {"br0": "bond0"}}, "n2": {}}, "br0=bond0"),
        (
            {
                "n1": {"vm_mgr_uplinks": {"br0": ["eth0", "eth1"]}},
                "n2": {"vm_mgr_uplinks": {"br0": ["eth0"], "br1": ["eth5"]}},
            },
            "br0=eth0 br0=eth1 br1=eth5",
        ),
    ],
)
def test_uplinks_of_all_hosts_are_named_once(hosts, uplinks):
    found = parameters(configuration(**hosts))
    assert found.get("uplinks") == uplinks
    assert found["dampening"] == "15"


def test_answers_of_all_nodes_are_in_before_any_counts():
    assert DEFAULTS["vm_mgr_node_dampening_s"] > DEFAULTS["vm_mgr_node_interval_s"]


def test_it_fences_nobody_and_runs_on_hypervisors_only():
    root = ET.fromstring(configuration(n1={}))  # noqa: S314
    operations = {one.get("name"): one for one in root.iter("op")}
    assert operations["stop"].get("on-fail") == "ignore"
    assert operations["monitor"].get("interval") == "10s"
    assert root.find("constraints/rsc_location").get("rsc") == root.find("resources/clone").get("id")
    ids = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith("vm-mgr-node") for one in ids)


def test_second_deployment_changes_nothing_and_the_agent_is_installed():
    spec = importlib.util.spec_from_file_location("cib", DEPLOY / "library" / "cib.py")
    cib = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cib)
    before = "<cib><configuration><crm_config/><nodes/><resources/><constraints/></configuration></cib>"
    once = cib.merged(before, ET.fromstring(configuration(n1={})), "vm-mgr-node")  # noqa: S314
    twice = cib.merged(once, ET.fromstring(configuration(n1={})), "vm-mgr-node")  # noqa: S314
    assert ET.canonicalize(once, strip_text=True) == ET.canonicalize(twice, strip_text=True)
    assert " Node;" in (ROLE / "files" / "exchange.sh").read_text()


def test_shell_on_a_node_and_in_the_lab_loads_the_completion_that_is_placed():
    assert "share/bash-completion/completions/vm-mgr" in (ROLE / "files" / "exchange.sh").read_text()
    assert (
        "bash-completion" in yaml.safe_load((ROLE / "vars" / "packages.yml").read_text())["vm_mgr_packages"]
    )
    assert "bash-completion" in role_packages()
