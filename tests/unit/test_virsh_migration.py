"""A live migration with an option that only virsh knows: it arrives standing too, or is taken back."""

from pathlib import Path

import pytest

from vm_mgr.adapters.libvirt.virsh_migration import migrate
from vm_mgr.errors import SignalError, VmMgrError
from vm_mgr.ports.live_migration import Migration
from vm_mgr.ports.runner import Completed

MOVE = Migration(
    name="web1",
    destination_uri="qemu+ssh://n2/system",
    migrate_uri="tcp://n2",
    timeout_s=100,
    extra_options=("--copy-storage-all",),
    ident="ident-7",
)
DOMAIN = "<domain type='qemu'><name>web1</name></domain>"


class Virsh:
    """virsh that moves, or fails as it is told to."""

    def __init__(self, failure=None):
        self.failure, self.asked, self.arrival = failure, [], ""

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        del timeout_s, stdin, on_line
        self.asked.append(tuple(argv))
        words = list(argv)
        if "dumpxml" in words:
            return Completed(tuple(argv), 0, DOMAIN, "")
        if "--xml" in words:
            self.arrival = Path(words[words.index("--xml") + 1]).read_text()
        if "migrate" in words:
            if isinstance(self.failure, BaseException):
                raise self.failure
            return Completed(tuple(argv), 1 if self.failure else 0, "", self.failure or "")
        return Completed(tuple(argv), 0, "", "")

    def words_of(self, verb):
        return next((one for one in self.asked if verb in one), ())


def move(virsh, migration=MOVE, *, paused=False):
    aborted = []
    try:
        return migrate(
            virsh, migration, is_paused=lambda: paused, abort=lambda: aborted.append(True)
        ), aborted
    except (VmMgrError, SignalError) as error:
        return error, aborted


@pytest.mark.parametrize("paused", [False, True])
def test_guest_arrives_standing_with_the_mark_of_its_move(paused):
    virsh = Virsh()
    assert move(virsh, paused=paused) == (False, [])
    assert "--suspend" in virsh.words_of("migrate")
    assert "--copy-storage-all" in virsh.words_of("migrate")
    assert "ident-7" in virsh.arrival
    assert not Path(virsh.words_of("migrate")[virsh.words_of("migrate").index("--xml") + 1]).exists()


def test_guest_that_arrives_by_postcopy_runs_there_before_its_source_can_end():
    virsh = Virsh()
    assert move(virsh, MOVE._replace(extra_options=("--postcopy",))) == (True, [])
    assert "--suspend" not in virsh.words_of("migrate")


@pytest.mark.parametrize("failure", ["error: the network is down", SignalError(15)])
def test_failure_or_a_signal_aborts_it(failure):
    error, aborted = move(Virsh(failure))
    assert isinstance(error, (VmMgrError, SignalError))
    assert aborted == [True]


def test_bandwidth_and_pause_are_set_before_it_begins():
    virsh = Virsh()
    move(virsh, MOVE._replace(speed_mib=8, downtime_ms=300))
    verbs = [next(word for word in one if word.startswith(("migrate", "dumpxml"))) for one in virsh.asked]
    assert verbs == ["migrate-setspeed", "migrate-setmaxdowntime", "dumpxml", "migrate"]
