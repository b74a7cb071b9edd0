"""Ask crm_simulate what Pacemaker does about a CIB, and read its answer: actions in order, and their graph.

The tools are those of the host, or those that ./bootstrap has unpacked; no daemon is needed for them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lxml import etree

from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.ports.runner import Completed
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.paths import CHECKOUT

__all__ = ["Action", "CibRunner", "Transition", "simulate"]

INSTALLED = Path("/usr/sbin")
UNPACKED = CHECKOUT / ".venv" / "pacemaker"
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that Pacemaker has done: an operation on a resource, or task "fence" for a node.

    parameters: what the agent is told, by its names in the environment without OCF_RESKEY_.
    """

    task: str
    node: str
    resource: str = ""
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The actions in the order in which they were simulated, and the CIB after them.

    unfenced: of each node that is to be fenced, the actions that do not wait for that.
    """

    actions: tuple[Action, ...]
    cib: str
    unfenced: Mapping[str, tuple[Action, ...]]


class CibRunner(HostRunner):
    """Runs Pacemaker's tools on a file instead of a cluster."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: str | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a tool with the file as its CIB."""
        return super().run(with_tools(argv, self.file), timeout_s=timeout_s, stdin=stdin, on_line=on_line)


def with_tools(argv: Sequence[str], file: Path) -> list[str]:
    """Give the command by which a tool works on a file; LabError where there are no tools."""
    if (INSTALLED / argv[0]).exists():
        return [
            "env",
            f"CIB_file={file}",
            f"CIB_shadow_dir={file.parent}",
            str(INSTALLED / argv[0]),
            *argv[1:],
        ]
    tool = UNPACKED / "usr" / "sbin" / argv[0]
    if not tool.exists():
        raise LabError(f"there is no {argv[0]}", hint="run ./bootstrap, which unpacks Pacemaker's tools")
    schemas = UNPACKED / "usr" / "share" / "pacemaker"
    places = [f"LD_LIBRARY_PATH={_libraries()}", f"PCMK_schema_directory={schemas}"]
    return ["env", f"CIB_file={file}", f"CIB_shadow_dir={file.parent}", *places, str(tool), *argv[1:]]


@cache
def _libraries() -> str:
    """Name the folders of what was unpacked that have libraries."""
    return ":".join(sorted({str(one.parent) for one in (UNPACKED / "usr" / "lib").rglob("*.so.*")}))


def simulate(file: Path, *, now_utc: float, failing: Sequence[str] = ()) -> Transition:
    """Let one transition of the CIB in a file take place, without changing the file.

    failing: operations that end otherwise than they should, as web1_start_0@n2=1.
    """
    after, graph = file.with_suffix(".after"), file.with_suffix(".graph")
    when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(now_utc))
    options = [f"--op-fail={one}" for one in failing]
    argv = ["crm_simulate", "--simulate", f"--xml-file={file}", f"--save-output={after}"]
    argv += [f"--save-graph={graph}", f"--set-datetime={when}", "--output-as=xml", *options]
    done = CibRunner(file).run(argv, timeout_s=TIMEOUT_S)
    if done.exit_code != 0 or not done.stdout:
        raise LabError(f"crm_simulate ended with {done.exit_code}: {done.stderr[-500:]}")
    told = etree.fromstring(done.stdout.encode())
    synapses = _synapses(etree.parse(str(graph)).getroot())
    parameters = {one.key: one.parameters for one in synapses.values()}
    found = []
    for element in told.iterfind("transition/*"):
        node = str(element.get("node", ""))
        if element.tag == "fencing_action":
            found.append(Action(task="fence", node=str(element.get("target")), parameters={}))
        elif element.tag == "cluster_action":
            resource = str(element.get("id", ""))
            found.append(Action(task=str(element.get("task")), node=node, resource=resource, parameters={}))
        elif element.tag == "rsc_action":
            resource, task = str(element.get("resource")), str(element.get("op"))
            given = parameters.get((f"{resource}_{task}_0", node), {})
            found.append(Action(task=task, node=node, resource=resource, parameters=given))
    return Transition(actions=tuple(found), cib=after.read_text(), unfenced=_unfenced(synapses))


@dataclass(frozen=True, slots=True)
class _Synapse:
    key: tuple[str, str]
    parameters: Mapping[str, str]
    waits_for: frozenset[str]
    fences: str = ""
    resource: str = ""
    task: str = ""


def _synapses(graph: etree._Element) -> dict[str, _Synapse]:
    found = {}
    for synapse in graph.iterfind("synapse"):
        inputs = frozenset(str(one.get("id")) for one in synapse.iterfind("inputs/trigger/*"))
        for action in synapse.iterfind("action_set/*"):
            key = (str(action.get("operation_key")), str(action.get("on_node", "")))
            told = action.find("attributes")
            parameters = {} if told is None else {str(name): str(value) for name, value in told.items()}
            primitive = action.find("primitive")
            found[str(action.get("id"))] = _Synapse(
                key,
                parameters,
                inputs,
                key[1] if action.get("operation") == "stonith" else "",
                "" if primitive is None else str(primitive.get("id")),
                str(action.get("operation")),
            )
    return found


def _unfenced(synapses: Mapping[str, _Synapse]) -> dict[str, tuple[Action, ...]]:
    """Give what goes on although a node can't be fenced."""
    found = {}
    for ident, one in synapses.items():
        if one.fences:
            waiting = {ident}
            while more := {other for other, it in synapses.items() if it.waits_for & waiting} - waiting:
                waiting |= more
            found[one.fences] = tuple(
                Action(task=it.task, node=it.key[1], resource=it.resource, parameters=it.parameters)
                for other, it in synapses.items()
                if other not in waiting and it.resource and it.task != "monitor"
            )
    return found
