"""Programs that hang, ignore signals, or leave children behind: no wait is without a limit."""

import signal
import subprocess
import time

import pytest

from vm_mgr.adapters.host import runner as module
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.cli.run import print_error
from vm_mgr.errors import Kind, VmMgrError

DEAF = "trap '' TERM; echo begun; while :; do sleep 0.1; done"
WAYS = {"collected": None, "streamed": lambda _line: None}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "LINGER_S", 0.3)


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def run(request):
    def call(script, timeout_s=0.5):
        return HostRunner().run(("sh", "-c", script), timeout_s=timeout_s, on_line=request.param)

    return call


def test_output_and_status_are_collected(run):
    done = run("echo one; echo two >&2; echo drei; exit 3", 10)
    assert (done.exit_code, done.stdout, done.stderr) == (3, "one\ndrei\n", "two\n")


def test_program_that_ignores_term_is_killed_at_its_deadline(run):
    began = time.monotonic()
    with pytest.raises(VmMgrError, match="did not end within") as caught:
        run(DEAF)
    assert caught.value.kind is Kind.EXTERNAL_FAILURE
    assert "SIGKILL" not in caught.value.message
    assert time.monotonic() - began < 5


def test_child_that_keeps_the_pipes_open_is_not_waited_for(run):
    began = time.monotonic()
    done = run("echo told; sleep 8 & exit 4", 6)
    assert (done.exit_code, done.stdout) == (4, "told\n")
    assert time.monotonic() - began < 5


def test_child_that_keeps_the_pipes_open_does_not_outlast_the_deadline(run):
    began = time.monotonic()
    with pytest.raises(VmMgrError, match="did not end"):
        run("sleep 8 & trap '' TERM; while :; do sleep 0.1; done")
    assert time.monotonic() - began < 5


def test_program_that_closes_its_output_and_goes_on_is_ended(run):
    began = time.monotonic()
    with pytest.raises(VmMgrError, match="did not end"):
        run("exec >&- 2>&-; sleep 8")
    assert time.monotonic() - began < 5


def test_process_that_not_even_sigkill_ends_is_told_and_left(run, monkeypatch):
    """Stand in for the D state, which no test can make: its signals do nothing."""
    begun = []

    def signalled(process):
        begun.append(process)

    monkeypatch.setattr(subprocess.Popen, "terminate", signalled)
    monkeypatch.setattr(subprocess.Popen, "kill", signalled)
    try:
        began = time.monotonic()
        with pytest.raises(VmMgrError, match="SIGKILL") as caught:
            run("exec sleep 8")
        assert time.monotonic() - began < 5
        assert str(begun[0].pid) in caught.value.message
    finally:
        begun[0].send_signal(signal.SIGKILL)
        begun[0].wait(5)


def test_lines_come_as_they_are_written_and_an_error_of_the_listener_ends_the_program():
    heard = []

    def on_line(line):
        heard.append(line)
        if line == "two":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HostRunner().run(("sh", "-c", "printf 'one\\rtwo\\rthr'; sleep 8"), timeout_s=6, on_line=on_line)
    assert heard == ["one", "two"]


def test_much_output_and_input_pass(run):
    done = HostRunner().run(("cat",), timeout_s=10, stdin="x" * 1_000_000)
    assert len(done.stdout) == 1_000_000
    assert len(run("head -c 1000000 /dev/zero | tr '\\0' 'x' | fold -w 100", 10).stdout) > 1_000_000


@pytest.mark.parametrize("kind", list(Kind))
def test_failure_from_outside_always_has_a_hint(kind, capsys):
    print_error(VmMgrError(kind, "it said no"))
    told = capsys.readouterr().err
    outside = (Kind.ENVIRONMENT, Kind.EXTERNAL_FAILURE, Kind.TRY_LATER)
    assert ("hint: " in told) == (kind in outside)


def test_program_that_is_too_slow_says_what_to_look_at():
    with pytest.raises(VmMgrError) as caught:
        HostRunner().run(("sleep", "5"), timeout_s=0.1)
    assert "crm_mon" in caught.value.hint
