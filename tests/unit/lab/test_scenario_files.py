"""Every scenario can be read, says what it is about, and can be played by the engines that it names."""

from pathlib import Path

import pytest

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.scenario import ENGINES, load_scenario

SCENARIOS = sorted(p for p in (Path(__file__).parents[2] / "scenarios").iterdir() if p.is_dir())
EXPECT = 'state = "Started"\nnode = "any"\nfenced = []\nsame_boot = true\n'


def write(folder: Path, *, cluster: str = "", steps: str = "", expect: str = EXPECT) -> Path:
    for name, text in {"README.md": "# x\n", "cluster.toml": cluster, "steps.toml": steps}.items():
        (folder / name).write_text(text)
    (folder / "expect.toml").write_text(expect)
    return folder


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda folder: folder.name)
def test_scenario_can_be_read_and_explains_itself(folder: Path) -> None:
    assert load_scenario(folder, ENGINES).engines
    title, empty, *prose = (folder / "README.md").read_text().splitlines()
    sentences = " ".join(prose).count(". ") + 1
    assert (title[:2], empty, 1 <= sentences <= 4) == ("# ", "", True)


def test_there_are_many_and_enough_of_them_run_on_the_lab() -> None:
    engines = [load_scenario(folder, ENGINES).engines for folder in SCENARIOS]
    assert len(engines) >= 60
    assert sum("lab" in one for one in engines) >= 20
    assert sum("policy" in one for one in engines) >= 40


def test_scenario_without_expectation_is_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "expect.toml").unlink()
    with pytest.raises(LabError, match=r"expect\.toml"):
        load_scenario(tmp_path, ENGINES)


def test_scenario_with_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="vm_optoins"):
        load_scenario(write(tmp_path, cluster='vm_optoins = ["--disable"]'), ENGINES)


def test_expectation_that_lacks_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="fenced"):
        load_scenario(write(tmp_path, expect=EXPECT.replace("fenced = []\n", "")), ENGINES)


@pytest.mark.parametrize(
    ("engine", "step", "problem"),
    [
        ("model", 'do = "cut-power"\nnode = "n1"', "no step 'cut-power'"),
        ("policy", 'do = "open-ssh"', "no step 'open-ssh'"),
        ("lab", 'do = "hold-disk"\nnode = "n1"', "no step 'hold-disk'"),
        ("lab", 'do = "cut-power"', "missing a required argument: 'node'"),
        ("policy", 'do = "cut-power"\nnode = "n1"\nhow = "slowly"', "unexpected keyword argument 'how'"),
        ("moon", 'do = "kill-qemu"', "no such engine"),
    ],
)
def test_step_that_an_engine_does_not_know_is_refused(
    tmp_path: Path, engine: str, step: str, problem: str
) -> None:
    with pytest.raises(LabError, match=problem):
        load_scenario(write(tmp_path, cluster=f'engines = ["{engine}"]', steps=f"[[step]]\n{step}"), ENGINES)


def test_scenario_that_names_no_engine_is_for_all_that_know_its_steps(tmp_path: Path) -> None:
    steps = '[[step]]\ndo = "cut-power"\nnode = "n1"'
    assert load_scenario(write(tmp_path, steps=steps), ENGINES).engines == ("policy", "lab")
    steps = '[[step]]\ndo = "flood"'
    with pytest.raises(LabError, match="on no engine"):
        load_scenario(write(tmp_path, steps=steps), ENGINES)


def test_scenario_with_further_vms_is_not_for_the_lab(tmp_path: Path) -> None:
    others = '[others]\ndb1 = ["--enable-live-migration"]'
    expect = f'{EXPECT}[others.db1]\nstate = "Started"'
    assert load_scenario(write(tmp_path, cluster=others, expect=expect), ENGINES).engines == (
        "model",
        "policy",
    )
    with pytest.raises(LabError, match="different other VMs"):
        load_scenario(write(tmp_path, cluster=others), ENGINES)
