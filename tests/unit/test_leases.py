"""What is done after a claim has ended is refused, wherever it would change something."""

import pytest

from vm_mgr.adapters.ceph.connection import Connection
from vm_mgr.adapters.ceph.lease import LEASE_S, Leases
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker.port import Pacemaker
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.adapters.shared_dir.port import SharedDirectory
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import Move


class Timed(Leases):
    def __init__(self):
        super().__init__()
        self.time_s = 1000.0

    def now(self):
        return self.time_s


@pytest.fixture
def leases():
    return Timed()


def ended(leases):
    with pytest.raises(VmMgrError) as caught:
        leases.require()
    assert caught.value.kind is Kind.TRY_LATER
    return True


def test_claim_ends_unless_it_is_renewed(leases):
    leases.require()
    leases.hold("one", leases.now())
    for _ in range(5):
        leases.time_s += LEASE_S - 1
        leases.require()
        leases.hold("one", leases.now())
    leases.time_s += LEASE_S + 1
    assert ended(leases)


def test_late_answer_to_a_renewal_does_not_revive(leases):
    leases.hold("one", leases.now())
    leases.time_s += LEASE_S + 1
    leases.hold("one", leases.now())
    assert ended(leases)
    leases.release("one")
    leases.require()


def test_one_lost_claim_among_others_is_enough(leases):
    leases.hold("one", leases.now())
    leases.hold("two", leases.now())
    leases.lose("two")
    assert ended(leases)
    leases.hold("two", leases.now())
    assert ended(leases)
    leases.release("two")
    leases.require()


def test_real_clock_goes_on():
    leases = Leases()
    assert 0 < leases.now() <= leases.now()


def refuse():
    raise VmMgrError(Kind.TRY_LATER, "this command was suspended")


class Unused:
    def run(self, argv, **_):
        raise AssertionError(argv)


CHANGES = [
    lambda cluster: cluster.add(None),
    lambda cluster: cluster.reconfigure(None),
    lambda cluster: cluster.remove("web1"),
    lambda cluster: cluster.rename("web1", "web2"),
    lambda cluster: cluster.set_target_role("web1", TargetRole.STARTED),
]


@pytest.mark.parametrize("change", CHANGES)
def test_cluster_is_not_changed_any_more(change):
    with pytest.raises(VmMgrError, match="was suspended"):
        change(Pacemaker(Unused(), VirtualClock(), require=refuse))


def test_end_of_a_move_needs_no_claim():
    with pytest.raises(AssertionError, match="cib"):
        Pacemaker(Unused(), VirtualClock(), require=refuse).begin_move(
            Move("web1", NodeName("n1"), NodeName("n2"), lifetime_s=60)
        )


def test_directory_is_not_changed_any_more(tmp_path):
    mount = Mount(tmp_path)
    mount.initialise()
    storage = SharedDirectory(VmFolders(mount, Unused(), VirtualClock(), require=refuse))
    with pytest.raises(VmMgrError, match="was suspended"), storage.stage("web1"):
        pass
    with pytest.raises(VmMgrError, match="was suspended"):
        storage.unstage("web1")
    assert [path.name for path in tmp_path.iterdir()] == [".vm-mgr"]


def test_ceph_is_not_changed_any_more():
    connection = Connection("/nonexistent", "vm-mgr", "rbd")
    connection.leases.lose("one")
    with pytest.raises(VmMgrError, match="was suspended"):
        _ = connection.ioctx
