"""Notes and other metadata: read by key whatever the values are, refused where no storage takes them."""

import json
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import vm_manager
from vm_manager import environment
from vm_mgr.adapters.ceph import port
from vm_mgr.adapters.ceph.layout import read_settings, write_settings
from vm_mgr.adapters.ceph.metadata import parse_page, read_all
from vm_mgr.adapters.ceph.pool import Pool
from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.shared_dir import record
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.adapters.shared_dir.port import SharedDirectory
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TEXT_MAX, VmSettings, note_problems
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.metadata import get_metadata, list_metadata, remove_metadata, set_metadata
from vm_mgr.operations.repair import repair
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.reports import Note

from .ceph_objects import RADOS, Objects
from .conftest import DOMAIN

FEW = settings(max_examples=60, deadline=None)
BINARY = st.binary(max_size=40) | st.sampled_from([b"", b"\0", b"\0a\0", b"\xff\xfe", b"x" * 70_000])
KEYS = st.binary(min_size=1, max_size=12).filter(lambda key: not key.startswith(b".rbd"))
TEXTS = st.text(max_size=30) | st.sampled_from(["", "\0", "a\0b", "\udcff", "\ud800", "ö" * 40_000])


@pytest.fixture(autouse=True)
def rados(monkeypatch):
    monkeypatch.setitem(sys.modules, "rados", RADOS)


def text(raw):
    return raw.decode(errors="surrogateescape")


@given(st.dictionaries(KEYS, BINARY, max_size=200))
@FEW
def test_every_value_stands_beside_its_key(kept):
    sys.modules["rados"] = RADOS
    found = read_all(Objects({"system_web1": kept}.__getitem__), "system_web1")
    assert found == {text(key): text(value) for key, value in kept.items()}


def test_many_and_huge_values_are_read_page_by_page_and_with_more_room():
    kept = {b"%04d" % number: b"" if number % 3 else b"\xf6" * number * 90 for number in range(1000)}
    objects = Objects({"system_web1": kept}.__getitem__)
    assert read_all(objects, "system_web1") == {text(key): text(value) for key, value in kept.items()}
    assert read_all(objects, "system_web2") is None


def test_internal_keys_of_librbd_are_hidden():
    kept = {b".rbd_trash": b"1", b"a": b""}
    assert read_all(Objects({"system_web1": kept}.__getitem__), "system_web1") == {"a": ""}


@given(st.binary(max_size=60))
@FEW
def test_answer_that_is_none_is_an_error_and_no_defect(raw):
    try:
        parse_page(raw)
    except ValueError:
        return
    assert len(raw) >= 4


@pytest.mark.parametrize("broken", [b"", b"\xff\xff\xff\xff", b"\1\0\0\0", b"\1\0\0\0\2\0\0\0a"])
def test_broken_answer_names_the_image(broken):
    objects = Objects({"system_web1": {}}.__getitem__)
    objects.execute = lambda *_: (len(broken), broken)
    with pytest.raises(VmMgrError) as caught:
        read_all(objects, "system_web1")
    assert (caught.value.kind, "system_web1" in caught.value.message) == (Kind.EXTERNAL_FAILURE, True)


class InCeph:
    """The Ceph adapter on an image of raw bytes; the binding's metadata_list would not do."""

    def __init__(self):
        self.kept = {b"xml": DOMAIN.encode(), b"vm_name": b"web1"}
        image = SimpleNamespace(
            metadata_set=self.kept.__setitem__,
            metadata_remove=self.kept.__delitem__,
        )

        @contextmanager
        def opened(*_, **__):
            yield image

        class Images(Pool):
            @contextmanager
            def working(self, doing):
                yield SimpleNamespace(Image=opened), None

        connection = SimpleNamespace(
            pool="rbd", ioctx=Objects({"system_web1": self.kept}.__getitem__), user="u", conf="c"
        )
        self.storage = port.CephStorage(Images(connection, None, VirtualClock()))


def in_directory(root):
    root.mkdir()
    mount = Mount(root)
    mount.initialise()
    storage = SharedDirectory(VmFolders(mount, HostRunner(), SystemClock()))
    (root / "web1").mkdir()
    (root / "web1" / "domain.xml").write_text(DOMAIN)
    (root / "web1" / "metadata.json").write_text("{}")
    return storage


@pytest.fixture(params=["ceph", "directory"])
def storage(request, tmp_path):
    return InCeph().storage if request.param == "ceph" else in_directory(tmp_path / "vms")


def test_empty_values_of_other_tools_keep_no_vm_down(tmp_path):
    ceph, directory = InCeph(), in_directory(tmp_path / "vms")
    ceph.kept |= {b"note": b"", b"owner": b"me", b"_stop_timeout": b"", b"_pinned_host": b"", b"z": b"\0\xff"}
    raw = {"metadata": {"note": "", "owner": "me", "z": "\0\udcff"}, "settings": {"pinned_host": ""}}
    (directory.folders.mount.root / "web1" / "metadata.json").write_text(json.dumps(raw))
    for one in (ceph.storage, directory):
        assert one.definitions.read("web1") == DOMAIN
        assert one.definitions.settings("web1").user_metadata == {"note": "", "owner": "me", "z": "\0\udcff"}
        one.definitions.describe("web1", {"owner": "you"})
        assert one.definitions.settings("web1").user_metadata == {"note": "", "owner": "you", "z": "\0\udcff"}
        assert one.definitions.read("web1") == DOMAIN
    assert directory.definitions.exclusive(lambda xml: [("is", str(xml == DOMAIN))]) == {
        "web1": {("is", "True")}
    }
    assert ceph.kept[b"z"] == b"\0\xff"


@given(st.dictionaries(st.text("abc", min_size=1), TEXTS | st.none(), max_size=8))
@FEW
def test_what_is_described_is_read_again_and_nothing_empty_is_written(tmp_path_factory, notes):
    sys.modules["rados"] = RADOS
    for one in (InCeph().storage, in_directory(tmp_path_factory.mktemp("x") / "vms")):
        fine = {
            key: value for key, value in notes.items() if value is None or not note_problems({key: value})
        }
        one.definitions.describe("web1", {"a": "before", "q": "stays"})
        one.definitions.describe("web1", fine)
        one.definitions.change_settings(
            "web1", VmSettings(priority=3, user_metadata={k: v or "" for k, v in fine.items()})
        )
        wanted = {"a": "before", "q": "stays"} | fine
        assert one.definitions.settings("web1").user_metadata == {
            key: value for key, value in wanted.items() if value
        }
        assert one.definitions.settings("web1").priority == 3
        assert one.definitions.read("web1") == DOMAIN


@given(st.dictionaries(st.text(min_size=1), TEXTS, max_size=8))
@FEW
def test_codecs_give_back_what_they_are_given(notes):
    own = {
        key: value
        for key, value in notes.items()
        if not key.startswith("_") and key not in ("xml", "vm_name")
    }
    kept = VmSettings(priority=-7, user_metadata=own)
    raw = record.render(record.Record(kept, own))
    raw.encode()
    assert record.parse(raw).settings == kept
    written = write_settings(kept)
    assert all(written.values())
    full = {key: value for key, value in own.items() if value}
    assert read_settings(written) == kept._replace(user_metadata=full)


def test_stored_settings_have_no_empty_key():
    written = write_settings(VmSettings(migration_user="", crm_config_cmd="", user_metadata={"a": ""}))
    assert written == {}


@pytest.mark.parametrize("value", ["\0", "a\0b", "\udcff", "x" * (TEXT_MAX + 1), "ö" * TEXT_MAX])
def test_what_no_storage_takes_is_refused_before_anything_changes(env, image, value):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(user_metadata={"owner": "me"})))
    before, changes = env.storage.definitions.metadata("web1"), Changes({"user_metadata": {"note": value}})
    bad = VmSettings(user_metadata={"note": value})
    attempts = [
        lambda: set_metadata(env, "web1", "note", value),
        lambda: set_vm(env, "web1", changes),
        lambda: set_vm(env, "web1", Changes({"crm_config_cmd": value})),
        lambda: create(
            env, CreateRequest("web2", DOMAIN, (image,), VmSettings(user_metadata={"note": value}))
        ),
        lambda: clone(env, CloneRequest("web1", "web2", bad)),
    ]
    for attempt in attempts:
        with pytest.raises(VmMgrError) as caught:
            attempt()
        assert (caught.value.kind, bool(caught.value.hint)) == (Kind.INVALID, True)
        assert len(caught.value.message) < 200
    assert env.storage.definitions.metadata("web1") == before
    assert set(env.storage.vms) == {"web1"}
    assert not env.intent_log.intents()


@pytest.mark.parametrize("value", ["x" * TEXT_MAX, "ö\n\t'\"<&>;=", " ", "=", "日本"])
def test_every_other_value_is_kept(env, image, value):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(user_metadata={"a": value})))
    set_metadata(env, "web1", "b", value)
    set_vm(env, "web1", Changes({"user_metadata": {"c": value}}))
    clone(env, CloneRequest("web1", "web2", lambda source: source))
    assert env.storage.definitions.settings("web2").user_metadata == dict.fromkeys("abc", value)


class TestEmptyValueIsNone:
    """One meaning, whoever gives it."""

    @pytest.fixture
    def vm(self, env, image):
        notes = {"owner": "me", "site": "", "note": "x"}
        create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(user_metadata=notes)))
        assert env.storage.definitions.settings("web1").user_metadata == {"owner": "me", "note": "x"}
        return "web1"

    @pytest.fixture
    def shell(self, env):
        return lambda *words: CliRunner(mix_stderr=False).invoke(app, words, obj=env)

    def test_at_the_commands(self, env, vm, shell):
        ways = [
            ("set-metadata", vm, "--metadata-name", "note", "--metadata-value", ""),
            ("set", vm, "--metadata", "note="),
            ("remove-metadata", vm, "--metadata-name", "note"),
            ("remove_metadata", "-n", vm, "--metadata_name", "note"),
        ]
        for words in ways:
            env.storage.definitions.describe(vm, {"note": "x"})
            done = shell(*words)
            assert (done.exit_code, done.stderr.count("error")) == (0, 0), done.stderr
            assert env.storage.definitions.settings(vm).user_metadata == {"owner": "me"}
        assert shell("clone", vm, "--dst-name", "web2", "--metadata", "owner=").exit_code == 0
        assert env.storage.definitions.settings("web2").user_metadata == {}

    def test_set_metadata_says_what_it_did(self, env, vm, shell):
        words = ("set-metadata", vm, "--metadata-name", "note", "--metadata-value")
        assert shell(*words, "y").stdout == "note note of web1 is set\n"
        assert shell(*words, "").stdout == "note note of web1 is removed\n"

    def test_in_programs(self, env, vm):
        @contextmanager
        def build(_say):
            yield env

        environment.use(build)
        try:
            vm_manager.set_metadata(vm, "note", "")
            assert "note" not in vm_manager.list_metadata(vm)
            with pytest.raises(KeyError):
                vm_manager.get_metadata(vm, "note")
        finally:
            environment.use(None)

    def test_setting_something_else_leaves_an_empty_one_of_another_tool(self, env, vm):
        env.storage.vms[vm].keys["my-note"] = ""
        set_vm(env, vm, Changes({"priority": 4, "user_metadata": {"owner": "you"}}))
        assert env.storage.definitions.metadata(vm)["my-note"] == ""
        set_vm(env, vm, Changes({"user_metadata": {"my-note": ""}}))
        assert "my-note" not in env.storage.definitions.metadata(vm)


def kind_of(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    assert caught.value.hint
    return caught.value.kind


def test_a_note_is_removed_and_nothing_else(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    env.storage.vms["web1"].keys |= {"my note": "\0", "b": "1"}
    remove_metadata(env, "web1", "my note")
    assert kind_of(remove_metadata, env, "web1", "my note") is Kind.NOT_FOUND
    assert kind_of(remove_metadata, env, "web9", "b") is Kind.NOT_FOUND
    for key in ("xml", "vm_name", "_base_xml", "_vm_mgr_made", "_priority"):
        assert kind_of(remove_metadata, env, "web1", key) is Kind.INVALID
    assert get_metadata(env, "web1", "b") == "1"
    assert {"xml", "vm_name", "_base_xml"} <= set(list_metadata(env, "web1"))


def old_mark(**details):
    return Intent("set", "n1", 0.0, {"xml": "", **details})


@pytest.mark.parametrize("value", ["", "\0", "\ud800", "x" * (TEXT_MAX + 1)])
def test_repair_ends_a_mark_that_would_write_a_bad_note_again(env, image, value):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(user_metadata={"owner": "me"})))
    asked = VmSettings(priority=8, user_metadata={"owner": "me", "note": value})
    env.intent_log.write("web1", old_mark(settings=json.dumps(asked._asdict())))
    assert repair(env) == ["web1"]
    assert not env.intent_log.intents()
    settled = env.storage.definitions.settings("web1")
    assert (settled.priority, settled.user_metadata) == (8, {"owner": "me"})


@pytest.mark.parametrize("details", [{}, {"settings": "{"}, {"settings": "[1]"}, {"settings": "null"}])
def test_repair_ends_a_mark_that_nobody_can_read(env, image, details):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    env.intent_log.write("web1", old_mark(**details))
    assert repair(env) == ["web1"]
    assert not env.intent_log.intents()
    assert "mark-forgotten" in [report.code for report in env.said if isinstance(report, Note)]


def test_clone_leaves_out_what_it_cannot_write(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    env.storage.vms["web1"].keys |= {"my-note": "kept", "bad": "\0"}
    clone(env, CloneRequest("web1", "web2", lambda source: source))
    assert env.storage.definitions.settings("web2").user_metadata == {"my-note": "kept"}
    assert "note-left-out" in [report.code for report in env.said if isinstance(report, Note)]


def test_values_of_other_tools_are_printed(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    env.storage.vms["web1"].keys |= {"raw": "\udcff\0", "empty": ""}
    shell = CliRunner(mix_stderr=False)
    for output in ("json", "yaml"):
        done = shell.invoke(app, ["list-metadata", "web1", "-o", output], obj=env)
        assert (done.exit_code, "empty" in done.stdout) == (0, True)
        assert shell.invoke(app, ["show", "web1", "-o", output], obj=env).exit_code == 0
    for words in (["get-metadata", "web1", "--metadata-name", "raw"], ["show", "web1"]):
        assert shell.invoke(app, words, obj=env).exit_code == 0
