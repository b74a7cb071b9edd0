"""Sizes, exported names and import costs of the product."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vm_mgr.errors import EXIT_CODES

SOURCE = Path(__file__).parents[2] / "src" / "vm_mgr"
SHIM = SOURCE.with_name("vm_manager")
MODULES = sorted((*SOURCE.rglob("*.py"), *SHIM.rglob("*.py")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE.parent)))
def test_module_is_small_and_says_what_it_is_for(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no docstring"
    assert len(text.splitlines()) <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, node.name


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_package_declares_its_names(path):
    if path.parent != SOURCE:
        assert "__all__" in path.read_text()


def _verbs(port):
    functions = [one for one in port.body if isinstance(one, ast.FunctionDef)]
    return [one.name for one in functions if not one.decorator_list and not one.name.startswith("_")]


PORTS = {
    port.name: _verbs(port)
    for path in sorted((SOURCE / "ports").glob("*.py"))
    for port in ast.parse(path.read_text()).body
    if isinstance(port, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in port.bases)
}


@pytest.mark.parametrize(
    "port", sorted(PORTS.keys() - {"Storage"})
)  # its parts come with a change of its own
def test_port_has_few_verbs(port):
    assert len(PORTS[port]) <= 10, PORTS[port]


def test_only_the_runner_imports_subprocess():
    users = {path.name for path in MODULES if "import subprocess" in path.read_text()}
    assert users == {"runner.py"}


def test_status_imports_nothing_heavy():
    code = (
        "import sys, json; from vm_mgr.cli.app import app; import vm_mgr.cli.queries, vm_mgr.wiring\n"
        "import vm_mgr.operations.status, vm_mgr.adapters.pacemaker.port\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    heavy = {
        "libvirt",
        "rados",
        "rbd",
        "fastapi",
        "pydantic",
        "rich",
        "ansible",
        "lxml",
        "yaml",
        "logging",
        "uuid",
    }
    assert not heavy & loaded
    assert "vm_mgr.ports.storage" not in loaded


def test_exit_statuses_are_documented():
    text = (SOURCE.parents[1] / "docs" / "reference" / "exit-codes.md").read_text()
    for kind, code in EXIT_CODES.items():
        assert f"| {code} | {kind.value} |" in text
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


def test_no_modules_import_each_other_in_a_circle():
    """Not for types alone, nor inside functions: who reads one of a circle has to read them all."""
    assert circles() == []


def circles():
    """Name the modules that are in a circle of imports, or between two."""
    names = {_dotted(path): path for path in MODULES}
    graph = {name: _imported(path, names) - {name} for name, path in names.items()}
    while ends := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in ends}
    leads_in = {name for name in graph if not any(name in others for others in graph.values())}
    return sorted(graph.keys() - leads_in)


def _dotted(path):
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def _imported(path, names):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = [f"{node.module}.{one.name}" for one in node.names]
            found |= {part if part in names else node.module for part in parts}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return found & names.keys()
