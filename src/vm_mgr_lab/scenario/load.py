"""Read a scenario's directory: README.md, cluster.toml, steps.toml and expect.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm_mgr_lab.errors import LabError

__all__ = ["Expectation", "Scenario", "Step", "load_scenario"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done: a verb of steps.py and its arguments."""

    verb: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must hold when all faults are healed.

    node is "same", "other" or "any", compared with where the VM ran before the first step; fenced names the
    nodes whose power the BMCs cut, as "@first" (the VM's first node); log lines that match one of
    allowed_logs are provoked by the scenario.
    """

    state: str
    node: str
    fenced: tuple[str, ...]
    same_boot: bool
    allowed_logs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario as its directory tells it."""

    name: str
    vm_options: tuple[str, ...]
    steps: tuple[Step, ...]
    expect: Expectation


def load_scenario(folder: Path) -> Scenario:
    """Return the scenario of a directory; LabError names what is wrong with it."""
    for name in ("README.md", "cluster.toml", "steps.toml", "expect.toml"):
        if not (folder / name).is_file():
            raise LabError(f"scenario {folder.name} has no {name}")
    cluster = _read(folder / "cluster.toml", {"vm_options"})
    steps = _read(folder / "steps.toml", {"step"})["step"]
    expect = _read(folder / "expect.toml", {"state", "node", "fenced", "same_boot", "allowed_logs"})
    return Scenario(
        name=folder.name,
        vm_options=tuple(cluster.get("vm_options", ())),
        steps=tuple(Step(verb=step.pop("do"), arguments=step) for step in steps),
        expect=Expectation(
            state=expect["state"],
            node=expect["node"],
            fenced=tuple(expect["fenced"]),
            same_boot=expect["same_boot"],
            allowed_logs=tuple(expect.get("allowed_logs", ())),
        ),
    )


def _read(file: Path, known: set[str]) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{file} is not TOML: {error}") from error
    unknown = set(content) - known
    if unknown:
        raise LabError(f"{file} has unknown keys: {', '.join(sorted(unknown))}")
    return content
