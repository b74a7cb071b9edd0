"""One term for one thing: what the glossary says is not used is not used, and sentences are short."""

import ast
import re
from pathlib import Path

import pytest

from vm_mgr.cli.reference import commands

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = sorted((*(ROOT / "src" / "vm_mgr").rglob("*.py"), *(ROOT / "src" / "vm_manager").rglob("*.py")))
# Words of other programs, and texts by which versions side by side in one cluster know each other.
KNOWN = {"in the process of unplug", "it gave way to a recovery"}
LONG_WORDS, LONG_SHARE = 30, 0.03
ENDINGS = "(?:s|es|d|ed|ing|ged|ging|ting)?"


def banned():
    """Give the starred words with all their endings; the first word of several has them."""
    rows = [line for line in GLOSSARY.read_text().splitlines() if line.startswith("|")]
    words = {
        word for row in rows for word in re.findall(r"([a-z][a-z ]*?)\\\*", row.rpartition("| ")[2] or row)
    }
    assert len(words) > 10
    return {word: re.compile(_pattern(word), re.IGNORECASE) for word in words}


def _pattern(word):
    first, *rest = word.split()
    between = r"(?: it| them| him)? " if rest else ""
    return rf"\b{first}{ENDINGS}{between}{' '.join(rest)}\b(?! (?:for|in|by)\b)"


def prose(page):
    """Give a page's text without code."""
    text = re.sub(r"```.*?```", " ", page.read_text(), flags=re.DOTALL)
    return re.sub(r"`[^`]*`", "CODE", text)


def messages(module):
    """Give the texts of a module that people may read: no docstrings, nothing of one word."""
    tree = ast.parse(module.read_text())
    expressions = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in expressions else None
        if isinstance(text, str) and " " in text and text not in KNOWN:
            yield text


def helps():
    for name, command in commands().items():
        yield name, re.sub(r"Example:.*", "", command.help or "", flags=re.DOTALL)
        yield from ((name, option.help) for option in command.params if getattr(option, "help", None))


def sentences(page):
    """Give the sentences of a page; each cell, heading and item is one or more."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", prose(page))
    text = re.sub(
        r"(?m)^\s*\|.*\|\s*$", lambda row: "\n\n" + row[0].strip().strip("|").replace("|", "\n\n"), text
    )
    text = re.sub(r"(?m)^\s*(?:[-*]|\d+\.|#+) ", "\n\n", text)
    for paragraph in re.split(r"\n\s*\n", text):
        yield from re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_uses_the_terms_of_the_glossary(page):
    if page != GLOSSARY:
        text = prose(page)
        assert {word: found[0] for word, regex in banned().items() if (found := regex.search(text))} == {}


def test_messages_use_the_terms_of_the_glossary():
    words = banned()
    found = [
        (str(module.relative_to(ROOT)), text)
        for module in MODULES
        for text in messages(module)
        if any(regex.search(text) for regex in words.values())
    ]
    assert found == []


def test_help_uses_the_terms_of_the_glossary():
    words = banned()
    assert [
        (name, text) for name, text in helps() if any(regex.search(text) for regex in words.values())
    ] == []


def long_sentences():
    return [(page.name, one) for page in PAGES for one in sentences(page) if len(one.split()) > LONG_WORDS]


def long_share():
    return len(long_sentences()) / sum(1 for page in PAGES for one in sentences(page) if one)


def test_sentences_are_short():
    assert long_share() <= LONG_SHARE, long_sentences()
