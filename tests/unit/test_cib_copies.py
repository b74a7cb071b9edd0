"""A change of the CIB counts once another node has it: a node that was silent takes it for itself alone."""

import os
from pathlib import Path

import pytest
from lxml import etree

from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker.cib import PATIENCE_S, Cib
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.runner import Completed

CIB = """<cib dc-uuid="{dc}" epoch="7" num_updates="1" admin_epoch="0"><configuration><resources>
<primitive id="web1"><meta_attributes id="m">
<nvpair id="m-priority" name="priority" value="4"/></meta_attributes></primitive>
<primitive id="old"/></resources></configuration>
<status><node_state id="1" uname="{here}" join="member" crmd="{up}"/>
<node_state id="2" uname="n2" join="member" crmd="{n2}"/>
<node_state id="3" uname="n3" join="member" crmd="{n3}"/></status></cib>"""
UP, DOWN = "1796018319", "0"


class Nodes:
    """This node's copy, and that of the others; in_sync: whether a change reaches both."""

    def __init__(self, *, dc="2", n2=UP, n3=UP, here="", up=UP):
        here = here or os.uname().nodename
        self.local = self.theirs = CIB.format(dc=dc, here=here, up=up, n2=n2, n3=n3)
        self.in_sync, self.asked, self.patches = True, [], 0
        self.on_look = lambda: None

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        del timeout_s, stdin, on_line
        code, output = 0, ""
        if argv[0] == "crm_diff":
            code, self.new = 1, Path(argv[4]).read_text()
        elif "--patch" in argv:
            self.patches += 1
            self.local = self.new
            if self.in_sync:
                self.theirs = self.new
        elif "--node" in argv:
            self.asked.append(argv[argv.index("--node") + 1])
            self.on_look()
            output = self.theirs
            code = 0 if output else 124
        else:
            output = self.local
        return Completed(tuple(argv), code, output, "")


def set_priority(cib):
    cib.find(".//nvpair").set("value", "39")


def priority(text):
    return etree.fromstring(text).find(".//nvpair").get("value")


def edit(nodes, change=set_priority):
    clock = VirtualClock()
    began = clock.now
    Cib(nodes, clock).edit(change)
    return clock.now - began


def test_change_is_looked_for_once_in_the_coordinators_copy():
    nodes = Nodes()
    assert edit(nodes) < 1
    assert (priority(nodes.theirs), nodes.asked, nodes.patches) == ("39", ["n2"], 1)


def test_coordinator_looks_at_another_one():
    nodes = Nodes(dc="1", n2=DOWN)
    edit(nodes)
    assert nodes.asked == ["n3"]


@pytest.mark.parametrize("gone", [DOWN, "offline", "false", ""])
def test_who_is_alone_asks_nobody(gone):
    nodes = Nodes(n2=gone, n3=gone)
    edit(nodes)
    assert (nodes.asked, nodes.patches) == ([], 1)


def test_change_that_only_this_node_has_is_made_again_when_it_is_back():
    """As round 54 of the campaign 15100 had it: `set` was done, and lost when the node joined again."""
    nodes = Nodes()
    nodes.in_sync = False

    def joined_at_the_third_look():
        if len(nodes.asked) == 3:
            nodes.local, nodes.in_sync = nodes.theirs, True

    nodes.on_look = joined_at_the_third_look
    assert edit(nodes) < PATIENCE_S
    assert (priority(nodes.local), priority(nodes.theirs), nodes.patches) == ("39", "39", 2)


def test_what_is_removed_and_what_is_new_is_looked_for_too():
    def change(cib):
        old = cib.find(".//primitive[@id='old']")
        old.getparent().replace(old, etree.Element("primitive", id="new"))

    nodes = Nodes()
    nodes.in_sync = False
    with pytest.raises(VmMgrError) as caught:
        edit(nodes, change)
    assert caught.value.kind is Kind.TRY_LATER
    assert "not yet back" in caught.value.message
    nodes = Nodes()
    edit(nodes, change)
    assert '"new"' in nodes.theirs


def test_node_that_does_not_answer_is_told_of_in_the_end():
    nodes = Nodes()
    nodes.theirs = ""
    nodes.in_sync = False
    with pytest.raises(VmMgrError) as caught:
        edit(nodes)
    assert caught.value.kind is Kind.TRY_LATER
    assert caught.value.hint


def test_change_that_changes_nothing_asks_nobody():
    nodes = Nodes()
    edit(nodes, lambda cib: None)
    assert (nodes.asked, nodes.patches) == ([], 0)
