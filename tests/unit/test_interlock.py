"""Who may have a disk open when a VM starts."""

from unittest.mock import MagicMock

import pytest

from vm_mgr.adapters.ceph import holders as looking
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Holder
from vm_mgr.operations.interlock import free_disks, gone_nodes, shut_out_dead

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


GIVEN_UP = REMOTE._replace(watching=False)


@pytest.mark.parametrize(("given_up_after_s", "waited_s"), [(0, 5), (30, 35)])
def test_lock_that_a_dead_client_on_a_member_has_left_is_broken(env, given_up_after_s, waited_s):
    env.storage.holders = lambda images: (
        [GIVEN_UP if env.clock.now - 1_000_000 >= given_up_after_s else REMOTE] * (not env.storage.evicted)
    )
    free(env)
    assert env.storage.evicted == [GIVEN_UP]
    assert waited_s <= env.clock.now - 1_000_000 < waited_s + 2


def test_client_that_watches_again_has_not_been_given_up(env):
    env.storage.holders = lambda images: [GIVEN_UP if int(env.clock.now) % 4 else REMOTE]
    with pytest.raises(VmMgrError):
        free(env)
    assert not env.storage.evicted


@pytest.mark.parametrize("changes", [{"online": False, "unclean": True}, {"online": False, "pending": True}])
def test_lock_of_a_client_that_was_given_up_stays_while_its_node_is_no_member(env, changes):
    env.storage.held = [GIVEN_UP]
    node(env, "n2", **changes)
    with pytest.raises(VmMgrError):
        free(env)
    assert not env.storage.evicted


def test_client_that_still_watches_another_disk_lives(env):
    data = REMOTE._replace(image="data_web1_0")
    env.storage.held = [GIVEN_UP, data]
    with pytest.raises(VmMgrError):
        free_disks(env, env.storage, "web1", [IMAGE, data.image])
    assert not env.storage.evicted


def test_only_the_dead_of_this_node_are_shut_out(env):
    mine, image = Holder(IMAGE, "198.51.100.11:0/3", "client.3", "auto 3"), "data_web1_0"
    living = mine._replace(image=image)
    env.storage.held = [REMOTE, GIVEN_UP, mine, living]
    env.hypervisor.also_running[77] = f"qemu-img convert rbd:rbd/{image}"
    assert shut_out_dead(env, env.storage, "web1", [IMAGE, image]) == [mine]
    assert env.storage.held == [REMOTE, GIVEN_UP, living]


@pytest.mark.parametrize(
    ("cookie", "watchers", "watching"),
    [("auto 1", ["v1:198.51.100.12:0/7"], True), ("auto 1", [], False), ("by an operator", [], True)],
)
def test_locks_of_clients_that_ceph_gave_up_are_told_apart(cookie, watchers, watching):
    image = MagicMock()
    image.__enter__.return_value = image
    image.list_lockers.return_value = {"lockers": [("client.1", cookie, "198.51.100.12:0/7")]}
    image.watchers_list.return_value = [{"addr": address} for address in watchers]
    rbd = MagicMock(Image=MagicMock(return_value=image), ImageNotFound=KeyError)
    assert looking.holders(rbd, None, IMAGE) == [REMOTE._replace(cookie=cookie, watching=watching)]
