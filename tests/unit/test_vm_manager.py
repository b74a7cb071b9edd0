"""The module that programs written for SEAPATH import, on the memory adapters."""

from contextlib import nullcontext
from datetime import UTC, datetime

import pytest

import vm_manager
from vm_manager import exceptions, options, vm_manager_cluster
from vm_manager.environment import print_progress
from vm_manager.helpers.libvirt import LibVirtManager
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import Resource
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.add_to_cluster import Takeover
from vm_mgr.operations.clone import CloneRequest
from vm_mgr.operations.create import CreateRequest
from vm_mgr.ports.runner import Completed
from vm_mgr.reports import Level, Note

from .conftest import DOMAIN

UUID = "7b48b1fe-066a-41a6-aef4-f0a9c028f719"


@pytest.fixture(autouse=True)
def world(env):
    """Have the module work in memory."""

    def build(say):
        env.say = say
        return nullcontext(env)

    vm_manager.use(build)
    yield env
    vm_manager.use(None)


@pytest.fixture
def vm(image):
    vm_manager.create({"name": "web1", "base_xml": DOMAIN, "image": image, "pinned_host": None})
    return "web1"


def test_new_vm_runs_and_is_listed(vm, world):
    assert vm_manager.list_vms() == [vm]
    assert vm_manager.list_vms(enabled=True) == [vm]
    assert vm_manager.status(vm) == "Started"
    assert vm_manager.is_enabled(vm) is True


def test_vm_that_is_not_enabled_is_disabled(image):
    vm_manager.create({"name": "web1", "base_xml": DOMAIN, "image": image, "enable": False})
    assert vm_manager.list_vms() == ["web1"]
    assert vm_manager.list_vms(enabled=True) == []
    assert vm_manager.status("web1") == "Disabled"
    assert vm_manager.is_enabled("web1") is False
    assert vm_manager.status("nobody") == "Undefined"


def test_failed_vm_is_told_in_seapaths_word(vm, world):
    world.cluster.failing[vm] = "start on n1: broken"
    assert vm_manager.status(vm) == "FAILED"


def test_other_resources_are_no_vms(vm, world):
    world.cluster.foreign["fence"] = Resource("fence", agent="stonith:fence_ipmilan")
    assert vm_manager.list_vms(enabled=True) == [vm]


def test_vm_stops_and_starts_and_repeating_is_fine(vm):
    for _ in range(2):
        assert vm_manager.stop(vm) is None
        assert vm_manager.status(vm) == "Stopped (disabled)"
    for _ in range(2):
        assert vm_manager.start(vm) is None
        assert vm_manager.status(vm) == "Started"


def test_programs_for_an_older_release_choose_its_word(vm, monkeypatch):
    monkeypatch.setenv("VM_MANAGER_STOPPED", "Stopped")
    vm_manager.stop(vm)
    assert vm_manager.status(vm) == "Stopped"


def test_vm_that_only_the_cluster_keeps_from_running_is_not_called_disabled(vm, world):
    world.cluster.places.clear()
    world.cluster.stop_all = True
    assert vm_manager.status(vm) == "Stopped"


# What SEAPATH's own tests of the cluster look for (tests/test_vm_manager_cluster.py there).
TEXTS = {
    "not on the cluster": [
        lambda _: vm_manager.start("off"),
        lambda _: vm_manager.stop("off"),
        lambda _: vm_manager.start("nobody"),
    ],
    "already exists": [
        lambda image: vm_manager.create({"name": "off", "base_xml": DOMAIN, "image": image}),
        lambda _: [vm_manager.create_snapshot("off", "one") for _ in range(2)],
    ],
    "does not exist": [
        lambda _: vm_manager.rollback_snapshot("off", "nosuch"),
        lambda image: vm_manager.add_to_cluster({"name": "nobody", "image": image}),
    ],
    "not datetime": [lambda _: vm_manager.purge_image("off", date="2025-01-01")],
    "non-negative integer": [lambda _: vm_manager.purge_image("off", number=-1)],
    "same name": [lambda _: vm_manager.clone({"name": "off", "dst_name": "off"})],
    "metadata": [lambda _: vm_manager.clone({"name": "off", "dst_name": "b", "metadata": "no"})],
}


@pytest.mark.parametrize(("text", "call"), [(text, call) for text, calls in TEXTS.items() for call in calls])
def test_failures_have_the_words_that_programs_look_for(image, text, call):
    vm_manager.create({"name": "off", "base_xml": DOMAIN, "image": image, "enable": False})
    with pytest.raises(exceptions.VmManagerException, match=text):
        call(image)


def test_without_quorum_nothing_is_called_enabled_that_the_cluster_does_not_have(image, world):
    vm_manager.create({"name": "off", "base_xml": DOMAIN, "image": image, "enable": False})
    world.cluster.quorate = False
    assert vm_manager.is_enabled("off") is False
    assert vm_manager.list_vms(enabled=True) == []
    for change in (vm_manager.enable_vm, vm_manager.disable_vm, vm_manager.start, vm_manager.stop):
        with pytest.raises(exceptions.VmManagerException, match="quorum"):
            change("off")


def test_uuids_lead_to_names(vm, world, image):
    with_uuid = DOMAIN.replace("<memory", f"<uuid>{UUID}</uuid><memory", 1)
    vm_manager.create({"name": "web2", "base_xml": with_uuid, "image": image})
    found = vm_manager_cluster.list_all_uuids()
    assert found[UUID] == "web2"
    assert set(found.values()) == {"web1", "web2"}


def test_uuid_that_can_not_be_read_is_left_out_and_told(vm, world, caplog):
    def read(*_):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "broken")

    world.storage.definitions.read = read
    assert vm_manager.list_all_uuids() == {}
    assert "the UUID of web1 can't be read" in caplog.text


SECRETS = """ UUID                                   Usage
-------------------------------------------------------------------
 7b48b1fe-066a-41a6-aef4-f0a9c028f719   ceph client.libvirt secret

"""


@pytest.fixture
def virsh(monkeypatch):
    """Answer for virsh, and give what it was asked."""
    answers = {"list": "a\nb\n\n", "domstate": "shut off\n\n", "secret-list": SECRETS, "dumpxml": "<domain/>"}
    asked = []

    def run(_, argv, **rest):
        asked.append((*argv[4:], *([rest["stdin"]] if rest["stdin"] else [])))
        return Completed(
            tuple(argv), 0 if argv[4] != "start" else 1, answers.get(argv[4], ""), "error: no room\n"
        )

    monkeypatch.setattr(HostRunner, "run", run)
    return asked


def test_domains_beside_the_cluster_are_reached_as_by_seapaths_class(virsh, tmp_path):
    with LibVirtManager() as manager:
        assert manager.list() == ["a", "b"]
        assert (manager.status("a"), manager.status("c")) == ("Stopped", "Undefined")
        assert manager.get_virsh_secrets() == {"client.libvirt secret": UUID}
        manager.define("<domain/>")
        manager.undefine("a")
        with pytest.raises(exceptions.VmManagerException, match="no room"):
            manager.start("a")
    LibVirtManager.export_configuration("a", tmp_path / "a.xml")
    assert (tmp_path / "a.xml").read_text() == "<domain/>"
    assert ("define", "--validate", "/dev/stdin", "<domain/>") in virsh
    assert ("undefine", "--nvram", "a") in virsh


def test_console_of_a_vm_that_does_not_run_ends_the_program():
    with pytest.raises(SystemExit) as left:
        vm_manager.console("nobody")
    assert "does not exist" in str(left.value)


def test_vm_leaves_and_enters_the_cluster_and_repeating_is_fine(vm):
    for _ in range(2):
        vm_manager.disable_vm(vm)
        assert vm_manager.status(vm) == "Disabled"
    for _ in range(2):
        vm_manager.enable_vm(vm, nostart=True)
        assert vm_manager.status(vm) == "Stopped (disabled)"


@pytest.mark.parametrize("verb", [vm_manager.start, vm_manager.stop])
def test_disabled_vm_neither_starts_nor_stops(vm, verb):
    vm_manager.disable_vm(vm)
    with pytest.raises(RuntimeError) as caught:
        verb(vm)
    assert caught.value.hint in str(caught.value)
    assert caught.value.kind == Kind.WRONG_STATE.value


def test_removed_vm_is_undefined_and_repeating_is_fine(vm):
    for _ in range(2):
        vm_manager.remove(vm)
        assert vm_manager.status(vm) == "Undefined"
    vm_manager.disable_vm(vm)


@pytest.mark.parametrize(
    "call",
    [
        lambda: vm_manager.start("nobody"),
        lambda: vm_manager.stop("nobody"),
        lambda: vm_manager.enable_vm("nobody"),
        lambda: vm_manager.list_snapshots("nobody"),
        lambda: vm_manager.create_snapshot("nobody", "one"),
        lambda: vm_manager.remove_snapshot("nobody", "one"),
        lambda: vm_manager.rollback_snapshot("nobody", "one"),
        lambda: vm_manager.purge_image("nobody"),
        lambda: vm_manager.list_metadata("nobody"),
        lambda: vm_manager.get_metadata("nobody", "owner"),
        lambda: vm_manager.set_metadata("nobody", "owner", "me"),
        lambda: vm_manager.add_colocation("nobody", "web1"),
        lambda: vm_manager.add_pacemaker_remote("nobody", "inner1", "192.0.2.50"),
        lambda: vm_manager.remove_pacemaker_remote("nobody"),
        lambda: vm_manager.clone({"name": "nobody", "dst_name": "web2"}),
        lambda: vm_manager.add_to_cluster({"name": "nobody"}),
    ],
)
def test_unknown_vm_is_said(call):
    with pytest.raises(exceptions.VmManagerException) as caught:
        call()
    assert caught.value.kind == Kind.NOT_FOUND.value


def test_without_quorum_nothing_changes(vm, world):
    world.cluster.quorate = False
    for verb in (vm_manager.stop, vm_manager.remove, vm_manager.disable_vm):
        with pytest.raises(RuntimeError, match="quorum"):
            verb(vm)


@pytest.mark.parametrize("name", ["", "bad-name", "bad name", "bad_name", "xml", "ümlaut", None, 7])
def test_wrong_name_is_a_value_error(vm, image, name):
    for call in (
        lambda: vm_manager.create({"name": name, "base_xml": DOMAIN, "image": image}),
        lambda: vm_manager.clone({"name": vm, "dst_name": name}),
        lambda: vm_manager.create_snapshot(vm, name),
        lambda: vm_manager.set_metadata(vm, name, "value"),
    ):
        with pytest.raises(ValueError, match=r"name|valid"):
            call()
    assert vm_manager.list_vms() == [vm]


def test_missing_file_is_an_os_error(image):
    for wrong in ({"image": "/no/such/file"}, {"image": image, "additional_disks": ["/no/such/file"]}):
        with pytest.raises(OSError, match="no file"):
            vm_manager.create({"name": "web1", "base_xml": DOMAIN, **wrong})
    with pytest.raises(OSError, match="no file"):
        vm_manager.add_to_cluster({"name": "old1", "image": "/no/such/file"})


def test_taken_name_is_refused_unless_forced(vm, image):
    again = {"name": vm, "base_xml": DOMAIN, "image": image}
    with pytest.raises(RuntimeError, match="already"):
        vm_manager.create(again)
    vm_manager.create({**again, "force": True, "metadata": {"made": "anew"}})
    assert vm_manager.get_metadata(vm, "made") == "anew"


def test_taken_uuid_is_refused(image):
    domain = DOMAIN.replace("<memory>", f"<uuid>{UUID}</uuid><memory>")
    vm_manager.create({"name": "web1", "base_xml": domain, "image": image})
    with pytest.raises(exceptions.UuidConflictError, match="web1"):
        vm_manager.create({"name": "web2", "base_xml": domain, "image": image})
    assert vm_manager.list_vms() == ["web1"]


def test_all_problems_are_said_at_once(image):
    with pytest.raises(RuntimeError, match=r"n99.*bus"):
        vm_manager.create(
            {
                "name": "web1",
                "base_xml": DOMAIN,
                "image": image,
                "preferred_host": "n99",
                "disk_bus": "unibus",
            }
        )


def test_progress_is_printed_where_it_is_asked_for(image, capsys):
    vm_manager.create({"name": "web1", "base_xml": DOMAIN, "image": image})
    assert capsys.readouterr().out == ""
    vm_manager.create({"name": "web2", "base_xml": DOMAIN, "image": image, "progress": True})
    assert f"importing {image} 100%\n" in capsys.readouterr().out


def test_warnings_are_logged(vm, world, caplog):
    world.cluster.fence_devices = 0
    vm_manager.start(vm)
    assert any("FENCING" in record.message for record in caplog.records)


def test_snapshots_are_names_and_the_oldest_come_first(vm):
    for name in ("one", "two", "three"):
        vm_manager.create_snapshot(vm, name)
    assert vm_manager.list_snapshots(vm) == ["one", "two", "three"]
    with pytest.raises(RuntimeError, match="already"):
        vm_manager.create_snapshot(vm, "one")
    for _ in range(2):
        vm_manager.remove_snapshot(vm, "two")
    vm_manager.purge_image(vm, number=1)
    assert vm_manager.list_snapshots(vm) == ["three"]
    vm_manager.purge_image(vm, number=0)
    assert vm_manager.list_snapshots(vm) == ["three"]
    vm_manager.purge_image(vm)
    assert vm_manager.list_snapshots(vm) == []


def test_snapshots_before_a_date_are_removed(vm):
    for name in ("one", "two"):
        vm_manager.create_snapshot(vm, name)  # in memory taken 1 s and 2 s after 1970 began
    vm_manager.purge_image(vm, date=datetime.fromtimestamp(2))  # noqa: DTZ006 - local, as programs give it
    assert vm_manager.list_snapshots(vm) == ["two"]


@pytest.mark.parametrize(
    "wrong",
    [{"date": "2026-01-01"}, {"number": -1}, {"number": "1"}, {"date": datetime.now(UTC), "number": 1}],
)
def test_wrong_purge_is_a_value_error(vm, wrong):
    vm_manager.create_snapshot(vm, "one")
    with pytest.raises(ValueError, match=r"date|number"):
        vm_manager.purge_image(vm, **wrong)
    assert vm_manager.list_snapshots(vm) == ["one"]


def test_rollback_brings_the_content_back_and_the_vm_runs_again(vm, world, image):
    vm_manager.create_snapshot(vm, "one")
    world.storage.vms[vm].disks[0] = "changed"
    vm_manager.rollback_snapshot(vm, "one")
    assert world.storage.vms[vm].disks == [image]
    assert vm_manager.status(vm) == "Started"
    with pytest.raises(RuntimeError, match="no snapshot"):
        vm_manager.rollback_snapshot(vm, "nosuch")


def test_metadata_are_keys_and_values(vm):
    vm_manager.set_metadata(vm, "owner", "team grid")
    assert vm_manager.get_metadata(vm, "owner") == "team grid"
    assert {"owner", "vm_name", "xml", "_base_xml"} <= set(vm_manager.list_metadata(vm))
    assert vm_manager.get_metadata(vm, "_base_xml") == DOMAIN
    with pytest.raises(KeyError):
        vm_manager.get_metadata(vm, "nosuch")


def test_clone_keeps_what_is_not_given(vm, world):
    vm_manager.set_metadata(vm, "owner", "me")
    vm_manager.clone({"name": vm, "dst_name": "web2", "enable": False, "metadata": {"site": "north"}})
    assert vm_manager.get_metadata("web2", "owner") == "me"
    assert vm_manager.get_metadata("web2", "site") == "north"
    assert vm_manager.status("web2") == "Disabled"
    with pytest.raises(ValueError, match="same name"):
        vm_manager.clone({"name": vm, "dst_name": vm})


def test_local_domain_is_taken_over(world, image):
    disk = f"<disk type='file'><driver type='qcow2'/><source file='{image}'/></disk>"
    world.hypervisor.kept["old1"] = DOMAIN.replace("<devices/>", f"<devices>{disk}</devices>")
    vm_manager.add_to_cluster({"name": "old1", "new_name": "web1", "nostart": True, "image": None})
    assert vm_manager.status("web1") == "Stopped (disabled)"
    assert "old1" not in world.hypervisor.kept


def test_one_image_for_several_disks_is_refused(world, image):
    disk = f"<disk type='file'><driver type='qcow2'/><source file='{image}'/><target dev='{{}}'/></disk>"
    disks = disk.format("vda") + disk.format("vdb")
    world.hypervisor.kept["web1"] = DOMAIN.replace("<devices/>", f"<devices>{disks}</devices>")
    with pytest.raises(exceptions.VmManagerException, match="more than one disk"):
        vm_manager.add_to_cluster({"name": "web1", "image": image})
    assert vm_manager.list_vms() == []
    vm_manager.add_to_cluster({"name": "web1", "nostart": True})
    assert vm_manager.list_vms() == ["web1"]


def test_colocation_has_seapaths_scores(vm, world, image):
    vm_manager.create({"name": "db1", "base_xml": DOMAIN, "image": image})
    vm_manager.add_colocation(vm, "db1")
    assert world.cluster.resources[vm].colocations == {"db1": "700"}
    vm_manager.add_colocation(vm, "db1", strong=True)
    assert world.cluster.resources[vm].colocations == {"db1": "INFINITY"}
    with pytest.raises(ValueError, match="no other"):
        vm_manager.add_colocation(vm)


def test_remote_node_comes_and_goes(vm, world):
    vm_manager.add_pacemaker_remote(vm, "inner1", "192.0.2.50", remote_node_port="3122")
    assert world.cluster.resources[vm].meta == {
        "remote-node": "inner1",
        "remote-addr": "192.0.2.50",
        "remote-port": "3122",
    }
    vm_manager.remove_pacemaker_remote(vm)
    assert not world.cluster.resources[vm].meta
    with pytest.raises(ValueError, match="remote_node_timeout"):
        vm_manager.add_pacemaker_remote(vm, "inner1", "192.0.2.50", remote_node_timeout="soon")


def test_seapaths_module_has_the_same_functions():
    functions = set(vm_manager.__all__) - {"use", "cluster_mode"}
    assert set(vm_manager_cluster.__all__) == functions
    assert all(getattr(vm_manager_cluster, name) is getattr(vm_manager, name) for name in functions)


def test_report_that_is_no_progress_is_logged_while_progress_is_printed(caplog, capsys):
    print_progress(Note(Level.WARNING, "code", "look", "there"))
    assert "look (there)" in caplog.text
    assert capsys.readouterr().out == ""


# What SEAPATH's Ansible module cluster_vm hands over for `create` and `clone`, everything given.
ANSIBLE = {
    "name": "web1",
    "base_xml": DOMAIN,
    "force": False,
    "enable": True,
    "metadata": {"owner": "me", "rank": 3},
    "preferred_host": None,
    "pinned_host": "n2",
    "live_migration": True,
    "migration_user": "root",
    "stop_timeout": "40",
    "migrate_to_timeout": "90",
    "migration_downtime": "300",
    "priority": "100",
    "nostart": None,
    "pacemaker_meta": {"resource-stickiness": 1},
    "pacemaker_params": {"autoset_utilization_cpu": False},
    "pacemaker_utilization": {"cpu": 4},
    "pinning_profile": None,
}
SETTINGS = VmSettings(
    live_migration=True,
    migration_user="root",
    stop_timeout_s=40,
    migrate_to_timeout_s=90,
    migration_downtime_ms=300,
    pinned_host="n2",
    priority=100,
    disk_bus="scsi",
    crm_config_cmd="location a\nlocation b",
    pacemaker_meta={"resource-stickiness": "1"},
    pacemaker_params={"autoset_utilization_cpu": "false"},
    pacemaker_utilization={"cpu": "4"},
    user_metadata={"owner": "me", "rank": "3"},
)


def test_options_of_create_become_a_request(image):
    more = {"image": image, "disk_bus": "scsi", "additional_disks": [image]}
    asked = options.create_request({**ANSIBLE, **more, "crm_config_cmd": ["location a", "location b"]})
    assert asked == CreateRequest("web1", DOMAIN, (image, image), SETTINGS)
    asked = options.create_request({**ANSIBLE, **more, "enable": False, "nostart": True, "force": True})
    assert (asked.enable, asked.start, asked.force) == (False, False, True)


def test_options_of_clone_come_on_top_of_the_sources():
    source = VmSettings(
        stop_timeout_s=20,
        live_migration=True,
        preferred_host="n1",
        pacemaker_meta={"a": "1", "remote-node": "inner1"},
        pacemaker_params={"p": "1"},
        colocations={"db1": "700"},
        disk_bus="scsi",
    )
    bare = {"name": "web1", "dst_name": "web2"}
    asked = options.clone_request({**bare, "clear_constraint": False}, source)
    assert asked == CloneRequest("web1", "web2", source._replace(pacemaker_meta={"a": "1"}))
    flags = {"clear_constraint": True, "clear_pacemaker_meta": True, "clear_pacemaker_params": True}
    asked = options.clone_request({**bare, **flags, "pacemaker_params": {"q": 2}}, source)
    assert asked.settings == VmSettings(
        stop_timeout_s=20, live_migration=True, pacemaker_params={"q": "2"}, disk_bus="scsi"
    )
    asked = options.clone_request({**ANSIBLE, "dst_name": "web2"}, source)
    assert (asked.settings.pinned_host, asked.settings.preferred_host) == ("n2", None)
    assert asked.xml == DOMAIN


def test_options_of_a_takeover_become_a_request(image):
    asked = options.takeover({"name": "old1", "new_name": None, "image": image, "disk_bus": "sata"})
    assert asked == Takeover("old1", "old1", VmSettings(disk_bus="sata"), image)


def test_pinned_host_goes_before_a_preferred_one():
    found = options.settings_from({"pinned_host": "n1", "preferred_host": "n2"})
    assert (found.pinned_host, found.preferred_host) == ("n1", None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"metadata": "not_a_dict"},
        {"pacemaker_meta": ["a=1"]},
        {"stop_timeout": "30s"},
        {"stop_timeout": -1},
        {"priority": "high"},
        {"force": "false"},
        {"additional_disks": "/disk.qcow2"},
        {"pinning_profile": "cores: 2"},
        {"base_xml": None},
        {"image": ""},
        {"metadata": {"bad-key": "1"}},
    ],
)
def test_wrong_option_is_a_value_error(image, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[-1]) as caught:
        vm_manager.create({"name": "web1", "base_xml": DOMAIN, "image": image, **wrong})
    assert caught.value.hint
    assert vm_manager.list_vms() == []


def test_options_that_are_no_dictionary_are_a_value_error():
    with pytest.raises(ValueError, match="dictionary"):
        vm_manager.create("web1")
