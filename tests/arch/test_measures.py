"""The shape of the product stays at least as it is: see the bars in measures.py."""

import ast

import pytest

from .measures import (
    GATHERED,
    KNOWN,
    MEASURES,
    MODULES,
    OWN,
    figures,
    matches,
    text_matches,
    verbs,
    walk,
    walks,
)


@pytest.fixture(scope="module")
def found():
    return figures()


@pytest.mark.parametrize("what", MEASURES)
def test_measure_is_within_its_bar(found, what):
    assert found[what] <= MEASURES[what].bar, f"see python -m tests.arch.measures: {what} is {found[what]}"


def test_every_measure_has_a_bar(found):
    assert set(found) == set(MEASURES)


def test_no_bar_is_looser_than_both_its_past_and_its_goal():
    assert [what for what, one in MEASURES.items() if one.bar > max(one.before, one.goal)] == []


def test_walks_enter_what_they_are_about():
    for verb, entered in walks().items():
        assert entered[OWN[verb]] >= 1, verb
        assert not [name for name in entered if name.startswith("adapters/")]


def test_walk_counts_entries_from_other_files_alone():
    state, calls = __import__("vm_mgr.model.cluster", fromlist=["x"]), []
    node = state.Node(state.NodeName("n1"))
    cluster = state.ClusterState((node, node), {})

    def look():
        calls.append(cluster.hosts)  # asks each node, in the same file

    assert walk(look) == {"model/cluster.py": 1}
    assert calls == [("n1", "n1")]


def test_decisions_by_words_are_those_that_are_known():
    assert {(name, code) for name, _, code in text_matches()} == KNOWN


@pytest.mark.parametrize(
    ("code", "finds"),
    [
        ("'no such' in error.message", True),
        ("words not in done.stderr", True),
        ("seen.detail == 'moving'", True),
        ("event.detail.startswith('x')", True),
        ("reason in {'a'}", False),
        ("seen.detail == ''", False),
        ("name in message.split()", False),
        ("'x' in done.stdout", False),
    ],
)
def test_match_of_a_text_is_seen(code, finds):
    assert bool(list(matches(ast.parse(code)))) is finds


def test_verbs_are_counted_of_each_port():
    own, whole = verbs()
    assert own["Clock"] == 3
    assert own["Hypervisor"] == 0 < whole["Hypervisor"]
    assert "Snapshots" in own, "a part that is reached as an attribute is a port, too"
    assert not GATHERED & own.keys()
    assert any(name.startswith("vm_manager/") for name in MODULES)
