"""What a command shows while it works, and a list that is watched."""

import os
import re
import signal
from functools import partial

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.cli.app import app
from vm_mgr.cli.progress import Printer
from vm_mgr.cli.watch import watch
from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.model.intent import Intent
from vm_mgr.reports import Level, Note, Progress

GB = 10**9


@pytest.fixture
def clock():
    return VirtualClock()


def imported(printer, clock, *, seconds, step="importing a"):
    for second in range(seconds + 1):
        printer.say(Progress(step, second / seconds, GB))
        clock.sleep(1)


def test_plain_lines_come_every_two_seconds_with_rate_and_time_left(clock, capsys):
    printer = Printer(clock.monotonic, terminal=False)
    imported(printer, clock, seconds=10)
    printer.end()
    assert capsys.readouterr().err.splitlines() == [
        "importing a 20% 100 MB/s, 8 s left …",
        "importing a 40% 100 MB/s, 6 s left …",
        "importing a 60% 100 MB/s, 4 s left …",
        "importing a 80% 100 MB/s, 2 s left …",
        "importing a 100% 100 MB/s, 0 s left …",
        "importing a: done in 11 s",
    ]


def test_short_steps_are_not_mentioned(clock, capsys):
    printer = Printer(clock.monotonic, terminal=False)
    imported(printer, clock, seconds=1)
    printer.end()
    assert capsys.readouterr().err == ""


def test_each_long_step_is_told_when_it_ends(clock, capsys):
    printer = Printer(clock.monotonic, terminal=False)
    for step in ("stopping a", "starting a"):
        printer.say(Progress(step))
        clock.sleep(90)
    printer.end(done=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["stopping a: done in 1:30 min"]


def test_terminal_line_is_rewritten_and_cleared(clock, capsys):
    printer = Printer(clock.monotonic, terminal=True)
    imported(printer, clock, seconds=4)
    printer.say(Note(Level.WARNING, "x", "careful"))
    printer.end()
    shown = capsys.readouterr().err
    assert "\r\x1b[Kimporting a 50% 250 MB/s, 2 s left …\r" in shown
    assert shown.endswith("\r\x1b[Kvm-mgr: warning: careful\n")


@pytest.fixture
def watched(env):
    """Watch while time passes, until Ctrl-C at the third look."""

    def watch(*words, between=lambda: None):
        naps = []

        def sleep(seconds):
            naps.append(seconds)
            between()
            if len(naps) == 3:
                os.kill(os.getpid(), signal.SIGINT)

        env.clock.sleep = sleep
        done = CliRunner(mix_stderr=False).invoke(app, ["list", *words], obj=env)
        return done, naps

    return watch


def test_watched_list_is_printed_again_until_ctrl_c(watched, env):
    def happen():
        env.intent_log.write("web1", Intent("restart", "n3"))

    done, naps = watched("--watch", between=happen)
    assert (done.exit_code, naps) == (0, [2, 2, 2])
    first, second, third = done.stdout.split("\n\n")
    assert "web1" not in first
    assert "web1" in second
    assert third == second + "\n"


def test_watching_goes_on_after_an_error(watched, env):
    def mend():
        env.storage.failing = ""

    env.storage.failing = "definitions.names"
    done, naps = watched("--watch", "5", "--output", "json", between=mend)
    assert (done.exit_code, naps) == (0, [5, 5, 5])
    assert done.stderr.count("the storage failed") == 1
    assert done.stdout == "[]\n[]\n"


def test_watched_terminal_is_painted_over(env, capsys):
    looks = iter(["a\n" * 200, VmMgrError(Kind.EXTERNAL_FAILURE, "gone"), SignalError(signal.SIGINT)])

    def look():
        seen = next(looks)
        if isinstance(seen, BaseException):
            raise seen
        return seen

    watch(env, look, partial(print, end=""), every_s=1, terminal=True)
    title = r"\x1b\[HEvery 1 s, end with Ctrl-C  [0-9:]{8}\x1b\[K\n\x1b\[K\n"
    first, second, third = re.split(title, capsys.readouterr().out)
    assert not first
    assert second.startswith("a\x1b[K\n")
    assert second.endswith("more\x1b[K\n\x1b[J")
    assert second.count("\n") < 200
    assert third.startswith("vm-mgr: error: gone\x1b[K\nhint: ")
    assert third.endswith("\x1b[K\n\x1b[J")


def test_interrupted_commands_other_than_watch_say_so(env):
    env.storage.definitions.names = lambda: os.kill(os.getpid(), signal.SIGINT)
    done = CliRunner(mix_stderr=False).invoke(app, ["list"], obj=env)
    assert done.exit_code == 128 + signal.SIGINT
