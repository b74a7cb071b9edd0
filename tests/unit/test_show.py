"""Everything about one VM, also while a part of the world does not answer."""

import json

import pytest
import yaml
from click.testing import CliRunner

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.cli.app import app
from vm_mgr.cli.quick import answer
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.cluster import Failure
from vm_mgr.model.event import Event as RecordedEvent
from vm_mgr.model.event import EventKind
from vm_mgr.model.intent import Intent
from vm_mgr.model.timings import FenceDevice
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.colocation import add_colocation, separate
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.list_vms import look
from vm_mgr.operations.pause import pause
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.show import show, show_definition
from vm_mgr.operations.stop import stop
from vm_mgr.ports.cluster import Constraint, ResourceOperation
from vm_mgr.reports import Note

from .conftest import DOMAIN

XML = DOMAIN.replace("<memory>1</memory>", "<memory unit='MiB'>512</memory><vcpu>2</vcpu>").replace(
    "<devices/>", "<devices><interface type='bridge'><mac address='52:54:00:00:00:01'/></interface></devices>"
)


@pytest.fixture
def vm(env, image):
    """Give a VM with something of everything."""
    settings = VmSettings(preferred_host="n2", priority=5, user_metadata={"owner": "me"})
    create(env, CreateRequest("web1", XML, (image,), settings))
    create(env, CreateRequest("db1", DOMAIN, (image,)))
    add_colocation(env, "web1", ["db1"])
    separate(env, "db1", ["web1"])
    create_snapshot(env, "web1", "old")
    env.cluster.failures["web1"] = [Failure("migrate_to on n1: no ssh", "2026-11-21 03:26:01Z")]
    env.cluster.leftovers["web1"] = [Constraint("cli-prefer-web1", "location n1 (INFINITY)", leftover=True)]
    env.said.clear()
    return "web1"


@pytest.fixture
def shell(env):
    return lambda *words: CliRunner(mix_stderr=False).invoke(app, words, obj=env)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (XML, []),
        (XML.replace("512", "256"), ["until its next start web1 runs with 256 MiB of memory"]),
        (XML.replace("<vcpu>2", "<vcpu>4"), ["until its next start web1 runs with 4 vCPUs"]),
    ],
    ids=["the same", "memory", "processors"],
)
def test_what_the_guest_has_until_its_next_start_is_told(env, vm, now, told):
    env.hypervisor.xmls[vm] = now
    show(env, vm)
    notes = [one for one in env.said if isinstance(one, Note) and one.code == "next-start"]
    assert [one.message for one in notes] == told
    assert all(one.hint == "vm-mgr restart web1" for one in notes)


def test_everything_is_shown(env, vm):
    shown = show(env, vm)
    assert (shown.status.state.value, shown.status.node, shown.storage) == ("Started", "n2", "ceph")
    assert shown.since_utc
    assert (shown.machine.vcpus, shown.machine.memory_bytes) == (2, 512 << 20)
    assert shown.machine.macs == ("52:54:00:00:00:01",)
    assert [disk.image for disk in shown.disks] == ["system_web1"]
    assert [snapshot.name for snapshot in shown.snapshots] == ["old"]
    assert (shown.placement.preferred_host, shown.placement.priority) == ("n2", 5)
    assert set(shown.colocations) == {("web1", "db1", "700"), ("db1", "web1", "-700")}
    assert [one.id for one in shown.constraints if one.leftover] == ["cli-prefer-web1"]
    assert shown.failures[0].when
    assert shown.metadata == {"owner": "me"}
    assert not shown.unknown
    assert not env.said


@pytest.mark.parametrize(
    ("silent", "beside", "named", "words"),
    [
        (("fence-n2",), (), ["fence-n2"], "a lost n2 may stay unfenced"),
        (("fence-n1",), (), [], ""),
        (("fence-n2",), ("n1", "n2"), ["fence-n2"], "only other devices can still fence n2"),
        (("unheard",), (), ["unheard"], "a lost node may stay unfenced"),
    ],
)
def test_silent_fence_device_of_the_vms_node_is_named(env, vm, silent, beside, named, words):
    env.cluster.silent_devices = silent
    if beside:
        env.timings.devices += (FenceDevice(name="pdu", agent="fence_apc", targets=beside),)
    assert show(env, vm).status.node == "n2"
    notes = [one.message for one in env.said if isinstance(one, Note) and one.code == "fence-device-silent"]
    assert [text.split()[2] for text in notes] == named
    assert all(words in text for text in notes)


def test_list_names_every_silent_fence_device_where_there_is_fencing(env, vm):
    def named():
        env.said.clear()
        look(env)
        return [one.code for one in env.said if isinstance(one, Note)]

    assert named() == []
    env.cluster.silent_devices = ("fence-n1", "fence-n3")
    assert named() == ["fence-device-silent"] * 2
    env.cluster.stop_all = True
    assert named() == []
    env.cluster.stop_all, env.cluster.fencing_enabled = False, False
    assert named() == []


def test_plain_list_without_click_warns_as_its_other_forms_do(env, vm, shell, capsys):
    env.cluster.silent_devices = ("fence-n1",)
    env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(online=False, unclean=True)
    assert answer(env, ["list"])
    told = capsys.readouterr()
    assert vm in told.out
    assert told.err == shell("list", "--output", "json").stderr
    assert told.err.count("vm-mgr: warning: ") == 2


def test_what_others_have_set_is_shown(env, vm, shell):
    assert json.loads(shell("show", vm, "--output", "json").stdout)["set_by_others"] == {}
    assert "set by others" not in shell("show", vm).stdout
    env.cluster.set_by_others[vm] = {"is-managed": "false"}
    env.cluster.resources[vm] = env.cluster.resources[vm]._replace(stop_timeout_s=600)
    told = json.loads(shell("show", vm, "--output", "json").stdout)["set_by_others"]
    assert told == {"is-managed": "false", "stop timeout": "600s"}
    assert "is-managed=false, stop timeout=600s" in shell("show", vm).stdout


@pytest.mark.parametrize(
    "change",
    [
        lambda env, name: set_vm(env, name, Changes({"priority": 7})),
        lambda env, name: add_colocation(env, name, ["db1"], strong=True),
    ],
)
@pytest.mark.parametrize("found", [{}, {"is-managed": "false"}])
def test_change_says_once_what_others_have_set(env, vm, change, found):
    env.cluster.set_by_others[vm] = found
    change(env, vm)
    told = [one.message for one in env.said if isinstance(one, Note) and one.code == "set-by-others"]
    assert len(told) == len(found)
    assert all("is-managed=false" in text for text in told)


def test_pause_and_what_is_unfinished_are_shown(env, vm):
    pause(env, vm)
    env.intent_log.write(vm, Intent("restart", "n3", 5.0))
    shown = show(env, vm)
    assert shown.paused == "user"
    assert shown.unfinished.verb == "restart"


def test_disabled_vm_is_shown_from_its_storage(env, vm):
    disable(env, vm)
    shown = show(env, vm)
    assert shown.status.state.value == "Disabled"
    assert shown.since_utc is None
    assert shown.placement.preferred_host == "n2"
    assert ("db1", "web1", "-700") in shown.colocations


def test_stopped_vm_has_no_pause(env, vm):
    stop(env, vm)
    env.hypervisor.hanging = True
    assert not show(env, vm).unknown


def test_without_storage_the_rest_is_shown_and_the_storage_is_asked_once(env, vm):
    asked = []

    def unreachable(*_):
        asked.append(1)
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached")

    env.intent_log.intents = env.storage.definitions.exists = env.storage.definitions.names = unreachable
    shown = show(env, vm)
    assert shown.status.node == "n2"
    assert shown.placement.priority == 5
    assert shown.constraints
    assert shown.disks is None
    assert {"disks", "snapshots", "machine", "unfinished", "metadata", "saved", "storage"} == set(
        shown.unknown
    )
    assert len(asked) == 1
    assert [report.code for report in env.said if isinstance(report, Note)] == ["not-seen"]


def test_hanging_libvirt_hides_only_the_pause(env, vm):
    env.hypervisor.hanging = True
    assert show(env, vm).unknown == ("paused",)


def test_vm_that_has_just_ended_is_no_fault_of_libvirt(env, vm):
    env.hypervisor.running.pop(vm)
    env.cluster.stuck.add(vm)
    shown = show(env, vm)
    assert (shown.paused, shown.unknown) == ("", ())
    assert [one.code for one in env.said if isinstance(one, Note)] == ["absent"]


@pytest.mark.parametrize(("reason", "hinted"), [("user", True), ("I/O error", True), ("starting up", False)])
def test_only_a_pause_that_lasts_has_a_hint(env, vm, shell, reason, hinted):
    env.hypervisor.halted[vm] = reason
    text = shell("show", vm).stdout
    assert reason in text
    assert ("vm-mgr resume" in text) is hinted


def told(kind, node, when_utc):
    return RecordedEvent(when_utc, kind, "web1", node)


@pytest.mark.parametrize(
    ("events", "since_utc"),
    [
        ([], 900.0),
        ([told(EventKind.RUNNING, "n1", 100), told(EventKind.MOVED, "n2", 200)], 200.0),
        ([told(EventKind.MOVED, "n2", 200), told(EventKind.STOPPED, "n1", 201)], 200.0),
        ([told(EventKind.RUNNING, "n2", 100), told(EventKind.STOPPED, "n2", 200)], 900.0),
        ([told(EventKind.RUNNING, "n2", 100), told(EventKind.MOVED, "n1", 200)], 900.0),
    ],
)
def test_arrival_that_the_cluster_has_forgotten_is_looked_up(env, vm, events, since_utc):
    """A cleanup, as an aborted move ends with one, leaves only the probe."""
    env.cluster.events[vm] = [ResourceOperation("monitor", "n2", 900.0)]
    env.event_log.append(events)
    assert show(env, vm).since_utc == since_utc
    env.event_log.hanging = True
    assert show(env, vm).since_utc == 900.0


def test_what_a_disk_takes_is_a_column_only_where_it_is_known(env, vm, shell):
    assert "USED" not in shell("show", vm).stdout
    disks = env.storage.disks.of(vm)
    env.storage.disks.of = lambda _name: [one._replace(used_bytes=512) for one in disks]
    assert "USED" in shell("show", vm).stdout


def test_unreadable_definition_hides_only_the_machine(env, vm):
    env.storage.definitions.describe(vm, {"xml": "<domain"})
    shown = show(env, vm)
    assert shown.unknown == ("machine",)
    assert shown.disks


def test_only_a_mark_is_shown_too(env):
    env.intent_log.write("half1", Intent("create", "n1", 5.0))
    shown = show(env, "half1")
    assert shown.status.state.value == "Undefined"
    assert shown.unfinished.verb == "create"


@pytest.mark.parametrize("verb", [show, show_definition])
def test_unknown_vm_is_not_found(env, verb):
    with pytest.raises(VmMgrError) as caught:
        verb(env, "nobody")
    assert caught.value.kind is Kind.NOT_FOUND


def test_people_get_aligned_sections(env, vm, shell):
    pause(env, vm)
    env.intent_log.write(vm, Intent("restart", "n3", 5.0))
    text = shell("show", vm).stdout
    for part in ("Started on n2 since", "paused", "prefers n2", "web1 → db1 (700)", "512 MiB", "SNAPSHOT",
                 "vm-mgr unmigrate web1", "vm-mgr repair", "owner = me", "system_web1"):  # fmt: skip
        assert part in text
    labels = text.split("\n\n")[0].splitlines()
    assert len({line.index(line.split(maxsplit=1)[1]) for line in labels}) == 1


def test_programs_get_data(vm, shell):
    data = json.loads(shell("show", vm, "--output", "json").stdout)
    assert data["since"].endswith("Z")
    assert data["disks"] == [
        {"image": "system_web1", "size_bytes": 1 << 20, "used_bytes": None, "parent": ""}
    ]
    assert data["colocations"][0] == {"name": "web1", "beside": "db1", "score": "700"}
    assert data["unfinished"] == ""
    assert yaml.safe_load(shell("show", vm, "-o", "yaml").stdout) == data
    assert shell("show", vm, "--xml").stdout.startswith("<domain")


def test_new_commands_speak(env, vm, shell):
    assert shell("pause", vm).stdout == "web1 is paused on n2\n"
    assert shell("resume", vm).stdout == "web1 runs again on n2\n"
    assert shell("clear", vm).stdout == "removed cli-prefer-web1: location n1 (INFINITY)\n"
    assert shell("unmigrate", vm).stdout == "web1 has no leftover move constraints\n"
    assert shell("console", vm).exit_code == EXIT_CODES[Kind.NOT_SUPPORTED]
    env.hypervisor.ignores_shutdown = True
    assert shell("stop", "-f", "--name", vm).stdout == "web1 is Stopped\n"


@pytest.mark.parametrize(
    ("memory", "size"),
    [("<memory>4</memory>", 4096), ("<memory unit='b'>7</memory>", 7), ("<memory unit='KB'>4</memory>", 4000),
     ("<memory unit='k'>4</memory>", 4096), ("<memory unit='GiB'>2</memory>", 2 << 30), ("", 0)],
)  # fmt: skip
def test_memory_is_read_in_libvirts_units(memory, size):
    machine = DomainXml().machine(f"<domain>{memory}<vcpu current='1'>4</vcpu></domain>")
    assert (machine.memory_bytes, machine.vcpus, machine.uuid, machine.macs) == (size, 1, "", ())
