"""Read a scenario's directory: README.md, cluster.toml, steps.toml and expect.toml."""

import inspect
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vm_mgr_lab.errors import LabError

__all__ = ["Expectation", "Other", "Scenario", "Step", "load_scenario"]

Verbs = Mapping[str, Callable[..., None]]
FILES = ("README.md", "cluster.toml", "steps.toml", "expect.toml")
PROBES = ("node", "state", "same_boot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done: a verb of an engine and its arguments."""

    verb: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must hold when all faults are healed.

    node is "same", "other", "any", compared with where the VM ran before the first step, or a node's name;
    fenced names the nodes whose power the BMCs cut: "@first" (the VM's first node), "another" (one more), a
    name; log lines that match one of allowed_logs are provoked by the scenario. moves_live: the VM
    moves live before it boots again, so QEMU is on two nodes for a while.
    """

    state: str
    node: str = "any"
    fenced: tuple[str, ...] = ()
    same_boot: bool = False
    moves_live: bool = False
    allowed_logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A further VM: the options it is created with, and what is expected of it."""

    options: tuple[str, ...]
    expect: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario as its directory tells it."""

    name: str
    engines: tuple[str, ...]
    vm_options: tuple[str, ...]
    steps: tuple[Step, ...]
    expect: Expectation
    others: Mapping[str, Other] = field(default_factory=dict)


def load_scenario(folder: Path, engines: Mapping[str, Verbs]) -> Scenario:
    """Return the scenario of a directory; LabError names what is wrong with it.

    engines: name → verbs. A scenario that names no engines is for all that know its verbs.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise LabError(f"scenario {folder.name} has no {name}")
    cluster = _read(folder / "cluster.toml", {"vm_options", "engines", "others"})
    steps = _read(folder / "steps.toml", {"step"}).get("step", [])
    known = {"state", "node", "fenced", "same_boot", "moves_live", "allowed_logs", "others"}
    expect = _read(folder / "expect.toml", known)
    if missing := {*PROBES, "fenced"} - expect.keys():
        raise LabError(f"scenario {folder.name}: expect.toml lacks {', '.join(sorted(missing))}")
    others = expect.get("others", {})
    if cluster.get("others", {}).keys() != others.keys():
        raise LabError(f"scenario {folder.name}: cluster.toml and expect.toml name different other VMs")
    if unknown := {key for one in others.values() for key in one} - set(PROBES):
        raise LabError(f"scenario {folder.name}: unknown keys of other VMs: {', '.join(sorted(unknown))}")
    found = tuple(Step(verb=step.pop("do", ""), arguments=step) for step in steps)
    return Scenario(
        name=folder.name,
        engines=_engines(folder.name, cluster, found, engines),
        vm_options=tuple(cluster.get("vm_options", ())),
        steps=found,
        expect=Expectation(
            **{key: expect[key] for key in PROBES},
            fenced=tuple(expect["fenced"]),
            moves_live=bool(expect.get("moves_live")),
            allowed_logs=tuple(expect.get("allowed_logs", ())),
        ),
        others={
            name: Other(options=tuple(options), expect=Expectation(**others[name]))
            for name, options in cluster.get("others", {}).items()
        },
    )


def _engines(
    name: str, cluster: Mapping[str, Any], steps: tuple[Step, ...], engines: Mapping[str, Verbs]
) -> tuple[str, ...]:
    problems = {engine: _problem(steps, verbs) for engine, verbs in engines.items()}
    if cluster.get("others"):
        problems["lab"] = problems.get("lab") or "it is played with one VM in each storage, without others"
    named = tuple(cluster.get("engines", [engine for engine, problem in problems.items() if not problem]))
    for engine in named:
        problem = problems.get(engine, f"there is no such engine; there are: {', '.join(engines)}")
        if problem:
            raise LabError(f"scenario {name} can't be played on the engine {engine}: {problem}")
    if not named:
        raise LabError(f"scenario {name} can be played on no engine: {problems}")
    return named


def _problem(steps: tuple[Step, ...], verbs: Verbs) -> str:
    """Say which step an engine does not know."""
    for step in steps:
        if step.verb not in verbs:
            return f"no step {step.verb!r}; there are: {', '.join(sorted(verbs))}"
        try:
            inspect.signature(verbs[step.verb]).bind(None, **step.arguments)
        except TypeError as error:
            return f"step {step.verb}: {error}"
    return ""


def _read(file: Path, known: set[str]) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{file} is not TOML: {error}") from error
    unknown = set(content) - known
    if unknown:
        raise LabError(f"{file} has unknown keys: {', '.join(sorted(unknown))}")
    return content
