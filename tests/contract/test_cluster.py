"""What every cluster does; its VM is never started, because nothing defines it."""

import pytest

from vm_mgr.model.resource import Clone, Dependency, DiskResource, disk_id
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import Move, VmResource

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


def test_cluster_remembers_what_its_nodes_did(env):
    assert env.cluster.remembers(env.cluster.local_node())
    assert not env.cluster.remembers("nowhere")


def test_added_vm_is_there_and_stopped(env, vm):
    resource = env.cluster.state().resources[vm]
    assert resource.is_vm
    assert resource.target_role == "Stopped"
    assert not resource.active


def test_adding_again_replaces(env, vm):
    env.cluster.add(VmResource(vm, TargetRole.STOPPED, priority=5, pinned_host="n3"))
    assert vm in env.cluster.state().resources


def test_removed_vm_is_gone(env, vm):
    env.cluster.begin_move(Move(vm, "n1", "n3", lifetime_s=60))
    env.cluster.remove(vm)
    assert vm not in env.cluster.state().resources
    env.cluster.remove(vm)


def test_move_begins_and_ends(env, vm):
    env.cluster.begin_move(Move(vm, "n1", "n3", lifetime_s=60))
    env.cluster.begin_move(Move(vm, "n1", lifetime_s=60))
    env.cluster.begin_move(Move(vm, "n1", avoid=frozenset({"n2"}), lifetime_s=60))
    assert [one.leftover for one in env.cluster.configured(vm).others] == [True]
    env.cluster.end_move(vm)
    env.cluster.end_move(vm)
    assert vm in env.cluster.state().resources


def test_target_role_is_set(env, vm):
    env.cluster.set_target_role(vm, TargetRole.STOPPED)
    env.cluster.cleanup(vm)
    assert env.cluster.state().resources[vm].target_role == "Stopped"


def test_change_leaves_the_role(env, vm):
    changed = VmResource(vm, TargetRole.STARTED, priority=3, pinned_host="n2", colocations={"absent": "700"})
    env.cluster.reconfigure(changed)
    env.cluster.reconfigure(VmResource("contract3", TargetRole.STARTED))
    resources = env.cluster.state().resources
    assert resources[vm].target_role == "Stopped"
    assert "contract3" not in resources


def test_move_of_a_stopped_vm_harms_nothing_that_runs(env, vm):
    assert vm not in env.cluster.simulate_move(Move(vm, "n1")).effects


def test_wish_to_return_is_read_and_ends(env, vm):
    wish = VmResource(vm, TargetRole.STOPPED, preferred_host="n2", returns=True)
    env.cluster.reconfigure(wish)
    assert env.cluster.configured(vm).vm.returns
    env.cluster.reconfigure(wish._replace(returns=False))
    assert not env.cluster.configured(vm).vm.returns


def test_renamed_vm_is_there_by_its_new_name(env, vm):
    env.cluster.rename(vm, "contract3")
    env.cluster.rename(vm, "contract3")
    resources = env.cluster.state().resources
    assert vm not in resources
    assert resources["contract3"].target_role == "Stopped"


def test_vms_of_similar_names_leave_each_other_alone(env, vm, neighbours):
    for name in neighbours:
        wishes = dict.fromkeys((vm, *neighbours), "-700")
        wishes.pop(name)
        meta, utilization = {"failure-timeout": "60s", "a.b_c": "ä"}, {"cpu": "1"}
        env.cluster.add(
            VmResource(
                name,
                TargetRole.STOPPED,
                preferred_host="n2",
                params={"migration_user": "me"},
                meta=meta,
                utilization=utilization,
                colocations=wishes,
            )
        )
        env.cluster.begin_move(Move(name, "n1", "n3", lifetime_s=60))
    env.cluster.rename(vm, "contract3")
    env.cluster.remove("contract3")
    resources = env.cluster.state().resources
    assert vm not in resources
    assert set(neighbours) <= set(resources)
    for name in neighbours:
        env.cluster.end_move(name)
        env.cluster.remove(name)
    assert not set(neighbours) & set(env.cluster.state().resources)


def test_configuration_is_read_back(env, vm):
    env.cluster.add(VmResource("contract3", TargetRole.STOPPED, priority=3, colocations={vm: "700"}))
    found = env.cluster.configured(vm)
    assert (found.vm.target_role, found.vm.live_migration) == (TargetRole.STOPPED, True)
    assert found.vm.preferred_host == "n2"
    assert found.named_by == {"contract3": "700"}
    assert env.cluster.configured("contract3").vm.colocations == {vm: "700"}
    assert env.cluster.configured("contract4").vm is None


def test_what_a_move_left_is_cleared_once(env, vm):
    env.cluster.begin_move(Move(vm, "n1", "n3", lifetime_s=60))
    assert [one.leftover for one in env.cluster.configured(vm).others] == [True]
    assert [one.id for one in env.cluster.clear_moves(vm)] == [f"vm-mgr-move-{vm}"]
    assert env.cluster.clear_moves(vm) == ()
    assert env.cluster.configured(vm).others == ()


def test_terms_of_a_move_are_gone_with_it(env, vm):
    configured = env.cluster.configured(vm).vm
    env.cluster.begin_move(Move(vm, "n1", "n3", options="strategy=precopy bandwidth=8", lifetime_s=60))
    env.cluster.recover_blocked(vm, lifetime_s=60)
    assert env.cluster.configured(vm).vm == configured
    env.cluster.end_move(vm)
    assert env.cluster.configured(vm).others == ()
    assert env.cluster.configured(vm).vm == configured


def test_failure_that_is_none_is_forgotten(env, vm):
    env.cluster.cleanup_failed(vm, env.cluster.local_node(), "migrate_to")
    env.cluster.reprobe(vm)
    resource = env.cluster.state().resources[vm]
    assert (resource.failures, resource.blocked_on) == ((), "")


def test_asks_are_kept_changed_and_gone_with_the_vm(env, vm):
    requirements = ("bridge-br0", "kvm")
    env.cluster.reconfigure(
        VmResource(vm, TargetRole.STOPPED, requirements=requirements, follow_uplink=False)
    )
    assert (env.cluster.configured(vm).vm.requirements, env.cluster.configured(vm).vm.follow_uplink) == (
        requirements,
        False,
    )
    env.cluster.change_requirements(vm, ("bridge-br1",), follow_uplink=True)
    env.cluster.change_requirements("contract4", requirements, follow_uplink=True)
    found = env.cluster.configured(vm)
    assert (found.vm.requirements, found.vm.follow_uplink, found.others) == (("bridge-br1",), True, ())
    assert env.cluster.configured("contract4").vm is None
    env.cluster.rename(vm, "contract3")
    assert env.cluster.configured("contract3").vm.requirements == ("bridge-br1",)
    env.cluster.remove("contract3")
    env.cluster.add(VmResource("contract3", TargetRole.STOPPED))
    assert env.cluster.configured("contract3").vm.requirements == ()


def test_time_to_hibernate_is_kept_apart_from_the_other_times(env, vm):
    hibernating = VmResource(vm, TargetRole.STOPPED, stop_timeout_s=40, hibernation_s=90)
    env.cluster.add(hibernating)
    found = env.cluster.configured(vm).vm
    assert (found.hibernation_s, found.stop_timeout_s, found.start_timeout_s) == (90, 40, 120)
    env.cluster.reconfigure(hibernating._replace(hibernation_s=0))
    assert env.cluster.configured(vm).vm.hibernation_s == 0
    env.cluster.reconfigure(hibernating)
    assert env.cluster.configured(vm).vm.hibernation_s == 90


def test_disks_come_are_kept_renamed_and_gone_with_the_vm(env, vm):
    disk = DiskResource(disk_id(vm, "one"), "ocf:pacemaker:Dummy", {"fake": "1"}, Clone.PLAIN, nodes=("n1",))
    with_disk = VmResource(vm, TargetRole.STOPPED, disks=(disk,), depends_on=(Dependency(disk.id),))
    env.cluster.add(with_disk)
    assert env.cluster.configured(vm).vm.disks == (disk,)
    assert disk.id in env.cluster.state().clones
    assert disk.id in env.cluster.state().sets
    changed = with_disk._replace(priority=3, disks=(disk._replace(params={"fake": "2"}),))
    env.cluster.reconfigure(changed)
    found = env.cluster.configured(vm).vm
    assert (found.priority, found.disks, found.depends_on) == (3, (disk,), (Dependency(disk.id),))
    env.cluster.rename(vm, "contract3")
    renamed = with_disk.renamed("contract3")
    found = env.cluster.configured("contract3").vm
    assert (found.disks, found.depends_on) == (renamed.disks, renamed.depends_on)
    env.cluster.remove("contract3")
    assert renamed.disks[0].id not in env.cluster.state().clones
    assert env.cluster.configured("contract3").vm is None
