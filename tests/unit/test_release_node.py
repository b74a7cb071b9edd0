"""What Ceph is told of a fenced node, and when it is told nothing."""

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.ceph import clients as looking
from vm_mgr.adapters.ceph.storage_fencing import CephStorageFencing
from vm_mgr.adapters.memory.storage_fencing import MemoryDaemon
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import Fencing, Node
from vm_mgr.model.event import EventKind
from vm_mgr.model.storage import DiskClient
from vm_mgr.operations.release_node import RECENT_S, release_node
from vm_mgr.ports.storage_fencing import Daemons

DEAD = DiskClient("system_web1", "198.51.100.12:0/7", "client.7", "auto 1")
OTHER = DiskClient("system_web2", "198.51.100.13:0/9", "client.9", "auto 2")
FENCED_S = 3.0


def at(env, age_s):
    when = datetime.fromtimestamp(env.clock.utc() - age_s, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S.%f}Z"


def fence(env, age_s=FENCED_S, **changes):
    env.cluster.fencings.insert(
        0, Fencing("n2", **{"succeeded": True, "completed": at(env, age_s)} | changes)
    )


@pytest.fixture
def lost(env):
    """Give the storage of a cluster in which n2 was fenced three seconds ago."""
    env.cluster.nodes["n2"] = Node("n2", online=False)
    fence(env)
    env.storage_fencing.all_daemons = [
        MemoryDaemon(number, f"n{number + 1}", f"198.51.100.1{number + 1}") for number in (0, 1, 2)
    ]
    env.storage_fencing.holders = [DEAD, OTHER]
    return env.storage_fencing


def refused(env, node="n2", **options):
    with pytest.raises(VmMgrError) as caught:
        release_node(env, node, **options)
    assert caught.value.hint
    assert not env.storage_fencing.ended
    assert not env.storage_fencing.shut
    assert not env.journal.written
    return caught.value


def test_fenced_node_is_released_and_no_other(env, lost):
    released = release_node(env, "n2")
    assert (released.daemons, released.clients) == ((1,), (DEAD.address,))
    assert (lost.ended, lost.shut, lost.holders) == ([1], [DEAD], [OTHER])
    (event,) = env.journal.handed
    assert (event.kind, event.subject) == (EventKind.RELEASED, "n2")
    assert set(event.waited) == {"proof", "daemons", "clients"}


def test_release_can_be_repeated(env, lost):
    release_node(env, "n2")
    again = release_node(env, "n2")
    assert (again.daemons, again.clients) == ((), ())
    assert (lost.ended, lost.shut) == ([1], [DEAD])


def test_daemons_go_first_since_clients_can_only_be_seen_then(env, lost):
    seen = []
    lost.on_call = seen.append
    release_node(env, "n2")
    assert seen == ["daemons", "end_daemons", "clients", "daemons", "blocklist"]


@pytest.mark.parametrize(
    "state",
    [
        Node("n2"),
        Node("n2", online=False, unclean=True),
        Node("n2", online=True, unclean=True),
        Node("n2", online=False, pending=True),
    ],
)
def test_node_that_is_not_proven_dead_is_left_alone(env, lost, state):
    env.cluster.nodes["n2"] = state
    assert refused(env).kind is Kind.WRONG_STATE


def test_without_fencing_never(env, lost):
    env.cluster.fencing_enabled = False
    assert refused(env).kind is Kind.WRONG_STATE


def test_without_quorum_never(env, lost):
    env.cluster.quorate = False
    assert refused(env).kind is Kind.WRONG_STATE


@pytest.mark.parametrize(
    "fencings",
    [
        [],
        [{"succeeded": False}],
        [{"action": "on"}],
        [{"completed": ""}],
        [{"completed": "2026-01-31 23:59:59"}],  # in whose time zone?
        [{"age_s": RECENT_S + 1}],
        [{"succeeded": False}, {"age_s": RECENT_S + 1}],
    ],
)
def test_node_that_left_in_good_order_was_not_fenced(env, lost, fencings):
    """Its machine may run on, with its OSDs: the cluster's services are stopped for an update."""
    env.cluster.fencings.clear()
    for changes in fencings:
        fence(env, **changes)
    assert refused(env).kind is Kind.WRONG_STATE


def test_node_that_was_back_since_its_fencing_is_left_alone(env, lost):
    env.cluster.joined_since = {"n2"}
    assert refused(env).kind is Kind.WRONG_STATE


@pytest.mark.parametrize(
    ("fencings", "certain"),
    [
        ([{"delegate": "n1"}], True),
        ([{"delegate": "a human", "action": "off"}], False),
        ([{"delegate": "n1", "age_s": 60}, {"delegate": "a human", "action": "off", "age_s": 5}], False),
        ([{"delegate": "a human", "action": "off", "age_s": 60}, {"delegate": "n1", "age_s": 5}], True),
        ([{"delegate": "n1", "succeeded": False, "age_s": 2}, {"delegate": "a human"}], False),
    ],
)
def test_osds_are_dead_for_certain_only_by_the_word_of_a_device(env, lost, fencings, certain):
    env.cluster.fencings.clear()
    for changes in fencings:
        fence(env, **changes)
    assert release_node(env, "n2").daemons == (1,)
    assert lost.certainly_dead == ([1] if certain else [])
    assert lost.shut == [DEAD]


def test_failed_tries_before_the_fencing_do_not_matter(env, lost):
    fence(env, 9, succeeded=False)
    assert release_node(env, "n2").daemons == (1,)


def test_node_that_boots_again_is_not_hurt(env, lost):
    """Its OSD came up after the fencing, though the cluster has not seen the node yet."""
    lost.all_daemons[1].booted_utc = env.clock.utc() - FENCED_S + 2
    assert refused(env).kind is Kind.WRONG_STATE


@pytest.mark.parametrize("skew_s", [-3600, -60, 60, 500])
@pytest.mark.parametrize("again", [False, True])
def test_clocks_that_differ_do_not_decide_whether_it_runs_again(env, lost, skew_s, again):
    """The times of the storage are compared with each other; its monitors' clock is off by so much."""
    osd = lost.all_daemons[1]
    osd.booted_utc = env.clock.utc() - 5000 + skew_s
    lost.connect()
    osd.booted_utc += 4999 * again
    if again:
        with pytest.raises(VmMgrError, match="running again"):
            release_node(env, "n2")
        assert not lost.ended
    else:
        assert release_node(env, "n2").daemons == (1,)


def test_fencing_that_lies_far_ahead_proves_nothing(env, lost):
    env.cluster.fencings.clear()
    fence(env, age_s=-3600)
    assert refused(env).kind is Kind.WRONG_STATE


def test_one_new_osd_protects_the_whole_node(env, lost):
    lost.all_daemons.append(MemoryDaemon(3, "n2", "198.51.100.12", booted_utc=env.clock.utc()))
    assert refused(env).kind is Kind.WRONG_STATE


def test_osd_that_booted_before_the_fencing_is_dead(env, lost):
    lost.all_daemons[1].booted_utc = env.clock.utc() - FENCED_S - 1
    assert release_node(env, "n2").daemons == (1,)


@pytest.mark.parametrize("back", ["member", "osd"])
def test_node_that_comes_back_meanwhile_keeps_its_clients(env, lost, back):
    def come_back(verb):
        if verb == "clients" and back == "member":
            env.cluster.nodes["n2"] = Node("n2", online=False, pending=True)
        if verb == "clients" and back == "osd":
            lost.all_daemons[1].up, lost.all_daemons[1].booted_utc = True, env.clock.utc()

    lost.on_call = come_back
    with pytest.raises(VmMgrError) as caught:
        release_node(env, "n2")
    assert caught.value.kind is Kind.WRONG_STATE
    assert (lost.ended, lost.shut) == ([1], [])


def test_new_client_at_the_same_address_is_not_shut_out(env, lost):
    new = DEAD._replace(address="198.51.100.12:0/8", client="client.8")
    lost.on_call = lambda verb: lost.holders.append(new) if verb == "blocklist" else None
    assert release_node(env, "n2").clients == (DEAD.address,)
    assert lost.holders == [OTHER, new]


def test_daemon_at_the_address_of_another_node_is_not_ended(env, lost):
    lost.all_daemons[1].address = "198.51.100.13"
    assert release_node(env, "n2").daemons == ()


def test_daemon_with_another_host_name_is_not_ended(env, lost):
    lost.all_daemons[1].host = "n20"
    assert release_node(env, "n2").daemons == ()


@pytest.mark.parametrize("node", ["n9", ""])
def test_unknown_node_is_refused(env, lost, node):
    assert refused(env, node).kind is Kind.NOT_FOUND


def test_node_without_addresses_is_refused(env, lost):
    env.node_addresses = {}
    assert refused(env).kind is Kind.NOT_FOUND


def test_what_the_cluster_knows_only_a_moment_later_is_waited_for(env, lost):
    env.cluster.nodes["n2"] = Node("n2", online=False, unclean=True)
    asleep = env.clock.sleep

    def sleep(seconds):
        asleep(seconds)
        if env.clock.now > 1_000_000.5:
            env.cluster.nodes["n2"] = Node("n2", online=False)

    env.clock.sleep = sleep
    assert release_node(env, "n2", wait_s=5).daemons == (1,)
    assert 500 <= env.journal.written[0].waited["proof"] < 1000


def test_waiting_has_an_end(env, lost):
    env.cluster.nodes["n2"] = Node("n2", online=False, unclean=True)
    began = env.clock.now
    assert refused(env, wait_s=5).kind is Kind.WRONG_STATE
    assert 5 <= env.clock.now - began < 6


class TestCommand:
    def run(self, env, *arguments):
        return CliRunner(mix_stderr=False).invoke(app, ["release-node", *arguments], obj=env)

    def test_what_was_done_is_shown(self, env, lost):
        done = self.run(env, "n2")
        assert done.exit_code == 0, done.stderr
        assert done.stdout.splitlines() == [
            "osd.1 is marked down",
            f"the client {DEAD.address} is blocklisted",
        ]
        assert self.run(env, "n2").stdout == "nothing of n2 is left\n"

    def test_dry_run_changes_nothing(self, env, lost):
        done = self.run(env, "n2", "--dry-run")
        assert done.exit_code == 0, done.stderr
        assert [line[0] for line in done.stdout.splitlines()] == ["1", "2", "n"]
        assert "osd.1" in done.stdout
        assert DEAD.address in done.stdout
        assert not lost.ended
        assert not lost.shut
        assert not env.journal.written

    def test_dry_run_knows_the_time(self, env, lost):
        env.clock.now += RECENT_S
        assert self.run(env, "n2", "--dry-run").exit_code == 5

    def test_living_node_is_refused(self, env, lost):
        assert self.run(env, "n1").exit_code == 5
        assert self.run(env, "n1", "--dry-run").exit_code == 5


class Ceph:
    """As much of a monitor, and of librbd, as is asked here; OSD 1 is on n2 and came up in epoch 40."""

    Error = ImageNotFound = type("ImageNotFound", (Exception,), {})
    ImageBusy = ImageHasSnapshots = type("Busy", (Exception,), {})

    def __init__(self):
        self.asked = []
        self.kept = {40: "2026-01-31T23:00:00.250000+0100"}
        self.broken = []
        self.set = {}

    def conf_set(self, option, value):
        self.set[option] = value

    def mon_command(self, text, _):
        command = json.loads(text)
        self.asked.append(command)
        match command:
            case {"prefix": "osd metadata"}:
                answer = [
                    {"id": 0, "hostname": "n1"},
                    {"id": 1, "hostname": "n2"},
                    {"id": 2, "hostname": "n2"},
                    {"id": 3},
                ]
            case {"prefix": "osd dump", "epoch": epoch}:
                if epoch not in self.kept:
                    return -2, b"", "there is no map"
                answer = {"epoch": epoch, "modified": self.kept[epoch]}
            case {"prefix": "osd dump"}:
                answer = {"epoch": 50, "osds": [self._osd(number) for number in range(4)]}
            case {"prefix": "osd down"} | {"prefix": "osd blocklist"}:
                return 0, b"", ""
        return 0, json.dumps(answer).encode(), ""

    def _osd(self, number):
        """Give an OSD as Ceph dumps it; 2 is down, 3 has no metadata."""
        host = {0: "198.51.100.11", 1: "198.51.100.12", 2: "198.51.100.12", 3: "198.51.100.12"}[number]
        vector = [{"type": kind, "addr": f"{host}:680{number}", "nonce": 77} for kind in ("v2", "v1")]
        return {
            "osd": number,
            "up": int(number != 2),
            "up_from": 39 + number,
            "public_addrs": {"addrvec": vector},
        }

    def wait_for_latest_osdmap(self):
        pass

    def RBD(self):  # noqa: N802
        return SimpleNamespace(list=lambda _: ["system_web1", "system_web2"])

    @contextmanager
    def Image(self, _ioctx, name, *, read_only=False):  # noqa: N802
        address = {"system_web1": "198.51.100.12:0/7", "system_web2": "198.51.100.13:0/9"}[name]
        yield SimpleNamespace(
            list_lockers=lambda: {"lockers": [("client.7", "auto 1", address)]},
            watchers_list=lambda: [{"addr": f"v1:{address}", "cookie": 139721997141744}],
            break_lock=lambda client, cookie: self._break((name, client, cookie)),
        )

    def _break(self, lock):
        self.broken.append(lock)
        if self.set.get("rbd_blocklist_on_break_lock", "true") == "true":
            self.asked.append({"prefix": "osd blocklist", "expire": 3600.0})


@pytest.fixture
def ceph(monkeypatch):
    """Stand for Ceph's libraries."""
    fake = Ceph()
    rados = SimpleNamespace(Error=type("Error", (Exception,), {}))
    monkeypatch.setitem(__import__("sys").modules, "rados", rados)
    monkeypatch.setitem(__import__("sys").modules, "rbd", fake)
    return fake


@pytest.fixture
def told(ceph):
    return CephStorageFencing(SimpleNamespace(cluster=ceph, ioctx=None))


def evict(ceph):
    """Shut out one client, as the storage does."""

    @contextmanager
    def working(_doing):
        yield ceph, None

    pool = SimpleNamespace(connection=SimpleNamespace(cluster=ceph), working=working)
    looking.CephClients(pool).evict(DEAD)


def test_ceph_is_asked_for_the_osds_of_the_node_by_name_and_address(ceph, told):
    assert told.daemons("n2", {"198.51.100.12"}) == Daemons((1,), 1769896800.25)
    assert told.daemons("n2", {"198.51.100.13"}) == Daemons()
    assert told.daemons("n1", {"198.51.100.12"}) == Daemons()


def test_connecting_leaves_the_old_connection_before_it_asks(ceph, told):
    order = []
    told.connection.close = lambda: order.append("closed")
    ceph.mon_command = lambda *_: order.append("asked") or (0, "{}", "")
    told.connect()
    assert order == ["closed", "asked"]


def test_osd_whose_first_map_is_forgotten_came_up_long_ago(ceph, told):
    ceph.kept.clear()
    assert told.daemons("n2", {"198.51.100.12"}) == Daemons((1,), None)


def test_ceph_is_told_that_osds_are_dead_for_certain(ceph, told):
    told.end_daemons([1])
    assert ceph.asked == [{"prefix": "osd down", "ids": ["1"], "definitely_dead": True, "format": "json"}]


def test_clients_of_the_node_are_blocklisted_by_their_exact_address_and_their_locks_broken(ceph, told):
    clients = told.clients({"198.51.100.12"})
    assert clients == [DEAD._replace(watch=139721997141744)]
    told.blocklist(clients)
    assert [one["addr"] for one in ceph.asked] == ["198.51.100.12:0/7"]
    assert ceph.broken == [("system_web1", "client.7", "auto 1")]


def test_one_client_of_many_disks_is_blocklisted_once(ceph, told):
    told.blocklist([DEAD, DEAD._replace(image="system_web2"), DEAD._replace(client="", cookie="")])
    assert len(ceph.asked) == 1
    assert sorted(ceph.broken) == [
        ("system_web1", "client.7", "auto 1"),
        ("system_web2", "client.7", "auto 1"),
    ]


def test_osds_of_a_person_s_word_are_down_but_not_dead_for_certain(ceph, told):
    told.end_daemons([1], certain=False)
    assert ceph.asked == [{"prefix": "osd down", "ids": ["1"], "format": "json"}]


def test_who_is_shut_out_stays_so_for_weeks(ceph, told):
    told.blocklist([DEAD])
    evict(ceph)
    expire = [one["expire"] for one in ceph.asked]
    assert expire == [30 * 24 * 3600.0] * 2
    assert all(isinstance(one, float) for one in expire)  # Ceph takes no integer for it
    assert ceph.set == {"rbd_blocklist_on_break_lock": "true"}


@pytest.mark.parametrize("call", ["clients", "blocklist", "evict"])
def test_monitors_that_give_no_map_are_not_waited_for_without_end(ceph, told, monkeypatch, call):
    monkeypatch.setattr("vm_mgr.adapters.ceph.connection.MAP_S", 0.05)
    ceph.wait_for_latest_osdmap = lambda: threading.Event().wait(1)
    calls = {
        "clients": lambda: told.clients({"198.51.100.12"}),
        "blocklist": lambda: told.blocklist([DEAD]),
        "evict": lambda: evict(ceph),
    }
    with pytest.raises(VmMgrError) as caught:
        calls[call]()
    assert caught.value.kind is Kind.EXTERNAL_FAILURE
    assert not ceph.broken


def test_watch_is_told_where_ceph_tells_it(ceph):
    found = looking.clients_of(ceph, None, "system_web1")
    assert [one.watch for one in found] == [139721997141744]


def test_refusal_of_a_monitor_is_an_error_with_a_hint(ceph, told):
    ceph.mon_command = lambda *_: (-13, b"", "access denied")
    with pytest.raises(VmMgrError, match="access denied") as caught:
        told.end_daemons([1])
    assert caught.value.hint


def test_evict_of_one_holder_is_as_before(ceph):
    evict(ceph)
    assert [one["addr"] for one in ceph.asked] == [DEAD.address]
    assert ceph.broken
