"""Every command is run on the real cluster by some test."""

import re

import pytest

from vm_mgr.cli.reference import commands

from .test_structure import SOURCE

TESTS = SOURCE.parents[1] / "tests"
FILES = [
    path
    for folder in ("lab", "scenarios")
    for path in sorted((TESTS / folder).rglob("*"))
    if path.suffix in (".py", ".sh", ".toml")
]
TEXT = "\n".join(path.read_text() for path in FILES)
# A helper, an argument list, a line for a shell, that in SEAPATH's name, a step of a scenario.
CALLS = "|".join(
    [
        r'vm_mgr\(\s*lab,\s*f?"',
        r'"vm-mgr",\s*(?:"--?[a-z-]+",\s*)*"',
        r"\bvm-mgr (?:--debug )?",
        r'\bcmd\(f?"',
        r'\bcommand = "',
    ]
)


def is_run(name, text):
    spelled = re.escape(name).replace(r"\-", "[-_]")
    return re.search(rf"(?:{CALLS}){spelled}(?![\w-])", text) is not None


@pytest.mark.parametrize("name", commands())
def test_command_is_run_on_the_real_cluster(name):
    assert is_run(name, TEXT), f"no file in tests/lab or tests/scenarios runs vm-mgr {name}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('vm_mgr(lab, "list")', True),
        ('vm_mgr(lab, "list-snapshots")', False),
        ('execute("n1", ["virsh", "list"])', False),
        ('execute("n1", ["vm-mgr", "--debug", "list"])', True),
        ('shell(lab, "vm-mgr list --watch")', True),
        ('"list"', False),
    ],
)
def test_only_calls_count(text, found):
    assert is_run("list", text) is found
