"""Who has asked for what is done to a VM is recorded, and nothing depends on that."""

import logging
import os
import re

import pytest
from click.testing import CliRunner

import vm_manager
from vm_manager.environment import use
from vm_mgr.adapters.host import journal
from vm_mgr.adapters.host.journal import HostJournal
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.failover import distinct

XML = "<domain type='qemu'><memory>1</memory><os><type>hvm</type></os><devices/></domain>"


@pytest.fixture
def shell(env, image, tmp_path):
    definition = tmp_path / "vm.xml"
    definition.write_text(XML)

    def run(*words):
        done = CliRunner(mix_stderr=False).invoke(app, words, obj=env)
        told = [(one.subject, one.detail) for one in env.journal.handed if one.kind is EventKind.ASKED]
        env.journal.handed.clear()
        run.done = done
        return told

    ((name, detail),) = run("create", "web1", "--xml", str(definition), "-i", image)
    assert name == "web1"
    assert re.fullmatch("create --xml .{40} --image .{40} by root on n1", detail), "a long value is cut"
    return run


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("stop",), "stop"),
        (("stop", "--force"), "stop --force"),
        (("restart",), "restart"),
        (("disable",), "disable"),
        (("remove",), "remove"),
        (("pause",), "pause"),
        (("resume",), "resume"),
        (("migrate",), "migrate"),
        (("set", "--priority", "7"), "set --priority 7"),
        (("set", "--metadata", "key=a secret"), "set --metadata"),
        (("create-snapshot", "--snap-name", "s"), "create-snapshot --snap-name s"),
        (("create-snapshot", "s"), "create-snapshot --snap-name s"),
        (("add-disk", "1M"), "add-disk"),
        (("resize-disk", "1G"), "resize-disk"),
        (
            ("set-metadata", "--metadata-name", "owner", "--metadata-value", "a secret"),
            "set-metadata --metadata-name --metadata-value",
        ),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_what_changes_a_vm_is_recorded_once_and_not_in_a_dry_run(shell, words, told):
    verb, *more = words
    assert shell(verb, "web1", *more, "--dry-run") == []
    assert shell.done.exit_code == 0, shell.done.stderr
    assert shell(verb, "web1", *more) == [("web1", f"{told} by root on n1")]
    assert shell.done.exit_code == 0, shell.done.stderr


def test_what_is_taken_back_is_recorded_too(shell):
    shell("stop", "web1")
    assert shell("start", "web1") == [("web1", "start by root on n1")]
    shell("disable", "web1")
    assert shell("enable", "web1") == [("web1", "enable by root on n1")]


@pytest.mark.parametrize(
    "words", [("start", "web1"), ("set", "web1"), ("stop", "nobody"), ("status", "web1"), ("list",)]
)
def test_what_changes_nothing_or_is_refused_is_not_recorded(shell, words):
    assert shell(*words) == []


def test_stopping_what_is_stopped_is_not_recorded(shell):
    shell("stop", "web1")
    assert shell("stop", "web1") == []


def test_each_of_several_is_recorded(shell, env):
    shell("clone", "web1", "--dst-name", "web2")
    assert shell("stop", "web1", "web2") == [(one, "stop by root on n1") for one in ("web1", "web2")]
    assert shell("migrate", "--all-from", "n1") == []
    shell("start", "web1")
    shell("set", "web1", "--enable-live-migration")
    assert shell("migrate", "--all-from", env.cluster.places["web1"])[0] == (
        "web1",
        "migrate --all-from n1 by root on n1",
    )


def test_record_that_fails_costs_nothing(shell, env, caplog):
    def fails(_):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "no journal")

    env.journal.record = fails
    with caplog.at_level(logging.DEBUG):
        assert shell("stop", "web1") == []
    assert (shell.done.exit_code, "journal" in shell.done.stderr) == (0, False)
    assert "no journal" in caplog.text


def test_programs_are_recorded_at_every_call(shell, env):
    use(lambda _: _given(env))
    try:
        vm_manager.stop("web1")
        vm_manager.start("web1")
        vm_manager.stop("web1")
    finally:
        use(None)
    told = [one.detail for one in env.journal.handed if one.kind is EventKind.ASKED]
    assert told == ["stop by root on n1", "start by root on n1", "stop by root on n1"]


class _given:  # noqa: N801 - a context manager
    def __init__(self, env):
        self.env = env

    def __enter__(self):
        return self.env

    def __exit__(self, *_):
        return None


def test_two_commands_within_a_moment_are_two():
    events = [
        Event(at, EventKind.ASKED, "web1", "n1", f"{verb} by root on n1") for at, verb in enumerate("ab")
    ]
    assert distinct(events) == events


class TestCaller:
    @pytest.fixture
    def told(self, tmp_path, monkeypatch):
        (tmp_path / "self").mkdir()
        (tmp_path / "passwd").write_text("root:x:0:0::/root:/bin/sh\nanna:x:1007:1007::/:/bin/sh\nbroken\n")
        monkeypatch.setattr(journal, "PASSWD", tmp_path / "passwd")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.delenv("SUDO_USER", raising=False)

        def caller(login):
            if login is not None:
                (tmp_path / "self" / "loginuid").write_text(login)
            return HostJournal(tmp_path / "none", tmp_path / "none", tmp_path).caller()

        return caller

    @pytest.mark.parametrize(
        ("login", "user"),
        [("1007\n", "anna"), ("0", "root"), ("4294967295", "root"), (None, "root"), ("1008", "uid 1008")],
    )
    def test_login_counts_and_without_one_the_process(self, told, login, user):
        assert told(login) == f"{user} on {os.uname().nodename}"

    def test_sudo_says_it_first(self, told, monkeypatch):
        monkeypatch.setenv("SUDO_USER", "bert")
        assert told("1007") == f"bert on {os.uname().nodename}"

    def test_nobody_is_told_that_the_record_failed(self, tmp_path, capsys):
        asked = Event(7.0, EventKind.ASKED, "web1", detail="stop by root on n1")
        HostJournal(tmp_path, tmp_path / "none").record(asked)
        assert capsys.readouterr() == ("", "")
