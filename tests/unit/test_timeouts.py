"""Recovery times, timeouts that contradict each other, and how both are read and shown."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.ceph.timings import Entry, combine, parse_conf
from vm_mgr.adapters.memory.timings import MemoryTimings
from vm_mgr.adapters.pacemaker.timings import parse_cluster, parse_totem, read_cluster
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.inconsistencies import inconsistencies
from vm_mgr.model.recovery import fencing_worst, node_lost, qemu_died
from vm_mgr.model.timings import CephTimes, FenceDevice, PacemakerTimes, TotemTimes, VmTimes
from vm_mgr.model.vm import TargetRole
from vm_mgr.operations.timeouts import require_consistent, timeouts
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.runner import Completed

VM = VmTimes(
    name="web1",
    start=120,
    stop=30,
    monitor_interval=10,
    monitor=60,
    migrate_to=120,
    migrate_from=60,
    migration_threshold=3,
    failure_timeout=600,
)
CMAP = """runtime.config.totem.consensus (u32) = 1560
runtime.config.totem.interface.0.knet_ping_timeout (u32) = 650
runtime.config.totem.join (u32) = 50
runtime.config.totem.token (u32) = 1300
runtime.config.totem.token_retransmit (u32) = 309
runtime.config.totem.token_retransmits_before_loss_const (u32) = 4
runtime.config.totem.token_warning (u32) = 75
"""
CIB = """<cib><configuration>
<crm_config><cluster_property_set id="a"><nvpair id="a1" name="stonith-timeout" value="90s"/>
<nvpair id="a2" name="dc-deadtime" value="2min"/><nvpair id="a3" name="stonith-watchdog-timeout" value="-1"/>
<nvpair id="a4" name="fencing-enabled" value="false"/>
<nvpair id="a5" name="have-watchdog" value="true"/></cluster_property_set>
<cluster_property_set id="b"><rule id="r" score="1"/><nvpair id="b1" name="cluster-delay" value="5s"/>
</cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/><node id="2" uname="n2" type="member"/>
<node id="r1" uname="r1" type="remote"/></nodes>
<resources>
<primitive id="f" class="stonith" type="fence_ilo3"><instance_attributes id="fi">
<nvpair id="f1" name="pcmk_delay_base" value="n1:1s;n2:5s"/>
<nvpair id="f2" name="pcmk_host_map" value="n1:p1;n2:p2"/>
<nvpair id="f3" name="pcmk_off_timeout" value="70"/></instance_attributes></primitive>
<template id="t" class="ocf" provider="vm-mgr" type="VirtualDomain"><operations>
<op id="t1" name="start" interval="0" timeout="3min"/></operations></template>
<group id="g"><primitive id="web1" template="t"><meta_attributes id="wm">
<nvpair id="w1" name="migration-threshold" value="INFINITY"/></meta_attributes>
<operations><op id="w2" name="stop" interval="0s" timeout="90000ms"/>
<op id="w3" name="monitor" interval="60s" timeout="9s" role="Stopped"/>
<op id="w4" name="monitor" interval="15s"/>
</operations></primitive></group>
<primitive id="web2" class="ocf" provider="heartbeat" type="VirtualDomain"><instance_attributes id="vi">
<nvpair id="v1" name="storage" value="vms"/></instance_attributes></primitive>
<primitive id="ip" class="ocf" provider="heartbeat" type="IPaddr2"/></resources>
<constraints><rsc_colocation id="vm-mgr-needs-web2" rsc="web2" with-rsc="vm-mgr-dir-vms"/></constraints>
<rsc_defaults><meta_attributes id="d"><nvpair id="d1" name="failure-timeout" value="PT10M"/>
<nvpair id="d2" name="migration-threshold" value="3"/></meta_attributes></rsc_defaults>
<op_defaults><meta_attributes id="o">
<nvpair id="o1" name="timeout" value="40s"/></meta_attributes></op_defaults>
<alerts><alert id="mail" path="/usr/local/bin/mail"/></alerts>
</configuration></cib>"""


@pytest.fixture
def cluster(env):
    """Give a cluster that is consistent, with one VM."""
    return replace(env.timings.cluster(), vms=(VM,))


@pytest.fixture
def ceph(env):
    return env.timings.ceph()


@pytest.fixture
def shell(env):
    return lambda *words: CliRunner(mix_stderr=False).invoke(app, ["timeouts", *words], obj=env)


def codes(cluster, ceph):
    return [(one.severity.value, one.code) for one in inconsistencies(cluster, ceph)]


def test_node_lost_adds_up_phase_by_phase(cluster, ceph):
    noticed, fenced, released, started = node_lost(cluster, ceph, VM).phases
    assert (noticed.typical_s, noticed.worst_s) == (2.86, 4.42)
    assert (fenced.typical_s, fenced.worst_s) == (1.1, 60)
    # 6 + 2 s until Ceph misses it, 2 s until the client asks; at worst 6 s for the monitors and 1 s more.
    assert (released.typical_s, released.worst_s) == (6.04, 14.14)
    assert (started.typical_s, started.worst_s) == (1.0, 105.86)
    assert node_lost(cluster, ceph, VM).worst_s == 184.42


def test_ceph_that_is_told_of_the_fenced_node_need_not_miss_it(cluster, ceph):
    told = replace(cluster, tells=True)
    # Twice the lease and an election, 6 s, and 0.6 s to tell; not the 10 s of above.
    assert node_lost(told, ceph, VM).phases[2].typical_s == 2.64
    quick = replace(ceph, mon_lease=1.0, mon_election_timeout=1.0)
    assert node_lost(told, quick, VM).phases[2].typical_s == 0.6
    assert node_lost(told, ceph, VM).worst_s == node_lost(cluster, ceph, VM).worst_s


def test_storage_daemon_whose_monitor_is_lost_too_hears_of_it_late(cluster, ceph):
    patient = replace(ceph, mon_client_ping_interval=10, mon_client_ping_timeout=30)
    plain, late = (node_lost(cluster, one, VM).phases[2] for one in (ceph, patient))
    # 40 s instead of the 6 s of the monitors' election.
    assert (late.typical_s, late.worst_s) == (plain.typical_s, plain.worst_s + 34)


def test_controller_pauses_where_nothing_delays_its_transitions(cluster, ceph):
    pausing = replace(cluster, pacemaker=replace(cluster.pacemaker, transition_delay=0))
    assert node_lost(pausing, ceph, VM).phases[1].typical_s == 2.0
    unknown = replace(cluster, pacemaker=replace(cluster.pacemaker, transition_delay=None))
    assert node_lost(unknown, ceph, VM).phases[1].typical_s is None


def test_slow_fencing_hides_the_storages_part(cluster, ceph):
    slow = tuple(replace(one, pcmk_delay_base=10) for one in cluster.devices)
    assert node_lost(replace(cluster, devices=slow), ceph, VM).phases[2].typical_s == 0


def test_qemu_died_is_noticed_by_the_monitor(ceph):
    noticed, stopped, released, started = qemu_died(ceph, VM).phases
    assert (noticed.typical_s, noticed.worst_s) == (5, 70)
    assert (stopped.typical_s, stopped.worst_s) == (0, 30)
    assert (released.typical_s, released.worst_s) == (0, 35)
    assert started.worst_s == 85
    assert qemu_died(ceph, replace(VM, monitor_interval=None)).worst_s is None


def test_storage_that_says_nothing_is_unknown_and_not_guessed(cluster, ceph):
    for known, vm in (
        (None, VM),
        (ceph, replace(VM, depends_on="vm-mgr-dir-vms")),
        (ceph, replace(VM, storage="vms")),
    ):
        found = node_lost(cluster, known, vm)
        assert (found.phases[2].typical_s, found.typical_s) == (None, None)
        assert found.phases[2].worst_s == 119
        assert found.worst_s == 184.42


def test_lost_node_without_a_way_to_fence_it_stays_down(cluster, ceph):
    lone = replace(cluster, devices=())
    assert node_lost(lone, ceph, VM).worst_s is None
    watched = by_watchdog(lone, 10.0)
    assert node_lost(watched, ceph, VM).phases[1].worst_s == 10
    assert ("error", "no-device") in codes(lone, ceph)
    assert ("error", "no-device") not in codes(watched, ceph)
    without = replace(watched, pacemaker=replace(watched.pacemaker, have_watchdog=False))
    assert node_lost(without, ceph, VM).worst_s is None
    assert ("error", "no-device") in codes(without, ceph)


def test_watchdog_whose_timeout_follows_from_the_nodes_fences(cluster, ceph):
    fenced = node_lost(by_watchdog(replace(cluster, devices=()), None), ceph, VM).phases[1]
    assert (fenced.worst_s, fenced.made_of) == (None, "stonith-watchdog-timeout")


def by_watchdog(cluster, timeout_s):
    options = replace(cluster.pacemaker, have_watchdog=True, stonith_watchdog_timeout=timeout_s)
    return replace(cluster, pacemaker=options)


def test_every_device_of_a_node_may_be_tried(cluster):
    second = FenceDevice(
        name="pdu", agent="fence_apc", targets=("n1",), pcmk_reboot_timeout=30, pcmk_delay_max=5
    )
    assert fencing_worst(replace(cluster, devices=(*cluster.devices, second))) == 95
    off = replace(cluster, pacemaker=replace(cluster.pacemaker, stonith_action="off"))
    assert fencing_worst(replace(off, devices=(replace(second, pcmk_off_timeout=7),))) == 12


def test_consistent_cluster_has_none(cluster, ceph):
    assert codes(cluster, ceph) == []
    assert codes(cluster, None) == []


# What is changed (in the cluster's parts, Ceph or the VM) → what must be found, and nothing else.
RULES = {
    "consensus": ({"totem": {"consensus": 1.5}}, "error"),
    "token": ({"totem": {"token": 0.5, "consensus": 0.6}}, "warning"),
    "no-fencing": ({"pacemaker": {"stonith_enabled": False}}, "error"),
    "watchdog": ({"pacemaker": {"stonith_watchdog_timeout": 100.0}}, "warning"),
    "priority-fencing-delay": ({"device": {"pcmk_delay_max": 3, "pcmk_reboot_timeout": 90}}, "warning"),
    "fence-timeout": ({"device": {"pcmk_reboot_timeout": 39}}, "error"),
    "comes-not-on": ({"device": {"waits": False}}, "warning"),
    "dc-deadtime": ({"pacemaker": {"dc_deadtime": 2.5}}, "warning"),
    "cluster-delay": ({"pacemaker": {"cluster_delay": 2}}, "warning"),
    "pause": ({"pacemaker": {"transition_delay": 0}}, "warning"),
    "silent-monitor": ({"ceph": {"mon_client_ping_timeout": 30}}, "warning"),
    "heartbeat": ({"ceph": {"osd_heartbeat_interval": 4}}, "error"),
    "monitors-grace": ({"ceph": {"mon_osd_heartbeat_grace": 20}}, "warning"),
    "reporters": ({"ceph": {"mon_osd_min_down_reporters": 3}}, "error"),
    "io-timeout": ({"ceph": {"rados_osd_op_timeout": 15}}, "error"),
    "client-patience": ({"ceph": {"objecter_timeout": 7}}, "warning"),
    "blocklist": ({"ceph": {"mon_osd_blocklist_default_expire": 60}}, "error"),
    "librbd-blocklist": ({"ceph": {"rbd_blocklist_expire_seconds": 2592000}}, "error"),
    "stop-and-fencing": ({"vm": {"stop": 100}}, "warning"),
    "shutdown": ({"vm": {"live_migration": True, "migrate_to": 1200}}, "error"),
    "short-stop": ({"vm": {"stop": 15}}, "warning"),
    "no-monitor": ({"vm": {"monitor_interval": None}}, "error"),
    "monitor": ({"vm": {"monitor": 10}}, "error"),
    "failure-timeout": ({"vm": {"failure_timeout": 30}}, "warning"),
    "start": ({"vm": {"start": 40}}, "error"),
    "io-error": ({"vm": {"io_error_timeout": 10}}, "warning"),
}


def changed(cluster, ceph, changes):
    ceph = replace(ceph, **changes.get("ceph", {}))
    devices = (replace(cluster.devices[0], **changes.get("device", {})), *cluster.devices[1:])
    cluster = replace(
        cluster,
        totem=replace(cluster.totem, **changes.get("totem", {})),
        pacemaker=replace(cluster.pacemaker, **changes.get("pacemaker", {})),
        devices=devices,
        vms=(replace(VM, **changes.get("vm", {})),),
    )
    return cluster, ceph


@pytest.mark.parametrize("code", RULES)
def test_rule_finds_its_pair_and_names_a_way_out(cluster, ceph, code):
    changes, severity = RULES[code]
    if code in ("heartbeat", "client-patience"):
        changes = {"ceph": {**changes["ceph"]}}
    found = inconsistencies(*changed(cluster, ceph, changes))
    assert [(one.severity.value, one.code) for one in found] == [(severity, code)]
    one = found[0]
    assert all((*one.first, *one.second, one.why, one.remedy))
    assert one.subject == {"vm": "web1", "device": "fence-n1"}.get(
        next(iter(changes)), ""
    ) or code.startswith("prio")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"device": {"pcmk_reboot_timeout": 45}}, "fence-timeout"),
        ({"ceph": {"osd_heartbeat_interval": 2.5}}, "heartbeat"),
        ({"ceph": {"mon_osd_min_down_reporters": 2}}, "reporters"),
        ({"vm": {"monitor": 15}}, "monitor"),
    ],
)
def test_what_is_nearly_wrong_is_a_warning(cluster, ceph, changes, code):
    assert codes(*changed(cluster, ceph, changes)) == [("warning", code)]


def test_stretched_grace_makes_the_worst_worse(cluster, ceph):
    stretched = replace(ceph, mon_osd_adjust_heartbeat_grace=True)
    assert codes(cluster, stretched) == [("warning", "stretched-grace")]
    plain, longer = (node_lost(cluster, one, replace(VM, start=900)).phases[2] for one in (ceph, stretched))
    assert longer.worst_s == plain.worst_s + 300
    assert longer.typical_s == plain.typical_s


def test_halves_that_shoot_at_once_are_found(cluster, ceph):
    pair = replace(
        cluster, nodes=("n1", "n2"), pacemaker=replace(cluster.pacemaker, priority_fencing_delay=0)
    )
    assert codes(pair, ceph) == [("warning", "same-delay")]
    assert codes(replace(pair, quorum_device=True), ceph) == [], "one half alone has quorum"


def test_two_nodes_may_have_a_short_consensus(cluster, ceph):
    short = replace(cluster, totem=replace(cluster.totem, consensus=1.0))
    assert codes(short, ceph) == [("error", "consensus")]
    assert codes(replace(short, nodes=("n1", "n2")), ceph) == []


def test_cluster_without_devices_is_an_error(cluster, ceph):
    assert codes(replace(cluster, devices=()), ceph) == [("error", "no-device")]


def test_what_is_unknown_breaks_no_rule(cluster, ceph):
    unknown = dict.fromkeys(
        ("osd_heartbeat_grace", "mon_lease", "objecter_timeout", "mon_osd_min_down_reporters")
    )
    vm = replace(VM, start=None, stop=None, monitor=None)
    blind = replace(cluster, totem=TotemTimes(), vms=(vm,))
    assert codes(blind, replace(ceph, **unknown)) == []
    assert node_lost(blind, replace(ceph, **unknown), vm).worst_s is None


def test_totem_is_read_in_seconds():
    assert parse_totem(CMAP) == TotemTimes(
        token=1.3, token_retransmit=0.309, token_retransmits_before_loss_const=4, join=0.05, consensus=1.56
    )
    assert parse_totem("") == TotemTimes()


def test_cib_is_read_with_defaults_and_templates():
    found = parse_cluster(CIB, TotemTimes())
    assert not found.tells
    assert parse_cluster(CIB.replace('"mail"', '"vm-mgr-alert"'), TotemTimes()).tells
    assert found.nodes == ("n1", "n2")
    assert found.pacemaker == PacemakerTimes(
        stonith_timeout=90,
        dc_deadtime=120,
        stonith_watchdog_timeout=None,
        stonith_enabled=False,
        have_watchdog=True,
    )
    newer = CIB.replace("stonith-watchdog", "fencing-watchdog").replace('"-1"', '"7s"')
    assert parse_cluster(newer, TotemTimes()).pacemaker.stonith_watchdog_timeout == 7
    (device,) = found.devices
    assert (device.targets, device.pcmk_delay_base, device.power_wait) == (("n1", "n2"), 5, 4)
    assert (device.pcmk_off_timeout, device.pcmk_reboot_timeout, device.waits) == (70, None, False)
    web1, web2 = found.vms
    assert (web1.start, web1.stop, web1.migrate_to) == (180, 90, 40)
    assert (web1.monitor_interval, web1.monitor) == (15, 40)
    assert (web1.migration_threshold, web1.failure_timeout) == (0, 600)
    assert (web2.migration_threshold, web2.monitor_interval) == (3, None)
    assert (web2.storage, web2.depends_on) == ("vms", "vm-mgr-dir-vms")


def test_quorum_device_is_seen():
    def run(argv, **_):
        device = "quorum.device.model (str) = net\n"
        return Completed(argv, 0, CIB if argv[0] == "cibadmin" else CMAP + device, "")

    assert read_cluster(SimpleNamespace(run=run)).quorum_device
    assert not parse_cluster(CIB, parse_totem(CMAP)).quorum_device


def test_programs_are_asked_without_changing_anything():
    asked = []

    def run(argv, **_):
        asked.append(argv)
        return Completed(argv, 0, CIB if argv[0] == "cibadmin" else CMAP, "")

    assert read_cluster(SimpleNamespace(run=run)).totem.token == 1.3
    assert asked == [
        ("cibadmin", "--query"),
        ("corosync-cmapctl", "runtime.config.totem.", "quorum.device.model"),
    ]


def test_ceph_conf_goes_before_the_monitors_and_they_before_defaults():
    conf = parse_conf(
        "[global]\nosd heartbeat grace = 8\n[osd]\nosd_heartbeat_grace=6\n[osd.3]\nosd_heartbeat_grace=9\n"
    )
    entries = [
        Entry("global", "osd_heartbeat_grace", "30", ""),
        Entry("osd", "osd_heartbeat_interval", "3", ""),
        Entry("mon", "mon_osd_adjust_heartbeat_grace", "false", ""),
        Entry("mon", "mon_lease", "soon", ""),
        Entry("client.libvirt", "rados_osd_op_timeout", "5", ""),
        Entry("osd", "osd_client_watch_timeout", "10", "host:n1"),
        Entry("osd", "osd_memory_target", "1", "host:n1"),
    ]
    found = combine(conf, entries, osd_hosts=3)
    assert (found.osd_heartbeat_grace, found.mon_osd_heartbeat_grace, found.osd_heartbeat_interval) == (
        6,
        8,
        3,
    )
    assert (found.mon_osd_adjust_heartbeat_grace, found.mon_lease) == (False, None)
    assert (found.rados_osd_op_timeout, found.osd_client_watch_timeout) == (0, 30)
    assert found.sources["osd_heartbeat_interval"] == "monitors"
    assert "objecter_timeout" not in found.sources
    assert found.exceptions == (
        "osd_heartbeat_grace of osd.3 in ceph.conf",
        "rados_osd_op_timeout of client.libvirt in the monitors' configuration",
        "osd_client_watch_timeout of osd (host:n1) in the monitors' configuration",
    )
    assert combine({}, []) == CephTimes()


@pytest.fixture
def vms(env):
    env.cluster.add(VmResource("web1", TargetRole.STARTED))
    env.cluster.add(VmResource("db1", TargetRole.STARTED, stop_timeout_s=300))


def test_report_is_of_all_vms_or_of_one(env, vms):
    found = timeouts(env)
    assert [one.vm.name for one in found.outlooks] == ["db1", "web1"]
    assert [(one.code, one.subject) for one in found.inconsistencies] == [("stop-and-fencing", "db1")]
    alone = timeouts(env, "web1")
    assert ([one.vm.name for one in alone.outlooks], alone.inconsistencies) == (["web1"], ())
    with pytest.raises(VmMgrError) as refused:
        timeouts(env, "nosuchvm")
    assert refused.value.kind is Kind.NOT_FOUND


def test_device_of_all_is_told_for_one_vm_too(env, vms):
    env.timings.totem = TotemTimes(token=2, consensus=2)
    assert [one.code for one in timeouts(env, "web1").inconsistencies] == ["consensus"]


def test_silent_storage_is_said_and_the_rest_is_shown(env, vms, shell):
    def silent():
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached", hint="ceph -s")

    env.timings.ceph = silent
    found = timeouts(env)
    assert found.unknown == ("ceph",)
    assert found.outlooks[0].node_lost.typical_s is None
    done = shell()
    assert done.exit_code == 0
    assert "Ceph's timeouts: Ceph can't be reached" in done.stderr
    assert "Not read or not looked at: ceph" in done.stdout


def test_unread_settings_are_named(env, vms):
    env.timings.totem = TotemTimes()
    env.timings.pacemaker = PacemakerTimes(stonith_timeout=None)
    assert timeouts(env).unknown == ("totem token", "totem consensus", "stonith-timeout")


def test_tables_show_both_causes(shell, vms):
    done = shell()
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines[1:5]] == [
        ["db1", "node", "lost"],
        ["db1", "QEMU", "died"],
        ["web1", "node", "lost"],
        ["web1", "QEMU", "died"],
    ]
    assert "2.9 to 4.4" in done.stdout
    assert "WARNING stop-and-fencing: db1: stop timeout = 300 s" in done.stdout
    alone = shell("web1")
    assert "Corosync's token and consensus" in alone.stdout
    assert "No timeouts contradict each other." in alone.stdout
    assert shell("--name", "nosuchvm").exit_code == 3


def test_check_fails_for_errors_only(env, vms, shell):
    assert shell("--check").exit_code == 0
    env.timings.totem = TotemTimes(token=2, consensus=2)
    assert shell().exit_code == 0
    done = shell("--check", "--output", "json")
    assert done.exit_code == 5
    assert [one["code"] for one in json.loads(done.stdout)["inconsistencies"]] == [
        "consensus",
        "stop-and-fencing",
    ]
    assert "hint: consensus: 2400" in done.stderr
    with pytest.raises(VmMgrError):
        require_consistent(timeouts(env))


@pytest.mark.parametrize(
    ("silent", "beside", "found"),
    [
        (("fence-n2",), (), ("error", "fence-n2", "n2")),
        (("fence-n2",), ("n1", "n2"), ("warning", "fence-n2", "none")),
        (("unheard",), (), ("error", "unheard", "unknown")),
    ],
)
def test_fence_device_that_has_failed_or_is_stopped_is_found(env, vms, shell, silent, beside, found):
    env.cluster.silent_devices = silent
    if beside:
        env.timings.devices += (FenceDevice(name="pdu", agent="fence_apc", targets=beside, waits=True),)
    done = shell("--check", "--output", "json")
    data = json.loads(done.stdout)["inconsistencies"]
    (one,) = [one for one in data if one["code"] == "device-silent"]
    assert (one["severity"], one["subject"], one["settings"][1]["value"]) == found
    assert done.exit_code == (5 if found[0] == "error" else 0)
    if found[0] == "error":
        assert f"crm_resource --cleanup --resource {silent[0]}" in done.stderr


def test_fence_device_of_a_cluster_that_is_to_do_nothing_is_not_looked_at(env, vms):
    env.cluster.silent_devices, env.cluster.stop_all = ("fence-n1",), True
    assert "device-silent" not in [one.code for one in timeouts(env).inconsistencies]


def test_cluster_without_vms_is_said(shell, env):
    env.timings = MemoryTimings(env.cluster)
    assert "The cluster has no VM." in shell().stdout
