"""list --wide, and what else the stored definition and others' rules tell of a VM."""

import json

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.cli.quick import answer
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.vm import VmState, VmStatus
from vm_mgr.operations.list_vms import Listing
from vm_mgr.operations.wide import look_wide

XML = """<domain type='qemu'><description>the shop,
 second floor</description>
<memory unit='GiB'>2</memory><vcpu>3</vcpu><os><type>hvm</type></os><devices/></domain>"""


@pytest.fixture
def shell(env, image, tmp_path):
    definition = tmp_path / "vm.xml"

    def run(*words):
        return CliRunner(mix_stderr=False).invoke(app, words, obj=env)

    for name, xml in (("web1", XML), ("db1", XML.replace("the shop,\n second floor", ""))):
        definition.write_text(xml)
        assert run("create", name, "--xml", str(definition), "-i", image).exit_code == 0
    return run


@pytest.fixture
def reads(env, monkeypatch):
    """Note whose definitions and settings are read."""
    found = []
    for verb in ("read", "settings"):
        real = getattr(env.storage.definitions, verb)

        def noting(name, verb=verb, real=real):
            found.append((verb, name))
            return real(name)

        monkeypatch.setattr(env.storage.definitions, verb, noting)
    return found


def test_wide_table_has_what_is_stored(shell):
    shell("set", "web1", "--on-move", "migrate")
    db1, web1 = shell("list", "--wide").stdout.splitlines()[1:]
    assert web1.split()[:8] == ["web1", "Started", "n1", "Started", "2", "GiB", "3", "migrate"]
    assert web1.endswith("  the shop, second floor")
    assert "restart" in db1


def test_wide_data_has_the_same(shell, env):
    db1, web1 = json.loads(shell("list", "--wide", "-o", "json").stdout)
    stored = {"memory_bytes": 2 << 30, "vcpus": 3, "on_move": "restart"}
    assert web1.items() >= stored.items()
    assert web1["storage"] == env.storages.label_of("web1")
    assert ("second floor" in web1["description"], db1["description"]) == (True, "")
    plain = json.loads(shell("list", "-o", "json").stdout)
    assert [list(one) for one in plain] == [["name", "state", "node", "detail"]] * 2


def test_definitions_are_read_once_and_only_for_wide(shell, env, reads, capsys):
    shell("list")
    assert answer(env, ["list"])
    capsys.readouterr()
    assert reads == []
    shell("list", "--wide")
    assert sorted(reads) == [(verb, name) for verb in ("read", "settings") for name in ("db1", "web1")]


def told(env, when_s, kind, name="web1", node="n1", detail=""):
    env.event_log.kept.append(Event(when_s, kind, name, node, detail))


def one(shell, name="web1"):
    data = json.loads(shell("list", "--wide", "-o", "json").stdout)
    return next(vm for vm in data if vm["name"] == name)


def test_since_when_is_told_as_the_event_log_has_it(shell, env):
    assert one(shell)["since"] == ""
    told(env, 1000.0, EventKind.RUNNING)
    assert one(shell)["since"] == "1970-01-01T00:16:40Z"
    assert one(shell, "db1")["since"] == ""
    told(env, 2000.0, EventKind.MOVED, node="n2")
    assert one(shell)["since"] == ""  # the cluster says that it is on n1
    shell("migrate", "web1", "n2")
    told(env, 2000.1, EventKind.STOPPED)
    assert one(shell)["since"] == "1970-01-01T00:33:20Z"
    shell("stop", "web1")
    told(env, 3000.0, EventKind.STOPPED, node="n2")
    assert (one(shell)["since"], one(shell)["state"]) == ("1970-01-01T00:50:00Z", "Stopped")
    assert "1970-01-01" in shell("list", "--wide").stdout


def test_what_is_wanted_is_told_of_what_the_cluster_has(shell):
    shell("stop", "web1")
    assert (one(shell)["wanted"], one(shell, "db1")["wanted"]) == ("Stopped", "Started")
    shell("disable", "db1")
    assert one(shell, "db1")["wanted"] == ""


def test_guest_that_a_user_paused_is_told_apart_and_only_its_node_is_asked(shell, env):
    asked, paused = [], env.hypervisor.paused
    env.hypervisor.paused = lambda name, **more: asked.append(name) or paused(name, **more)
    shell("pause", "web1")
    asked.clear()
    told(env, 1000.0, EventKind.ASKED, detail="pause by root on n1")
    assert (one(shell)["paused"], one(shell, "db1")["paused"]) == (True, False)
    assert "its guest is paused" in shell("list", "--wide").stdout.splitlines()[2]
    assert set(asked) == {"web1"}
    env.hypervisor.resume("web1")  # by another tool
    assert one(shell)["paused"] is False
    asked.clear()
    told(env, 1001.0, EventKind.ASKED, detail="resume by root on n1")
    assert one(shell)["paused"] is False
    assert asked == []


def test_without_the_event_log_the_rest_is_told(shell, env):
    def refuse(*_given):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph does not answer")

    env.event_log.read = refuse
    assert (one(shell)["since"], one(shell)["wanted"], one(shell)["vcpus"]) == ("", "Started", 3)


def test_wide_form_is_not_the_quick_one(env):
    assert not answer(env, ["list", "--wide"])


def test_storage_that_fails_is_asked_once_and_the_vms_are_listed(shell, env, monkeypatch):
    asked = []

    def read(name):
        asked.append(name)
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph does not answer")

    monkeypatch.setattr(env.storage.definitions, "read", read)
    done = shell("list", "--wide", "-o", "json")
    assert [one["memory_bytes"] for one in json.loads(done.stdout)] == [None, None]
    assert (done.exit_code, asked) == (0, ["db1"])
    assert "Ceph does not answer" in done.stderr
    assert [line.split()[:3] for line in shell("list", "--wide").stdout.splitlines()[1:]] == [
        ["db1", "Started", "n1"],
        ["web1", "Started", "n1"],
    ]


def test_vm_of_another_tool_is_left_out_and_a_broken_definition_told(shell, env, monkeypatch, capsys):
    monkeypatch.setattr(env.storage.definitions, "read", lambda _: "<domain")
    vms = [VmStatus(name, VmState.STARTED) for name in ("other", "web1")]
    assert look_wide(env, Listing(vms, [])).wide == {}
    assert "web1: the definition is not XML" in capsys.readouterr().err


def test_description_is_shown(shell):
    assert "description  the shop, second floor\n" in shell("show", "web1").stdout
    assert "description" not in shell("show", "db1").stdout
    assert json.loads(shell("show", "web1", "-o", "json").stdout)["machine"]["description"].startswith("the ")


def test_no_colocations_are_told_and_those_of_others(shell):
    done = shell("list-colocation", "web1")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "web1 has no colocations of its own" in done.stderr
    shell("separate", "db1", "web1")
    done = shell("list-colocation", "web1")
    assert "db1 is kept away from web1 (-700)" in done.stderr
    assert json.loads(shell("list-colocation", "web1", "-o", "json").stdout) == {}
    assert "has no colocations" not in shell("list-colocation", "db1").stderr
    done = shell("remove-colocation", "db1", "web1")
    assert "kept away" not in done.stderr
