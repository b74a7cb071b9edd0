"""A CIB in which others have worked for years is read as Pacemaker's own tools read it."""

import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from lxml import etree

from vm_mgr.adapters.pacemaker import cib_read, cib_write
from vm_mgr.adapters.pacemaker.cib_resolve import local_now, meta_attributes, op_attribute, operations
from vm_mgr.adapters.pacemaker.cib_rules import applies
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.model.vm import TargetRole, VmState
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr_lab.scenario.simulate import with_tools

CIB = """<cib admin_epoch="0" epoch="4" num_updates="7" validate-with="pacemaker-{schema}"
 crm_feature_set="3.10.0"><configuration><crm_config><cluster_property_set id="options">
<nvpair id="options-fencing" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/></nodes><resources>{resources}</resources>
<constraints>{constraints}</constraints>{rest}</configuration>
<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member">
<lrm id="1"><lrm_resources/></lrm></node_state></status></cib>"""
AGENT = 'class="ocf" provider="vm-mgr" type="VirtualDomain"'
SCHEMAS = ("2.0", "2.10", "3.0", "3.9")


def cib_of(resources, constraints="", rest="", schema="3.9"):
    return CIB.format(resources=resources, constraints=constraints, rest=rest, schema=schema)


def primitive(content="", ident="web1"):
    return f'<primitive id="{ident}" {AGENT}>{content}</primitive>'


def pairs(ident, rule="", more="", **values):
    """Give a set; underscores in names stand for dashes."""
    names = {key.replace("_", "-"): value for key, value in values.items()}
    inside = "".join(f'<nvpair id="{ident}-{key}" name="{key}" value="{names[key]}"/>' for key in names)
    return f'<meta_attributes id="{ident}" {more}>{rule}{inside}</meta_attributes>'


def rule(expression, ident="r1"):
    return f'<rule id="{ident}" score="INFINITY">{expression}</rule>'


def ran(tmp_path, cib, *argv):
    """Ask a tool of Pacemaker's about a CIB."""
    file = tmp_path / "cib.xml"
    file.write_text(cib)
    return subprocess.run(with_tools(argv, file), check=False, text=True, capture_output=True, timeout=60)


def require_valid(tmp_path, cib):
    done = ran(tmp_path, cib, "crm_verify", "-VV", "--live-check")
    assert done.returncode == 0, done.stderr


def date(operation, attributes="", inside="", ident="e"):
    return f'<date_expression id="{ident}" operation="{operation}" {attributes}>{inside}</date_expression>'


def guarded(expression, ident="a"):
    return primitive(pairs(ident, rule(expression), x="1"))


PAST, FUTURE = "2020-01-01", "2100-01-01"
SINCE, UNTIL = date("gt", f'start="{PAST}"'), date("lt", f'end="{PAST}"', ident="f")
OTHER = primitive(pairs("shared", x="shared"), "other")
INFINITE, FIVE = 'score="INFINITY"', 'score="5"'
TWICE = '<nvpair id="p" name="x" value="1"/><nvpair id="q" name="x" value="2"/>'
PLAIN = f'<template id="t" {AGENT}>{pairs("a", x="t")}</template>'
SCORED = f'<template id="t" {AGENT}>{pairs("a", more=FIVE, x="t")}</template>'
CASES = {
    "one set": primitive(pairs("a", x="1")),
    "of two sets the last": primitive(pairs("a", x="1") + pairs("b", x="2")),
    "a higher score": primitive(pairs("a", more=FIVE, x="1") + pairs("b", x="2")),
    "a lower score": primitive(pairs("a", x="1") + pairs("b", more='score="-5"', x="2")),
    "an infinite score": primitive(pairs("a", more=INFINITE, x="1") + pairs("b", more=FIVE, x="2")),
    "twice in a set": primitive(f'<meta_attributes id="a">{TWICE}</meta_attributes>'),
    "comments": primitive(f'<!-- a --><meta_attributes id="a"><!-- b -->{TWICE}</meta_attributes>'),
    "a set of another": OTHER + primitive('<meta_attributes id-ref="shared"/>'),
    "another's and own": OTHER + primitive(pairs("a", x="1") + '<meta_attributes id-ref="shared"/>'),
    "a value of another": OTHER
    + primitive('<meta_attributes id="a"><nvpair id-ref="shared-x" name="x"/></meta_attributes>'),
    "a template": f'{PLAIN}<primitive id="web1" template="t"/>',
    "above its template": f'{PLAIN}<primitive id="web1" template="t">{pairs("b", x="1")}</primitive>',
    "a scored template": f'{SCORED}<primitive id="web1" template="t">{pairs("b", x="1")}</primitive>',
    "a group": f'<group id="g">{pairs("a", x="g")}{primitive()}</group>',
    "above its group": f'<group id="g">{pairs("a", x="g")}{primitive(pairs("b", x="1"))}</group>',
    "a clone": f'<clone id="c">{pairs("a", x="c")}{primitive()}</clone>',
    "the default kept": primitive(pairs("a", x="#default")),
    "in time": guarded(SINCE),
    "in time, below an own set": primitive(pairs("a", rule(SINCE), x="1") + pairs("b", x="2")),
    "over": guarded(UNTIL),
    "in range": guarded(date("in_range", f'start="{PAST}" end="{FUTURE}"')),
    "in a duration": guarded(
        date("in_range", f'start="{PAST}"', '<duration id="d" years="90" months="13"/>')
    ),
    "after a duration": guarded(date("in_range", f'start="{PAST}"', '<duration id="d" hours="3"/>')),
    "at any hour": guarded(date("date_spec", "", '<date_spec id="d" hours="0-23" weekdays="1-7"/>')),
    "in no year": guarded(date("date_spec", "", '<date_spec id="d" years="1999"/>')),
    "on a node": guarded('<expression id="e" attribute="#uname" operation="eq" value="n1"/>'),
    "where nothing is": guarded('<expression id="e" attribute="no" operation="not_defined"/>'),
    "one of two": primitive(
        pairs("a", f'<rule id="r" score="0" boolean-op="or">{SINCE}{UNTIL}</rule>', x="1")
    ),
    "both of two": primitive(
        pairs("a", f'<rule id="r" score="0" boolean-op="and">{SINCE}{UNTIL}</rule>', x="1")
    ),
}
DEFAULTS = f"<rsc_defaults>{pairs('defaults', x='default')}</rsc_defaults>"
TYPED = """<rsc_defaults><meta_attributes id="d"><rule id="dr" score="INFINITY" boolean-op="and">
<rsc_expression id="de" class="ocf" provider="{}" type="VirtualDomain"/></rule>
<nvpair id="dx" name="x" value="typed"/></meta_attributes></rsc_defaults>"""


def both(tmp_path, cib):
    """Give the meta attribute x as Pacemaker and as we read it; nothing where there is none."""
    done = ran(tmp_path, cib, "crm_resource", "-r", "web1", "--meta", "-g", "x")
    assert done.returncode == 0 or "not found" in done.stderr, done.stderr
    (element,) = cib_write.parse_cib(cib).iterfind(".//primitive[@id='web1']")
    return done.stdout.strip(), meta_attributes(element, local_now()).get("x", "")


@pytest.mark.parametrize("resources", CASES.values(), ids=CASES)
def test_meta_attributes_are_those_of_the_scheduler(tmp_path, resources):
    place = list(CASES.values()).index(resources)
    theirs, ours = both(tmp_path, cib_of(resources, rest=DEFAULTS, schema=SCHEMAS[place % len(SCHEMAS)]))
    assert ours == theirs != ""


@pytest.mark.parametrize("provider", ["vm-mgr", "heartbeat"])
def test_defaults_of_a_kind_of_resource_are_known(tmp_path, provider):
    theirs, ours = both(tmp_path, cib_of(primitive(), rest=TYPED.format(provider)))
    assert ours == theirs == ("typed" if provider == "vm-mgr" else "")


def at(*when):
    return datetime(*when, tzinfo=timezone(timedelta(hours=1)))


OFFICE = '<date_spec id="d" hours="9-16" weekdays="1-5"/>'
MONTH = '<duration id="d" months="1"/>'


@pytest.mark.parametrize(
    ("expression", "now", "holds"),
    [
        (date("date_spec", "", OFFICE), at(2026, 11, 27, 9), True),
        (date("date_spec", "", OFFICE), at(2026, 11, 28, 9), False),
        (date("date_spec", "", OFFICE), at(2026, 11, 27, 17), False),
        (date("in_range", 'start="2026-01-31"', MONTH), at(2026, 2, 28), True),
        (date("in_range", 'start="2026-01-31"', MONTH), at(2026, 3, 1), False),
        (date("lt", 'end="2026-01-01 00:00:00Z"'), at(2026, 1, 1, 0, 30), True),
        (date("lt", 'end="soon"'), at(2026, 1, 1), False),
    ],
)
def test_time_of_a_rule(expression, now, holds):
    assert applies(etree.fromstring(f"<set>{rule(expression)}</set>"), now) is holds


TEMPLATE = f"""<template id="vms" {AGENT}><meta_attributes id="tm">
<nvpair id="ta" name="allow-migrate" value="YES"/>
<nvpair id="tp" name="priority" value="INFINITY"/></meta_attributes>
<instance_attributes id="ti"><nvpair id="tu" name="migration_user" value="me"/></instance_attributes>
<operations><op id="ts" name="stop" interval="0" timeout="5min"/>
<op id="tt" name="start" interval="0" timeout="60s"/>
</operations></template>"""
FROM_TEMPLATE = """<primitive id="web1" template="vms"><operations>
<op id="ws" name="start" interval="0" timeout="90s"/></operations></primitive>"""


def test_vm_by_a_template_is_read_whole():
    found = cib_read.read_configured(cib_write.parse_cib(cib_of(TEMPLATE + FROM_TEMPLATE)), "web1").vm
    assert (found.live_migration, found.priority) == (True, 1_000_000)
    assert (found.stop_timeout_s, found.start_timeout_s) == (300, 90)
    assert found.params == {"migration_user": "me"}


def test_operations_that_are_others_and_defaults_of_operations_count():
    shared = primitive('<operations id="ops"><op id="s" name="stop" interval="0"/></operations>', "other")
    rest = f"<op_defaults>{pairs('od', timeout='77s')}</op_defaults>"
    cib = cib_write.parse_cib(cib_of(shared + primitive('<operations id-ref="ops"/>'), rest=rest))
    (element,) = cib.iterfind(".//primitive[@id='web1']")
    (stop,) = operations(element)
    assert op_attribute(element, stop, "timeout", local_now()) == "77s"
    assert cib_read.read_configured(cib, "web1").vm.stop_timeout_s == 77


@pytest.mark.parametrize("where", ["<group id='g'>%s{}</group>", "%s{}"])
@pytest.mark.parametrize("text", ["stopped", "Stopped", "STOPPED"])
def test_role_is_read_without_regard_to_case(where, text):
    outer = pairs("gm", target_role=text)
    resources = where % outer if "group" in where else "{}"
    inner = "" if "group" in where else outer
    cib = cib_write.parse_cib(cib_of(resources.format(primitive(inner))))
    assert cib_read.read_configured(cib, "web1").vm.target_role is TargetRole.STOPPED


@pytest.mark.parametrize("text", ["started", "Slave", "Master", "promoted", "unpromoted", "paused", ""])
def test_role_that_makes_no_sense_for_a_vm_is_none(text):
    cib = cib_write.parse_cib(cib_of(primitive(pairs("m", target_role=text))))
    assert cib_read.read_configured(cib, "web1").vm.target_role is TargetRole.STARTED


def test_all_that_names_a_vm_is_told():
    tied = """<rsc_ticket id="t1" rsc="web1" ticket="siteA" loss-policy="fence"/>
    <rsc_order id="o1" first="db1" then="web1"/><rsc_location id="l1" rsc="web1" node="n3" score="-INFINITY"/>
    <rsc_colocation id="c1" rsc="office" with-rsc="db1" with-rsc-role="Slave" score="5"/>
    <rsc_location id="l2" rsc="tagged" node="n1" score="7"/>
    <rsc_ticket id="t2" ticket="siteB">
    <resource_set id="s"><resource_ref id="web1"/></resource_set></rsc_ticket>"""
    resources = primitive(ident="db1") + f'<group id="office">{primitive(ident="ip1")}{primitive()}</group>'
    rest = '<tags><tag id="tagged"><obj_ref id="web1"/></tag></tags>'
    found = cib_read.read_configured(cib_write.parse_cib(cib_of(resources, tied, rest)), "web1").others
    told = {one.id: (one.kind, one.text) for one in found}
    assert told["t1"] == ("ticket", "ticket siteA (fence)")
    assert told["t2"] == ("ticket", "ticket siteB, web1 (stop)")
    assert told["c1"] == ("colocation", "colocation office, db1, as Unpromoted (5) by the group office")
    assert told["l2"] == ("location", "location n1 (7) by the tag tagged")
    assert told["tagged"] == ("tag", "tag web1")
    assert told["office"] == ("group", "group ip1, web1")
    assert {"o1", "l1"} <= told.keys()


PATTERNS = ("^web.*", "!^web", "b1$", "^(db|web)[12]$", "!web2", "^w?eb1", "1", "we.{1,2}$")


def by_pattern(ident, pattern, score="-INFINITY"):
    return f'<rsc_location id="{ident}" rsc-pattern="{pattern}" node="n1" score="{score}"/>'


def told_by_pattern(cib, name):
    others = cib_read.read_configured(cib_write.parse_cib(cib), name).others
    return {one.id: one.text for one in others if one.kind == "pattern"}


def test_patterns_match_as_those_of_the_scheduler(tmp_path):
    resources = primitive() + primitive(ident="web2") + primitive(ident="db1")
    resources += f'<group id="g">{primitive(ident="web3")}</group>'
    bits = {f"p{number}": 1 << number for number in range(len(PATTERNS))}
    rules = [by_pattern(*pair) for pair in zip(bits, PATTERNS, bits.values(), strict=True)]
    cib = cib_of(resources, "".join(rules))
    require_valid(tmp_path, cib)
    done = ran(tmp_path, cib, "crm_simulate", "--live-check", "--show-scores", "--output-as=xml")
    weights = etree.fromstring(done.stdout.encode()).iter("node_weight")
    scores = {one.get("id"): int(one.get("score")) for one in weights if "assign" in one.get("function")}
    for name in ("web1", "web2", "db1"):
        assert sum(bits[ident] for ident in told_by_pattern(cib, name)) == scores[name] > 0, name


def test_pattern_means_a_group_and_not_its_members():
    inside = f'<group id="office">{primitive()}</group>'
    rules = by_pattern("l1", "^web1$") + by_pattern("l2", "^office")
    told = told_by_pattern(cib_of(inside, rules), "web1")
    assert told == {"l2": "location n1 (-INFINITY) by the pattern ^office"}


@pytest.mark.parametrize(
    "pattern", ["^[[:alpha:]]+1", "web(", "!we(?=b)", r"web\d", "x+?web1", "*web", "[a&amp;&amp;w]"]
)
def test_pattern_that_can_not_be_judged_may_match(pattern):
    told = told_by_pattern(cib_of(primitive(), by_pattern("l1", pattern)), "web1")
    assert told["l1"].endswith(", which may match")


def test_our_own_pattern_for_observers_is_not_told():
    assert not told_by_pattern(cib_of(primitive(), by_pattern("vm-mgr-observers", "!^vm-mgr-")), "web1")


MON = """<pacemaker-result><summary><current_dc with_quorum="true"/>
<cluster_options stonith-enabled="true"/></summary>
<nodes><node name="n1" online="true"/><node name="n2" online="true"/></nodes>
<resources>{}</resources></pacemaker-result>"""
SEEN = """<resource id="{}" resource_agent="{}" role="{}" target_role="{}"
 active="{}" managed="true">{}</resource>"""
VM = "ocf:vm-mgr:VirtualDomain"


def seen(ident="web1", agent=VM, role="Started", wanted="", node="n1"):
    there = f'<node name="{node}"/>' if node else ""
    return SEEN.format(ident, agent, role, wanted, "true" if node else "false", there)


@pytest.mark.parametrize(
    ("outer", "within"),
    [
        ('<group id="office">{}</group>', "group office"),
        ('<clone id="all">{}</clone>', "clone all"),
        ('<clone id="all"><group id="office:0">{}</group></clone>', "clone all"),
        ('<bundle id="box"><replica id="0">{}</replica></bundle>', "bundle box"),
    ],
)
def test_vm_inside_something_is_seen_with_its_name(outer, within):
    state = parse_crm_mon(
        MON.format(outer.format(seen("ip1", "ocf:heartbeat:IPaddr2") + seen() + seen("fs1", "ocf:x:y")))
    )
    found = state.resources["web1"]
    assert (found.is_vm, found.within, found.nodes) == (True, within, ("n1",))
    assert derive_status(found, state).state is VmState.STARTED
    assert f"in the {within}" in derive_status(found, state).words
    assert found.followers == (("fs1",) if within.startswith("group") else ())
    assert state.has(within.split()[1])


def test_instances_of_a_clone_are_one_resource():
    state = parse_crm_mon(
        MON.format(
            '<clone id="all">' + seen(node="", role="Stopped") + seen("web1:1", node="n2") + "</clone>"
        )
    )
    assert (state.resources["web1"].active, state.resources["web1"].nodes) == (True, ("n2",))


@pytest.mark.parametrize("text", ["stopped", "STOPPED"])
def test_stopped_vm_is_stopped_however_that_is_spelled(text):
    state = parse_crm_mon(MON.format(seen(role="Stopped", wanted=text, node="")))
    assert derive_status(state.resources["web1"], state).state is VmState.STOPPED


def test_vm_of_another_agent_is_listed_as_what_it_is():
    state = parse_crm_mon(MON.format(seen("old9", "ocf:heartbeat:VirtualDomain")))
    assert derive_status(state.resources["old9"], state).words == "run by ocf:heartbeat:VirtualDomain"
