"""A VM stays where it was recovered, or returns to its preferred host."""

import json

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.ceph import layout
from vm_mgr.adapters.pacemaker import cib_write
from vm_mgr.adapters.pacemaker.cib_read import read_configured
from vm_mgr.adapters.shared_dir import record
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.status import status
from vm_mgr.ports.cluster import VmResource
from vm_mgr.reports import Note

from .conftest import DOMAIN

EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/><constraints/>
</configuration></cib>"""
RETURNS = VmSettings(live_migration=True, preferred_host="n1", failback="return")


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,), RETURNS))
    return "web1"


def lose(env, node="n1"):
    """Let a node be lost and fenced, and its VM be recovered."""
    env.cluster.nodes[node] = env.cluster.nodes[node]._replace(online=False)
    for name, place in list(env.cluster.places.items()):
        if place == node:
            del env.cluster.places[name]


def bring_back(env, node="n1"):
    env.cluster.nodes[node] = env.cluster.nodes[node]._replace(online=True)


def kind_of(env, changes):
    with pytest.raises(VmMgrError) as caught:
        set_vm(env, "web1", Changes(changes))
    assert caught.value.hint
    return caught.value.kind


class TestLife:
    @pytest.mark.parametrize(("failback", "node"), [("return", "n1"), ("stay", "n2"), (None, "n2")])
    def test_recovered_vm_is_where_it_was_asked_to_be_once_its_host_is_back(self, env, vm, failback, node):
        set_vm(env, vm, Changes({"failback": failback}))
        lose(env)
        assert status(env, vm).node == "n2"
        bring_back(env)
        assert status(env, vm).node == node

    def test_change_restarts_nothing(self, env, vm):
        pid = env.hypervisor.find_vm(vm)
        for word in ("stay", "return", None):
            set_vm(env, vm, Changes({"failback": word}))
            assert status(env, vm).node == "n1"
        assert env.hypervisor.find_vm(vm) == pid

    def test_vm_that_is_away_returns_at_once_and_that_is_told(self, env, vm):
        set_vm(env, vm, Changes({"failback": "stay"}))
        migrate(env, vm, "n3")
        env.said.clear()
        set_vm(env, vm, Changes({"failback": "return"}))
        assert "returns" in [one.code for one in env.said if isinstance(one, Note)]
        assert status(env, vm).node == "n1"

    def test_vm_that_would_be_stopped_for_it_is_refused(self, env, vm):
        set_vm(env, vm, Changes({"failback": "stay", "live_migration": False}))
        migrate(env, vm, "n3")
        assert kind_of(env, {"failback": "return"}) is Kind.WRONG_STATE
        assert status(env, vm).node == "n3"
        migrate(env, vm, "n1")
        set_vm(env, vm, Changes({"failback": "return"}))

    def test_move_away_from_home_is_refused_since_it_would_return(self, env, vm):
        with pytest.raises(VmMgrError) as caught:
            migrate(env, vm, "n2")
        assert caught.value.kind is Kind.WRONG_STATE
        assert "--failback stay" in caught.value.hint
        assert not env.cluster.moves

    def test_vm_that_was_recovered_elsewhere_can_be_moved_there(self, env, vm):
        lose(env)
        assert migrate(env, vm, "n3").node == "n3"


class TestChecks:
    def test_vm_that_returns_needs_a_host_to_return_to(self, env, image, vm):
        set_vm(env, vm, Changes({"preferred_host": None}))
        assert env.storage.definitions.settings(vm).failback is None
        assert kind_of(env, {"failback": "return"}) is Kind.INVALID
        with pytest.raises(VmMgrError):
            create(env, CreateRequest("web2", DOMAIN, (image,), VmSettings(failback="return")))

    def test_pin_ends_it(self, env, vm):
        set_vm(env, vm, Changes({"pinned_host": "n1"}))
        assert env.storage.definitions.settings(vm).failback is None
        assert not env.cluster.resources[vm].returns

    def test_vm_that_never_leaves_its_node_can_not_return(self, env, vm):
        for text in ("INFINITY", "1000000", "much"):
            assert kind_of(env, {"pacemaker_meta": {"resource-stickiness": text}}) is Kind.INVALID

    def test_unknown_word_is_refused(self, env, vm):
        assert kind_of(env, {"failback": "sometimes"}) is Kind.INVALID

    def test_clone_returns_too(self, env, vm):
        clone(env, CloneRequest(vm, "web2", RETURNS))
        assert env.cluster.resources["web2"].returns


class TestStored:
    def test_storages_keep_it(self):
        assert layout.read_settings(layout.write_settings(RETURNS)) == RETURNS
        assert record.parse(record.render(record.Record(RETURNS))).settings == RETURNS

    def test_show_and_set_have_it(self, env, vm):
        def run(*words):
            done = CliRunner(mix_stderr=False).invoke(app, words, obj=env)
            assert done.exit_code == 0, done.stderr
            return done.stdout

        assert "prefers n1, and returns to it" in run("show", vm)
        assert json.loads(run("show", vm, "-o", "json"))["placement"]["failback"] == "return"
        run("set", vm, "--unset", "failback")
        assert json.loads(run("show", vm, "-o", "json"))["placement"]["failback"] == "stay"
        run("set", vm, "--failback", "return")
        assert env.storage.definitions.settings(vm).failback == "return"


class TestCib:
    def added(self, **changes):
        cib = cib_write.parse_cib(EMPTY)
        vm = VmResource("web1", TargetRole.STARTED, preferred_host="n1", returns=True)._replace(**changes)
        cib_write.add_vm(cib, vm)
        return cib

    def scores(self, cib):
        location = [one.get("score") for one in cib.iter("rsc_location")]
        own = cib.xpath("//primitive/meta_attributes/nvpair[@name='resource-stickiness']/@value")
        return *location, *own

    def test_returning_vm_prefers_its_host_a_little_more_than_its_place(self):
        assert self.scores(self.added()) == ("150", "100")
        assert self.scores(self.added(meta={"resource-stickiness": "300"})) == ("350", "300")
        assert self.scores(self.added(meta={"resource-stickiness": "0"})) == ("150", "0")

    def test_others_are_as_before(self):
        assert self.scores(self.added(returns=False)) == ("50",)
        assert self.scores(self.added(pinned_host="n1", preferred_host=None)) == ("INFINITY",)
        assert self.scores(self.added(preferred_host=None)) == ()

    @pytest.mark.parametrize("meta", [{}, {"resource-stickiness": "300"}, {"resource-stickiness": "0"}])
    @pytest.mark.parametrize("returns", [True, False])
    def test_reading_gives_what_was_written(self, returns, meta):
        found = read_configured(self.added(returns=returns, meta=meta), "web1").vm
        assert (found.returns, found.preferred_host) == (returns, "n1")

    def test_stickiness_that_was_raised_by_hand_is_seen(self):
        cib = self.added()
        for pair in cib.xpath("//nvpair[@name='resource-stickiness']"):
            pair.set("value", "INFINITY")
        assert not read_configured(cib, "web1").vm.returns

    def test_back_and_forth_leaves_nothing(self):
        cib = self.added(returns=False)
        before = etree.tostring(cib)
        cib_write.update_vm(cib, VmResource("web1", TargetRole.STARTED, preferred_host="n1", returns=True))
        cib_write.update_vm(cib, VmResource("web1", TargetRole.STARTED, preferred_host="n1"))
        assert etree.tostring(cib) == before
