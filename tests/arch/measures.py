"""Measure the shape of the product: `python -m tests.arch.measures` prints a table (docs/design/0023)."""

import ast
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import vm_mgr
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.agent.actions import ACTIONS
from vm_mgr.agent.parameters import Parameters
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.migrate import migrate

from .test_structure import circles
from .test_words import long_share

__all__ = ["MEASURES", "Measure", "figures", "matches", "table", "walk", "walks"]

ROOT = Path(vm_mgr.__file__).parent
MODULES = {
    str(path.relative_to(ROOT.parent)): ast.parse(path.read_text())
    for folder in (ROOT, ROOT.with_name("vm_manager"))
    for path in sorted(folder.rglob("*.py"))
}
DOMAIN = "<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os><devices/></domain>"
IMAGE = b"QFI\xfb" + bytes(20) + (1 << 20).to_bytes(8, "big")
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
# Names of texts for people, and of what programs say when they fail.
TEXTS = {"detail", "hint", "message", "reason", "stderr"}
LOOKS = {"endswith", "find", "index", "rfind", "startswith"}
# What is decided by words all the same: why in docs/design/0023.
KNOWN = {
    ("vm_mgr/adapters/libvirt/virsh.py", "words in reason"),
}
# These gather ports, and have no verbs of their own.
GATHERED = {"Env", "NodeEnv", "AskedEnv"}
# What takes its verbs' own module more often than the others.
OWN = {"create": "operations/create.py", "migrate": "operations/migrate.py", "start": "agent/actions.py"}


class Measure(NamedTuple):
    """A figure: what it was at af26780, what it may be at most now, and where it is to go."""

    before: float
    bar: float
    goal: float


MEASURES = {
    "moves between files: create": Measure(46, 48, 48),  # 0011: the nodes are asked
    "files entered: create": Measure(20, 22, 22),  # 0011
    "most entries of one file: create": Measure(6, 6, 8),
    "moves between files: migrate": Measure(74, 60, 60),  # 0027: one step more
    "files entered: migrate": Measure(18, 21, 21),
    "most entries of one file: migrate": Measure(27, 8, 8),
    "moves between files: start": Measure(26, 27, 27),  # 0026: one step more
    "files entered: start": Measure(15, 16, 16),  # 0026
    "most entries of one file: start": Measure(5, 5, 8),
    "modules in import circles": Measure(0, 0, 0),
    "lines of the largest module": Measure(400, 400, 400),
    "lines of the largest function": Measure(48, 50, 50),
    "imports inside functions": Measure(145, 59, 60),  # plain `list` loads click only to warn
    "imports inside functions of the wiring": Measure(45, 41, 41),  # see 0023
    "verbs of the largest port": Measure(24, 10, 10),
    "verbs of the largest port, with its parts": Measure(35, 34, 10),
    "decisions by words of a text": Measure(9, 1, 0),
    "sentences of more than 30 words, in %": Measure(0, 3, 3),
}


def walk(function):
    """Count how often a call enters a module from another one, without adapters and what they call."""
    entered = Counter()

    def look(frame, event, _argument):
        here = _module(frame)
        if event == "call" and here and not here.startswith("adapters/") and not _is_body(frame):
            caller = frame.f_back
            while caller is not None and not _module(caller):
                caller = caller.f_back
            there = _module(caller) if caller is not None else ""
            if here != there and not there.startswith("adapters/"):
                entered[here] += 1

    sys.setprofile(look)
    try:
        function()
    finally:
        sys.setprofile(None)
    return entered


def walks():
    """Walk through three verbs; each was run before, so that nothing is imported or cached on the way."""
    for counted in (False, True):
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            env, image = MemoryEnv(DomainXml()), Path(folder, "disk.qcow2")
            image.write_bytes(IMAGE)
            request = CreateRequest(VmName("web1"), DOMAIN, (str(image),), VmSettings(live_migration=True))
            found["create"] = walk(lambda env=env, request=request: create(env, request))
            found["migrate"] = walk(lambda env=env: migrate(env, VmName("web1"), "n2"))
            node = MemoryEnv(DomainXml())
            node.state_dir = Path(folder, "state")
            with node.storage.stage("web1") as staged:
                staged.add(1 << 20)
                staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
                staged.commit()
            given = Parameters(name="web1", timeout_s=30)
            found["start"] = walk(lambda node=node, given=given: ACTIONS["start"](node, given))
        if counted:
            return found
    raise AssertionError


def lazy_imports():
    """Count the imports inside functions, by module."""
    found = Counter()
    for name, tree in MODULES.items():
        inside = {
            id(one)
            for function in ast.walk(tree)
            if isinstance(function, FUNCTION)
            for one in ast.walk(function)
            if isinstance(one, (ast.Import, ast.ImportFrom))
        }
        found[name] = len(inside)
    return found


def largest():
    """Give the lines of the largest module and of the largest function."""
    modules = [path.read_text().count("\n") for path in ROOT.rglob("*.py")]
    functions = [
        one.end_lineno - one.lineno + 1
        for tree in MODULES.values()
        for one in ast.walk(tree)
        if isinstance(one, FUNCTION)
    ]
    return max(modules), max(functions)


def verbs():
    """Count the verbs of each port: its own, and with those of the ports that it is made of."""
    own, bases = {}, {}
    for name, tree in MODULES.items():
        classes = [one for one in tree.body if isinstance(one, ast.ClassDef)]
        for one in classes if name.startswith("vm_mgr/ports/") else ():
            named = [base.id for base in one.bases if isinstance(base, ast.Name)]
            if "Protocol" in named and one.name not in GATHERED:
                own[one.name] = sum(isinstance(member, FUNCTION) for member in one.body)
                bases[one.name] = [base for base in named if base != "Protocol"]

    def whole(name):
        return own[name] + sum(whole(base) for base in bases[name])

    return own, {name: whole(name) for name in own}


def matches(tree):
    """Find where a text for people, or a program's complaint, is searched for words: (line, code)."""
    for node in ast.walk(tree):
        looked = None
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            looked = node.comparators[0]
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            word = getattr(node.comparators[0], "value", None)
            looked = node.left if word and isinstance(word, str) else None
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOKS:
            looked = node.func.value
        name = getattr(looked, "attr", None) or getattr(looked, "id", None)
        if name in TEXTS:
            yield node.lineno, ast.unparse(node)


def text_matches():
    """Give those of all modules."""
    return [(name, *found) for name, tree in MODULES.items() for found in matches(tree)]


def figures():
    """Take all measures."""
    found = {}
    for verb, entered in walks().items():
        others = Counter({name: times for name, times in entered.items() if name != OWN[verb]})
        found[f"moves between files: {verb}"] = entered.total()
        found[f"files entered: {verb}"] = len(entered)
        found[f"most entries of one file: {verb}"] = max(others.values())
    found["modules in import circles"] = len(circles())
    found["lines of the largest module"], found["lines of the largest function"] = largest()
    lazy = lazy_imports()
    found["imports inside functions of the wiring"] = lazy.pop("vm_mgr/wiring.py")
    found["imports inside functions"] = lazy.total()
    own, whole = verbs()
    found["verbs of the largest port"] = max(own.values())
    found["verbs of the largest port, with its parts"] = max(whole.values())
    found["decisions by words of a text"] = len(text_matches())
    found["sentences of more than 30 words, in %"] = round(100 * long_share(), 1)
    return found


def table():
    """Give the rows: what, before, now, the bar, the goal."""
    rows = [("", "before", "now", "bar", "goal")]
    for what, now in figures().items():
        one = MEASURES.get(what, Measure(0, 0, 0))
        rows.append((what, *(f"{number:g}" for number in (one.before, now, one.bar, one.goal))))
    return rows


def _module(frame):
    with suppress(ValueError):
        return str(Path(frame.f_code.co_filename).relative_to(ROOT))
    return ""


def _is_body(frame):
    """Tell the body of a module or class, which is run once."""
    return not frame.f_code.co_flags & 0x02  # CO_NEWLOCALS: inspect has the name


if __name__ == "__main__":
    for row in table():
        print(f"{row[0]:45}" + "".join(f"{one:>8}" for one in row[1:]))
    for match in text_matches():
        print(*match)
