"""Documents name commands that exist; the index has all pages; man pages say what the help says."""

import re
from pathlib import Path

import pytest

from vm_mgr.cli.help import COMMANDS
from vm_mgr.cli.man import pages
from vm_mgr.cli.reference import commands

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PAGES_OF_COMMANDS = [
    "howto/backup.md",
    "howto/capacity.md",
    "howto/trouble.md",
    "reference/from-other-tools.md",
    "README.md",
]
OPTIONS = {
    name: {option for one in command.params for option in one.opts} for name, command in commands().items()
}


@pytest.mark.parametrize("page", PAGES_OF_COMMANDS)
def test_commands_of_a_page_exist_with_their_options(page):
    text = (DOCS / page).read_text()
    named = re.findall(r"^vm-mgr ([^\n#]+)|`(?:sudo )?vm-mgr ([^`]+)`", text, flags=re.MULTILINE)
    assert named
    for words in ("".join(one).split() for one in named):
        command = next((word for word in words if not word.startswith("-")), "")
        if command in ("", "COMMAND", "…", "ls"):
            continue
        assert command in COMMANDS, words
        given = {word for word in words if word.startswith("--")} - {"--help", "--debug"}
        assert given <= OPTIONS[command], words


def test_index_has_all_pages():
    linked = set(re.findall(r"\]\(([^)#]+)", (DOCS / "README.md").read_text()))
    there = {str(page.relative_to(DOCS)) for page in PAGES if page.parent.name != "design"}
    assert there - linked == {"README.md"}
    assert [link for link in linked if not (DOCS / link).exists()] == []


def test_each_command_has_a_man_page():
    found = pages()
    assert found.keys() == {"vm-mgr.1", *(f"vm-mgr-{name}.1" for name in COMMANDS)}
    for text in found.values():
        assert text.startswith(".TH ")
        assert text.count("\n.SH NAME\n") == 1
    stop = found["vm-mgr-stop.1"]
    assert r"\fB\-f, \-\-force\fR" in stop
    assert r"vm\-mgr stop web1 web2" in stop.partition(".SH EXAMPLE")[2]
    assert "Example:" not in "".join(found.values())


def test_no_line_of_a_man_page_is_taken_for_a_request():
    known = re.compile(r"\.(TH|SH|TP|PP|nf|fi)\b")
    lines = [line for text in pages().values() for line in text.splitlines()]
    assert [line for line in lines if line[:1] in (".", "'") and not known.match(line)] == []
