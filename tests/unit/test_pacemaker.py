"""CIB edits and crm_mon's answers, without a cluster."""

from pathlib import Path

import pytest
from lxml import etree

from vm_mgr.adapters.pacemaker import commands
from vm_mgr.adapters.pacemaker.parse import parse_crm_mon
from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import TargetRole
from vm_mgr.operations.view import view
from vm_mgr.ports.cluster import VmResource

RECORDED = sorted((Path(__file__).parents[1] / "recordings").glob("pacemaker-*/crm_mon--*.xml"))
EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/>
<constraints><rsc_location id="vm-mgr-observers" rsc-pattern="!^vm-mgr-"><rule id="r" score="-INFINITY">
<expression id="e" attribute="vm-mgr-role" operation="eq" value="observer"/></rule></rsc_location>
</constraints></configuration></cib>"""


@pytest.fixture
def cib():
    return commands.parse_cib(EMPTY)


def ids(cib, path):
    return [element.get("id") for element in cib.findall(f"configuration/{path}")]


def test_vm_comes_and_goes_without_a_trace(cib):
    before = etree.tostring(cib)
    commands.add_vm(cib, VmResource("web1", TargetRole.STARTED, pinned_host="n2"))
    pin = cib.find("configuration/constraints/rsc_location[@id='vm-mgr-pin-web1']")
    assert (pin.get("score"), pin.get("resource-discovery")) == ("INFINITY", "exclusive")
    commands.add_move(cib, "web1", to="n3", away_from="n2", expires_utc=2e9)
    commands.remove_vm(cib, "web1")
    assert etree.tostring(cib) == before


def test_ids_show_who_made_them(cib):
    vm = VmResource(
        "web1", TargetRole.STARTED, preferred_host="n2", params={"a": "1"}, utilization={"cpu": "2"}
    )
    commands.add_vm(cib, vm)
    made = cib.xpath("//*[@id='web1']/descendant::*/@id | //rsc_location[@rsc='web1']/@id")
    assert made
    assert all(ident.startswith("vm-mgr-") for ident in made)


def test_other_vms_constraints_stay(cib):
    commands.add_vm(cib, VmResource("web1", TargetRole.STARTED, preferred_host="n2"))
    commands.add_vm(cib, VmResource("web2", TargetRole.STARTED, preferred_host="n2"))
    constraints = cib.find("configuration/constraints")
    etree.SubElement(constraints, "rsc_colocation", {"id": "c", "rsc": "web1", "with-rsc": "web2"})
    commands.remove_vm(cib, "web1")
    assert ids(cib, "constraints/*") == ["vm-mgr-observers", "vm-mgr-prefer-web2"]
    assert ids(cib, "resources/*") == ["web2"]


def test_resource_sets_lose_only_the_vm(cib):
    constraints = cib.find("configuration/constraints")
    constraint = etree.SubElement(constraints, "rsc_colocation", id="c")
    resource_set = etree.SubElement(constraint, "resource_set", id="s")
    for name in ("web1", "web2"):
        etree.SubElement(resource_set, "resource_ref", id=name)
    commands.remove_vm(cib, "web1")
    assert ids(cib, "constraints/rsc_colocation") == ["c"]
    commands.remove_vm(cib, "web2")
    assert ids(cib, "constraints/rsc_colocation") == []


def test_expired_moves_of_anybody_are_swept(cib):
    commands.add_move(cib, "web1", to="n3", away_from="n2", expires_utc=1000)
    commands.add_move(cib, "web2", to="n3", away_from="n2", expires_utc=3000)
    commands.sweep_moves(cib, "web3", 2000)
    assert ids(cib, "constraints/*") == ["vm-mgr-observers", "vm-mgr-move-web2"]
    commands.sweep_moves(cib, "web2", 2000)
    assert ids(cib, "constraints/*") == ["vm-mgr-observers"]


def test_target_role_of_a_foreign_primitive_is_set(cib):
    resources = cib.find("configuration/resources")
    primitive = etree.SubElement(resources, "primitive", id="old1", type="VirtualDomain")
    commands.set_target_role(cib, "old1", TargetRole.STOPPED)
    commands.set_target_role(cib, "old1", TargetRole.STARTED)
    assert [pair.get("value") for pair in primitive.iter("nvpair")] == ["Started"]


def test_version_grows(cib):
    commands.bump_version(cib)
    assert (cib.get("epoch"), cib.get("num_updates")) == ("5", "0")


def test_nonsense_is_an_error():
    with pytest.raises(VmMgrError):
        parse_crm_mon("Connection refused")


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_state_is_read_as_its_name_says(path):
    state = parse_crm_mon(path.read_text())
    expected = path.stem.removeprefix("crm_mon--")
    assert len(state.nodes) == 3
    assert state.fence_devices == 3
    assert view(state.resources["guest1"], state).state.value.lower() == expected


@pytest.mark.parametrize("task", ["start", "migrate_to", "migrate_from"])
def test_failure_of_any_task_is_found_for_its_vm_only(task):
    path = next(path for path in RECORDED if path.stem == "crm_mon--failed")
    raw = (
        path.read_text()
        .replace("guest1_start_0", f"guest1_{task}_0")
        .replace('task="start"', f'task="{task}"')
    )
    resource = parse_crm_mon(raw).resources["guest1"]
    assert [failure.text.partition(":")[0] for failure in resource.failures] == [
        f"{task} on n1",
        f"{task} on n2",
    ]
    assert all(failure.when for failure in resource.failures)
    assert not parse_crm_mon(raw.replace("guest1_", "guest1_x_")).resources["guest1"].failures


def names_of(cib, tag):
    return [element.get("id") for element in cib.iter(tag)]


def test_colocation_is_written_when_both_ends_are_there(cib):
    before = etree.tostring(cib)
    commands.add_vm(cib, VmResource("one", TargetRole.STOPPED, colocations={"two": "700"}))
    assert "vm-mgr-colocation-one-two" not in names_of(cib, "rsc_colocation")
    commands.add_vm(cib, VmResource("two", TargetRole.STOPPED))
    assert "vm-mgr-colocation-one-two" in names_of(cib, "rsc_colocation")
    commands.remove_vm(cib, "two")
    assert "vm-mgr-colocation-one-two" not in names_of(cib, "rsc_colocation")
    commands.add_vm(cib, VmResource("two", TargetRole.STOPPED))
    commands.rename_vm(cib, "two", "three")
    constraint = cib.find(".//rsc_colocation[@id='vm-mgr-colocation-one-three']")
    assert (constraint.get("rsc"), constraint.get("with-rsc")) == ("one", "three")
    commands.update_vm(cib, VmResource("one", TargetRole.STARTED, colocations={}))
    assert "vm-mgr-colocation-one-three" not in names_of(cib, "rsc_colocation")
    commands.remove_vm(cib, "three")
    commands.remove_vm(cib, "one")
    assert etree.tostring(cib) == before


def test_change_keeps_role_and_parameters(cib):
    commands.add_vm(cib, VmResource("one", TargetRole.STOPPED, params={"migration_user": "me"}))
    changed = VmResource("one", TargetRole.STARTED, priority=7, pinned_host="n2", params={"other": "x"})
    commands.update_vm(cib, changed)
    primitive = cib.find(".//primitive[@id='one']")
    pairs = {pair.get("name"): pair.get("value") for pair in primitive.iter("nvpair")}
    assert pairs["target-role"] == "Stopped"
    assert pairs["priority"] == "7"
    assert pairs["migration_user"] == "me"
    assert "other" not in pairs
    assert "vm-mgr-pin-one" in names_of(cib, "rsc_location")
    assert len(primitive.findall("operations")) == 1
    commands.update_vm(cib, VmResource("nobody", TargetRole.STARTED))
    assert cib.find(".//primitive[@id='nobody']") is None
