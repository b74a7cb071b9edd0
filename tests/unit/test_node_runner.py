"""What one node asks of another: both ends of the list, without the network between them."""

import pytest

from vm_mgr.adapters.host.holds import RemoteHolds
from vm_mgr.adapters.host.remote import CALL, SshNodes
from vm_mgr.agent import node_verbs
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.nvram import NvramPlaces
from vm_mgr.ports.holds import Hold
from vm_mgr.ports.node_runner import NodeVerb
from vm_mgr.ports.runner import Completed


class OtherEnd:
    """Call what the forced command of the other node's key does, in this process."""

    def __init__(self, env):
        self.env = env
        self.hosts = []

    def run(self, argv, *, timeout_s):
        call = argv.index("--")
        self.hosts.append(argv[call - 1])
        assert argv[call + 1 : call + 1 + len(CALL)] == CALL
        try:
            told = node_verbs.answer(self.env, argv[call + 1 + len(CALL) :])
        except VmMgrError as error:
            return Completed(argv, 1, "", f"vm-mgr: {error}")
        return Completed(argv, 0, f"{told}\n", "")


class Halves:
    """A node's halves of disks."""

    def do(self, words):
        return f"done: {' '.join(words)}"


@pytest.fixture
def nodes(env):
    return SshNodes(OtherEnd(env), "-cluster")


def test_every_verb_is_understood_at_the_other_end(env, nodes):
    env.hypervisor.running["web1"], env.hypervisor.births[4711] = 4711, "12"
    env.nvram_files.note("web1", NvramPlaces(), "", as_of_s=0.0)
    words = {
        NodeVerb.CLOCK: (),
        NodeVerb.PROCESS: ("4711", "12"),
        NodeVerb.BEGIN_HOLD: ("web1", "paused", "30"),
        NodeVerb.END_HOLD: ("web1",),
        NodeVerb.KEEP_NVRAM: ("web1",),
        NodeVerb.HAS: ("kvm", "bridge-br0", "what-is-this", "has-file-__a"),
        NodeVerb.DISKS: ("apply", "7800", "1", "0"),
    }
    env.node_disks = Halves()
    env.facts_at("n1").lacks.add("kvm")
    answers = {verb: nodes.run("n2", verb, *words[verb]) for verb in NodeVerb}
    assert answers == {
        NodeVerb.CLOCK: f"{env.clock.utc():.3f}",
        NodeVerb.PROCESS: "lives",
        NodeVerb.BEGIN_HOLD: "limit of web1 set",
        NodeVerb.END_HOLD: "limit of web1 ended",
        NodeVerb.KEEP_NVRAM: "kept",
        NodeVerb.HAS: "kvm=0 bridge-br0=2 has-file-__a=2",
        NodeVerb.DISKS: "done: apply 7800 1 0",
    }
    assert set(nodes.runner.hosts) == {"n2-cluster"}


def test_time_and_end_of_a_process_are_read(env, nodes):
    env.hypervisor.running["web1"], env.hypervisor.births[4711] = 4711, "12"
    assert nodes.utc("n2") == pytest.approx(env.clock.utc())
    assert not nodes.has_ended("n2", 4711, "12")
    assert nodes.has_ended("n2", 4711, "13")


def test_limit_of_a_hold_is_set_and_ended_there(env, nodes):
    RemoteHolds(nodes, "n2").begin("web1", Hold.FROZEN, 30)
    assert env.holds.limits == {"web1": (Hold.FROZEN, 30.0)}
    RemoteHolds(nodes, "n2").end("web1")
    assert not env.holds.limits


def test_refusal_of_the_other_end_is_an_error_here(nodes):
    with pytest.raises(VmMgrError) as caught:
        nodes.run("n2", NodeVerb.END_HOLD, "../a")
    assert caught.value.kind is Kind.EXTERNAL_FAILURE
    assert "n2-cluster" in caught.value.message
