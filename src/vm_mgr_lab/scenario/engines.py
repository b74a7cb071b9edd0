"""The engines that play scenarios: one small protocol, and which verbs each of them knows."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.scenario.load import Scenario
from vm_mgr_lab.scenario.memory import AgentCluster
from vm_mgr_lab.scenario.play import play
from vm_mgr_lab.scenario.policy import CibCluster
from vm_mgr_lab.scenario.simulated import play_simulated
from vm_mgr_lab.scenario.simulated_steps import MODEL_VERBS, POLICY_VERBS
from vm_mgr_lab.scenario.steps import VERBS

__all__ = ["ENGINES", "Engine", "LabEngine", "ModelEngine", "PolicyEngine"]

# What a scenario may do on each engine; a step that is not there is an error when the scenario is read.
ENGINES: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "model": MODEL_VERBS,
    "policy": POLICY_VERBS,
    "lab": VERBS,
}


class Engine(Protocol):
    """Something that plays scenarios."""

    def play(self, scenario: Scenario) -> list[str]:
        """Do the steps and return what the audits found; LabError says which step could not be done."""
        ...


class ModelEngine:
    """The cluster in memory: operations and agent are real, time is not."""

    def play(self, scenario: Scenario) -> list[str]:
        """Play it in milliseconds."""
        with tempfile.TemporaryDirectory(prefix="vm-mgr-model-") as folder:
            return play_simulated(scenario, Path(folder), AgentCluster, MODEL_VERBS)


class PolicyEngine:
    """The same, with our adapter's CIB and Pacemaker's own scheduler."""

    def play(self, scenario: Scenario) -> list[str]:
        """Play it; each transition costs one call of crm_simulate."""
        with tempfile.TemporaryDirectory(prefix="vm-mgr-policy-") as folder:
            return play_simulated(scenario, Path(folder), CibCluster, POLICY_VERBS)


class LabEngine:
    """A real cluster that is up; storages: see play()."""

    def __init__(self, lab: Lab, say: Callable[[str], None], storages: Mapping[str, int]) -> None:
        self._lab = lab
        self._say = say
        self._storages = storages

    def play(self, scenario: Scenario) -> list[str]:
        """Play it with a VM in each storage."""
        return play(self._lab, scenario, self._say, storages=self._storages)
