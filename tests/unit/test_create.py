"""Create: validation, undo, and what survives a failing start."""

from dataclasses import replace

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings, VmState
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.enable import enable
from vm_mgr.operations.status import status

from .conftest import DOMAIN


def request(image, name="web1", **changes):
    return CreateRequest(name, DOMAIN, (image,))._replace(**changes)


def kinds(error):
    return [problem.kind for problem in (error, *error.others)]


def test_vm_is_created_and_started(env, image):
    seen = create(env, request(image))
    assert seen.state is VmState.STARTED
    assert "rbd/system_web1" in env.storage.definitions.read("web1")
    assert env.storage.definitions.metadata("web1")["_base_xml"] == DOMAIN


def test_disable_leaves_it_out_of_the_cluster(env, image):
    assert create(env, request(image, enable=False)).state is VmState.DISABLED
    assert not env.cluster.resources
    assert status(env, "web1").state is VmState.DISABLED


def test_nostart_leaves_it_stopped(env, image):
    assert create(env, request(image, start=False)).state is VmState.STOPPED


BAD_NAMES = (
    *(
        "",
        "a" * 65,
        "xml",
        "-web",
        "web-",
        "web.",
        "_web",
        ".web",
        "a..b",
        "web 1",
        "1web",
        "wéb",
        "../a",
        "a\n",
    ),
    *("vm-mgr-web", "a,b", "a/b", "a:b", "abcdef01-2345-6789-abcd-ef0123456789"),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_name_is_refused(env, image, name):
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image, name=name))
    assert caught.value.kind is Kind.INVALID
    assert caught.value.hint


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no xml",
        "<network/>",
        "<domain/>",
        "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><name>&x;</name><devices/></domain>",
        "<domain><uuid>nonsense</uuid><devices/></domain>",
    ],
)
def test_bad_definition_is_refused(env, image, xml):
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image, xml=xml))
    assert caught.value.kind is Kind.INVALID
    assert not env.storage.vms


def test_settings_that_pacemaker_cannot_hold_are_refused(env, image):
    settings = VmSettings(
        pacemaker_meta={"vm-mgr-colocation-db1": "700"},
        pacemaker_params={
            "": "1",
            "a b": "1",
            "#health": "1",
            "a:b": "1",
            "größe": "1",
            "-a": "1",
            "1a": "1",
        },
        pacemaker_utilization={"cpu": "\x01"},
        user_metadata={"a b": "1"},
    )
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image, settings=settings))
    assert kinds(caught.value) == [Kind.INVALID] * 10
    fine = VmSettings(pacemaker_meta={"failure-timeout": "60s", "_a.b": "ä\nx y"})
    assert create(env, request(image, settings=fine)).state is VmState.STARTED


def test_what_another_tool_has_stored_is_checked_before_the_cluster_sees_it(env, image):
    create(env, request(image, enable=False))
    env.storage.definitions.change_settings("web1", VmSettings(pacemaker_meta={"a b": "1"}))
    with pytest.raises(VmMgrError) as caught:
        enable(env, "web1")
    assert caught.value.kind is Kind.INVALID
    assert not env.cluster.resources


def test_all_problems_are_reported_at_once(env, tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    settings = VmSettings(pinned_host="n9", disk_bus="floppy")
    with pytest.raises(VmMgrError) as caught:
        create(env, request(str(empty), xml="<x/>", settings=settings))
    assert kinds(caught.value) == [Kind.INVALID, Kind.INVALID, Kind.NOT_FOUND, Kind.INVALID]
    assert not env.storage.vms


def test_missing_image_is_refused(env, tmp_path):
    with pytest.raises(VmMgrError) as caught:
        create(env, request(str(tmp_path / "none")))
    assert caught.value.kind is Kind.NOT_FOUND


def test_existing_name_is_refused_without_force(env, image):
    create(env, request(image))
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image))
    assert caught.value.kind is Kind.EXISTS
    create(env, request(image, force=True, settings=VmSettings(priority=7)))
    assert env.cluster.resources["web1"].priority == 7


def test_force_that_fails_keeps_the_old_vm(env, image):
    create(env, request(image))
    before = env.storage.definitions.read("web1")
    env.storage.failing = "commit"
    with pytest.raises(VmMgrError):
        create(env, request(image, force=True))
    assert env.storage.definitions.read("web1") == before
    assert status(env, "web1").state is VmState.STARTED


@pytest.mark.parametrize("step", ["fill", "describe", "commit"])
def test_failure_leaves_nothing(env, image, step):
    env.storage.failing = step
    with pytest.raises(VmMgrError):
        create(env, request(image))
    env.storage.failing = ""
    assert not env.storage.vms
    assert not env.intent_log.intents()
    assert not env.cluster.resources


def test_uuid_of_another_vm_is_refused(env, image):
    xml = DOMAIN.replace("<name>", "<uuid>11111111-1111-4111-8111-111111111111</uuid><name>")
    create(env, request(image, xml=xml))
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image, name="web2", xml=xml.replace("1111-4111", "1111-4111".upper())))
    assert caught.value.kind is Kind.EXISTS
    assert "web1" in caught.value.message


def test_generated_uuids_differ(env, image):
    create(env, request(image))
    create(env, request(image, name="web2"))
    uuids = [env.definitions.uuid(env.storage.definitions.read(name)) for name in ("web1", "web2")]
    assert len({*uuids} - {""}) == 2


def test_start_that_fails_keeps_the_disk(env, image):
    env.cluster.failing["web1"] = "start on n1: no such bridge"
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image))
    assert caught.value.kind is Kind.EXTERNAL_FAILURE
    assert "no such bridge" in caught.value.message
    assert "web1" in env.storage.vms
    assert status(env, "web1").state is VmState.FAILED
    assert caught.value.hint.endswith("; to make it anew: vm-mgr remove web1, then create it again")


def test_clone_whose_start_fails_says_how_to_make_it_anew(env, image):
    create(env, request(image))
    env.cluster.failing["web2"] = "start on n1: no such bridge"
    with pytest.raises(VmMgrError) as caught:
        clone(env, CloneRequest("web1", "web2", VmSettings()))
    assert caught.value.hint.endswith("; to make it anew: vm-mgr remove web2, then clone it again")


def test_start_that_fails_of_a_vm_that_was_taken_over_leads_to_no_removal(env, image):
    """Libvirt knows nothing of it any more: it can't be taken over again."""
    env.hypervisor.kept["old1"] = DOMAIN
    env.cluster.failing["web2"] = "start on n1: no such bridge"
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image, name="web2", local="old1"))
    assert "remove" not in caught.value.hint


def test_slow_start_keeps_the_disk(env, image):
    env.cluster.stuck.add("web1")
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image))
    assert caught.value.kind is Kind.TRY_LATER
    assert "web1" in env.storage.vms


def test_no_quorum_is_refused(env, image):
    env.cluster.quorate = False
    with pytest.raises(VmMgrError) as caught:
        create(env, request(image))
    assert caught.value.kind is Kind.TRY_LATER
    assert not env.storage.vms


def test_missing_fencing_is_warned_about(env, image):
    env.cluster.fence_devices = 0
    create(env, request(image))
    assert "no-fencing" in [getattr(report, "code", "") for report in env.said]


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({"have_watchdog": True, "stonith_watchdog_timeout": 10.0}, False),
        ({"have_watchdog": True, "stonith_watchdog_timeout": None}, False),
        ({"have_watchdog": True, "stonith_watchdog_timeout": 0}, True),
        ({"have_watchdog": False, "stonith_watchdog_timeout": 10.0}, True),
    ],
)
def test_cluster_that_fences_by_watchdog_needs_no_device(env, image, options, warned):
    env.cluster.fence_devices = 0
    env.timings.pacemaker = replace(env.timings.pacemaker, **options)
    create(env, request(image))
    assert ("no-fencing" in [getattr(report, "code", "") for report in env.said]) is warned


def test_two_creations_with_one_uuid_do_not_pass_each_other(env, image):
    ident = "5ea9a7b0-0000-4000-8000-000000000001"
    request = CreateRequest("web1", DOMAIN.replace("<name>", f"<uuid>{ident}</uuid><name>"), (image,))
    with env.intent_log.lock(f"uuid-{ident}"), pytest.raises(VmMgrError) as caught:
        create(env, request)
    assert caught.value.kind is Kind.TRY_LATER
    create(env, request)
