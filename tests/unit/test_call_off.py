"""What a move must not do to others, and how one is called off."""

import pytest
from lxml import etree

from vm_mgr.adapters.pacemaker import commands, moves
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.drain import Wishes, drain
from vm_mgr.operations.migrate import migrate
from vm_mgr.ports.cluster import VmResource

from .conftest import DOMAIN

EMPTY = """<cib epoch="4" num_updates="7"><configuration><crm_config/><nodes/><resources/><constraints/>
</configuration></cib>"""


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(live_migration=True)))
    return "web1"


def test_move_that_begins_takes_nothing_from_one_under_way():
    cib = commands.parse_cib(EMPTY)
    for name in ("web1", "web2"):
        commands.add_vm(cib, VmResource(name, TargetRole.STARTED, live_migration=True))
    moves.add_move(cib, "web1", to=None, away_from="n1", expires_utc=1000, terms="strategy=precopy")
    moves.add_restart(cib, "web1", 1000)
    before = etree.tostring(cib.xpath("//primitive[@id='web1']")[0])
    moves.add_move(cib, "web2", to=None, away_from="n1", expires_utc=1010)
    assert cib.xpath("//rsc_location/@rsc") == ["web1", "web2"]
    assert etree.tostring(cib.xpath("//primitive[@id='web1']")[0]) == before


@pytest.mark.parametrize("call", ["can_take", "dirty_rate", "migration_progress"])
def test_signal_in_a_look_at_libvirt_ends_the_move(env, vm, call):
    env.cluster.stuck.add(vm)

    def interrupted(*_args, **_more):
        raise SignalError(2)

    setattr(env.hypervisor, call, interrupted)
    with pytest.raises(SignalError):
        migrate(env, vm)
    assert not env.cluster.moves
    assert env.cluster.places[vm] == "n1"


def test_signal_while_the_scheduler_is_asked_ends_the_move(env, vm):
    def interrupted(*_args, **_more):
        raise SignalError(2)

    env.cluster.foresee_move = interrupted
    with pytest.raises(SignalError):
        migrate(env, vm)
    assert env.cluster.places[vm] == "n1"


def test_signal_while_the_claim_is_made_ends_the_command(env, vm):
    real, calls = env.ledger.claim, []

    def claim(name):
        calls.append(name)
        if len(calls) == 1:
            raise SignalError(2)
        return real(name)

    env.ledger.claim = claim
    with pytest.raises(SignalError):
        migrate(env, vm, "n2")


def test_move_that_is_still_under_way_is_not_turned(env, vm):
    real = env.cluster.state

    def moving():
        state = real()
        resource = state.resources[vm]._replace(pending="Migrating")
        return state._replace(resources={**state.resources, vm: resource})

    env.cluster.state = moving
    begun = []
    env.cluster.begin_move = lambda name, **_: begun.append(name)
    with pytest.raises(VmMgrError) as caught:
        migrate(env, vm, "n3")
    assert not begun
    assert caught.value.kind is Kind.TRY_LATER


def aborts(env, vm, look):
    """Begin a move that never ends, where look makes what is seen of the state; give what was aborted."""
    cancelled = []
    env.hypervisor.abort_job = cancelled.append
    env.cluster.stuck.add(vm)
    real = env.cluster.state
    env.cluster.state = lambda: look(real())
    with pytest.raises(VmMgrError):
        migrate(env, vm, "n3")
    return cancelled


def test_move_that_can_not_be_watched_is_called_off(env, vm):
    def look(state):
        if env.cluster.moves:
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "crm_mon did not end within 20 s")
        return state

    assert set(aborts(env, vm, look)) == {vm}


def test_move_that_is_too_late_is_called_off(env, vm):
    def look(state):
        pending = "Migrating" if env.cluster.moves else ""
        return state._replace(resources={vm: state.resources[vm]._replace(pending=pending)})

    assert set(aborts(env, vm, look)) == {vm}


def test_standby_stops_no_vm_that_has_nowhere_to_go(env, image):
    settings = VmSettings(live_migration=True, preferred_host="n1", failback="return")
    create(env, CreateRequest("home", DOMAIN, (image,), settings))
    for node in ("n2", "n3"):
        env.cluster.nodes[node] = env.cluster.nodes[node]._replace(standby=True)
    drained = drain(env, "n1", Wishes(standby=True))
    assert not env.cluster.nodes["n1"].standby
    assert [one.name for one in drained.stays] == ["home"]


def test_interrupt_before_the_job_has_begun_is_called_off_when_it_begins(env, vm):
    """The agent is not that far when Ctrl-C comes: nothing is there to be aborted yet."""
    log, real = [], env.cluster.state
    env.cluster.stuck.add(vm)
    looks = iter(["", "Migrating", "Migrating"])

    def state():
        found = real()
        pending = next(looks, "") if "ctrl-c" in log else ""
        return found._replace(resources={vm: found.resources[vm]._replace(pending=pending)})

    sleep = env.clock.sleep

    def interrupt(seconds):
        if "ctrl-c" not in log:
            log.append("ctrl-c")
            raise SignalError(2)
        sleep(seconds)

    env.cluster.state, env.clock.sleep = state, interrupt
    env.hypervisor.abort_job = lambda name: log.append("abort")
    with pytest.raises(SignalError):
        migrate(env, vm, "n2")
    assert log == ["ctrl-c", "abort", "abort", "abort"]
    assert not env.cluster.moves


def test_interrupt_lets_the_memory_be_saved(env, image):
    create(env, CreateRequest("hib", DOMAIN, (image,), VmSettings(on_move="hibernate")))
    env.cluster.stuck.add("hib")
    aborted = []
    env.hypervisor.abort_job = aborted.append

    def interrupt(_seconds):
        raise SignalError(2)

    env.clock.sleep = interrupt
    with pytest.raises(SignalError):
        migrate(env, "hib")
    assert not aborted
    assert not env.cluster.moves
