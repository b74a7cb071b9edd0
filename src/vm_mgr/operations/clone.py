"""Make a VM from another one."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.storage import DiskInfo
from vm_mgr.model.vm import VmName, VmSettings, VmStatus, name_problems, text_problems
from vm_mgr.operations.create import (
    Making,
    claimed,
    making,
    setting_problems,
    taken_problems,
)
from vm_mgr.operations.lifecycle.waiting import await_state
from vm_mgr.operations.storage.clone_source import clone_snapshot
from vm_mgr.operations.storage.free import shed_dead
from vm_mgr.operations.storage.nvram import keep_instant
from vm_mgr.operations.storage.overlay import disk_problems
from vm_mgr.operations.storage.quiesce import quiesced, will_pause
from vm_mgr.operations.support.capacity import start_problems
from vm_mgr.operations.support.locking import locked
from vm_mgr.operations.support.preconditions import name_conflicts, require_defined, require_ready
from vm_mgr.operations.support.requirements import fitness_problems
from vm_mgr.operations.support.ties import own_sources, state_problems, tell_definition
from vm_mgr.ports.definition import Prepared
from vm_mgr.ports.env import Env
from vm_mgr.ports.staged import Staged
from vm_mgr.reports import Level, Note, Progress

__all__ = ["CloneRequest", "clone"]


PAIRS = ("user_metadata", "pacemaker_params", "pacemaker_meta")


class CloneRequest(NamedTuple):
    """What to make: new from source, with these settings and, unless empty, this definition.

    settings: those of the clone, or a function that makes them of the source's: only under the lock do these
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
    allow: tuple[str, ...] = ()


def clone(env: Env, request: CloneRequest) -> VmStatus:
    """Take an instant of the source's disks, share or copy it, give the clone an identity of its own."""
    name, source = request.name, request.source
    raise_all(name_problems(name))
    require_ready(env, "clone", name, starts=request.enable and request.start)
    if name == source:
        raise VmMgrError(Kind.INVALID, "a VM can't be cloned to itself", hint="choose another --dst-name")
    with locked(env, name, source), claimed(env, request.xml):
        require_defined(env, source)
        state = env.cluster.state()
        settings, given = _settings(env, request)
        problems = setting_problems(state, name, given)
        storage = env.storages.label_of(source)
        problems += name_conflicts(env, state, name, force=request.force, storage=storage)
        if request.xml:
            problems += env.definitions.problems(request.xml)
        problems += state_problems(env, name, _base(env, request), request.allow)
        raise_all(problems + disk_problems(env, state, source))
        prepared = _prepared(env, request, settings)
        problems = taken_problems(env, name, prepared.xml, request.allow)
        host, allow = settings.pinned_host, request.allow
        enable, start = request.enable, request.start
        if enable and start:
            problems += start_problems(env, state, prepared.xml, host=host, allow=allow)
        raise_all(problems + fitness_problems(env, state, name, prepared.xml, host=host, allow=allow))
        shed_dead(env, source)
        details = {"source": source, "storage": storage, "pauses": will_pause(env, source)}
        with making(env, name, state, enable=enable, start=start, **details) as made:
            _make(env, request, settings, prepared, made, replacing=name in state.resources)
    return await_state(env, name, enabled=enable, started=start, again="clone")


def _prepared(env: Env, request: CloneRequest, settings: VmSettings) -> Prepared:
    """Put the clone's disks where its source's are, and tell what is not as it was there."""
    name, theirs = request.name, own_sources(env, request.source)
    disks = env.storages.get(env.storages.label_of(request.source)).disks
    own = [disks.locate(name, number, settings.disk_bus) for number in range(len(theirs))]
    base, fresh = _base(env, request), not request.xml
    prepared = env.definitions.prepare(base, name, own, fresh=fresh, copied=True, own=theirs)
    tell_definition(env, name, prepared, [disk.source for disk in own], settings)
    return prepared


def _settings(env: Env, request: CloneRequest) -> tuple[VmSettings, VmSettings]:
    """Give the clone's settings, and those to check: the source's own were stored by whatever tool.

    A note that can't be written again is left out, and told.
    """
    source = env.storage.definitions.settings(request.source)
    settings = request.settings if isinstance(request.settings, VmSettings) else request.settings(source)
    notes = dict(settings.user_metadata)
    inherited = {key for key, text in notes.items() if source.user_metadata.get(key) == text}
    for key in sorted(inherited):
        for problem in text_problems(f"the note {key[:40]!r} of {request.source}", notes[key])[:1]:
            env.say(Note(Level.WARNING, "note-left-out", problem.message, "the clone is made without it"))
            del notes[key]
    settings = settings._replace(user_metadata=notes)
    return settings, settings._replace(**{key: _new(key, settings, source) for key in PAIRS})  # type: ignore[arg-type]


def _new(key: str, settings: VmSettings, source: VmSettings) -> dict[str, str]:
    had: Mapping[str, str] = getattr(source, key)
    return {name: text for name, text in getattr(settings, key).items() if had.get(name) != text}


def _base(env: Env, request: CloneRequest) -> str:
    return request.xml or env.storage.definitions.read(request.source)


def _make(
    env: Env,
    request: CloneRequest,
    settings: VmSettings,
    prepared: Prepared,
    made: Making,
    *,
    replacing: bool,
) -> None:
    name, source, instant = request.name, request.source, clone_snapshot(request.name)
    disks, base = env.storage.disks.of(source), _base(env, request)
    storage = env.storages.get(env.storages.label_of(source))
    with ExitStack() as stack:
        stack.callback(env.storage.snapshots.drop, source, instant)
        with quiesced(env, source) as held:
            keep_instant(env, source)
            env.storage.snapshots.take(source, instant, held.expected)
            held.proven()
        staged = stack.enter_context(storage.stage(name))
        for disk in disks:
            _add(env, staged, disk, instant, full=request.full)
        nvram = env.storage.definitions.nvram(source, instant)
        staged.describe(xml=prepared.xml, base_xml=base, settings=settings, notes=made.notes, nvram=nvram)
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
