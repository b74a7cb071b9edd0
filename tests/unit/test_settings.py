"""The table of settings: everything that is said about a setting elsewhere follows from it."""

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from vm_mgr.adapters.ceph.layout import read_settings, settings_keys, write_settings
from vm_mgr.adapters.shared_dir.record import Record, parse, render
from vm_mgr.cli.reference import commands
from vm_mgr.cli.settings import UNSETTABLE
from vm_mgr.cli.settings_page import page
from vm_mgr.model.settings import SETTINGS, parameters
from vm_mgr.model.vm import VmSettings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "vm_mgr"
AGENT = ROOT / "ocf" / "VirtualDomain"
MAKING = ("create", "clone", "add-to-cluster", "set")
# Only told to the agent: no rule of their own.
PLAIN = ("migration_downtime_ms", "migration_bandwidth_mib", "migration_max_pause_s")


def value_of(setting):
    field = setting.field
    if field.sort == "flag":
        return True
    if field.sort == "pairs":
        return {"qmp": "60"}
    return 17 if field.sort == "number" else (field.words or ("word",))[-1]


ALL = VmSettings(**{setting.name: value_of(setting) for setting in SETTINGS})


def test_each_field_is_a_row_and_each_row_a_field():
    assert sorted(setting.name for setting in SETTINGS) == sorted(VmSettings._fields)
    keys = [setting.key for setting in SETTINGS if setting.key]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("_") for key in keys)


def test_no_setting_is_lost_in_a_storage():
    assert read_settings(write_settings(ALL)) == ALL
    kept = parse(render(Record(ALL, ALL.user_metadata)))
    assert kept.settings == ALL
    assert set(write_settings(ALL)) - {"qmp"} <= set(settings_keys())


def test_keys_of_clusters_stay():
    """Clusters have these on their disks; SEAPATH's tools read some of them."""
    assert {setting.name: setting.key for setting in SETTINGS} == {
        "live_migration": "_live_migration",
        "on_move": "_on_move",
        "migration_user": "_migration_user",
        "migrate_to_timeout_s": "_migrate_to_timeout",
        "stop_timeout_s": "_stop_timeout",
        "migration_downtime_ms": "_migration_downtime",
        "migration_strategy": "_migration_strategy",
        "migration_bandwidth_mib": "_migration_bandwidth",
        "migration_parallel": "_migration_parallel",
        "migration_timeout_action": "_migration_timeout_action",
        "migration_max_pause_s": "_migration_max_pause",
        "pinned_host": "_pinned_host",
        "preferred_host": "_preferred_host",
        "failback": "_failback",
        "uplink": "_uplink",
        "priority": "_priority",
        "disk_bus": "_disk_bus",
        "user_metadata": "",
        "pacemaker_meta": "_pacemaker_meta",
        "pacemaker_params": "_pacemaker_params",
        "pacemaker_utilization": "_pacemaker_utilization",
        "checks": "_checks",
        "crm_config_cmd": "_crm_config_cmd",
        "colocations": "_colocations",
    }


@pytest.mark.parametrize("command", MAKING)
def test_commands_have_all_options(command):
    options = {name for one in commands()[command].params for name in one.opts}
    assert {name for setting in SETTINGS for name in setting.field.options} <= options


def test_what_set_can_clear_has_a_value_of_its_own():
    assert set(UNSETTABLE.values()) == {setting.name for setting in SETTINGS if setting.unset}
    assert {setting.field.sort for setting in SETTINGS if setting.unset} == {"text", "number"}


def test_agent_has_the_parameters():
    described = {
        one.get("name"): one.find("content")
        for one in ET.parse(AGENT.with_suffix(".xml")).iter("parameter")  # noqa: S314 - our own
    }
    checked = re.search(r"for key in (.*?); do\n\t\teval", AGENT.read_text(), flags=re.DOTALL)[1].split()
    for setting in (one for one in SETTINGS if one.parameter):
        content = described[setting.parameter]
        number = setting.field.sort == "number"
        assert content.get("type") == ("integer" if number else "string"), setting.name
        assert content.get("default") == str(setting.field.default or ("0" if number else "")), setting.name
        assert not number or setting.parameter in checked, setting.name
    assert set(parameters(ALL)) == {setting.parameter for setting in SETTINGS if setting.parameter}


def test_page_is_what_the_table_says():
    written = (ROOT / "docs" / "reference" / "settings.md").read_text()
    fresh = written == page()
    assert fresh, "run: python3 -m vm_mgr.cli.settings_page >docs/reference/settings.md"


def test_pages_that_explain_a_setting_exist():
    missing = {setting.page for setting in SETTINGS if not (ROOT / "docs" / setting.page).is_file()}
    assert not missing


@pytest.mark.parametrize("name", PLAIN)
def test_plain_setting_is_named_in_three_modules_at_most(name):
    """vm.py, the table, and where something is made of it."""
    users = {path.name for path in SOURCE.rglob("*.py") if re.search(rf"\b{name}\b", path.read_text())}
    assert {"vm.py", "settings.py"} <= users
    assert len(users) <= 3


def test_storages_name_no_setting_but_that_of_remote_nodes():
    """What they do with each is in the table."""
    for folder in ("adapters/ceph", "adapters/shared_dir"):
        for path in (SOURCE / folder).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text())))
            words = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
            words |= {node.value for node in nodes if isinstance(node, ast.Constant)}
            assert not words & (set(VmSettings._fields) - {"pacemaker_meta", "user_metadata"}), path
