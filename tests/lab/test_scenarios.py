"""Scenarios of tests/scenarios, on real Pacemaker, libvirt and IPMI fencing: a VM in each storage.

Each run plays a tenth of them, from day to day other ones, and always those that every change could break;
`make test-all` plays all.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.scenario import ENGINES, LabEngine, load_scenario

from .turns import share

ALL = {
    folder.name: load_scenario(folder, ENGINES)
    for folder in sorted((Path(__file__).parents[1] / "scenarios").iterdir())
    if folder.is_dir()
}
LAB = [name for name, scenario in ALL.items() if "lab" in scenario.engines]
DAYS = 10
ALWAYS = ("isolation", "power-loss")
FIRST, STEP = share(DAYS)
TURN = [name for place, name in enumerate(LAB) if name in ALWAYS or place % STEP == FIRST]
# Each scenario uses two addresses of its own for a while: the last bytes of them.
FIRST_BYTE, PAIRS = 210, 8

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


def engine(lab: Lab, name: str) -> LabEngine:
    mac_byte = FIRST_BYTE + 2 * (LAB.index(name) % PAIRS)
    return LabEngine(lab, print, {"ceph": mac_byte, "vms": mac_byte + 1})


@pytest.mark.parametrize("name", TURN)
def test_scenario_holds(lab: Lab, name: str) -> None:
    assert engine(lab, name).play(ALL[name]) == []


def test_wrong_expectation_is_found(lab: Lab) -> None:
    scenario = ALL["migrate-pinned"]
    wrong = replace(scenario, expect=replace(scenario.expect, node="other", fenced=("@first",)))
    found = engine(lab, scenario.name).play(wrong)
    assert len(found) == 4  # two of each VM
    assert all("expected other" in one or "fenced were" in one for one in found)
