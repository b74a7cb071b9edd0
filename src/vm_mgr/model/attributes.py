"""Tell which attributes of a VM's resource are a user's to give, and which are vm-mgr's own."""

from collections.abc import Mapping
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.settings import SETTINGS
from vm_mgr.model.vm import VmName, VmSettings, pacemaker_problems

__all__ = ["PARAMETERS", "attribute_problems", "without_refused"]

# What the agent's meta-data list (ocf/VirtualDomain.xml), without what RESERVED has.
PARAMETERS = frozenset({
    *("check_misses", "force_stop", "io_error_timeout", "migrate_options", "migrateport"),
    *("migration_network_suffix", "migration_timeout", "migration_transport", "monitor_scripts"),
    *(setting.parameter for setting in SETTINGS if setting.parameter),
})  # fmt: skip
# What other agents for domains know (ocf:heartbeat:VirtualDomain, SEAPATH's) and this one has no use for.
UNUSED = frozenset({
    *("autoset_utilization_cpu", "autoset_utilization_hv_memory", "autoset_utilization_host_memory"),
    *("backingfile", "config", "copyindirs", "hypervisor", "migrateuri", "remoteuri", "save_config_on_stop"),
    *("shutdown_mode", "snapshot", "start_resources", "stateless", "sync_config_on_stop"),
})  # fmt: skip
# Parameters that say which VM it is, and meta attributes that other settings and commands stand for.
RESERVED = {
    "domain": "a resource runs the VM of its own name: vm-mgr rename {name} NEW, or vm-mgr clone",
    "storage": "where a VM is stays as it was made: vm-mgr create --storage LABEL",
}
OWNED = {
    "target-role": "vm-mgr stop {name} or vm-mgr start {name}; at its making: --nostart",
    "allow-migrate": "--enable-live-migration, or --on-move; with vm-mgr set also --disable-live-migration",
    "priority": "--priority N",
}


class _Refused(NamedTuple):
    option: str
    key: str
    error: VmMgrError


def attribute_problems(name: VmName, settings: VmSettings) -> list[VmMgrError]:
    """Refuse what Pacemaker can't keep with a resource, what says another VM, and what has no effect.

    >>> [p.message for p in attribute_problems("web1", VmSettings(pacemaker_params={"domain": "web2"}))]
    ['the parameter domain is reserved']
    """
    return [*_broken(settings), *(one.error for one in _refused(name, settings))]


def without_refused(name: VmName, settings: VmSettings) -> tuple[VmSettings, list[VmMgrError]]:
    """Leave out what is refused today and was stored earlier, or by other tools; say what that is.

    >>> kept, why = without_refused("web1", VmSettings(pacemaker_meta={"target-role": "Stopped", "a": "1"}))
    >>> dict(kept.pacemaker_meta), len(why)
    ({'a': '1'}, 1)
    """
    refused = _refused(name, settings)
    gone = {(one.option, one.key) for one in refused}
    kept = {
        field: {key: value for key, value in getattr(settings, field).items() if (field, key) not in gone}
        for field in ("pacemaker_params", "pacemaker_meta")
    }
    return settings._replace(**kept), [one.error for one in refused]  # type: ignore[arg-type]


def _broken(settings: VmSettings) -> list[VmMgrError]:
    given = (settings.pacemaker_meta, settings.pacemaker_params, settings.pacemaker_utilization)
    return [problem for pairs in given for problem in pacemaker_problems(pairs)]


def _refused(name: VmName, settings: VmSettings) -> list[_Refused]:
    params, meta = settings.pacemaker_params, settings.pacemaker_meta
    return [
        *_reserved(name, "pacemaker_params", "parameter", params, RESERVED),
        *_unknown(params),
        *_reserved(name, "pacemaker_meta", "meta attribute", meta, OWNED),
    ]


def _reserved(
    name: VmName, option: str, what: str, given: Mapping[str, str], hints: Mapping[str, str]
) -> list[_Refused]:
    return [
        _Refused(
            option,
            key,
            VmMgrError(Kind.INVALID, f"the {what} {key} is reserved", hint=hint.format(name=name)),
        )
        for key, hint in hints.items()
        if key in given
    ]


def _unknown(params: Mapping[str, str]) -> list[_Refused]:
    hint = f"it knows {', '.join(sorted(PARAMETERS))}"
    known = PARAMETERS | UNUSED | set(RESERVED)
    return [
        _Refused(
            "pacemaker_params",
            key,
            VmMgrError(Kind.INVALID, f"the agent has no parameter {key[:80]!r}", hint=hint),
        )
        for key in params
        if key not in known and not pacemaker_problems({key: ""})
    ]
