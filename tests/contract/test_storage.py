"""What every storage does."""

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings

NAME = "contract1"
SETTINGS = VmSettings(
    live_migration=True,
    stop_timeout_s=45,
    preferred_host="n2",
    priority=-3,
    pacemaker_meta={"failure-timeout": "60"},
    user_metadata={"owner": "me"},
)


def stage(env, image, *, commit=True, xml="<domain/>"):
    inspected = env.storage.inspect(image)
    fractions = []
    with env.storage.stage(NAME, inspected.size_bytes) as staged:
        staged.fill(inspected, fractions.append)
        staged.describe(xml=xml, base_xml="<domain>given</domain>", settings=SETTINGS)
        if commit:
            staged.commit()
    return fractions


def kind_of(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    return caught.value.kind


def test_committed_vm_is_there(env, image):
    fractions = stage(env, image)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert env.storage.exists(NAME)
    assert NAME in env.storage.names()
    assert env.storage.definition(NAME) == "<domain/>"
    assert env.storage.definitions()[NAME] == "<domain/>"
    assert env.storage.images(NAME) == [f"system_{NAME}"]
    assert env.storage.settings(NAME) == SETTINGS


def test_uncommitted_vm_leaves_nothing(env, image):
    stage(env, image, commit=False)
    assert not env.storage.exists(NAME)
    assert kind_of(env.storage.definition, NAME) is Kind.NOT_FOUND
    stage(env, image)


def test_remove_tells_whether_there_was_anything(env, image):
    assert not env.storage.remove(NAME)
    stage(env, image)
    assert env.storage.remove(NAME)
    assert not env.storage.remove(NAME)


def test_staging_that_fails_leaves_nothing(env, image):
    with pytest.raises(RuntimeError), env.storage.stage(NAME, 1 << 20):
        raise RuntimeError
    assert not env.storage.exists(NAME)
    stage(env, image)


def test_commit_replaces_what_was_there(env, image):
    stage(env, image, xml="<domain>1</domain>")
    stage(env, image, xml="<domain>2</domain>")
    assert env.storage.definition(NAME) == "<domain>2</domain>"
    assert env.storage.images(NAME) == [f"system_{NAME}"]


def test_uncommitted_replacement_keeps_the_old_vm(env, image):
    stage(env, image, xml="<domain>1</domain>")
    stage(env, image, xml="<domain>2</domain>", commit=False)
    assert env.storage.definition(NAME) == "<domain>1</domain>"


def test_second_staging_of_a_name_is_refused(env):
    with env.storage.stage(NAME, 1 << 20):
        with pytest.raises(VmMgrError) as caught, env.storage.stage(NAME, 1 << 20):
            pass
        assert caught.value.kind is Kind.TRY_LATER


def test_removed_vm_is_gone(env, image):
    stage(env, image)
    env.storage.remove(NAME)
    assert not env.storage.exists(NAME)
    assert kind_of(env.storage.settings, NAME) is Kind.NOT_FOUND
    env.storage.remove(NAME)


def test_unused_disk_has_no_holder(env, image):
    stage(env, image)
    assert env.storage.holders(env.storage.images(NAME)) == []
    assert env.storage.holders(["system_contract2"]) == []


def test_image_that_is_not_qcow2_is_refused(env, tmp_path):
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(4096))
    empty = tmp_path / "empty"
    empty.touch()
    assert kind_of(env.storage.inspect, str(raw)) is Kind.INVALID
    assert kind_of(env.storage.inspect, str(empty)) is Kind.INVALID
    assert kind_of(env.storage.inspect, str(tmp_path / "none")) is Kind.NOT_FOUND


def test_size_is_the_guests(env, image):
    assert env.storage.inspect(image).size_bytes == 1 << 20
