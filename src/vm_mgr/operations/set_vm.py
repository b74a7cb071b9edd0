"""Change how a VM is to be run: settings, memory, processors, description."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.cluster import ClusterState
from vm_mgr.model.devices import DeviceChange
from vm_mgr.model.failback import failback_problems, returns
from vm_mgr.model.intent import Intent
from vm_mgr.model.on_move import OnMove, on_move_of
from vm_mgr.model.settings import PLACES, SETTINGS
from vm_mgr.model.vm import VmName, VmSettings, text_problems
from vm_mgr.operations.create import claimed, setting_problems, taken_problems
from vm_mgr.operations.devices import edit_devices, tell_guest
from vm_mgr.operations.enable import resource_for
from vm_mgr.operations.support.capacity import guest_problems
from vm_mgr.operations.support.change_checks import change_problems
from vm_mgr.operations.support.foreign_settings import tell_set_by_others
from vm_mgr.operations.support.locking import locked, undo_on_failure, with_intent
from vm_mgr.operations.support.preconditions import quorum_problems, require_defined
from vm_mgr.operations.support.requirements import fitness_problems
from vm_mgr.operations.support.ties import warn_of_immovable
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["Changes", "recover", "set_vm"]

SMALLEST = 1 << 20
IN_DEFINITION = ("memory_bytes", "vcpus", "description")
MOVES = {"live_migration", "on_move"}
RETURN = {"failback", "preferred_host", *MOVES}


class Changes(NamedTuple):
    """What to change. settings: fields of VmSettings, where None means the default again.

    Fields that are mappings are merged; an empty value takes a key away.
    """

    settings: Mapping[str, Any] = {}
    memory_bytes: int | None = None
    vcpus: int | None = None
    description: str | None = None
    allow: Collection[str] = ()
    devices: tuple[DeviceChange, ...] = ()


def set_vm(env: Env, name: VmName, changes: Changes, *, restart_others: bool = False) -> bool:
    """Change what is stored, tell the cluster without disturbing the VM, say what takes effect when.

    restart_others: also where VMs are moved, or stopped and started, for it at once. Gives whether there was
    anything to change.
    """
    with locked(env, name), ExitStack() as claim:
        state = env.cluster.state()
        raise_all(quorum_problems(state))
        require_defined(env, name)
        before = env.storage.definitions.settings(name)
        after = _merged(before, changes.settings)
        fields = {key for key in VmSettings._fields if getattr(after, key) != getattr(before, key)}
        news = _news(before, after, fields)
        raise_all(_problems(state, name, after, news, fields) + _size_problems(changes))
        raise_all(_capacity_problems(env, state, after, changes))
        values = changes._asdict()
        given = {key: values[key] for key in IN_DEFINITION if values[key] is not None}
        xml = env.storage.definitions.read(name) if given or changes.devices else ""
        edits = edit_devices(env, xml, changes.devices)
        new_xml = edits[-1].xml if edits else xml
        if given:
            new_xml = env.definitions.changed(new_xml, **given)
        if changes.devices:
            claim.enter_context(claimed(env, new_xml))
            raise_all(_device_problems(env, name, state, after, changes.allow, (xml, new_xml)))
        if changes.devices or _effective(fields, "now"):
            vm, was = (resource_for(env, name, one, start=True) for one in (after, before))
            if changes.devices:
                vm = vm._replace(requirements=env.definitions.requirements(new_xml))
            raise_all(change_problems(env, state, vm, was, restart_others=restart_others))
        if not fields and not new_xml:
            env.say(Note(Level.INFO, "unchanged", f"nothing is changed of {name}"))
            return False
        stored = after._replace(user_metadata=_notes(before, after))
        back = before._replace(user_metadata=_notes(after, before))
        with (
            with_intent(env, name, "set", xml=new_xml, settings=_text(stored), before=_text(back)) as step,
            undo_on_failure(step, xml=xml, settings=_text(back), before=_text(stored)),
        ):
            _apply(env, name, step.intent)
        _tell(env, state, name, after, fields, sorted(given.keys() - {"description"}))
        if changes.devices or fields & MOVES:
            warn_of_immovable(env, name, env.storage.definitions.read(name), after)
        tell_guest(env, name, edits)
        resource = state.resources.get(name)
        node = resource.nodes[0] if resource is not None and resource.active and resource.nodes else ""
        if fields & RETURN and _goes_home(state, node, after):
            env.say(Note(Level.INFO, "returns", f"{name} returns now from {node} to {after.preferred_host}"))
        return True


def recover(env: Env, name: VmName, intent: Intent) -> bool | None:
    """Finish it: the intent has all that was asked for. One that can't be read was never begun."""
    if not env.storage.definitions.exists(name):
        return None
    try:
        _read(intent)
    except (KeyError, TypeError, ValueError, AttributeError):
        text = f"what was to be set of {name} can't be read: it is forgotten"
        env.say(Note(Level.WARNING, "mark-forgotten", text, f"see what it has: vm-mgr show {name}"))
        return None
    _apply(env, name, intent)
    return True


def _apply(env: Env, name: VmName, intent: Intent) -> None:
    settings = _storable(env, name, _read(intent))
    if intent.details.get("xml"):
        env.storage.definitions.describe(name, {"xml": intent.details["xml"]})
    env.storage.definitions.change_settings(name, settings)
    after = resource_for(env, name, settings, start=True)
    before = (
        resource_for(env, name, _read(intent, "before"), start=True) if "before" in intent.details else None
    )
    if before is not None and intent.details.get("xml") and after.hibernation_s:
        before = before._replace(hibernation_s=0)  # which goes by the memory, and that may be another now
    env.cluster.reconfigure(after, before)


def _text(settings: VmSettings) -> str:
    return json.dumps(settings._asdict())


def _read(intent: Intent, key: str = "settings") -> VmSettings:
    kept = json.loads(intent.details[key])
    return VmSettings(**{key: value for key, value in kept.items() if key in VmSettings._fields})


def _storable(env: Env, name: VmName, settings: VmSettings) -> VmSettings:
    """Leave out notes that no storage takes: an intent of an older version can have one, and has to end."""
    bad = {
        key: problem.message
        for key, value in settings.user_metadata.items()
        for problem in text_problems(f"the note {key[:40]!r}", value)[:1]
    }
    for message in bad.values():
        env.say(Note(Level.WARNING, "note-left-out", f"{name}: {message}", "it stays as it was"))
    notes = {key: value for key, value in settings.user_metadata.items() if key not in bad}
    return settings._replace(user_metadata=notes)


def _notes(before: VmSettings, after: VmSettings) -> dict[str, str]:
    """Give the notes that change; an empty one is taken away."""
    gone = dict.fromkeys(key for key in before.user_metadata if key not in after.user_metadata)
    new = {key: text for key, text in after.user_metadata.items() if before.user_metadata.get(key) != text}
    return {**dict.fromkeys(gone, ""), **new}


def _news(before: VmSettings, after: VmSettings, fields: set[str]) -> VmSettings:
    """Give what is checked: what changes, not what was accepted earlier, or stored by other tools."""
    looked_at = fields.union(*(group for group in (set(PLACES), MOVES) if fields & group)) - {"failback"}
    given = {key: getattr(after, key) for key in looked_at}
    for key in ("user_metadata", "pacemaker_meta", "pacemaker_params", "pacemaker_utilization"):
        had: Mapping[str, str] = getattr(before, key)
        given[key] = {name: text for name, text in getattr(after, key).items() if had.get(name) != text}
    return VmSettings(**given)


def _merged(before: VmSettings, changes: Mapping[str, Any]) -> VmSettings:
    """Put the changes on top; a host, pinned or preferred, takes the place of both."""
    defaults = VmSettings()
    placed = any(changes.get(key) for key in PLACES)
    merged: dict[str, Any] = dict.fromkeys(PLACES) if placed else {}
    for key, value in changes.items():
        if value is None:
            merged[key] = getattr(defaults, key)
        elif isinstance(value, Mapping):
            had = getattr(before, key)
            # An empty value takes a key away; one that another tool has stored stays as it is.
            pairs = {**had, **value}
            merged[key] = {name: text for name, text in pairs.items() if text or value.get(name, "kept")}
        else:
            merged[key] = value
    after = before._replace(**merged)
    keeps_word = after.preferred_host or "failback" in changes  # else there is nowhere to return to
    return after if keeps_word else after._replace(failback=None)


def _problems(
    state: ClusterState, name: VmName, after: VmSettings, news: VmSettings, fields: set[str]
) -> list[VmMgrError]:
    """Check what changes, not what was accepted earlier: a host may be down just now."""
    problems = setting_problems(state, name, news)
    if "failback" in fields or (returns(after) and "pacemaker_meta" in fields):
        problems += failback_problems(after)
    resource = state.resources.get(name)
    node = resource.nodes[0] if resource is not None and resource.active and resource.nodes else ""
    pin = after.pinned_host
    if "pinned_host" in fields and pin and node not in ("", pin) and state.node(pin) is not None:
        message = f"{name} runs on {node}: pinned to {pin}, it would be moved there at once"
        hint = f"move it first: vm-mgr migrate {name} {pin}"
        problems.append(VmMgrError(Kind.WRONG_STATE, message, hint=hint))
    if fields & RETURN and not after.live_migration and _goes_home(state, node, after):
        home = after.preferred_host
        hibernates = on_move_of(after) is OnMove.HIBERNATE
        how = "its memory would be saved, and resumed" if hibernates else "it would be stopped, and started"
        message = f"{name} runs on {node}: to return, {how} on {home}, at once"
        hint = f"do that when it suits you: vm-mgr migrate {name} {home}; then set it again"
        problems.append(VmMgrError(Kind.WRONG_STATE, message, hint=hint))
    return problems


def _goes_home(state: ClusterState, node: str, after: VmSettings) -> bool:
    """Tell whether a VM on this node is to be on its preferred host, now that it returns there."""
    home = state.node(after.preferred_host or "")
    return returns(after) and node not in ("", after.preferred_host) and home is not None and home.can_host


def _capacity_problems(
    env: Env, state: ClusterState, after: VmSettings, changes: Changes
) -> list[VmMgrError]:
    memory_bytes, vcpus, host = changes.memory_bytes, changes.vcpus, after.pinned_host
    return guest_problems(env, state, memory_bytes=memory_bytes, vcpus=vcpus, host=host, allow=changes.allow)


def _device_problems(
    env: Env,
    name: VmName,
    state: ClusterState,
    after: VmSettings,
    allow: Collection[str],
    texts: tuple[str, str],
) -> list[VmMgrError]:
    """Refuse devices that another VM has, or that no node has; texts: the definition before and after."""
    before, xml = texts
    known = env.definitions.requirements(before)
    problems = taken_problems(env, name, xml, allow, before=before)
    return problems + fitness_problems(
        env, state, name, xml, host=after.pinned_host, allow=allow, known=known
    )


def _size_problems(changes: Changes) -> list[VmMgrError]:
    problems = []
    if changes.memory_bytes is not None and changes.memory_bytes < SMALLEST:
        message = f"{changes.memory_bytes} bytes of memory are too little"
        problems.append(VmMgrError(Kind.INVALID, message, hint="give at least 1M, for example 4G"))
    if changes.vcpus is not None and changes.vcpus < 1:
        message = f"a VM can't have {changes.vcpus} vCPUs"
        problems.append(VmMgrError(Kind.INVALID, message, hint="give at least 1"))
    return problems


def _tell(
    env: Env,
    state: ClusterState,
    name: VmName,
    after: VmSettings,
    fields: set[str],
    given: Sequence[str],
) -> None:
    """Say when each change takes effect."""
    resource = state.resources.get(name)
    if resource is None:
        env.say(Note(Level.INFO, "effect-enable", f"it takes effect when {name} is enabled"))
        return
    now, later, disks = (_effective(fields, effect) for effect in ("now", "enable", "disks"))
    if now:
        env.say(Note(Level.INFO, "effect-now", f"in effect now: {_options(now, after)}"))
    if given:
        hint = f"vm-mgr restart {name}" if resource.active else ""
        text = f"in effect from the next start: {_options(given, after)}"
        env.say(Note(Level.INFO, "effect-start", text, hint))
    if later:
        hint = f"vm-mgr disable {name}; vm-mgr enable {name}"
        text = f"in effect once {name} was disabled and enabled again: {_options(later, after)}"
        env.say(Note(Level.INFO, "effect-enable", text, hint))
    if disks:
        env.say(Note(Level.INFO, "effect-disk", "the disk bus is for disks that are added from now on"))
    tell_set_by_others(env, state, name, after)


def _effective(fields: set[str], effect: str) -> list[str]:
    return sorted(one.name for one in SETTINGS if one.effect == effect and one.name in fields)


def _options(fields: Sequence[str], after: VmSettings) -> str:
    """Name fields as the command line does."""
    words = {one.name: one.field.options[0] for one in SETTINGS if one.field.options}
    words |= dict.fromkeys(MOVES, f"--on-move {on_move_of(after).value}")
    named = [words.get(field, f"--{field.removesuffix('_bytes')}") for field in fields]
    return ", ".join(dict.fromkeys(named))
