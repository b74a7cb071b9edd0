"""UEFI variables and TPM: with the disks, wherever the VM runs next."""

import os
import subprocess
import time

import pytest

from vm_mgr.adapters.host.nvram_files import HostNvramFiles
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.agent.actions import ACTIONS
from vm_mgr.agent.node_verbs import answer
from vm_mgr.agent.nvram import nvram_changed
from vm_mgr.agent.parameters import Parameters
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.nvram import NvramFile, NvramPlaces, digest, pack, unpack
from vm_mgr.model.vm import VmName
from vm_mgr.operations.add_to_cluster import Takeover, add_to_cluster
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.edit import edit
from vm_mgr.operations.rename import rename
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.stop import stop
from vm_mgr.ports.node_runner import NodeVerb
from vm_mgr.reports import Note

from .test_agent import proc  # noqa: F401 - a fixture
from .test_io_errors import PROBE, Stands

UUID = "6a1cc03d-4b0e-4a53-8f0e-0f6a5a1f5f01"
UEFI = f"""<domain type='qemu'><name>x</name><uuid>{UUID}</uuid><memory>1</memory>
<os firmware='efi'><type>hvm</type></os>
<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></domain>"""
PLACES = NvramPlaces(f"/var/lib/libvirt/qemu/nvram/{UUID}_VARS.fd", f"/var/lib/libvirt/swtpm/{UUID}/tpm2")
GIVEN = Parameters(name="web1", timeout_s=30)
OLD, NEW, NEWER = (pack({"variables": NvramFile(word)}) for word in (b"old", b"new", b"newer"))


def os_of(inner, firmware="efi"):
    attribute = f" firmware='{firmware}'" if firmware else ""
    return UEFI.replace("<os firmware='efi'><type>hvm</type>", f"<os{attribute}><type>hvm</type>{inner}")


@pytest.mark.parametrize(
    ("inner", "firmware", "variables"),
    [
        ("", "efi", "/var/lib/libvirt/qemu/nvram/x_VARS.fd"),
        ("<nvram template='/t'/>", "efi", "/var/lib/libvirt/qemu/nvram/x_VARS.fd"),
        ("<nvram>/a/b.fd</nvram>", "efi", "/a/b.fd"),
        ("<nvram type='file'><source file='/a/c.fd'/></nvram>", "efi", "/a/c.fd"),
        (
            "<loader readonly='yes' type='pflash'>/OVMF.fd</loader>",
            "",
            "/var/lib/libvirt/qemu/nvram/x_VARS.fd",
        ),
        ("<loader type='rom'>/bios</loader>", "", ""),
        ("<loader type='pflash' stateless='yes'>/OVMF.fd</loader>", "efi", ""),
        ("<nvram type='network'><source protocol='rbd' name='rbd/x'/></nvram>", "efi", ""),
        ("<nvram type='block'><source dev='/dev/x'/></nvram>", "efi", ""),
        ("", "bios", ""),
        ("", "", ""),
    ],
)
def test_variables_are_where_libvirt_has_them(inner, firmware, variables):
    assert DomainXml().nvram(os_of(inner, firmware)).variables == variables


@pytest.mark.parametrize(
    ("backend", "folder"),
    [
        ("<backend type='emulator'/>", "tpm2"),
        ("<backend type='emulator' version='2.0'/>", "tpm2"),
        ("<backend type='emulator' version='1.2'/>", "tpm1.2"),
        ("<backend type='emulator'><source type='dir' path='/by/its/user'/></backend>", ""),
        ("<backend type='passthrough'><device path='/dev/tpm0'/></backend>", ""),
    ],
)
def test_tpm_is_where_libvirt_has_it(backend, folder):
    found = DomainXml().nvram(UEFI.replace("<backend type='emulator' version='2.0'/>", backend)).tpm
    assert found == (f"/var/lib/libvirt/swtpm/{UUID}/{folder}" if folder else "")


def test_each_vm_gets_a_file_of_its_own_and_a_tpm_that_outlives_a_power_off():
    xml = os_of("<loader readonly='yes' type='pflash'>/F</loader><nvram template='/T'>/old_VARS.fd</nvram>")
    first = DomainXml().prepare(xml, VmName("a"), [])
    second = DomainXml().prepare(xml, VmName("b"), [], fresh=True)
    places = [DomainXml().nvram(one.xml) for one in (first, second)]
    assert places[0] == PLACES
    assert not set(places[0]) & set(places[1])
    assert 'template="/T"' in first.xml
    assert 'persistent_state="yes"' in first.xml
    assert DomainXml().nvram(DomainXml().renamed(first.xml, VmName("c"), {})) == PLACES
    assert DomainXml().completed(first.xml) == first.xml


NAMED = [
    os_of(f"<nvram{inner}</nvram>")
    for inner in (">/old_VARS.fd", " type='file'><source file='/old_VARS.fd'/>")
]


@pytest.mark.parametrize("xml", NAMED)
def test_what_becomes_of_the_variables_is_told_once(xml):
    made = DomainXml().prepare(xml, VmName("a"), [])
    (change,) = made.changes
    assert "/old_VARS.fd is not taken" in change
    assert made.variables == "/old_VARS.fd"
    assert DomainXml().nvram(made.xml).variables == PLACES.variables
    for options in ({"fresh": True}, {"copied": True}):
        copy = DomainXml().prepare(xml, VmName("a"), [], **options)
        assert (copy.changes, copy.variables) == (("UEFI variables: a copy of the source's",), "")
    again = DomainXml().prepare(made.xml, VmName("a"), [])
    assert (again.changes, again.variables) == ((), "")


def test_bios_stays_as_it_is():
    plain = "<domain><name>a</name><os><type>hvm</type></os><devices/></domain>"
    assert "nvram" not in DomainXml().prepare(plain, VmName("a"), []).xml


def test_packed_files_are_the_same_again():
    files = {"variables": NvramFile(bytes(range(256)), "root", "kvm"), "tpm2-00.permall": NvramFile(b"")}
    assert unpack(pack(files)) == files
    assert pack(files) == pack(dict(reversed(files.items())))
    assert (pack({}), unpack(b""), digest(b"")) == (b"", {}, "")


@pytest.mark.parametrize("broken", [b"x", pack({"variables": NvramFile(b"abc")})[:-4], OLD[:5]])
def test_what_can_not_be_unpacked_is_refused(broken):
    with pytest.raises(VmMgrError) as caught:
        unpack(broken)
    assert caught.value.kind is Kind.EXTERNAL_FAILURE


class TestFiles:
    """The files of this machine."""

    @pytest.fixture
    def places(self, tmp_path):
        return NvramPlaces(str(tmp_path / "nvram" / "a.fd"), str(tmp_path / "swtpm" / "u" / "tpm2"))

    @pytest.fixture
    def files(self, tmp_path):
        return HostNvramFiles(tmp_path / "state")

    def test_what_was_placed_is_read_again_and_nothing_else_stays(self, files, places, tmp_path):
        packed = pack({"variables": NvramFile(b"v"), "tpm2-00.permall": NvramFile(b"t")})
        assert files.read(places) == b""
        files.place(places, packed)
        assert [one.content for one in unpack(files.read(places)).values()] == [b"t", b"v"]
        assert {oct(path.stat().st_mode)[-3:] for path in tmp_path.rglob("*.fd")} == {"600"}
        (tmp_path / "swtpm" / "u" / "tpm2" / "tpm2-00.volatilestate").write_bytes(b"stale")
        files.place(places, pack({"variables": NvramFile(b"w")}))
        assert list(unpack(files.read(places))) == ["variables"]
        files.place(places, b"")
        assert files.read(places) == b""

    def test_user_of_the_tpm_gets_to_its_files_whatever_the_umask(self, files, places, tmp_path):
        before = os.umask(0o077)
        try:
            files.place(places, pack({"tpm2-00.permall": NvramFile(b"t"), "variables": NvramFile(b"v")}))
        finally:
            os.umask(before)
        made = [
            tmp_path / "swtpm",
            tmp_path / "swtpm" / "u",
            tmp_path / "swtpm" / "u" / "tpm2",
            tmp_path / "nvram",
        ]
        assert [oct(folder.stat().st_mode)[-3:] for folder in made] == ["711"] * 4

    def test_no_other_file_is_read_or_written(self, files, places, tmp_path):
        folder = tmp_path / "swtpm" / "u" / "tpm2"
        folder.mkdir(parents=True)
        (folder / ".lock").write_bytes(b"")
        (tmp_path / "secret").write_bytes(b"s")
        (folder / "tpm2-00.link").symlink_to(tmp_path / "secret")
        assert files.read(places) == b""
        evil = {
            "tpm2-00./../../../../out": NvramFile(b"x"),
            "passwd": NvramFile(b"x"),
            "../up": NvramFile(b"x"),
        }
        files.place(places, pack(evil))
        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
            ".lock",
            "secret",
            "tpm2-00.link",
        ]

    def test_link_in_place_of_the_variables_is_refused(self, files, places, tmp_path):
        (tmp_path / "nvram").mkdir()
        (tmp_path / "nvram" / "a.fd").symlink_to("/etc/hostname")
        with pytest.raises(VmMgrError) as caught:
            files.read(places)
        assert caught.value.kind is Kind.ENVIRONMENT

    def test_note_is_older_than_what_may_still_change_and_as_old_as_what_is_kept(
        self, files, places, tmp_path
    ):
        files.place(places, pack({"variables": NvramFile(b"v")}))
        note, path = tmp_path / "state" / "nvram..web1", tmp_path / "nvram" / "a.fd"
        now = path.stat().st_mtime
        files.note("web1", places, "d", as_of_s=now + 9)
        assert note.stat().st_mtime == now
        files.note("web1", places, "d", as_of_s=now - 1)  # it has changed while it was brought to the storage
        assert note.stat().st_mtime < now - 1
        files.note("web1", places, "", as_of_s=now + 9)
        assert note.stat().st_mtime == 0
        assert files.kept("web1") == (places, "")
        files.forget("web1")
        assert files.kept("web1") is None


@pytest.fixture
def web1(env, image):
    create(env, CreateRequest(VmName("web1"), UEFI, (image,), start=False))
    env.said.clear()
    return env


def act(env, action, **changes):
    ACTIONS[action](env, GIVEN._replace(**changes))


def here(env):
    return env.nvram_files.there.get(PLACES, b"")


def kept(env, name="web1", snapshot=""):
    return env.storage.definitions.nvram(VmName(name), snapshot)


def runs(env):
    """Have it run here, as after a live migration or an upgrade."""
    env.hypervisor.running["web1"] = 7
    env.hypervisor.xmls["web1"] = env.storage.definitions.read("web1")


def write(env, packed):
    """Do what QEMU or swtpm does."""
    env.nvram_files.there[PLACES] = packed


def test_what_the_guest_writes_goes_to_the_storage_and_with_it_to_the_next_node(web1):
    act(web1, "start")
    assert here(web1) == b""
    write(web1, OLD)
    nvram_changed(web1, GIVEN)
    assert kept(web1) == OLD
    # The node is lost, with its note.
    web1.hypervisor.running.clear()
    web1.nvram_files.notes.clear()
    write(web1, NEW)
    act(web1, "start")
    assert here(web1) == OLD


def test_what_an_older_version_left_on_the_node_is_taken_over(web1):
    write(web1, OLD)
    act(web1, "start")
    assert (kept(web1), here(web1)) == (OLD, OLD)


def test_guest_that_runs_already_is_kept_from_now_on(web1):
    runs(web1)
    write(web1, OLD)
    act(web1, "start")
    assert kept(web1) == OLD


def test_last_changes_are_kept_at_the_end_and_no_copy_stays(web1):
    act(web1, "start")
    write(web1, NEW)
    act(web1, "stop")
    assert (kept(web1), here(web1), web1.nvram_files.notes) == (NEW, b"", {})


def test_qemu_that_died_loses_nothing(web1):
    act(web1, "start")
    write(web1, NEW)
    web1.hypervisor.running.clear()
    act(web1, "stop")
    assert kept(web1) == NEW


def test_storage_that_takes_nothing_hinders_no_stop_and_the_next_start_here_brings_it(web1):
    act(web1, "start")
    write(web1, NEW)
    web1.storage.failing = "definitions.keep_nvram"
    act(web1, "stop")
    assert (kept(web1), here(web1)) == (b"", NEW)
    web1.storage.failing = ""
    act(web1, "start")
    assert (kept(web1), here(web1)) == (NEW, NEW)


def test_vm_that_has_run_elsewhere_since_is_not_taken_back(web1):
    web1.storage.definitions.keep_nvram("web1", OLD)
    act(web1, "start")
    write(web1, NEW)
    web1.hypervisor.running.clear()
    web1.storage.definitions.keep_nvram("web1", NEWER)
    act(web1, "stop")
    assert (kept(web1), here(web1)) == (NEWER, b"")


def test_storage_that_can_not_be_read_refuses_the_start(web1):
    def fail(name, snapshot=""):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "away")

    web1.storage.definitions.nvram = fail
    with pytest.raises(VmMgrError):
        act(web1, "start")
    assert not web1.hypervisor.running


def test_arrived_guest_is_kept_from_its_new_node(web1):
    web1.storage.definitions.keep_nvram("web1", OLD)
    runs(web1)
    write(web1, NEW)
    act(web1, "migrate_from")
    assert kept(web1) == NEW
    write(web1, NEWER)
    nvram_changed(web1, GIVEN)
    assert kept(web1) == NEWER


def test_guest_that_arrives_while_the_storage_is_away_is_kept_by_the_monitor(web1):
    web1.storage.definitions.keep_nvram("web1", OLD)
    runs(web1)
    write(web1, NEW)
    web1.storage.failing = "definitions.keep_nvram"
    act(web1, "migrate_from")
    web1.storage.failing = ""
    assert kept(web1) == OLD
    assert web1.nvram_files.as_of_s["web1"] == 0  # so the monitor calls
    nvram_changed(web1, GIVEN)
    assert kept(web1) == NEW


def test_left_node_has_no_copy_and_writes_no_more(web1):
    act(web1, "start")
    write(web1, NEW)
    act(web1, "migrate_to", target_node="n2")
    assert (here(web1), web1.nvram_files.notes) == (b"", {})
    web1.storage.definitions.keep_nvram("web1", NEWER)
    web1.hypervisor.running.clear()
    act(web1, "stop")
    assert kept(web1) == NEWER


def test_guest_in_bios_costs_nothing(env, image):
    create(
        env,
        CreateRequest(
            VmName("web1"), UEFI.replace(" firmware='efi'", "").replace("emulator", "passthrough"), (image,)
        ),
    )
    asked = []
    env.storage.definitions.nvram = lambda *_: asked.append(1) or b""
    act(env, "start")
    act(env, "stop")
    assert not asked


def test_snapshot_and_rollback_take_it_along(web1):
    web1.storage.definitions.keep_nvram("web1", OLD)
    create_snapshot(web1, "web1", "s1")
    web1.storage.definitions.keep_nvram("web1", NEW)
    assert kept(web1, snapshot="s1") == OLD
    rollback(web1, "web1", "s1")
    assert kept(web1) == OLD


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_snapshot_of_a_running_guest_shows_what_its_node_has_at_that_instant(env, image, node):
    create(env, CreateRequest(VmName("web1"), UEFI, (image,)))
    if node == "n1":
        runs(env)
        act(env, "start")
    env.cluster.places["web1"] = node
    write(env, NEW)
    create_snapshot(env, "web1", "s1")
    asked = [(node, NodeVerb.KEEP_NVRAM, ("web1",))]
    assert env.node_runner.asked == (asked if node != "n1" else [])
    assert kept(env, snapshot="s1") == (NEW if node == "n1" else b"")


def test_node_that_keeps_nothing_refuses_the_snapshot(env, image):
    create(env, CreateRequest(VmName("web1"), UEFI, (image,)))
    env.cluster.places["web1"] = "n2"
    env.node_runner.answers.clear()
    with pytest.raises(VmMgrError):
        create_snapshot(env, "web1", "s1")
    assert not env.storage.snapshots.of("web1")


def test_node_keeps_it_when_another_one_asks(web1):
    act(web1, "start")
    write(web1, NEW)
    assert answer(web1, ["keep-nvram", "web1"]).endswith(" kept")
    assert kept(web1) == NEW
    with pytest.raises(VmMgrError):
        answer(web1, ["keep-nvram", "../web1"])


def test_node_where_it_does_not_run_says_so(web1):
    with pytest.raises(VmMgrError):
        answer(web1, ["keep-nvram", "web1"])


def test_guest_that_an_older_version_has_started_is_kept_for_a_snapshot(web1):
    runs(web1)
    write(web1, OLD)
    assert answer(web1, ["keep-nvram", "web1"]).endswith(" kept")
    assert kept(web1) == OLD


def test_clone_has_its_own_copy(web1):
    web1.storage.definitions.keep_nvram("web1", OLD)
    clone(web1, CloneRequest(VmName("web1"), VmName("web2"), lambda source: source, start=False))
    assert kept(web1, "web2") == OLD
    web1.storage.definitions.keep_nvram("web2", NEW)
    assert kept(web1) == OLD
    first, second = (DomainXml().nvram(web1.storage.definitions.read(name)) for name in ("web1", "web2"))
    (changed,) = notes(web1, "definition-changed")
    assert (changed.message.count("UEFI variables"), "VARS.fd" in changed.message) == (1, False)
    assert not set(first) & set(second)


def test_renamed_vm_has_it_still(web1):
    web1.storage.definitions.keep_nvram("web1", OLD)
    stop(web1, "web1")
    rename(web1, VmName("web1"), VmName("web9"))
    assert kept(web1, "web9") == OLD
    assert DomainXml().nvram(web1.storage.definitions.read("web9")) == PLACES


def notes(env, code):
    return [one for one in env.said if isinstance(one, Note) and one.code == code]


@pytest.mark.parametrize("there", [True, False])
def test_variables_that_this_node_has_and_create_does_not_take_are_told(env, image, there):
    if there:
        env.nvram_files.there[NvramPlaces("/old_VARS.fd")] = OLD
    create(env, CreateRequest(VmName("web1"), NAMED[0], (image,), start=False))
    assert kept(env) == b""
    assert ["add-to-cluster" in note.hint for note in notes(env, "variables-left")] == [True] * there


def test_variables_that_can_not_be_read_hinder_no_create(env, image):
    def fail(_places):
        raise VmMgrError(Kind.ENVIRONMENT, "a link")

    env.nvram_files.read = fail
    create(env, CreateRequest(VmName("web1"), NAMED[0], (image,), start=False))
    assert len(notes(env, "variables-left")) == 1


def test_takeover_brings_what_the_domain_had(env, image):
    theirs = UEFI.replace("<type>hvm</type>", "<type>hvm</type><nvram>/old_VARS.fd</nvram>")
    disk = f"<disk type='file'><driver type='qcow2'/><source file='{image}'/><target dev='vda'/></disk>"
    env.hypervisor.kept["x"] = theirs.replace("<devices>", f"<devices>{disk}")
    env.nvram_files.there[NvramPlaces("/old_VARS.fd", PLACES.tpm)] = OLD
    env.nvram_files.there[NvramPlaces("/old_VARS.fd")] = OLD
    add_to_cluster(env, Takeover(VmName("x"), VmName("web1"), start=False))
    assert kept(env) == OLD
    assert not notes(env, "variables-left")
    (changed,) = notes(env, "definition-changed")
    assert "UEFI variables: a copy" in changed.message


def test_tpm_that_is_edited_in_outlives_a_power_off_and_a_path_that_is_named_stays(web1):
    plain = UEFI.replace(" firmware='efi'", "").replace("<tpm", "<gone").replace("</tpm", "</gone")
    web1.storage.definitions.describe("web1", {"xml": plain})
    edit(web1, "web1", UEFI.replace("<type>hvm</type>", "<type>hvm</type><nvram>/my.fd</nvram>"), plain)
    stored = web1.storage.definitions.read("web1")
    assert DomainXml().nvram(stored) == NvramPlaces("/my.fd", PLACES.tpm)
    assert 'persistent_state="yes"' in stored


def test_file_of_another_vm_can_not_be_edited_in(web1, image):
    create(web1, CreateRequest(VmName("web2"), UEFI.replace(UUID, UUID.replace("6a1", "7a1")), (image,)))
    before = web1.storage.definitions.read("web2")
    theirs = DomainXml().nvram(before).variables
    with pytest.raises(VmMgrError, match="web1"):
        edit(web1, "web2", before.replace(theirs, PLACES.variables), before)


def test_variables_in_qcow2_are_refused(env, image):
    text = os_of("<nvram format='qcow2'/>")
    with pytest.raises(VmMgrError) as caught:
        create(env, CreateRequest(VmName("web1"), text, (image,)))
    assert (caught.value.kind, bool(caught.value.hint)) == (Kind.NOT_SUPPORTED, True)


class TestMonitor:
    """The agent's shell sees a change by the times of the files."""

    @pytest.fixture(params=["dash", "busybox"])
    def vm(self, request, proc):  # noqa: F811
        stands = Stands(request.param, proc)
        stands.stands("running", "booted")
        python = stands.box / "bin" / "python3"
        python.write_text('#!/bin/sh\n[ "$4" = disks ] || echo "$4" >>"$BOX/asked"\n[ ! -e "$BOX/fails" ]\n')
        python.chmod(0o755)
        (stands.box / "vars.fd").write_text("v")
        (stands.box / "tpm").mkdir()
        return stands

    def note(self, vm, age_s=10):
        state = vm.box / "state"
        state.mkdir(exist_ok=True)
        note = state / "nvram..web1"
        note.write_text(f"digest\n{vm.box}/vars.fd\n{vm.box}/tpm\n")
        when = time.time() - age_s
        os.utime(note, (when, when))

    def asked(self, vm):
        path = vm.box / "asked"
        return path.read_text().split() if path.exists() else []

    def touch(self, path, age_s):
        subprocess.run(["touch", "-d", f"-{age_s} seconds", str(path)], check=True)

    @pytest.mark.parametrize("changed", ["vars.fd", "tpm"])
    def test_change_is_kept_at_the_next_look(self, vm, changed):
        for path in ("vars.fd", "tpm"):
            self.touch(vm.box / path, 20)
        self.note(vm)
        assert vm.look().returncode == 0
        assert self.asked(vm) == []
        self.touch(vm.box / changed, 1)
        assert vm.look().returncode == 0
        assert self.asked(vm) == ["nvram"]

    def test_failure_is_said_and_is_not_the_vms(self, vm):
        self.note(vm)
        (vm.box / "fails").touch()
        done = vm.look()
        assert (done.returncode, "UEFI variables" in done.stderr) == (0, True)

    def test_vm_without_a_note_and_a_probe_start_nothing(self, vm):
        vm.look()
        self.note(vm)
        vm.look(**PROBE)
        assert self.asked(vm) == []
