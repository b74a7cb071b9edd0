"""The command line: what it prints and how it ends."""

import json

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import _COMMANDS, app
from vm_mgr.errors import EXIT_CODES, Kind


@pytest.fixture
def shell(env, image, tmp_path):
    definition = tmp_path / "vm.xml"
    definition.write_text(
        "<domain type='qemu'><memory>1</memory><os><type>hvm</type></os><devices/></domain>"
    )

    def run(*words):
        return CliRunner(mix_stderr=False).invoke(app, words, obj=env)

    run.create = lambda name, *more: run(
        "create", "--name", name, "--xml", str(definition), "-i", image, *more
    )
    return run


def test_life_of_a_vm(shell):
    assert shell.create("web1", "--enable-live-migration", "--migration-to-timeout", "60").exit_code == 0
    assert shell("status", "web1").stdout == "Started on n1\n"
    assert shell("migrate", "web1", "n2").exit_code == 0
    assert json.loads(shell("status", "--name", "web1", "-o", "json").stdout)["node"] == "n2"
    assert "web1  Started  n2" in shell("list").stdout
    assert shell("list", "--output", "yaml").stdout.startswith("- name: web1")
    assert shell("stop", "-n", "web1").exit_code == 0
    assert shell("remove", "web1").exit_code == 0
    assert shell("status", "web1").stdout == "Undefined\n"


def test_error_is_one_line_with_a_hint_and_a_code(shell):
    done = shell("start", "nobody")
    assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert done.stderr.splitlines() == [
        "vm-mgr: error: there is no VM 'nobody'",
        "hint: see the VMs: vm-mgr list",
    ]


def test_every_problem_has_its_line(shell):
    done = shell.create("web1", "--pinned-host", "n8", "--disk-bus", "floppy")
    assert done.stderr.count("vm-mgr: error: ") == 2


@pytest.mark.parametrize(
    "words", [["start"], ["start", "a", "--name", "b"], ["migrate"], ["nonsense"], ["list", "-o", "x"]]
)
def test_bad_usage_is_told_from_failure(shell, words):
    assert shell(*words).exit_code == 2


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_has_an_example(shell, command):
    done = shell(command, "--help")
    assert done.exit_code == 0
    assert "Example:" in done.stdout
