"""Read what Pacemaker hands to a resource agent in the environment (OCF Resource Agent API 1.1)."""

import os
from collections.abc import Mapping
from functools import partial
from typing import TypeVar

from vm_mgr.agent.parameters import Parameters
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.migration import AS_ASKED, MAX_PAUSE_S, OnTimeout, Strategy, parse_terms
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.vm import VmName

__all__ = ["called", "read"]

W = TypeVar("W", Strategy, OnTimeout)


def called(environment: Mapping[str, str] = os.environ) -> str:
    """Give the VM's name; empty where nothing names it."""
    instance = environment.get("OCF_RESOURCE_INSTANCE", "").partition(":")[0]
    return environment.get("OCF_RESKEY_domain") or instance


def read(environment: Mapping[str, str] = os.environ, *, strict: bool = True) -> Parameters:
    """Read the parameters; raises INVALID where one makes no sense, or takes its default if not strict.

    >>> read({"OCF_RESOURCE_INSTANCE": "web1:0", "OCF_RESKEY_CRM_meta_timeout": "30000"}).timeout_s
    30.0
    >>> read({"OCF_RESOURCE_INSTANCE": "web1", "OCF_RESKEY_migrateport": "ssh"}, strict=False).port
    >>> given = {"OCF_RESOURCE_INSTANCE": "web1", "OCF_RESKEY_migration_strategy": "fast"}
    >>> read(given, strict=False).strategy.value
    'auto'
    """
    number = partial(_number, strict=strict)
    level = environment.get("OCF_CHECK_LEVEL", "")
    given = {
        key.removeprefix("OCF_RESKEY_"): value
        for key, value in environment.items()
        if key.startswith("OCF_RESKEY_")
    }
    name = called(environment)
    if not name:
        raise VmMgrError(Kind.INVALID, "neither the parameter domain nor OCF_RESOURCE_INSTANCE names the VM")
    # What `vm-mgr migrate` asks of this one move, handed over by Pacemaker (adapters/pacemaker/moves.py).
    terms = parse_terms(given.get("CRM_meta_vm_mgr_move", ""))
    given |= {f"migration_{key.replace('-', '_')}": value for key, value in terms.items()}
    return Parameters(
        name=VmName(name),
        timeout_s=(number(given, "CRM_meta_timeout") or 120_000) / 1000,
        target_node=given.get("CRM_meta_migrate_target", ""),
        transport=given.get("migration_transport") or "ssh",
        user=given.get("migration_user", ""),
        downtime_ms=number(given, "migration_downtime"),
        speed_mib=number(given, "migration_bandwidth") or number(given, "migration_speed"),
        port=number(given, "migrateport"),
        network_suffix=given.get("migration_network_suffix", ""),
        storage=given.get("storage", ""),
        scripts=bool(given.get("monitor_scripts", "").split()),
        options=tuple(given.get("migrate_options", "").split()),
        strategy=_one_of(Strategy, given, "migration_strategy", Strategy.AUTO, strict=strict),
        reason=terms.get("reason", AS_ASKED),
        pause_early=bool(number(given, "migration_pause_early")),
        parallel=number(given, "migration_parallel"),
        move_timeout_s=number(given, "migration_timeout"),
        on_timeout=_one_of(OnTimeout, given, "migration_timeout_action", OnTimeout.PAUSE, strict=strict),
        max_pause_s=number(given, "migration_max_pause") or MAX_PAUSE_S,
        force_stop=given.get("force_stop", "").lower() in ("1", "true", "yes", "on"),
        hibernation_s=number(given, "CRM_meta_vm_mgr_hibernation") or 0,
        check_level=whole_number(level) or 0,
        check_misses=number(given, "check_misses") or 3,
    )


def _number(given: Mapping[str, str], key: str, *, strict: bool) -> int | None:
    raw = given.get(key, "")
    found = whole_number(raw)
    if raw and found is None and strict:
        raise VmMgrError(Kind.INVALID, f"the parameter {key} is not a number: {raw[:300]}")
    return found or None


def _one_of(words: type[W], given: Mapping[str, str], key: str, default: W, *, strict: bool) -> W:
    raw = given.get(key, "")
    try:
        return words(raw) if raw else default
    except ValueError as error:
        if not strict:
            return default
        known = ", ".join(word.value for word in words)
        raise VmMgrError(Kind.INVALID, f"the parameter {key} is {raw}; it is one of {known}") from error
