"""A small part of the campaign, always the same: some rounds of each kind. `make campaign` plays the rest."""

import json
from pathlib import Path

import pytest

from vm_mgr_lab.campaign.command import Request, play
from vm_mgr_lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.turns, pytest.mark.timeout(600)]

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
        remove_all(lab)


def remove_all(lab: Lab) -> None:
    """Remove the clones first, then what they share blocks with."""
    rows = json.loads(lab.execute("n1", ["vm-mgr", "list", "--output", "json"]).stdout)
    for name in sorted((row["name"] for row in rows), key=lambda name: (len(name), name), reverse=True):
        lab.execute("n1", ["vm-mgr", "stop", "--force", name], check=False, timeout_s=120)
        lab.execute("n1", ["vm-mgr", "remove", name], check=False, timeout_s=120)
    assert json.loads(lab.execute("n1", ["vm-mgr", "list", "--output", "json"]).stdout) == []
