"""What a person mistypes is told in one line, with what was meant."""

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.cli.help import COMMANDS, GROUPS, OTHER_WORDS, overview


def typed(*words):
    return CliRunner(mix_stderr=False).invoke(app, words, prog_name="vm-mgr")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("ls", "list"),
        ("info", "show"),
        ("delete", "remove"),
        ("shutdown", "stop"),
        ("reboot", "restart"),
        ("destroy", "stop --force"),
        ("statuss", "status"),
        ("create_snapshoot", "create-snapshot"),
        ("LIST", "list"),
        ("dumpxml", "show --xml"),
        ("rm", "remove"),
        ("cleanup", "start"),
        ("standby", "migrate --all-from"),
    ],
)
def test_other_word_for_a_command_is_understood(word, meant):
    done = typed(word, "web1")
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        f"vm-mgr: error: there is no command {word!r}",
        f"hint: did you mean: vm-mgr {meant}",
    ]


@pytest.mark.parametrize("word", ["xyzzyx", "crm", "pcs", "qm", "ha-manager", "node", "srm", "rmm"])
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


def test_each_command_is_in_one_group_of_the_help():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)
    assert all(f"\n{title}:\n" in overview() for title in GROUPS)


def test_nothing_given_is_a_question_for_help():
    done = typed()
    assert (done.exit_code, done.stdout) == (0, overview() + "\n")
