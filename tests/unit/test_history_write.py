"""What others have set in the CIB survives every change of ours, and comes back with the VM."""

import pytest
from lxml import etree

from vm_mgr.adapters.pacemaker import cib_read, cib_write, moves
from vm_mgr.adapters.pacemaker.cib_own import own_pairs
from vm_mgr.adapters.pacemaker.cib_resolve import local_now, meta_attributes
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import Move, VmResource

from .test_history_read import (
    AGENT,
    PAST,
    SCHEMAS,
    cib_of,
    pairs,
    primitive,
    ran,
    require_valid,
    rule,
)

WEB = VmResource("web1", TargetRole.STARTED, preferred_host="n1")
DB = VmResource("db1", TargetRole.STARTED)


def history(*vms, resources="", constraints="", rest="", schema="3.9"):
    """Give a CIB to which we have added VMs."""
    cib = cib_write.parse_cib(cib_of(resources, constraints, rest, schema))
    for vm in vms or (WEB, DB):
        cib_write.add_vm(cib, vm)
    return cib


def one(cib, path):
    (found,) = cib.xpath(path)
    return found


def web(cib):
    return one(cib, "//primitive[@id='web1']")


def by_hand(cib):
    """Do at web1 what crm and pcs do there."""
    meta = one(cib, "//meta_attributes[@id='vm-mgr-meta-web1']")
    for key, value in {"is-managed": "false", "resource-stickiness": "500", "maintenance": "true"}.items():
        etree.SubElement(meta, "nvpair", id=f"vm-mgr-meta-web1-{key}", name=key, value=value)
    element = web(cib)
    used = etree.SubElement(element, "utilization", id="web1-utilization")
    etree.SubElement(used, "nvpair", id="web1-utilization-cpu", name="cpu", value="4")
    params = etree.SubElement(element, "instance_attributes", id="web1-instance_attributes")
    etree.SubElement(params, "nvpair", id="web1-p", name="trace_ra", value="1")
    one(cib, "//op[@id='vm-mgr-op-web1..stop']").set("timeout", "600s")
    one(cib, "//op[@id='vm-mgr-op-web1..monitor']").set("interval", "33s")
    etree.SubElement(
        one(cib, "//primitive[@id='web1']/operations"), "op", id="own", name="notify", interval="0"
    )
    element.append(etree.Comment("mind the step"))
    day = f'<date_expression id="e" operation="gt" start="{PAST}"/>'
    element.append(etree.fromstring(pairs("day", rule(day), failure_timeout="9")))
    return cib


def test_what_others_have_set_is_told_and_nothing_else():
    web1 = WEB._replace(
        meta={"failure-timeout": "60"},
        utilization={"hv_memory": "512"},
        params={"storage": "vms"},
        colocations={"db1": "700"},
        checks={"qmp": 30},
        hibernation_s=90,
        stop_timeout_s=77,
    )
    cib = history(web1, DB._replace(preferred_host="n1", returns=True))
    moves.add_move(cib, Move("web1", "n1", "n2", options="a=1"), 3000)
    assert cib_read.read_configured(cib, "web1").set_by_others == {}
    by_hand(cib)
    one(cib, "//op[@id='vm-mgr-op-web1..start']").set("on-fail", "block")
    assert cib_read.read_configured(cib, "web1").set_by_others == {
        "failure-timeout": "9",
        "is-managed": "false",
        "resource-stickiness": "500",
        "maintenance": "true",
        "utilization cpu": "4",
        "parameter trace_ra": "1",
        "start on-fail": "block",
        "monitor interval": "33s",
        "operation notify": "interval=0",
    }
    assert cib_read.read_configured(cib, "db1").set_by_others == {}


def test_of_another_agents_vm_only_attributes_are_told():
    params = '<instance_attributes id="i"><nvpair id="c" name="config" value="/x"/></instance_attributes>'
    theirs = f'<primitive id="old1" class="ocf" provider="heartbeat" type="VirtualDomain">{params}'
    theirs += pairs("m", is_managed="false", priority="3")
    theirs += '<operations><op id="o" name="stop" interval="0"/></operations></primitive>'
    found = cib_read.read_configured(history(DB, resources=theirs), "old1").set_by_others
    assert found == {"is-managed": "false"}


def test_constraint_by_a_pattern_stays_as_it_is_while_the_vm_is_away():
    cib = history(constraints='<rsc_location id="l1" rsc-pattern="^web" node="n1" score="5"/>')
    before = len(cib.xpath("//nvpair"))
    cib_write.remove_vm(cib, "web1", WEB)
    assert one(cib, "//rsc_location[@rsc-pattern]").get("id") == "l1"
    assert not cib.xpath("//cluster_property_set[@id='vm-mgr-kept']")
    assert [found.id for found in cib_read.read_configured(cib, "web1").others] == ["l1"]
    cib_write.add_vm(cib, WEB)
    assert len(cib.xpath("//nvpair")) == before


def survives(cib):
    element = web(cib)
    meta = meta_attributes(element, local_now())
    wanted = {
        "is-managed": "false",
        "resource-stickiness": "500",
        "maintenance": "true",
        "failure-timeout": "9",
    }
    assert wanted.items() <= meta.items()
    assert one(cib, "//primitive[@id='web1']/utilization/nvpair[@name='cpu']").get("value") == "4"
    assert (
        one(cib, "//primitive[@id='web1']/instance_attributes/nvpair[@name='trace_ra']").get("value") == "1"
    )
    assert cib_read.read_configured(cib, "web1").vm.stop_timeout_s == 600
    assert "33s" in [op.get("interval") for op in element.iter("op")]
    assert [op.get("id") for op in element.iter("op") if op.get("name") == "notify"] == ["own"]
    ids = [
        str(ident) for ident in cib.xpath("configuration//@id[not(parent::resource_ref or parent::obj_ref)]")
    ]
    assert len(ids) == len(set(ids))


CHANGES = {
    "nothing": {},
    "a note": {"meta": {}},
    "a colocation": {"colocations": {"db1": "700"}},
    "a remote node": {"meta": {"remote-node": "guest1"}},
    "a pin": {"preferred_host": None, "pinned_host": "n1"},
    "utilization of ours": {"utilization": {"memory": "7"}},
    "a check": {"checks": {"qmp": 60}},
    "live": {"live_migration": True},
    "a move's timeout": {"migrate_to_timeout_s": 900},
    "to return": {"returns": True},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_of_ours_leaves_what_others_have_set(tmp_path, change):
    cib = by_hand(history())
    after = WEB._replace(**change)
    cib_write.update_vm(cib, after, WEB)
    survives(cib)
    require_valid(tmp_path, etree.tostring(cib, encoding="unicode"))
    found = cib_read.read_configured(cib, "web1").vm
    for key in change.keys() - {"meta", "utilization", "checks", "preferred_host"}:
        assert getattr(found, key) == change[key], key
    assert change.get("meta", {}).items() <= found.meta.items()
    assert change.get("utilization", {}).items() <= found.utilization.items()
    assert list(found.checks) == list(change.get("checks", {}))
    cib_write.update_vm(cib, WEB, after)
    survives(cib)
    back = cib_read.read_configured(cib, "web1").vm
    assert (back.live_migration, back.colocations, back.checks, back.returns) == (False, {}, {}, False)
    assert "remote-node" not in back.meta
    assert "memory" not in back.utilization


def test_change_that_nobody_tells_of_leaves_what_is_not_ours():
    cib = by_hand(history())
    cib_write.update_vm(cib, WEB)
    assert meta_attributes(web(cib), local_now())["is-managed"] == "false"
    assert one(cib, "//primitive[@id='web1']/utilization/nvpair[@name='cpu']").get("value") == "4"
    assert one(cib, "//op[@id='own']") is not None


def test_what_is_asked_for_goes_before_what_was_set_by_hand():
    cib = by_hand(history())
    cib_write.update_vm(cib, WEB._replace(stop_timeout_s=90), WEB)
    assert cib_read.read_configured(cib, "web1").vm.stop_timeout_s == 90
    assert "33s" in [op.get("interval") for op in web(cib).iter("op")]


def test_vm_with_a_stickiness_of_its_own_returns_all_the_same():
    cib = by_hand(history())
    cib_write.update_vm(cib, WEB._replace(returns=True), WEB)
    assert int(one(cib, "//rsc_location[@id='vm-mgr-prefer-web1']").get("score")) > 500
    survives(cib)


def test_operations_as_other_tools_rewrite_them_are_found_by_their_names():
    cib = history()
    for op in web(cib).iter("op"):
        op.set("id", f"web1-{op.get('name')}-interval-{op.get('interval')}")
    cib_write.update_vm(cib, WEB._replace(stop_timeout_s=90), WEB)
    assert [op.get("timeout") for op in web(cib).iter("op") if op.get("name") == "stop"] == ["90s"]
    assert len(web(cib).findall("operations/op")) == 5


MIGRATE_TO = "//primitive[@id='web1']//op[@name='migrate_to']"


def without_hold(cib, tag=""):
    """Give migrate_to as an older version wrote it, or as somebody has made it."""
    op = one(cib, MIGRATE_TO)
    op.remove(op[0])
    op.extend([etree.fromstring(tag)] if tag else [])
    return cib


BY_HAND = '<meta_attributes id="m"><nvpair id="m-f" name="on-fail" value="restart"/></meta_attributes>'


@pytest.mark.parametrize(
    ("tag", "wanted"), [("", ["block"]), (BY_HAND, ["restart"])], ids=["older", "by hand"]
)
@pytest.mark.parametrize("change", ["set", "returns to the cluster"])
def test_move_that_fails_holds_the_vm_of_an_older_version_too(tag, wanted, change):
    cib = without_hold(history(), tag)
    if change == "set":
        cib_write.update_vm(cib, WEB._replace(priority=3), WEB)
    else:
        cib_write.remove_vm(cib, "web1", WEB)
        cib_write.add_vm(cib, WEB)
    assert one(cib, MIGRATE_TO).xpath("*/nvpair[@name='on-fail']/@value") == wanted


PARAMS = {"bandwidth": "9", "gone": "1"}


def test_parameter_that_was_changed_counts_when_the_vm_returns():
    """A change of a parameter would restart the VM: it waits for the next disable and enable."""
    before, after = WEB._replace(params=PARAMS), WEB._replace(params={"bandwidth": "1", "new": "2"})
    cib = by_hand(history(before))
    cib_write.update_vm(cib, after, before)
    assert own_pairs(web(cib), "instance_attributes") == PARAMS
    cib_write.remove_vm(cib, "web1", after)
    cib_write.add_vm(cib, after)
    assert own_pairs(web(cib), "instance_attributes") == after.params
    survives(cib)


def test_live_migration_by_a_template_stays():
    template = f'<template id="vms" {AGENT}>{pairs("tm", allow_migrate="true")}</template>'
    cib = cib_write.parse_cib(cib_of(template + '<primitive id="web1" template="vms"/>'))
    cib_write.update_vm(cib, WEB._replace(meta={"a": "1"}), WEB)
    assert cib_read.read_configured(cib, "web1").vm.live_migration
    assert meta_attributes(web(cib), local_now())["a"] == "1"


SHARED = primitive(pairs("shared", x="1", target_role="Started"), "other")
DAY = rule('<date_expression id="e" operation="date_spec"><date_spec id="d" years="1999"/></date_expression>')
ALWAYS = rule(f'<date_expression id="e" operation="gt" start="{PAST}"/>')
ROLES = {
    "none": "",
    "shared": '<meta_attributes id-ref="shared"/>',
    "shared after an own one": pairs("a", x="2") + '<meta_attributes id-ref="shared"/>',
    "timed": pairs("day", DAY, resource_stickiness="INFINITY"),
    "timed with a role": pairs("day", DAY, target_role="Started"),
    "timed and in force": pairs("day", ALWAYS, target_role="Started"),
    "timed before an own one": pairs("day", ALWAYS, target_role="Started")
    + pairs("a", target_role="Started"),
    "two": pairs("a") + pairs("b"),
    "two with roles": pairs("a", target_role="started") + pairs("b", target_role="STARTED"),
    "lent to another": pairs("lent", target_role="Started"),
    "in lower case": pairs("a", target_role="stopped"),
    "another's value": '<meta_attributes id="a"><nvpair id-ref="shared-target-role"/></meta_attributes>',
}


@pytest.mark.parametrize("content", ROLES.values(), ids=ROLES)
def test_role_is_written_where_it_always_holds_for_this_vm_alone(tmp_path, content):
    borrower = primitive('<meta_attributes id-ref="lent"/>', "borrower") if "lent" in content else ""
    schema = SCHEMAS[list(ROLES.values()).index(content) % len(SCHEMAS)]
    cib = cib_write.parse_cib(cib_of(SHARED + primitive(content) + borrower, schema=schema))
    other = etree.tostring(one(cib, "//primitive[@id='other']"))
    for role in (TargetRole.STARTED, TargetRole.STOPPED):
        cib_write.set_target_role(cib, "web1", role)
        assert meta_attributes(web(cib), local_now())["target-role"] == role.value
    changed = etree.tostring(cib, encoding="unicode")
    told = ran(tmp_path, changed, "crm_resource", "-r", "web1", "--meta", "-g", "target-role")
    assert told.stdout.strip() == "Stopped", told.stderr
    assert etree.tostring(one(cib, "//primitive[@id='other']")) == other
    for guarded in cib.xpath("//meta_attributes[rule]"):
        assert "Stopped" not in [pair.get("value") for pair in guarded]
    if borrower:
        assert one(cib, "//meta_attributes[@id='lent']/nvpair").get("value") == "Started"


def test_role_that_a_set_with_a_higher_score_keeps_is_refused_by_its_name():
    content = pairs("day", ALWAYS, more='score="INFINITY"', target_role="Started")
    cib = cib_write.parse_cib(cib_of(primitive(content)))
    with pytest.raises(VmMgrError) as caught:
        cib_write.set_target_role(cib, "web1", TargetRole.STOPPED)
    assert caught.value.kind is Kind.WRONG_STATE
    assert "day" in caught.value.message


TIES = """<rsc_ticket id="t1" rsc="web1" ticket="siteA" loss-policy="stop"/>
<rsc_order id="o1" first="db1" then="web1"/>
<rsc_location id="l1" rsc="web1" node="n3" score="-INFINITY"/>
<rsc_location id="l2" rsc="alone" node="n1" score="7"/>
<rsc_order id="o2"><resource_set id="s1">
<resource_ref id="db1"/><resource_ref id="web1"/><resource_ref id="ip1"/>
</resource_set></rsc_order>"""
TAGS = """<tags><tag id="office"><obj_ref id="web1"/><obj_ref id="ip1"/></tag>
<tag id="alone"><obj_ref id="web1"/></tag></tags>"""


def tied(schema="3.9"):
    cib = by_hand(history(resources=primitive(ident="ip1"), schema=schema))
    cib.find("configuration/constraints").extend(etree.fromstring(f"<c>{TIES}</c>"))
    cib.find("configuration").append(etree.fromstring(TAGS))
    return cib


def content(element):
    """Give what there is, whatever its order, but for our records."""
    inside = [child for child in element.iterchildren(etree.Element) if child.get("id") != "vm-mgr-kept"]
    return (element.tag, sorted(element.attrib.items()), sorted(content(child) for child in inside))


@pytest.mark.parametrize(
    ("order", "schema"), [(("web1",), "2.0"), (("web1", "db1"), "3.9"), (("db1", "web1"), "2.10")]
)
def test_what_others_have_tied_to_a_vm_comes_back_with_it(tmp_path, order, schema):
    cib, vms = tied(schema), {"web1": WEB, "db1": DB}
    before = content(cib)
    for name in order:
        cib_write.remove_vm(cib, name, vms[name])
    require_valid(tmp_path, etree.tostring(cib, encoding="unicode"))
    assert not cib.xpath("//primitive[@id='web1'] | //constraints//*[@rsc='web1' or @id='web1']")
    for name in order:
        cib_write.add_vm(cib, vms[name])
    require_valid(tmp_path, etree.tostring(cib, encoding="unicode"))
    assert content(cib) == before
    assert not cib.xpath("//cluster_property_set[@id='vm-mgr-kept']")
    survives(cib)


def test_set_of_resources_gets_its_member_back_in_its_place():
    cib = tied()
    cib_write.remove_vm(cib, "web1", WEB)
    cib_write.add_vm(cib, WEB)
    assert [ref.get("id") for ref in one(cib, "//resource_set")] == ["db1", "web1", "ip1"]


def test_what_is_set_while_a_vm_is_away_goes_before_what_is_kept():
    cib = tied()
    cib_write.remove_vm(cib, "web1", WEB)
    after = WEB._replace(stop_timeout_s=90, meta={"is-managed": "true"}, live_migration=True)
    cib_write.update_vm(cib, after, WEB)
    cib_write.add_vm(cib, after)
    found = cib_read.read_configured(cib, "web1").vm
    assert (found.stop_timeout_s, found.live_migration) == (90, True)
    assert found.meta["resource-stickiness"] == "500"


def test_vm_that_is_removed_for_good_leaves_no_record(tmp_path):
    cib = tied()
    cib_write.remove_vm(cib, "web1", WEB)
    cib_write.remove_vm(cib, "web1")
    cib_write.remove_vm(cib, "db1")
    assert not cib.xpath("//cluster_property_set[@id='vm-mgr-kept']")
    cib_write.add_vm(cib, WEB)
    require_valid(tmp_path, etree.tostring(cib, encoding="unicode"))
    assert not cib.xpath("//rsc_ticket | //rsc_location[@id='l1']")


def test_renamed_vm_keeps_all_of_it_in_the_cluster_and_away(tmp_path):
    for away in (False, True):
        cib, new = tied(), WEB.renamed("web2")
        if away:
            cib_write.remove_vm(cib, "web1", WEB)
        cib_write.rename_vm(cib, "web1", "web2")
        if away:
            cib_write.add_vm(cib, new)
        text = etree.tostring(cib, encoding="unicode")
        require_valid(tmp_path, text)
        assert one(cib, "//rsc_ticket").get("rsc") == "web2"
        assert one(cib, "//rsc_order[@id='o1']").get("then") == "web2"
        assert [ref.get("id") for ref in one(cib, "//tag[@id='office']")].count("web2") == 1
        assert meta_attributes(one(cib, "//primitive[@id='web2']"), local_now())["is-managed"] == "false"
        assert cib_read.read_configured(cib, "web2").vm.stop_timeout_s == 600


def test_group_that_a_vm_is_in_is_never_broken():
    cib = cib_write.parse_cib(cib_of(f'<group id="office">{primitive(ident="ip1")}{primitive()}</group>'))
    before = etree.tostring(cib)
    for given in (WEB, None):
        with pytest.raises(VmMgrError) as caught:
            cib_write.remove_vm(cib, "web1", given)
        assert caught.value.kind is Kind.WRONG_STATE
        assert "office" in caught.value.message
    with pytest.raises(VmMgrError):
        cib_write.add_vm(cib, WEB)
    assert etree.tostring(cib) == before
    cib_write.rename_vm(cib, "web1", "web2")
    assert [child.get("id") for child in one(cib, "//group")] == ["ip1", "web2"]


@pytest.mark.parametrize("user", ["a set", "an access rule"])
def test_part_that_others_refer_to_is_not_taken_away(user):
    cib = history()
    if user == "a set":
        cib.find("configuration/resources").append(
            etree.fromstring(primitive('<meta_attributes id-ref="vm-mgr-meta-web1"/>', "borrower"))
        )
    else:
        may = '<acl_role id="eyes"><acl_permission id="p1" kind="read" reference="web1"/></acl_role>'
        cib.find("configuration").append(etree.fromstring(f"<acls>{may}</acls>"))
    with pytest.raises(VmMgrError) as caught:
        cib_write.remove_vm(cib, "web1", WEB)
    assert caught.value.kind is Kind.WRONG_STATE
    assert ("borrower" if user == "a set" else "p1") in caught.value.message
    cib_write.rename_vm(cib, "web1", "web2")
    (refers,) = cib.xpath("//*[@id-ref] | //acl_permission")
    assert (refers.get("id-ref") or refers.get("reference")) in ("vm-mgr-meta-web2", "web2")


@pytest.mark.parametrize("kind", ["group", "clone", "bundle"])
def test_colocation_with_a_group_or_clone_is_written(kind):
    inside = primitive(ident="ip1")
    cib = history(resources=f'<{kind} id="mounts">{inside}</{kind}>')
    cib_write.update_vm(cib, WEB._replace(colocations={"mounts": "700"}), WEB)
    assert one(cib, "//rsc_colocation").get("with-rsc") == "mounts"


def test_id_that_somebody_has_taken_is_not_taken_again(tmp_path):
    pair = '<nvpair id="vm-mgr-meta-web1..target-role" name="x" value="1"/>'
    taken = f'<meta_attributes id="vm-mgr-meta-web1">{pair}</meta_attributes>'
    cib = cib_write.parse_cib(cib_of(primitive(taken, "other") + primitive()))
    cib_write.set_target_role(cib, "web1", TargetRole.STOPPED)
    require_valid(tmp_path, etree.tostring(cib, encoding="unicode"))
    assert meta_attributes(web(cib), local_now())["target-role"] == "Stopped"


def test_vm_of_another_agent_leaves_its_locations_and_brings_back_the_rest():
    meta = pairs("m", is_managed="false", allow_migrate="true", target_role="Started")
    params = '<instance_attributes id="p"><nvpair id="pc" name="config" value="/x"/></instance_attributes>'
    old = primitive(meta + params).replace('provider="vm-mgr"', 'provider="seapath"')
    cib = cib_write.parse_cib(
        cib_of(old + primitive(ident="db1"), TIES.partition('<rsc_location id="l2"')[0])
    )
    cib_write.remove_vm(cib, "web1", WEB)
    cib_write.add_vm(cib, WEB)
    assert cib.xpath("//rsc_ticket[@id='t1'] | //rsc_order[@id='o1']")[1:]
    assert not cib.xpath("//rsc_location[@id='l1']")
    assert web(cib).get("provider") == "vm-mgr"
    found = cib_read.read_configured(cib, "web1").vm
    assert (found.meta["is-managed"], found.live_migration, found.params) == ("false", False, {})


def test_constraint_of_a_move_is_not_kept():
    cib = history()
    moves.add_move(cib, Move("web1", "n1", "n2", options="a=1"), 2e9)
    cib_write.remove_vm(cib, "web1", WEB)
    assert not cib.xpath("//cluster_property_set[@id='vm-mgr-kept']")


def test_move_of_a_vm_by_a_template_keeps_the_templates_time():
    op = '<operations><op id="tm" name="migrate_to" interval="0" timeout="600s"/></operations>'
    cib = cib_write.parse_cib(
        cib_of(f'<template id="vms" {AGENT}>{op}</template><primitive id="web1" template="vms"/>')
    )
    moves.add_move(cib, Move("web1", "n1", "n2", options="a=1"), 2e9)
    assert cib_read.read_configured(cib, "web1").vm.migrate_to_timeout_s == 600
    assert web(cib).find("operations/op/meta_attributes/nvpair[@name='on-fail']").get("value") == "block"


def test_vm_by_a_template_comes_back_by_it(tmp_path):
    cib = by_hand(history())
    template = f'<template id="vms" {AGENT}>{pairs("tm", x="t", allow_migrate="true")}</template>'
    cib.find("configuration/resources").insert(0, etree.fromstring(template))
    for key in ("class", "provider", "type"):
        del web(cib).attrib[key]
    web(cib).set("template", "vms")
    live = one(cib, "//primitive[@id='web1']/meta_attributes/nvpair[@name='allow-migrate']")
    live.getparent().remove(live)
    before = content(cib)
    cib_write.remove_vm(cib, "web1", WEB)
    cib_write.add_vm(cib, WEB)
    assert content(cib) == before
    require_valid(tmp_path, etree.tostring(cib, encoding="unicode"))
    assert cib_read.read_configured(cib, "web1").vm.live_migration
    cib_write.rename_vm(cib, "web1", "web2")
    assert one(cib, "//primitive[@id='web2']").get("template") == "vms"


def test_vm_that_is_added_again_keeps_what_names_it():
    cib = tied()
    cib_write.add_vm(cib, WEB)
    assert one(cib, "//rsc_ticket").get("rsc") == "web1"
    assert [ref.get("id") for ref in one(cib, "//tag[@id='office']")] == ["web1", "ip1"]
