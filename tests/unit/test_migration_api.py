"""A live migration through a libvirt that is none: what it is asked for, and what is left after an abort."""

import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.libvirt.connection import Connection
from vm_mgr.adapters.libvirt.migration import LiveMove
from vm_mgr.adapters.libvirt.migration_precheck import problems
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.adapters.libvirt.switchover import has_ended
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.migration import Limits, OnTimeout, Plan, Step, Strategy
from vm_mgr.ports.live_migration import Migration

HERE, THERE = "qemu:///system", "qemu+ssh://n2/system"
RUNNING, BY_USER, MIGRATING, POSTCOPY_FAILED = [1, 1], [3, 1], [3, 2], [3, 13]
NO_DOMAIN, NO_NETWORK, ABORTED, NO_METADATA, CPU = 42, 43, 78, 80, 84
MIB = 1 << 20
JOB = {
    "type": 2,
    "operation": 5,
    "data_processed": 7 * MIB,
    "data_remaining": 4 * MIB,
    "data_total": 11 * MIB,
    "memory_bps": 2 * MIB,
    "memory_dirty_rate": 256,
    "memory_page_size": 4096,
    "memory_iteration": 2,
}


class FakeError(Exception):
    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code

    def get_error_code(self):
        return self.code


class Domain:
    """One that moves when it is let: `stats` are the job's, `refuses` what libvirt then says."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.now = list(RUNNING)
        self.calls = []
        self.end = threading.Event()
        self.arrives = True
        self.stuck_after_abort = []
        self.leaves_half = False
        self.loses_answer = False
        self.refuses = ""
        self.stats = dict(JOB)
        self.measured = {"dirtyrate.calc_status": 2, "dirtyrate.megabytes_per_second": 3}

    def state(self):
        return self.now

    def XMLDesc(self, _flags):  # noqa: N802
        return "<domain><name>web1</name><devices/></domain>"

    def jobStats(self):  # noqa: N802 - libvirt's name
        return {"type": 0} if self.end.is_set() else self.stats

    def migrate3(self, target, params, flags):
        self.calls.append((flags, params))
        if self.refuses:
            raise FakeError(self.refuses)
        assert self.end.wait(20), "nobody ended the migration"
        if not self.arrives:
            raise FakeError("job 'migration out' canceled by client", ABORTED)
        target.domains["web1"] = Half(target, params.get("destination_xml", ""))
        if self.loses_answer:
            raise FakeError("Cannot recv data: Connection reset by peer")
        self.hosts[HERE].domains.clear()
        if self.leaves_half:
            target.domains["web1"].now = list(RUNNING)
            raise FakeError("the confirmation was lost")

    def migrateSetMaxDowntime(self, milliseconds):  # noqa: N802
        self.calls.append(("downtime", milliseconds))

    def suspend(self):
        self.calls.append("suspend")
        self.now = list(MIGRATING)
        self.stats = {**JOB, "memory_dirty_rate": 0}

    def resume(self):
        self.calls.append("resume")
        if not self.stuck_after_abort:
            self.now = list(RUNNING)

    def migrateStartPostCopy(self):  # noqa: N802
        self.calls.append("postcopy")
        self.end.set()

    def abortJob(self):  # noqa: N802
        self.calls.append("abort")
        self.arrives = False
        self.now = self.stuck_after_abort or self.now
        self.end.set()

    def startDirtyRateCalc(self, seconds):  # noqa: N802
        self.calls.append(("measure", seconds))


class Half:
    """What arrives: it stands, with the mark of the XML that it was sent with, until it is let go on."""

    def __init__(self, host, xml=""):
        self.host = host
        self.now = list(BY_USER) if "arrival" in xml else list(RUNNING)
        self.mark = re.sub(".*(<vm-mgr:arrival[^>]*/>).*", r"\1", xml) if "arrival" in xml else ""
        self.calls = []

    def state(self):
        return self.now

    def metadata(self, _kind, namespace, _flags):
        if not self.mark:
            raise FakeError("metadata not found", NO_METADATA)
        assert namespace in self.mark
        return self.mark

    def setMetadata(self, _kind, text, _prefix, _namespace, _flags):  # noqa: N802
        assert text is None
        self.mark = ""

    def resume(self):
        self.calls.append("resume")
        self.now = [1, 5]

    def destroy(self):
        self.calls.append("destroy")
        del self.host.domains["web1"]


class Host:
    def __init__(self, uri):
        self.uri = uri
        self.domains = {}

    def isAlive(self):  # noqa: N802
        return True

    def lookupByName(self, name):  # noqa: N802
        if name not in self.domains:
            raise FakeError("no domain", NO_DOMAIN)
        return self.domains[name]

    def domainListGetStats(self, domains, _wanted):  # noqa: N802
        return [(domains[0], domains[0].measured)]


@pytest.fixture
def hosts(monkeypatch):
    """Stand in for the binding, which the machines that run these tests need not have."""
    hosts = {HERE: Host(HERE), THERE: Host(THERE)}
    names = {
        "JOB_BOUNDED": 1, "JOB_UNBOUNDED": 2, "JOB_OPERATION_MIGRATION_OUT": 5, "STATS_DIRTYRATE": 512,
        "DIRTYRATE_MEASURED": 2, "JOB_OPERATION": "operation", "JOB_TIME_ELAPSED": "time_elapsed",
        "JOB_DATA_PROCESSED": "data_processed", "JOB_DATA_REMAINING": "data_remaining",
        "JOB_DATA_TOTAL": "data_total", "JOB_MEMORY_BPS": "memory_bps",
        "JOB_MEMORY_ITERATION": "memory_iteration",
        "JOB_MEMORY_DIRTY_RATE": "memory_dirty_rate", "JOB_MEMORY_PAGE_SIZE": "memory_page_size",
        "JOB_AUTO_CONVERGE_THROTTLE": "auto_converge_throttle",
        "XML_MIGRATABLE": 8, "XML_SECURE": 1, "METADATA_ELEMENT": 2, "AFFECT_LIVE": 1, "PAUSED": 3,
    }  # fmt: skip
    flags = {
        "LIVE": 1, "ABORT_ON_ERROR": 4096, "AUTO_CONVERGE": 8192, "POSTCOPY": 32768, "PARALLEL": 131072,
        "PAUSED": 32, "PARAM_DEST_XML": "destination_xml",
        "PARAM_URI": "migrate_uri", "PARAM_BANDWIDTH": "bandwidth",
        "PARAM_PARALLEL_CONNECTIONS": "parallel.connections",
    }  # fmt: skip
    fake = SimpleNamespace(
        libvirtError=FakeError,
        VIR_ERR_NO_DOMAIN=NO_DOMAIN,
        VIR_ERR_NO_NETWORK=NO_NETWORK,
        VIR_ERR_OPERATION_ABORTED=ABORTED,
        VIR_ERR_NO_DOMAIN_METADATA=NO_METADATA,
        VIR_ERR_CPU_INCOMPATIBLE=CPU,
        VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE=1,
        VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET=16,
        registerErrorHandler=lambda *_: None,
        open=hosts.get,
        **{f"VIR_DOMAIN_{key}": value for key, value in names.items()},
        **{f"VIR_MIGRATE_{key}": value for key, value in flags.items()},
    )
    monkeypatch.setitem(sys.modules, "libvirt", fake)
    return hosts


@pytest.fixture
def domain(hosts):
    hosts[HERE].domains["web1"] = Domain(hosts)
    return hosts[HERE].domains["web1"]


@pytest.fixture
def ticking(domain):
    """Give a clock that is a second later at each look."""
    seconds = iter(range(100_000))
    return lambda: float(next(seconds))


def move(ticking, tell=lambda *_: None, run=Path("/nonexistent"), proc=Path("/proc"), **wishes):
    wanted = Migration("web1", THERE, "tcp://n2", 110.0)._replace(**wishes)
    return LiveMove(Connection(HERE), wanted, tell, now=ticking, poll_s=0.001, run=run, proc=proc).run()


def failure(ticking, tell=lambda *_: None, **wishes):
    with pytest.raises(VmMgrError) as caught:
        move(ticking, tell, **wishes)
    return caught.value


def test_terms_reach_libvirt(domain, ticking):
    domain.end.set()
    move(ticking, speed_mib=8, downtime_ms=300, parallel=4, extra_options=("--auto-converge",))
    flags, params = domain.calls[1]
    assert flags == 1 + 32 + 4096 + 8192 + 131072
    assert "urn:vm-mgr:arrival" in params.pop("destination_xml")
    assert params == {"migrate_uri": "tcp://n2", "bandwidth": 8, "parallel.connections": 4}
    assert domain.calls[0] == ("downtime", 300)


@pytest.mark.parametrize(
    ("strategy", "flag"), [("precopy", 32), ("auto-converge", 8224), ("postcopy", 32768)]
)
def test_strategy_is_a_flag(domain, ticking, strategy, flag):
    domain.end.set()
    move(ticking, plan=Plan(Strategy(strategy)))
    assert domain.calls[0][0] == 1 + 4096 + flag


def test_looks_are_told(domain, ticking):
    seen = []

    def tell(sample, decision):
        seen.append((sample, decision))
        if len(seen) == 3:
            domain.end.set()

    move(ticking, tell)
    sample, decision = seen[0]
    assert (sample.remaining_bytes, sample.rate_bps, sample.dirty_bps) == (4 * MIB, 2 * MIB, MIB)
    assert decision.step is Step.GO_ON


def test_late_guest_is_paused_to_finish_and_arrives(domain, hosts, ticking):
    ends = []

    def tell(_sample, decision):
        ends.append(decision.step)
        if Step.PAUSE in ends:
            domain.end.set()

    move(ticking, tell, limits=Limits(5, 110))
    assert domain.calls[1:] == ["suspend"]
    assert hosts[THERE].domains


@pytest.mark.parametrize("limits", [Limits(5, 110, OnTimeout.ABORT), Limits(5, 110, max_pause_s=3)])
def test_migration_that_cannot_end_is_aborted_and_the_guest_goes_on_here(domain, hosts, ticking, limits):
    error = failure(ticking, limits=limits)
    assert error.kind is Kind.EXTERNAL_FAILURE
    assert "aborted cleanly" in error.message
    assert domain.calls[-1] == "abort"
    assert domain.now == RUNNING
    assert not hosts[THERE].domains


def test_migration_that_somebody_else_has_aborted_was_called_off(domain, ticking):
    domain.abortJob()
    assert "it was cancelled" in failure(ticking).message


def test_pause_that_takes_too_long_ends_with_the_guest_going_on_here(domain, ticking):
    error = failure(ticking, limits=Limits(5, 110))
    assert "longest pause" in error.message
    assert domain.calls[1:] == ["suspend", "abort", "resume"]
    assert domain.now == RUNNING


@pytest.mark.parametrize("job", [True, False])
def test_guest_that_qemu_has_stopped_does_not_stand_longer_than_the_longest_pause(domain, ticking, job):
    """The last bytes of a migration are on their way, and the network to the target has been cut."""
    looks = []

    def tell(sample, _):
        looks.append(sample.elapsed_s)
        if "abort" not in domain.calls:
            domain.now = list(MIGRATING)
            domain.stats = dict(JOB) if job else {"type": 0}

    error = failure(ticking, tell, limits=Limits(60, 110))
    assert "longest pause is 10 s" in error.message
    assert "suspend" not in domain.calls
    assert max(looks) < 30
    assert domain.now == RUNNING


def test_qemu_that_does_not_hear_of_its_abort_loses_its_streams(domain, ticking, tmp_path):
    """It writes to a target that is lost, and nothing else; the write that fails ends the migration."""
    (tmp_path / "web1.xml").write_text("<domstatus state='paused' reason='migration' pid='77'>\n")

    def deaf():
        raise FakeError("cannot acquire state change lock")

    def end_streams(pid):
        ended.append(pid)
        domain.arrives = False
        domain.now = list(RUNNING)
        domain.end.set()

    domain.abortJob, ended = deaf, []
    wanted = Migration("web1", THERE, "tcp://n2", 110.0, limits=Limits(60, 110))
    move_ = LiveMove(
        Connection(HERE),
        wanted,
        lambda *_: "it gave way",
        now=ticking,
        poll_s=0.001,
        run=tmp_path,
        end_streams=end_streams,
    )
    with pytest.raises(VmMgrError, match="it gave way"):
        move_.run()
    assert ended == [77]
    assert domain.now == RUNNING


def test_guest_that_its_user_paused_is_not_counted_as_stopped_by_qemu(domain, ticking):
    domain.now = list(BY_USER)
    assert "did not end within 60 s" in failure(ticking, limits=Limits(60, 110, OnTimeout.ABORT)).message


def test_pause_that_libvirt_refuses_ends_in_an_abort(domain, ticking):
    def refuse():
        raise FakeError("domain is not running")

    domain.suspend = refuse
    assert "did not end within 20 s" in failure(ticking, limits=Limits(5, 20)).message
    assert set(domain.calls[1:]) == {"abort"}


def test_guest_that_does_not_go_on_after_an_abort_is_no_clean_abort(domain, ticking):
    domain.stuck_after_abort = list(POSTCOPY_FAILED)
    error = failure(ticking, limits=Limits(5, 110, OnTimeout.ABORT))
    assert "NOT CLEAN" in error.message
    assert "post-copy failed" in error.message


def test_domain_that_stays_at_the_target_is_no_clean_abort(domain, hosts, ticking):
    half = hosts[THERE].domains["web1"] = Half(hosts[THERE])
    half.now = list(MIGRATING)
    half.destroy = lambda: None
    assert "NOT CLEAN" in failure(ticking, limits=Limits(5, 110, OnTimeout.ABORT)).message


def test_guest_that_its_user_paused_stays_paused_after_an_abort(domain, ticking):
    domain.now = list(BY_USER)
    failure(ticking, limits=Limits(5, 110, OnTimeout.ABORT))
    assert domain.now == BY_USER
    assert "resume" not in domain.calls


def test_guest_that_sleeps_is_woken_before_it_moves(domain, hosts, ticking):
    def wake(_):
        domain.calls.append("wake")
        domain.now = [1, 0]

    domain.now, domain.pMWakeup = [7, 0], wake
    domain.end.set()
    move(ticking)
    assert domain.calls[0] == "wake"
    assert hosts[THERE].domains


def test_refusal_of_libvirt_is_told_and_the_guest_goes_on(domain, ticking):
    domain.refuses = "internal error: no ssh"
    error = failure(ticking)
    assert "no ssh" in error.message
    assert "goes on here" in error.message


def test_migration_that_has_arrived_is_none_that_failed(domain, ticking):
    domain.leaves_half = True
    domain.end.set()
    move(ticking)


class TestEnd:
    """Of the two halves never more than one runs, whatever is lost in the last second."""

    @pytest.fixture
    def status(self, tmp_path):
        """Give libvirt's status file of a process of its own, which ends by itself never."""
        (tmp_path / "run").mkdir()
        (tmp_path / "proc/77/task/77").mkdir(parents=True)
        (tmp_path / "proc/77/task/77/stat").write_text("77 (qemu) S 1 1 1 0 -1 4194560 0")
        self.tell(tmp_path, "perform3_done")
        return tmp_path

    def tell(self, folder, phase):
        job = f"<job async='migration out' phase='{phase}'/>"
        text = f"<domstatus state='paused' reason='migration' pid='77'>\n{job}"
        (folder / "run/web1.xml.new").write_text(text)
        (folder / "run/web1.xml.new").replace(folder / "run/web1.xml")

    def end(self, folder, how):
        stat = folder / "proc/77/task/77/stat"
        if how == "gone":
            stat.unlink()
            stat.parent.rmdir()
        else:
            stat.write_text(how)

    @pytest.mark.parametrize("told", ["", "77 (qe", "77 (qemu) R 1 1"])
    def test_process_of_which_nothing_is_told_has_not_ended(self, status, told):
        self.end(status, told)
        assert not has_ended(77, status / "proc")

    def both(self, folder):
        return {"run": folder / "run", "proc": folder / "proc"}

    def test_guest_that_has_arrived_waits_for_the_end_of_its_source(self, domain, hosts, ticking):
        domain.end.set()
        assert move(ticking) is False
        assert hosts[THERE].domains["web1"].now == BY_USER
        assert hosts[THERE].domains["web1"].calls == []

    @pytest.mark.parametrize("how", ["gone", "77 (qemu) Z 1 1 1 0 -1 0 0", "77 (qemu) R 1 1 1 0 -1 4 0"])
    def test_it_goes_on_as_soon_as_that_has_ended(self, domain, hosts, ticking, status, how):
        domain.end.set()
        real = domain.migrate3

        def migrate3(*given):
            real(*given)
            self.tell(status, "confirm3")
            self.end(status, how)
            wait_until(lambda: "resume" in hosts[THERE].domains["web1"].calls)

        domain.migrate3 = migrate3
        assert move(ticking, **self.both(status)) is True
        assert hosts[THERE].domains["web1"].now == [1, 5]
        assert not hosts[THERE].domains["web1"].mark

    @pytest.mark.parametrize(
        ("phase", "ends"),
        [("confirm3", False), ("confirm3_cancelled", True), ("perform3_done", True)],
        ids=["it lives", "it was let go on", "libvirt has not decided"],
    )
    def test_it_does_not_go_on_without_both(self, domain, hosts, ticking, status, phase, ends, monkeypatch):
        monkeypatch.setattr("vm_mgr.adapters.libvirt.switchover.ENDING_S", 0.05)
        domain.end.set()
        real = domain.migrate3

        def migrate3(*given):
            self.tell(status, phase)
            if ends:
                self.end(status, "gone")
            real(*given)
            threading.Event().wait(0.05)

        domain.migrate3 = migrate3
        assert move(ticking, **self.both(status)) is False
        assert hosts[THERE].domains["web1"].now == BY_USER

    def test_guest_that_its_user_had_paused_stays_paused_there(self, domain, hosts, ticking, status):
        domain.now = list(BY_USER)
        domain.end.set()
        real = domain.migrate3

        def migrate3(*given):
            real(*given)
            self.tell(status, "confirm3")
            self.end(status, "gone")
            wait_until(lambda: not hosts[THERE].domains["web1"].mark)

        domain.migrate3 = migrate3
        assert move(ticking, **self.both(status)) is True
        assert hosts[THERE].domains["web1"].now == BY_USER

    @pytest.mark.parametrize("here", [RUNNING, MIGRATING], ids=["let go on by libvirt", "left standing"])
    def test_lost_answer_leaves_one_that_runs_here(self, domain, hosts, ticking, here):
        domain.loses_answer, domain.now = True, list(RUNNING)
        domain.end.set()
        real = domain.migrate3

        def migrate3(*given):
            domain.now = list(here)
            real(*given)

        domain.migrate3 = migrate3
        assert "reset by peer" in failure(ticking).message
        assert domain.now == RUNNING
        assert not hosts[THERE].domains

    @pytest.mark.parametrize(
        "there", [RUNNING, None], ids=["it runs at the target", "the target does not answer"]
    )
    def test_source_that_stands_stays_so_without_proof(self, domain, hosts, ticking, there):
        domain.loses_answer = True
        domain.end.set()
        real = domain.migrate3

        def migrate3(*given):
            domain.now = list(MIGRATING)
            try:
                real(*given)
            finally:
                half = hosts[THERE].domains["web1"]
                half.now = there
                if there is None:
                    hosts[THERE].lookupByName = lambda _name: (_ for _ in ()).throw(FakeError("no answer"))

        domain.migrate3 = migrate3
        assert "NOT CLEAN" in failure(ticking).message
        assert "resume" not in domain.calls
        assert domain.now == MIGRATING

    def test_source_stands_while_its_migration_may_still_end_well(self, domain, hosts, ticking):
        """The target hangs in its last step, when the limit passes: the abort ends nothing."""
        half = hosts[THERE].domains["web1"] = Half(hosts[THERE])
        half.now = list(MIGRATING)

        def abort():
            domain.now = list(MIGRATING)
            raise FakeError("cannot abort a job in its last step")

        domain.abortJob = abort
        assert "NOT CLEAN" in failure(ticking, limits=Limits(5, 110, OnTimeout.ABORT)).message
        assert "resume" not in domain.calls
        assert half.calls == []
        domain.end.set()


def wait_until(holds):
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.005)
    raise AssertionError


def test_unreachable_target_is_found_before_anything_moves(domain, hosts, ticking):
    def refuse(_uri):
        raise FakeError("ssh: no route to host")

    sys.modules["libvirt"].open = lambda uri: hosts[HERE] if uri == HERE else refuse(uri)
    assert "no route" in failure(ticking).message
    assert domain.calls == []


def test_abort_does_not_wait_for_ever_for_a_target_that_is_lost(domain, ticking):
    domain.abortJob = lambda: domain.calls.append("abort")  # libvirt waits for the target to say goodbye
    error = failure(ticking, limits=Limits(5, 110, OnTimeout.ABORT))
    domain.end.set()
    assert "5 s" in error.message
    assert domain.now == RUNNING


def test_defect_on_the_way_is_no_success(domain, ticking, monkeypatch):
    monkeypatch.setattr("threading.excepthook", lambda _: None)

    def broken(*_):
        raise TypeError

    domain.migrate3 = broken
    assert "goes on here" in failure(ticking).message
    with pytest.raises(TypeError):
        Connection(HERE).call(broken, 5)


def test_interruption_aborts(domain, ticking):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(ticking, interrupt)
    assert domain.calls[-1] == "abort"
    assert domain.now == RUNNING


def test_who_is_told_may_end_it(domain, hosts, ticking):
    with pytest.raises(VmMgrError) as caught:
        move(ticking, lambda *_: "something else goes first")
    assert caught.value.message.startswith("something else goes first; it was aborted cleanly")
    assert not hosts[THERE].domains


def test_nobody_ends_it_after_the_switch_to_postcopy(domain, ticking):
    """Not even the waiting ends, though it takes longer than an abort would."""
    looks = []

    def tell(_sample, decision):
        looks.append(decision.step)
        if looks.count(Step.POSTCOPY) and len(looks) > 40:
            domain.end.set()
        return "something else goes first" if Step.POSTCOPY in looks else ""

    domain.migrateStartPostCopy = lambda: None
    move(ticking, tell, plan=Plan(Strategy.POSTCOPY))
    assert "abort" not in domain.calls


def test_postcopy_is_switched_to_once_and_never_aborted(domain, ticking):
    move(ticking, plan=Plan(Strategy.POSTCOPY), limits=Limits(5, 10))
    assert domain.calls[1:] == ["postcopy"]


def test_dirty_rate_is_measured_and_unknown_where_it_cannot_be(domain, tmp_path):
    virsh = LocalLibvirt(None, tmp_path)
    assert virsh.dirty_rate("web1") == 3 * MIB
    domain.measured = {"dirtyrate.calc_status": 1}
    domain.startDirtyRateCalc = lambda _seconds: (_ for _ in ()).throw(FakeError("not supported"))
    assert virsh.dirty_rate("web1") is None


def test_measuring_that_has_begun_is_not_begun_again(domain, tmp_path):
    virsh = LocalLibvirt(None, tmp_path)
    virsh.begin_dirty_rate("web1")
    assert virsh.dirty_rate("web1") == 3 * MIB
    assert domain.calls == [("measure", 1)]
    virsh.dirty_rate("web1")
    assert domain.calls == [("measure", 1)] * 2


@pytest.mark.parametrize(
    ("answer", "asked"),
    [('{"return": {}}', []), ('{"error": {"desc": "Parameter is unexpected"}}', [("measure", 1)])],
)
def test_qemu_measures_for_less_than_a_second_where_it_can(domain, tmp_path, monkeypatch, answer, asked):
    told = []
    qemu = SimpleNamespace(qemuMonitorCommand=lambda _, command, __: told.append(command) or answer)
    monkeypatch.setitem(sys.modules, "libvirt_qemu", qemu)
    assert LocalLibvirt(None, tmp_path).dirty_rate("web1") == 3 * MIB
    assert '"calc-time": 250' in told[0]
    assert domain.calls == asked


def test_measuring_that_can_not_begin_is_told_by_its_end(domain, tmp_path):
    virsh = LocalLibvirt(None, tmp_path)
    domain.startDirtyRateCalc = lambda _seconds: (_ for _ in ()).throw(FakeError("not supported"))
    virsh.begin_dirty_rate("web1")
    assert virsh.dirty_rate("web1") is None


def test_progress_is_that_of_an_outgoing_migration(domain, tmp_path):
    virsh = LocalLibvirt(None, tmp_path)
    assert virsh.migration_progress("web1").processed_bytes == 7 * MIB
    domain.stats = {**domain.stats, "operation": 8}
    assert virsh.migration_progress("web1") is None
    assert virsh.migration_progress("web2") is None


def test_domain_that_leaves_while_it_is_asked_has_no_progress(domain, tmp_path):
    def gone():
        raise FakeError("no domain with matching uuid", code=NO_DOMAIN)

    domain.jobStats = gone
    assert LocalLibvirt(None, tmp_path).migration_progress("web1") is None


def test_missing_binding_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(VmMgrError) as caught:
        LocalLibvirt(None, tmp_path).migration_progress("web1")
    assert caught.value.kind is Kind.ENVIRONMENT


XML = """<domain type="kvm"><memory unit="KiB">1048576</memory>
<os><type arch="x86_64" machine="pc-q35-10.0">hvm</type></os>
<cpu mode="custom" check="partial"><model>x</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<interface type="network"><source network="net7"/></interface></devices></domain>"""


class Node(Host):
    """A node whose libvirt has everything, unless it is taken away."""

    def __init__(self, machine="", cpu="", networks=("net7",), free=1 << 20):
        super().__init__(THERE)
        self.lacks, self.cpu, self.networks, self.free = machine, cpu, networks, free

    def getHostname(self):  # noqa: N802
        return "n2"

    def getDomainCapabilities(self, _emulator, _arch, machine, _kind):  # noqa: N802
        if machine == self.lacks:
            raise FakeError(f"{machine} is not supported")

    def compareHypervisorCPU(self, *_):  # noqa: N802
        if self.cpu:
            raise FakeError(self.cpu, CPU)

    def networkLookupByName(self, name):  # noqa: N802
        if name not in self.networks:
            raise FakeError("no network", NO_NETWORK)
        return SimpleNamespace(isActive=lambda: 1)

    def getMemoryStats(self, _cell):  # noqa: N802
        return {"total": 4 << 20, "free": self.free // 2, "cached": self.free // 2, "buffers": 0}


def lacking(hosts, xml=XML, **lacks):
    hosts[THERE] = Node(**lacks)
    return [error.kind for error in problems(sys.modules["libvirt"], Connection(THERE), xml)]


def test_node_that_has_everything_can_take_it(hosts):
    assert lacking(hosts) == []


def test_everything_that_is_missing_is_told_at_once(hosts):
    missing = {"machine": "pc-q35-10.0", "networks": (), "free": 1 << 19}
    expected = [Kind.NOT_SUPPORTED, Kind.ENVIRONMENT, Kind.NO_RESOURCES]
    assert lacking(hosts, **missing) == expected


def test_processor_is_compared_where_the_domain_needs_it(hosts):
    assert lacking(hosts, cpu="no avx") == [Kind.NOT_SUPPORTED]
    assert lacking(hosts, XML.replace("partial", "none"), cpu="no avx") == []
    assert lacking(hosts, XML.replace('type="kvm"', 'type="qemu"'), cpu="no avx") == []
