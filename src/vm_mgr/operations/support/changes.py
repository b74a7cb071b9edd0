"""Say what a change of settings has changed: only there the cluster's configuration is changed."""

import json
from collections.abc import Mapping

from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import VmSettings

__all__ = ["changed_from", "noted"]


def noted(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Note a changed field for an intent."""
    return {"before": json.dumps(dict(before)), "after": json.dumps(dict(after))}


def changed_from(intent: Intent, stored: VmSettings, field: str) -> VmSettings | None:
    """Give the settings that the cluster may have instead of the stored ones: those of before or after.

    None for an intent of an older version, which does not tell.
    """
    states = [json.loads(intent.details[key]) for key in ("before", "after") if key in intent.details]
    if not states:
        return None
    other = next((one for one in states if one != getattr(stored, field)), states[0])
    return stored._replace(**{field: other})
