"""What deploy/checks.yml refuses before anything is changed, and clusters whose networks have IPv6 only."""

import re
import subprocess
from collections.abc import Iterator

import jinja2
import pytest
import yaml

from vm_mgr.config import load
from vm_mgr.errors import Kind, VmMgrError

from .test_deployed_timeouts import DEPLOY, Deployment

CHECKS = {one["name"]: one for one in yaml.safe_load((DEPLOY / "checks.yml").read_text())}
NAMES = "Every machine has a plain name"
KINDS = "Each network has addresses of one kind"
FORMS = "Every IPv6 address is written in its short form"


def refusal(check, **values):
    """Give what Ansible would say, or nothing."""
    jinja = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701
    jinja.tests["match"] = lambda text, pattern: bool(re.match(pattern, text))
    jinja.tests["search"] = lambda text, pattern: bool(re.search(pattern, text))
    jinja.filters["extract"] = lambda key, container, name: container[key][name]
    jinja.filters["regex_replace"] = lambda text, pattern, new: re.sub(pattern, new, text)
    jinja.filters["bool"] = lambda value: str(value).lower() in ("true", "yes", "1")
    task = CHECKS[check]
    known = dict(values)
    for name, text in task.get("vars", {}).items():
        known[name] = jinja.compile_expression(text.strip("{} "))(**known) if isinstance(text, str) else text
        known[name] = list(known[name]) if isinstance(known[name], Iterator) else known[name]
    asked = task["ansible.builtin.assert"]
    conditions = [asked["that"]] if isinstance(asked["that"], str) else asked["that"]
    told = " ".join(jinja.from_string(asked["fail_msg"]).render(known).split())  # so does Ansible, always
    return "" if all(jinja.compile_expression(one)(**known) for one in conditions) else told


def machines(*addresses, admin=()):
    hostvars = {
        f"n{number}": {
            "cluster_address": address,
            "admin_address": admin[number - 1] if admin else f"192.0.2.{number}",
        }
        for number, address in enumerate(addresses, 1)
    }
    return {"groups": {"hypervisors": list(hostvars)}, "hostvars": hostvars}


@pytest.mark.parametrize("name", ["n1", "a", "node-1", "a" * 55])
def test_plain_name_is_taken(name):
    assert refusal(NAMES, inventory_hostname=name) == ""


@pytest.mark.parametrize("name", ["1n", "N1", "n_1", "n1-cluster", "a" * 56])
def test_name_that_is_no_host_name_is_refused_with_the_rule(name):
    assert f"{name} can't be the name of a machine." in refusal(NAMES, inventory_hostname=name)
    assert "up to 54 lower-case letters" in refusal(NAMES, inventory_hostname=name)


def test_name_with_a_domain_is_refused_with_what_to_write():
    told = refusal(NAMES, inventory_hostname="n2.example.com")
    assert "call it n2 in the inventory, and give ansible_host: n2.example.com." in told


@pytest.mark.parametrize("addresses", [("198.51.100.1", "198.51.100.2"), ("fd00:1::1", "fd00:1::2")])
def test_network_of_either_kind_is_taken(addresses):
    assert refusal(KINDS, **machines(*addresses)) == ""


def test_network_of_both_kinds_is_refused_by_name():
    assert refusal(KINDS, **machines("198.51.100.1", "fd00:1::2")).startswith("cluster_address is an IPv4")
    mixed = machines("fd00:1::1", "fd00:1::2", admin=("192.0.2.1", "fd00:2::2"))
    assert refusal(KINDS, **mixed).startswith("admin_address is an IPv4")


@pytest.mark.parametrize("address", ["fd00:1::11", "2001:db8::", "::1", "fd00:1:2:3:4:5:6:7", "192.0.2.7"])
def test_short_address_is_taken(address):
    known = {"inventory_hostname": "n1", "admin_address": "192.0.2.1", "cluster_address": address}
    assert refusal(FORMS, **known) == ""


@pytest.mark.parametrize(
    "address",
    [
        "FD00:1::11",
        "[fd00:1::11]",
        "fd00:1::11/64",
        "fd00:1:0:0:0:0:0:11",
        "fd00:0001::11",
        "fe80::1",
        "fe80::1%eth0",
    ],
)
@pytest.mark.parametrize("which", ["admin_address", "cluster_address"])
def test_address_that_ceph_would_write_in_another_way_is_refused(address, which):
    known = {"inventory_hostname": "n1", "admin_address": "192.0.2.1", "cluster_address": "192.0.2.2"}
    assert f"n1 has {address}." in refusal(FORMS, **(known | {which: address}))


@pytest.fixture
def ipv6():
    addresses = {
        f"n{number}": {"cluster_address": f"fd00:1::{number}", "admin_address": f"fd00:2::{number}"}
        for number in (1, 2, 3)
    }
    bmc = {"bmc_address": "fd00:3::1", "bmc_user": "u"}
    hostvars = {name: one | bmc for name, one in addresses.items()}
    return Deployment(3, hostvars=hostvars, ceph_mon_nodes=list(hostvars), **addresses["n1"])


def test_ceph_listens_to_ipv6_alone(ipv6):
    lines = ipv6.template("ceph", "ceph.conf.j2").splitlines()
    assert "mon_host = [fd00:1::1] [fd00:1::2] [fd00:1::3]" in lines
    assert "public_addr = fd00:1::1" in lines
    assert {"ms_bind_ipv4 = false", "ms_bind_ipv6 = true"} < set(lines)


def test_ceph_on_ipv4_stays_as_it_was():
    text = Deployment(3, ceph_mon_nodes=["n1", "n2"]).template("ceph", "ceph.conf.j2")
    assert "mon_host = 198.51.100.11 198.51.100.11\n" in text
    assert "ms_bind" not in text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("198.51.100.1", "[v2:198.51.100.1:3300,v1:198.51.100.1:6789]"),
        ("fd00:1::1", "[v2:[fd00:1::1]:3300,v1:[fd00:1::1]:6789]"),
    ],
)
def test_map_of_monitors_has_brackets_where_an_address_has_colons(address, expected):
    script = (DEPLOY / "roles" / "ceph" / "files" / "make-mon-mgr.sh").read_text()
    function = re.search(r"^monitor_map\(\) \{.*?^\}$", script, re.DOTALL | re.MULTILINE)[0]
    # Its output is not wanted by the script: what it was called with goes to stderr.
    stub = 'monmaptool() { echo "$*" >&2; }; cluster=new; fsid=x\n'
    argv = ["sh", "-eu", "-c", f"{stub}{function}\nmonitor_map map n1={address}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[1] == f"--addv n1 {expected} map"


def test_corosync_and_fencing_take_the_addresses_as_they_are(ipv6):
    links = re.findall(r"ring(\d)_addr: (.*)", ipv6.template("corosync", "corosync.conf.j2"))
    assert links == [(str(link), f"fd00:{link + 1}::{node}") for node in (1, 2, 3) for link in (0, 1)]
    assert 'value="fd00:3::1"' in ipv6.template("fencing", "configuration.xml.j2")


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    file = tmp_path / "vm-mgr.toml"
    monkeypatch.setenv("VM_MGR_CONFIG", str(file))
    return file


def test_table_of_nodes_takes_ipv6_and_names_with_dots_in_quotes(configuration):
    configuration.write_text('[nodes]\nn1 = ["fd00:1::1"]\n"n2.example.com" = ["fd00:1::2"]\n')
    assert load().node_addresses == {"fd00:1::1": "n1", "fd00:1::2": "n2.example.com"}


def test_name_with_dots_without_quotes_is_refused_in_the_table_of_nodes(configuration):
    configuration.write_text('[nodes]\nn2.example.com = ["192.0.2.2"]\n')
    with pytest.raises(VmMgrError) as caught:
        load()
    assert caught.value.kind is Kind.ENVIRONMENT
    assert "quotes" in caught.value.message
