"""Rules that VMs still have from before the cluster became opt-in."""

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.list_vms import look
from vm_mgr.operations.repair import repair
from vm_mgr.operations.show import show
from vm_mgr.operations.stop import stop
from vm_mgr.ports.cluster import Cause, SideEffect
from vm_mgr.reports import Note

from .conftest import DOMAIN

KVM = DOMAIN.replace("type='qemu'", "type='kvm'")


@pytest.fixture
def ruled(env, image):
    """Give two VMs that run by rules, in a cluster that has become opt-in."""
    for name in ("web1", "db1"):
        create(env, CreateRequest(name, KVM, (image,)))
    env.cluster.opt_in, env.cluster.ruled = True, {"web1", "db1"}
    env.said.clear()
    return env


def notes(env, code):
    return [one.message for one in env.said if isinstance(one, Note) and one.code == code]


def test_list_and_show_name_the_vms_whose_rules_open_nodes(ruled):
    look(ruled)
    (text,) = notes(ruled, "rules-open-nodes")
    assert text.endswith("db1, web1")
    ruled.cluster.ruled.discard("db1")
    ruled.said.clear()
    show(ruled, "db1")
    assert not notes(ruled, "rules-open-nodes")
    show(ruled, "web1")
    assert notes(ruled, "rules-open-nodes")[0].endswith(": web1")


def test_repair_removes_the_rules_where_nothing_moves(ruled):
    assert repair(ruled) == []
    assert ruled.cluster.ruled == set()
    assert ruled.cluster.resources["web1"].requirements == ()
    assert len(notes(ruled, "rules-removed")) == 2


@pytest.mark.parametrize("other", ["web1", "ip1"])
@pytest.mark.parametrize("harm", SideEffect)
def test_rules_stay_where_their_removal_would_disturb_anything(ruled, other, harm):
    ruled.cluster.harms["web1"] = {other: harm}
    repair(ruled)
    assert ruled.cluster.ruled == {"web1"}
    assert f"{other} would be {harm.value}" in notes(ruled, "rules-kept")[0]


def test_rules_stay_where_the_vm_could_not_run_any_more(ruled):
    ruled.cluster.barred["web1"] = (Cause("no node is open"),)
    repair(ruled)
    assert ruled.cluster.ruled == {"web1"}


def test_rules_of_a_stopped_vm_go_without_a_simulation(ruled):
    stop(ruled, "web1")
    ruled.cluster.harms["web1"] = {"web1": SideEffect.STOPPED}
    repair(ruled)
    assert ruled.cluster.ruled == set()


def test_rules_stay_where_the_scheduler_or_the_storage_does_not_answer(ruled):
    def silent(*_):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")

    simulate, ruled.cluster.simulate_change = ruled.cluster.simulate_change, silent
    assert repair(ruled) == []
    assert len(notes(ruled, "rules-kept")) == 2
    ruled.cluster.simulate_change, ruled.storage.definitions.read = simulate, silent
    repair(ruled)
    assert len(notes(ruled, "asks-kept")) == 2
    assert not notes(ruled, "rules-removed")
    assert ruled.cluster.ruled == {"web1", "db1"}


def test_repair_touches_no_rules_of_another_cluster(ruled):
    ruled.cluster.opt_in, ruled.cluster.ruled = False, set()
    before = dict(ruled.cluster.resources)
    repair(ruled)
    assert ruled.cluster.resources == before


def test_dry_run_of_repair_names_the_rules(ruled):
    told = CliRunner(mix_stderr=False).invoke(app, ("repair", "--dry-run"), obj=ruled)
    assert told.stdout.splitlines()[:2] == [
        "1. remove the rules by which db1 avoids nodes",
        "2. remove the rules by which web1 avoids nodes",
    ]
    assert ruled.cluster.ruled == {"web1", "db1"}
