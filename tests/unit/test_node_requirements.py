"""A VM avoids nodes that lack what it asks for: its rules in the CIB, what is shown, what a change does."""

import json
import re

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.ceph.layout import read_settings, write_settings
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.pacemaker import cib_write, requirements
from vm_mgr.adapters.pacemaker.cib_read import read_configured
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.cli.app import app
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, Node, Resource
from vm_mgr.model.resource import Dependency
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.edit import edit
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.restart import restart
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop
from vm_mgr.operations.support.placement import placement_problems
from vm_mgr.ports.cluster import VmResource
from vm_mgr.reports import Note

from .conftest import DOMAIN

EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/><constraints/>
</configuration></cib>"""
ASKS = ("bridge-br0", "bridge-lan.5", "kvm", "machine-x86_64-pc-q35-9.2")
CARD = "<interface type='bridge'><source bridge='{}'/></interface>"
SPREAD = DOMAIN.replace("<devices/>", f"<devices>{CARD.format('br0')}</devices>")
ELSEWHERE = SPREAD.replace("br0", "br1")
NO_UPLINK, NO_BRIDGE = {"bridge-br0": "1"}, {"bridge-br0": "0"}


@pytest.fixture
def cib():
    tree = cib_write.parse_cib(EMPTY)
    cib_write.add_vm(tree, VmResource("web1", TargetRole.STARTED, requirements=ASKS))
    return tree


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", SPREAD, (image,), VmSettings(live_migration=True)))
    env.said.clear()
    return "web1"


def rules(cib, name="web1"):
    """Give attribute, the value that speaks against a node, and score of each rule."""
    found = cib.xpath("//constraints/rsc_location[@rsc=$name]", name=name)
    assert all(len(one) == 1 for one in found), "newer Pacemakers want one rule for each"
    for (rule,) in found:
        untold, told = rule
        assert rule.get("boolean-op") == "or"
        assert (untold.get("operation"), told.get("operation")) == ("not_defined", "ne")
        assert untold.get("attribute") == told.get("attribute")
    return [(one[0][1].get("attribute"), one[0][1].get("value"), one[0].get("score")) for one in found]


def asked_of(env, name="web1"):
    configured = env.cluster.configured(name).vm
    return configured.requirements, configured.follow_uplink


def answer(env, **nodes):
    for node, answers in nodes.items():
        env.cluster.nodes[node] = env.cluster.nodes[node]._replace(attributes=answers)


class TestCib:
    def test_every_answer_against_a_node_is_a_rule(self, cib):
        assert rules(cib) == [
            ("vm-mgr-bridge-br0", "0", "100000"),
            ("vm-mgr-bridge-br0", "1", "10000"),
            ("vm-mgr-bridge-lan.5", "0", "100000"),
            ("vm-mgr-bridge-lan.5", "1", "10000"),
            ("vm-mgr-kvm", "0", "100000"),
            ("vm-mgr-machine-x86_64-pc-q35-9.2", "0", "100000"),
        ]

    @pytest.mark.parametrize("number", [1, 8, 9, 200])
    def test_no_number_of_bridges_is_below_zero_or_infinite(self, cib, number):
        many = tuple(f"bridge-br{one}" for one in range(number))
        cib_write.update_vm(cib, VmResource("web1", TargetRole.STARTED, requirements=many))
        found = [int(score) for _, _, score in rules(cib)]
        assert min(found) > 150, "the stickiness of a deployed cluster and a preferred host"
        assert sum(found) < 1_000_000

    def test_ids_are_ours_unique_and_valid(self, cib):
        cib_write.add_vm(cib, VmResource("web1-a", TargetRole.STARTED, requirements=ASKS))
        made = cib.xpath("//constraints//@id")
        assert all(one.startswith("vm-mgr-") for one in made)
        assert len(set(made)) == len(made) == 2 * 4 * 6
        assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_.-]*", one) for one in made)

    @pytest.mark.parametrize("follow", [True, False])
    @pytest.mark.parametrize("asked", [ASKS, ("kvm",), ()])
    def test_what_is_written_is_read(self, cib, asked, follow):
        follow = follow or not any(one.startswith("bridge") for one in asked)
        cib_write.update_vm(
            cib, VmResource("web1", TargetRole.STARTED, requirements=asked, follow_uplink=follow)
        )
        read = read_configured(cib, "web1")
        assert (read.vm.requirements, read.vm.follow_uplink) == (asked, follow)
        assert read.others == ()

    def test_rules_go_with_the_vm_and_only_its_own(self, cib):
        cib_write.add_vm(cib, VmResource("web2", TargetRole.STARTED, requirements=("bridge-br0",)))
        cib_write.remove_vm(cib, "web1")
        assert rules(cib) == []
        assert len(rules(cib, "web2")) == 2

    def test_rules_follow_a_rename(self, cib):
        before = rules(cib)
        cib_write.rename_vm(cib, "web1", "db1")
        assert rules(cib, "db1") == before
        assert not [one for one in cib.xpath("//@id | //@rsc") if "web1" in one]

    def test_change_replaces_the_rules_and_nothing_else(self, cib):
        before = etree.tostring(cib)
        requirements.change_rules(cib, "web1", ASKS, follow_uplink=True)
        assert etree.tostring(cib) == before, "a change of nothing must not be written"
        resource = etree.tostring(cib.find(".//primitive"))
        requirements.change_rules(cib, "web1", ("bridge-br0",), follow_uplink=False)
        assert rules(cib) == [("vm-mgr-bridge-br0", "0", "100000")]
        assert etree.tostring(cib.find(".//primitive")) == resource
        cib.find(".//primitive").set("provider", "seapath")
        requirements.change_rules(cib, "web1", ASKS, follow_uplink=True)
        assert len(rules(cib)) == 1, "nothing of another tool's VM is changed before it is ours"
        requirements.change_rules(cib, "absent", ASKS, follow_uplink=True)
        assert rules(cib, "absent") == []

    def test_vm_of_an_earlier_version_has_none_and_gets_them(self, cib):
        cib_write.update_vm(cib, VmResource("web1", TargetRole.STARTED))
        assert rules(cib) == []
        assert read_configured(cib, "web1").vm.follow_uplink
        requirements.change_rules(cib, "web1", ASKS, follow_uplink=True)
        assert len(rules(cib)) == 6


def test_answers_of_nodes_are_read():
    state = parse_crm_mon("""<pacemaker-result><nodes><node name="n1" online="true" type="member"/>
    <node name="n2" online="true" type="member"/></nodes><node_attributes><node name="n1">
    <attribute name="vm-mgr-role" value="hypervisor"/><attribute name="vm-mgr-bridge-br0" value="1"/>
    <attribute name="bridge-br0" value="0"/></node></node_attributes></pacemaker-result>""")
    assert [node.attributes for node in state.nodes] == [NO_UPLINK, {}]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (DOMAIN, ()),
        ("<domain", ()),
        (SPREAD, ("bridge-br0",)),
        (SPREAD.replace("type='qemu'", "type='kvm'"), ("bridge-br0", "kvm")),
        (DOMAIN.replace("<devices/>", f"<devices>{CARD.format('b')}{CARD.format('a') * 2}</devices>"),
         ("bridge-a", "bridge-b")),
        (SPREAD.replace("<source", "<virtualport type='openvswitch'/><source"), ("link-br0",)),
        (SPREAD.replace("br0", "br 0"), ()),
        (SPREAD.replace("type='bridge'", "type='network'"), ()),  # it names none
        (DOMAIN.replace("<type>", "<type arch='x86_64' machine='pc-q35-9.2'>"),
         ("machine-x86_64-pc-q35-9.2",)),
        (DOMAIN.replace("<type>", "<type arch='x86_64' machine='q35'>"), ()),
        (DOMAIN.replace("<type>", "<type machine='pc-q35-9.2'>"), ()),
        (DOMAIN.replace("<type>", "<type arch='x86_64' machine='pc-q35-9.2'>").replace(
            "<devices/>", "<devices><emulator>/opt/qemu</emulator></devices>"), ("has-file-__opt__qemu",)),
    ],
)  # fmt: skip
def test_definition_asks_for_what_a_node_can_tell(text, asked):
    assert DomainXml().requirements(text) == asked


@pytest.mark.parametrize("uplink", [None, "ignore"])
def test_setting_is_kept(uplink):
    settings = VmSettings(uplink=uplink)
    assert read_settings(write_settings(settings)) == settings


def test_created_vm_asks_and_follows_its_uplink_unless_told_otherwise(env, vm):
    assert asked_of(env) == (("bridge-br0",), True)
    set_vm(env, vm, Changes({"uplink": "ignore"}))
    assert asked_of(env) == (("bridge-br0",), False)
    set_vm(env, vm, Changes({"uplink": None}))
    assert asked_of(env) == (("bridge-br0",), True)


def test_unknown_word_is_refused(env, vm):
    with pytest.raises(VmMgrError, match="uplink") as caught:
        set_vm(env, vm, Changes({"uplink": "never"}))
    assert caught.value.kind is Kind.INVALID


class TestEdit:
    def test_stopped_vm_asks_for_its_new_bridge_at_once(self, env, vm):
        stop(env, vm)
        before = env.storage.definitions.read(vm)
        edit(env, vm, before.replace("br0", "br1"), before)
        assert asked_of(env)[0] == ("bridge-br1",)

    @pytest.mark.parametrize("again", [restart, lambda env, vm: (stop(env, vm), start(env, vm))])
    def test_running_vm_asks_for_it_from_its_next_start_on(self, env, vm, again):
        before = env.storage.definitions.read(vm)
        edit(env, vm, before.replace("br0", "br1"), before)
        assert asked_of(env)[0] == ("bridge-br0",), "it could be moved for a bridge that it doesn't use"
        again(env, vm)
        assert asked_of(env)[0] == ("bridge-br1",)

    def test_storage_that_does_not_answer_keeps_nothing_from_starting(self, env, vm):
        def unreachable(_name):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached")

        stop(env, vm)
        env.storage.definitions.read = unreachable
        assert start(env, vm).state.value == "Started"
        assert "asks-kept" in [one.code for one in env.said if isinstance(one, Note)]


class TestMigration:
    def test_worse_node_is_refused_before_anything_moves(self, env, vm):
        answer(env, n2=NO_UPLINK)
        with pytest.raises(VmMgrError, match="no uplink") as caught:
            migrate(env, vm, "n2")
        assert EXIT_CODES[caught.value.kind] == EXIT_CODES[Kind.WRONG_STATE]
        assert "--uplink ignore" in caught.value.hint
        assert not env.cluster.moves

    def test_vm_that_would_be_stopped_and_started_is_not_stopped_for_a_node_where_it_can_not_start(
        self, env, vm
    ):
        set_vm(env, vm, Changes({"live_migration": False}))
        answer(env, n2=NO_BRIDGE)
        pid = env.hypervisor.find_vm(vm)
        with pytest.raises(VmMgrError, match="is missing"):
            migrate(env, vm, "n2")
        assert env.hypervisor.find_vm(vm) == pid

    @pytest.mark.parametrize("here", [NO_UPLINK, NO_BRIDGE])
    def test_node_that_is_no_worse_is_fine(self, env, vm, here):
        answer(env, n1=here, n2=NO_UPLINK)
        assert migrate(env, vm, "n2").node == "n2"

    def test_vm_that_ignores_its_uplink_goes_anywhere(self, env, vm):
        set_vm(env, vm, Changes({"uplink": "ignore"}))
        answer(env, n2=NO_UPLINK)
        assert migrate(env, vm, "n2").node == "n2"


class TestObstacles:
    def reasons(self, vm, resource=None, **nodes):
        state = ClusterState(tuple(Node(name, **given) for name, given in nodes.items()), {})
        return [(one.node, one.never) for one in placement_problems(state, vm, resource)]

    def test_what_a_node_lacks_is_told_of_each(self):
        vm = VmResource("web1", TargetRole.STARTED, requirements=("bridge-br0", "kvm"))
        nodes = {
            "n1": {"attributes": {"bridge-br0": "2", "kvm": "2"}},
            "n2": {"attributes": NO_UPLINK},
            "n3": {"attributes": {"bridge-br0": "0", "kvm": "0"}},
            "n4": {"online": False},
            "n5": {"observer": True, "attributes": NO_BRIDGE},
            "n6": {},
        }
        expected = [("n2", False), ("n3", False), ("n3", False), ("n4", True)]
        assert self.reasons(vm, **nodes) == expected
        deaf = vm._replace(follow_uplink=False)
        assert self.reasons(deaf, **nodes) == expected[1:]

    @pytest.mark.parametrize("state", ["unclean", "standby", "maintenance", "pending", "shutting_down"])
    def test_node_that_can_take_no_vm_is_told_with_its_reason(self, state):
        vm = VmResource("web1", TargetRole.STARTED)
        seen = ClusterState((Node("n1", **{state: True}),), {})
        (one,) = placement_problems(seen, vm, None)
        assert one.never
        assert {"unclean": "lost", "pending": "ready", "shutting_down": "shut down"}.get(
            state, state
        ) in one.reason

    def test_pin_failures_and_what_it_needs(self):
        nodes = {"n1": {}, "n2": {}}
        pinned = VmResource("web1", TargetRole.STARTED, pinned_host="n1")
        assert self.reasons(pinned, **nodes) == [("n2", True)]
        failed = Resource("web1", banned_by_failures=("n1",))
        assert self.reasons(VmResource("web1", TargetRole.STARTED), failed, **nodes) == [("n1", True)]
        needy = VmResource("web1", TargetRole.STARTED, depends_on=(Dependency("mount"),))
        state = ClusterState(tuple(map(Node, nodes)), {}, sets={"mount": frozenset({"n2"})})
        assert [one.node for one in placement_problems(state, needy, None)] == ["n1"]

    def test_node_that_it_runs_on_is_only_compared(self):
        running = Resource("web1", active=True, nodes=("n1",), banned_by_failures=("n1",))
        vm = VmResource("web1", TargetRole.STARTED, requirements=("bridge-br0",), pinned_host="n1")
        nodes = {"n1": {"maintenance": True, "attributes": NO_UPLINK}}
        assert self.reasons(vm, running, **nodes) == [("n1", False)]

    def test_show_says_where_and_why(self, env, vm):
        answer(env, n2=NO_UPLINK, n3=NO_BRIDGE)

        def shown(*words):
            done = CliRunner(mix_stderr=False).invoke(app, ["show", vm, *words], obj=env)
            assert done.exit_code == 0
            return done.stdout

        found = json.loads(shown("--output", "json"))
        assert found["obstacles"] == [
            {"node": "n2", "reason": "the bridge br0 has no uplink", "never": False},
            {"node": "n3", "reason": "the bridge br0 is missing", "never": False},
        ]
        assert found["placement"]["asks"] == ["bridge-br0"]
        assert found["placement"]["follow_uplink"] is True
        assert "avoids" in shown()
        assert "n3: the bridge br0 is missing" in shown()
