"""What every storage does."""

import random
from pathlib import Path

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import HALF
from vm_mgr.model.saved_state import SavedState
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmSettings

NAME = "contract1"
OTHER = "contract3"
SETTINGS = VmSettings(
    live_migration=True,
    stop_timeout_s=45,
    preferred_host="n2",
    priority=-3,
    pacemaker_meta={"failure-timeout": "60"},
    user_metadata={"owner": "me"},
)


def stage(env, image, *, commit=True, xml="<domain/>", disks=1, name=NAME):
    inspected = env.images.inspect(image)
    fractions = []
    with env.storage.stage(name) as staged:
        for _ in range(disks):
            staged.add(inspected.size_bytes)
            staged.fill(inspected, fractions.append)
        staged.describe(xml=xml, base_xml="<domain>given</domain>", settings=SETTINGS, notes={})
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
    assert env.storage.definitions.exists(NAME)
    assert NAME in env.storage.definitions.names()
    assert env.storage.definitions.read(NAME) == "<domain/>"
    assert env.storage.disks.full(NAME) == ""
    assert env.storage.clients.images(NAME) == [f"system_{NAME}"]
    assert env.storage.definitions.settings(NAME) == SETTINGS


def test_what_a_vm_has_alone_is_read_once(env, image):
    """Of 1000 VMs the definition of none is read twice, but where another VM has got the name."""
    asked = []

    def read(xml):
        asked.append(xml)
        return [("id", xml.partition("id=")[2].strip("'/>"))]

    def known(**options):
        asked.clear()
        found = env.storage.definitions.exclusive(read, **options)
        named = {name: dict(found.get(name, ())).get("id") for name in (NAME, OTHER)}
        return named, [xml for xml in asked if "<domain id" in xml]

    stage(env, image, xml="<domain id='one'/>")
    assert known(keep=False) == ({NAME: "one", OTHER: None}, ["<domain id='one'/>"])
    assert known() == ({NAME: "one", OTHER: None}, ["<domain id='one'/>"])
    assert known() == ({NAME: "one", OTHER: None}, [])
    env.storage.rename(NAME, OTHER)
    assert known()[0] == {NAME: None, OTHER: "one"}
    assert known() == ({NAME: None, OTHER: "one"}, [])
    stage(env, image, xml="<domain id='two'/>")
    assert known() == ({NAME: "two", OTHER: "one"}, ["<domain id='two'/>"])
    env.storage.remove(NAME)
    stage(env, image, xml="<domain id='three'/>")
    assert known()[0] == {NAME: "three", OTHER: "one"}
    assert known() == ({NAME: "three", OTHER: "one"}, [])


def test_changed_definition_is_read_again(env, image):
    def known():
        return env.storage.definitions.exclusive(lambda xml: [("xml", xml)])[NAME]

    stage(env, image, xml="<domain id='one'/>")
    assert known() == {("xml", "<domain id='one'/>")}
    env.storage.definitions.describe(NAME, {"xml": "<domain id='two'/>"})
    assert known() == {("xml", "<domain id='two'/>")}


def test_uncommitted_vm_leaves_nothing(env, image):
    stage(env, image, commit=False)
    assert not env.storage.definitions.exists(NAME)
    assert kind_of(env.storage.definitions.read, NAME) is Kind.NOT_FOUND
    stage(env, image)


def test_remove_tells_whether_there_was_anything(env, image):
    assert not env.storage.remove(NAME)
    stage(env, image)
    assert env.storage.remove(NAME)
    assert not env.storage.remove(NAME)


def test_staging_that_fails_leaves_nothing(env, image):
    def fail():
        with env.storage.stage(NAME) as staged:
            staged.add(1 << 20)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not env.storage.definitions.exists(NAME)
    stage(env, image)


def test_commit_replaces_what_was_there(env, image):
    stage(env, image, xml="<domain>1</domain>")
    stage(env, image, xml="<domain>2</domain>")
    assert env.storage.definitions.read(NAME) == "<domain>2</domain>"
    assert env.storage.clients.images(NAME) == [f"system_{NAME}"]


def test_uncommitted_replacement_keeps_the_old_vm(env, image):
    stage(env, image, xml="<domain>1</domain>")
    stage(env, image, xml="<domain>2</domain>", commit=False)
    assert env.storage.definitions.read(NAME) == "<domain>1</domain>"


def test_removed_vm_is_gone(env, image):
    stage(env, image)
    env.storage.remove(NAME)
    assert not env.storage.definitions.exists(NAME)
    assert kind_of(env.storage.definitions.settings, NAME) is Kind.NOT_FOUND
    env.storage.remove(NAME)


def test_replacement_with_fewer_disks_leaves_no_disk_behind(env, image):
    stage(env, image, disks=3)
    assert env.storage.clients.images(NAME) == [f"system_{NAME}", f"data_{NAME}_0", f"data_{NAME}_1"]
    stage(env, image, disks=2)
    assert env.storage.clients.images(NAME) == [f"system_{NAME}", f"data_{NAME}_0"]
    assert [disk.size_bytes for disk in env.storage.disks.of(NAME)] == [1 << 20, 1 << 20]


# Of other tools: empty, binary, beyond the first buffers of librbd's binding (4 KiB) and of ours (64 KiB).
WRITTEN = (
    b"",
    b"\0",
    b"a\0b",
    b"\0\0",
    b"\xff\xfe",
    "ö日本".encode(),
    b"x" * 5000,
    b"y" * 70_000,
    b"z" * 300_000,
)


def test_whatever_stands_beside_the_disk_each_value_has_its_own_key(env, image, write_raw, text_max):
    stage(env, image)
    chance = random.Random(12)  # noqa: S311 - the same each time
    wrote = {
        f"k{number:02}".encode(): value for number, value in enumerate(WRITTEN) if len(value) <= text_max
    }
    for number in range(150):  # more than Ceph gives at a time
        wrote[f"n{number:03}".encode()] = chance.randbytes(chance.choice((0, 0, 1, 7, 300)))
    wrote |= {"schlüssel-ß".encode(): b"", b"_foreign": b"", b"with space": b"\n", b"a/b=c": b"="}
    for key, value in wrote.items():
        write_raw(key, value)
    text = {key.decode(): value.decode(errors="surrogateescape") for key, value in wrote.items()}
    found = env.storage.definitions.metadata(NAME)
    assert {key: found[key] for key in text} == text
    assert (found["xml"], found["owner"]) == ("<domain/>", "me")
    assert env.storage.definitions.read(NAME) == "<domain/>"
    notes = {key: value for key, value in text.items() if not key.startswith("_")}
    assert env.storage.definitions.settings(NAME) == SETTINGS._replace(user_metadata={**notes, "owner": "me"})
    env.storage.definitions.describe(NAME, {"k00": "full", "k01": None, "xml": "<domain id='2'/>"})
    env.storage.definitions.change_settings(NAME, SETTINGS._replace(priority=1))
    found = env.storage.definitions.metadata(NAME)
    rest = {key: value for key, value in text.items() if key not in ("k00", "k01")}
    assert {key: found[key] for key in rest} == rest
    assert (found["k00"], "k01" in found, found["xml"]) == ("full", False, "<domain id='2'/>")


def test_text_is_kept_and_an_empty_value_is_none(env, image, text_max):
    stage(env, image)
    texts = {
        "huge": "ü" * (text_max // 6),
        "lines": "a\n\tb\r\n",
        "signs": "<&>\"'\\",
        "wide": "日本\U0001f600",
    }
    env.storage.definitions.describe(NAME, {**texts, "empty": ""})
    assert env.storage.definitions.settings(NAME).user_metadata == {**texts, "owner": "me"}
    env.storage.definitions.describe(NAME, {"huge": "", "absent": ""})
    env.storage.definitions.change_settings(
        NAME, SETTINGS._replace(user_metadata={"owner": "", "wide": "w", "gone": ""})
    )
    kept = {key: texts[key] for key in ("lines", "signs")}
    assert env.storage.definitions.settings(NAME).user_metadata == {**kept, "wide": "w"}


def test_new_vm_has_no_empty_values(env, image):
    inspected = env.images.inspect(image)
    with env.storage.stage(NAME) as staged:
        staged.add(inspected.size_bytes)
        settings = VmSettings(user_metadata={"note": "", "owner": "me"}, crm_config_cmd="", migration_user="")
        staged.describe(xml="<domain/>", base_xml="<domain/>", settings=settings, notes={"_vm_mgr_made": "1"})
        staged.commit()
    assert all(env.storage.definitions.metadata(NAME).values())
    assert env.storage.definitions.settings(NAME).user_metadata == {"owner": "me"}


def test_metadata_can_be_set_and_removed(env, image):
    stage(env, image)
    env.storage.definitions.describe(NAME, {"owner": "you", "site": "north", "absent": None})
    assert env.storage.definitions.settings(NAME).user_metadata == {"owner": "you", "site": "north"}
    env.storage.definitions.describe(NAME, {"site": None})
    assert "site" not in env.storage.definitions.metadata(NAME)
    assert env.storage.definitions.read(NAME) == "<domain/>"
    assert kind_of(env.storage.definitions.metadata, OTHER) is Kind.NOT_FOUND


def test_settings_are_replaced_and_notes_added_to(env, image):
    stage(env, image)
    changed = VmSettings(priority=9, colocations={"db1": "-700"}, user_metadata={"site": "north"})
    env.storage.definitions.change_settings(NAME, changed)
    merged = {**SETTINGS.user_metadata, "site": "north"}
    assert env.storage.definitions.settings(NAME) == changed._replace(user_metadata=merged)
    remote = VmSettings(pacemaker_meta={"remote-node": "in1", "remote-addr": "192.0.2.5", "x": "y"})
    env.storage.definitions.change_settings(NAME, remote)
    assert env.storage.definitions.settings(NAME) == remote._replace(user_metadata=merged)


def test_renamed_vm_has_all_its_disks(env, image):
    stage(env, image, disks=2)
    env.storage.rename(NAME, OTHER)
    env.storage.rename(NAME, OTHER)
    assert not env.storage.definitions.exists(NAME)
    assert env.storage.clients.images(OTHER) == [f"system_{OTHER}", f"data_{OTHER}_0"]
    assert env.storage.definitions.settings(OTHER) == SETTINGS


def test_disk_grows(env, image):
    stage(env, image)
    env.storage.disks.resize(NAME, f"system_{NAME}", 1 << 22)
    assert env.storage.disks.of(NAME)[0].size_bytes == 1 << 22


def test_rollback_takes_the_size_back_too(env, image):
    stage(env, image)
    env.storage.snapshots.take(NAME, "small", Consistency.OFFLINE)
    before = env.storage.disks.of(NAME)[0].size_bytes
    env.storage.disks.resize(NAME, f"system_{NAME}", 1 << 22)
    env.storage.snapshots.roll_back(NAME, "small")
    assert env.storage.disks.of(NAME)[0].size_bytes == before


def test_snapshots_are_listed_by_age_and_removed(env, image):
    stage(env, image, disks=2)
    for name in ("b", "a"):
        env.storage.snapshots.take(NAME, name, Consistency.OFFLINE)
    env.storage.snapshots.take(NAME, "a", Consistency.OFFLINE)
    found = env.storage.snapshots.of(NAME)
    assert [(one.name, one.consistency) for one in found] == [
        ("b", Consistency.OFFLINE),
        ("a", Consistency.OFFLINE),
    ]
    assert found[0].taken_utc <= found[1].taken_utc
    env.storage.snapshots.roll_back(NAME, "a")
    env.storage.snapshots.drop(NAME, "b")
    env.storage.snapshots.drop(NAME, "b")
    assert [one.name for one in env.storage.snapshots.of(NAME)] == ["a"]
    assert env.storage.remove(NAME)


def test_clone_shares_blocks_at_most_until_it_is_gone(env, image, shares_blocks):
    stage(env, image)
    env.storage.snapshots.take(NAME, "now", Consistency.OFFLINE)
    with env.storage.stage(OTHER) as staged:
        staged.add_clone(f"system_{NAME}", "now")
        staged.describe(xml="<domain/>", base_xml="<domain/>", settings=SETTINGS, notes={"_vm_mgr_made": "1"})
        staged.commit()
    env.storage.snapshots.drop(NAME, "now")
    assert env.storage.snapshots.of(NAME) == []
    assert env.storage.definitions.metadata(OTHER)["_vm_mgr_made"] == "1"
    assert env.storage.disks.of(OTHER)[0].parent == (f"system_{NAME}" if shares_blocks else "")
    assert env.storage.clones.of(NAME) == ([f"system_{OTHER}"] if shares_blocks else [])
    assert env.storage.disks.of(OTHER)[0].size_bytes == 1 << 20
    assert env.storage.remove(OTHER)
    assert env.storage.clones.of(NAME) == []
    assert env.storage.remove(NAME)


def test_further_disk_is_made_out_of_sight_and_comes_and_goes(env, image):
    stage(env, image)
    fractions = []
    assert env.storage.disks.next_number(NAME) == 1
    env.storage.disks.make(NAME, 1, 1 << 21, None, fractions.append)
    assert env.storage.clients.images(NAME) == [f"system_{NAME}"]
    env.storage.disks.make(NAME, 1, 1 << 20, env.images.inspect(image), fractions.append)
    for _ in range(2):
        env.storage.disks.place(NAME, 1)
        assert env.storage.clients.images(NAME) == [f"system_{NAME}", f"data_{NAME}_0"]
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert env.storage.disks.next_number(NAME) == 2
    env.storage.disks.make(NAME, 2, 1 << 22, None, fractions.append)
    env.storage.disks.place(NAME, 2)
    assert [disk.size_bytes for disk in env.storage.disks.of(NAME)] == [1 << 20, 1 << 20, 1 << 22]
    for _ in range(2):
        env.storage.disks.drop(NAME, 2)
        assert env.storage.clients.images(NAME) == [f"system_{NAME}", f"data_{NAME}_0"]
    env.storage.disks.drop(NAME, 1)
    assert env.storage.disks.next_number(NAME) == 1
    assert env.storage.definitions.settings(NAME) == SETTINGS
    assert env.storage.remove(NAME)


def test_disk_that_was_only_made_is_nothing(env, image):
    stage(env, image)
    env.storage.disks.make(NAME, 1, 1 << 20, None, lambda _: None)
    assert not env.storage.unstage(NAME)
    assert kind_of(env.storage.disks.place, NAME, 1) is Kind.EXTERNAL_FAILURE
    env.storage.disks.make(NAME, 1, 1 << 20, None, lambda _: None)
    assert env.storage.remove(NAME)
    assert not env.storage.definitions.exists(NAME)
    assert not env.storage.remove(NAME)


def test_disk_says_what_needs_it(env, image, shares_blocks):
    stage(env, image)
    env.storage.snapshots.take(NAME, "first", Consistency.OFFLINE)
    env.storage.disks.make(NAME, 1, 1 << 20, None, lambda _: None)
    env.storage.disks.place(NAME, 1)
    assert env.storage.disks.ties(NAME, 1) == ((), ())
    env.storage.snapshots.take(NAME, "second", Consistency.OFFLINE)
    with env.storage.stage(OTHER) as staged:
        staged.add_clone(f"data_{NAME}_0", "second")
        staged.describe(xml="<domain/>", base_xml="<domain/>", settings=SETTINGS, notes={})
        staged.commit()
    assert env.storage.disks.ties(NAME, 0).snapshots == ("first", "second")
    ties = env.storage.disks.ties(NAME, 1)
    assert ties.snapshots == ("second",)
    assert ties.clones == ((f"system_{OTHER}",) if shares_blocks else ())
    assert kind_of(env.storage.disks.ties, NAME, 2) is Kind.NOT_FOUND
    env.storage.snapshots.roll_back(NAME, "first")
    assert len(env.storage.clients.images(NAME)) == 2


def test_flattened_clone_depends_on_nothing(env, image):
    stage(env, image)
    env.storage.snapshots.take(NAME, "now", Consistency.OFFLINE)
    with env.storage.stage(OTHER) as staged:
        staged.add_clone(f"system_{NAME}", "now")
        staged.describe(xml="<domain/>", base_xml="<domain/>", settings=SETTINGS, notes={})
        staged.commit()
    env.storage.snapshots.drop(NAME, "now")
    fractions = []
    for _ in range(2):
        env.storage.clones.flatten(OTHER, f"system_{OTHER}", fractions.append)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert env.storage.disks.of(OTHER)[0].parent == ""
    assert env.storage.clones.of(NAME) == []
    assert env.storage.disks.ties(NAME, 0) == ((), ())
    assert env.storage.remove(NAME)
    assert env.storage.definitions.exists(OTHER)


def test_full_copy_depends_on_nothing(env, image):
    stage(env, image)
    env.storage.snapshots.take(NAME, "now", Consistency.OFFLINE)
    fractions = []
    with env.storage.stage(OTHER) as staged:
        staged.add(1 << 20)
        staged.copy(f"system_{NAME}", "now", fractions.append)
        staged.describe(xml="<domain/>", base_xml="<domain/>", settings=SETTINGS, notes={})
        staged.commit()
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert env.storage.clones.of(NAME) == []
    assert env.storage.disks.of(OTHER)[0].parent == ""


def test_nothing_is_left_to_settle_after_the_end(env, image):
    stage(env, image)
    assert not env.storage.unstage(NAME)
    assert env.storage.definitions.exists(NAME)


def test_disks_that_were_taken_back_are_whole(env, image):
    stage(env, image, disks=2)
    env.storage.snapshots.take(NAME, "first", Consistency.OFFLINE)
    for _ in range(2):
        env.storage.snapshots.roll_back(NAME, "first")
        assert HALF not in env.storage.definitions.metadata(NAME)


def test_unused_disk_has_no_holder(env, image):
    stage(env, image)
    assert env.storage.clients.of(env.storage.clients.images(NAME)) == []
    assert env.storage.clients.of(["system_contract2"]) == []


def test_image_is_told_by_the_source_that_a_domain_has_for_it(env):
    for number, image in ((0, f"system_{NAME}"), (1, f"data_{NAME}_0")):
        source = env.storage.disks.locate(NAME, number, None).source
        assert env.storage.clients.image_of(source) == image
    assert env.storage.clients.image_of("elsewhere/system_web1") == ""
    assert env.storage.clients.image_of("/dev/null") == ""


def test_images_that_a_domain_opens_are_those_that_the_storage_has_for_it(env, storage_kind):
    disk = env.storage.disks.locate(NAME, 0, None)
    xml = env.definitions.with_disk("<domain><name>x</name><devices/></domain>", disk)
    foreign = xml.replace(disk.source, "elsewhere/system_web1")
    addressed = [] if storage_kind in ("shared_dir", "vms") else [f"system_{NAME}"]
    assert env.storage.clients.opened(env.definitions.opened(xml)) == addressed
    assert env.storage.clients.opened(env.definitions.opened(foreign)) == []


def test_vms_of_similar_names_leave_each_other_alone(env, image, neighbours):
    stage(env, image, disks=3)
    for number, name in enumerate(neighbours):
        stage(env, image, disks=2, name=name, xml=f"<domain>{number}</domain>")
    env.storage.rename(NAME, OTHER)
    assert env.storage.remove(OTHER)
    stage(env, image, disks=1)
    stage(env, image, disks=2)
    assert env.storage.remove(NAME)
    for number, name in enumerate(neighbours):
        assert env.storage.clients.images(name) == [f"system_{name}", f"data_{name}_0"]
        assert env.storage.definitions.read(name) == f"<domain>{number}</domain>"
        assert env.storage.remove(name)


STATE = SavedState(uuid="11111111-2222-3333-4444-555555555555", node="n1", saved_utc=7.5, was_paused=True)
MEMORY = bytes(range(256)) * 40_000


def quiet(_fraction):
    """Hear of progress."""


def save(env, content=MEMORY, *, finish=True):
    path = env.storage.saved_memory.prepare(NAME, len(content))
    assert not Path(path).exists()
    Path(path).write_bytes(content)
    kept = env.storage.saved_memory.store(NAME, STATE, quiet)
    if finish:
        env.storage.saved_memory.commit(NAME, kept)
    return kept


def test_saved_memory_is_given_back_once(env, image):
    stage(env, image)
    assert env.storage.saved_memory.of(NAME) is None
    kept = save(env)
    assert (kept.size_bytes, kept.disk_fingerprint) == (
        len(MEMORY),
        env.storage.saved_memory.disk_fingerprint(NAME),
    )
    found = env.storage.saved_memory.of(NAME)
    assert found == kept._replace(complete=True)
    assert found.resumable
    env.storage.saved_memory.consume(NAME)
    assert kind_of(env.storage.saved_memory.consume, NAME) is Kind.WRONG_STATE
    assert env.storage.saved_memory.of(NAME) == kept._replace(complete=True, consumed=True)
    path = env.storage.saved_memory.load(NAME, found, quiet)
    assert Path(path).read_bytes() == MEMORY
    env.storage.saved_memory.delete(NAME)
    assert env.storage.saved_memory.of(NAME) is None
    assert not Path(path).exists()
    env.storage.saved_memory.delete(NAME)


def test_memory_that_is_not_finished_can_not_be_taken(env, image):
    stage(env, image)
    save(env, finish=False)
    found = env.storage.saved_memory.of(NAME)
    assert not found.complete
    assert not found.resumable
    assert kind_of(env.storage.saved_memory.consume, NAME) is Kind.WRONG_STATE
    env.storage.saved_memory.delete(NAME)
    assert env.storage.saved_memory.of(NAME) is None


def test_absent_memory_can_not_be_taken(env, image):
    stage(env, image)
    assert kind_of(env.storage.saved_memory.consume, NAME) is Kind.WRONG_STATE


def test_new_memory_takes_the_place_of_what_was_saved_before(env, image):
    stage(env, image)
    save(env, b"older")
    env.storage.saved_memory.consume(NAME)
    kept = save(env, b"newer")
    assert env.storage.saved_memory.of(NAME) == kept._replace(complete=True)
    env.storage.saved_memory.consume(NAME)
    assert Path(env.storage.saved_memory.load(NAME, kept, quiet)).read_bytes() == b"newer"


def test_other_memory_than_was_kept_is_refused(env, image):
    stage(env, image)
    kept = save(env)
    env.storage.saved_memory.consume(NAME)
    other = kept._replace(digest="0" * len(kept.digest))
    assert kind_of(env.storage.saved_memory.load, NAME, other, quiet) is Kind.EXTERNAL_FAILURE


def test_saving_and_fetching_end_when_the_caller_says_so(env, image):
    def late(_fraction):
        raise VmMgrError(Kind.TRY_LATER, "too late")

    stage(env, image)
    Path(env.storage.saved_memory.prepare(NAME, len(MEMORY))).write_bytes(MEMORY)
    assert kind_of(env.storage.saved_memory.store, NAME, STATE, late) is Kind.TRY_LATER
    assert not env.storage.saved_memory.of(NAME).complete
    kept = save(env)
    env.storage.saved_memory.consume(NAME)
    assert kind_of(env.storage.saved_memory.load, NAME, kept, late) is Kind.TRY_LATER


def test_memory_is_refused_by_a_storage_that_keeps_none(env, image, storage_kind):
    stage(env, image)
    if storage_kind == "drbd":
        assert kind_of(env.storage.saved_memory.prepare, NAME, 1 << 20) is Kind.NOT_SUPPORTED
        assert env.storage.saved_memory.of(NAME) is None


def test_memory_without_room_is_refused(env, image):
    stage(env, image)
    assert kind_of(env.storage.saved_memory.prepare, NAME, 1 << 60) is Kind.NO_RESOURCES


def test_moment_stays_until_a_disk_changes(env, image):
    stage(env, image)
    before = env.storage.saved_memory.disk_fingerprint(NAME)
    env.storage.definitions.describe(NAME, {"owner": "you"})
    assert env.storage.saved_memory.disk_fingerprint(NAME) == before
    kept = save(env, finish=False)
    env.storage.disks.resize(NAME, f"system_{NAME}", 2 << 20)
    assert env.storage.saved_memory.disk_fingerprint(NAME) != before
    assert kind_of(env.storage.saved_memory.commit, NAME, kept) is Kind.WRONG_STATE
    assert not env.storage.saved_memory.of(NAME).complete


def test_saved_memory_is_no_disk_and_goes_with_its_vm(env, image):
    stage(env, image)
    names = env.storage.definitions.names()
    save(env)
    assert env.storage.definitions.names() == names
    assert env.storage.clients.images(NAME) == [f"system_{NAME}"]
    assert env.storage.disks.next_number(NAME) == 1
    env.storage.remove(NAME)
    stage(env, image)
    assert env.storage.saved_memory.of(NAME) is None


def test_replacement_has_no_saved_memory_that_fits(env, image):
    stage(env, image)
    kept = save(env)
    stage(env, image)
    assert (
        env.storage.saved_memory.of(NAME) is None
        or env.storage.saved_memory.disk_fingerprint(NAME) != kept.disk_fingerprint
    )


def test_nvram_follows_snapshots_rollbacks_and_names_and_goes_with_its_vm(env, image):
    stage(env, image)
    definitions, other = env.storage.definitions, b"\0other\xff" * 20_000
    assert definitions.nvram(NAME) == b""
    definitions.keep_nvram(NAME, b"first")
    env.storage.snapshots.take(NAME, "s1", Consistency.OFFLINE)
    definitions.keep_nvram(NAME, other)
    assert (definitions.nvram(NAME), definitions.nvram(NAME, "s1")) == (other, b"first")
    env.storage.snapshots.take(NAME, "s2", Consistency.OFFLINE)
    env.storage.snapshots.roll_back(NAME, "s1")
    assert definitions.nvram(NAME) == b"first"
    env.storage.rename(NAME, OTHER)
    assert (definitions.nvram(OTHER), definitions.nvram(OTHER, "s2")) == (b"first", other)
    env.storage.snapshots.drop(OTHER, "s2")
    assert definitions.nvram(OTHER, "s2") == b""
    env.storage.remove(OTHER)
    stage(env, image, name=OTHER)
    assert definitions.nvram(OTHER) == b""


def test_snapshot_without_nvram_leaves_what_there_is(env, image):
    stage(env, image)
    env.storage.snapshots.take(NAME, "s1", Consistency.OFFLINE)
    env.storage.definitions.keep_nvram(NAME, b"first")
    env.storage.snapshots.roll_back(NAME, "s1")
    assert env.storage.definitions.nvram(NAME) == b"first"


def test_replacement_has_the_nvram_it_was_made_with(env, image):
    stage(env, image)
    env.storage.definitions.keep_nvram(NAME, b"first")
    with env.storage.stage(NAME) as staged:
        staged.add(1 << 20)
        staged.describe(xml="<domain/>", base_xml="<domain/>", settings=VmSettings(), notes={}, nvram=b"new")
        assert env.storage.definitions.nvram(NAME) == b"first"
        staged.commit()
    assert env.storage.definitions.nvram(NAME) == b"new"
    stage(env, image)
    assert env.storage.definitions.nvram(NAME) == b""
