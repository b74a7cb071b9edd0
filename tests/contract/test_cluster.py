"""What every cluster does; its VM is never started, because nothing defines it."""

import pytest

from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import VmResource

NAME = "contract1"


@pytest.fixture
def vm(env):
    env.cluster.add(VmResource(NAME, TargetRole.STOPPED, live_migration=True, preferred_host="n2"))
    return NAME


def test_cluster_knows_its_nodes(env):
    state = env.cluster.state()
    assert state.quorate
    assert state.node(env.cluster.local_node()).online
    assert state.node("nowhere") is None


def test_added_vm_is_there_and_stopped(env, vm):
    resource = env.cluster.state().resources[vm]
    assert resource.is_vm
    assert resource.target_role == "Stopped"
    assert not resource.active


def test_adding_again_replaces(env, vm):
    env.cluster.add(VmResource(vm, TargetRole.STOPPED, priority=5, pinned_host="n3"))
    assert vm in env.cluster.state().resources


def test_removed_vm_is_gone(env, vm):
    env.cluster.begin_move(vm, to="n3", away_from="n1", lifetime_s=60)
    env.cluster.remove(vm)
    assert vm not in env.cluster.state().resources
    env.cluster.remove(vm)


def test_move_begins_and_ends(env, vm):
    env.cluster.begin_move(vm, to="n3", away_from="n1", lifetime_s=60)
    env.cluster.begin_move(vm, to=None, away_from="n1", lifetime_s=60)
    env.cluster.end_move(vm)
    env.cluster.end_move(vm)
    assert vm in env.cluster.state().resources


def test_target_role_is_set(env, vm):
    env.cluster.set_target_role(vm, TargetRole.STOPPED)
    env.cluster.forget_failures(vm)
    assert env.cluster.state().resources[vm].target_role == "Stopped"


def test_change_leaves_the_role(env, vm):
    changed = VmResource(vm, TargetRole.STARTED, priority=3, pinned_host="n2", colocations={"absent": "700"})
    env.cluster.reconfigure(changed)
    env.cluster.reconfigure(VmResource("contract3", TargetRole.STARTED))
    resources = env.cluster.state().resources
    assert resources[vm].target_role == "Stopped"
    assert "contract3" not in resources


def test_renamed_vm_is_there_by_its_new_name(env, vm):
    env.cluster.rename(vm, "contract3")
    env.cluster.rename(vm, "contract3")
    resources = env.cluster.state().resources
    assert vm not in resources
    assert resources["contract3"].target_role == "Stopped"
