"""Attributes of a VM's resource: a user's own, and those that vm-mgr and its agent answer for."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.pacemaker.cib_write import add_vm, parse_cib
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.attributes import PARAMETERS, RESERVED
from vm_mgr.model.vm import TargetRole, VmSettings, VmState
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import disable
from vm_mgr.operations.enable import enable
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop
from vm_mgr.ports.cluster import VmResource
from vm_mgr.reports import Note

from .conftest import DOMAIN
from .test_pacemaker import EMPTY

AGENT = Path(__file__).parents[2] / "ocf" / "VirtualDomain.xml"
BAD = [
    {"pacemaker_params": {"domain": "web2"}},
    {"pacemaker_params": {"domain": "web1"}},
    {"pacemaker_params": {"storage": "vms"}},
    {"pacemaker_params": {"nonsense": "1"}},
    {"pacemaker_params": {"CRM_meta_timeout": "1"}},
    {"pacemaker_meta": {"target-role": "Stopped"}},
    {"pacemaker_meta": {"allow-migrate": "true"}},
    {"pacemaker_meta": {"priority": "9"}},
]


def test_agents_parameters_are_those_of_its_meta_data():
    named = set(re.findall(r'<parameter name="([a-z_]+)"', AGENT.read_text()))
    assert named == PARAMETERS | set(RESERVED)


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    env.said.clear()
    return "web1"


@pytest.mark.parametrize("bad", BAD)
def test_reserved_and_unknown_ones_are_refused_everywhere(env, vm, image, bad):
    before = (env.storage.definitions.settings(vm), dict(env.cluster.resources))
    attempts = [
        lambda: create(env, CreateRequest("web3", DOMAIN, (image,), VmSettings(**bad))),
        lambda: clone(env, CloneRequest(vm, "web3", VmSettings(**bad))),
        lambda: clone(env, CloneRequest(vm, "web3", lambda source: source._replace(**bad))),
        lambda: set_vm(env, vm, Changes(bad)),
    ]
    for attempt in attempts:
        with pytest.raises(VmMgrError) as caught:
            attempt()
        assert (caught.value.kind, bool(caught.value.hint)) == (Kind.INVALID, True)
    assert (env.storage.definitions.settings(vm), dict(env.cluster.resources)) == before
    assert set(env.storage.vms) == {vm}


def test_hints_name_the_right_command(env, vm):
    def hint(**bad):
        with pytest.raises(VmMgrError) as caught:
            set_vm(env, vm, Changes(bad))
        return caught.value.hint

    assert "vm-mgr stop web1" in hint(pacemaker_meta={"target-role": "Stopped"})
    assert "--enable-live-migration" in hint(pacemaker_meta={"allow-migrate": "true"})
    assert "--priority" in hint(pacemaker_meta={"priority": "1"})
    assert "force_stop" in hint(pacemaker_params={"nonsense": "1"})
    assert "rename" in hint(pacemaker_params={"domain": "x"})


@pytest.mark.parametrize("bad", BAD)
def test_what_was_stored_earlier_is_ignored_and_told(env, vm, bad):
    disable(env, vm)
    ((field, pairs),) = bad.items()
    fine = {"force_stop": "1"} if field == "pacemaker_params" else {"a": "b"}
    env.storage.definitions.change_settings(vm, VmSettings(priority=4, **{field: {**pairs, **fine}}))
    assert enable(env, vm).state is VmState.STARTED
    assert "attribute-ignored" in [report.code for report in env.said if isinstance(report, Note)]
    resource = env.cluster.resources[vm]
    given = resource.params if field == "pacemaker_params" else resource.meta
    assert set(pairs).isdisjoint(given)
    assert fine.items() <= given.items()
    assert (resource.priority, resource.live_migration) == (4, False)
    stop(env, vm)
    assert start(env, vm).state is VmState.STARTED
    set_vm(env, vm, Changes({"priority": 5, field: {next(iter(fine)): "0"}}))
    clone(env, CloneRequest(vm, "web2", lambda source: source))
    assert env.cluster.resources["web2"].priority == 5
    set_vm(env, vm, Changes({field: dict.fromkeys(pairs, "")}))
    assert set(pairs).isdisjoint(getattr(env.storage.definitions.settings(vm), field))


def test_parameters_of_other_agents_are_taken_and_those_of_ours_work(env, image):
    given = {"autoset_utilization_cpu": "false", "config": "/x", "migration_speed": "5"}
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(pacemaker_params=given)))
    assert env.cluster.resources["web1"].params["migration_speed"] == "5"


def test_command_line_says_it_in_one_line(env, vm):
    done = CliRunner(mix_stderr=False).invoke(
        app, ["set", vm, "--pacemaker-meta", "target-role=Stopped"], obj=env
    )
    assert (done.exit_code, done.stderr.splitlines()[0]) == (
        2,
        "vm-mgr: error: the meta attribute target-role is reserved",
    )


def test_cib_has_our_own_values_whatever_the_meta_attributes_say():
    raw = EMPTY if isinstance(EMPTY, str) else etree.tostring(EMPTY, encoding="unicode")
    cib = parse_cib(raw)
    meta = {"target-role": "Stopped", "allow-migrate": "true", "priority": "9", "a": "1"}
    add_vm(cib, VmResource("web1", TargetRole.STARTED, priority=2, meta=meta))
    found = {
        pair.get("name"): pair.get("value") for pair in cib.iterfind(".//primitive/meta_attributes/nvpair")
    }
    assert found == {"target-role": "Started", "allow-migrate": "false", "priority": "2", "a": "1"}
