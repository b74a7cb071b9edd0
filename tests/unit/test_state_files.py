"""What the agent keeps of one VM is never another VM's, whatever the names."""

import pytest

from vm_mgr.adapters.host.own_clients import FileOwnClients
from vm_mgr.agent import identity, state_files
from vm_mgr.ports.own_clients import Opened


@pytest.fixture
def node(env, tmp_path):
    env.state_dir = tmp_path
    return env


@pytest.mark.parametrize("neighbour", ["web1.new", "web1.again", "web1.old"])
def test_writing_and_forgetting_touches_no_vm_of_a_longer_name(node, neighbour):
    for kind in ("moving", "running", "disks"):
        state_files.write(node, kind, neighbour, "theirs")
        state_files.write(node, kind, "web1", "ours")
    identity.forget(node, "web1")
    assert [state_files.read(node, kind, neighbour) for kind in ("moving", "running", "disks")] == [
        "theirs"
    ] * 3


def test_disk_clients_of_a_vm_of_a_longer_name_stay(tmp_path):
    clients, opened = FileOwnClients(tmp_path), Opened(7, "70", frozenset({"198.51.100.11:0/7"}))
    clients.keep("web1.new", opened)
    clients.keep("web1", opened)
    clients.forget("web1")
    assert clients.kept("web1.new") == opened
