"""Which process is a VM's: by PID, start time and UUID, in the slow actions and in the monitor alike."""

import shutil

import pytest

from vm_mgr.agent import identity
from vm_mgr.errors import VmMgrError

from .conftest import DOMAIN
from .test_agent import SHELLS, act, node, proc, run_agent  # noqa: F401 - fixtures

OURS = "0a000000-0000-4000-8000-000000000001"
THEIRS = "0b000000-0000-4000-8000-000000000002"
WITH_UUID = DOMAIN.replace("<memory>", f"<uuid>{OURS}</uuid><memory>")


@pytest.fixture
def vm(node):  # noqa: F811
    """Give a node whose storage has web1 with a UUID."""
    node.storage.definitions.describe("web1", {"xml": WITH_UUID})
    return node


def known(env):
    files = list(env.state_dir.glob("running..*"))
    return files[0].read_text().split() if files else []


def test_start_and_arrival_keep_who_the_vm_is_and_its_end_forgets_it(vm):
    act(vm, "start")
    assert known(vm) == ["1000", "1", OURS]
    (vm.state_dir / "check-qmp..web1").touch()
    (vm.state_dir / "io-error..web1").touch()
    act(vm, "migrate_to", target_node="n2")
    assert not list(vm.state_dir.glob("*web1*"))
    vm.hypervisor.create(WITH_UUID, "web1", timeout_s=1)
    act(vm, "migrate_from")
    assert known(vm) == ["1000", "1", OURS]
    act(vm, "stop")
    assert not known(vm)


def test_vm_that_was_started_by_hand_is_taken_over(vm):
    vm.hypervisor.create(WITH_UUID, "web1", timeout_s=1)
    act(vm, "start")
    assert known(vm)[2] == OURS


def test_storage_that_does_not_answer_is_no_reason_to_doubt_what_runs(vm):
    vm.hypervisor.create(WITH_UUID, "web1", timeout_s=1)
    vm.storage.vms.clear()
    act(vm, "start")
    assert known(vm)[2] == OURS


def test_other_vm_of_the_same_name_is_neither_started_nor_stopped(vm):
    vm.hypervisor.create(WITH_UUID.replace(OURS, THEIRS), "web1", timeout_s=1)
    with pytest.raises(VmMgrError, match="another VM") as caught:
        act(vm, "start")
    assert caught.value.hint
    for _ in range(2):
        act(vm, "stop")
        assert vm.hypervisor.running == {"web1": 1000}
    with pytest.raises(VmMgrError):
        act(vm, "migrate_to", target_node="n2")
    vm.hypervisor.destroy("web1", timeout_s=1)
    act(vm, "stop")
    assert not known(vm)
    act(vm, "start")
    assert known(vm)[2] == OURS


def test_state_that_can_not_be_kept_hinders_nobody(vm, tmp_path):
    (tmp_path / "full").touch()
    vm.state_dir = tmp_path / "full"
    vm.hypervisor.create(WITH_UUID, "web1", timeout_s=1)
    act(vm, "start")
    act(vm, "stop")
    assert not vm.hypervisor.running


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3 4", f"1 2 {THEIRS[:9]}", "\udcff"])
def test_nonsense_is_as_good_as_nothing(vm, text):
    act(vm, "start")
    (vm.state_dir / "running..web1").write_bytes(text.encode(errors="surrogateescape"))
    assert identity.own_pid(vm, "web1") == 1000


def stat(proc, pid, *, birth=77, state="S", flags=4194304):  # noqa: F811
    fields = f"{state} 1 {pid} {pid} 0 -1 {flags}" + " 0" * 10 + f" 3 0 {birth} 99 7"
    (proc / str(pid) / "stat").write_text(f"{pid} (qemu-system-x86) {fields}\n")


def words(proc, pid, *argv, comm="qemu-system-x86"):  # noqa: F811
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "comm").write_text(f"{comm}\n")
    (proc / str(pid) / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))


def qemu(proc, pid, uuid=OURS, **more):  # noqa: F811
    name = ("qemu-system-x86_64", "-name", "guest=web1,debug-threads=on", "-S", "-uuid", uuid)
    words(proc, pid, *name, "-display", "none", **more)
    stat(proc, pid)


def file(proc):  # noqa: F811
    return proc.parent / "state" / "running..web1"


@pytest.mark.parametrize("shell", SHELLS)
class TestMonitor:
    def test_process_is_learned_and_then_known_by_its_birth(self, shell, proc):  # noqa: F811
        qemu(proc, 42)
        assert run_agent(shell, proc).returncode == 0
        assert file(proc).read_text() == f"42 77 {OURS}\n"
        shutil.rmtree(proc.parent / "run")  # neither libvirt's files nor the command line are needed
        (proc / "42" / "cmdline").write_bytes(b"")
        assert run_agent(shell, proc).returncode == 0

    def test_steady_state_starts_no_program(self, shell, proc, monkeypatch):  # noqa: F811
        qemu(proc, 42)
        assert run_agent(shell, proc).returncode == 0
        absolute = shutil.which(shell)
        monkeypatch.setenv("PATH", "/nowhere")
        done = run_agent(shell, proc, program=absolute)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("change", [{"birth": 78}, {"state": "Z"}, {"flags": 4194304 | 4}])
    def test_reused_or_ending_pid_is_looked_at_again(self, shell, proc, change):  # noqa: F811
        qemu(proc, 42)
        run_agent(shell, proc)
        words(proc, 42, "sleep", "9", comm="sleep")
        stat(proc, 42, **change)
        assert run_agent(shell, proc).returncode == 7
        assert file(proc).read_text() == ""

    def test_other_process_of_the_vm_is_learned(self, shell, proc):  # noqa: F811
        qemu(proc, 42)
        run_agent(shell, proc)
        shutil.rmtree(proc / "42")
        qemu(proc, 43)
        assert run_agent(shell, proc).returncode == 0
        assert file(proc).read_text() == f"43 77 {OURS}\n"

    def test_other_uuid_is_another_vm(self, shell, proc):  # noqa: F811
        qemu(proc, 42)
        run_agent(shell, proc)
        shutil.rmtree(proc / "42")
        qemu(proc, 43, THEIRS)
        for _ in range(2):
            done = run_agent(shell, proc)
            assert done.returncode == 7
            assert "another VM" in done.stderr
        qemu(proc, 44)
        assert run_agent(shell, proc).returncode == 0

    def test_expected_uuid_alone_tells_another_vm(self, shell, proc):  # noqa: F811
        qemu(proc, 42, THEIRS)
        file(proc).parent.mkdir()
        file(proc).write_text(f"- - {OURS}\n")
        assert run_agent(shell, proc).returncode == 7

    def test_program_with_the_same_words_is_no_vm_even_where_libvirts_file_names_it(self, shell, proc):  # noqa: F811
        qemu(proc, 42, comm="sh")
        assert run_agent(shell, proc).returncode == 7

    @pytest.mark.parametrize("text", ["", "nonsense\n", "42\n", "42 77", "../1 1 1\n", f"- - {OURS[:9]}"])
    def test_nonsense_is_as_good_as_nothing(self, shell, proc, text):  # noqa: F811
        qemu(proc, 42)
        file(proc).parent.mkdir()
        file(proc).write_text(text)
        assert run_agent(shell, proc).returncode == 0

    def test_state_that_can_not_be_kept_hinders_nobody(self, shell, proc):  # noqa: F811
        qemu(proc, 42)
        (proc.parent / "state").touch()
        for _ in range(2):
            assert run_agent(shell, proc).returncode == 0

    @pytest.mark.parametrize(
        ("state", "code", "says"),
        [
            ("'crashed' reason='panicked'", 1, "crashed"),
            ("'paused' reason='watchdog'", 1, "watchdog"),
            ("'paused' reason='user'", 0, ""),
            ("'paused' reason='migration'", 0, ""),
            ("'paused' reason='unknown'", 0, ""),
            ("'pmsuspended' reason='unknown'", 0, ""),
            ("'shutdown' reason='unknown'", 0, ""),
        ],
    )
    def test_guest_that_stands_still_for_good_fails(self, shell, proc, state, code, says):  # noqa: F811
        qemu(proc, 42)
        status = proc.parent / "run" / "web1.xml"
        status.write_text(f"<!--\n-->\n<domstatus state={state} pid='42'>\n")
        done = run_agent(shell, proc)
        assert done.returncode == code
        assert says in done.stderr
        status.write_text(f"<domstatus state={state} pid='41'>\n")  # what was said of an earlier process
        assert run_agent(shell, proc).returncode == 0

    @pytest.mark.parametrize(
        ("state", "mark", "limit_s"),
        [
            ("'paused' reason='migration'", "", 45),
            ("'paused' reason='user'", "<vm-mgr:arrival xmlns:vm-mgr='urn:vm-mgr:arrival'/>", 15),
            ("'paused' reason='user'", "", None),
        ],
        ids=[
            "a source, or what has not all come",
            "a guest that waits for the end of its source",
            "by its user",
        ],
    )
    def test_half_of_a_migration_does_not_stand_for_ever(self, shell, proc, state, mark, limit_s):  # noqa: F811
        qemu(proc, 42)
        status, uptime = proc.parent / "run" / "web1.xml", proc.parent / "uptime"
        own = {"VM_MGR_UPTIME": str(uptime), "OCF_RESKEY_CRM_meta_interval": "10000"}

        def monitor(now_s, **more):
            uptime.write_text(f"{now_s}.25 9.1\n")
            return run_agent(shell, proc, **{**own, **more})

        status.write_text(f"<domstatus state={state} pid='42'>\n{mark}\n")
        assert monitor(1000).returncode == 0
        assert monitor(1010).returncode == 0
        assert monitor(1060, OCF_RESKEY_CRM_meta_interval="0").returncode == 0, "a probe only looks"
        if limit_s:
            assert monitor(1000 + limit_s - 1).returncode == 0
            assert "live migration" in monitor(1000 + limit_s).stderr
        assert monitor(1060).returncode == (1 if limit_s else 0)
        status.write_text("<domstatus state='running' reason='unpaused' pid='42'>\n")
        assert monitor(1070).returncode == 0
        status.write_text(f"<domstatus state={state} pid='42'>\n{mark}\n")
        assert monitor(1080).returncode == 0
