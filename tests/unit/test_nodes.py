"""What is done to nodes: the calls of Pacemaker's tools, and what the memory cluster makes of it."""

import pytest

from vm_mgr.adapters.memory.cluster import MemoryCluster
from vm_mgr.adapters.memory.nodes import MemoryNodes
from vm_mgr.adapters.pacemaker.nodes import PacemakerNodes, read_score
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, Failure, Node
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.runner import Completed

LOST = Node("n2", online=False, unclean=True)


class Recorder:
    """Pacemaker's tools, of which each ends well unless another exit status was set."""

    def __init__(self):
        self.calls = []
        self.exit_code = 0

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        self.calls.append(" ".join(argv))
        return Completed(tuple(argv), self.exit_code, "", "")


@pytest.fixture
def tools():
    return Recorder()


def nodes(tools, second=LOST):
    return PacemakerNodes(tools, lambda: ClusterState((Node("n1"), second), {}))


class TestCalls:
    def test_standby_ends_with_the_next_boot_unless_it_is_to_last(self, tools):
        nodes(tools).standby("n1")
        nodes(tools).standby("n1", lasting=True)
        assert tools.calls == [
            "crm_standby --node n1 --lifetime reboot --update on",
            "crm_standby --node n1 --lifetime forever --update on",
        ]

    def test_end_of_standby_ends_both_and_none_is_fine(self, tools):
        tools.exit_code = 105
        nodes(tools).unstandby("n1")
        assert tools.calls == [
            "crm_standby --node n1 --lifetime forever --delete",
            "crm_standby --node n1 --lifetime reboot --delete",
        ]
        with pytest.raises(VmMgrError):
            nodes(tools).standby("n1")

    def test_maintenance_is_an_attribute_of_the_node(self, tools):
        nodes(tools).maintenance("n1", on=True)
        nodes(tools).maintenance("n1", on=False)
        assert tools.calls == [
            "crm_attribute --node n1 --name maintenance --update true",
            "crm_attribute --node n1 --name maintenance --delete",
        ]

    def test_node_is_fenced_by_its_device_and_a_lost_one_by_a_persons_word(self, tools):
        nodes(tools).fence("n1")
        nodes(tools).confirm_off("n2")
        assert tools.calls == ["stonith_admin --reboot n1 --timeout 120", "stonith_admin --confirm n2"]

    @pytest.mark.parametrize(
        "seen", [Node("n2"), Node("n2", online=False), Node("n2", unclean=True), Node("n2", pending=True)]
    )
    def test_word_about_a_node_that_is_not_lost_is_refused(self, tools, seen):
        with pytest.raises(VmMgrError) as caught:
            nodes(tools, seen).confirm_off("n2")
        assert caught.value.kind is Kind.WRONG_STATE
        assert tools.calls == []

    def test_ended_moves_are_forgotten_before_the_failures(self, tools):
        nodes(tools).cleanup("n1")
        assert "migrate_to" in tools.calls[0]
        assert tools.calls[1] == "crm_resource --cleanup --node n1"

    def test_answer_that_is_no_xml_is_an_error(self, tools):
        with pytest.raises(VmMgrError) as caught:
            nodes(tools).why("web1", "n1")
        assert caught.value.kind is Kind.EXTERNAL_FAILURE

    def test_last_score_counts(self):
        first, last = (f'<node_weight node="n1" score="{score}" id="web1"/>' for score in ("5", "-7"))
        assert read_score(f"<r>{first}{last}</r>", "web1", "n1") == -7
        assert read_score(f"<r>{first}</r>", "web1", "n2") is None


class TestMemory:
    @pytest.fixture
    def cluster(self):
        cluster = MemoryCluster()
        cluster.add(VmResource("web1", TargetRole.STARTED, preferred_host="n2"))
        cluster.state()
        return cluster

    def test_what_ran_on_a_fenced_node_is_recovered_elsewhere(self, cluster):
        MemoryNodes(cluster).fence("n2")
        state = cluster.state()
        assert state.node("n2").gone
        assert state.resources["web1"].nodes == ("n1",)
        assert [(one.node, one.fences, one.by_hand) for one in state.fencings] == [("n2", True, False)]

    def test_without_a_device_nothing_is_fenced(self, cluster):
        cluster.fence_devices = 0
        with pytest.raises(VmMgrError) as caught:
            MemoryNodes(cluster).fence("n2")
        assert caught.value.kind is Kind.EXTERNAL_FAILURE
        assert cluster.state().node("n2").online

    def test_word_about_a_lost_node_is_a_fencing_by_hand(self, cluster):
        cluster.nodes["n2"] = LOST
        MemoryNodes(cluster).confirm_off("n2")
        assert cluster.state().fencings[0].by_hand
        assert cluster.state().node("n2").gone

    def test_failures_of_one_node_are_forgotten(self, cluster):
        cluster.failures["web1"] = [Failure("a", node="n1"), Failure("b", node="n2")]
        MemoryNodes(cluster).cleanup("n1")
        assert cluster.failures["web1"] == [Failure("b", node="n2")]

    def test_node_where_it_runs_is_told(self, cluster):
        assert MemoryNodes(cluster).why("web1", "n2") == (True, 0)
        assert MemoryNodes(cluster).why("web1", "n1") == (False, 0)
