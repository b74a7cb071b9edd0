"""What a user sees and may do of VMs that hibernate: the setting, saved memory, moves, starts by hand."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.libvirt.memory_save import snapshot_xml
from vm_mgr.adapters.pacemaker import cib_write
from vm_mgr.adapters.pacemaker.cib_read import read_configured
from vm_mgr.cli.app import app
from vm_mgr.config import DirectorySettings, StorageSettings
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.saved_state import SavedState
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import TargetRole, VmSettings, VmState
from vm_mgr.ocf import guard
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.remove import remove
from vm_mgr.operations.remove_disk import remove_disk
from vm_mgr.operations.remove_snapshot import purge, remove_snapshot
from vm_mgr.operations.rename import rename
from vm_mgr.operations.resize_disk import resize_disk
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.status import full_status
from vm_mgr.operations.stop import stop
from vm_mgr.ports.cluster import VmResource
from vm_mgr.reports import Level, Note

from .conftest import DOMAIN

XML = DOMAIN.replace("<memory>1</memory>", "<memory unit='GiB'>1</memory>")
EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/><constraints/>
</configuration></cib>"""


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", XML, (image, image), VmSettings(on_move="hibernate")))
    create_snapshot(env, "web1", "before")
    return "web1"


@pytest.fixture
def saved(env, vm):
    """Give a VM that stands still between two nodes."""
    stop(env, vm)
    save(env, vm)
    env.said.clear()
    return vm


def save(env, vm):
    Path(env.storage.saved_memory.prepare(vm, 5)).write_bytes(b"12345")
    state = SavedState(uuid="u", node="n1", saved_utc=1_700_000_000)
    env.storage.saved_memory.commit(vm, env.storage.saved_memory.store(vm, state, lambda _fraction: None))


def codes(env, level=Level.WARNING):
    return [one.code for one in env.said if isinstance(one, Note) and one.level is level]


def shell(env, *words):
    return CliRunner(mix_stderr=False).invoke(app, words, obj=env)


@pytest.mark.parametrize(
    "change",
    [
        lambda env: add_disk(env, "web1", NewDisk(1 << 20)),
        lambda env: remove_disk(env, "web1", 1),
        lambda env: resize_disk(env, "web1", 1 << 30),
        lambda env: rename(env, "web1", "web2"),
        lambda env: remove_snapshot(env, "web1", "before"),
        lambda env: purge(env, "web1"),
    ],
)
def test_disks_and_name_stay_while_the_memory_waits(env, saved, change):
    before = (list(env.storage.vms[saved].disks), list(env.storage.vms[saved].sizes))
    with pytest.raises(VmMgrError) as caught:
        change(env)
    assert caught.value.kind is Kind.WRONG_STATE
    assert "stop --force" in caught.value.hint
    assert (list(env.storage.vms[saved].disks), list(env.storage.vms[saved].sizes)) == before
    assert env.storage.saved_memory.of(saved).resumable


def test_memory_that_was_taken_hinders_nobody(env, saved):
    env.storage.saved_memory.consume(saved)
    resize_disk(env, saved, 1 << 30)


def test_forced_stop_gives_the_memory_up(env, saved):
    stop(env, saved)
    assert env.storage.saved_memory.of(saved).resumable
    stop(env, saved, force=True)
    assert env.storage.saved_memory.of(saved) is None
    assert codes(env) == ["memory-given-up"]
    stop(env, saved, force=True)
    assert codes(env) == ["memory-given-up"]


def test_rollback_gives_the_memory_up(env, saved):
    rollback(env, saved, "before")
    assert env.storage.saved_memory.of(saved) is None
    assert codes(env) == ["memory-given-up"]


def test_removal_takes_the_memory_with_it(env, saved):
    remove(env, saved)
    assert env.storage.saved_memory.of(saved) is None


def test_snapshot_of_a_guest_that_is_not_shut_down_is_no_clean_one(env, saved):
    create_snapshot(env, saved, "between")
    kinds = {one.name: one.consistency for one in env.storage.snapshots.of(saved)}
    assert kinds["between"] is Consistency.CRASH
    stop(env, saved, force=True)
    create_snapshot(env, saved, "down")
    assert {one.name: one.consistency for one in env.storage.snapshots.of(saved)}[
        "down"
    ] is Consistency.OFFLINE


def test_status_and_show_tell_of_saved_memory(env, saved):
    assert "memory saved on n1" in full_status(env, saved).detail
    assert "memory saved on n1" in shell(env, "status", saved).stdout
    shown = json.loads(shell(env, "show", saved, "--output", "json").stdout)
    assert shown["saved"] == {
        "state": "complete",
        "node": "n1",
        "since": "2023-11-14T22:13:20Z",
        "size_bytes": 5,
        "resumed_at_start": True,
    }
    assert "memory saved on n1" in shell(env, "show", saved).stdout
    env.storage.saved_memory.consume(saved)
    assert json.loads(shell(env, "show", saved, "-o", "json").stdout)["saved"]["state"] == "used"
    save(env, saved)
    disable(env, saved)
    assert "memory saved on n1" in full_status(env, saved).detail


def test_status_of_a_running_vm_asks_no_storage(env, vm):
    env.storage.failing = "saved_memory.of"
    assert full_status(env, vm).state is VmState.STARTED
    assert not codes(env)


def test_silent_storage_is_told_of(env, saved):
    env.storage.failing = "saved_memory.of"
    assert full_status(env, saved).state is VmState.STOPPED
    assert codes(env) == ["not-seen"]


def test_setting_is_kept_shown_and_told_to_the_cluster(env, vm):
    resource = env.cluster.resources[vm]
    assert (resource.live_migration, resource.hibernation_s) == (False, 60 + 40)
    assert json.loads(shell(env, "show", vm, "-o", "json").stdout)["placement"]["on_move"] == "hibernate"
    set_vm(env, vm, Changes(memory_bytes=2 << 30))
    assert env.cluster.resources[vm].hibernation_s == 60 + 81


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--on-move", "migrate"], (True, None)),
        (["--enable-live-migration"], (True, None)),
        (["--enable-live-migration", "--on-move", "migrate"], (True, None)),
        (["--on-move", "restart"], (False, None)),
        (["--disable-live-migration"], (False, None)),
        (["--disable-live-migration", "--on-move", "hibernate"], (False, "hibernate")),
        (["--on-move", "hibernate"], (False, "hibernate")),
        (["--priority", "3"], (False, "hibernate")),
    ],
)
def test_old_and_new_options_say_the_same(env, vm, words, expected):
    done = shell(env, "set", vm, *words)
    assert done.exit_code == 0, done.stderr
    settings = env.storage.definitions.settings(vm)
    assert (settings.live_migration, settings.on_move) == expected
    assert env.cluster.resources[vm].live_migration is expected[0]
    assert bool(env.cluster.resources[vm].hibernation_s) is (expected[1] == "hibernate")


@pytest.mark.parametrize(
    "words",
    [
        ["--enable-live-migration", "--on-move", "hibernate"],
        ["--enable-live-migration", "--on-move", "restart"],
        ["--disable-live-migration", "--on-move", "migrate"],
        ["--on-move", "teleport"],
    ],
)
def test_contradictions_are_refused(env, vm, words):
    assert shell(env, "set", vm, *words).exit_code == 2
    assert env.storage.definitions.settings(vm).on_move == "hibernate"


def test_contradictions_of_programs_are_refused(env, vm):
    for changes in ({"live_migration": True}, {"on_move": "migrate"}, {"on_move": "teleport"}):
        with pytest.raises(VmMgrError) as caught:
            set_vm(env, vm, Changes(changes))
        assert caught.value.kind is Kind.INVALID
        assert caught.value.hint


def test_clone_takes_over_how_its_source_moves(env, vm):
    assert shell(env, "clone", vm, "--dst-name", "web2").exit_code == 0
    assert env.storage.definitions.settings("web2").on_move == "hibernate"
    assert shell(env, "clone", vm, "--dst-name", "web3", "--enable-live-migration").exit_code == 0
    assert env.storage.definitions.settings("web3")[0] is True
    assert env.storage.definitions.settings("web3").on_move is None


def test_cluster_configuration_tells_the_agent_and_is_read_again():
    cib = cib_write.parse_cib(EMPTY)
    vm = VmResource("web1", TargetRole.STARTED, stop_timeout_s=40, hibernation_s=90)
    cib_write.add_vm(cib, vm)
    timeouts = {op.get("name"): op.get("timeout") for op in cib.iter("op")}
    assert (timeouts["stop"], timeouts["start"], timeouts["migrate_to"]) == ("130s", "210s", "120s")
    pairs = {
        pair.getparent().getparent().get("name"): pair.get("value") for pair in cib.xpath("//op//nvpair")
    }
    assert pairs == {"stop": "90", "migrate_to": "block"}
    found = read_configured(cib, "web1").vm
    assert (found.hibernation_s, found.stop_timeout_s, found.start_timeout_s) == (90, 40, 120)
    cib_write.rename_vm(cib, "web1", "web2")
    assert read_configured(cib, "web2").vm.hibernation_s == 90
    assert "web1" not in etree.tostring(cib, encoding="unicode")
    cib_write.update_vm(cib, found._replace(name="web2", hibernation_s=0))
    assert read_configured(cib, "web2").vm.hibernation_s == 0
    assert not cib.xpath("//op[@name='stop']//nvpair")


def test_move_says_that_the_memory_is_saved_and_how_it_went(env, vm):
    env.event_log.append([Event(env.clock.utc() + 1, EventKind.RESUMED, vm, "n2")])
    assert migrate(env, vm, "n2").node == "n2"
    assert "hibernating" in codes(env, Level.INFO)
    assert not codes(env)


def test_move_that_booted_the_guest_says_so(env, vm):
    env.event_log.append([Event(env.clock.utc() + 1, EventKind.NOT_RESUMED, vm, "n2", "no such machine")])
    migrate(env, vm, "n2")
    assert codes(env) == ["not-resumed"]


def test_move_whose_outcome_is_not_known_yet_says_where_to_look(env, vm):
    env.event_log.hanging = True
    migrate(env, vm, "n2")
    assert "see-events" in codes(env, Level.INFO)


def test_target_that_can_not_take_the_guest_is_refused_before_it_is_saved(env, vm):
    env.hypervisor.refusals = [VmMgrError(Kind.NOT_SUPPORTED, "n2 can't run the machine pc-x")]
    with pytest.raises(VmMgrError, match="pc-x"):
        migrate(env, vm, "n2")


RBD = "<domain><devices><disk><source protocol='rbd' name='rbd/system_web1'/></disk></devices></domain>"
FILE = "<domain><devices><disk><source file='/srv/vms/web1/system.qcow2'/></disk></devices></domain>"


@pytest.mark.parametrize(("xml", "settings"), [(RBD, StorageSettings()), (FILE, None)])
def test_boot_by_hand_next_to_saved_memory_is_refused(env, saved, tmp_path, capsys, xml, settings):
    env.state_dir = tmp_path
    directory = StorageSettings(None, {"ceph": DirectorySettings("/srv/vms")}, "ceph")
    env.storage_settings = settings or directory
    assert guard.main(env, ["web1", "prepare", "begin", "-"], xml) == 1
    assert "vm-mgr start web1" in capsys.readouterr().err
    assert guard.main(env, ["web2", "prepare", "begin", "-"], xml.replace("web1", "web2")) == 0
    assert guard.main(env, ["rescue", "prepare", "begin", "-"], xml) == 1
    env.storage.saved_memory.consume(saved)
    assert guard.main(env, ["web1", "prepare", "begin", "-"], xml) == 0


def test_every_disk_is_left_out_of_the_snapshot():
    disks = "".join(f"<disk device='{kind}'><target dev='{dev}'/></disk>" for kind, dev in
                    (("disk", "vda"), ("cdrom", "sda")))  # fmt: skip
    told = etree.fromstring(snapshot_xml(f"<domain><devices>{disks}</devices></domain>", "/spool/web1"))
    assert told.find("memory").attrib == {"snapshot": "external", "file": "/spool/web1"}
    assert [(one.get("name"), one.get("snapshot")) for one in told.iter("disk")] == [
        ("vda", "no"),
        ("sda", "no"),
    ]


def test_exit_status_of_a_refusal(env, saved):
    done = shell(env, "rename", saved, "--new-name", "web2")
    assert done.exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert "memory" in done.stderr
