"""Make a VM from another one."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.storage import DiskInfo
from vm_mgr.model.vm import VmName, VmSettings, VmStatus, name_problems
from vm_mgr.operations.alone import alone
from vm_mgr.operations.checks import name_conflicts, quorum_problems, require_defined
from vm_mgr.operations.create import (
    Making,
    await_state,
    clone_snapshot,
    making,
    setting_problems,
    uuid_problems,
)
from vm_mgr.operations.free import shed_dead
from vm_mgr.operations.overlay import disk_problems
from vm_mgr.operations.stillness import pauses, still
from vm_mgr.ports.env import Env
from vm_mgr.ports.staged import Staged
from vm_mgr.reports import Progress

__all__ = ["CloneRequest", "clone"]


class CloneRequest(NamedTuple):
    """What to make: new from source, with these settings and, unless empty, this definition.

    settings: those of the clone, or a function that makes them of the source's: only under the claim do these
    and the disks belong together, for another command may just be changing or replacing the source.
    """

    source: VmName
    name: VmName
    settings: VmSettings | Callable[[VmSettings], VmSettings]
    xml: str = ""
    full: bool = False
    enable: bool = True
    start: bool = True
    force: bool = False


def clone(env: Env, request: CloneRequest) -> VmStatus:
    """Take an instant of the source's disks, share or copy it, give the clone an identity of its own."""
    name, source = request.name, request.source
    raise_all(name_problems(name) + quorum_problems(env.cluster.state()))
    if name == source:
        raise VmMgrError(Kind.INVALID, "a VM can't be cloned to itself", hint="choose another --dst-name")
    with alone(env, name, source):
        require_defined(env, source)
        state = env.cluster.state()
        settings = _settings(env, request)
        problems = setting_problems(state, settings)
        storage = env.storages.of(source)
        problems += name_conflicts(env, state, name, force=request.force, storage=storage)
        if request.xml:
            problems += env.definitions.problems(request.xml) or _identity_problems(env, request)
        raise_all(problems + disk_problems(env, state, source))
        enable, start = request.enable, request.start
        shed_dead(env, source)
        details = {"source": source, "storage": storage, "pauses": pauses(env, source)}
        with making(env, name, state, enable=enable, start=start, **details) as made:
            _make(env, request, settings, made, replacing=name in state.resources)
    return await_state(env, name, enabled=enable, started=start)


def _identity_problems(env: Env, request: CloneRequest) -> list[VmMgrError]:
    """Refuse a definition of the clone's own that has addresses of its source: both will run."""
    problems = uuid_problems(env, request.name, request.xml)
    theirs = env.definitions.machine(env.storage.definition(request.source)).macs
    for mac in sorted(set(env.definitions.machine(request.xml).macs) & set(theirs)):
        message = f"the network address {mac} belongs to {request.source}"
        problems.append(VmMgrError(Kind.EXISTS, message, hint="remove the <mac> element; one is generated"))
    return problems


def _settings(env: Env, request: CloneRequest) -> VmSettings:
    if isinstance(request.settings, VmSettings):
        return request.settings
    return request.settings(env.storage.settings(request.source))


def _make(env: Env, request: CloneRequest, settings: VmSettings, made: Making, *, replacing: bool) -> None:
    name, source, instant = request.name, request.source, clone_snapshot(request.name)
    disks = env.storage.disks(source)
    base = request.xml or env.storage.definition(source)
    storage = env.storages.called(env.storages.of(source))
    own = [storage.disk(name, number, settings.disk_bus) for number in range(len(disks))]
    prepared = env.definitions.prepare(base, name, own, fresh=not request.xml)
    with ExitStack() as stack:
        stack.callback(env.snapshots.drop_snapshot, source, instant)
        with still(env, source) as consistency:
            env.snapshots.take_snapshot(source, instant, consistency)
        staged = stack.enter_context(storage.stage(name))
        for disk in disks:
            _add(env, staged, disk, instant, full=request.full)
        staged.describe(xml=prepared.xml, base_xml=base, settings=settings, notes=made.notes)
        made.replace(replacing=replacing)
        staged.commit()


def _add(env: Env, staged: Staged, disk: DiskInfo, instant: str, *, full: bool) -> None:
    if not full:
        staged.add_clone(disk.image, instant)
        return
    staged.add(disk.size_bytes)

    def tell(fraction: float) -> None:
        env.say(Progress(f"copying {disk.image}", fraction, disk.size_bytes))

    staged.copy(disk.image, instant, tell)
