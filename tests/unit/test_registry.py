"""The registry is what commands and operations are: neither says anything that the other does not."""

import ast
import inspect
from pathlib import Path
from typing import get_type_hints

import click
import pytest

from vm_mgr.answers.data import ANSWERS
from vm_mgr.cli.reference import commands
from vm_mgr.operations.registry import ALIASES, OPERATIONS, Permission, fields_of

ROOT = Path(__file__).parents[2]
COMMANDS = commands()
# What only the command line has: how to show, to ask and to repeat.
OF_THE_COMMAND_LINE = {"--output", "-o", "--dry-run", "--yes", "-y", "--watch", "--progress", "-p"}
OWN = {"list": {"--wide"}, "show": {"--xml"}, "timeouts": {"--check"}, "console": {"--graphical"}}
# What another program, or the guest, does.
NO_DRY_RUN = {"console", "exec", "screenshot"}
# Commands that are no operations.
APART = {*ALIASES, "completion", "schema"}


def request_of(function):
    """Tell what a function takes beside the Env: its arguments, or the fields of those that are requests."""
    hints = get_type_hints(
        function, localns={"Env": object}
    )  # which `list` and `status` import for types only
    wanted, known = set(), {}
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        fields = getattr(hints[name], "_fields", None)
        if fields is None:
            known[name] = hints[name]
            if parameter.default is parameter.empty:
                wanted.add(name)
            continue
        inner = get_type_hints(hints[name])
        known |= {field: inner[field] for field in fields}
        wanted |= set(fields) - set(hints[name]._field_defaults)
    return known, wanted


@pytest.mark.parametrize("verb", OPERATIONS)
def test_fields_are_the_arguments_of_the_operation(verb):
    known, wanted = request_of(OPERATIONS[verb].load())
    given = {field.argument or field.name for field in fields_of(verb)}
    # drain hands the terms of its moves on, as one argument
    given = {name if name in known else "terms" for name in given} if verb == "drain" else given
    assert given <= known.keys()
    assert wanted <= given


@pytest.mark.parametrize("verb", OPERATIONS)
def test_fields_are_of_the_type_of_their_argument(verb):
    known, _ = request_of(OPERATIONS[verb].load())
    plain = {"flag": "bool", "number": "int", "size": "int", "duration": "float", "time": "float"}
    for field in fields_of(verb):
        if field.argument or field.name not in known:
            continue
        said = str(known[field.name])
        if field.many:
            assert any(word in said for word in ("Collection", "Sequence", "tuple")), field.name
        elif field.sort in plain:
            assert plain[field.sort] in said, field.name
        else:
            assert not any(word in said for word in ("bool", "int", "float")), field.name


@pytest.mark.parametrize("verb", OPERATIONS)
def test_command_has_the_options_of_its_fields(verb):
    command = OPERATIONS[verb].command or verb
    verbs = [name for name, one in OPERATIONS.items() if (one.command or name) == command]
    told = {option for name in verbs for field in fields_of(name) for option in field.options}
    has = {
        option
        for parameter in COMMANDS[command].params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    assert has - OF_THE_COMMAND_LINE - OWN.get(command, set()) == told


def test_commands_are_the_operations():
    assert {one.command or verb for verb, one in OPERATIONS.items()} == COMMANDS.keys() - APART


@pytest.mark.parametrize("verb", OPERATIONS)
def test_what_only_reads_changes_nothing(verb):
    operation = OPERATIONS[verb]
    assert operation.changes is (operation.permission is not Permission.READ and verb not in NO_DRY_RUN)


@pytest.mark.parametrize("verb", OPERATIONS)
def test_page_that_explains_it_exists(verb):
    assert (ROOT / "docs" / OPERATIONS[verb].page).is_file()


@pytest.mark.parametrize("verb", OPERATIONS)
def test_command_leads_to_its_page(verb):
    command = OPERATIONS[verb].command or verb
    section = (ROOT / "docs/reference/commands.md").read_text().partition(f"\n## `{command}`\n")[2]
    assert f"](../{OPERATIONS[verb].page})" in section.partition("\n## ")[0]


def test_all_operations_but_the_console_answer_with_data():
    assert ANSWERS.keys() == OPERATIONS.keys() - {"console"}


def test_command_line_calls_operations_through_the_registry():
    """It may import requests, results and rules, but none of the functions themselves."""
    functions = {(f"vm_mgr.operations.{one.module}", one.function) for one in OPERATIONS.values()}
    found = {
        (node.module, one.name)
        for path in (ROOT / "src" / "vm_mgr" / "cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for one in node.names
    }
    # edit asks and tries again on a terminal between its steps
    assert found & functions == {("vm_mgr.operations.edit", "edit")}
