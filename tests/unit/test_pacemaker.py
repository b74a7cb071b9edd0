"""CIB edits and crm_mon's answers, without a cluster."""

from pathlib import Path

import pytest
from lxml import etree

from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker import cib_read, cib_write, moves
from vm_mgr.adapters.pacemaker.cib_transaction import CibEditor
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.adapters.pacemaker.port import Pacemaker
from vm_mgr.adapters.pacemaker.tools import check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.resource import Dependency
from vm_mgr.model.vm import TargetRole, VmState
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.cluster import Configured, Move, VmResource
from vm_mgr.ports.runner import Completed

RECORDED = sorted((Path(__file__).parents[1] / "recordings").glob("pacemaker-*/crm_mon--*.xml"))
EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/>
<constraints><rsc_location id="vm-mgr-observers" rsc-pattern="!^vm-mgr-"><rule id="r" score="-INFINITY">
<expression id="e" attribute="vm-mgr-role" operation="eq" value="observer"/></rule></rsc_location>
</constraints></configuration></cib>"""


@pytest.fixture
def cib():
    return cib_write.parse_cib(EMPTY)


def ids(cib, path):
    return [element.get("id") for element in cib.findall(f"configuration/{path}")]


def test_vm_comes_and_goes_without_a_trace(cib):
    before = etree.tostring(cib)
    cib_write.add_vm(cib, VmResource("web1", TargetRole.STARTED, pinned_host="n2"))
    pin = cib.find("configuration/constraints/rsc_location[@id='vm-mgr-pin-web1']")
    assert (pin.get("score"), pin.get("resource-discovery")) == ("INFINITY", "exclusive")
    moves.add_move(cib, Move("web1", "n2", "n3"), 2e9)
    cib_write.remove_vm(cib, "web1")
    assert etree.tostring(cib) == before


def test_ids_show_who_made_them(cib):
    vm = VmResource(
        "web1", TargetRole.STARTED, preferred_host="n2", params={"a": "1"}, utilization={"cpu": "2"}
    )
    cib_write.add_vm(cib, vm)
    made = cib.xpath("//*[@id='web1']/descendant::*/@id | //rsc_location[@rsc='web1']/@id")
    assert made
    assert all(ident.startswith("vm-mgr-") for ident in made)


def test_fencing_history_is_read():
    """Pacemaker 3.0 as recorded; 2.1 writes whole seconds, and the zone of the machine."""
    recorded = next(path for path in RECORDED if path.name == "crm_mon--failed.xml").read_text()
    (fenced,) = parse_crm_mon(recorded).fencings
    assert (fenced.node, fenced.succeeded, fenced.fences) == ("n3", True, True)
    assert fenced.completed_utc == pytest.approx(1795231438.609255)
    older = recorded.replace("2026-11-21 03:23:58.609255Z", "2026-11-21 04:23:58 +01:00")
    assert parse_crm_mon(older).fencings[0].completed_utc == 1795231438
    failed = recorded.replace('status="success"', 'status="failed" exit-reason="no answer"')
    assert not parse_crm_mon(failed).fencings[0].fences
    pending = recorded.replace('status="success"', 'status="pending"').replace("completed=", "extended=")
    assert parse_crm_mon(pending).fencings[0].completed_utc is None


def test_other_vms_constraints_stay(cib):
    cib_write.add_vm(cib, VmResource("web1", TargetRole.STARTED, preferred_host="n2"))
    cib_write.add_vm(cib, VmResource("web2", TargetRole.STARTED, preferred_host="n2"))
    constraints = cib.find("configuration/constraints")
    etree.SubElement(constraints, "rsc_colocation", {"id": "c", "rsc": "web1", "with-rsc": "web2"})
    cib_write.remove_vm(cib, "web1")
    assert ids(cib, "constraints/*") == ["vm-mgr-observers", "vm-mgr-prefer-web2"]
    assert ids(cib, "resources/*") == ["web2"]


def test_resource_sets_lose_only_the_vm(cib):
    constraints = cib.find("configuration/constraints")
    constraint = etree.SubElement(constraints, "rsc_colocation", id="c")
    resource_set = etree.SubElement(constraint, "resource_set", id="s")
    for name in ("web1", "web2"):
        etree.SubElement(resource_set, "resource_ref", id=name)
    cib_write.remove_vm(cib, "web1")
    assert ids(cib, "constraints/rsc_colocation") == ["c"]
    cib_write.remove_vm(cib, "web2")
    assert ids(cib, "constraints/rsc_colocation") == []


def test_expired_moves_of_anybody_are_swept(cib):
    moves.add_move(cib, Move("web1", "n2", "n3"), 1000)
    moves.add_move(cib, Move("web2", "n2", "n3"), 3000)
    moves.sweep_moves(cib, "web3", 2000)
    assert ids(cib, "constraints/*") == ["vm-mgr-observers", "vm-mgr-move-web2"]
    moves.sweep_moves(cib, "web2", 2000)
    assert ids(cib, "constraints/*") == ["vm-mgr-observers"]


def test_target_role_of_a_foreign_primitive_is_set(cib):
    resources = cib.find("configuration/resources")
    primitive = etree.SubElement(resources, "primitive", id="old1", type="VirtualDomain")
    cib_write.set_target_role(cib, "old1", TargetRole.STOPPED)
    cib_write.set_target_role(cib, "old1", TargetRole.STARTED)
    assert [pair.get("value") for pair in primitive.iter("nvpair")] == ["Started"]


def test_version_grows(cib):
    cib_write.bump_version(cib)
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
    assert derive_status(state.resources["guest1"], state).state.value.lower() == expected


@pytest.mark.parametrize(
    ("role", "more", "failure", "works"),
    [
        ("Started", "", True, True),  # elsewhere than where it has failed
        ("Started", 'failed="true"', True, False),
        ("Stopped", "", True, False),
        ("Stopped", "", False, False),
        ("Stopped", 'pending="Starting"', False, True),
        ("Starting", "", False, True),
        ("Starting", "", True, False),
    ],
)
@pytest.mark.parametrize("clone", [False, True])
def test_fence_device_that_has_failed_or_is_stopped_is_named(role, more, failure, works, clone):
    one = '<resource id="{}" resource_agent="stonith:fence_x" role="{}" {}/>'
    device = one.format("f2", role, more)
    if clone:
        device = f'<clone id="c">{one.format("f2:0", role, more)}{one.format("f2:1", "Stopped", "")}</clone>'
    failed = '<failure op_key="f2_start_0" task="start" node="n1" exitstatus="error"/>' if failure else ""
    state = parse_crm_mon(
        f"<r><resources>{one.format('f1', 'Started', '')}{device}</resources>"
        f"<failures>{failed}</failures></r>"
    )
    assert (state.fence_devices, state.silent_devices) == ((2, ()) if works else (1, ("f2",)))


def failed_guest(*changes):
    raw = next(path for path in RECORDED if path.stem == "crm_mon--failed").read_text()
    for before, after in changes:
        assert before in raw
        raw = raw.replace(before, after, 1)
    return parse_crm_mon(raw)


@pytest.mark.parametrize(
    ("threshold", "count", "barred"),
    [("3", "4", True), ("3", "3", True), ("3", "2", False), ("1000000", "4", False), ("0", "1000000", False)],
)
def test_node_is_barred_from_the_threshold_on(threshold, count, barred):
    limits = 'id="guest1" orphan="false" migration-threshold="{}" fail-count="{}"'
    state = failed_guest((limits.format("3", "1000000"), limits.format(threshold, count)))
    guest = state.resources["guest1"]
    assert guest.banned_by_failures == (("n1", "n2") if barred else ("n2",))
    assert derive_status(guest, state).state is (VmState.FAILED if barred else VmState.STARTING)


def test_detail_is_the_newest_failure_and_the_way_out():
    times = (f'call="91" status="Done" last-rc-change="2026-11-21 03:26:0{end}Z"' for end in (1, 9))
    state = failed_guest(tuple(times))
    detail = derive_status(state.resources["guest1"], state).detail
    assert detail.startswith("start on n1: ")
    assert detail.endswith("(vm-mgr start guest1)")


def test_vm_that_no_node_can_take_is_stopped():
    path = next(path for path in RECORDED if path.stem == "crm_mon--failed")
    state = parse_crm_mon(path.read_text().replace('standby="false"', 'standby="true"'))
    assert derive_status(state.resources["guest1"], state).state is VmState.STOPPED


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
    cib_write.add_vm(cib, VmResource("one", TargetRole.STOPPED, colocations={"two": "700"}))
    assert "vm-mgr-colocation-one..two" not in names_of(cib, "rsc_colocation")
    cib_write.add_vm(cib, VmResource("two", TargetRole.STOPPED))
    assert "vm-mgr-colocation-one..two" in names_of(cib, "rsc_colocation")
    cib_write.remove_vm(cib, "two")
    assert "vm-mgr-colocation-one..two" not in names_of(cib, "rsc_colocation")
    cib_write.add_vm(cib, VmResource("two", TargetRole.STOPPED))
    cib_write.rename_vm(cib, "two", "three")
    constraint = cib.find(".//rsc_colocation[@id='vm-mgr-colocation-one..three']")
    assert (constraint.get("rsc"), constraint.get("with-rsc")) == ("one", "three")
    cib_write.update_vm(cib, VmResource("one", TargetRole.STARTED, colocations={}))
    assert "vm-mgr-colocation-one..three" not in names_of(cib, "rsc_colocation")
    cib_write.remove_vm(cib, "three")
    cib_write.remove_vm(cib, "one")
    assert etree.tostring(cib) == before


def test_change_keeps_role_and_parameters(cib):
    cib_write.add_vm(cib, VmResource("one", TargetRole.STOPPED, params={"migration_user": "me"}))
    changed = VmResource("one", TargetRole.STARTED, priority=7, pinned_host="n2", params={"other": "x"})
    cib_write.update_vm(cib, changed)
    primitive = cib.find(".//primitive[@id='one']")
    pairs = {pair.get("name"): pair.get("value") for pair in primitive.iter("nvpair")}
    assert pairs["target-role"] == "Stopped"
    assert pairs["priority"] == "7"
    assert pairs["migration_user"] == "me"
    assert "other" not in pairs
    assert "vm-mgr-pin-one" in names_of(cib, "rsc_location")
    assert len(primitive.findall("operations")) == 1
    cib_write.update_vm(cib, VmResource("nobody", TargetRole.STARTED))
    assert cib.find(".//primitive[@id='nobody']") is None


def test_vm_needs_what_mounts_its_storage(cib):
    clone = etree.SubElement(cib.find("configuration/resources"), "clone", id="vm-mgr-vms")
    before = etree.tostring(cib)
    cib_write.add_vm(cib, VmResource("web1", TargetRole.STARTED, depends_on=(Dependency("vm-mgr-vms"),)))
    beside = cib.find("configuration/constraints/rsc_colocation")
    assert (beside.get("rsc"), beside.get("with-rsc"), beside.get("score")) == (
        "web1",
        "vm-mgr-vms",
        "INFINITY",
    )
    after = cib.find("configuration/constraints/rsc_order")
    assert (after.get("first"), after.get("then"), after.get("kind")) == ("vm-mgr-vms", "web1", "Mandatory")
    cib_write.update_vm(cib, VmResource("web1", TargetRole.STARTED, depends_on=(Dependency("vm-mgr-vms"),)))
    assert len(cib.findall("configuration/constraints/rsc_order")) == 1
    cib_write.remove_vm(cib, "web1")
    assert etree.tostring(cib) == before
    assert clone.get("id") == "vm-mgr-vms"


LEFT = """<constraints>
<rsc_location id="cli-prefer-web1" rsc="web1" role="Started" node="n1" score="INFINITY"/>
<rsc_location id="cli-ban-web1-on-n2" rsc="web1"><rule id="r1" score="-INFINITY" boolean-op="and">
<expression id="e1" attribute="#uname" operation="eq" value="n2"/>
<date_expression id="d1" operation="lt" end="2026-01-01 00:00:00Z"/></rule></rsc_location>
<rsc_location id="cli-ban-web2-on-n2" rsc="web2" node="n2" score="-INFINITY"/>
<rsc_location id="by-hand" rsc="web1" node="n3" score="100"/>
<rsc_order id="o1" first="ip1" then="web1" kind="Mandatory"/></constraints>"""
STATUS = """<status><node_state uname="n1"><lrm><lrm_resources><lrm_resource id="web1">
<lrm_rsc_op id="web1_last_0" operation="stop" rc-code="0" last-rc-change="1700000300"/>
<lrm_rsc_op id="web1_monitor_10000" operation="monitor" rc-code="0" last-rc-change="1700000001"/>
</lrm_resource></lrm_resources></lrm></node_state>
<node_state uname="n2"><lrm><lrm_resources><lrm_resource id="web1">
<lrm_rsc_op id="web1_last_0" operation="migrate_from" rc-code="0" last-rc-change="1700000200"/>
<lrm_rsc_op id="web1_last_failure_0" operation="start" rc-code="1" last-rc-change="1700000100"/>
</lrm_resource></lrm_resources></lrm></node_state></status>"""


@pytest.fixture
def moved(cib):
    """Give a CIB in which moves of several tools have left something at web1."""
    vm = VmResource("web1", TargetRole.STARTED, preferred_host="n2", colocations={"web2": "700"})
    cib_write.add_vm(cib, VmResource("web2", TargetRole.STARTED, colocations={"web1": "-INFINITY"}))
    cib_write.add_vm(cib, vm)
    moves.add_move(cib, Move("web1", "n2", "n3"), 2e9)
    cib.find("configuration/constraints").extend(etree.fromstring(LEFT))
    cib.append(etree.fromstring(STATUS))
    return cib


def test_vm_is_read_back_as_it_was_written(cib):
    vm = VmResource(
        "web1",
        TargetRole.STOPPED,
        live_migration=True,
        priority=7,
        stop_timeout_s=90,
        pinned_host="n2",
        params={"a": "1"},
        utilization={"cpu": "2"},
        colocations={"absent": "700"},
        depends_on=(Dependency("mount1"),),
    )
    cib_write.add_vm(cib, vm)
    read = cib_read.read_configured(cib, "web1").vm
    meta = {"allow-migrate": "true", "priority": "7", "target-role": "Stopped"}
    assert read == vm._replace(meta=meta)
    assert cib_read.read_configured(cib, "web2") == Configured()


def test_what_names_a_vm_is_found_and_told_from_its_settings(moved):
    found = cib_read.read_configured(moved, "web1")
    assert found.vm.preferred_host == "n2"
    assert found.named_by == {"web2": "-INFINITY"}
    assert [(one.id, one.leftover) for one in found.others] == [
        ("vm-mgr-move-web1", True),
        ("cli-prefer-web1", True),
        ("cli-ban-web1-on-n2", True),
        ("by-hand", False),
        ("o1", False),
    ]
    assert found.others[1].text == "location n1 (INFINITY)"
    assert found.others[2].text == "location #uname eq n2, until 2026-01-01 00:00:00Z (-INFINITY)"
    assert found.others[4].text == "order ip1, web1 (Mandatory)"


def test_good_operations_are_read_with_their_times(moved):
    events = cib_read.read_configured(moved, "web1").events
    assert [tuple(event) for event in events] == [
        ("stop", "n1", 1700000300.0),
        ("monitor", "n1", 1700000001.0),
        ("migrate_from", "n2", 1700000200.0),
    ]


def test_only_what_moves_left_at_this_vm_is_removed(moved):
    left = cib_read.leftover_moves(moved, "web1")
    assert len(left) == 3
    cib_write.remove_constraints(left)
    assert ids(moved, "constraints/*") == [
        "vm-mgr-observers",
        "vm-mgr-prefer-web1",
        "vm-mgr-colocation-web2..web1",
        "vm-mgr-colocation-web1..web2",
        "cli-ban-web2-on-n2",
        "by-hand",
        "o1",
    ]


class BusyCluster:
    """Pacemaker's tools where somebody else's change always comes first, a number of times."""

    def __init__(self, changes, status=103):
        self.changes = changes
        self.status = status
        self.patched = 0

    def run(self, argv, *, timeout_s, stdin=None):
        if argv[0] == "crm_diff":
            return Completed(argv, 1, "<diff/>", "")
        if "--query" in argv:
            return Completed(argv, 0, EMPTY, "")
        self.changes -= 1
        self.patched += self.changes < 0
        return Completed(argv, self.status if self.changes >= 0 else 0, "", "")


def test_change_is_made_however_busy_the_cluster_is():
    busy = BusyCluster(50)
    CibEditor(busy, VirtualClock()).add(VmResource("web1", TargetRole.STOPPED))
    assert busy.patched == 1


def test_change_gives_up_in_a_cluster_that_never_rests():
    clock = VirtualClock()
    began = clock.monotonic()
    with pytest.raises(VmMgrError) as caught:
        CibEditor(BusyCluster(1000), clock).add(VmResource("web1", TargetRole.STOPPED))
    assert caught.value.kind is Kind.TRY_LATER
    assert 29 < clock.monotonic() - began < 32


@pytest.mark.parametrize(
    ("tasks", "detail"),
    [
        ((("monitor", 0), ("migrate_to", 0)), "moving"),
        ((("migrate_to", 0), ("stop", 0)), ""),
        ((("start", 0), ("migrate_to", 1)), ""),
    ],
)
def test_vm_between_the_tasks_of_a_live_migration_is_moving(tasks, detail):
    """Pacemaker calls it Started on the target: a move that ended here would make it restart the VM."""
    history = "".join(
        f'<operation_history call="{call}" task="{task}" rc="{code}"/>'
        for call, (task, code) in zip((9, 20), tasks, strict=True)
    )
    state = parse_crm_mon(
        f"""<pacemaker-result><nodes><node name="n1" online="true"/><node name="n2" online="true"/></nodes>
        <resources><resource id="web1" resource_agent="ocf:vm-mgr:VirtualDomain" role="Started" active="true">
        <node name="n2"/></resource></resources>
        <node_history><node name="n1"><resource_history id="web1">{history}</resource_history></node>
        </node_history></pacemaker-result>"""
    )
    seen = derive_status(state.resources["web1"], state)
    assert (seen.state.value, seen.node, seen.detail) == ("Started", "n2", detail)


@pytest.mark.parametrize(
    ("options", "enabled"),
    [
        ('stonith-enabled="true"', True),
        ('fencing-enabled="true"', True),
        ('stonith-enabled="true" fencing-enabled="true"', True),
        ('stonith-enabled="false"', False),
        ('fencing-enabled="false"', False),
        ('stonith-enabled="true" fencing-enabled="false"', False),
        ('stonith-enabled="false" fencing-enabled="true"', False),
        ('stonith-enabled="yes"', False),  # crm_mon prints true or false
        ("", False),
        (None, False),
    ],
)
def test_fencing_is_enabled_only_where_the_cluster_says_so(options, enabled):
    element = "" if options is None else f"<cluster_options {options}/>"
    assert (
        parse_crm_mon(f"<pacemaker-result><summary>{element}</summary></pacemaker-result>").fencing_enabled
        is enabled
    )


def test_word_of_a_person_is_told_from_a_fencing():
    """As Pacemaker 2.1 and 3.0 print the two."""
    text = """<pacemaker-result><fence_history>
    <fence_event action="off" target="n3" client="stonith_admin.3023" origin="n1" status="success"
     delegate="a human" completed="2026-11-28 21:02:00.997697Z"/>
    <fence_event action="reboot" target="n3" client="pacemaker-controld.201" origin="n2" status="success"
     delegate="n1" completed="2026-11-28 21:01:50.305696Z"/></fence_history></pacemaker-result>"""
    by_hand, fenced = parse_crm_mon(text).fencings
    assert (by_hand.by_hand, by_hand.fences) == (True, True)
    assert (fenced.by_hand, fenced.fences) == (False, True)


class Answers:
    """Answers of cibadmin, one after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def run(self, argv, **_):
        self.asked.append(argv)
        return self.answers.pop(0)


def test_node_that_was_fenced_is_forgotten_by_the_status_section():
    runner = Answers(
        Completed(("cibadmin",), 0, "<xpath-query><lrm_rsc_op/></xpath-query>", ""),
        Completed(("cibadmin",), 105, "", "Call cib_query failed: No such device or address"),
        Completed(("cibadmin",), 1, "", "broken"),
    )
    cluster = Pacemaker(runner, VirtualClock())
    assert cluster.remembers("n2")
    assert not cluster.remembers("n2")
    assert "@uname='n2'" in runner.asked[0][-1]
    with pytest.raises(VmMgrError):
        cluster.remembers("n2")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(102, Kind.ENVIRONMENT), (106, Kind.TRY_LATER), (107, Kind.EXTERNAL_FAILURE)],
    ids=["CRM_EX_DISCONNECT", "CRM_EX_QUORUM", "CRM_EX_UNSAFE"],
)
def test_exit_statuses_mean_what_pacemaker_says(monkeypatch, status, kind):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(VmMgrError) as caught:
        check(Completed(("cibadmin",), status, "", "why"))
    assert caught.value.kind is kind


@pytest.mark.parametrize("status", [103, 104, 105], ids=["CRM_EX_OLD", "CRM_EX_DIGEST", "CRM_EX_NOSUCH"])
def test_patch_that_comes_too_late_is_made_anew(status):
    busy = BusyCluster(3, status)
    CibEditor(busy, VirtualClock()).add(VmResource("web1", TargetRole.STOPPED))
    assert busy.patched == 1
