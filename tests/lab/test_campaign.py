"""A small part of the campaign, always the same: some rounds of each kind. `make campaign` plays the rest."""

from pathlib import Path

import pytest

from vm_mgr_lab.campaign.command import Request, play
from vm_mgr_lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

SEED = 1


@pytest.mark.parametrize(
    ("scenario", "storage", "faults", "wanted"),
    [
        ("migration-end", "ceph", 4, ("libvirt-killed-target", "agent-killed-source")),
        ("all", "ceph", 3, ("libvirt-killed", "command-killed", "power-cut")),
    ],
)
def test_rounds_are_clean(
    lab: Lab, tmp_path: Path, scenario: str, storage: str, faults: int, wanted: tuple[str, ...]
) -> None:
    request = Request(
        scenario=scenario, seed=SEED, faults=faults, storage=storage, keep=tmp_path, wanted=wanted
    )
    try:
        assert play(lab, request)
    finally:
        for row in lab.execute("n1", ["vm-mgr", "list"]).stdout.splitlines()[1:]:
            lab.execute("n1", ["vm-mgr", "stop", "--force", row.split()[0]], check=False, timeout_s=120)
            lab.execute("n1", ["vm-mgr", "remove", row.split()[0]], timeout_s=120)
