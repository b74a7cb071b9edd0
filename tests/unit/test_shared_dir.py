"""A VM's folder at every point of interruption, and what must never be followed, mistaken or overwritten.

The points are enumerated: each verb is run again and again with files and programs that die one call later,
before or after its effect; then it is repeated, itself with deaths, and must end as if nothing had been.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.host.images import HostImages
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.shared_dir.files import Files, write
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.adapters.shared_dir.intent_log import SharedIntentLog
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.adapters.shared_dir.port import SharedDirectory
from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import HALF, Intent
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.flatten import flatten
from vm_mgr.operations.remove import remove
from vm_mgr.operations.remove_disk import remove_disk
from vm_mgr.operations.rename import rename
from vm_mgr.ports.runner import Completed

from .conftest import DOMAIN

SIZE = 1 << 20
CHANGES = ("make_folder", "make_file", "put", "rename", "sync", "unlink", "remove_folder")


class Killed(BaseException):
    """The process is gone."""


class Fate:
    """Ends everything at the n-th change, before or after its effect; -1 lets everything live."""

    def __init__(self, calls=-1, *, after=False):
        self.left = calls
        self.after = after
        self.dead = False

    def meet(self, call, *arguments, **named):
        if self.dead:
            raise Killed
        self.left -= 1
        last = self.left == -1
        self.dead = last
        result = call(*arguments, **named) if not last or self.after else None
        if last:
            raise Killed
        return result


class MortalFiles(Files):
    """Real changes without waiting for a real disk."""

    def __init__(self, fate):
        self.fate = fate

    def put(self, path, text):
        path.write_text(text)

    def sync(self, path):
        assert path.exists()

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in CHANGES:
            return found
        return lambda *arguments: self.fate.meet(found, *arguments)


class FakeImages:
    """qemu-img as far as the adapter uses it, on files that are JSON: a hundred times faster."""

    def __init__(self, fate=None):
        self.fate = fate or Fate()
        self.used = set()

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        words = [word for word in argv if word not in ("setpriv", "--pdeathsig", "KILL", "--")]
        if words[:2] == ["qemu-img", "info"]:
            if self.fate.dead:
                raise Killed
            code, out = self.info(words)
        else:
            code, out = self.fate.meet(self.change, words)
        return Completed(tuple(argv), code, out, "")

    def info(self, words):
        path = words[-1]
        if path in self.used and "-U" not in words:
            return 1, ""
        inner = [
            {"id": str(number), "name": name, "date-sec": number, "date-nsec": 0}
            for number, (name, _) in enumerate(load(path)["snapshots"], start=1)
        ]
        answer = {"virtual-size": SIZE, "actual-size": 1, "format": "qcow2", "snapshots": inner}
        return 0, json.dumps(answer)

    def change(self, words):
        if words[0] == "cp":
            return 1, ""
        verb, path = words[1], words[-1]
        if path in self.used:
            return 1, ""
        if verb == "create":
            save(words[-2], {"content": "empty", "snapshots": []})
            return 0, ""
        if verb == "convert":
            source = load(words[-2])
            chosen = [word.partition("=")[2] for word in words if word.startswith("snapshot.name=")]
            content = dict(source["snapshots"])[chosen[0]] if chosen else source["content"]
            save(path, {"content": content, "snapshots": []})
            return 0, ""
        return self.snapshot(words[-3], words[-2], path)

    def snapshot(self, option, which, path):
        disk = load(path)
        if option == "-c":
            disk["snapshots"].append([which, disk["content"]])
        elif option == "-d":
            disk["snapshots"].remove(next(one for one in disk["snapshots"] if one[0] == which))
        else:
            disk["content"] = disk["snapshots"][int(which) - 1][1]
        save(path, disk)
        return 0, ""


def load(path):
    return json.loads(Path(path).read_text())


def save(path, disk):
    Path(path).write_text(json.dumps(disk))


class FakeOpenDisks:
    """A QEMU that runs: it alone writes."""

    def __init__(self, images):
        self.images = images
        self.calls = []

    def take_snapshot(self, name, files, snapshot):
        self.calls.append(("take", len(files), snapshot))
        for path in files:
            self.images.snapshot("-c", snapshot, path)

    def drop_snapshot(self, name, files, snapshot):
        self.calls.append(("drop", len(files), snapshot))
        for path in files:
            self.images.snapshot("-d", snapshot, path)


def opened(root, fate=None, **more):
    fate = fate or Fate()
    return SharedDirectory(
        VmFolders(Mount(root, MortalFiles(fate)), FakeImages(fate), VirtualClock(), **more)
    )


def make(storage, name, content, *, disks=2):
    """Stage and commit; the content stands for what an import would have copied."""
    with storage.stage(name) as staged:
        for number in range(disks):
            staged.add(SIZE)
            path = (
                storage.folders.mount.root
                / f".new-{name}"
                / (f"data_{number - 1}.qcow2" if number else "system.qcow2")
            )
            save(path, {"content": content, "snapshots": []})
        staged.describe(
            xml=f"<{content}/>", base_xml="", settings=VmSettings(priority=3), notes={"made": content}
        )
        staged.commit()


def world(root):
    """web1 with a snapshot `old` of its first content, and db1."""
    root.mkdir()
    Mount(root).initialise()
    storage = opened(root)
    for name in ("web1", "db1"):
        make(storage, name, "first")
        storage.snapshots.take(name, "old", Consistency.OFFLINE)
        for path in storage.folders.disk_files(name):
            save(path, {**load(path), "content": "now"})
    return storage


def facts(root):
    """Everything that is in the directory; times and the ledger's files aside."""
    found = {}
    for path in sorted(root.rglob("*")):
        if ".vm-mgr" in path.parts:
            continue
        text = path.read_text() if path.is_file() else ""
        if path.name == "metadata.json":
            kept = json.loads(text)
            for one in filter(None, kept["snapshots"].values()):
                del one["taken_utc"]
            text = json.dumps(kept)
        found[str(path.relative_to(root))] = text
    return found


def seen(root):
    """What a user sees of the VMs, at any moment."""
    storage = opened(root)
    return {
        name: (
            storage.definitions.read(name),
            storage.definitions.metadata(name)["made"],
            [load(path)["content"] for path in storage.folders.disk_files(name)],
            sorted(one.name for one in storage.snapshots.of(name)),
        )
        for name in storage.definitions.names()
    }


def replaced(storage):
    make(storage, "web1", "second", disks=1)


def made(storage):
    storage.disks.make("web1", 2, SIZE, None, lambda _: None)


VERBS = {
    "make disk": (made, lambda storage: storage.unstage("web1")),
    "place disk": (lambda storage: storage.disks.place("web1", 2), None),
    "drop disk": (lambda storage: storage.disks.drop("web1", 1), None),
    "commit": (lambda storage: make(storage, "new1", "second"), lambda storage: storage.unstage("new1")),
    "replace": (replaced, lambda storage: storage.unstage("web1")),
    "remove": (lambda storage: storage.remove("web1"), None),
    "rename": (lambda storage: storage.rename("web1", "new1"), None),
    "take": (lambda storage: storage.snapshots.take("web1", "new", Consistency.CRASH), None),
    "drop": (lambda storage: storage.snapshots.drop("web1", "old"), None),
    "roll back": (lambda storage: storage.snapshots.roll_back("web1", "old"), None),
    "describe": (
        lambda storage: storage.definitions.describe("web1", {"made": "again", "xml": "<again/>"}),
        None,
    ),
}


def prepared(name, root):
    storage = world(root)
    if name == "place disk":
        made(storage)
    return storage


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", VERBS)
def test_interruption_anywhere_is_settled_by_doing_it_again(name, after, tmp_path):
    verb, recover = VERBS[name]
    whole = prepared(name, tmp_path / "whole")
    before, seen_before = facts(whole.folders.mount.root), seen(whole.folders.mount.root)
    verb(whole)
    wanted, seen_wanted = facts(whole.folders.mount.root), seen(whole.folders.mount.root)
    assert before != wanted
    outcomes = [before, wanted] if recover else [wanted]
    points = 0
    while killed(verb, prepared(name, tmp_path / f"{points}"), points, after=after):
        root = tmp_path / f"{points}"
        if name not in ("roll back", "describe"):  # their steps show, which is why operations mark them
            mixed = {
                key: value
                for key, value in seen(root).items()
                if value not in (seen_before.get(key), seen_wanted.get(key))
            }
            assert not mixed, f"half of it can be seen after {points} calls"
        assert seen(root).get("db1") == seen_before["db1"]
        deaths = 0
        while killed(recover or verb, opened(root), deaths, after=after):
            deaths += 1
            assert deaths < 100
        assert facts(root) in outcomes, f"not settled after {points} calls"
        points += 1
    assert points >= (2 if name in ("rename", "roll back", "drop disk", "place disk") else 4)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_disks_of_no_instant_are_known_as_such_without_a_ledger(after, tmp_path):
    """The start of a VM goes by it where the ledger, which is in another storage, can't be reached."""
    points, halves = 0, 0
    verb = VERBS["roll back"][0]
    while killed(verb, world(tmp_path / f"{points}"), points, after=after):
        storage = opened(tmp_path / f"{points}")
        contents = {load(path)["content"] for path in storage.folders.disk_files("web1")}
        half = HALF in storage.definitions.metadata("web1")
        assert half or len(contents) == 1
        halves += half
        verb(storage)
        assert HALF not in storage.definitions.metadata("web1")
        points += 1
    assert halves


def killed(verb, storage, calls, *, after):
    try:
        verb(opened(storage.folders.mount.root, Fate(calls, after=after)))
    except Killed:
        return True
    return False


def kind_of(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    return caught.value.kind


@pytest.fixture
def fake(tmp_path):
    return world(tmp_path / "vms")


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "vms"
    made.mkdir()
    Mount(made).initialise()
    return made


@pytest.fixture
def real(root):
    """Real files and the real qemu-img, with web1: two disks, each with a first content."""
    storage = SharedDirectory(VmFolders(Mount(root), HostRunner(), VirtualClock()))
    with storage.stage("web1") as staged:
        staged.add(SIZE)
        staged.add(SIZE)
        staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
        staged.commit()
    fill(storage, "web1", 1)
    return storage


def fill(storage, name, pattern):
    for path in storage.folders.disk_files(name):
        qemu_io(path, f"write -P {pattern} 0 64k")


def holds(storage, name, pattern):
    return all(
        "failed" not in qemu_io(path, f"read -P {pattern} 0 64k") for path in storage.folders.disk_files(name)
    )


def qemu_io(path, command):
    argv = ["qemu-io", "-f", "qcow2", "-c", command, str(path)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@contextmanager
def in_use(path):
    """Have a process that holds a disk open for writing, as QEMU does."""
    argv = ["qemu-io", "-f", "qcow2", str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdin.write("length\n")
        holder.stdin.flush()
        holder.stdout.readline()
        yield
        holder.stdin.close()


def test_unmounted_directory_is_first_a_matter_of_the_cluster(tmp_path):
    with pytest.raises(VmMgrError) as caught:
        opened(tmp_path).definitions.names()
    steps = ("crm_mon -1", "crm_standby -N NODE -D", f"mount {tmp_path}")
    places = [caught.value.hint.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_unmounted_directory_is_never_an_empty_storage(tmp_path):
    root = tmp_path / "mountpoint"
    for there in (False, True):
        if there:
            root.mkdir()
        storage, intent_log = opened(root), SharedIntentLog(Mount(root))
        verbs = [
            (storage.definitions.names,),
            (storage.definitions.exists, "web1"),
            (storage.definitions.exclusive, lambda _: ()),
            (storage.definitions.read, "web1"),
            (storage.clients.images, "web1"),
            (storage.unstage, "web1"),
            (storage.remove, "web1"),
            (storage.rename, "web1", "new1"),
            (storage.snapshots.of, "web1"),
            (storage.definitions.describe, "web1", {"a": "b"}),
            (make, storage, "web1", "second"),
            (intent_log.intents,),
            (intent_log.write, "web1", Intent("create")),
            (intent_log.erase, "web1"),
            (intent_log.lock("web1").__enter__,),
        ]
        for verb, *arguments in verbs:
            assert kind_of(verb, *arguments) is Kind.EXTERNAL_FAILURE
    assert list(root.iterdir()) == []


def test_storage_that_hangs_is_given_up(root):
    released = Event()

    class Hung(Mount):
        marker = SimpleNamespace(stat=lambda: released.wait(10))

    storage = SharedDirectory(VmFolders(Hung(root, patience_s=0.01), FakeImages(), VirtualClock()))
    assert kind_of(storage.definitions.names) is Kind.EXTERNAL_FAILURE
    released.set()


def test_initialising_again_changes_nothing(fake):
    before = (fake.folders.mount.marker.read_text(), fake.definitions.names())
    fake.folders.mount.initialise()
    assert (fake.folders.mount.marker.read_text(), fake.definitions.names()) == before
    assert kind_of(Mount(fake.folders.mount.root / "none").initialise) is Kind.NOT_FOUND
    assert kind_of(Mount, Path("relative")) is Kind.INVALID


@pytest.mark.parametrize("name", ["../out", "..", ".", "", "a/b", ".vm-mgr", "/etc", "a" * 65])
def test_no_name_leads_out_of_the_directory(name, fake):
    intent_log = SharedIntentLog(fake.folders.mount)
    assert not fake.definitions.exists(name)
    for verb in (
        fake.definitions.read,
        fake.remove,
        fake.unstage,
        fake.clients.images,
        intent_log.erase,
        intent_log.lock(name).__enter__,
    ):
        assert kind_of(verb, *([name] if verb.__name__ != "__enter__" else [])) is Kind.INVALID
    assert kind_of(fake.rename, "web1", name) is Kind.INVALID
    assert kind_of(make, fake, name, "x") is Kind.INVALID
    assert kind_of(fake.disks.resize, "web1", f"system_{name}", SIZE) in (Kind.NOT_FOUND, Kind.INVALID)
    assert fake.definitions.names() == {"web1", "db1"}


def test_links_and_strange_folders_are_no_vms(fake, tmp_path):
    root, outside = fake.folders.mount.root, tmp_path / "outside"
    (root / "web1").rename(outside)
    (root / "web1").symlink_to(outside)
    (root / "iso").mkdir()
    (root / "iso" / "debian").touch()
    assert fake.definitions.names() == {"db1"}
    for name in ("web1", "iso"):
        assert not fake.remove(name)
        assert kind_of(make, fake, name, "second") is Kind.EXISTS
        assert kind_of(fake.rename, "db1", name) is Kind.EXISTS
    (root / ".new-new1").symlink_to(outside)
    assert kind_of(make, fake, "new1", "second") is Kind.EXISTS
    (root / "db1" / "domain.xml").unlink()
    (root / "db1" / "domain.xml").symlink_to(outside / "domain.xml")
    assert kind_of(fake.definitions.read, "db1") is Kind.EXTERNAL_FAILURE
    assert sorted(path.name for path in outside.iterdir()) == [
        "data_0.qcow2",
        "domain.xml",
        "metadata.json",
        "system.qcow2",
    ]


def test_new_content_is_on_the_disk_before_it_has_its_name(tmp_path):
    class Recording(Files):
        done: list = []  # noqa: RUF012

        def __getattribute__(self, name):
            if name in CHANGES:
                Recording.done.append(name)
            return super().__getattribute__(name)

    write(Recording(), tmp_path / "file", "text")
    assert Recording.done == ["put", "rename", "sync"]
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


def test_full_storage_is_said_to_be_full(root):
    class Full(Files):
        def put(self, path, text):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    storage = SharedDirectory(VmFolders(Mount(root, Full()), FakeImages(), VirtualClock()))
    assert kind_of(make, storage, "web1", "first") is Kind.NO_RESOURCES
    assert sorted(path.name for path in root.iterdir()) == [".vm-mgr"]


def test_metadata_that_somebody_broke_is_not_overwritten(fake):
    path = fake.folders.mount.root / "web1" / "metadata.json"
    path.write_text('{"metadata": {"owner": "me"')
    assert kind_of(fake.definitions.describe, "web1", {"site": "north"}) is Kind.EXTERNAL_FAILURE
    assert "owner" in path.read_text()
    assert fake.definitions.read("web1") == "<first/>"


def test_claim_ends_with_a_killed_process(root):
    code = (
        "import sys; from pathlib import Path\n"
        "from vm_mgr.adapters.shared_dir.intent_log import SharedIntentLog\n"
        "from vm_mgr.adapters.shared_dir.mount import Mount\n"
        "with SharedIntentLog(Mount(Path(sys.argv[1]))).lock('web1'):\n"
        "    print('claimed', flush=True); sys.stdin.read()\n"
    )
    intent_log = SharedIntentLog(Mount(root))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "claimed\n"
        assert kind_of(intent_log.lock("web1").__enter__) is Kind.TRY_LATER
        other.send_signal(signal.SIGKILL)
    with intent_log.lock("web1"):
        pass


def test_mark_that_cannot_be_read_is_still_a_mark(root):
    (root / ".vm-mgr" / "marks" / "web1.json").write_text("{")
    (root / ".vm-mgr" / "marks" / "db1.json.new").write_text("{")
    assert SharedIntentLog(Mount(root)).intents() == {"web1": Intent("unknown")}


def test_running_vm_keeps_its_disks_to_itself(real):
    real.snapshots.take("web1", "old", Consistency.OFFLINE)
    fill(real, "web1", 2)
    with in_use(real.folders.disk_files("web1")[1]):
        assert [look.in_use for look in map(real.folders.qcow2.look, real.folders.disk_files("web1"))] == [
            False,
            True,
        ]
        before = facts_of_snapshots(real)
        assert kind_of(real.snapshots.take, "web1", "new", Consistency.CRASH) is Kind.NOT_SUPPORTED
        assert kind_of(real.snapshots.drop, "web1", "old") is Kind.NOT_SUPPORTED
        assert kind_of(real.snapshots.roll_back, "web1", "old") is Kind.WRONG_STATE
        assert kind_of(real.remove, "web1") is Kind.WRONG_STATE
        assert kind_of(real.rename, "web1", "new1") is Kind.WRONG_STATE
        real.snapshots.drop("web1", "none")
        real.disks.resize("web1", "data_web1_0", 2 * SIZE)
        assert facts_of_snapshots(real) == before
        assert [disk.size_bytes for disk in real.disks.of("web1")] == [SIZE, SIZE]
        copy_of(real, "web1", "old", "live1")
        assert holds(real, "live1", 1)
    real.snapshots.roll_back("web1", "old")
    assert holds(real, "web1", 1)
    real.snapshots.drop("web1", "old")
    assert not facts_of_snapshots(real)[1]


def facts_of_snapshots(storage):
    inner = [storage.folders.qcow2.describe(path).snapshots for path in storage.folders.disk_files("web1")]
    return storage.folders.record("web1").snapshots, [one.name for found in inner for one in found]


def copy_of(storage, source, snapshot, name):
    with storage.stage(name) as staged:
        for image in storage.clients.images(source):
            staged.add_clone(image, snapshot)
        staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
        staged.commit()


def test_snapshots_of_a_running_vm_are_taken_by_its_qemu(tmp_path):
    world(tmp_path / "vms")
    storage = opened(tmp_path / "vms")
    storage.folders.runner.used |= {str(path) for path in storage.folders.disk_files("web1")}
    storage.folders.open_disks = FakeOpenDisks(storage.folders.runner)
    storage.snapshots.take("web1", "new", Consistency.FROZEN)
    storage.snapshots.take("web1", "new", Consistency.FROZEN)
    assert {one.name: one.consistency for one in storage.snapshots.of("web1")}["new"] is Consistency.FROZEN
    storage.snapshots.drop("web1", "new")
    storage.snapshots.drop("web1", "new")
    assert storage.folders.open_disks.calls == [("take", 2, "new"), ("drop", 2, "new")]


def test_unfinished_snapshot_is_no_snapshot_and_goes_before_the_next(fake):
    path = fake.folders.disk_files("web1")[0]
    fake.folders.write_record("web1", fake.folders.record("web1").with_snapshot("new", None))
    fake.folders.runner.snapshot("-c", "new", str(path))
    assert [one.name for one in fake.snapshots.of("web1")] == ["old"]
    assert kind_of(fake.snapshots.roll_back, "web1", "new") is Kind.NOT_FOUND
    save(path, {**load(path), "content": "later"})
    fake.snapshots.take("web1", "new", Consistency.OFFLINE)
    assert [one for one in load(path)["snapshots"] if one[0] == "new"] == [["new", "later"]]


def test_snapshots_of_other_tools_are_listed_and_kept_from_being_mixed_up(real):
    for path in real.folders.disk_files("web1"):
        subprocess.run(["qemu-img", "snapshot", "-c", "2", str(path)], check=True)
    fill(real, "web1", 2)
    assert [(one.name, one.consistency) for one in real.snapshots.of("web1")] == [("2", Consistency.UNKNOWN)]
    assert kind_of(real.snapshots.take, "web1", "2", Consistency.OFFLINE) is Kind.EXISTS
    real.snapshots.take(
        "web1", "1", Consistency.OFFLINE
    )  # the one named 1 has the id 2, and the other way round
    fill(real, "web1", 3)
    real.disks.resize("web1", "data_web1_0", 2 * SIZE)
    real.snapshots.roll_back("web1", "1")
    assert [disk.size_bytes for disk in real.disks.of("web1")] == [SIZE, SIZE]
    assert holds(real, "web1", 2)
    real.snapshots.roll_back("web1", "2")
    assert holds(real, "web1", 1)
    real.snapshots.drop("web1", "2")
    assert [one.name for one in real.snapshots.of("web1")] == ["1"]


class Reflinking(HostRunner):
    """A file system that can share blocks, as far as anybody can tell afterwards."""

    copied = 0

    def run(self, argv, **named):
        self.copied += "--reflink=always" in argv
        return super().run(
            ["--reflink=never" if word == "--reflink=always" else word for word in argv], **named
        )


@pytest.mark.parametrize("runner", [HostRunner, Reflinking])
def test_clone_shows_the_snapshot_and_has_none_itself(runner, real):
    real.folders.runner = real.folders.qcow2.runner = runner()
    real.snapshots.take("web1", "1", Consistency.OFFLINE)
    fill(real, "web1", 2)
    real.snapshots.take("web1", "now", Consistency.OFFLINE)
    fill(real, "web1", 3)
    copy_of(real, "web1", "now", "copy1")
    assert holds(real, "copy1", 2)
    assert holds(real, "web1", 3)
    assert [disk.size_bytes for disk in real.disks.of("copy1")] == [SIZE, SIZE]
    assert real.snapshots.of("copy1") == []
    assert not any(real.folders.qcow2.describe(path).snapshots for path in real.folders.disk_files("copy1"))
    for path in (*real.folders.disk_files("copy1"), *real.folders.disk_files("web1")):
        subprocess.run(["qemu-img", "check", "-q", str(path)], check=True)
        assert path.stat().st_mode & 0o777 == 0o600
    assert getattr(real.folders.runner, "copied", 2) == 2


def test_holes_of_an_import_stay_holes(real, tmp_path):
    large = tmp_path / "large.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(large), "1G"], check=True)
    qemu_io(large, "write -P 7 512M 64k")
    image = HostImages(HostRunner()).inspect(str(large))
    with real.stage("large1") as staged:
        staged.add(image.size_bytes)
        fractions = []
        staged.fill(image, fractions.append)
        staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
        staged.commit()
    path = real.folders.disk_files("large1")[0]
    assert "failed" not in qemu_io(path, "read -P 7 512M 64k")
    assert path.stat().st_blocks * 512 < 4 * SIZE
    assert fractions[-1] == 1.0


def test_file_disk_is_described_and_not_foreign(real):
    other = "<disk type='file' device='disk'><source file='/other'/><target dev='vdz'/></disk>"
    xml = DOMAIN.replace("<devices/>", f"<devices>{other}{other}{other}</devices>")
    disks = [real.disks.locate("web1", number, None) for number in (0, 1)]
    prepared = DomainXml().prepare(xml, "web1", disks)
    assert prepared.foreign_disks == ("vdz /other",)
    assert 'cache="none" io="native" discard="unmap"' in prepared.xml
    assert f'<source file="{real.folders.mount.root}/web1/data_0.qcow2"/>' in prepared.xml
    assert "auth" not in prepared.xml
    cached = SharedDirectory(
        VmFolders(real.folders.mount, real.folders.runner, real.folders.clock, cache="writeback")
    ).disks.locate("web1", 0, "scsi")
    assert (cached.io, cached.bus) == ("", "scsi")


def test_life_of_a_vm_in_a_directory(root, tmp_path):
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
    env = MemoryEnv(DomainXml())
    env.storage = SharedDirectory(VmFolders(Mount(root), HostRunner(), env.clock))
    env.storages = StorageSet({"vms": StorageEntry(lambda: env.storage)})
    env.intent_log = SharedIntentLog(env.storage.folders.mount)
    create(env, CreateRequest("web1", DOMAIN, (str(image),), start=False))
    create(env, CreateRequest("web1", DOMAIN, (str(image),), start=False, force=True))
    clone(env, CloneRequest("web1", "web2", VmSettings(), start=False))
    rename(env, "web2", "web3")
    assert f'file="{root}/web3/system.qcow2"' in env.storage.definitions.read("web3")
    assert env.storage.definitions.metadata("web3")["vm_name"] == "web3"
    assert env.storage.snapshots.of("web1") == []
    remove(env, "web1")
    remove(env, "web3")
    assert not env.intent_log.intents()
    assert sorted(path.name for path in root.iterdir()) == [".vm-mgr"]


def test_gaps_and_what_is_in_the_way_are_refused(fake):
    folder = fake.folders.mount.root / "web1"
    (folder / "data_1.qcow2").symlink_to("/nowhere")
    assert kind_of(fake.disks.next_number, "web1") is Kind.EXISTS
    (folder / "data_1.qcow2").unlink()
    save(folder / "data_2.qcow2", {"content": "", "snapshots": []})
    assert kind_of(fake.disks.next_number, "web1") is Kind.WRONG_STATE
    assert kind_of(fake.disks.ties, "web1", 2) is Kind.NOT_FOUND


def test_disk_in_use_is_not_deleted(fake):
    path = fake.folders.disk_files("web1")[1]
    fake.folders.runner.used.add(str(path))
    assert kind_of(fake.disks.drop, "web1", 1) is Kind.WRONG_STATE
    assert path.exists()


def test_disk_that_a_running_guest_let_go_of_is_deleted(fake):
    system, path = fake.folders.disk_files("web1")[:2]
    fake.folders.runner.used.add(str(system))
    fake.disks.drop("web1", 1)
    assert not path.exists()


def test_disks_of_a_vm_in_a_directory_come_and_go(root, tmp_path):
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
    qemu_io(image, "write -P 5 0 64k")
    env = MemoryEnv(DomainXml())
    env.storage = SharedDirectory(VmFolders(Mount(root), HostRunner(), env.clock))
    env.storages = StorageSet({"vms": StorageEntry(lambda: env.storage)})
    env.intent_log = SharedIntentLog(env.storage.folders.mount)
    create(env, CreateRequest("web1", DOMAIN, (str(image),)))
    add_disk(env, "web1", NewDisk(image=str(image)))
    assert add_disk(env, "web1", NewDisk(2 << 20)).size_bytes == 2 << 20
    files = [f"{root}/web1/{name}.qcow2" for name in ("system", "data_0", "data_1")]
    assert env.definitions.sources(env.storage.definitions.read("web1")) == files
    assert env.hypervisor.plugged["web1"] == files[1:]
    assert "failed" not in qemu_io(files[1], "read -P 5 0 64k")
    assert Path(files[2]).stat().st_mode & 0o777 == 0o600
    remove_disk(env, "web1", 2)
    assert env.definitions.sources(env.storage.definitions.read("web1")) == files[:2]
    assert not Path(files[2]).exists()
    assert flatten(env, "web1") == []
    assert sorted(path.name for path in root.iterdir()) == [".vm-mgr", "web1"]


def test_vm_that_is_removed_while_uuids_are_read_is_no_failure(root, monkeypatch):
    storage = opened(root)
    make(storage, "web1", "first")
    make(storage, "web2", "first")
    scandir = os.scandir

    class Removed:
        """A folder of the listing that has gone since."""

        name = "web3"

        def stat(self, **_):
            raise FileNotFoundError(2, "No such file or directory", self.name)

    @contextmanager
    def listed(path):
        with scandir(path) as entries:
            yield [*entries, Removed()]

    monkeypatch.setattr(os, "scandir", listed)
    assert sorted(storage.definitions.exclusive(lambda _: [("UUID", "u")])) == ["web1", "web2"]
