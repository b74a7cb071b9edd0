"""Where the lab keeps things: the running cluster in one folder, what is slow to build in another."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from vm_mgr_lab.errors import LabError

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

    @classmethod
    def of_lab(cls, kernel: str | None) -> "Paths":
        """Return the folders of the lab of containers ("host"), of own kernels ("own"), or of the one up.

        VM_MGR_LAB_STATE names another lab than these two.
        """
        found = cls.from_environment()
        if "VM_MGR_LAB_STATE" in os.environ:
            return found
        labs = {"host": found, "own": replace(found, state=found.state.with_name(f"{found.state.name}-own"))}
        up = [name for name, paths in labs.items() if paths.description.exists()]
        if kernel is None and len(up) > 1:
            raise LabError("two labs are up", hint="say which: vm-mgr-lab --kernel own status")
        return labs[kernel or (up or ["host"])[0]]

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

    @property
    def disks(self) -> Path:
        """The folder of the disks that nodes with a kernel of their own share."""
        return self.state / "disks"

    def node(self, name: str) -> Path:
        """Return the folder of one node: its disk (upper, work, root) and its console."""
        return self.state / "nodes" / name

    def bmc_log(self, name: str) -> Path:
        """Return the record of what a BMC was asked to do, one JSON object a line."""
        return self.state / "bmc" / f"{name}.jsonl"

    def bmc_password(self, name: str) -> Path:
        """Return the file with the password of a node's BMC."""
        return self.state / "bmc" / f"{name}.password"
