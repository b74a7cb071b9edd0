"""Who may have a disk open when a VM starts."""

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Holder
from vm_mgr.operations.interlock import free_disks, gone_nodes

IMAGE = "system_web1"
REMOTE = Holder(IMAGE, "198.51.100.12:0/7", "client.1", "auto 1")


def free(env):
    free_disks(env, env.storage, "web1", [IMAGE])


def node(env, name, **changes):
    env.cluster.nodes[name] = env.cluster.nodes[name]._replace(**changes)


def test_free_disk_passes(env):
    free(env)
    assert env.clock.now == 1_000_000


@pytest.mark.parametrize(
    "changes", [{}, {"online": False, "unclean": True}, {"online": False, "pending": True}]
)
def test_holder_that_may_live_is_never_evicted(env, changes):
    env.storage.held = [REMOTE]
    node(env, "n2", **changes)
    with pytest.raises(VmMgrError) as caught:
        free(env)
    assert caught.value.kind is Kind.WRONG_STATE
    assert "n2" in caught.value.message
    assert not env.storage.evicted
    assert 60 <= env.clock.now - 1_000_000 <= 65


@pytest.mark.parametrize("back", [False, True])
def test_caller_with_little_time_hears_who_has_the_disk(env, back):
    env.storage.held = [REMOTE]
    node(env, "n2", online=back)
    env.storage.evict = lambda holder: None
    with pytest.raises(VmMgrError) as caught:
        free_disks(env, env.storage, "web1", [IMAGE], limit_s=5)
    assert "n2" in caught.value.message
    assert env.clock.now - 1_000_000 <= 6


def test_holder_on_a_fenced_node_is_evicted_at_once(env):
    env.storage.held = [REMOTE]
    node(env, "n2", online=False)
    free(env)
    assert env.storage.evicted == [REMOTE]
    assert env.clock.now - 1_000_000 < 2


def test_holder_on_a_node_that_was_fenced_and_is_back_is_evicted(env):
    env.storage.held = [REMOTE]
    node(env, "n2", online=False)
    gone = gone_nodes(env)
    node(env, "n2", online=True)
    free_disks(env, env.storage, "web1", [IMAGE], gone=gone)
    assert env.storage.evicted == [REMOTE]


def test_nobody_counts_as_gone_without_fencing_or_quorum(env):
    node(env, "n2", online=False)
    assert gone_nodes(env) == {"n2"}
    env.cluster.quorate = False
    assert gone_nodes(env) == set()
    env.cluster.quorate, env.cluster.fencing_enabled = True, False
    assert gone_nodes(env) == set()


def test_without_fencing_an_offline_node_proves_nothing(env):
    env.storage.held = [REMOTE]
    env.cluster.fencing_enabled = False
    node(env, "n2", online=False)
    with pytest.raises(VmMgrError):
        free(env)
    assert not env.storage.evicted


def test_unknown_address_is_never_evicted(env):
    env.storage.held = [Holder(IMAGE, "203.0.113.9:0/1")]
    with pytest.raises(VmMgrError):
        free(env)
    assert not env.storage.evicted


def test_own_leftover_of_a_dead_process_is_evicted(env):
    env.storage.held = [Holder(IMAGE, "198.51.100.11:0/3")]
    free(env)
    assert env.storage.evicted


def test_own_living_client_is_not_evicted(env):
    env.storage.held = [Holder(IMAGE, "198.51.100.11:0/3")]
    env.hypervisor.also_running[77] = f"qemu-img convert rbd:rbd/{IMAGE}"
    with pytest.raises(VmMgrError):
        free(env)
    assert not env.storage.evicted


def test_watch_that_ends_by_itself_is_waited_for(env):
    env.storage.held = [REMOTE]
    sleep = env.clock.sleep

    def passing(seconds):
        sleep(seconds)
        if env.clock.now > 1_000_020:
            env.storage.held = []

    env.clock.sleep = passing
    free(env)
    assert not env.storage.evicted
