"""Keep what the agent knows about a VM on this node until the node boots: a file of its own for each kind.

A file is replaced as a whole, so that nobody reads half of one. The shell of ocf/VirtualDomain reads some.
"""

from contextlib import suppress
from pathlib import Path

from vm_mgr import private
from vm_mgr.model.vm import VmName
from vm_mgr.ports.node_env import NodeEnv

__all__ = ["forget", "path", "read", "write"]


def path(env: NodeEnv, kind: str, name: VmName) -> Path:
    """Name a file about a VM; ".." is in no VM's name, so it can't be the file of another one."""
    return env.state_dir / f"{kind}..{name.replace('/', '..')}"


def read(env: NodeEnv, kind: str, name: VmName) -> str:
    """Give the text; empty where there is none, or none that can be read."""
    try:
        return path(env, kind, name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def write(env: NodeEnv, kind: str, name: VmName, text: str) -> None:
    """Replace the text; raises OSError. The new file's name is no VM's either: web1.new could be one."""
    file = path(env, kind, name)
    new = file.with_name(f"{file.name}..new")
    private.write(new, text)
    new.replace(file)


def forget(env: NodeEnv, name: VmName, *kinds: str) -> None:
    """Remove files; absent is fine, and so is a folder that can't be written."""
    with suppress(OSError):
        for kind in kinds:
            path(env, kind, name).unlink(missing_ok=True)
