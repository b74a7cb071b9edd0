"""Ask a node whether it has what a VM requires."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from vm_mgr.errors import VmMgrError

__all__ = ["NodeFacts"]


class NodeFacts(Protocol):
    """One hypervisor. Every call is bounded in time and changes nothing there."""

    def answers(self, requirements: Sequence[str]) -> Mapping[str, str]:
        """Give an answer of model/node_requirements.py to each word of which the node can tell.

        Raises EXTERNAL_FAILURE for a node that is silent, or too old to be asked.
        """
        ...

    def rejection(self, xml: str) -> VmMgrError | None:
        """Have libvirt read a definition as for a start, and give its complaint about what it says.

        INVALID: no libvirt takes the text. NOT_SUPPORTED: this node may lack something for it. What else
        hinders libvirt, or a libvirt that does not answer, is none.
        """
        ...
