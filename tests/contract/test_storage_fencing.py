"""What every storage does that is told of lost nodes; nothing of a living one is touched here."""

from vm_mgr.ports.storage_fencing import Daemons

NOBODY = "192.0.2.254"


def test_connecting_anew_changes_no_answer(env):
    me = env.cluster.local_node()
    before = env.storage_fencing.daemons(me, env.node_addresses)
    env.storage_fencing.connect()
    assert env.storage_fencing.daemons(me, env.node_addresses) == before


def test_unknown_node_has_no_daemons(env):
    assert env.storage_fencing.daemons("contract-n9", [NOBODY]) == Daemons()


def test_node_has_no_daemons_at_addresses_of_others(env):
    assert env.storage_fencing.daemons(env.cluster.local_node(), [NOBODY]) == Daemons()


def test_unknown_address_has_no_clients(env):
    assert env.storage_fencing.clients([NOBODY]) == []


def test_nobody_is_shut_out(env):
    env.storage_fencing.blocklist([])
