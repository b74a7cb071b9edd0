"""Kill every operation at every external call: the VM is as before or as asked for, or is found and settled.

The points are enumerated, not listed by hand: an operation is run again and again, each time with a world
that ends one call later, once before the call has an effect and once after. Nothing that the dying operation
does reaches the world any more, as after a kill -9.
"""

import copy
from functools import partial

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.add_to_cluster import Takeover, add_to_cluster
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.colocation import add_colocation
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.enable import enable
from vm_mgr.operations.pacemaker_remote import add_pacemaker_remote
from vm_mgr.operations.remove import remove
from vm_mgr.operations.remove_snapshot import purge, remove_snapshot
from vm_mgr.operations.rename import rename
from vm_mgr.operations.repair import repair
from vm_mgr.operations.restart import restart
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop

from .conftest import DOMAIN

PORTS = ("cluster", "storage", "snapshots", "ledger", "hypervisor")


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Hands every call on to a port, until it is time to die."""

    def __init__(self, world, port):
        self._world = world
        self._port = port

    def __getattr__(self, name):
        found = getattr(self._port, name)
        return self._world.watched(found) if callable(found) else found


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
    """An environment that ends at its n-th call, before or after the call's effect."""

    def __init__(self, env, calls, *, after):
        self._env = env
        self._left = calls
        self._after = after
        self.dead = False
        for port in PORTS:
            setattr(self, port, Mortal(self, getattr(env, port)))

    def hypervisor_at(self, _node):
        return self.hypervisor

    def __getattr__(self, name):
        return getattr(self._env, name)

    def watched(self, call):
        def dying(*arguments, **named):
            if self.dead:
                raise Killed
            self._left -= 1
            if self._left < 0 and not self._after:
                self.dead = True
                raise Killed
            result = call(*arguments, **named)
            if self._left < 0:
                self.dead = True
                raise Killed
            return MortalContext(self, result) if hasattr(result, "__enter__") else result

        return dying


def world(image, *, started=True, enabled=True):
    env = MemoryEnv(DomainXml())
    disk = f"<disk type='file'><driver type='qcow2'/><source file='{image}'/></disk>"
    env.hypervisor.kept["old1"] = DOMAIN.replace("<devices/>", f"<devices>{disk}</devices>")
    for name in ("web1", "db1"):
        with env.storage.stage(name) as staged:
            for _ in range(2):
                staged.add(1 << 20)
                staged.vm.disks[-1] = f"first content of {name}"
            staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
            staged.commit()
        env.storage.describe(name, {"vm_name": name})
        env.snapshots.take_snapshot(name, "old", "offline")
        env.storage.vms[name].disks[:] = [f"content of {name}"] * 2
        enable(env, name, start=name == "web1" and started)
    if not enabled:
        disable(env, "web1")
    return env


def facts(env):
    """What a user sees."""
    env.cluster.state()
    vms = {
        name: (vm.disks, vm.sizes, sorted(vm.snapshots), vm.parents, vm.keys.get("vm_name"), vm.settings)
        for name, vm in env.storage.vms.items()
    }
    resources = {
        name: (one.target_role.value, one.meta, one.colocations, name in env.cluster.places)
        for name, one in env.cluster.resources.items()
    }
    return copy.deepcopy((vms, resources, sorted(env.hypervisor.still), sorted(env.hypervisor.kept)))


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
    "remove": ({}, lambda env, _: remove(env, "web1")),
    "remove disabled": ({"enabled": False}, lambda env, _: remove(env, "web1")),
    "rename": ({"started": False}, lambda env, _: rename(env, "web1", "new1")),
    "rename disabled": ({"enabled": False}, lambda env, _: rename(env, "web1", "new1")),
    "rollback": ({}, lambda env, _: rollback(env, "web1", "old")),
    "rollback disabled": ({"enabled": False}, lambda env, _: rollback(env, "web1", "old")),
    "snapshot": ({}, lambda env, _: create_snapshot(env, "web1", "fresh")),
    "remove_snapshot": ({}, lambda env, _: remove_snapshot(env, "web1", "old")),
    "purge": ({}, lambda env, _: purge(env, "web1")),
    "enable": ({"enabled": False}, lambda env, _: enable(env, "web1")),
    "disable": ({}, lambda env, _: disable(env, "web1")),
    "start": ({"started": False}, lambda env, _: start(env, "web1")),
    "stop": ({}, lambda env, _: stop(env, "web1")),
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
    assert not whole.ledger.marks()
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
        env.ledger.claimed.clear()  # a claim ends with its process
        seen = facts(env)
        if not env.ledger.marks():
            assert seen in (before, wanted), f"unmarked after {points} calls"
        repair(env)
        assert not env.ledger.marks()
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
        if probe.ledger.marks():
            settle_with_deaths(partial(killed_at, options, operation, image, first), (before, wanted))
        first += 1


def killed_at(options, operation, image, calls):
    env = world(image, **options)
    with pytest.raises(Killed):
        operation(MortalEnv(env, calls, after=False), image)
    env.ledger.claimed.clear()
    return env


def settle_with_deaths(make, accepted):
    second = 0
    while True:
        env = make()
        try:
            repair(MortalEnv(env, second, after=False))
        except Killed:
            second += 1
        else:
            return
        env.ledger.claimed.clear()
        repair(env)
        assert facts(env) in accepted
