"""Scenarios: directories with prose, a cluster, steps and an expectation, played on the lab."""

from vm_mgr_lab.scenario.audits import audit
from vm_mgr_lab.scenario.load import Scenario, Step, load_scenario
from vm_mgr_lab.scenario.play import play

__all__ = ["Scenario", "Step", "audit", "load_scenario", "play"]
