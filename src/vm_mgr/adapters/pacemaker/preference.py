"""Weigh a VM's preferred host against its wish to stay where it is.

Pacemaker places a resource where the sum of its scores is highest: resource-stickiness counts for the node
where it runs, the location score for the preferred host, a colocation for the other end's node.
"""

import re
from collections.abc import Mapping

from vm_mgr.model.failback import STICKINESS
from vm_mgr.ports.cluster import VmResource

__all__ = ["comes_back", "score_of", "staying"]

# Below the cluster's stickiness of 100: it decides where the VM is started, and moves no running one.
WISH = 50
# As the cluster's default; a VM that returns has its own, since only a known one can be weighed.
OWN = 100


def staying(vm: VmResource) -> dict[str, str]:
    """Give the meta attributes that a VM needs in order to return."""
    return {STICKINESS: str(OWN)} if _is_returning(vm) else {}


def score_of(vm: VmResource) -> str:
    """Give the preferred host's score: above the VM's own stickiness if it is to return, and little more.

    Colocations, with 700 and more, go before it; and a VM that others are kept with is not dragged along.
    """
    if not _is_returning(vm):
        return str(WISH)
    return str(WISH + max(_number(vm.meta.get(STICKINESS, "")) or 0, OWN))


def comes_back(score: str, meta: Mapping[str, str]) -> bool:
    """Tell whether the score is above the VM's own stickiness; who has none was never asked to return."""
    stickiness, weight = _number(meta.get(STICKINESS, "")), _number(score)
    return stickiness is not None and weight is not None and weight > max(stickiness, WISH)


def _is_returning(vm: VmResource) -> bool:
    return vm.returns and bool(vm.preferred_host) and not vm.pinned_host


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,7}", text) else None
