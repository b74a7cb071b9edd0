"""What a move writes into the CIB, and that nothing of it stays."""

import pytest
from lxml import etree

from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker import cib_write, moves
from vm_mgr.adapters.pacemaker.cib_read import read_configured
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.adapters.pacemaker.port import ENDED_MOVES, Pacemaker
from vm_mgr.model.vm import TargetRole, VmState
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.cluster import Move, SideEffect, Simulation, VmResource
from vm_mgr.ports.runner import Completed

EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/><constraints/>
</configuration></cib>"""
FOREIGN = """<primitive id="sea1" class="ocf" provider="{provider}" type="VirtualDomain"><operations>
<op id="a" name="migrate_to" interval="0s" timeout="120"/></operations></primitive>"""
# As Pacemaker 3.0.0 tells of a VM whose migrate_to has failed with on-fail="block".
HELD = """<pacemaker-result><summary><current_dc with_quorum="true"/></summary><nodes>
<node name="n1" online="true" shutdown="true" type="member"/>
<node name="n2" online="true" shutdown="false" type="member"/></nodes><resources>
<resource id="web1" resource_agent="ocf:vm-mgr:VirtualDomain" role="Started" active="true" blocked="true"
managed="false" failed="true" nodes_running_on="2"><node name="n2" id="2"/><node name="n1" id="1"/></resource>
<clone id="vm-mgr-dir-vms"><group id="vm-mgr-dir-vms-group:0">
<resource id="mount" role="Started" active="true"><node name="n1"/></resource>
<resource id="lock" role="Started" active="true"><node name="n1"/></resource></group>
<group id="vm-mgr-dir-vms-group:1">
<resource id="mount" role="Started" active="true"><node name="n2"/></resource>
<resource id="lock" role="Stopped" active="false"/></group></clone></resources><failures>
<failure op_key="web1_migrate_to_0" node="n1" exitstatus="Error occurred" exitreason="migrate_to: no ssh"
last-rc-change="2026-11-14 22:15:00Z" task="migrate_to"/></failures></pacemaker-result>"""


@pytest.fixture
def cib():
    tree = cib_write.parse_cib(EMPTY)
    cib_write.add_vm(tree, VmResource("web1", TargetRole.STARTED, live_migration=True))
    return tree


def move(cib, name="web1", expires_utc=2e9, terms="strategy=precopy"):
    moves.add_move(cib, Move(name, "n1", "n2", options=terms), expires_utc)


def operation(cib, name="web1"):
    return cib.xpath("//primitive[@id=$name]/operations/op[@name='migrate_to']", name=name)[0]


def held(cib, name="web1"):
    """Tell what on-fail is when no date has to be looked at."""
    pairs = operation(cib, name).xpath("meta_attributes[not(rule)]/nvpair[@name='on-fail']")
    return [pair.get("value") for pair in pairs]


def test_failed_migration_holds_the_vm_and_no_other_operation_does(cib):
    assert held(cib) == ["block"]
    assert [pair.getparent().getparent().get("name") for pair in cib.xpath("//op//nvpair")] == ["migrate_to"]


def test_vm_with_deeper_checks_is_held_too_and_keeps_them(cib):
    vm = VmResource("web1", TargetRole.STARTED, live_migration=True, checks={"qmp": 60})
    cib_write.update_vm(cib, vm)
    before = etree.tostring(cib)
    move(cib)
    cib_write.rename_vm(cib, "web1", "web2")
    assert held(cib, "web2") == ["block"]
    assert read_configured(cib, "web2").vm.checks == {"qmp": 60}
    assert not [ident for ident in cib.xpath("//@id") if "web1" in ident]
    cib_write.rename_vm(cib, "web2", "web1")
    moves.sweep_moves(cib, "web1", 1e9)
    assert etree.tostring(cib) == before


def test_terms_are_the_operations_until_the_move_ends(cib):
    before = etree.tostring(cib)
    move(cib)
    attributes = operation(cib).find("meta_attributes[rule]")
    assert attributes.find("nvpair").get("name") == "vm-mgr-move"
    assert attributes.find("nvpair").get("value") == "strategy=precopy"
    assert attributes.find("rule/date_expression").get("end") == "2033-05-18 03:33:20Z"
    moves.sweep_moves(cib, "web1", 1e9)
    assert etree.tostring(cib) == before


def test_move_replaces_what_the_last_one_left(cib):
    move(cib)
    move(cib, terms="strategy=postcopy")
    assert [pair.get("value") for pair in operation(cib).iter("nvpair")] == ["block", "strategy=postcopy"]
    move(cib, terms="")
    assert operation(cib).find("meta_attributes[rule]") is None


def test_only_expired_terms_of_other_vms_are_swept(cib):
    cib_write.add_vm(cib, VmResource("web2", TargetRole.STARTED))
    move(cib, "web2", 1000)
    move(cib, "web1", 3000)
    moves.sweep_moves(cib, "web3", 2000)
    assert operation(cib, "web2").find("meta_attributes[rule]") is None
    assert operation(cib, "web1").find("meta_attributes[rule]") is not None


def test_terms_are_none_of_the_vms_settings_and_go_with_it(cib):
    configured = read_configured(cib, "web1").vm
    move(cib)
    moves.add_restart(cib, "web1", 2e9)
    assert read_configured(cib, "web1").vm == configured
    cib_write.rename_vm(cib, "web1", "web2")
    moves.sweep_moves(cib, "web2", 1e9)
    assert not cib.xpath("//rule")


def test_restart_is_above_what_holds_the_vm_and_ends(cib):
    before = etree.tostring(cib)
    moves.add_restart(cib, "web1", 1e9)
    moves.add_restart(cib, "web1", 2e9)
    added = operation(cib).xpath("meta_attributes[rule]")
    assert [one.get("score") for one in added] == ["INFINITY"]
    assert [(pair.get("name"), pair.get("value")) for pair in added[0].iter("nvpair")] == [
        ("on-fail", "restart")
    ]
    assert "on-fail" not in operation(cib).attrib, "that would stand above both"
    moves.sweep_moves(cib, "web1", 1e9)
    assert etree.tostring(cib) == before


@pytest.mark.parametrize(("provider", "on_fail"), [("vm-mgr", ["block"]), ("heartbeat", [])])
def test_existing_vm_of_our_agent_is_held_from_its_next_move_on(provider, on_fail):
    cib = cib_write.parse_cib(EMPTY)
    cib.find("configuration/resources").append(etree.fromstring(FOREIGN.format(provider=provider)))
    move(cib, "sea1")
    move(cib, "sea1")
    assert held(cib, "sea1") == on_fail
    assert (operation(cib, "sea1").find("meta_attributes[rule]") is not None) == bool(on_fail)


def test_wish_of_a_user_stays(cib):
    operation(cib).remove(operation(cib).find("meta_attributes"))
    operation(cib).set("on-fail", "standby")
    move(cib)
    assert held(cib) == []


def test_vm_without_the_operation_gets_it(cib):
    operations = cib.find(".//operations")
    operations.remove(operation(cib))
    move(cib)
    assert held(cib) == ["block"]


def test_change_of_settings_holds_it_too(cib):
    operation(cib).remove(operation(cib).find("meta_attributes"))
    cib_write.update_vm(cib, VmResource("web1", TargetRole.STARTED))
    assert held(cib) == ["block"]


def test_held_vm_is_seen_where_it_runs():
    state = parse_crm_mon(HELD)
    resource = state.resources["web1"]
    assert resource.blocked_on == "n1"
    seen = derive_status(resource, state)
    assert (seen.state, seen.node) == (VmState.STARTED, "n1")
    assert "no ssh" in seen.detail


def test_node_that_shuts_down_and_whole_clones_are_seen():
    state = parse_crm_mon(HELD)
    assert [node.shutting_down for node in state.nodes] == [True, False]
    assert not state.node("n1").can_host
    assert state.sets["vm-mgr-dir-vms"] == {"n1"}


def rules(cib):
    (outer,) = cib.xpath("//rsc_location/rule")
    return outer, [one.get("value") for one in outer.iter("expression")]


def test_nodes_that_are_to_be_avoided_are_named_in_the_one_rule(cib):
    before = etree.tostring(cib)
    moves.add_move(cib, Move("web1", "n1", avoid=frozenset({"n3", "n2", "n1"})), 2e9)
    outer, nodes = rules(cib)
    assert (outer.get("score"), outer.get("boolean-op"), nodes) == ("-INFINITY", "and", ["n1", "n2", "n3"])
    assert outer.find("rule").get("boolean-op") == "or"
    assert outer.find("date_expression") is not None
    cib_write.rename_vm(cib, "web1", "web2")
    assert not [ident for ident in cib.xpath("//@id") if "web1" in ident]
    cib_write.rename_vm(cib, "web2", "web1")
    moves.sweep_moves(cib, "web1", 1e9)
    assert cib.find("configuration/constraints").getchildren() == []
    assert etree.tostring(cib) == before


def test_node_to_go_to_needs_none_to_be_avoided(cib):
    moves.add_move(cib, Move("web1", "n1", "n2", avoid=frozenset({"n3"})), 2e9)
    outer, nodes = rules(cib)
    assert (outer.get("score"), nodes, outer.find("rule")) == ("INFINITY", ["n2"], None)


# As Pacemaker 3.0.0 and 2.1.5 answer: what is under way anyway, and with the constraint.
ANYWAY = """<pacemaker-result><actions><rsc_action action="start" resource="new1" node="n1"/>
<rsc_action action="stop" resource="old1" node="n1" reason="node availability"/>
</actions></pacemaker-result>"""
WITH = """<pacemaker-result><actions>
<rsc_action action="move" resource="db1" source="n1" dest="n2"/>
<rsc_action action="migrate" resource="web1" source="n1" dest="n2"/>
<rsc_action action="stop" resource="db2" node="n1" reason="node availability"/>
<rsc_action action="stop" resource="old1" node="n1" reason="node availability"/>
<rsc_action action="start" resource="new1" node="n1"/></actions></pacemaker-result>"""


def test_harm_of_a_move_is_foreseen_by_the_scheduler():
    asked = []

    class Scheduler:
        def run(self, argv, *, timeout_s, stdin=None, on_line=None):
            if argv[0] == "cibadmin":
                assert "--query" in argv
                return Completed(tuple(argv), 0, etree.tostring(present, encoding="unicode"), "")
            assert argv == ("crm_simulate", "--run", "--xml-pipe", "--output-as=xml")
            asked.append(cib_write.parse_cib(stdin))
            return Completed(tuple(argv), 0, WITH if asked[-1].xpath("//rsc_location") else ANYWAY, "")

    present = cib_write.parse_cib(EMPTY)
    cib_write.add_vm(present, VmResource("web1", TargetRole.STARTED, live_migration=True))
    cluster = Pacemaker(Scheduler(), VirtualClock())
    found = cluster.simulate_move(Move("web1", "n1", avoid=frozenset({"n3"})))
    effects = {"db1": SideEffect.RESTARTED, "db2": SideEffect.STOPPED}
    assert found == Simulation(effects, "n2", "n2", {"db2": ()})
    (moved,) = [one for one in asked if one.xpath("//rsc_location")]  # both are asked at the same time
    assert rules(moved)[1] == ["n1", "n3"]


def test_tools_are_asked_for_the_one_failure_and_for_a_look_everywhere():
    calls = []

    class Recorder:
        def run(self, argv, *, timeout_s, stdin=None, on_line=None):
            calls.append(" ".join(argv))
            return Completed(tuple(argv), 0, "", "")

    cluster = Pacemaker(Recorder(), VirtualClock())
    cluster.cleanup_failed("web1", "n1", "migrate_to")
    cluster.cleanup_failed("web1", "n1", "monitor", 10_000)
    cluster.reprobe("web1")
    cluster.cleanup("web1")
    first = f"cibadmin --delete-all --force --xpath {ENDED_MOVES.format(name='web1')}"
    assert calls == [
        first,
        "crm_resource --cleanup --resource web1 --node n1 --operation migrate_to --interval 0",
        first,
        "crm_resource --cleanup --resource web1 --node n1 --operation monitor --interval 10000ms",
        first,
        "crm_resource --refresh --resource web1",
        first,
        "crm_resource --cleanup --resource web1",
    ]


def test_only_records_of_moves_that_a_stop_has_followed_are_removed():
    """Of one under way Pacemaker has to know, and of one that has failed too."""
    histories = {
        "ended": [("migrate_to", 0, 8), ("stop", 0, 9)],
        "under way": [("start", 0, 5), ("migrate_to", 0, 8)],
        "again": [("stop", 0, 7), ("start", 0, 8), ("migrate_to", 0, 9)],
        "failed": [("migrate_to", 1, 8), ("stop", 0, 9)],
        "arrived": [("migrate_from", 0, 8), ("stop", 0, 9)],
    }
    cib = etree.Element("cib")
    status = etree.SubElement(cib, "status")
    for node, history in histories.items():
        for name in ("web1", "web10"):
            state = etree.SubElement(status, "node_state", uname=node)
            resources = etree.SubElement(etree.SubElement(state, "lrm"), "lrm_resources")
            resource = etree.SubElement(resources, "lrm_resource", id=name)
            for operation, code, call in history:
                given = {"operation": operation, "rc-code": str(code), "call-id": str(call), "on_node": node}
                etree.SubElement(resource, "lrm_rsc_op", given)
    found = cib.xpath(ENDED_MOVES.format(name="web1"))
    assert [(one.get("on_node"), one.getparent().get("id")) for one in found] == [("ended", "web1")]


def test_chosen_node_is_preferred_and_goes_with_the_move(cib):
    moves.add_move(cib, Move("web1", "n1", avoid=frozenset({"n3"}), chosen="n2"), 2e9)
    scores = {one.get("score"): one.xpath(".//expression/@value") for one in cib.xpath("//rsc_location/rule")}
    assert scores == {"-INFINITY": ["n1", "n3"], "INFINITY": ["n2"]}
    assert len(cib.xpath("//date_expression[@operation='lt']")) == 2
    assert len(set(cib.xpath("//@id"))) == len(cib.xpath("//@id"))
    moves.sweep_moves(cib, "web1", 1e9)
    assert cib.xpath("//rsc_location") == []
