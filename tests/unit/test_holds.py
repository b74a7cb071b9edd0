"""A guest that a command holds still goes on by its own node's timer, whatever becomes of the command."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from vm_mgr.adapters.host.holds import RemoteHolds, SystemdHolds
from vm_mgr.adapters.host.remote import SshNodes
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.agent import hold as agent
from vm_mgr.agent import node_verbs
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import EventKind
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.pause import pause
from vm_mgr.operations.repair import repair
from vm_mgr.operations.storage.quiesce import HOLD_S
from vm_mgr.ports.holds import Hold
from vm_mgr.ports.runner import Completed
from vm_mgr.ports.storage import PARTS

from .conftest import DOMAIN

VM = "web1"


class Killed(BaseException):
    """The process is gone: nothing that it would still do has an effect."""


def made(env, *images):
    create(env, CreateRequest(VM, DOMAIN, images))
    return VM


@pytest.fixture
def frozen(env, image):
    """A VM of one disk with an agent."""
    made(env, image)
    env.hypervisor.with_agent.add(VM)
    return VM


@pytest.fixture
def paused(env, image):
    """A VM of two disks without one."""
    return made(env, image, image)


def snap(env):
    return create_snapshot(env, VM, "one")


def copy(env):
    return clone(env, CloneRequest(VM, "web2", VmSettings(), start=False))


def held(env):
    return bool(env.hypervisor.frozen or env.hypervisor.halted)


def ports(env):
    parts = (getattr(env.storage, part) for part in PARTS)
    return (env.hypervisor, env.intent_log, env.storage, *parts, env.cluster, env.holds)


def kill_within(env, verb):
    """Die within the snapshot; none of the undo steps reaches the world."""

    def dying(*_arguments):
        for port in ports(env):
            for name in dir(type(port)):
                if not name.startswith("_") and callable(getattr(port, name)):
                    port.__dict__[name] = gone
        raise Killed

    def gone(*_arguments, **_named):
        raise Killed

    env.storage.snapshots.take = dying
    with pytest.raises(Killed):
        verb(env)
    for port in ports(env):
        for name in [one for one, value in port.__dict__.items() if value in (gone, dying)]:
            del port.__dict__[name]


@pytest.mark.parametrize("verb", [snap, copy])
class TestLimit:
    @pytest.mark.parametrize("kind", ["frozen", "paused"])
    def test_is_set_before_the_guest_is_held_and_forgotten_after(self, env, verb, kind, request):
        request.getfixturevalue(kind)
        seen = []
        env.hypervisor.on_call = lambda call: seen.append((call, dict(env.holds.limits)))
        verb(env)
        call, how = ("freeze", Hold.FROZEN) if kind == "frozen" else ("pause", Hold.PAUSED)
        assert dict(seen)[call] == {VM: (how, HOLD_S)}
        assert not env.holds.limits
        assert not held(env)

    @pytest.mark.parametrize("kind", ["frozen", "paused"])
    def test_guest_of_a_killed_command_goes_on(self, env, verb, kind, request):
        request.getfixturevalue(kind)
        kill_within(env, verb)
        assert held(env)
        (name, (how, _)) = next(iter(env.holds.limits.items()))
        assert agent.release(env, name, how)
        assert not held(env)
        assert [one.kind for one in env.journal.handed][-1:] == [EventKind.LET_GO]

    def test_guest_that_is_settled_first_is_left_alone_afterwards(self, env, paused, verb):
        kill_within(env, verb)
        env.intent_log.locked.clear()
        pause(env, VM)  # settles, then pauses by its user's will
        assert not env.holds.limits
        assert held(env)

    def test_repair_ends_it(self, env, frozen, verb):
        kill_within(env, verb)
        env.intent_log.locked.clear()
        repair(env)
        assert not env.holds.limits
        assert not held(env)

    def test_is_left_where_the_guest_does_not_thaw(self, env, frozen, verb):
        env.hypervisor.thaw = lambda _name: False
        with pytest.raises(VmMgrError, match="frozen"):
            verb(env)

    def test_guest_is_not_frozen_without_one(self, env, frozen, verb):
        env.holds.refusing = "no systemd"
        verb(env)
        assert [one.code for one in env.said if getattr(one, "code", "") == "not-frozen"] == ["not-frozen"]
        assert not held(env)

    def test_guest_is_not_paused_without_one(self, env, paused, verb):
        env.holds.refusing = "no systemd"
        with pytest.raises(VmMgrError, match="no systemd"):
            verb(env)
        assert not held(env)

    def test_guest_that_nobody_has_to_hold_needs_none(self, env, image, verb):
        made(env, image)
        env.holds.refusing = "not to be asked"
        verb(env)

    def test_several_disks_of_a_guest_that_was_let_go_on_are_no_instant(self, env, image, verb):
        made(env, image, image)
        env.hypervisor.with_agent.add(VM)
        reach_limit(env)
        with pytest.raises(VmMgrError) as caught:
            verb(env)
        assert caught.value.kind is Kind.WRONG_STATE
        assert not env.storage.snapshots.of(VM)


def reach_limit(env):
    """Have the snapshot take so long that the node lets the guest go on."""
    take = env.storage.snapshots.take

    def slow(*arguments):
        take(*arguments)
        agent.release(env, VM, env.holds.limits[VM][0])

    env.storage.snapshots.take = slow


def test_snapshot_beyond_the_limit_is_crash_consistent_and_says_so(env, frozen):
    reach_limit(env)
    assert snap(env).consistency is Consistency.CRASH
    assert env.storage.snapshots.of(VM)[0].consistency is Consistency.CRASH
    assert "not-frozen" in [getattr(one, "code", "") for one in env.said]


def test_snapshot_in_time_is_frozen(env, frozen):
    assert snap(env).consistency is Consistency.FROZEN


def test_agent_that_does_not_say_that_it_is_frozen_proves_nothing(env, frozen):
    env.hypervisor.is_frozen = lambda _name: False
    assert snap(env).consistency is Consistency.CRASH


class TestNode:
    """What the timer calls on the VM's node."""

    def test_asks_again_until_the_agent_answers(self, env, frozen):
        env.hypervisor.frozen.add(VM)
        thaw, answers = env.hypervisor.thaw, iter([False, False])
        env.hypervisor.thaw = lambda name: next(answers, None) is None and thaw(name)
        assert agent.release(env, VM, Hold.FROZEN)
        assert not held(env)

    def test_gives_up_in_the_end_and_tells(self, env, frozen):
        env.hypervisor.frozen.add(VM)
        env.hypervisor.thaw = lambda _name: False
        assert not agent.release(env, VM, Hold.FROZEN)
        assert "still frozen" in env.journal.handed[-1].detail

    @pytest.mark.parametrize("hold", Hold)
    def test_has_nothing_to_tell_of_a_guest_that_goes_on_or_is_gone(self, env, frozen, hold):
        before = len(env.journal.handed)
        assert agent.release(env, VM, hold)
        env.hypervisor.running.clear()
        env.cluster.resources.clear() if hasattr(env.cluster, "resources") else None
        assert agent.release(env, VM, hold)
        assert len(env.journal.handed) == before

    def test_leaves_a_guest_that_stands_for_another_reason(self, env, paused):
        env.hypervisor.halted[VM] = "I/O error"
        assert agent.release(env, VM, Hold.PAUSED)
        assert env.hypervisor.halted[VM] == "I/O error"

    def test_sets_and_forgets_what_another_node_asks_for(self, env):
        assert node_verbs.answer(env, ["begin", VM, "frozen", "30"]).startswith(node_verbs.ASKED)
        assert env.holds.limits == {VM: (Hold.FROZEN, 30.0)}
        assert node_verbs.answer(env, ["end", VM]).startswith(node_verbs.ASKED)
        assert not env.holds.limits
        assert node_verbs.answer(env, ["clock"]) == f"{node_verbs.ASKED} {env.clock.utc():.3f}"
        env.hypervisor.running["web9"], env.hypervisor.births[4711] = 4711, "12"
        assert node_verbs.answer(env, ["process", "4711", "12"]) == f"{node_verbs.ASKED} lives"
        assert node_verbs.answer(env, ["process", "4711", "13"]) == f"{node_verbs.ASKED} ended"

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["begin"],
            ["begin", VM, "frozen"],
            ["begin", VM, "frozen", "30", "more"],
            ["begin", "-x", "frozen", "30"],
            ["begin", "../a", "frozen", "30"],
            ["begin", VM, "melted", "30"],
            ["begin", VM, "frozen", "0"],
            ["begin", VM, "frozen", "²"],
            ["begin", VM, "frozen", "99999"],
            ["end"],
            ["end", VM, "frozen"],
            ["shell", VM],
            ["clock", "now"],
            ["process", "1"],
            ["process", "-1", "5"],
            ["process", "1x", "5"],
            ["process", "1", "5", "more"],
        ],
    )
    def test_refuses_other_words(self, env, words):
        with pytest.raises(VmMgrError) as caught:
            node_verbs.answer(env, words)
        assert caught.value.kind is Kind.INVALID


class Programs:
    def __init__(self, stdout="", exit_code=0):
        self.calls = []
        self.stdout = stdout
        self.exit_code = exit_code

    def run(self, argv, **_):
        self.calls.append(argv)
        return Completed(tuple(argv), self.exit_code, self.stdout, "")


def test_timer_of_this_node_replaces_an_earlier_one():
    programs = Programs()
    SystemdHolds(programs).begin(VM, Hold.PAUSED, 30)
    stop, run = programs.calls
    assert stop == ("systemctl", "stop", "vm-mgr-hold-web1.timer", "vm-mgr-hold-web1.service")
    assert {"--unit=vm-mgr-hold-web1", "--on-active=30s", "--property=DefaultDependencies=no"} <= set(run)
    assert run[-5:] == ("-m", "vm_mgr.ocf.hold", "release", VM, "paused")
    with pytest.raises(VmMgrError):
        SystemdHolds(Programs(exit_code=1)).begin(VM, Hold.PAUSED, 30)


def test_timer_of_another_node_counts_only_once_that_node_has_said_so():
    programs = Programs(f"{node_verbs.ASKED} limit of web1 set\n")
    RemoteHolds(SshNodes(programs, "-cluster"), "n2").begin(VM, Hold.FROZEN, 30)
    assert (
        programs.calls[0][-9:]
        == (
            *("n2-cluster", "--", "/usr/bin/python3", "-P", "-m", "vm_mgr.ocf.hold"),
            *("begin", VM, "frozen"),
            "30",
        )[-9:]
    )
    for mute in (Programs(), Programs("libvirt's answer"), Programs(exit_code=255)):
        with pytest.raises(VmMgrError, match="n2-cluster"):
            RemoteHolds(SshNodes(mute, "-cluster"), "n2").begin(VM, Hold.FROZEN, 30)


@pytest.mark.parametrize(
    ("asked", "called"),
    [
        ("/usr/bin/python3 -P -m vm_mgr.ocf.hold end web1", "python end web1"),
        (
            "/usr/bin/python3 -P -m vm_mgr.ocf.hold end $(touch hit);touch hit",
            "python end $(touch hit);touch hit",
        ),
        ("/usr/bin/python3 -P -m vm_mgr.ocf.holder", "libvirt"),
        ("/usr/bin/python3 -c 1", "libvirt"),
        ("sh -c 'virt-ssh-helper'", "libvirt"),
        ("", "libvirt"),
    ],
)
def test_key_of_another_node_opens_libvirt_and_the_timer_only(tmp_path, asked, called):
    variables = Path("deploy/roles/libvirt/vars/main.yml").read_text(encoding="utf-8")
    command = yaml.safe_load(variables)["libvirt_key_command"]
    assert '"' not in command
    programs = tmp_path / "python3"
    programs.write_text('#!/bin/sh\nshift 3\necho python "$@"\n')
    helper = tmp_path / "virt-ssh-helper"
    helper.write_text("#!/bin/sh\necho libvirt\n")
    for program in (programs, helper):
        program.chmod(0o755)
    # As sshd calls it; the real interpreter is not to be called.
    command = command.replace(
        "exec $SSH", f"SSH_ORIGINAL_COMMAND={programs}${{SSH_ORIGINAL_COMMAND#*python3}}; exec $SSH"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SSH_ORIGINAL_COMMAND": asked},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == called
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize(("word", "frozen"), [("frozen", True), ("thawed", False), (None, False)])
def test_virsh_asks_the_guests_agent(tmp_path, word, frozen):
    programs = Programs(json.dumps({"return": word}), 0 if word else 1)
    assert LocalLibvirt(programs, tmp_path).is_frozen(VM) is frozen
    assert "guest-fsfreeze-status" in programs.calls[0][-3]
