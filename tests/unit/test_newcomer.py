"""Smaller things that a new user met: causes, hints and words."""

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.libvirt.virsh import check
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.cli.app import app
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.ports.runner import Completed

CREATE = "error: Failed to create domain from /run/x.xml\nerror: "
EXITED = "internal error: process exited while connecting to monitor: "
CLOSED = "internal error: QEMU unexpectedly closed the monitor (vm='web1'): "
STAMP = "2026-11-28T17:55:29.388140Z qemu-system-x86_64: "


@pytest.fixture
def shell(env, image):
    def run(*words):
        return CliRunner(mix_stderr=False).invoke(app, words, obj=env)

    assert run("create", "web1", "--image", image).exit_code == 0
    return run


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            f"{EXITED}{STAMP}cannot set up guest memory",
            "cannot set up guest memory",
        ),
        (
            f"{CLOSED}{STAMP}-device x: no such model",
            "-device x: no such model",
        ),
        (
            f"{EXITED}{STAMP}warning: old CPU\n{STAMP}no room",
            "no room",
        ),
        ("unsupported configuration: no such machine", "unsupported configuration: no such machine"),
        ("internal error: no", "no"),
    ],
)
def test_failure_of_a_start_begins_with_its_cause(said, cause):
    with pytest.raises(VmMgrError) as failed:
        check(Completed(("virsh",), 1, "", CREATE + said))
    assert failed.value.message == f"libvirt: {cause}"


def test_cause_that_was_cut_leads_to_the_whole_one():
    reason = "é" * 61 + "x..."
    text = f"""<pacemaker-result><summary/><nodes/><failures>
      <failure op_key="web1_start_0" task="start" node="n1" exitreason="{reason}"/>
      <failure op_key="web1_stop_0" task="stop" node="n1" exitreason="short"/></failures>
      <resources><resource id="web1" resource_agent="ocf:vm-mgr:VirtualDomain"/></resources>
    </pacemaker-result>"""
    start, stop = parse_failures(text)
    assert start.endswith("... (whole: vm-mgr events web1)")
    assert stop == "stop on n1: short"


def parse_failures(text):
    return [one.text for one in parse_crm_mon(text).resources["web1"].failures]


def test_node_that_does_not_exist_is_one_problem(shell):
    done = shell("set", "web1", "--pinned-host", "n9")
    assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert done.stderr.count("vm-mgr: error: ") == 1


def test_description_asks_for_no_restart(shell):
    assert "restart" not in shell("set", "web1", "--description", "ours").stderr
    assert "--memory" in shell("set", "web1", "--description", "theirs", "--memory", "3G").stderr


def test_nothing_to_remove_is_told(shell):
    done = shell("remove-colocation", "web1")
    assert done.exit_code == 0
    assert "web1 has no colocations of its own" in done.stderr


def test_words_are_those_of_people(shell):
    shown = shell("show", "web1").stdout
    assert "2 vCPUs, 2 GiB" in shown
    assert "any node" in shown
    assert "it has disk 0 only" in shell("remove-disk", "web1", "5").stderr
    assert "vm-mgr remove" not in shell("remove-disk", "web1", "0").stderr
