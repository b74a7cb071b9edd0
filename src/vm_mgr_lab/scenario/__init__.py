"""Scenarios: directories with prose, a cluster, steps and an expectation, played on three engines."""

from vm_mgr_lab.scenario.engines import ENGINES, Engine, LabEngine, ModelEngine, PolicyEngine
from vm_mgr_lab.scenario.load import Scenario, Step, load_scenario

__all__ = [
    "ENGINES",
    "Engine",
    "LabEngine",
    "ModelEngine",
    "PolicyEngine",
    "Scenario",
    "Step",
    "load_scenario",
]
