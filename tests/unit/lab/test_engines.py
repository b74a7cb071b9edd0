"""Scenarios on the engines that need no lab: the memory adapters, and Pacemaker's scheduler on our CIB."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vm_mgr.errors import VmMgrError
from vm_mgr.model.cluster import NodeName
from vm_mgr.model.vm import VmName
from vm_mgr.ports.cluster import Move
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.scenario import ENGINES, Engine, ModelEngine, PolicyEngine, Scenario, Step, load_scenario
from vm_mgr_lab.scenario.cib import fresh_cib
from vm_mgr_lab.scenario.simulate import simulate
from vm_mgr_lab.scenario.simulated import SimulatedRun
from vm_mgr_lab.scenario.simulated_steps import MODEL_VERBS, POLICY_VERBS

FOLDERS = sorted(p for p in (Path(__file__).parents[2] / "scenarios").iterdir() if p.is_dir())
SCENARIOS = {folder.name: load_scenario(folder, ENGINES) for folder in FOLDERS}
SIMULATED: dict[str, type[Engine]] = {"model": ModelEngine, "policy": PolicyEngine}
VERBS = {"model": MODEL_VERBS, "policy": POLICY_VERBS}
VM = VmName("web1")


def played_by(engine: str) -> list[str]:
    return [name for name, scenario in SCENARIOS.items() if engine in scenario.engines]


@pytest.mark.parametrize("name", played_by("model"))
def test_scenario_holds_in_the_model(name: str) -> None:
    assert ModelEngine().play(SCENARIOS[name]) == []


@pytest.mark.parametrize("name", played_by("policy"))
def test_scenario_holds_with_the_scheduler_of_pacemaker(name: str) -> None:
    assert PolicyEngine().play(SCENARIOS[name]) == []


@pytest.mark.parametrize("engine", SIMULATED)
@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"node": "same"}, "expected same"),
        ({"state": "Stopped"}, "expected Stopped"),
        ({"fenced": ("@first",)}, "fenced were"),
    ],
)
def test_wrong_expectation_is_found(engine: str, wrong: dict[str, Any], problem: str) -> None:
    scenario = SCENARIOS["drain"]
    found = SIMULATED[engine]().play(replace(scenario, expect=replace(scenario.expect, **wrong)))
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize("engine", SIMULATED)
def test_boot_that_was_not_expected_is_found(engine: str) -> None:
    scenario = SCENARIOS["restart"]
    wrong = replace(scenario, expect=replace(scenario.expect, same_boot=True))
    assert SIMULATED[engine]().play(wrong) == ["the guest of web1 booted 2 times, expected once"]


def with_step(
    monkeypatch: pytest.MonkeyPatch, engine: str, step: Callable[[SimulatedRun], None], base: str = "drain"
) -> Scenario:
    """Give a scenario whose only step is a function of the test."""
    monkeypatch.setitem(VERBS[engine], "test", step)
    return replace(SCENARIOS[base], steps=(Step(verb="test", arguments={}),))


@pytest.mark.parametrize("engine", SIMULATED)
def test_vm_on_two_nodes_is_found(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    def start_twice(run: SimulatedRun) -> None:
        run.world.nodes[run.node("@other")].hypervisor.create("<domain/>", VM, timeout_s=5)

    found = SIMULATED[engine]().play(with_step(monkeypatch, engine, start_twice))
    assert any("while it ran on" in one for one in found)


@pytest.mark.parametrize("engine", SIMULATED)
def test_what_is_left_over_is_found(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    def leave(run: SimulatedRun) -> None:
        env = run.world.healthy()
        move = Move(VM, NodeName(run.node("@vm")), NodeName(run.node("@other")), lifetime_s=600)
        env.cluster.begin_move(move)
        with env.storage.stage(VmName("web2")) as staged:
            staged.add(1 << 20)
            staged.commit()

    found = SIMULATED[engine]().play(with_step(monkeypatch, engine, leave))
    assert any(one.startswith("in the storage: ['web1', 'web2']") for one in found)
    assert any(one.startswith("constraints left by moves of web1") for one in found)


@pytest.mark.parametrize("engine", SIMULATED)
def test_living_client_on_the_blocklist_is_found(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    def evict(run: SimulatedRun) -> None:
        storage = run.world.healthy().storage
        storage.clients.evict(storage.clients.of(storage.clients.images(VM))[0])

    found = SIMULATED[engine]().play(with_step(monkeypatch, engine, evict))
    assert any("a living client was put on the blocklist" in one for one in found)


@pytest.mark.parametrize("engine", SIMULATED)
def test_step_that_does_not_hold_is_an_error(engine: str) -> None:
    scenario = SCENARIOS["drain"]
    step = Step(verb="wait-for-write", arguments={"node": "other"})
    with pytest.raises(LabError, match="expected to write on other"):
        SIMULATED[engine]().play(replace(scenario, steps=(step,)))


def test_step_at_which_no_command_dies_is_an_error() -> None:
    arguments = {"command": "restart {vm}", "at": "storage.rename"}
    scenario = replace(SCENARIOS["drain"], steps=(Step(verb="kill-command", arguments=arguments),))
    with pytest.raises(LabError, match=r"without the call storage\.rename"):
        ModelEngine().play(scenario)
    wrong = replace(scenario, steps=(Step(verb="kill-command", arguments={**arguments, "at": "disk.x"}),))
    with pytest.raises(VmMgrError, match=r"no port has a call 'disk\.x'"):
        ModelEngine().play(wrong)


def test_scheduler_starts_nothing_of_a_node_before_it_is_fenced(tmp_path: Path) -> None:
    """Read the graph: what does not wait for the fencing is known, and what waits is not in it."""
    file = tmp_path / "cib.xml"
    file.write_text(fresh_cib(("n1", "n2", "n3")))
    begun = simulate(file, now_utc=2e9)
    file.write_text(
        begun.cib.replace(
            'uname="n3" in_ccm="true" crmd="online"', 'uname="n3" in_ccm="false" crmd="offline"'
        )
    )
    lost = simulate(file, now_utc=2e9)
    assert [one.node for one in lost.actions if one.task == "fence"] == ["n3"]
    assert lost.unfenced.keys() == {"n3"}
    assert all(one.node != "n3" for one in lost.unfenced["n3"])
