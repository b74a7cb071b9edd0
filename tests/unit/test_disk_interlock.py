"""Who may have a disk open when a VM starts."""

from unittest.mock import MagicMock

import pytest

from vm_mgr.adapters.ceph import clients as looking
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import Fencing
from vm_mgr.model.storage import DiskClient
from vm_mgr.operations.storage.disk_interlock import blocklist_dead, free_disks, gone_nodes
from vm_mgr.ports.own_clients import Opened

IMAGE = "system_web1"
MINE = DiskClient(IMAGE, "198.51.100.11:0/3", "client.3", "auto 3")
REMOTE = DiskClient(IMAGE, "198.51.100.12:0/7", "client.1", "auto 1")


def free(env):
    free_disks(env, env.storage, "web1", [IMAGE])


def node(env, name, **changes):
    env.cluster.nodes[name] = env.cluster.nodes[name]._replace(**changes)


def fence(env, name, **changes):
    node(env, name, online=False)
    completed = {"succeeded": True, "completed": "1970-01-12 13:46:30Z"}
    env.cluster.fencings.insert(0, Fencing(name, **{**completed, **changes}))


def died(env, *addresses, pid=7):
    """Have a QEMU of web1 that had these clients, and is gone."""
    env.own_clients.keep("web1", Opened(pid, "5", frozenset(addresses)))


def refused(env, images=(IMAGE,)):
    with pytest.raises(VmMgrError) as caught:
        free_disks(env, env.storage, "web1", images)
    assert caught.value.kind is Kind.WRONG_STATE
    assert not env.storage.evicted
    return caught.value.message


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
    fence(env, "n2")
    node(env, "n2", online=back)
    env.storage.clients.evict = lambda holder: None
    with pytest.raises(VmMgrError) as caught:
        free_disks(env, env.storage, "web1", [IMAGE], limit_s=5)
    assert "n2" in caught.value.message
    assert env.clock.now - 1_000_000 <= 6


def test_holder_on_a_fenced_node_is_evicted_at_once(env):
    env.storage.held = [REMOTE]
    fence(env, "n2")
    free(env)
    assert env.storage.evicted == [REMOTE]
    assert env.clock.now - 1_000_000 < 2


def test_holder_on_a_node_that_was_fenced_and_is_back_is_evicted(env):
    env.storage.held = [REMOTE]
    fence(env, "n2")
    gone = gone_nodes(env)
    node(env, "n2", online=True)
    free_disks(env, env.storage, "web1", [IMAGE], gone=gone)
    assert env.storage.evicted == [REMOTE]


def test_nobody_counts_as_gone_without_fencing_or_quorum(env):
    fence(env, "n2")
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
    env.storage.held = [DiskClient(IMAGE, "203.0.113.9:0/1")]
    with pytest.raises(VmMgrError):
        free(env)
    assert not env.storage.evicted


@pytest.mark.parametrize(
    "fencing",
    [
        None,
        {"succeeded": False},
        {"action": "on"},
        {"completed": "1970-01-12 13:30:00Z"},  # so long ago that the machine may be up again
        {"completed": "yesterday"},
    ],
)
def test_node_that_left_in_good_order_is_not_dead(env, fencing):
    """Somebody may have started the VM there by hand, and then stopped Pacemaker for an update."""
    env.storage.held = [REMOTE]
    node(env, "n2", online=False)
    if fencing:
        fence(env, "n2", **fencing)
    assert "n2" in refused(env)


def test_node_that_was_fenced_came_back_and_left_is_not_dead(env):
    env.storage.held = [REMOTE]
    fence(env, "n2")
    env.cluster.joined_since = {"n2"}
    assert "n2" in refused(env)


def test_client_of_the_own_qemu_that_died_is_evicted_at_once(env):
    env.storage.held = [MINE]
    died(env, MINE.address)
    free(env)
    assert env.storage.evicted == [MINE]
    assert env.clock.now - 1_000_000 < 2


@pytest.mark.parametrize("note", ["none", "another client", "alive", "another VM's"])
@pytest.mark.parametrize("said", ["", f"qemu-img convert rbd:rbd/{IMAGE}", "rescue"])
def test_client_on_this_node_that_can_not_be_explained_is_never_evicted(env, note, said):
    """It may be a rollback, a rescue VM that got the disk plugged in, a mapping of the kernel."""
    env.storage.held = [MINE]
    env.hypervisor.also_running[77] = said
    if note == "another client":
        died(env, "198.51.100.11:0/4")
    if note == "alive":
        env.hypervisor.running["web1"] = 7
        env.hypervisor.births[7] = "5"
        died(env, MINE.address)
    if note == "another VM's":
        env.own_clients.keep("rescue", Opened(7, "5", frozenset({MINE.address})))
    message = refused(env)
    assert "n1" in message
    assert MINE.address in message
    assert env.clock.now - 1_000_000 >= 60


def test_client_on_this_node_is_waited_for_like_any_other(env):
    env.storage.clients.of = lambda images: [] if env.clock.now > 1_000_031 else [MINE]
    free(env)
    assert not env.storage.evicted


def test_pid_that_was_given_anew_is_another_process(env):
    env.storage.held = [MINE]
    env.hypervisor.running["web2"] = 7
    env.hypervisor.births[7] = "99"
    died(env, MINE.address)
    free(env)
    assert env.storage.evicted == [MINE]


@pytest.mark.parametrize(
    "said", [f"guest={IMAGE}0", f"rbd:rbd/{IMAGE}_0", f"x{IMAGE}", f"rbd:rbd/{IMAGE}:id=x"]
)
def test_hint_names_the_process_that_has_the_very_disk(env, said):
    env.storage.held = [MINE]
    env.hypervisor.also_running[77] = said
    with pytest.raises(VmMgrError) as caught:
        free(env)
    assert ("77" in caught.value.hint) is said.startswith("rbd:rbd/system_web1:")


def test_nobody_is_evicted_while_another_one_lives(env):
    """Else a living VM would lose a disk for a start that is refused."""
    dead = MINE._replace(image="data_web1_0")
    fenced = DiskClient("data_web1_1", "198.51.100.13:0/9")
    env.storage.held = [dead, REMOTE, fenced]
    died(env, dead.address)
    fence(env, "n3")
    assert "n2" in refused(env, [IMAGE, dead.image, fenced.image])


def test_all_are_evicted_once_the_last_one_has_gone(env):
    dead = MINE._replace(image="data_web1_0")
    env.storage.held = [dead, REMOTE]
    died(env, dead.address)
    sleep = env.clock.sleep

    def passing(seconds):
        sleep(seconds)
        if env.clock.now > 1_000_020 and REMOTE in env.storage.held:
            assert not env.storage.evicted
            env.storage.held.remove(REMOTE)

    env.clock.sleep = passing
    free_disks(env, env.storage, "web1", [IMAGE, dead.image])
    assert env.storage.evicted == [dead]


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
    env.storage.clients.of = lambda images: (
        [GIVEN_UP if env.clock.now - 1_000_000 >= given_up_after_s else REMOTE] * (not env.storage.evicted)
    )
    free(env)
    assert env.storage.evicted == [GIVEN_UP]
    assert waited_s <= env.clock.now - 1_000_000 < waited_s + 2


def test_client_that_watches_again_has_not_been_given_up(env):
    env.storage.clients.of = lambda images: [GIVEN_UP if int(env.clock.now) % 4 else REMOTE]
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


@pytest.mark.parametrize("nonce", ["7", "72"])
def test_host_that_still_watches_another_disk_lives(env, nonce):
    """QEMU has a client, and so an address, for each disk."""
    data = REMOTE._replace(image="data_web1_0", address=f"198.51.100.12:0/{nonce}")
    env.storage.held = [GIVEN_UP, data]
    refused(env, [IMAGE, data.image])


def test_host_that_watches_again_has_not_been_given_up(env):
    data = REMOTE._replace(image="data_web1_0", address="198.51.100.12:0/72")
    env.storage.clients.of = lambda images: [GIVEN_UP, *([data] if int(env.clock.now) % 4 else [])]
    refused(env, [IMAGE, data.image])


@pytest.mark.parametrize("gone", ["a member", "left in good order", "no node"])
def test_lock_alone_keeps_no_vm_down(env, gone):
    left = GIVEN_UP._replace(address="203.0.113.9:0/7") if gone == "no node" else GIVEN_UP
    env.storage.held = [left]
    node(env, "n2", online=gone != "left in good order")
    free(env)
    assert env.storage.evicted == [left]
    assert 5 <= env.clock.now - 1_000_000 < 7


def test_lock_that_a_person_has_taken_is_never_broken(env):
    env.storage.held = [GIVEN_UP._replace(cookie="by an operator", watching=True)]
    refused(env)


def test_only_the_own_dead_are_shut_out(env):
    mine, image = MINE, "data_web1_0"
    living = mine._replace(image=image, address="198.51.100.11:0/4")
    env.storage.held = [REMOTE, GIVEN_UP, mine, living]
    assert blocklist_dead(env, env.storage, "web1", [IMAGE, image]) == []
    died(env, mine.address)
    assert blocklist_dead(env, env.storage, "web1", [IMAGE, image]) == [mine]
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
    assert looking.clients_of(rbd, None, IMAGE) == [REMOTE._replace(cookie=cookie, watching=watching)]
