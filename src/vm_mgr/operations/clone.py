"""Make a VM from another one."""

from contextlib import ExitStack
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.storage import DiskInfo
from vm_mgr.model.vm import VmName, VmSettings, VmStatus, name_problems
from vm_mgr.operations.alone import alone, marked
from vm_mgr.operations.checks import name_conflicts, quorum_problems, require_defined, warn_without_fencing
from vm_mgr.operations.create import (
    TOKEN,
    await_state,
    clone_snapshot,
    flag,
    new_token,
    put_in_cluster,
    setting_problems,
)
from vm_mgr.operations.disable import halt, role_of
from vm_mgr.operations.stillness import still
from vm_mgr.ports.env import Env
from vm_mgr.ports.staged import Staged
from vm_mgr.reports import Progress

__all__ = ["CloneRequest", "clone"]


class CloneRequest(NamedTuple):
    """What to make: new from source, with these settings and, unless empty, this definition."""

    source: VmName
    name: VmName
    settings: VmSettings
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
        old = state.resources.get(name)
        problems = setting_problems(state, request.settings)
        problems += name_conflicts(env, state, name, force=request.force)
        if request.xml:
            problems += env.definitions.problems(request.xml)
        raise_all(problems)
        if request.enable:
            warn_without_fencing(env, state)
        token = new_token(env)
        with marked(
            env,
            name,
            "create",
            token=token,
            source=source,
            was=role_of(old),
            enable=flag(request.enable),
            start=flag(request.start),
        ):
            _make(env, request, token, replacing=old is not None)
            if request.enable:
                put_in_cluster(env, name, start=request.start)
    return await_state(env, name, enabled=request.enable, started=request.start)


def _make(env: Env, request: CloneRequest, token: str, *, replacing: bool) -> None:
    name, source, instant = request.name, request.source, clone_snapshot(request.name)
    disks = env.storage.disks(source)
    base = request.xml or env.storage.definition(source)
    own = [env.storage.disk(name, number, request.settings.disk_bus) for number in range(len(disks))]
    prepared = env.definitions.prepare(base, name, own, fresh=True)
    with ExitStack() as stack:
        stack.callback(env.snapshots.drop_snapshot, source, instant)
        with still(env, source) as consistency:
            env.snapshots.take_snapshot(source, instant, consistency)
        staged = stack.enter_context(env.storage.stage(name))
        for disk in disks:
            _add(env, staged, disk, instant, full=request.full)
        staged.describe(xml=prepared.xml, base_xml=base, settings=request.settings, notes={TOKEN: token})
        if replacing:
            halt(env, name)
            env.cluster.remove(name)
        staged.commit()


def _add(env: Env, staged: Staged, disk: DiskInfo, instant: str, *, full: bool) -> None:
    if not full:
        staged.add_clone(disk.image, instant)
        return
    staged.add(disk.size_bytes)
    staged.copy(disk.image, instant, lambda fraction: env.say(Progress(f"copying {disk.image}", fraction)))
