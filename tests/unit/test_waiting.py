"""A VM that is to run and does not start yet: `list`, `status` and `show` tell what it waits for."""

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import ClusterState, Failure, Node, NodeName, Resource
from vm_mgr.model.vm import VmName, VmSettings, VmState
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.list_vms import list_vms
from vm_mgr.operations.show import show
from vm_mgr.operations.start import start
from vm_mgr.operations.status import full_status
from vm_mgr.operations.support.vm_state import derive_status
from vm_mgr.ports.cluster import Cause

DOMAIN = "<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os><devices/></domain>"
WEB1 = VmName("web1")


def seen(*nodes, **state):
    """Look at a VM that is to run, and of which nothing is under way."""
    resources = {"web1": Resource("web1"), **state.pop("resources", {})}
    return derive_status(resources["web1"], ClusterState(nodes, resources, **state))


def node(number, **state):
    return Node(NodeName(f"n{number}"), **state)


LOST = node(2, online=False, unclean=True)


@pytest.fixture
def env(tmp_path):
    image = tmp_path / "disk.qcow2"
    image.write_bytes(b"QFI\xfb" + bytes(20) + (1 << 20).to_bytes(8, "big"))
    made = MemoryEnv(DomainXml())
    create(made, CreateRequest(WEB1, DOMAIN, (str(image),), VmSettings()))
    made.cluster.stuck.add(WEB1)
    made.cluster.places.pop(WEB1, None)
    return made


def everywhere(env):
    """Give what the three say of it, which must not differ."""
    (listed,) = list_vms(env)
    assert listed == full_status(env, WEB1) == show(env, WEB1).status
    return listed


def test_nothing_is_made_up_of_a_vm_that_is_about_to_start():
    vm = seen(node(1), node(2))
    assert (vm.state, vm.words, vm.waits) == (VmState.STARTING, "", True)


def test_fencing_that_has_not_ended_is_the_reason():
    assert seen(node(1), LOST).words == "the cluster starts nothing until n2 is fenced"
    both = seen(node(1), LOST, node(3, online=False, unclean=True))
    assert both.words == "the cluster starts nothing until n2 and n3 are fenced"


def test_cluster_without_fencing_waits_for_none():
    assert seen(node(1), LOST, fencing_enabled=False).words == ""


def test_node_that_boots_is_named():
    assert seen(node(1), node(2, pending=True)).words == "n2 is not ready yet"


def test_failed_start_is_named_with_what_it_waits_for():
    failed = Resource("web1", failures=(Failure("start failed on n1"),))
    assert seen(node(1), LOST, resources={"web1": failed}).words == (
        "start failed on n1; the cluster starts nothing until n2 is fenced"
    )


def test_disks_that_are_not_there_yet_are_named():
    disk = Resource("vm-mgr-disk-web1..drbd", agent="ocf:linbit:drbd")
    other = Resource("vm-mgr-disk-web10..drbd", agent="ocf:linbit:drbd")
    found = seen(node(1), resources={disk.name: disk, other.name: other})
    assert found.words == "vm-mgr-disk-web1..drbd does not run yet"
    assert seen(node(1), resources={disk.name: disk._replace(active=True)}).words == ""


def test_start_that_is_under_way_waits_for_nothing():
    begun = Resource("web1", pending="Starting", nodes=(NodeName("n1"),))
    assert seen(node(1), LOST, resources={"web1": begun}).words == ""


def test_without_a_node_each_says_why():
    vm = seen(node(1, standby=True), node(2, online=False), node(3, observer=True))
    assert vm.state is VmState.STOPPED
    assert vm.words == "no node can run VMs now: n1 is in standby, n2 is offline"


def test_all_three_tell_of_a_fencing(env):
    env.cluster.nodes["n2"] = LOST
    vm = everywhere(env)
    assert (vm.state, vm.words) == (VmState.STARTING, "the cluster starts nothing until n2 is fenced")


@pytest.mark.parametrize("why", ["maintenance", "unmanaged"])
def test_all_three_call_a_vm_stopped_that_the_cluster_leaves_alone(env, why):
    env.cluster.barred[WEB1] = (Cause("never asked"),)
    if why == "maintenance":
        env.cluster.maintenance = True
    else:
        env.cluster.unmanaged.add(WEB1)
    vm = everywhere(env)
    assert vm.state is VmState.STOPPED
    assert vm.words.startswith("not managed: ")
    assert "never asked" not in vm.words


def test_all_three_tell_of_a_rule_and_of_what_it_waits_for(env):
    env.cluster.barred[WEB1] = (Cause("web1 is pinned to n2", "vm-mgr set web1 --unset pinned-host"),)
    env.cluster.nodes["n2"] = node(2, pending=True)
    vm = everywhere(env)
    assert vm.state is VmState.STOPPED
    assert vm.words.startswith("no node may run it: web1 is pinned to n2")
    assert vm.words.endswith("n2 is not ready yet")


def test_command_that_gives_up_waiting_tells_of_it(env):
    env.cluster.nodes["n2"] = node(2, pending=True)
    with pytest.raises(VmMgrError) as caught:
        start(env, WEB1)
    assert caught.value.message == "web1 is still Starting: n2 is not ready yet"
