import pytest

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.topology import Topology, bmc_address


def test_observers_come_after_hypervisors() -> None:
    nodes = Topology.make_nodes(2, 1)
    assert [(n.name, n.role) for n in nodes] == [
        ("n1", "hypervisor"),
        ("n2", "hypervisor"),
        ("n3", "observer"),
    ]


def test_addresses_never_collide() -> None:
    nodes = Topology.make_nodes(32, 0)
    admin = [n.address("admin") for n in nodes] + [bmc_address(n) for n in nodes]
    assert len(set(admin)) == 64


@pytest.mark.parametrize(("hypervisors", "observers"), [(0, 1), (3, -1), (30, 3)])
def test_impossible_sizes_are_refused(hypervisors: int, observers: int) -> None:
    with pytest.raises(LabError):
        Topology.make_nodes(hypervisors, observers)
