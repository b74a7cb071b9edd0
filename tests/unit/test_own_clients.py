"""Which storage clients are certainly a VM's own QEMU's."""

import threading
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.host.own_clients import FileOwnClients
from vm_mgr.adapters.host.processes import HostProcesses
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.enable import enable
from vm_mgr.operations.storage.own_clients import note_clients
from vm_mgr.ports.own_clients import Opened

from .conftest import DOMAIN
from .test_agent import DISK, act, node  # noqa: F401 - a fixture

IMAGES = ["system_web1", "data_web1_0"]
SYSTEM = DiskClient("system_web1", "198.51.100.11:0/7", watch=0x7F10)
DATA = DiskClient("data_web1_0", "198.51.100.11:0/8", watch=0x7F20)
PID = 1000


@pytest.fixture
def qemu(env):
    """Give a node where web1's QEMU has these two places in its memory."""
    env.hypervisor.running["web1"] = PID
    env.hypervisor.variables[PID] = {SYSTEM.watch, DATA.watch}
    return env


def noted(env, held):
    env.storage.held = held
    note_clients(env, env.storage, "web1", PID, IMAGES)
    found = env.own_clients.kept("web1")
    return found.addresses if found else None


def test_each_disks_client_is_noted_with_the_process(qemu):
    assert noted(qemu, [SYSTEM, DATA]) == {SYSTEM.address, DATA.address}
    assert qemu.own_clients.kept("web1")[:2] == (PID, "1")


@pytest.mark.parametrize(
    "foreign",
    [
        SYSTEM._replace(watch=0x9999),  # a rollback, a rescue VM: another process on this node
        SYSTEM._replace(watch=0),  # the kernel, or a Ceph that does not tell
        SYSTEM._replace(address="198.51.100.12:0/7"),  # the source of a migration
        SYSTEM._replace(address="203.0.113.9:0/7"),
    ],
)
def test_client_that_is_not_certainly_its_own_is_not_noted(qemu, foreign):
    assert noted(qemu, [foreign, DATA]) == {DATA.address}
    assert noted(qemu, [foreign]) == {DATA.address}  # what was certain stays so


def test_two_clients_of_a_disk_that_may_be_its_own_are_none(qemu):
    other = SYSTEM._replace(address="198.51.100.11:0/9", watch=DATA.watch)
    assert noted(qemu, [SYSTEM, other]) is None


def test_client_of_two_disks_is_no_qemu(qemu):
    assert noted(qemu, [SYSTEM, DATA._replace(address=SYSTEM.address)]) is None


def test_process_that_was_followed_by_another_one_leaves_no_note(qemu):
    births = iter(["5", "6"])
    qemu.hypervisor.birth = lambda pid: next(births)
    assert noted(qemu, [SYSTEM]) is None


def test_next_process_begins_anew(qemu):
    noted(qemu, [SYSTEM])
    qemu.hypervisor.births[PID] = "2"
    assert noted(qemu, [DATA]) == {DATA.address}


def test_storage_that_hangs_or_fails_hinders_nothing(qemu, monkeypatch):
    monkeypatch.setattr("vm_mgr.operations.storage.own_clients.LOOK_S", 0.05)
    qemu.storage.clients.of = lambda images: threading.Event().wait(0.5)
    note_clients(qemu, qemu.storage, "web1", PID, IMAGES)

    def failing(images):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph does not answer")

    qemu.storage.clients.of = failing
    note_clients(qemu, qemu.storage, "web1", PID, IMAGES)
    assert qemu.own_clients.kept("web1") is None


def opens(env, pid):
    """Have the next QEMU open the system disk."""
    env.hypervisor.variables[pid] = {SYSTEM.watch}
    env.hypervisor.on_call = lambda verb: setattr(env.storage, "held", [SYSTEM]) if verb == "create" else None


def test_start_arrival_and_takeover_note_and_a_clean_end_forgets(node):  # noqa: F811
    opens(node, PID)
    act(node, "start")
    assert node.own_clients.kept("web1").addresses == {SYSTEM.address}
    node.own_clients.forget("web1")
    act(node, "migrate_from")
    assert node.own_clients.kept("web1").addresses == {SYSTEM.address}
    node.storage.held = []
    act(node, "stop")
    assert node.own_clients.kept("web1") is None


def test_qemu_that_was_killed_is_followed_at_once_on_its_node(node):  # noqa: F811
    opens(node, PID)
    act(node, "start")
    node.hypervisor.running.clear()
    node.hypervisor.on_call = lambda verb: None
    began = node.clock.now
    act(node, "start")
    assert node.storage.evicted == [SYSTEM]
    assert node.clock.now - began < 2


def test_without_a_note_the_same_start_waits(node):  # noqa: F811
    opens(node, PID)
    act(node, "start")
    node.own_clients.forget("web1")
    node.hypervisor.running.clear()
    began, holders = node.clock.now, node.storage.clients.of
    node.storage.clients.of = lambda images: [] if node.clock.now > began + 30 else holders(images)
    act(node, "start", timeout_s=120)
    assert not node.storage.evicted
    assert node.clock.now - began >= 30


def test_stop_of_a_killed_qemu_waits_for_the_rest_of_its_process(node):  # noqa: F811
    opens(node, PID)
    node.storage.definitions.describe(
        "web1", {"xml": DOMAIN.replace("<devices/>", f"<devices>{DISK}</devices>")}
    )
    act(node, "start")
    node.hypervisor.running.clear()
    ended = node.hypervisor.has_ended
    until = node.clock.now + 2
    node.hypervisor.has_ended = lambda pid, birth: node.clock.now > until and ended(pid, birth)
    act(node, "stop")
    assert node.storage.evicted == [SYSTEM]


@pytest.mark.parametrize("here", [True, False])
def test_disk_that_is_added_here_is_noted_too(env, here):
    with env.storage.stage("web1") as staged:
        staged.add(1 << 20)
        staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
        staged.commit()
    enable(env, "web1")
    env.cluster.local = "n1" if here else "n2"
    env.hypervisor.variables[env.hypervisor.running["web1"]] = {DATA.watch}
    env.hypervisor.on_call = lambda verb: env.storage.held.append(DATA) if verb == "attach" else None
    add_disk(env, "web1", NewDisk(1 << 20))
    kept = env.own_clients.kept("web1")
    assert (kept is not None) is here


class TestFile:
    def test_note_is_kept_and_forgotten(self, tmp_path):
        notes = FileOwnClients(tmp_path / "state")
        assert notes.kept("web1") is None
        notes.keep("web1", Opened(7, "5", frozenset({"198.51.100.11:0/7", "[fd00::1]:0/8"})))
        assert FileOwnClients(tmp_path / "state").kept("web1") == Opened(
            7, "5", frozenset({"198.51.100.11:0/7", "[fd00::1]:0/8"})
        )
        assert notes.kept("web10") is None
        notes.forget("web1")
        notes.forget("web1")
        assert notes.kept("web1") is None

    @pytest.mark.parametrize("cut", range(0, 24, 3))
    def test_half_a_file_is_none(self, tmp_path, cut):
        notes = FileOwnClients(tmp_path)
        notes.keep("web1", Opened(7, "5", frozenset({"198.51.100.11:0/7"})))
        file = tmp_path / "clients..web1"
        whole = file.read_text()
        file.write_text(whole[: min(cut, len(whole) - 2)])
        assert notes.kept("web1") is None

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"a b\n.\n", b"7\n.\n", b"\n\n\n"])
    def test_nonsense_is_none(self, tmp_path, content):
        (tmp_path / "clients..web1").write_bytes(content)
        assert FileOwnClients(tmp_path).kept("web1") is None

    def test_folder_that_can_not_be_written_fails_nothing(self, tmp_path):
        (tmp_path / "file").touch()
        notes = FileOwnClients(tmp_path / "file")
        notes.keep("web1", Opened(7, "5"))
        notes.forget("web1")
        assert notes.kept("web1") is None


STAT = "7 (qemu-system-x86) {state} 1 7 7 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 {threads} 0 {birth} 1 1"


class TestProcesses:
    @pytest.fixture
    def proc(self, tmp_path):
        (tmp_path / "7").mkdir()
        return tmp_path

    def ended(self, proc, birth="55"):
        return HostProcesses(SimpleNamespace(), proc).has_ended(7, birth)

    @pytest.mark.parametrize(
        ("state", "threads", "birth", "ended"),
        [
            ("S", 9, 55, False),
            ("D", 1, 55, False),
            ("Z", 9, 55, False),  # its other threads may still write
            ("Z", 1, 55, True),
            ("S", 9, 56, True),
        ],
    )
    def test_process_has_ended_with_its_last_thread_only(self, proc, state, threads, birth, ended):
        (proc / "7" / "stat").write_text(STAT.format(state=state, threads=threads, birth=birth))
        assert self.ended(proc) is ended

    def test_process_that_is_not_there_has_ended(self, tmp_path):
        (tmp_path / "1").mkdir()
        assert self.ended(tmp_path)

    def test_empty_process_table_proves_nothing(self, tmp_path):
        with pytest.raises(VmMgrError):
            self.ended(tmp_path)

    def test_what_can_not_be_read_proves_nothing(self, proc):
        (proc / "7" / "stat").mkdir()
        with pytest.raises(VmMgrError):
            self.ended(proc)
        (proc / "7" / "stat").rmdir()
        (proc / "7" / "stat").write_text("7 (x) S")
        with pytest.raises(VmMgrError):
            self.ended(proc)

    @pytest.mark.parametrize(
        ("line", "its"),
        [
            ("7f0000000000-7f0000021000 rw-p 00000000 00:00 0 ", True),
            ("7f0000000000-7f0000021000 rw-p 00000000 00:00 0 [heap]", True),
            ("7f0000000000-7f0000021000 rw-p 00000000 00:00 0 [stack]", False),
            ("7f0000000000-7f0000021000 ---p 00000000 00:00 0 ", False),
            ("7f0000000000-7f0000021000 rw-s 00000000 00:01 9 /memfd:ram (deleted)", False),
            ("7f0000000000-7f0000021000 rw-p 00000000 08:01 9 /usr/lib/librbd.so.1", False),
            ("7f0000000000-7f4000000000 rw-p 00000000 00:00 0 ", False),  # a guest's memory
            ("7f0000021000-7f0000042000 rw-p 00000000 00:00 0 ", False),
        ],
    )
    def test_variables_of_a_process_are_told_from_its_guests_memory(self, proc, line, its):
        (proc / "7" / "maps").write_text(f"55d0-55e0 r-xp 00000000 08:01 9 /usr/bin/qemu\n{line}\n")
        assert HostProcesses(SimpleNamespace(), proc).has_memory(7, 0x7F0000000010) is its

    def test_process_without_a_map_has_no_memory(self, proc):
        assert not HostProcesses(SimpleNamespace(), proc).has_memory(7, 0x7F0000000010)
        (proc / "7" / "maps").write_text("nonsense\n")
        assert not HostProcesses(SimpleNamespace(), proc).has_memory(7, 0x7F0000000010)

    def test_own_variable_is_in_this_very_process(self):
        """The number by which CPython knows an object is where it is in memory."""
        import os  # noqa: PLC0415

        thing = bytearray(100)
        assert HostProcesses(SimpleNamespace()).has_memory(os.getpid(), id(thing))
        assert not HostProcesses(SimpleNamespace()).has_memory(os.getpid(), 0x10)
