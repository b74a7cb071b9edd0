from pathlib import Path

import pytest

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.scenario import load_scenario
from vm_mgr_lab.scenario.steps import VERBS

SCENARIOS = sorted(p for p in (Path(__file__).parents[2] / "scenarios").iterdir() if p.is_dir())


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_scenario_uses_known_verbs_and_explains_itself(folder: Path) -> None:
    scenario = load_scenario(folder)
    assert {step.verb for step in scenario.steps} <= set(VERBS)
    assert len((folder / "README.md").read_text().splitlines()) >= 3


def test_scenario_without_expectation_is_refused(tmp_path: Path) -> None:
    for name in ("README.md", "cluster.toml", "steps.toml"):
        (tmp_path / name).write_text("")
    with pytest.raises(LabError, match=r"expect\.toml"):
        load_scenario(tmp_path)


def test_scenario_with_unknown_key_is_refused(tmp_path: Path) -> None:
    for name in ("README.md", "cluster.toml", "steps.toml", "expect.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "cluster.toml").write_text('vm_optoins = ["--disable"]')
    with pytest.raises(LabError, match="vm_optoins"):
        load_scenario(tmp_path)
