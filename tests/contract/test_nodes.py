"""What every cluster's nodes do; none is fenced here but in memory, where that harms nobody."""

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import VmResource

NAME = "contract1"


@pytest.fixture
def other(env):
    """Name a node that nothing of the contracts runs on, and leave it as it was."""
    name = next(node.name for node in env.cluster.state().nodes if node.name != env.cluster.local_node())
    yield name
    env.nodes.unstandby(name)
    env.nodes.maintenance(name, on=False)


def seen(env, name, word):
    """Look until the node is so, or for 10 s: an attribute that ends with the boot takes a moment."""
    for _ in range(20):
        if getattr(env.cluster.state().node(name), word):
            return True
        env.clock.sleep(0.5)
    return False


def gone(env, name, word):
    for _ in range(20):
        if not getattr(env.cluster.state().node(name), word):
            return True
        env.clock.sleep(0.5)
    return False


def kind_of(verb, *arguments, **named):
    with pytest.raises(VmMgrError) as caught:
        verb(*arguments, **named)
    return caught.value.kind


@pytest.mark.parametrize("lasting", [False, True])
def test_standby_begins_and_ends(env, other, lasting):
    env.nodes.unstandby(other)
    env.nodes.standby(other, lasting=lasting)
    assert seen(env, other, "standby")
    env.nodes.unstandby(other)
    assert gone(env, other, "standby")


def test_maintenance_begins_and_ends(env, other):
    env.nodes.maintenance(other, on=False)
    env.nodes.maintenance(other, on=True)
    env.nodes.maintenance(other, on=True)
    assert seen(env, other, "maintenance")
    env.nodes.maintenance(other, on=False)
    assert gone(env, other, "maintenance")


def test_node_that_is_no_member_is_not_found(env):
    nodes = env.nodes
    for verb in (nodes.standby, nodes.unstandby, nodes.fence, nodes.confirm_off, nodes.cleanup):
        assert kind_of(verb, "nowhere") is Kind.NOT_FOUND
    assert kind_of(nodes.maintenance, "nowhere", on=True) is Kind.NOT_FOUND
    assert kind_of(nodes.why, NAME, "nowhere") is Kind.NOT_FOUND


def test_node_that_is_online_is_never_taken_for_off(env, other):
    assert kind_of(env.nodes.confirm_off, other) is Kind.WRONG_STATE
    assert env.cluster.state().node(other).online


def test_failures_that_are_none_are_forgotten(env, other):
    env.nodes.cleanup(other)
    assert env.cluster.state().node(other).online


def test_scheduler_bars_a_pinned_vm_from_the_other_nodes(env, other):
    here = env.cluster.local_node()
    env.cluster.add(VmResource(NAME, TargetRole.STOPPED, pinned_host=here))
    assert env.nodes.why(NAME, other) == (False, -1_000_000)
    assert env.nodes.why(NAME, other).barred
    assert kind_of(env.nodes.why, "absent", here) is Kind.NOT_FOUND
