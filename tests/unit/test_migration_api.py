"""A live migration through a libvirt that is none: what it is asked for, and what is left after an abort."""

import sys
import threading
from types import SimpleNamespace

import pytest

from vm_mgr.adapters.libvirt.acceptance import problems
from vm_mgr.adapters.libvirt.connection import Connection
from vm_mgr.adapters.libvirt.migration import LiveMove
from vm_mgr.adapters.libvirt.port import Virsh
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.migration import Limits, OnTimeout, Plan, Step, Strategy
from vm_mgr.ports.live_migration import Migration

HERE, THERE = "qemu:///system", "qemu+ssh://n2/system"
RUNNING, BY_USER, MIGRATING, POSTCOPY_FAILED = [1, 1], [3, 1], [3, 2], [3, 13]
NO_DOMAIN, NO_NETWORK, ABORTED, CPU = 42, 43, 78, 84
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
        self.refuses = ""
        self.stats = dict(JOB)
        self.measured = {"dirtyrate.calc_status": 2, "dirtyrate.megabytes_per_second": 3}

    def state(self):
        return self.now

    def jobStats(self):  # noqa: N802 - libvirt's name
        return {"type": 0} if self.end.is_set() else self.stats

    def migrate3(self, target, params, flags):
        self.calls.append((flags, params))
        if self.refuses:
            raise FakeError(self.refuses)
        assert self.end.wait(20), "nobody ended the migration"
        if not self.arrives:
            raise FakeError("job 'migration out' canceled by client", ABORTED)
        self.hosts[HERE].domains.clear()
        target.domains["web1"] = SimpleNamespace(state=lambda: RUNNING)
        if self.leaves_half:
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
    }  # fmt: skip
    flags = {
        "LIVE": 1, "ABORT_ON_ERROR": 4096, "AUTO_CONVERGE": 8192, "POSTCOPY": 32768, "PARALLEL": 131072,
        "PARAM_URI": "migrate_uri", "PARAM_BANDWIDTH": "bandwidth",
        "PARAM_PARALLEL_CONNECTIONS": "parallel.connections",
    }  # fmt: skip
    fake = SimpleNamespace(
        libvirtError=FakeError,
        VIR_ERR_NO_DOMAIN=NO_DOMAIN,
        VIR_ERR_NO_NETWORK=NO_NETWORK,
        VIR_ERR_OPERATION_ABORTED=ABORTED,
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


def move(ticking, tell=lambda *_: None, **wishes):
    wanted = Migration("web1", THERE, "tcp://n2", 110.0)._replace(**wishes)
    LiveMove(Connection(HERE), wanted, tell, now=ticking, poll_s=0.001).run()


def failure(ticking, **wishes):
    with pytest.raises(VmMgrError) as caught:
        move(ticking, **wishes)
    return caught.value


def test_terms_reach_libvirt(domain, ticking):
    domain.end.set()
    move(ticking, speed_mib=8, downtime_ms=300, parallel=4, extra_options=("--auto-converge",))
    flags, params = domain.calls[1]
    assert flags == 1 + 4096 + 8192 + 131072
    assert params == {"migrate_uri": "tcp://n2", "bandwidth": 8, "parallel.connections": 4}
    assert domain.calls[0] == ("downtime", 300)


@pytest.mark.parametrize(("strategy", "flag"), [("precopy", 0), ("auto-converge", 8192), ("postcopy", 32768)])
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
    assert "it was called off" in failure(ticking).message


def test_pause_that_takes_too_long_ends_with_the_guest_going_on_here(domain, ticking):
    error = failure(ticking, limits=Limits(5, 110))
    assert "longest pause" in error.message
    assert domain.calls[1:] == ["suspend", "abort", "resume"]
    assert domain.now == RUNNING


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
    hosts[THERE].domains["web1"] = SimpleNamespace(state=lambda: MIGRATING)
    assert "NOT CLEAN" in failure(ticking, limits=Limits(5, 110, OnTimeout.ABORT)).message


def test_guest_that_its_user_paused_stays_paused_after_an_abort(domain, ticking):
    domain.now = list(BY_USER)
    failure(ticking, limits=Limits(5, 110, OnTimeout.ABORT))
    assert domain.now == BY_USER
    assert "resume" not in domain.calls


def test_refusal_of_libvirt_is_told_and_the_guest_goes_on(domain, ticking):
    domain.refuses = "internal error: no ssh"
    error = failure(ticking)
    assert "no ssh" in error.message
    assert "goes on here" in error.message


def test_migration_that_has_arrived_is_none_that_failed(domain, ticking):
    domain.leaves_half = True
    domain.end.set()
    move(ticking)


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
    virsh = Virsh(None, tmp_path)
    assert virsh.dirty_rate("web1") == 3 * MIB
    domain.measured = {"dirtyrate.calc_status": 1}
    domain.startDirtyRateCalc = lambda _seconds: (_ for _ in ()).throw(FakeError("not supported"))
    assert virsh.dirty_rate("web1") is None


def test_measuring_that_has_begun_is_not_begun_again(domain, tmp_path):
    virsh = Virsh(None, tmp_path)
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
    assert Virsh(None, tmp_path).dirty_rate("web1") == 3 * MIB
    assert '"calc-time": 250' in told[0]
    assert domain.calls == asked


def test_measuring_that_can_not_begin_is_told_by_its_end(domain, tmp_path):
    virsh = Virsh(None, tmp_path)
    domain.startDirtyRateCalc = lambda _seconds: (_ for _ in ()).throw(FakeError("not supported"))
    virsh.begin_dirty_rate("web1")
    assert virsh.dirty_rate("web1") is None


def test_progress_is_that_of_an_outgoing_migration(domain, tmp_path):
    virsh = Virsh(None, tmp_path)
    assert virsh.migration_progress("web1").processed_bytes == 7 * MIB
    domain.stats = {**domain.stats, "operation": 8}
    assert virsh.migration_progress("web1") is None
    assert virsh.migration_progress("web2") is None


def test_domain_that_leaves_while_it_is_asked_has_no_progress(domain, tmp_path):
    def gone():
        raise FakeError("no domain with matching uuid", code=NO_DOMAIN)

    domain.jobStats = gone
    assert Virsh(None, tmp_path).migration_progress("web1") is None


def test_missing_binding_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(VmMgrError) as caught:
        Virsh(None, tmp_path).migration_progress("web1")
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
