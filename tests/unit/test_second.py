"""A second QEMU of a VM, found by the node that it is on, is told and ended by rule."""

import pytest

from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.agent import actions
from vm_mgr.agent.parameters import Parameters
from vm_mgr.model.event import EventKind
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.vm import VmSettings
from vm_mgr.ocf import second
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.status import status

from .conftest import DOMAIN

VM = "web1"


@pytest.fixture
def here(env, image, tmp_path):
    """Give n2's libvirt, which has a QEMU of a VM that for the cluster runs on n1."""
    env.state_dir = tmp_path
    create(env, CreateRequest(VM, DOMAIN, (image,), VmSettings(live_migration=True)))
    nodes = {"n1": env.hypervisor, "n2": MemoryHypervisor(), "n3": MemoryHypervisor()}
    env.hypervisor_at = nodes.__getitem__
    env.cluster.local = "n2"
    env.hypervisor = env.processes = nodes["n2"]
    nodes["n2"].running[VM] = 2000
    return nodes["n2"]


def looks(env, number=2, **found):
    for _ in range(number):
        code = second.main(env, found or {VM: 2000})
        env.clock.sleep(10)
    return code


def alarms(env):
    return [one for one in env.journal.handed if one.kind is EventKind.SECOND]


def test_second_one_that_runs_is_unplugged_and_told(env, here):
    assert looks(env) == 0
    assert not here.running
    assert len(alarms(env)) == 1
    assert "n2" in status(env, VM).alarm
    assert "n2" in status(env, VM).words


def test_alarm_ends_with_the_next_start(env, here):
    looks(env)
    env.cluster.local, env.hypervisor, env.processes = "n1", here, here
    env.storage.clients.of = lambda _: []
    actions.start(env, Parameters(name=VM, timeout_s=120))
    assert status(env, VM).alarm == ""


@pytest.mark.parametrize("reason", ["migrating", PauseReason.ARRIVING])
def test_half_of_a_migration_is_ended_without_an_alarm(env, here, reason):
    here.halted[VM] = reason
    looks(env)
    assert not here.running
    assert not alarms(env)


def test_one_look_is_not_enough(env, here):
    assert looks(env, 1) == 0
    assert here.running


def test_another_process_is_looked_at_anew(env, here):
    looks(env, 1)
    here.running[VM] = 2001
    looks(env, 1, web1=2001)
    assert here.running


@pytest.mark.parametrize(
    "change",
    [
        {"pending": "Migrating"},
        {"role": "Migrating"},
        {"role": "Stopping"},
        {"nodes": ("n2",)},
        {"managed": False},
    ],
)
def test_nothing_is_done_while_the_cluster_acts_or_where_it_has_it(env, here, change):
    state = env.cluster.state()
    resource = state.resources[VM]._replace(**change)
    env.cluster.state = lambda: state._replace(resources={VM: resource})
    looks(env)
    assert here.running


def test_guest_that_somebody_migrates_by_hand_is_let_arrive(env, here):
    here.halted[VM] = "migrating"
    here.receiving.add(VM)
    looks(env, 4)
    assert here.running


def test_nothing_is_done_without_quorum(env, here):
    env.cluster.quorate = False
    looks(env)
    assert here.running


def test_one_that_is_alone_is_the_clusters_to_find(env, here):
    state, looked = env.cluster.state(), []
    resource = state.resources[VM]._replace(active=False, nodes=(), role="Stopped")
    env.cluster.state = lambda: state._replace(resources={VM: resource})
    env.cluster.reprobe = looked.append
    looks(env)
    assert here.running
    assert looked == [VM]


def test_what_is_no_vm_of_the_cluster_is_nobodys_business(env, here):
    assert looks(env, 1, other=5) == second.FOREIGN
