"""Hibernation: a guest's memory is resumed at most once and never after another boot, whatever dies when."""

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.memory.hypervisor import MemoryHypervisor
from vm_mgr.agent.actions import ACTIONS
from vm_mgr.agent.parameters import Parameters
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.cluster import Failure
from vm_mgr.model.event import EventKind
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.ocf.parameters import read
from vm_mgr.ports.cluster import Move, VmResource

from .conftest import DOMAIN
from .test_kills import Killed, MortalEnv

UUID = "11111111-2222-3333-4444-555555555555"
XML = DOMAIN.replace("<memory>1</memory>", f"<uuid>{UUID}</uuid><memory unit='MiB'>512</memory>")
GIVEN = Parameters(name="web1", timeout_s=150, hibernation_s=120)
ORDINARY_S = 30


class Watched(MemoryHypervisor):
    """A node's libvirt that writes down which run of the guest had processors that ran, and since what."""

    def __init__(self, history, first_boot):
        super().__init__()
        self.history = history
        self.boots = first_boot

    def create(self, xml, name, *, timeout_s):
        super().create(xml, name, timeout_s=timeout_s)
        self.history.append(("boot", self.runs[name]))

    def restore(self, path, name, *, timeout_s):
        super().restore(path, name, timeout_s=timeout_s)
        self.history.append(("restore", self.runs[name]))

    def resume(self, name):
        stood = name in self.halted
        super().resume(name)
        if stood:
            self.history.append(("go on", self.runs[name]))


class SeenFrom:
    """The cluster as a program on another node has it."""

    def __init__(self, cluster, node):
        self._cluster = cluster
        self._node = node

    def local_node(self):
        return self._node

    def __getattr__(self, name):
        return getattr(self._cluster, name)


class World:
    """Three nodes with one storage; the VM runs on n1, which goes into standby."""

    def __init__(self, folder):
        self.history = []
        self.nodes = {}
        first = MemoryEnv(DomainXml())
        for number, name in enumerate(("n1", "n2", "n3")):
            env = self.nodes[name] = MemoryEnv(DomainXml())
            env.storage = first.storage
            env.storages, env.clock, env.intent_log = first.storages, first.clock, first.intent_log
            env.hypervisor = env.processes = Watched(self.history, 100 * number)
            env.cluster = SeenFrom(first.cluster, name)
            env.state_dir = folder / name
        self.storage, self.cluster, self.clock = first.storage, first.cluster, first.clock
        with self.storage.stage("web1") as staged:
            staged.add(1 << 20)
            staged.describe(xml=XML, base_xml=XML, settings=VmSettings(), notes={})
            staged.commit()
        self.cluster.add(VmResource("web1", TargetRole.STARTED, hibernation_s=120))
        self.cluster.stuck.add("web1")  # it is this test that calls the agent
        self.cluster.places["web1"] = "n1"
        self.start("n1")
        self.history.clear()
        self.standby("n1")

    def standby(self, name):
        self.cluster.nodes[name] = self.cluster.nodes[name]._replace(standby=True)

    def act(self, action, name, env=None, **changes):
        ACTIONS[action](env or self.nodes[name], GIVEN._replace(**changes))

    def start(self, name):
        self.act("start", name)

    def stop(self, name, **changes):
        self.act("stop", name, **changes)

    def cut_power(self, name):
        self.nodes[name].hypervisor.running.clear()
        self.nodes[name].hypervisor.halted.clear()

    def runs(self, name):
        """Give which run's processors run on a node; None where none do."""
        hypervisor = self.nodes[name].hypervisor
        if "web1" not in hypervisor.running or "web1" in hypervisor.halted:
            return None
        return hypervisor.runs["web1"]

    def told(self, name):
        return [event.kind for event in self.nodes[name].journal.handed]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_moved_guest_goes_on_with_its_memory(world):
    run = world.runs("n1")
    world.stop("n1")
    assert world.runs("n1") is None
    assert "web1" not in world.nodes["n1"].hypervisor.running
    assert world.storage.saved_memory.of("web1").resumable
    world.start("n2")
    assert world.runs("n2") == run
    assert world.history == [("restore", run), ("go on", run)]
    assert world.storage.saved_memory.of("web1") is None
    assert EventKind.SAVED in world.told("n1")
    assert world.told("n2")[-2:] == [EventKind.RESUMED, EventKind.RUNNING]
    saved = next(one for one in world.nodes["n1"].journal.handed if one.kind is EventKind.SAVED)
    assert set(saved.waited) == {"checks", "memory", "storage", "end"}


def test_guest_that_its_user_paused_stays_paused(world):
    world.nodes["n1"].hypervisor.pause("web1")
    world.stop("n1")
    world.start("n2")
    assert world.nodes["n2"].hypervisor.paused("web1", timeout_s=1)
    assert [verb for verb, _ in world.history] == ["restore"]


def test_guest_goes_on_where_it_was_saved(world):
    run = world.runs("n1")
    world.stop("n1")
    world.start("n1")
    assert world.runs("n1") == run


def shut_down(world, **changes):
    """Stop it on n1 and check that this was an ordinary shutdown."""
    verbs = []
    world.nodes["n1"].hypervisor.on_call = verbs.append
    world.stop("n1", **changes)
    world.nodes["n1"].hypervisor.on_call = lambda _verb: None
    assert "web1" not in world.nodes["n1"].hypervisor.running
    assert "shutdown" in verbs
    assert world.storage.saved_memory.of("web1") is None
    world.start("n2")
    assert world.runs("n2") > 100, "it boots"
    return verbs


@pytest.mark.parametrize(
    "why", ["stopped", "failed", "not asked", "no sign", "alone", "no quorum", "blind", "pinned", "unmanaged"]
)
def test_any_other_stop_is_an_ordinary_one(world, why):
    cluster, changes = world.cluster, {}
    resource = cluster.resources["web1"]
    if why == "stopped":
        cluster.resources["web1"] = resource._replace(target_role=TargetRole.STOPPED)
    elif why == "failed":
        cluster.failing["web1"] = "monitor on n1: not running"
    elif why == "not asked":
        changes = {"hibernation_s": 0.0}
    elif why == "no sign":
        cluster.nodes["n1"] = cluster.nodes["n1"]._replace(standby=False)
    elif why == "alone":
        world.standby("n2")
        world.standby("n3")
    elif why == "no quorum":
        cluster.quorate = False
    elif why == "pinned":
        cluster.resources["web1"] = resource._replace(pinned_host="n1")
    elif why == "unmanaged":
        cluster.resources.pop("web1")
    else:

        def unreachable():
            raise VmMgrError(Kind.ENVIRONMENT, "no cluster")

        world.nodes["n1"].cluster.state = unreachable
    verbs = shut_down(world, **changes)
    assert not {"pause", "save_memory"} & set(verbs)


@pytest.mark.parametrize("sign", ["leaving", "move", "prefers"])
def test_other_moves_save_it_too(world, sign):
    cluster = world.cluster
    cluster.nodes["n1"] = cluster.nodes["n1"]._replace(standby=False, shutting_down=sign == "leaving")
    if sign == "move":
        cluster.begin_move(Move("web1", "n1", "n2", lifetime_s=60))
    if sign == "prefers":
        cluster.resources["web1"] = cluster.resources["web1"]._replace(preferred_host="n3")
    world.stop("n1")
    assert world.storage.saved_memory.of("web1").resumable


def test_forced_stop_is_one(world):
    world.stop("n1", force_stop=True)
    assert world.storage.saved_memory.of("web1") is None


@pytest.mark.parametrize(
    "trouble",
    [
        "saved_memory.prepare",
        "saved_memory.store",
        "room",
        "libvirt",
        "slow",
        "io error",
        "large",
        "no storage",
    ],
)
def test_guest_that_can_not_be_saved_goes_on_and_is_shut_down(world, trouble):
    hypervisor = world.nodes["n1"].hypervisor
    if trouble in ("saved_memory.prepare", "saved_memory.store"):
        world.storage.failing = trouble
    elif trouble == "no storage":
        world.storage.failing = "definitions.names"
    elif trouble == "room":
        world.storage.saved_memory.room_bytes = 1 << 20
    elif trouble == "libvirt":
        hypervisor.failing_save = "device does not support migration"
    elif trouble == "io error":
        hypervisor.halted["web1"] = "I/O error"
    elif trouble == "large":
        hypervisor.xmls["web1"] = XML.replace("'MiB'>512", "'GiB'>64")
    began = world.clock.now
    if trouble == "slow":

        def slow(verb):
            world.clock.sleep(GIVEN.hibernation_s + 1 if verb == "save_memory" else 0)

        hypervisor.on_call = slow
    world.stop("n1")
    assert world.clock.now - began < GIVEN.timeout_s
    assert "web1" not in hypervisor.running
    assert not hypervisor.halted
    world.storage.failing = ""
    told = [event for event in world.nodes["n1"].journal.handed if event.kind is EventKind.NOT_SAVED]
    assert len(told) == 1
    assert told[0].detail
    assert world.storage.saved_memory.of("web1") is None
    world.start("n2")
    assert world.history[-1][0] == "boot"


def test_shutdown_after_a_failed_save_keeps_within_the_time(world):
    hypervisor = world.nodes["n1"].hypervisor
    hypervisor.failing_save, hypervisor.ignores_shutdown = "it can't", True
    began = world.clock.now
    world.stop("n1")
    assert "web1" not in hypervisor.running
    assert world.clock.now - began < ORDINARY_S


def test_signal_lets_the_guest_go_on(world):
    def interrupt(verb):
        if verb == "save_memory":
            raise SignalError(15)

    world.nodes["n1"].hypervisor.on_call = interrupt
    with pytest.raises(SignalError):
        world.stop("n1")
    assert world.runs("n1") is not None
    assert world.storage.saved_memory.of("web1") is None


def test_memory_that_can_not_be_finished_is_never_resumed(world):
    world.storage.failing = "saved_memory.commit"
    world.stop("n1")
    world.storage.failing = ""
    assert EventKind.NOT_SAVED in world.told("n1")
    world.start("n2")
    assert world.history == [("boot", 101)]


def test_disk_that_another_has_open_makes_the_memory_worthless(world):
    hypervisor = world.nodes["n1"].hypervisor

    def open_elsewhere(verb):
        if verb == "destroy":
            world.storage.held = [DiskClient("system_web1", "198.51.100.12:0/7")]

    hypervisor.on_call = open_elsewhere
    world.stop("n1")
    assert EventKind.NOT_SAVED in world.told("n1")
    state = world.storage.saved_memory.of("web1")
    assert state is None or not state.resumable


@pytest.mark.parametrize("tampered", ["disk", "disk while it is saved", "memory", "uuid", "record", "taken"])
def test_memory_that_does_not_fit_is_given_up(world, tampered):
    disks, states = world.storage.vms["web1"].disks, world.storage.saved_memory.states
    if tampered == "disk while it is saved":

        def write(verb):
            if verb == "destroy":
                disks[0] = "written by another boot"

        world.nodes["n1"].hypervisor.on_call = write
    world.stop("n1")
    if tampered == "disk":
        disks[0] = "written by another boot"
    elif tampered == "memory":
        world.storage.saved_memory.contents["web1"] += b"x"
    elif tampered == "uuid":
        states["web1"] = states["web1"]._replace(uuid=UUID.replace("1", "9"))
    elif tampered == "record":
        states["web1"] = states["web1"]._replace(uuid="", digest="", disk_fingerprint="")
    elif tampered == "taken":
        world.storage.saved_memory.consume("web1")
    world.start("n2")
    assert world.history == [("boot", 101)]
    assert EventKind.NOT_RESUMED in world.told("n2") or EventKind.NOT_SAVED in world.told("n1")
    assert world.storage.saved_memory.of("web1") is None


def test_failed_restore_boots_and_says_so(world):
    world.nodes["n2"].hypervisor.failing_restore = "the machine type is unknown"
    world.stop("n1")
    world.start("n2")
    assert world.history == [("boot", 101)]
    told = next(one for one in world.nodes["n2"].journal.handed if one.kind is EventKind.NOT_RESUMED)
    assert "machine type" in told.detail


def test_guest_that_may_have_run_is_not_booted_in_the_same_start(world):
    world.stop("n1")

    def fail(verb):
        if verb == "resume":
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")

    world.nodes["n2"].hypervisor.on_call = fail
    with pytest.raises(VmMgrError):
        world.start("n2")
    assert "web1" not in world.nodes["n2"].hypervisor.running
    world.start("n3")
    assert world.history[-1] == ("boot", 201)


@pytest.mark.parametrize("failing", ["saved_memory.of", "saved_memory.consume"])
def test_nothing_starts_while_memory_could_be_resumed_beside_it(world, failing):
    world.stop("n1")
    world.storage.failing = failing
    with pytest.raises(VmMgrError):
        world.start("n2")
    assert not world.history
    world.storage.failing = ""
    world.start("n3")
    assert [verb for verb, _ in world.history] == ["restore", "go on"]


def test_second_of_two_starts_at_once_starts_nothing(world):
    world.stop("n1")
    storage, fingerprint = world.storage, world.storage.saved_memory.disk_fingerprint

    def other_first(name):
        del storage.saved_memory.disk_fingerprint
        world.start("n3")
        return fingerprint(name)

    storage.saved_memory.disk_fingerprint = other_first  # the last look before the state is taken
    with pytest.raises(VmMgrError) as caught:
        world.start("n2")
    assert caught.value.kind is Kind.WRONG_STATE
    assert world.runs("n2") is None
    assert world.runs("n3") == 1


def dying(world, action, name, calls, *, after):
    """Run an action that dies at its n-th call; tell whether it did."""
    mortal = MortalEnv(world.nodes[name], calls, after=after)
    try:
        world.act(action, name, env=mortal)
    except Killed:
        return True
    return False


def check_safe(world):
    """No run goes on after another one has run, and none goes on twice with the same memory."""
    verbs = [verb for verb, _ in world.history]
    booted = verbs.index("boot") if "boot" in verbs else len(verbs)
    assert not {"restore", "go on"} & set(verbs[booted:]), world.history
    assert verbs.count("restore") <= 1, world.history


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("then", ["fenced", "stopped again"])
def test_stop_that_is_killed_leaves_it_running_or_saved_or_to_boot(tmp_path, after, then):
    outcomes = set()
    for calls in range(200):
        world = World(tmp_path / f"{calls}")
        died = dying(world, "stop", "n1", calls, after=after)
        if "web1" in world.nodes["n1"].hypervisor.running:
            state = world.storage.saved_memory.of("web1")
            assert state is None or not state.resumable, "nothing is to be resumed while its QEMU is there"
        if not died:
            break
        if then == "fenced":
            world.cut_power("n1")
        else:
            world.stop("n1")
        world.start("n2")
        assert world.runs("n2") is not None
        check_safe(world)
        outcomes.add(world.history[-1][0])
        assert world.storage.saved_memory.of("web1") is None
    assert not died
    assert calls > 10
    # Only the last call makes it complete.
    assert outcomes == ({"boot"} if then == "fenced" and not after else {"boot", "go on"})


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("then", ["fenced", "stopped"])
def test_start_that_is_killed_leaves_it_to_be_resumed_once_or_to_boot(tmp_path, after, then):
    outcomes = set()
    for calls in range(200):
        world = World(tmp_path / f"{calls}")
        world.stop("n1")
        died = dying(world, "start", "n2", calls, after=after)
        if not died:
            break
        if then == "fenced":
            world.cut_power("n2")
        else:
            world.stop("n2")
        assert not world.nodes["n2"].hypervisor.running
        told = len(world.history)
        world.start("n3")
        assert world.runs("n3") is not None
        check_safe(world)
        outcomes.add(world.history[-1][0])
        if any(verb == "go on" for verb, _ in world.history[:told]):
            assert world.history[-1][0] == "boot"
        if world.history[-1][0] == "boot" and told == 0:
            assert EventKind.NOT_RESUMED in world.told("n3")
        assert world.storage.saved_memory.of("web1") is None
    assert not died
    assert outcomes == {"boot", "go on"}


def test_old_failures_do_not_hinder(world):
    world.cluster.failures["web1"] = [Failure("monitor on n3: not running", "yesterday", "monitor", "n3")]
    world.stop("n1")
    assert world.storage.saved_memory.of("web1").resumable


def test_agent_is_told_by_its_operation():
    given = {"OCF_RESOURCE_INSTANCE": "web1", "OCF_RESKEY_CRM_meta_vm_mgr_hibernation": "90"}
    assert read(given, strict=False).hibernation_s == 90
    assert read({"OCF_RESOURCE_INSTANCE": "web1"}).hibernation_s == 0
