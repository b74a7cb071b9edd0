"""A command that has waited for another one sees what that one has left, and nothing older."""

from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

import vm_manager
from tests.lab.node import races
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.cli.app import app
from vm_mgr.errors import VmMgrError


class Interrupted(VirtualClock):
    """While somebody waits, somebody else does something, once."""

    def __init__(self):
        super().__init__()
        self.meanwhile = None

    def sleep(self, seconds):
        super().sleep(seconds)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()


@pytest.fixture
def images(tmp_path):
    for word in filter(None, races.CONTENTS.values()):
        header = b"QFI\xfb" + bytes(20) + (2 * races.MIB).to_bytes(8, "big")
        Path(tmp_path, f"{word}.qcow2").write_bytes(header)
    Path(tmp_path, "domain.xml").write_text(races.DOMAIN)
    return tmp_path


def world(images, begins):
    env, names = MemoryEnv(DomainXml()), races.World("race", "ceph", str(images))
    env.clock = Interrupted()
    races.make(env, names, begins, other=True, write=write)
    return env, names


def write(env, name, word):
    env.storage.vms[name].disks[0] = word


def facts(env, names):
    return races.facts(env, names, lambda env, name, number: Path(env.storage.vms[name].disks[number]).stem)


def perform(env, names, operation, side):
    try:
        races.OPERATIONS[operation](env, names, side)
    except VmMgrError as error:
        return error.exit_code
    return 0


def late(env, names, meanwhile, command):
    """Run a command that finds all names claimed; when it looks again, the other one has come and gone."""
    claims = ExitStack()
    for name in names.names.values():
        claims.enter_context(env.intent_log.lock(name))

    def interrupt():
        claims.close()
        meanwhile()

    env.clock.meanwhile = interrupt
    return command()


@pytest.mark.parametrize("begins", ["absent", "disabled", "stopped"])
@pytest.mark.parametrize("second", races.OPERATIONS)
def test_command_that_waited_does_what_it_would_have_done_afterwards(second, begins, images):
    for first in races.OPERATIONS:
        env, names = world(images, begins)
        perform(env, names, first, 1)
        code = perform(env, names, second, 2)
        wanted = facts(env, names)
        env, names = world(images, begins)
        words = races.command_line(names, second, 2)
        done = late(
            env,
            names,
            lambda env=env, names=names, first=first: perform(env, names, first, 1),
            lambda env=env, words=words: CliRunner().invoke(app, words, obj=env),
        )
        assert facts(env, names) == wanted, f"{first}, then {second}"
        assert done.exit_code == code, f"{first}, then {second}: {done.output}"
        assert env.clock.meanwhile is None


def test_programs_clone_has_the_settings_that_its_source_has_by_then(images):
    env, names = world(images, "stopped")
    web, new = names.names["web"], names.names["new"]
    vm_manager.use(lambda say: nullcontext(env))
    try:
        late(
            env,
            names,
            lambda: perform(env, names, "set", 1),
            lambda: vm_manager.clone({"name": web, "dst_name": new, "nostart": True}),
        )
    finally:
        vm_manager.use(None)
    assert env.storage.definitions.settings(new).priority == 11
