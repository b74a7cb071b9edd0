"""The campaign's pure parts: schedules, what counts as two that run, records, facts of VMs, layers in use."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from lxml import etree

from vm_mgr.cli.app import app as vm_mgr
from vm_mgr_lab import deployment
from vm_mgr_lab.campaign.activity import Sighting, longest_stand_s, ran_twice
from vm_mgr_lab.campaign.audits import never_two
from vm_mgr_lab.campaign.faults import FAULTS
from vm_mgr_lab.campaign.model import Ask, Core, Spare, Want, facts_of, judge_facts
from vm_mgr_lab.campaign.operations import MAKERS, Scene, make_ask
from vm_mgr_lab.campaign.plan import NAMED_FAULTS, OPERATIONS, Asked, plan_move_ends, plan_rounds
from vm_mgr_lab.campaign.records import judge_records
from vm_mgr_lab.campaign.rest import idle_clones
from vm_mgr_lab.guest import Record
from vm_mgr_lab.history import Event
from vm_mgr_lab.paths import Paths


def sighting(node, *runs, vm="web1", incoming=False, last_s=None):
    seen = Sighting(
        vm=vm, node=node, pid=1, first_s=runs[0][0], last_s=last_s or runs[-1][1], incoming=incoming
    )
    for began_s, ended_s in runs:
        looks = int((ended_s - began_s) / 0.05)
        for number in range(looks):
            seen.used(began_s + number * 0.05, began_s + (number + 1) * 0.05, 3)
    return seen


def test_same_seed_gives_the_same_schedule_and_another_one_another():
    assert plan_rounds(7, 60, storage="ceph") == plan_rounds(7, 60, storage="ceph")
    assert plan_rounds(7, 60, storage="ceph") != plan_rounds(8, 60, storage="ceph")
    assert plan_move_ends(7, 30) == plan_move_ends(7, 30)


def test_shorter_campaign_is_the_beginning_of_a_longer_one():
    assert plan_rounds(3, 100, storage="vms")[:50] == plan_rounds(3, 50, storage="vms")
    assert plan_move_ends(3, 100)[:20] == plan_move_ends(3, 20)


@pytest.mark.parametrize("storage", ["ceph", "vms"])
def test_every_fault_comes_before_one_comes_again(storage):
    names = [name for name in NAMED_FAULTS if storage == "ceph" or name != "pool-full"]
    rounds = plan_rounds(1, len(names), storage=storage)
    assert sorted(one.strikes[0].fault for one in rounds) == sorted(names)
    assert all(len({asked.ask for asked in one.asked}) >= 2 for one in rounds), "two nodes are asked at once"


def test_broken_bmc_comes_with_a_fault_that_needs_it():
    for one in plan_rounds(5, 200, storage="ceph"):
        if one.strikes[0].fault.startswith("bmc-"):
            assert len(one.strikes) == 2
            assert one.strikes[0].node == one.strikes[1].node


def test_every_planned_name_is_known():
    assert set(NAMED_FAULTS) == set(FAULTS)
    assert set(OPERATIONS) == set(MAKERS)


def test_move_runs_in_the_source_and_then_in_the_target():
    assert ran_twice([sighting("n1", (0, 10)), sighting("n2", (10.1, 20), incoming=True)]) == []


@pytest.mark.parametrize(
    "source",
    [
        [(0, 12)],  # went on beside the target
        [(0, 10), (15, 16)],  # was let go on after it had been left
        [(0, 10), (30, 31)],  # was let go on when the target had ended
    ],
)
def test_source_that_runs_after_its_target_has_is_found(source):
    assert ran_twice([sighting("n1", *source), sighting("n2", (10.1, 20), incoming=True)])


def test_machine_that_rarely_looks_proves_nothing():
    source, target = sighting("n1", (0, 10)), sighting("n2", (10.8, 20), incoming=True)
    source.used(10.0, 10.8, 3)  # ran at some time in between
    target.bursts.clear()
    target.used(10.0, 10.8, 20)
    target.used(10.8, 10.9, 20)
    assert ran_twice([source, target]) == []
    source.used(10.9, 11.0, 3)
    assert ran_twice([source, target])


@pytest.mark.parametrize(("used_ms", "ran"), [(0.9, False), (12, False), (27, True)])
def test_processor_that_is_only_set_up_has_not_run(used_ms, ran):
    target = Sighting(vm="web1", node="n2", pid=2, first_s=5, last_s=30, incoming=True)
    target.used(5.0, 5.05, used_ms)
    assert bool(ran_twice([sighting("n1", (0, 30)), target])) is ran


def test_other_vms_may_run_at_the_same_time():
    assert ran_twice([sighting("n1", (0, 10)), sighting("n2", (0, 10), vm="web2")]) == []


def test_longest_stand_counts_from_the_fault_to_the_end():
    seen = [sighting("n1", (0, 10)), sighting("n2", (14, 20))]
    assert longest_stand_s(seen, 5, 20) == 4
    assert longest_stand_s(seen, 5, 90) == 70
    assert longest_stand_s([], 5, 90) == 85


def test_start_beside_a_living_qemu_is_found():
    living = sighting("n1", (0, 50))
    assert never_two([living, sighting("n2", (60, 70))], [], []) == []
    hung = sighting("n1", (0, 10), last_s=50)
    assert never_two([hung, sighting("n2", (20, 30))], [], [])


def test_start_before_the_lost_node_was_fenced_is_found():
    seen = [sighting("n1", (0, 10)), sighting("n2", (20, 30))]
    fenced = Event(15, "fenced", "n1")
    assert never_two(seen, [(10.2, "n1")], [fenced]) == []
    assert never_two(seen, [(10.2, "n1")], [])
    assert never_two(seen, [(10.2, "n1")], [Event(25, "fenced", "n1")])
    assert never_two(seen, [(5.0, "n1")], []) == [], "it had left before"


def record(seq, boot="a", time_s=1.0):
    return Record(seq=seq, boot=boot, time_s=time_s)


def test_record_that_is_missing_or_another_is_found():
    told = [(0.0, "n1", record(1)), (0.0, "n1", record(2))]
    assert judge_records(told, [record(1), record(2), record(3)]) == []
    assert judge_records(told, [record(1), record(3)])
    assert judge_records(told, [record(1), record(2, boot="b")])


def test_record_that_was_acknowledged_twice_is_found_though_one_is_on_the_disk():
    told = [(0.0, "n1", record(5)), (0.0, "n2", record(5, time_s=1.1))]
    assert any("twice" in one for one in judge_records(told, [record(5)]))


def test_nothing_acknowledged_on_an_empty_disk_is_fine():
    assert judge_records([], []) == []
    assert judge_records([(0.0, "n1", record(1))], [])


def ask(value, *, fact="priority", vm="web1"):
    return Ask(words=("set", vm), wants=(Want(vm=vm, fact=fact, value=value),))


def test_vm_is_as_before_or_as_asked_for():
    before = {"web1": {"exists": True, "priority": 1}}
    for code, now, fine in [(0, 5, True), (0, 1, False), (None, 1, True), (None, 5, True), (7, 9, False)]:
        after = {"web1": {"exists": True, "priority": now}}
        assert (judge_facts(before, after, [(ask(5), code)]) == []) is fine, (code, now)


def test_guest_that_was_paused_may_run_again_after_a_recovery_but_not_be_stopped():
    before = {"web1": {"exists": True, "state": "Started"}}
    pause = (ask("Started paused", fact="state"), 0)
    for now, fine in [("Started paused", True), ("Started", True), ("Stopped", False)]:
        assert (judge_facts(before, {"web1": {"exists": True, "state": now}}, [pause]) == []) is fine


def test_of_two_that_succeeded_either_may_be_last():
    before = {"web1": {"exists": True, "priority": 1}}
    for now, fine in [(5, True), (6, True), (7, False)]:
        after = {"web1": {"exists": True, "priority": now}}
        assert (judge_facts(before, after, [(ask(5), 0), (ask(6), 0)]) == []) is fine


def test_vm_that_nobody_touched_must_not_change_or_vanish():
    before = {"web1": {"exists": True, "priority": 1}}
    assert judge_facts(before, {}, [])
    assert judge_facts(before, {"web1": {"exists": True, "priority": 2}}, [])
    assert judge_facts({}, {"new": {"exists": True}}, [])


def test_killed_removal_may_leave_it_or_not_and_snapshots_may_be_of_each():
    before = {"web1": {"exists": True, "snapshots": ("a",)}}
    gone = ask(False, fact="exists")
    assert judge_facts(before, {}, [(gone, None)]) == []
    assert judge_facts(before, before, [(gone, None)]) == []
    both = [(ask(("a", "b"), fact="snapshots"), None), (ask((), fact="snapshots"), None)]
    for now, fine in [((), True), (("b",), True), (("a", "b"), True), (("c",), False)]:
        after = {"web1": {"exists": True, "snapshots": now}}
        assert (judge_facts(before, after, both) == []) is fine


def test_vm_that_does_not_exist_has_one_fact():
    assert facts_of(None) == {"exists": False}


def paths_in(folder: Path) -> Paths:
    return Paths(state=folder / "state", cache=folder / "cache")


def test_layers_that_a_lab_runs_on_are_kept_and_others_go(tmp_path):
    cache = tmp_path / "cache"
    labs = {name: paths_in(tmp_path / name) for name in ("one", "two")}
    for number, name in enumerate(("old", "used", "left", "new")):
        folder = cache / "layers" / name
        folder.mkdir(parents=True)
        (cache / "layers" / f"{name}.now").symlink_to(name)
        shutil.os.utime(folder, (number, number))
    for lab, layers in (("one", "used"), ("two", "left")):
        labs[lab].state.mkdir(parents=True)
        labs[lab].description.write_text(f'{{"lower": "{cache}/layers/{layers}/n1"}}')
        deployment.note_use(cache / "layers" / layers, labs[lab])
        shutil.os.utime(cache / "layers" / layers, (1, 1))
    labs["two"].description.unlink()  # it is down
    deployment.forget_old_layers(cache, kept=1)
    left = sorted(path.name for path in (cache / "layers").iterdir())
    assert left == ["new", "new.now", "used", "used.now"]


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_every_planned_command_is_one_that_vm_mgr_understands(kind, tmp_path):
    file = tmp_path / "file"
    file.touch()
    core = tuple(
        Core(name=name, mac_byte=number, options=()) for number, name in enumerate(("cc1", "cc10", "cc2"))
    )
    known = {"exists": True, "disks": 2, "size": 1 << 20, "snapshots": ("s1", "s2"), "state": "Started"}
    for spares in ([], ["ccs1", "ccs2"]):
        scene = Scene(
            storage="ceph",
            nodes=("n1", "n2", "n3"),
            core=core,
            facts=dict.fromkeys(("cc1", "cc10", "cc2", *spares), known),
            where={"cc1": "n1", "cc10": "n2", "cc2": "n2"},
            spare=Spare("cc"),
            number=7,
        )
        for pick in range(8):
            asked = Asked(kind=kind, vm=pick % 3, ask=0, at_s=0, pick=pick)
            verb, *words = make_ask(asked, scene).words
            words = [str(file) if word.startswith("/root/") else word for word in words]
            with click.Context(vm_mgr) as top:
                command = vm_mgr.get_command(top, verb)
                with command.make_context(verb, words, parent=top) as parsed:
                    assert parsed.params or verb == "repair"


CLONES = """<r><nodes><node name="n1" online="true" standby="false"/>
<node name="n2" online="true" standby="{standby}"/><node name="n3" online="true" standby="false"/></nodes>
<resources><clone id="dir"><group><resource id="mount" role="Started"><node name="n1"/></resource></group>
<group><resource id="mount" role="{role}"><node name="n2"/></resource></group></clone></resources></r>"""


@pytest.mark.parametrize(
    ("standby", "role", "idle"),
    [
        ("false", "Started", []),
        ("false", "Starting", ["dir does not run on n2"]),
        ("true", "Stopped", []),
    ],
)
def test_node_on_which_a_clone_does_not_run_yet_is_not_at_rest(standby, role, idle):
    """n3 is an observer."""
    roles = {"n1": "hypervisor", "n2": "hypervisor", "n3": "observer"}
    lab = SimpleNamespace(nodes=[SimpleNamespace(name=name, role=role) for name, role in roles.items()])
    status = etree.fromstring(CLONES.format(standby=standby, role=role))
    assert idle_clones(lab, status) == idle
