"""Kill every operation at every external call: the VM is as before or as asked for, or is found and settled.

The points are enumerated, not listed by hand: an operation is run again and again, each time with a world
that ends one call later, once before the call has an effect and once after. Nothing that the dying operation
does reaches the world any more, as after a kill -9.
"""

import copy
import re
import typing
from contextlib import suppress
from functools import partial
from types import MappingProxyType

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.add_to_cluster import Takeover, add_to_cluster
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.colocation import add_colocation
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.edit import edit
from vm_mgr.operations.enable import enable
from vm_mgr.operations.flatten import flatten
from vm_mgr.operations.pacemaker_remote import add_pacemaker_remote
from vm_mgr.operations.pause import pause, resume
from vm_mgr.operations.remove import remove
from vm_mgr.operations.remove_disk import remove_disk
from vm_mgr.operations.remove_snapshot import purge, remove_snapshot
from vm_mgr.operations.rename import rename
from vm_mgr.operations.repair import repair
from vm_mgr.operations.restart import restart
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop
from vm_mgr.operations.unmigrate import unmigrate
from vm_mgr.ports.cluster import Constraint
from vm_mgr.ports.storage import PARTS, Storage

from .conftest import DOMAIN

PORTS = ("cluster", "storage", "storages", "intent_log", "hypervisor")
# What is new each time that a VM is made.
IDENTITY = re.compile(r"<uuid>.*?</uuid>|<mac .*?/>")
STORED = DomainXml().without_disk(DOMAIN, "")


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Hands every call on to a port, and to its parts, until it is time to die.

    looks: by the names of ports and PORT.PART, the calls that don't count.
    """

    def __init__(self, world, port, called="", looks=MappingProxyType({})):
        self._world = world
        self._port = port
        self._called = called
        self._looks = looks

    def __getattr__(self, name):
        found = getattr(self._port, name)
        if self._called == "storage" and name in PARTS:
            return Mortal(self._world, found, f"storage.{name}", self._looks)
        looks = name in self._looks.get(self._called, ())
        return self._world.watched(found, looks) if callable(found) else found


class MortalContext:
    """A claim or a staging: its end is a call too."""

    def __init__(self, world, context):
        self._world = world
        self._context = context

    def __enter__(self):
        return Mortal(self._world, self._context.__enter__())

    def __exit__(self, *failure):
        return False if self._world.dead else self._context.__exit__(*failure)


class MortalEnv:
    """An environment that ends at its n-th call, before or after the call's effect.

    looks: by port, calls without an effect, which need not be counted: to die after one of them is to die
    after the one before.
    """

    def __init__(self, env, calls, *, after, looks=MappingProxyType({})):
        self._env = env
        self._left = calls
        self._after = after
        self._looks = looks
        self.dead = False
        for port in PORTS:
            setattr(self, port, Mortal(self, getattr(env, port), port, looks))

    def hypervisor_at(self, node):
        return Mortal(self, self._env.hypervisor_at(node), "hypervisor", self._looks)

    def __getattr__(self, name):
        return getattr(self._env, name)

    def watched(self, call, looks):
        def dying(*arguments, **named):
            if self.dead:
                raise Killed
            if looks:
                return self._mortal(call(*arguments, **named))
            self._left -= 1
            if self._left < 0 and not self._after:
                self.dead = True
                raise Killed
            result = call(*arguments, **named)
            if self._left < 0:
                self.dead = True
                raise Killed
            return self._mortal(result)

        return dying

    def _mortal(self, result):
        if hasattr(result, "__enter__"):
            return MortalContext(self, result)
        if hasattr(result, "unstage"):
            return Mortal(self, result, "storage", self._looks)
        return result


def world(image, *, started=True, enabled=True, extra=False, parent="", slots=True, paused=False, left=False):
    env = MemoryEnv(DomainXml())
    disk = f"<disk type='file'><driver type='qcow2'/><source file='{image}'/></disk>"
    env.hypervisor.kept["old1"] = DOMAIN.replace("<devices/>", f"<devices>{disk}</devices>")
    for name in ("web1", "db1"):
        with env.storage.stage(name) as staged:
            for _ in range(2):
                staged.add(1 << 20)
                staged.vm.disks[-1] = f"first content of {name}"
            staged.describe(xml=STORED, base_xml=DOMAIN, settings=VmSettings(), notes={})
            staged.commit()
        env.storage.definitions.describe(name, {"vm_name": name})
        env.storage.snapshots.take(name, "old", "offline")
        env.storage.vms[name].disks[:] = [f"content of {name}"] * 2
        enable(env, name, start=name == "web1" and started)
    if not enabled:
        disable(env, "web1")
    if extra:
        add_disk(env, "web1", NewDisk(1 << 20))
    env.storage.vms["web1"].parents[0] = parent
    env.hypervisor.no_free_slot = not slots
    if paused:
        env.cluster.state()
        pause(env, "web1")
    if left:
        env.cluster.leftovers["web1"] = [
            Constraint("cli-prefer-web1", "location n1 (INFINITY)", leftover=True)
        ]
    return env


def facts(env):
    """What a user sees."""
    env.cluster.state()
    vms = {
        name: (
            *(vm.disks, vm.sizes, sorted(vm.snapshots), vm.parents, vm.keys.get("vm_name"), vm.settings),
            IDENTITY.sub("", vm.keys["xml"]),
        )
        for name, vm in env.storage.vms.items()
    }
    resources = {
        name: (
            one.target_role.value,
            one.meta,
            one.colocations,
            name in env.cluster.places,
            env.cluster.leftovers.get(name),
        )
        for name, one in env.cluster.resources.items()
    }
    hypervisor = env.hypervisor
    inside = (
        sorted(hypervisor.frozen | set(hypervisor.halted)),
        sorted(hypervisor.kept),
        sorted(map(str, hypervisor.plugged.items())),
    )
    return copy.deepcopy((vms, resources, inside, env.storage.made))


def request(image, **changes):
    return CreateRequest(name="new1", xml=DOMAIN, images=(image, image))._replace(**changes)


OPERATIONS = {
    "create": ({}, lambda env, image: create(env, request(image))),
    "add-to-cluster": ({}, lambda env, _: add_to_cluster(env, Takeover("old1", "new1"))),
    "create disabled": ({}, lambda env, image: create(env, request(image, enable=False))),
    "replace": ({}, lambda env, image: create(env, request(image, name="web1", force=True))),
    "clone": ({}, lambda env, _: clone(env, CloneRequest("web1", "new1", VmSettings()))),
    "full clone": ({}, lambda env, _: clone(env, CloneRequest("web1", "new1", VmSettings(), full=True))),
    "clone over": (
        {},
        lambda env, _: clone(env, CloneRequest("web1", "db1", VmSettings(), force=True, start=False)),
    ),
    "add disk": ({}, lambda env, image: add_disk(env, "web1", NewDisk(image=image))),
    "add disk stopped": ({"started": False}, lambda env, _: add_disk(env, "web1", NewDisk(1 << 20))),
    "add disk disabled": ({"enabled": False}, lambda env, _: add_disk(env, "web1", NewDisk(1 << 20))),
    "remove disk": ({"extra": True}, lambda env, _: remove_disk(env, "web1", 2)),
    "remove disk stopped": (
        {"extra": True, "started": False},
        lambda env, _: remove_disk(env, "web1", 2),
    ),
    "set": (
        {},
        lambda env, _: set_vm(
            env, "web1", Changes({"priority": 7, "live_migration": True}, memory_bytes=1 << 30, vcpus=2)
        ),
    ),
    "edit": (
        {},
        lambda env, _: edit(env, "web1", STORED.replace("hvm", "xen"), STORED),
    ),
    "flatten": ({"parent": "system_db1"}, lambda env, _: flatten(env, "web1")),
    "remove": ({}, lambda env, _: remove(env, "web1")),
    "remove disabled": ({"enabled": False}, lambda env, _: remove(env, "web1")),
    "rename": ({"started": False}, lambda env, _: rename(env, "web1", "new1")),
    "rename disabled": ({"enabled": False}, lambda env, _: rename(env, "web1", "new1")),
    "rollback": ({}, lambda env, _: rollback(env, "web1", "old")),
    "rollback disabled": ({"enabled": False}, lambda env, _: rollback(env, "web1", "old")),
    "snapshot": ({}, lambda env, _: create_snapshot(env, "web1", "fresh")),
    "snapshot paused": ({"paused": True}, lambda env, _: create_snapshot(env, "web1", "fresh")),
    "clone paused": (
        {"paused": True},
        lambda env, _: clone(env, CloneRequest("web1", "new1", VmSettings(), start=False)),
    ),
    "pause": ({}, lambda env, _: pause(env, "web1")),
    "resume": ({"paused": True}, lambda env, _: resume(env, "web1")),
    "remove_snapshot": ({}, lambda env, _: remove_snapshot(env, "web1", "old")),
    "purge": ({}, lambda env, _: purge(env, "web1")),
    "enable": ({"enabled": False}, lambda env, _: enable(env, "web1")),
    "disable": ({}, lambda env, _: disable(env, "web1")),
    "start": ({"started": False}, lambda env, _: start(env, "web1")),
    "stop": ({}, lambda env, _: stop(env, "web1")),
    "stop by force": ({}, lambda env, _: stop(env, "web1", force=True)),
    "unmigrate": ({"left": True}, lambda env, _: unmigrate(env, "web1")),
    "colocation": ({}, lambda env, _: add_colocation(env, "web1", ["db1"])),
    "remote": ({}, lambda env, _: add_pacemaker_remote(env, "web1", "in1", "192.0.2.5")),
    "restart": ({}, lambda env, _: restart(env, "web1")),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_kill_at_every_call_leaves_the_vm_as_before_or_as_asked_for(name, after, image):
    options, operation = OPERATIONS[name]
    whole = world(image, **options)
    before = facts(whole)
    operation(whole, image)
    wanted = facts(whole)
    assert wanted != before or name == "restart"
    assert not whole.intent_log.intents()
    points = 0
    while True:
        env = world(image, **options)
        mortal = MortalEnv(env, points, after=after)
        try:
            operation(mortal, image)
        except Killed:
            points += 1
        else:
            break
        env.intent_log.locked.clear()  # a claim ends with its process
        seen = facts(env)
        if not env.intent_log.intents():
            assert seen in (before, wanted), f"unmarked after {points} calls"
        repair(env)
        assert not env.intent_log.intents()
        assert facts(env) in (before, wanted), f"not settled after {points} calls"
    assert points > 3


@pytest.mark.parametrize("name", OPERATIONS)
def test_kill_while_settling_is_settled_too(name, image):
    options, operation = OPERATIONS[name]
    whole = world(image, **options)
    before = facts(whole)
    operation(whole, image)
    wanted = facts(whole)
    first = 0
    while True:
        probe = world(image, **options)
        try:
            operation(MortalEnv(probe, first, after=False), image)
        except Killed:
            pass
        else:
            break
        if probe.intent_log.intents():
            settle_with_deaths(partial(killed_at, options, operation, image, first), (before, wanted))
        first += 1


def killed_at(options, operation, image, calls):
    env = world(image, **options)
    with pytest.raises(Killed):
        operation(MortalEnv(env, calls, after=False), image)
    env.intent_log.locked.clear()
    return env


def settle_with_deaths(make, accepted, settling=repair, *, again=False):
    second = 0
    while True:
        env = make()
        try:
            settling(MortalEnv(env, second, after=False))
        except Killed:
            second += 1
        else:
            return
        env.intent_log.locked.clear()
        if again and env.intent_log.intents():
            settling(env)
        repair(env)
        assert facts(env) in accepted


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_disk_that_cannot_be_plugged_in_is_taken_back_wherever_it_is_killed(after, image):
    before = facts(world(image, slots=False))
    points = 0
    while True:
        env = world(image, slots=False)
        try:
            add_disk(MortalEnv(env, points, after=after), "web1", NewDisk(1 << 20))
        except Killed:
            points += 1
        except VmMgrError:
            break
        env.intent_log.locked.clear()
        repair(env)
        assert not env.intent_log.intents()
        assert facts(env) == before, f"not settled after {points} calls"
    assert facts(env) == before
    assert not env.intent_log.intents()
    assert points > 10


def test_unfinished_rename_is_settled_by_whoever_has_both_names(image):
    for calls in range(40):
        env = world(image, started=False)
        with suppress(Killed):
            rename(MortalEnv(env, calls, after=True), "web1", "new1")
        env.intent_log.locked.clear()
        if set(env.intent_log.intents()) == {"web1", "new1"}:
            break
    before = facts(env)
    for busy in ("web1", "new1"):
        with env.intent_log.lock(busy), pytest.raises(VmMgrError) as caught:
            repair(env)
        assert caught.value.kind is Kind.TRY_LATER
        assert facts(env) == before
    assert len(env.intent_log.intents()) == 2
    start(env, "new1")
    assert not env.intent_log.intents()
    assert "web1" not in env.storage.vms


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("used", ["web1", "new1"])
def test_a_name_that_a_killed_rename_has_left_is_free(used, after, image):
    """Whatever is made of one name meanwhile, the other's mark does it no harm."""
    points = 0
    while True:
        env = world(image, started=False)
        try:
            rename(MortalEnv(env, points, after=after), "web1", "new1")
        except Killed:
            points += 1
        else:
            break
        env.intent_log.locked.clear()
        with suppress(VmMgrError):
            remove(env, used)
        if used not in env.storage.vms:
            create(env, request(image, name=used))
        other = env.storage.vms.get("new1" if used == "web1" else "web1")
        repair(env)
        assert not env.intent_log.intents()
        assert env.storage.vms[used].disks == [image, image]
        assert other is None or other in env.storage.vms.values()
    assert points > 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_removal_of_an_unfinished_clone_leaves_nothing_at_its_source(after, image):
    before = facts(world(image))
    points = 0
    while True:
        env = world(image)
        try:
            clone(MortalEnv(env, points, after=after), CloneRequest("web1", "new1", VmSettings()))
        except Killed:
            points += 1
        else:
            break
        env.intent_log.locked.clear()
        if not env.intent_log.intents():
            continue
        unfinished = copy.deepcopy(env)
        remove(env, "new1")
        assert facts(env) == before
        settle_with_deaths(
            partial(copy.deepcopy, unfinished), (before,), partial(remove, name="new1"), again=True
        )
    assert points > 3


def test_source_that_cannot_be_settled_is_no_hindrance(image):
    env = world(image)
    points = next(points for points in range(60) if clone_dies_with_a_snapshot(world(image), points))
    clone_dies_with_a_snapshot(env, points)
    with env.intent_log.lock("web1"):
        remove(env, "new1")
    assert not env.intent_log.intents()
    assert "unfinished" in [getattr(report, "code", "") for report in env.said]


def clone_dies_with_a_snapshot(env, calls):
    with suppress(Killed):
        clone(MortalEnv(env, calls, after=True), CloneRequest("web1", "new1", VmSettings()))
    env.intent_log.locked.clear()
    return "vm-mgr-clone-new1" in env.storage.vms["web1"].snapshots


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("get", ["storage", "storages"])
def test_every_verb_of_every_part_of_the_storage_is_a_point(get, part, image):
    port = typing.get_type_hints(getattr(Storage, part).fget)["return"]
    verbs = [name for name, verb in vars(port).items() if callable(verb) and not name.startswith("_")]
    assert verbs
    for verb in verbs:
        mortal = MortalEnv(world(image), 0 if get == "storage" else 1, after=False)
        storage = mortal.storage if get == "storage" else mortal.storages.get("")
        with pytest.raises(Killed):
            getattr(getattr(storage, part), verb)("web1")


def test_looks_of_a_part_are_no_points(image):
    mortal = MortalEnv(world(image), 0, after=True, looks={"storage.disks": {"of"}})
    assert len(mortal.storage.disks.of("web1")) == 2
    with pytest.raises(Killed):
        mortal.storage.clients.images("web1")
