"""Every scenario of tests/scenarios, on real Pacemaker, libvirt and IPMI fencing: a VM in each storage."""

from pathlib import Path

import pytest

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.scenario import load_scenario, play

FOLDERS = sorted(p for p in (Path(__file__).parents[1] / "scenarios").iterdir() if p.is_dir())

pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.timeout(900)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_scenario_holds(lab: Lab, folder: Path) -> None:
    mac_byte = 210 + 2 * FOLDERS.index(folder)
    assert play(lab, load_scenario(folder), print, storages={"ceph": mac_byte, "vms": mac_byte + 1}) == []
