"""What our roles deploy keeps the cluster's daemons going on a node that is short of everything."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

from .test_deployed_timeouts import DEPLOY, Deployment

UNITS = "/etc/systemd/system/"
ROLES = [
    path.name for path in sorted((DEPLOY / "roles").iterdir()) if path.name != "qnetd"
]  # runs on no node
MIB = 1 << 20
CLUSTER = ("corosync.service", "pacemaker.service")
LIBVIRT = ("libvirtd.service", "virtqemud.service", "virtlogd.service", "virtlockd.service")
STARTS_QEMU = ("libvirtd.service", "virtqemud.service")


def tasks(role):
    return yaml.safe_load((DEPLOY / "roles" / role / "tasks" / "main.yml").read_text()) or []


def items(deployment, task):
    loop = task.get("loop", [None])
    return deployment.value(loop) if isinstance(loop, list) else deployment.values[loop.strip("{} ")]


def written(role):
    """Give the texts that a role's tasks write below systemd's folder, by path."""
    deployment, found = Deployment(3), {}
    variables = DEPLOY / "roles" / role / "vars" / "main.yml"
    deployment.values |= yaml.safe_load(variables.read_text()) if variables.exists() else {}
    for task in tasks(role):
        copied = task.get("ansible.builtin.copy", {})
        if not copied.get("dest", "").startswith(UNITS):
            continue
        for item in items(deployment, task):
            deployment.values["item"] = item
            text = copied.get("content")
            if text is None:
                source = deployment.fill(copied["src"])
                text = (DEPLOY / "roles" / role / "files" / source).read_text()
            found[deployment.fill(copied["dest"])] = deployment.fill(text)
    return found


def settings():
    """Gather what each unit is set to, as systemd does over its drop-ins."""
    found = {}
    for path, text in (pair for role in ROLES for pair in written(role).items()):
        unit = re.sub(r"\.d/.*", "", path.removeprefix(UNITS))
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str
        parser.read_string(text)
        for section in ("Service", "Slice"):
            if parser.has_section(section):
                found.setdefault(unit, {}).update(parser[section])
    return found


def size(text):
    number, unit = re.fullmatch(r"(\d+)([MG])", text).groups()
    return int(number) * {"M": MIB, "G": MIB << 10}[unit]


@pytest.fixture(scope="module")
def units():
    return settings()


@pytest.mark.parametrize("unit", CLUSTER)
def test_daemons_without_which_a_node_is_fenced_are_never_killed_swapped_or_outweighed(units, unit):
    found = units[unit]
    assert found["OOMScoreAdjust"] == "-1000"
    assert found["MemorySwapMax"] == "0"
    assert size(found["MemoryMin"]) >= 128 * MIB
    assert int(found["CPUWeight"]) >= 1000
    assert int(found["IOWeight"]) >= 1000


def test_service_that_releases_storage_of_fenced_nodes_is_protected(units):
    found = units["vm-mgr-alerts.service"]
    assert -1000 < int(found["OOMScoreAdjust"]) <= -900
    assert size(found["MemoryMin"]) >= 64 * MIB
    assert int(found["CPUWeight"]) > 100
    assert int(found["IOWeight"]) > 100


@pytest.mark.parametrize("unit", LIBVIRT)
def test_libvirt_is_preferred_but_goes_after_the_cluster(units, unit):
    found = units[unit]
    assert size(found["MemoryLow"]) >= 32 * MIB
    assert 100 < int(found["CPUWeight"]) < int(units["pacemaker.service"]["CPUWeight"])
    assert 100 < int(found["IOWeight"]) < int(units["pacemaker.service"]["IOWeight"])


@pytest.mark.parametrize("unit", LIBVIRT)
def test_qemu_inherits_no_score_that_would_have_others_killed_first(units, unit):
    """libvirt starts QEMU with its own score; those of virtlogd and virtlockd are the distribution's."""
    assert "OOMScoreAdjust" not in units[unit]


@pytest.mark.parametrize("kind", ["MemoryMin", "MemoryLow"])
def test_slice_promises_as_much_as_all_that_is_in_it(units, kind):
    """A cgroup's protection is limited by that of its ancestors (cgroup-v2.rst, memory.min)."""
    promised = {unit: size(found[kind]) for unit, found in units.items() if kind in found}
    whole = promised.pop("system.slice")
    inside = sum(promised.values())
    assert inside > 0
    assert whole >= inside


@pytest.mark.parametrize("role", ["base", "corosync", "pacemaker", "libvirt"])
def test_change_of_a_drop_in_restarts_nothing(role):
    for task in tasks(role):
        service = task.get("ansible.builtin.systemd_service", {})
        assert service.get("state") in (None, "started"), task["name"]
        if task.get("ansible.builtin.copy", {}).get("dest", "").startswith(UNITS):
            assert "notify" not in task, task["name"]


@pytest.mark.parametrize("role", ["base", "corosync", "pacemaker", "libvirt"])
def test_change_of_a_drop_in_is_read(role):
    text = yaml.safe_dump(tasks(role))
    registered = [
        task["register"]
        for task in tasks(role)
        if task.get("ansible.builtin.copy", {}).get("dest", "").startswith(UNITS)
    ]
    assert registered
    assert all(f"{name} is changed" in text for name in registered)
    assert "daemon_reload" in text


def test_corosync_keeps_its_own_ways():
    """By default sched_rr is yes, move_to_root_cgroup auto (corosync.conf(5)); it locks its memory itself."""
    text = (DEPLOY / "roles" / "corosync" / "templates" / "corosync.conf.j2").read_text()
    assert not re.search(r"sched_rr|move_to_root_cgroup|^ *priority:", text, re.MULTILINE)
    dropin = written("corosync")[f"{UNITS}corosync.service.d/vm-mgr.conf"]
    assert not re.search(r"CPUScheduling|LimitRTPRIO|RestrictRealtime", dropin)


def test_explanation_names_every_amount(units):
    text = (Path(DEPLOY).parent / "docs" / "explanation" / "pressure.md").read_text()
    amounts = {found[key] for found in units.values() for key in ("MemoryMin", "MemoryLow") if key in found}
    assert {amount for amount in amounts if f"{amount.removesuffix('M')} MiB" not in text} == set()
