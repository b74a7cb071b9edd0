"""Read what Pacemaker hands to a resource agent in the environment (OCF Resource Agent API 1.1)."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName

__all__ = ["Parameters", "read"]

RESERVE_S = 10.0


class Parameters(NamedTuple):
    """The agent's parameters, and the time that the action has."""

    name: VmName
    timeout_s: float = 120.0
    target_node: str = ""
    transport: str = "ssh"
    user: str = ""
    downtime_ms: int | None = None
    speed_mib: int | None = None
    port: int | None = None
    network_suffix: str = ""
    options: tuple[str, ...] = ()
    force_stop: bool = False
    storage: str = ""

    @property
    def budget_s(self) -> float:
        """Give the time for the action's main step; what remains is for cleaning up."""
        return max(self.timeout_s - RESERVE_S, self.timeout_s / 2)


def read(environment: Mapping[str, str] = os.environ) -> Parameters:
    """Read the parameters; raises INVALID where one makes no sense.

    >>> read({"OCF_RESOURCE_INSTANCE": "web1:0", "OCF_RESKEY_CRM_meta_timeout": "30000"}).timeout_s
    30.0
    """
    given = {
        key.removeprefix("OCF_RESKEY_"): value
        for key, value in environment.items()
        if key.startswith("OCF_RESKEY_")
    }
    name = given.get("domain") or environment.get("OCF_RESOURCE_INSTANCE", "").partition(":")[0]
    if not name:
        raise VmMgrError(Kind.INVALID, "neither the parameter domain nor OCF_RESOURCE_INSTANCE names the VM")
    return Parameters(
        name=VmName(name),
        timeout_s=(_number(given, "CRM_meta_timeout") or 120_000) / 1000,
        target_node=given.get("CRM_meta_migrate_target", ""),
        transport=given.get("migration_transport") or "ssh",
        user=given.get("migration_user", ""),
        downtime_ms=_number(given, "migration_downtime"),
        speed_mib=_number(given, "migration_speed"),
        port=_number(given, "migrateport"),
        network_suffix=given.get("migration_network_suffix", ""),
        storage=given.get("storage", ""),
        options=tuple(given.get("migrate_options", "").split()),
        force_stop=given.get("force_stop", "").lower() in ("1", "true", "yes", "on"),
    )


def _number(given: Mapping[str, str], key: str) -> int | None:
    raw = given.get(key, "")
    if not raw or raw == "0":
        return None
    if not raw.isdigit():
        raise VmMgrError(Kind.INVALID, f"the parameter {key} is not a number: {raw}")
    return int(raw)
