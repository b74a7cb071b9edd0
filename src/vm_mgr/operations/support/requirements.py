"""Have the cluster go by what a VM's definition asks of a node, and ask the nodes before a VM is made."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.node_requirements import MISSING, Uplink, needed
from vm_mgr.model.requirement_words import cure, text
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.ports.node_facts import NodeFacts
from vm_mgr.reports import Level, Note

__all__ = [
    "UNFIT",
    "ask_nodes",
    "fitness_problems",
    "lacking_problem",
    "live_problems",
    "renew_requirements",
    "tell_media",
    "withdraw_rules",
]

# The override: `--allow unfit-nodes`.
UNFIT = "unfit-nodes"


class Answers(NamedTuple):
    """What nodes tell of each requirement, and why others are silent."""

    told: Mapping[NodeName, Mapping[str, str]] = {}
    silent: Mapping[NodeName, str] = {}


def renew_requirements(env: Env, name: VmName) -> None:
    """Bring the rules of a VM that doesn't run up to date; one that runs could be moved for it.

    Without them it starts all the same, so a storage that does not answer only costs a warning.
    """
    try:
        if not env.storage.definitions.exists(name):
            return
        requirements = env.definitions.requirements(env.storage.definitions.read(name))
        follow = env.storage.definitions.settings(name).uplink != Uplink.IGNORE
        env.cluster.change_requirements(name, requirements, follow_uplink=follow)
    except VmMgrError as error:
        message = f"the rules by which {name} avoids nodes stay as they were: {error.message}"
        env.say(Note(Level.WARNING, "asks-kept", message, error.hint))


def withdraw_rules(env: Env, name: VmName) -> None:
    """Remove the rules of a VM that open nodes in an opt-in cluster; they stay where it would be moved.

    Raises what keeps the scheduler from telling that.
    """
    state = env.cluster.state()
    resource, vm = state.resources.get(name), env.cluster.configured(name).vm
    if resource is not None and resource.active and vm is not None:
        found = env.cluster.simulate_change(vm, vm)
        harms = dict.fromkeys(found.causes, "kept from running")
        harms |= {one: harm.value for one, harm in found.effects.items()}
        if harms:
            harm = ", ".join(f"{one} would be {word}" for one, word in harms.items())
            hint = f"open its node: vm-mgr set {name} --preferred-host {resource.nodes[0]}"
            text = f"the rules by which {name} avoids nodes stay: without them {harm}"
            env.say(Note(Level.WARNING, "rules-kept", text, hint))
            return
    renew_requirements(env, name)
    if name not in env.cluster.state().ruled:
        text = f"the rules by which {name} avoided nodes are removed: the cluster is opt-in"
        env.say(Note(Level.INFO, "rules-removed", text))


def ask_nodes(
    env: Env, state: ClusterState, requirements: Sequence[str], *, host: str | None = None
) -> Answers:
    """Ask each hypervisor, or only host, all at once; nothing is asked where nothing is required."""
    nodes = [one for one in state.nodes if not one.observer and host in (None, one.name)]
    silent = {one.name: "it is offline" for one in nodes if not one.online}
    asked = {one.name: env.facts_at(one.name) for one in nodes if one.online}
    if not requirements or not asked:
        return Answers({node: {} for node in asked}, silent)

    def ask(facts: NodeFacts) -> Mapping[str, str] | VmMgrError:
        try:
            return facts.answers(requirements)
        except VmMgrError as error:
            return error

    with ThreadPoolExecutor(len(asked)) as pool:
        found = dict(zip(asked, pool.map(ask, asked.values()), strict=True))
    told = {node: answers for node, answers in found.items() if not isinstance(answers, VmMgrError)}
    failed = {node: error.message for node, error in found.items() if isinstance(error, VmMgrError)}
    return Answers(told, silent | failed)


def fitness_problems(
    env: Env,
    state: ClusterState,
    name: VmName,
    xml: str,
    *,
    host: str | None = None,
    allow: Collection[str] = (),
    known: Collection[str] = (),
) -> list[VmMgrError]:
    """Refuse a definition that none of the nodes can start; say of each node that can't, why.

    host: the one to which the VM is pinned. known: what was required before, which is only told. Nodes that
    can't be asked are named. A text that libvirt can't read is refused whatever is allowed.
    """
    here = env.cluster.local_node()
    if any(one.observer and one.name == here for one in state.nodes):
        text_ = f"an observer can't ask the nodes whether they have what {name} requires"
        env.say(Note(Level.WARNING, "not-checked", text_, "call it on a hypervisor"))
        return []
    words = env.definitions.requirements(xml)
    answers = ask_nodes(env, state, words, host=host)
    new = [one for one in words if one not in known]
    problems = {node: lacking_problem(name, node, new, told) for node, told in answers.told.items()}
    able = [node for node, problem in problems.items() if problem is None]
    invalid = _reject(env, xml, able, allow)
    if invalid is not None:
        return [invalid]
    if words:
        _tell_silent(env, name, answers.silent)
        _tell_media(env, name, words, answers)
    found = [problem for problem in problems.values() if problem is not None]
    if found and len(found) == len(problems) and UNFIT not in allow:
        hint = f"if the nodes are to get it later: --allow {UNFIT}; or enable it with --nostart"
        return [*found, VmMgrError(Kind.NO_RESOURCES, f"no node can start {name} now", hint=hint)]
    for node, told in answers.told.items():
        problem = lacking_problem(name, node, words, told)
        if problem is not None:
            env.say(Note(Level.WARNING, "node-unfit", problem.message, problem.hint))
    return []


def lacking_problem(
    name: VmName, node: NodeName, requirements: Sequence[str], told: Mapping[str, str]
) -> VmMgrError | None:
    """Say what a node lacks without which the VM does not start there, or nothing."""
    lacks = [one for one in needed(requirements) if told.get(one) == MISSING] if requirements else []
    if not lacks:
        return None
    hint = "; ".join(dict.fromkeys(cure(one) for one in lacks))
    message = f"{node} can't start {name}: it lacks {', '.join(text(one) for one in lacks)}"
    return VmMgrError(Kind.NO_RESOURCES, message, hint=hint)


def live_problems(
    name: VmName, node: NodeName, requirements: Sequence[str], told: Mapping[str, str]
) -> list[VmMgrError]:
    """Say what a node lacks for a guest to go on there as it runs: a medium can't go missing on the way."""
    problem = lacking_problem(name, node, requirements, told)
    found = [problem] if problem is not None else []
    for one in requirements:
        if told.get(one) == MISSING and not needed([one]):
            message = f"{text(one)}, which is in a drive of {name}, is missing on {node}"
            hint = f"eject it: vm-mgr set {name} --eject; or copy it there"
            found.append(VmMgrError(Kind.WRONG_STATE, message, hint=hint))
    return found


def tell_media(env: Env, state: ClusterState, name: VmName, node: NodeName | None) -> None:
    """Say which media a VM that is to start on a node, or on any, does not find there."""
    here = state.node(env.cluster.local_node())
    if here is not None and here.observer:
        return
    with suppress(VmMgrError):  # a storage that does not answer hinders no move
        words = env.definitions.requirements(env.storage.definitions.read(name))
        media = [one for one in words if not needed([one])]
        _tell_media(env, name, media, ask_nodes(env, state, media, host=node))


def _reject(env: Env, xml: str, able: Collection[NodeName], allow: Collection[str]) -> VmMgrError | None:
    """Have libvirt read it on a node that lacks nothing; where that fails on the others, too.

    What is wrong on whatever node is given, and what all doubt. What one node's libvirt doubts is only told.
    """
    here, doubts = env.cluster.local_node(), []
    for node in sorted(able, key=lambda one: one != here):
        found = env.facts_at(node).rejection(xml)
        if found is None:
            return None
        if found.kind is Kind.INVALID:
            return found
        env.say(Note(Level.WARNING, "node-doubtful", found.message, found.hint))
        doubts.append(found.message)
    if not doubts or UNFIT in allow:
        return None
    hint = f"correct it; or, if you know better: --allow {UNFIT}, or enable it with --nostart"
    return VmMgrError(Kind.NO_RESOURCES, f"no node's libvirt takes it: {doubts[0]}", hint=hint)


def _tell_silent(env: Env, name: VmName, silent: Mapping[NodeName, str]) -> None:
    for node, why in silent.items():
        message = f"whether {node} has what {name} requires is not known: {why}"
        env.say(Note(Level.WARNING, "node-silent", message, f"ask it later: vm-mgr show {name}"))


def _tell_media(env: Env, name: VmName, words: Sequence[str], answers: Answers) -> None:
    for one in words:
        missing = [node for node, told in answers.told.items() if told.get(one) == MISSING]
        if missing and not needed([one]):
            message = f"{name} starts with an empty drive where {text(one)} is missing: {', '.join(missing)}"
            env.say(Note(Level.WARNING, "medium-missing", message, cure(one)))
