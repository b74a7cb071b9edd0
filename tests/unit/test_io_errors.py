"""A guest that an I/O error has paused: what the monitor makes of it, by which clock, and who only looks."""

import os
import time

import pytest

from .test_agent import proc, run_agent  # noqa: F401 - a fixture

SHELLS = ("dash", "busybox")
# busybox sh prefers its own programs to those of the path.
OTHERS = pytest.mark.parametrize("vm", ["dash"], indirect=True)

RECURRING = {"OCF_RESKEY_CRM_meta_interval": "10000"}
PROBE = {"OCF_RESKEY_CRM_meta_interval": "0"}
# As libvirt writes it: a line for each element.
DISK = """<domain type='kvm' id='1'>
<devices>
<disk type='file' device='cdrom'>
<source file='/iso' index='1'/>
<target dev='sda' bus='sata'/>
<readonly/>
</disk>
<disk type='file' device='disk'>
<source file='{0}/disk' index='2'/>
<backingStore type='file'>
<source file='/base' index='3'/>
</backingStore>
<target dev='vda' bus='virtio'/>
</disk>
</devices>
</domain>
"""
# Written to a file: busybox sh has programs of its own for most names.
TOOL = '#!/bin/sh\necho "${0##*/} $*" >>"$BOX/calls"\ncat "$BOX/${0##*/}.says" 2>/dev/null\n'


class Stands:
    """A VM that stands, under a clock that a test sets."""

    def __init__(self, shell, proc):  # noqa: F811
        self.shell, self.proc, self.box = shell, proc, proc.parent
        (self.box / "bin").mkdir()
        for name in ("virsh", "attrd_updater", "logger", "df"):
            (self.box / "bin" / name).write_text(TOOL)
            (self.box / "bin" / name).chmod(0o755)
        os.mkfifo(self.box / "pipe")
        self.pipe = os.open(self.box / "pipe", os.O_RDWR | os.O_NONBLOCK)
        self.at(5000)
        self.stands()

    def at(self, uptime):
        (self.box / "uptime").write_text(f"{uptime}.37 1234.5\n")

    def stands(self, state="paused", reason="ioerror"):
        status = f"<domstatus state='{state}' reason='{reason}' pid='42'>\n{DISK.format(self.box)}"
        (self.box / "run" / "web1.xml").write_text(status)

    def says(self, program, text):
        (self.box / f"{program}.says").write_text(text)

    def look(self, action="monitor", **more):
        path = f"{self.box / 'bin'}:{os.environ['PATH']}"
        own = {"VM_MGR_UPTIME": self.box / "uptime", "BOX": self.box, "VM_MGR_ALERTS": self.box / "pipe"}
        own = {key: str(value) for key, value in own.items()}
        return run_agent(self.shell, self.proc, action, PATH=path, **own, **(more or RECURRING))

    def calls(self, word=""):
        try:
            lines = (self.box / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line for line in lines if word in line]

    def state(self):
        folder = self.box / "state"
        files = sorted(folder.iterdir()) if folder.exists() else []
        return {file.name: file.read_text() for file in files}

    def events(self):
        try:
            lines = os.read(self.pipe, 65536).decode().splitlines()
        except BlockingIOError:
            return []
        return [line.split("|")[4] for line in lines]


@pytest.fixture(params=SHELLS)
def vm(request, proc):  # noqa: F811
    stands = Stands(request.param, proc)
    yield stands
    os.close(stands.pipe)


@pytest.fixture
def clock(vm):
    """Give a wall clock that can be stepped: `date` of the path."""
    (vm.box / "bin" / "date").write_text('#!/bin/sh\nread -r now <"$BOX/wall"\necho "${now}${1#+%s}"\n')
    (vm.box / "bin" / "date").chmod(0o755)

    def step(seconds):
        (vm.box / "wall").write_text(f"{int(time.time()) + seconds}\n")

    step(0)
    return step


class TestClock:
    @OTHERS
    @pytest.mark.parametrize("step", [-3600, -60, 60, 3600])
    def test_step_of_the_clock_neither_fails_a_vm_nor_saves_it(self, vm, clock, step):
        vm.says("virsh", "vda: unspecified error\n")
        assert vm.look().returncode == 0
        clock(step)
        vm.at(5010)
        assert vm.look().returncode == 0
        vm.at(5061)
        assert vm.look().returncode == 1

    @OTHERS
    @pytest.mark.parametrize("step", [-3600, 60, 3600])
    def test_step_of_the_clock_neither_repeats_nor_silences_what_was_said(self, vm, clock, step):
        vm.says("virsh", "vda: unspecified error\n")
        vm.look()
        vm.at(5070)
        vm.look()
        clock(step)
        vm.at(5080)
        vm.look()
        assert len(vm.calls("logger")) == 1
        vm.at(5670)
        vm.look()
        assert len(vm.calls("logger")) == 2

    @pytest.mark.parametrize("left", ["1769900000", "9" * 18, "soon", "", "5000 7"])
    def test_what_an_older_version_or_a_slip_has_left_counts_from_now_on(self, vm, left):
        vm.look()
        (vm.box / "state" / "io-error..web1").write_text(f"{left}\n")
        vm.at(5030)
        assert vm.look().returncode == 0
        vm.at(5089)
        assert vm.look().returncode == 0
        vm.at(5091)
        assert vm.look().returncode == 1

    def test_unreadable_uptime_fails_no_vm(self, vm):
        (vm.box / "uptime").unlink()
        for _ in range(3):
            assert vm.look().returncode == 0

    @OTHERS
    @pytest.mark.parametrize("step", [-3600, 3600])
    def test_step_of_the_clock_does_not_end_the_wait_for_monitor_scripts(self, vm, clock, step):
        """The start waits for them; the clock is stepped by the script itself, which then succeeds."""
        vm.stands("running", "booted")
        script = vm.box / "script"
        tries = 'echo >>"$BOX/tried"; [ "$(wc -l <"$BOX/tried")" -ge 3 ] && exit 0'
        script.write_text(f'#!/bin/sh\necho {int(time.time()) + step} >"$BOX/wall"\n{tries}\nexit 1\n')
        script.chmod(0o755)
        (vm.box / "bin" / "python3").write_text("#!/bin/sh\nexit 0\n")
        (vm.box / "bin" / "python3").chmod(0o755)
        given = {"OCF_RESKEY_monitor_scripts": str(script), "OCF_RESKEY_CRM_meta_timeout": "60000"}
        done = vm.look("start", **given)
        assert done.returncode == 0, done.stderr


class TestProbe:
    @pytest.mark.parametrize(
        ("action", "more"),
        [("monitor", PROBE), ("status", {"X": ""}), ("status", PROBE)],
        ids=["probe", "status", "both"],
    )
    @pytest.mark.parametrize("state", ["ioerror", "running", "gone", "namesake"])
    def test_who_only_looks_lets_nothing_go_on_and_keeps_nothing(self, vm, action, more, state):
        """Also where a recurring monitor has left something."""
        vm.look()
        (vm.box / "state" / "running..web1").write_text("42 7 7211d24b-8a6d-4c1b-9953-f2bfac5d3272\n")
        (vm.box / "state" / "said-0..web1").write_text("4990\nsomething\n")
        kept, called = vm.state(), vm.calls()
        vm.at(9000)
        if state == "running":
            vm.stands("running", "unpaused")
        elif state == "gone":
            (vm.proc / "42" / "comm").write_text("sleep\n")
        elif state == "namesake":
            line = b"qemu\0-name\0guest=web1,debug-threads=on\0-uuid\05afe5afe-0000-4000-8000-00005afe0001\0"
            (vm.proc / "42" / "cmdline").write_bytes(line)
        code = 7 if state in ("gone", "namesake") else 0
        assert vm.look(action, **more).returncode == code
        assert vm.state() == kept
        assert [call for call in vm.calls()[len(called) :] if not call.startswith("logger")] == []
        assert vm.events() == []

    def test_probe_remembers_no_process(self, vm):
        vm.stands("running", "booted")
        assert vm.look(**PROBE).returncode == 0
        assert vm.state() == {}

    def test_check_of_a_depth_that_a_person_asks_for_is_told_that_it_only_looks(self, vm):
        vm.stands("running", "booted")
        (vm.box / "bin" / "python3").write_text('#!/bin/sh\necho "$4" >>"$BOX/asked"\n')
        (vm.box / "bin" / "python3").chmod(0o755)
        vm.look("status", OCF_CHECK_LEVEL="10")
        vm.look(OCF_CHECK_LEVEL="10", **RECURRING)
        assert (vm.box / "asked").read_text().split() == ["status", "monitor"]


class TestFullStorage:
    def test_vm_stands_for_as_long_as_it_takes_and_never_fails(self, vm):
        vm.says("virsh", "vda: no space\n")
        for uptime in (5000, 5010, 5070, 8700, 90000):
            vm.at(uptime)
            done = vm.look()
            assert done.returncode == 0, done.stderr
            assert "full" in done.stderr
        assert len(vm.calls("virsh --connect qemu:///system --quiet resume web1")) == 5

    def test_it_is_told_once_as_an_event_now_and_then_in_the_journal_and_to_the_cluster(self, vm):
        vm.says("virsh", "vda: no space\n")
        for uptime in (5000, 5010, 5020, 5610):
            vm.at(uptime)
            vm.look()
        assert vm.events() == ["full"]
        told = vm.calls("attrd_updater --name vm-mgr-full-web1 --update")
        since = [int(call.split()[-1]) for call in told]
        assert len(since) == 2
        assert abs(since[0] - time.time()) < 30
        if vm.shell != "busybox":  # which has a logger of its own
            assert len(vm.calls("logger")) == 2
        vm.stands("running", "unpaused")
        for uptime in (5620, 5650, 5690):
            vm.at(uptime)
            assert vm.look().returncode == 0
        assert vm.events() == ["room"]
        assert len(vm.calls("attrd_updater --name vm-mgr-full-web1 --delete")) == 1
        assert not {"io-error..web1", "no-room..web1", "said-0..web1"} & vm.state().keys()

    def test_guest_that_goes_on_for_a_moment_only_is_told_of_once(self, vm):
        vm.says("virsh", "vda: no space\n")
        for turn in range(6):
            vm.at(5000 + 20 * turn)
            vm.stands()
            vm.look()
            vm.at(5010 + 20 * turn)
            vm.stands("running", "unpaused")
            vm.look()
        assert vm.events() == ["full"]
        assert vm.calls("--delete") == []

    @pytest.mark.parametrize("answer", ["", "error: failed to connect\n", "No errors found\n"])
    def test_full_storage_stays_one_while_libvirt_does_not_tell(self, vm, answer):
        vm.says("virsh", "vda: no space\n")
        vm.look()
        vm.says("virsh", answer)
        vm.at(5100)
        assert vm.look().returncode == 0

    @pytest.mark.parametrize(
        "answer", ["", "vda: no space\nvdb: unspecified error\n", "vda: unspecified error\n"]
    )
    def test_broken_disk_fails_the_vm_after_its_time_and_so_does_what_nobody_knows(self, vm, answer):
        vm.says("virsh", answer)
        vm.look()
        vm.at(5061)
        assert vm.look().returncode == 1

    def test_disk_that_breaks_after_it_was_full_has_its_whole_time(self, vm):
        vm.says("virsh", "vda: no space\n")
        vm.look()
        vm.says("virsh", "vda: unspecified error\n")
        vm.at(5100)
        assert vm.look().returncode == 0
        vm.at(5161)
        assert vm.look().returncode == 1

    def test_recurring_deeper_check_leaves_it_to_the_monitor(self, vm):
        vm.says("virsh", "vda: no space\n")
        vm.look(OCF_CHECK_LEVEL="10", **RECURRING)
        assert vm.calls("resume") == []
        assert "io-error..web1" not in vm.state()

    @OTHERS
    @pytest.mark.parametrize(("left", "code"), [(0, 0), (1000, 0), (4096, 1)])
    def test_error_beyond_a_quota_is_known_by_the_file_system(self, vm, left, code):
        vm.says("virsh", "vda: unspecified error\n")
        vm.says(
            "df", f"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 9 9 {left} 99% /x\n"
        )
        vm.look()
        vm.at(5100)
        assert vm.look().returncode == code
        assert {call.split()[-1] for call in vm.calls("df ")} == {f"{vm.box}/disk"}
