"""Say what others have set for a VM in the cluster: vm-mgr leaves it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_mgr.model.cluster import OWN_AGENT
from vm_mgr.model.settings import default_of
from vm_mgr.reports import Level, Note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vm_mgr.model.cluster import ClusterState, Resource
    from vm_mgr.model.vm import VmName, VmSettings
    from vm_mgr.ports.cluster import Configured
    from vm_mgr.ports.env import Env

__all__ = ["set_by_others", "tell_set_by_others", "words_of_others"]


def set_by_others(configured: Configured, resource: Resource, settings: VmSettings | None) -> dict[str, str]:
    """Give name → value, the timeouts that differ from the settings among them."""
    found, vm = dict(configured.set_by_others), configured.vm
    if vm is None or settings is None or resource.agent != OWN_AGENT:
        return found
    for action, seen_s, wanted_s in (
        ("stop", vm.stop_timeout_s, settings.stop_timeout_s or default_of("stop_timeout_s")),
        (
            "migrate_to",
            vm.migrate_to_timeout_s,
            settings.migrate_to_timeout_s or default_of("migrate_to_timeout_s"),
        ),
    ):
        if seen_s != wanted_s:
            found[f"{action} timeout"] = f"{seen_s}s"
    return found


def words_of_others(found: Mapping[str, str]) -> str:
    """Give it in a line."""
    return ", ".join(f"{key}={value}" for key, value in found.items())


def tell_set_by_others(env: Env, state: ClusterState, name: VmName, settings: VmSettings) -> None:
    """Name it once where settings change."""
    resource = state.resources.get(name)
    if resource is not None and resource.is_vm:
        found = set_by_others(env.cluster.configured(name), resource, settings)
        if found:
            text = f"others have set more for {name}, which stays: {words_of_others(found)}"
            env.say(Note(Level.INFO, "set-by-others", text, f"see: vm-mgr show {name}"))
