"""A guest that does not shut down is powered off in the end: the command that stopped it says so."""

import json

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.cli.app import app
from vm_mgr.model.event import BY_PACEMAKER, NO_SHUTDOWN, Event, EventKind
from vm_mgr.model.failover import distinct
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.operations.create import CreateRequest, create

DOMAIN = "<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os><devices/></domain>"
WEB1 = VmName("web1")
WHY = "its guest did not shut down in its time: it was powered off"


class SlowClock(VirtualClock):
    """A clock that does what comes due while somebody sleeps."""

    def __init__(self):
        super().__init__()
        self.due = []

    def sleep(self, seconds):
        super().sleep(seconds)
        for one in [one for one in self.due if one[0] <= self.now]:
            self.due.remove(one)
            one[1]()


@pytest.fixture
def env(tmp_path):
    image = tmp_path / "disk.qcow2"
    image.write_bytes(b"QFI\xfb" + bytes(20) + (1 << 20).to_bytes(8, "big"))
    made = MemoryEnv(DomainXml())
    made.clock = SlowClock()
    create(made, CreateRequest(WEB1, DOMAIN, (str(image),), VmSettings()))
    made.cluster.stuck.add(WEB1)
    return made


def stops(env, after_s, *, why=NO_SHUTDOWN, told_after_s=0.0):
    """Have it stop after some seconds, and the event log know of it some seconds later."""
    began = env.clock.now
    event = Event(began + after_s, EventKind.STOPPED, "web1", "n1", WHY, why=why)
    env.clock.due += [
        (began + after_s, lambda: env.cluster.stuck.discard(WEB1)),
        (began + after_s + told_after_s, lambda: env.event_log.append([event])),
    ]


def typed(env, *words):
    done = CliRunner(mix_stderr=False).invoke(app, words, obj=env)
    assert done.exit_code == 0, done.stderr
    return done


def test_answer_says_that_it_was_powered_off(env):
    stops(env, 20)
    assert typed(env, "stop", "web1").stdout == f"web1 is Stopped ({WHY})\n"


def test_answer_as_data_says_so_too(env):
    stops(env, 20)
    told = json.loads(typed(env, "stop", "web1", "--output", "json").stdout)
    assert (told["state"], told["detail"]) == ("Stopped", WHY)


def test_event_that_comes_a_moment_later_is_waited_for(env):
    stops(env, 20, told_after_s=1)
    assert WHY in typed(env, "stop", "web1").stdout


def test_guest_without_an_operating_system_is_powered_off_soon(env):
    stops(env, 3)
    assert WHY in typed(env, "stop", "web1").stdout


def test_guest_that_shuts_down_is_only_stopped(env):
    stops(env, 3, why="")
    began = env.clock.now
    assert typed(env, "stop", "web1").stdout == "web1 is Stopped\n"
    assert env.clock.now - began < 3.5


def test_earlier_stop_counts_for_nothing(env):
    env.event_log.append([Event(env.clock.now - 60, EventKind.STOPPED, "web1", "n1", WHY, why=NO_SHUTDOWN)])
    stops(env, 20, why="")
    assert typed(env, "stop", "web1").stdout == "web1 is Stopped\n"


def test_storage_that_is_silent_hinders_no_stop(env):
    stops(env, 20)
    env.clock.due = env.clock.due[:1]
    env.event_log.hanging = True
    assert typed(env, "stop", "web1").stdout == "web1 is Stopped\n"


@pytest.mark.parametrize("words", [("restart", "web1"), ("disable", "web1"), ("remove", "--yes", "web1")])
def test_command_that_stops_it_on_the_way_warns(env, words):
    stops(env, 20)
    done = typed(env, *words)
    assert f"vm-mgr: warning: web1: {WHY}" in done.stderr
    assert "--stop-timeout" in done.stderr


def test_both_that_tell_of_one_stop_keep_why():
    pacemaker = Event(10.0, EventKind.STOPPED, "web1", "n1", f"stopped{BY_PACEMAKER}")
    agent = Event(10.5, EventKind.STOPPED, "web1", "n1", WHY, why=NO_SHUTDOWN)
    (joined,) = distinct([pacemaker, agent])
    assert (joined.why, joined.detail) == (NO_SHUTDOWN, WHY)
