"""Put a defined VM under the cluster's control."""

from vm_mgr.errors import Kind, VmMgrError, raise_all
from vm_mgr.model.attributes import attribute_problems, without_refused
from vm_mgr.model.cluster import ClusterState, NodeName
from vm_mgr.model.failback import returns
from vm_mgr.model.health_checks import intervals_s
from vm_mgr.model.node_requirements import Uplink
from vm_mgr.model.on_move import OnMove, on_move_of
from vm_mgr.model.resource import ClusterParts
from vm_mgr.model.settings import PRIORITY, default_of, parameters
from vm_mgr.model.vm import TargetRole, VmName, VmSettings, VmStatus, name_problems
from vm_mgr.operations.lifecycle.waiting import wait_started
from vm_mgr.operations.status import status
from vm_mgr.operations.storage.overlay import noted_problems
from vm_mgr.operations.support.capacity import start_problems
from vm_mgr.operations.support.locking import asked, locked
from vm_mgr.operations.support.preconditions import (
    host_problems,
    no_vm,
    require_ready,
    warn_without_fencing,
)
from vm_mgr.operations.support.requirements import UNFIT, fitness_problems
from vm_mgr.operations.support.ties import own_sources, warn_of_immovable, warn_of_ties
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note

__all__ = ["enable", "resource_for"]

# What saving a guest may take: half of what agent/hibernation.py counts on, and some time beside it.
SAVING_BPS = 25 << 20
SAVING_S = 60


def enable(env: Env, name: VmName, *, start: bool = True) -> VmStatus:
    """Write the VM's resource; wait until it runs unless start is False."""
    with locked(env, name):
        state = require_ready(env, "enable", name, starts=start)
        problems = []
        if state.has(name) and not (name in state.resources and state.resources[name].is_vm):
            message = f"the cluster has a resource {name} that is no VM"
            problems.append(VmMgrError(Kind.EXISTS, message, hint=f"rename the VM: vm-mgr rename {name} NEW"))
        elif name in state.resources:
            hint = f"see: vm-mgr status {name}"
            problems.append(VmMgrError(Kind.EXISTS, f"{name} is enabled already", hint=hint))
        elif not env.storage.definitions.exists(name):
            problems.append(no_vm(env, name))
        else:
            problems += name_problems(name) + noted_problems(env, name)
        raise_all(problems)
        settings, refused = without_refused(name, env.storage.definitions.settings(name))
        problems = attribute_problems(name, settings) + host_problems(state, settings.pinned_host)
        raise_all(problems + host_problems(state, settings.preferred_host))
        xml, allow = env.storage.definitions.read(name), () if start else (UNFIT,)
        problems = _size_problems(env, state, name, xml, settings) if start else []
        problems += fitness_problems(env, state, name, xml, host=settings.pinned_host, allow=allow)
        raise_all(problems)
        warn_without_fencing(env, state)
        warn_of_ties(env, name, xml, own_sources(env, name))
        warn_of_immovable(env, name, xml, settings)
        for one in refused:
            text = f"what is stored with {name} has no effect: {one.message}"
            env.say(Note(Level.WARNING, "attribute-ignored", text, one.hint))
        if settings.crm_config_cmd:
            message = f"{name} has crm commands stored with it, which vm-mgr does not run"
            env.say(Note(Level.WARNING, "crm-commands", message, "run them by hand: crm configure"))
        asked(env, name, "enable")
        env.cluster.add(resource_for(env, name, settings, start=start))
    return wait_started(env, name) if start else status(env, name)


def _size_problems(
    env: Env, state: ClusterState, name: VmName, xml: str, settings: VmSettings
) -> list[VmMgrError]:
    found = start_problems(env, state, xml, host=settings.pinned_host)
    hint = f"give it less: vm-mgr set {name} --memory SIZE; or, if you know better, enable it with --nostart"
    return [VmMgrError(one.kind, one.message, hint=f"{hint} and start it") for one in found]


def resource_for(env: Env, name: VmName, settings: VmSettings, *, start: bool) -> VmResource:
    """Turn settings into what the cluster is to run, without what is vm-mgr's own to say."""
    settings, _ = without_refused(name, settings)
    label = env.storages.label_of(name)
    parts = env.storages.cluster_parts(label, name) if label else ClusterParts()
    params = {
        "storage": label if len(env.storages.labels()) > 1 else "",
        **parameters(settings),
        "migration_network_suffix": env.migration_network_suffix,
    }
    given = {key: value for key, value in params.items() if value}
    return VmResource(
        name=name,
        target_role=TargetRole.STARTED if start else TargetRole.STOPPED,
        live_migration=settings.live_migration,
        priority=PRIORITY if settings.priority is None else settings.priority,
        stop_timeout_s=settings.stop_timeout_s or default_of("stop_timeout_s"),
        migrate_to_timeout_s=settings.migrate_to_timeout_s or default_of("migrate_to_timeout_s"),
        pinned_host=NodeName(settings.pinned_host) if settings.pinned_host else None,
        preferred_host=NodeName(settings.preferred_host) if settings.preferred_host else None,
        params={**given, **settings.pacemaker_params},
        meta=settings.pacemaker_meta,
        utilization=settings.pacemaker_utilization,
        colocations=settings.colocations,
        depends_on=parts.depends_on,
        disks=parts.disks,
        checks=intervals_s(settings.checks),
        returns=returns(settings),
        requirements=env.definitions.requirements(env.storage.definitions.read(name)),
        follow_uplink=settings.uplink != Uplink.IGNORE,
        hibernation_s=_hibernation_s(env, name) if on_move_of(settings) is OnMove.HIBERNATE else 0,
    )


def _hibernation_s(env: Env, name: VmName) -> int:
    memory_bytes = env.definitions.machine(env.storage.definitions.read(name)).memory_bytes
    return SAVING_S + memory_bytes // SAVING_BPS
