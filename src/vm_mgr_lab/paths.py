"""Where the lab keeps things: the running cluster in one folder, what is slow to build in another."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHECKOUT", "Paths"]

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The lab's folders; nothing outside of them is written."""

    state: Path
    cache: Path

    @classmethod
    def from_environment(cls) -> "Paths":
        """Return the default folders, or those of VM_MGR_LAB_STATE and VM_MGR_LAB_CACHE."""
        return cls(
            state=Path(os.environ.get("VM_MGR_LAB_STATE", "/var/lib/vm-mgr-lab")),
            cache=Path(os.environ.get("VM_MGR_LAB_CACHE", "/var/cache/vm-mgr-lab")),
        )

    @property
    def description(self) -> Path:
        """The file that says what the running lab consists of."""
        return self.state / "lab.json"

    @property
    def lock(self) -> Path:
        """The lock that keeps two commands from changing the same lab; outside of the state folder."""
        return self.cache / "lock"

    @property
    def inventory(self) -> Path:
        """The Ansible inventory of the running lab."""
        return self.state / "inventory.yml"

    @property
    def ssh_key(self) -> Path:
        """The private key that opens the nodes and the guests."""
        return self.cache / "ssh" / "id_ed25519"

    @property
    def shared(self) -> Path:
        """The folder that the nodes see as a file server's."""
        return self.state / "shared"

    def node(self, name: str) -> Path:
        """Return the folder of one node: its disk (upper, work, root) and its console."""
        return self.state / "nodes" / name

    def bmc_log(self, name: str) -> Path:
        """Return the record of what a BMC was asked to do, one JSON object a line."""
        return self.state / "bmc" / f"{name}.jsonl"

    def bmc_password(self, name: str) -> Path:
        """Return the file with the password of a node's BMC."""
        return self.state / "bmc" / f"{name}.password"
