"""What can be read of the timeouts of a running cluster, whichever one it is."""

import pytest

from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import VmResource

NAME = "contract1"


def test_membership_is_read_in_seconds(env):
    totem = env.timings.cluster().totem
    assert 0.1 < totem.token < 60
    assert totem.token < totem.consensus < 120
    assert 0 < totem.join < totem.token


def test_nodes_and_their_fence_devices_are_known(env):
    found = env.timings.cluster()
    assert {node.name for node in env.cluster.state().nodes} == set(found.nodes)
    assert env.cluster.local_node() in found.nodes
    assert {target for device in found.devices for target in device.targets} == set(found.nodes)
    assert found.pacemaker.stonith_enabled
    assert None not in (found.pacemaker.stonith_timeout, found.pacemaker.dc_deadtime)


def test_vm_has_the_timeouts_that_it_was_given(env):
    vm = VmResource(
        NAME,
        TargetRole.STOPPED,
        live_migration=True,
        start_timeout_s=101,
        stop_timeout_s=31,
        migrate_to_timeout_s=121,
        migrate_from_timeout_s=61,
        monitor_interval_s=11,
        monitor_timeout_s=51,
        params={"storage": "ceph"},
    )
    env.cluster.add(vm)
    (found,) = (one for one in env.timings.cluster().vms if one.name == NAME)
    assert (found.start, found.stop, found.migrate_to, found.migrate_from) == (101, 31, 121, 61)
    assert (found.monitor_interval, found.monitor, found.live_migration) == (11, 51, True)
    assert (found.storage, found.depends_on) == ("ceph", "")
    env.cluster.remove(NAME)
    assert NAME not in {one.name for one in env.timings.cluster().vms}


def test_storage_tells_how_soon_it_misses_a_node(env):
    ceph = env.timings.ceph()
    assert 0 < ceph.osd_heartbeat_interval < ceph.osd_heartbeat_grace <= 60
    assert ceph.osd_hosts == len(env.cluster.state().nodes)
    assert None not in (ceph.mon_lease, ceph.objecter_timeout, ceph.mon_osd_min_down_reporters)
    assert ceph.sources["osd_heartbeat_grace"] in ("ceph.conf", "monitors")


@pytest.mark.parametrize("read", ["cluster", "ceph"])
def test_reading_twice_gives_the_same(env, read):
    assert getattr(env.timings, read)() == getattr(env.timings, read)()
