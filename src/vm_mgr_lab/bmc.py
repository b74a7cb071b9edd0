"""Start, break and heal the nodes' BMCs, each a process of its own outside of the nodes (see bmc_server)."""

import secrets
import sys

from vm_mgr_lab.cgroup import Cgroup
from vm_mgr_lab.network import switch_namespace
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import spawn
from vm_mgr_lab.topology import Node, bmc_address

__all__ = ["USER", "ask_password", "break_down", "heal", "is_up", "start"]

USER = "admin"


def ask_password(paths: Paths, node: Node) -> str:
    """Return the password of a node's BMC, making a random one the first time."""
    file = paths.bmc_password(node.name)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.parent.chmod(0o700)
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(8))  # IPMI 2.0 allows 20 bytes, some agents 16
    return file.read_text()


def start(paths: Paths, node: Node) -> None:
    """Start a node's BMC; one that runs is left alone."""
    group = Cgroup(f"bmc-{node.name}")
    if group.is_populated():
        return
    ask_password(paths, node)
    group.create()
    argv = [
        *group.enter_command(),
        *switch_namespace().enter_command(),
        sys.executable,
        "-m",
        "vm_mgr_lab.bmc_server",
        node.name,
    ]
    spawn(
        argv,
        console=paths.state / "bmc" / f"{node.name}.out",
        env={"VM_MGR_LAB_STATE": str(paths.state), "VM_MGR_LAB_CACHE": str(paths.cache)},
    )


def is_up(node: Node) -> bool:
    """Tell whether a node's BMC runs."""
    return Cgroup(f"bmc-{node.name}").is_populated()


def break_down(node: Node) -> None:
    """End a node's BMC and take its address off the network: it doesn't answer any more."""
    group = Cgroup(f"bmc-{node.name}")
    group.kill()
    group.wait_empty(timeout_s=10)
    if _has_address(node):
        switch_namespace().ip([f"address delete {bmc_address(node)}/24 dev admin"])


def heal(paths: Paths, node: Node) -> None:
    """Bring a broken BMC back."""
    if not _has_address(node):
        switch_namespace().ip([f"address add {bmc_address(node)}/24 dev admin"])
    start(paths, node)


def _has_address(node: Node) -> bool:
    shown = switch_namespace().output_of(["ip", "-oneline", "-4", "address", "show", "dev", "admin"])
    return f" {bmc_address(node)}/" in shown
