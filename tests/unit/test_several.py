"""Several VMs in one command, and the question before anything is deleted."""

import json

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.cli.reference import commands
from vm_mgr.errors import EXIT_CODES, Kind, SignalError
from vm_mgr.model.vm import TargetRole
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.ports.cluster import SideEffect

XML = "<domain type='qemu'><memory>1</memory><os><type>hvm</type></os><devices/></domain>"
ASKING = {
    "add-to-cluster",
    "clone",
    "create",
    "edit",
    "import",
    "migrate",  # deletes nothing, but stops a guest without live migration
    "purge",
    "remove",
    "remove-disk",
    "remove-snapshot",
    "rollback",
}


@pytest.fixture
def shell(env, image, tmp_path):
    definition = tmp_path / "vm.xml"
    definition.write_text(XML)

    def run(*words, says=None):
        return CliRunner(mix_stderr=False).invoke(app, words, obj=env, input=says)

    run.create = lambda name, *more, **how: run(
        "create", name, "--xml", str(definition), "-i", image, *more, **how
    )
    return run


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)


@pytest.fixture
def three(shell):
    for name in ("a", "b", "c"):
        assert shell.create(name).exit_code == 0
    return shell


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("stop", "{} is Stopped"),
        ("restart", "{} is Started on n1"),
        ("disable", "{} is Disabled"),
        ("pause", "{} is paused on n1"),
        ("remove", "{} is removed"),
    ],
)
def test_each_of_several_is_done(three, verb, words):
    done = three(verb, "a", "b", "a")
    assert (done.exit_code, done.stdout.splitlines()) == (0, [words.format("a"), words.format("b")])


def test_what_was_done_to_several_is_taken_back(three):
    three("stop", "a", "b")
    assert three("start", "a", "b").stdout.splitlines() == ["a is Started on n1", "b is Started on n1"]
    three("disable", "a", "b")
    assert three("enable", "a", "b").exit_code == 0
    three("pause", "a", "b")
    assert three("resume", "a", "b").stdout.splitlines() == ["a runs again on n1", "b runs again on n1"]
    assert three("unmigrate", "a", "b").exit_code == 0


def test_several_are_moved_to_one_node(three):
    done = three("migrate", "a", "b", "--to", "n2")
    assert (done.exit_code, done.stdout.splitlines()) == (0, ["a is Started on n2", "b is Started on n2"])
    assert three("migrate", "a", "b", "c").exit_code == 2
    assert three("migrate", "c", "n3").stdout == "c is Started on n3\n"


def test_consent_is_asked_for_each_and_a_no_keeps_no_other_from_it(three, env, terminal):
    env.cluster.harms = {name: {"c": SideEffect.RESTARTED} for name in "ab"}
    done = three("migrate", "a", "b", "--to", "n2", says="n\ny\n")
    assert done.exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert done.stdout.splitlines()[2:] == ["b is Started on n2"]  # after what was typed
    assert done.stderr.splitlines()[-1] == "vm-mgr: error: migrate failed for a"
    assert three("migrate", "a", "--to", "n2", "--restart-others", "--yes").exit_code == 0


def test_terminal_is_asked_before_a_move_stops_the_guest(three, env, terminal):
    assert three("set", "b", "--enable-live-migration").exit_code == 0
    done = three("migrate", "a", "b", "--to", "n2", says="n\n")
    assert done.exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert (env.cluster.places["a"], env.cluster.places["b"]) == ("n1", "n2")
    assert done.stderr.count("Go on? [y/N]") == 1
    assert three("migrate", "a", "n3", "--dry-run").exit_code == 0
    assert env.cluster.places["a"] == "n1"
    assert "Go on?" not in three("migrate", "a", "n2", "--yes").stderr
    assert env.cluster.places["a"] == "n2"
    assert three("migrate", "a", "n3", says="y\n").exit_code == 0
    assert env.cluster.places["a"] == "n3"


def test_one_question_is_for_the_vm_and_for_others(three, env, terminal):
    env.cluster.harms = {"a": {"c": SideEffect.RESTARTED}}
    done = three("migrate", "a", "n2", says="y\n")
    assert (done.exit_code, done.stderr.count("Go on? [y/N]")) == (0, 1)
    assert three("migrate", "a", "n1", "--yes", says="n\n").exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert env.cluster.places["a"] == "n2"


def test_without_a_terminal_a_move_stops_the_guest(three, env):
    assert three("migrate", "a", "n2").exit_code == 0
    assert env.cluster.places["a"] == "n2"


def test_failure_of_one_keeps_no_other_from_it_and_the_worst_status_counts(three, env):
    done = three("stop", "nobody", "a", "c")
    assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert done.stdout.splitlines() == ["a is Stopped", "c is Stopped"]
    assert done.stderr.splitlines()[-1] == "vm-mgr: error: stop failed for nobody"
    with env.intent_log.lock("b"):
        done = three("remove", "nobody", "b", "a")
    assert done.exit_code == EXIT_CODES[Kind.TRY_LATER]
    assert sorted(env.storage.vms) == ["b", "c"]


def test_data_of_one_is_an_object_and_of_several_a_list(three):
    one = json.loads(three("stop", "a", "-o", "json").stdout)
    assert one == {"name": "a", "state": "Stopped", "node": "", "detail": ""}
    several = json.loads(three("stop", "a", "b", "nobody", "-o", "json").stdout)
    assert [vm["name"] for vm in several] == ["a", "b"]
    assert three("stop", "nobody", "-o", "json").stdout == ""
    assert json.loads(three("stop", "nobody", "neither", "-o", "json").stdout) == []


def test_dry_run_shows_the_steps_of_all(three, env):
    done = three("stop", "a", "b", "--dry-run")
    assert done.exit_code == 0
    steps = done.stdout.splitlines()
    assert steps[-1] == "nothing was changed"
    assert [step.partition(".")[0] for step in steps[:-1]] == [str(n + 1) for n in range(len(steps) - 1)]
    assert (
        len(json.loads(three("stop", "a", "b", "--dry-run", "-o", "json").stdout)["steps"]) == len(steps) - 1
    )
    assert three("stop", "a", "nobody", "--dry-run").exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert {env.cluster.resources[name].target_role for name in "ab"} == {TargetRole.STARTED}


def test_signal_ends_all_and_says_what_was_not_begun(three, env):
    asked = env.cluster.set_target_role

    def interrupted(name, role):
        if name == "b":
            raise SignalError(2)
        asked(name, role)

    env.cluster.set_target_role = interrupted
    done = three("stop", "a", "b", "c")
    assert done.exit_code == 130
    assert done.stdout == "a is Stopped\n"
    assert "nothing was begun with c" in done.stderr


@pytest.mark.parametrize(("output", "told"), [("table", "nothing was changed\n"), ("json", "")])
def test_dry_run_that_a_signal_ends_tells_no_results(three, env, monkeypatch, output, told):
    begun = []

    def interrupted(env, name, **_):
        if begun:
            raise SignalError(2)
        begun.append(name)
        return operation(env, name)

    operation = OPERATIONS["stop"].load()
    monkeypatch.setattr(type(OPERATIONS["stop"]), "load", lambda _: interrupted)
    done = three("stop", "a", "b", "c", "--dry-run", "-o", output)
    assert (done.exit_code, begun) == (130, ["a"])
    assert done.stdout.endswith(told)
    assert "Stopped" not in done.stdout
    assert "nothing was begun with c" in done.stderr


def test_second_name_is_the_one_that_differs(shell):
    assert "two names are given: a and b" in shell("stop", "--name", "a", "a", "b").stderr


def test_what_asks_has_a_way_around_its_question():
    asking = {name for name, one in commands().items() if any(option.name == "yes" for option in one.params)}
    assert asking == ASKING
    replacing = {
        name
        for name, one in commands().items()
        if any(option.name == "force" and option.help.startswith("Replace") for option in one.params)
    }
    assert {"create", "import"} <= replacing <= asking


DELETIONS = [
    ("remove", "a", "b"),
    ("purge", "a"),
    ("remove-snapshot", "a", "--snap-name", "s"),
    ("rollback", "a", "--snap-name", "s"),
    ("remove-disk", "a", "1"),
    ("clone", "a", "--dst-name", "b", "--force"),
    ("import", "none.ova", "--name", "b", "--force"),
    ("import", "none.ova", "--force"),
]


@pytest.mark.parametrize("words", DELETIONS, ids=lambda words: words[0])
def test_terminal_is_asked_before_anything_is_deleted(three, terminal, env, words):
    three("create-snapshot", "b", "--snap-name", "s")
    three("add-disk", "a", "1M")
    three("create-snapshot", "a", "--snap-name", "s")
    before = str(env.storage.vms)
    for says in ("n\n", "\n", ""):
        done = three(*words, says=says)
        assert done.exit_code == 1
        assert "Go on? [y/N]" in done.stderr
        assert done.stderr.endswith("vm-mgr: error: you did not agree: nothing is changed\n")
    assert str(env.storage.vms) == before
    assert "Go on?" not in three(*words, "--yes").stderr
    assert "Go on?" not in three(*words, "--dry-run").stderr


def test_replacing_a_vm_is_asked_for(three, terminal, env):
    was = env.definitions.uuid(env.storage.definitions.read("a"))
    assert three.create("a", "--force", says="n\n").exit_code == 1
    assert env.definitions.uuid(env.storage.definitions.read("a")) == was
    assert three.create("a", "--force", says="y\n").exit_code == 0
    assert env.definitions.uuid(env.storage.definitions.read("a")) != was


def test_without_a_terminal_nobody_is_asked(three):
    three("create-snapshot", "a", "--snap-name", "s")
    assert three("purge", "a").exit_code == 0
    assert three("remove", "--name", "a").exit_code == 0
