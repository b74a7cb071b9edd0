"""What Pacemaker's own scheduler says of a change before it is made, and by which rules."""

import pytest
from lxml import etree

from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker import cib_write
from vm_mgr.adapters.pacemaker.port import Pacemaker
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.ports.cluster import Move, SideEffect, VmResource
from vm_mgr_lab.scenario import cib as edit
from vm_mgr_lab.scenario.simulate import CibRunner, simulate

NODES = ("n1", "n2", "n3")
APART, BESIDE = "-INFINITY", "INFINITY"


class Scheduled:
    """A CIB in a file, and our adapter on it."""

    def __init__(self, folder):
        self.file = folder / "cib.xml"
        self.file.write_text(edit.fresh_cib(NODES))
        self.clock = VirtualClock()
        self.clock.now = 1_800_000_000.0
        self.port = Pacemaker(CibRunner(self.file), self.clock)

    def change(self, change):
        cib = cib_write.parse_cib(self.file.read_text())
        change(cib)
        self.file.write_text(etree.tostring(cib, encoding="unicode"))

    def vm(self, name, on=None, *, live=True, role=TargetRole.STARTED, **more):
        """Add a VM; on: the node where it runs, whatever its wishes."""
        resource = VmResource(VmName(name), role, live_migration=live, **more)
        self.change(lambda cib: cib_write.add_vm(cib, resource))
        if on:
            self.rule("rsc_location", id="start", rsc=name, node=on, score="INFINITY")
            self.settle()
            self.change(lambda cib: detach(cib, "start"))
        return resource

    def rule(self, tag, **given):
        attributes = {key.replace("_", "-"): value for key, value in given.items()}
        self.change(lambda cib: etree.SubElement(cib.find(".//constraints"), tag, attributes))

    def option(self, name, value):
        def set_it(cib):
            options = cib.find(".//crm_config/cluster_property_set")
            for one in options.xpath("nvpair[@name=$name]", name=name):
                options.remove(one)
            etree.SubElement(options, "nvpair", id=f"test-{name}", name=name, value=value)

        self.change(set_it)

    def attribute(self, node, name, value):
        def set_it(cib):
            (there,) = cib.xpath("configuration/nodes/node[@uname=$node]", node=node)
            attributes = etree.SubElement(there, "instance_attributes", id=f"test-{node}-{name}")
            etree.SubElement(attributes, "nvpair", id=f"test-{node}-{name}-pair", name=name, value=value)

        self.change(set_it)

    def settle(self):
        for _ in range(5):
            done = simulate(self.file, now_utc=self.clock.now)
            self.file.write_text(done.cib)
            if not done.actions:
                return

    def bars(self, name="web1"):
        """Give why a VM is not about to be started; None if it is."""
        return self.port.bars([VmName(name)]).get(VmName(name))


def detach(cib, ident):
    for one in cib.xpath("//*[@id=$ident]", ident=ident):
        one.getparent().remove(one)


def said(causes):
    return "; ".join(one.text for one in causes)


@pytest.fixture
def cluster(tmp_path):
    return Scheduled(tmp_path)


class TestBars:
    def test_vm_that_is_about_to_start_is_not_barred(self, cluster):
        cluster.vm("web1")
        assert cluster.bars() is None

    @pytest.mark.parametrize("outer", ["group", "clone"])
    def test_vm_in_a_group_or_clone_that_is_about_to_start_is_not_barred(self, cluster, outer):
        cluster.vm("web1")

        def wrap(cib):
            (vm,) = cib.xpath("configuration/resources/primitive[@id='web1']")
            etree.SubElement(vm.getparent(), outer, id="g1").append(vm)

        cluster.change(wrap)
        assert cluster.bars() is None
        cluster.rule("rsc_ticket", id="t1", rsc="g1", ticket="siteA", loss_policy="stop")
        (cause,) = cluster.bars()
        assert "siteA" in cause.text

    def test_opt_in_cluster_is_named(self, cluster):
        cluster.vm("web1")
        cluster.option("symmetric-cluster", "false")
        (cause,) = cluster.bars()
        assert "symmetric-cluster=false" in cause.text
        assert "vm-mgr set web1" in cause.hint

    def test_requirements_open_no_node_that_an_opt_in_cluster_leaves_out(self, cluster):
        asks = ("bridge-br0", "kvm")
        cluster.vm("web1", requirements=asks)
        cluster.option("symmetric-cluster", "false")
        cluster.port.change_requirements(VmName("web1"), asks, follow_uplink=True)
        assert "opt-in" in said(cluster.bars())
        cluster.vm("web2", requirements=asks)
        assert "opt-in" in said(cluster.bars("web2"))

    @pytest.mark.parametrize(
        ("opened", "harms"),
        [
            ((), {"web1": SideEffect.STOPPED}),
            (("n2",), {}),
            (("n3",), {"web1": SideEffect.MOVED}),
        ],
    )
    def test_rules_of_a_running_vm_are_found_in_an_opt_in_cluster_with_what_their_removal_does(
        self, cluster, opened, harms
    ):
        cluster.vm("web1", "n2", requirements=("bridge-br0", "kvm"))
        assert cluster.port.state().ruled == frozenset()
        cluster.option("symmetric-cluster", "false")
        for node in opened:
            cluster.rule("rsc_location", id=f"open-{node}", rsc="web1", node=node, score="5")
        state = cluster.port.state()
        assert (state.opt_in, state.ruled) == (True, {"web1"})
        vm = cluster.port.configured(VmName("web1")).vm
        assert cluster.port.simulate_change(vm, vm).effects == harms
        cluster.port.change_requirements(VmName("web1"), ("bridge-br0", "kvm"), follow_uplink=True)
        assert cluster.port.state().ruled == frozenset()

    def test_ticket_is_named(self, cluster):
        cluster.vm("web1")
        cluster.rule("rsc_ticket", id="t1", rsc="web1", ticket="siteA", loss_policy="stop")
        (cause,) = cluster.bars()
        assert "siteA" in cause.text
        assert "crm_ticket --ticket siteA" in cause.hint

    def test_partner_that_is_stopped_is_named(self, cluster):
        cluster.vm("db1", role=TargetRole.STOPPED)
        cluster.vm("web1", colocations={"db1": BESIDE})
        (cause,) = cluster.bars()
        assert cause.text == "web1 is kept together with db1, which does not run"
        assert cause.hint.endswith("vm-mgr remove-colocation web1 db1")

    def test_order_on_something_stopped_is_named(self, cluster):
        cluster.vm("db1", role=TargetRole.STOPPED)
        cluster.vm("web1")
        cluster.rule("rsc_order", id="o1", first="db1", then="web1", kind="Mandatory")
        assert said(cluster.bars()) == "it starts only after db1, which does not run"

    def test_rule_by_a_tag_or_a_set_is_found_too(self, cluster):
        cluster.vm("db1", role=TargetRole.STOPPED)
        cluster.vm("web1")

        def tag(cib):
            tags = etree.SubElement(cib.find("configuration"), "tags")
            etree.SubElement(etree.SubElement(tags, "tag", id="office"), "obj_ref", id="web1")

        cluster.change(tag)
        cluster.rule("rsc_order", id="o1", first="db1", then="office", kind="Mandatory")
        assert "db1" in said(cluster.bars())

    def test_utilization_is_named(self, cluster):
        cluster.vm("web1", utilization={"memory": "4096"})
        cluster.option("placement-strategy", "utilization")
        for node in NODES:
            cluster.change(lambda cib, node=node: utilization(cib, node, "1024"))
        assert "utilization" in said(cluster.bars())

    def test_all_nodes_in_standby_are_named(self, cluster):
        cluster.vm("web1")
        for node in NODES:
            cluster.attribute(node, "standby", "on")
        assert said(cluster.bars()) == "n1 is in standby; n2 is in standby; n3 is in standby"

    def test_bans_and_the_standby_that_close_the_last_nodes_are_all_named(self, cluster):
        cluster.vm("web1")
        cluster.rule("rsc_location", id="l1", rsc="web1", node="n1", score=APART)
        cluster.rule("rsc_location", id="cli-ban-web1-on-n2", rsc="web1", node="n2", score=APART)
        cluster.attribute("n3", "standby", "on")
        found = cluster.bars()
        assert len(found) == 3
        assert "vm-mgr unmigrate web1" in next(one.hint for one in found if "cli-ban" in one.text)

    def test_rules_of_which_no_single_one_is_the_cause_are_named_together(self, cluster):
        cluster.vm("web1")
        cluster.rule("rsc_ticket", id="t1", rsc="web1", ticket="siteA", loss_policy="stop")
        cluster.rule("rsc_ticket", id="t2", rsc="web1", ticket="siteB", loss_policy="stop")
        assert "siteA" in said(cluster.bars())
        assert "siteB" in said(cluster.bars())

    def test_storage_that_is_mounted_nowhere_is_named_once(self, cluster):
        from vm_mgr.model.resource import Dependency  # noqa: PLC0415

        cluster.vm("mount", role=TargetRole.STOPPED)
        cluster.vm("web1", depends_on=(Dependency("mount"),))
        assert said(cluster.bars()) == "it needs mount, which does not run where it could"


def utilization(cib, node, memory):
    (there,) = cib.xpath("configuration/nodes/node[@uname=$node]", node=node)
    has = etree.SubElement(there, "utilization", id=f"has-{node}")
    etree.SubElement(has, "nvpair", id=f"has-{node}-memory", name="memory", value=memory)


class TestMove:
    @staticmethod
    def to_n2(cluster):
        return cluster.port.simulate_move(Move(VmName("web1"), NodeName("n1"), NodeName("n2")))

    def test_move_that_nothing_hinders_goes_there(self, cluster):
        cluster.vm("web1", on="n1")
        found = self.to_n2(cluster)
        assert (found.goes_to, found.target, dict(found.effects), dict(found.causes)) == ("n2", "n2", {}, {})

    def test_infinite_stickiness_is_named(self, cluster):
        cluster.vm("web1", on="n1", meta={"resource-stickiness": "INFINITY"})
        found = self.to_n2(cluster)
        assert found.goes_to is None
        assert "resource-stickiness" in said(found.causes["web1"])

    def test_partner_that_it_is_kept_apart_from_is_named(self, cluster):
        cluster.vm("web2", on="n2", pinned_host="n2")
        cluster.vm("web1", on="n1", colocations={"web2": APART})
        found = self.to_n2(cluster)
        assert said(found.causes["web1"]) == "web1 is kept apart from web2"

    @pytest.mark.parametrize("ident", ["x", "cli-ban-web1-on-n2"])
    def test_ban_is_named(self, cluster, ident):
        cluster.vm("web1", on="n1")
        cluster.rule("rsc_location", id=ident, rsc="web1", node="n2", score=APART)
        assert ident in said(self.to_n2(cluster).causes["web1"])

    def test_room_is_named(self, cluster):
        cluster.vm("web1", on="n1", utilization={"memory": "4096"})
        for node, memory in {"n1": "8192", "n2": "1024", "n3": "8192"}.items():
            cluster.change(lambda cib, node=node, memory=memory: utilization(cib, node, memory))
        cluster.option("placement-strategy", "utilization")
        assert "utilization" in said(self.to_n2(cluster).causes["web1"])

    def test_node_that_an_opt_in_cluster_does_not_open_is_refused(self, cluster):
        cluster.vm("web1", on="n1")
        cluster.rule("rsc_location", id="l1", rsc="web1", node="n1", score="100")
        cluster.option("symmetric-cluster", "false")
        found = self.to_n2(cluster)
        assert found.goes_to is None
        assert "opt-in" in said(found.causes["web1"])

    def test_others_that_follow_or_give_way_are_named(self, cluster):
        cluster.vm("web1", on="n1")
        cluster.vm("db1", on="n1", live=False, colocations={"web1": BESIDE})
        cluster.vm("db2", on="n2", colocations={"web1": APART})
        assert self.to_n2(cluster).effects == {"db1": SideEffect.RESTARTED, "db2": SideEffect.MOVED}


class TestChange:
    def test_partner_elsewhere_is_moved_or_restarted(self, cluster):
        web1 = cluster.vm("web1", on="n1", live=False)
        cluster.vm("db1", on="n2")
        found = cluster.port.simulate_change(web1._replace(colocations={"db1": BESIDE}))
        assert found.effects == {"web1": SideEffect.RESTARTED}
        assert not found.causes

    def test_what_others_have_set_stays_in_the_simulation_as_in_the_change(self, cluster):
        web1 = cluster.vm("web1", on="n1")
        cluster.vm("db1", on="n2")

        def forbid(cib):
            (pair,) = cib.xpath("//primitive[@id='web1']//nvpair[@name='allow-migrate']")
            pair.set("value", "false")

        cluster.change(forbid)
        found = cluster.port.simulate_change(web1._replace(colocations={"db1": BESIDE}), web1)
        assert found.effects == {"web1": SideEffect.RESTARTED}

    def test_change_that_moves_nobody_has_no_effect(self, cluster):
        web1 = cluster.vm("web1", on="n1")
        cluster.vm("db1", on="n2")
        assert not cluster.port.simulate_change(web1._replace(colocations={"db1": APART})).effects

    def test_fourth_vm_on_three_nodes_is_refused_by_the_rules(self, cluster):
        for number, node in enumerate(NODES, 1):
            others = {f"web{other}": APART for other in range(1, number)}
            cluster.vm(f"web{number}", on=node, colocations=others)
        web4 = cluster.vm("web4")
        cluster.settle()
        found = cluster.port.simulate_change(
            web4._replace(colocations={f"web{number}": APART for number in (1, 2, 3)})
        )
        (stopped,) = [name for name, one in found.effects.items() if one is SideEffect.STOPPED]
        assert "kept apart" in said(found.causes[stopped])

    @pytest.mark.parametrize("role", list(TargetRole))
    def test_contradiction_is_found_whether_they_run_or_not(self, cluster, role):
        cluster.vm("web2", role=role)
        web1 = cluster.vm("web1", colocations={"web2": BESIDE}, role=role)
        cluster.settle()
        web2 = VmResource(VmName("web2"), role, live_migration=True, colocations={"web1": APART})
        found = cluster.port.simulate_change(web2)
        (causes,) = found.causes.values()
        assert {one.text for one in causes} == {
            "web1 is kept together with web2",
            "web2 is kept apart from web1",
        }
        assert web1.name in found.causes or "web2" in found.causes

    def test_contradiction_by_way_of_others_is_found(self, cluster):
        cluster.vm("web3")
        cluster.vm("web2", colocations={"web3": BESIDE})
        web1 = cluster.vm("web1", colocations={"web2": BESIDE})
        found = cluster.port.simulate_change(web1._replace(colocations={"web2": BESIDE, "web3": APART}))
        assert len(found.causes["web1"]) == 3

    def test_contradiction_that_is_there_already_is_no_reason_against_another_change(self, cluster):
        cluster.vm("web2", colocations={"web1": APART})
        web1 = cluster.vm("web1", colocations={"web2": BESIDE})
        assert not cluster.port.simulate_change(web1._replace(priority=7)).causes

    def test_pin_to_a_node_where_the_partner_can_not_be_is_a_contradiction(self, cluster):
        cluster.vm("db1", pinned_host="n1", role=TargetRole.STOPPED)
        web1 = cluster.vm("web1", colocations={"db1": BESIDE}, role=TargetRole.STOPPED)
        found = cluster.port.simulate_change(web1._replace(pinned_host="n2"))
        assert "web1 is pinned to n2" in said(found.causes["web1"])

    def test_maintenance_mode_does_not_hide_what_comes_after_it(self, cluster):
        web1 = cluster.vm("web1", on="n1", live=False)
        cluster.vm("db1", on="n2")
        cluster.option("maintenance-mode", "true")
        found = cluster.port.simulate_change(web1._replace(colocations={"db1": BESIDE}))
        assert found.effects == {"web1": SideEffect.RESTARTED}
