"""Have another node do one of a closed list of things."""

from enum import StrEnum
from typing import Protocol

from vm_mgr.model.cluster import NodeName

__all__ = ["NodeRunner", "NodeVerb"]


class NodeVerb(StrEnum):
    """All that a node does for another one; versions side by side know each other by these words.

    CLOCK gives its wall clock in seconds. PROCESS PID BIRTH says `ended` or `lives`. BEGIN_HOLD NAME HOW
    SECONDS and END_HOLD NAME are those of ports/holds. KEEP_NVRAM NAME brings what has
    changed of its UEFI variables and TPM to the storage, and says `kept`. HAS WORD... gives WORD=ANSWER for
    each requirement of which the node can tell. DISKS STEP NUMBER... is that of ports/node_disks.
    """

    CLOCK = "clock"
    PROCESS = "process"
    BEGIN_HOLD = "begin"
    END_HOLD = "end"
    KEEP_NVRAM = "keep-nvram"
    HAS = "has"
    DISKS = "disks"


class NodeRunner(Protocol):
    """Other nodes, of which each decides by itself what the words mean: nothing of them meets a shell."""

    def run(self, node: NodeName, verb: NodeVerb, *words: str) -> str:
        """Give the answer, one line; raises EXTERNAL_FAILURE for a node that is silent or refuses."""
        ...
