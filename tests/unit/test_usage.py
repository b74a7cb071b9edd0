"""What a person mistypes is told in one line, with what was meant."""

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import UnknownCommandError, app
from vm_mgr.cli.help import COMMANDS, EFFECTS, GROUPS, OTHER_WORDS, QUESTIONS, overview


def typed(*words):
    return CliRunner(mix_stderr=False).invoke(app, words, prog_name="vm-mgr")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("ls", "list"),
        ("info", "show"),
        ("statuss", "status"),
        ("create_snapshoot", "create-snapshot"),
        ("LIST", "list"),
        ("dumpxml", "show --xml"),
        ("cleanup", "start"),
    ],
)
def test_other_word_for_a_command_is_understood(word, meant):
    done = typed(word, "web1")
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        f"vm-mgr: error: there is no command {word!r}",
        f"hint: did you mean: vm-mgr {meant}",
    ]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("restore", "rollback, which stops the VM and takes its disks back to a snapshot"),
        ("revert", "rollback, which stops the VM and takes its disks back to a snapshot"),
        ("reboot", "restart, which shuts the guest down and boots it again"),
        ("restrat", "restart, which shuts the guest down and boots it again"),
        ("shutdown", "stop, which shuts the guest down"),
        ("destroy", "stop --force, which powers the guest off"),
        ("delete", "remove, which stops the VM and deletes its disks"),
        ("rm", "remove, which stops the VM and deletes its disks"),
        ("detach-disk", "remove-disk, which deletes the VM's last disk"),
        ("standby", "migrate --all-from, which moves all VMs away from a node"),
    ],
)
def test_command_that_ends_something_is_offered_with_what_it_would_do(word, meant):
    assert typed(word, "web1").stderr.splitlines()[1] == f"hint: did you mean: vm-mgr {meant}"


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("health", "see: vm-mgr list; vm-mgr timeouts --check; of the cluster: crm_mon -1"),
        ("nodes", "see the nodes: crm_mon -1; the VMs and where they run: vm-mgr list"),
        ("node", "see the nodes: crm_mon -1; the VMs and where they run: vm-mgr list"),
    ],
)
def test_question_that_no_command_answers_leads_to_those_that_help(word, answer):
    assert typed(word).stderr.splitlines()[1] == f"hint: {answer}"


def misspelt():
    """Misspell each word that is understood: a letter too few, two letters in turn, a letter too many."""
    for word in (*COMMANDS, *OTHER_WORDS, *QUESTIONS):
        for at in range(1, len(word)):
            yield word[:at] + word[at + 1 :]
            yield word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]
            yield word[:at] + "e" + word[at:]


def test_no_word_leads_to_a_stop_or_an_end_without_saying_so():
    ends = {"stop", "restart", "remove", "remove-disk", "remove-snapshot", "rollback", "purge", "disable"}
    assert ends | {"migrate", "pause", "release-node"} <= set(EFFECTS)
    for word in {*misspelt()} - {*COMMANDS}:
        offer = UnknownCommandError(word, None).hint.partition("did you mean: vm-mgr ")[2]
        command, _, effect = offer.partition(", which ")
        assert effect or command.split()[:1] == [] or command.split()[0] not in EFFECTS, word


@pytest.mark.parametrize("word", ["restock", "retort", "promote", "purchase"])
def test_word_that_is_only_like_a_command_that_ends_something_is_none(word):
    assert UnknownCommandError(word, None).hint == "see the commands: vm-mgr --help"


@pytest.mark.parametrize("word", ["xyzzyx", "crm", "pcs", "qm", "ha-manager", "srm", "rmm"])
def test_word_like_none_leads_to_the_help(word):
    """And a short one, or the name of another tool, to no command that happens to look like it."""
    assert typed(word, "x").stderr.splitlines()[1] == "hint: see the commands: vm-mgr --help"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("set", "web1", "--memmory", "3G"), "did you mean --memory? see: vm-mgr set --help"),
        (("set", "web1", "--memory", "big"), "see: vm-mgr set --help"),
        (("status", "a", "b"), "see: vm-mgr status --help"),
        (("start",), "see: vm-mgr start --help"),
        (("list", "-o", "x"), "see: vm-mgr list --help"),
        (("create-snapshot", "web1"), "see: vm-mgr create-snapshot --help"),
        (("--debg", "list"), "did you mean --debug? see: vm-mgr --help"),
        (("events", "--since", "1x"), "see: vm-mgr events --help"),
        (("release-node",), "see: vm-mgr release-node --help"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(words, hint):
    done = typed(*words)
    assert done.exit_code == 2
    error, second = done.stderr.splitlines()
    assert error.startswith("vm-mgr: error: ")
    assert second == f"hint: {hint}"
    assert done.stdout == ""


def test_other_words_lead_to_commands_and_are_none():
    heads = {meant.split()[0] for meant in OTHER_WORDS.values() if meant}
    assert heads - {"--help", "--version"} <= set(COMMANDS)
    assert not set(OTHER_WORDS) & set(COMMANDS)
    assert {command.split()[0] for command in EFFECTS} <= set(COMMANDS)
    assert not set(QUESTIONS) & {*COMMANDS, *OTHER_WORDS}


def test_each_command_is_in_one_group_of_the_help():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)
    assert all(f"\n{title}:\n" in overview() for title in GROUPS)


def test_nothing_given_is_a_question_for_help():
    done = typed()
    assert (done.exit_code, done.stdout) == (0, overview() + "\n")
