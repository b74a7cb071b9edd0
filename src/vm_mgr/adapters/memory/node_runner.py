"""Other nodes in memory."""

from vm_mgr.model.cluster import NodeName
from vm_mgr.ports.node_runner import NodeVerb

__all__ = ["MemoryNodeRunner"]


class MemoryNodeRunner:
    """Remember what was asked for, and give the answers that a test has set."""

    def __init__(self) -> None:
        self.asked: list[tuple[NodeName, NodeVerb, tuple[str, ...]]] = []
        self.answers: dict[NodeVerb, str] = {NodeVerb.KEEP_NVRAM: "kept"}

    def run(self, node: NodeName, verb: NodeVerb, *words: str) -> str:
        """Give the answer."""
        self.asked.append((node, verb, words))
        return self.answers.get(verb, "")
