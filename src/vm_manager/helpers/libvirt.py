"""Stand in for SEAPATH's LibVirtManager: the domains of one libvirt, beside the cluster, by virsh."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from vm_manager.exceptions import VmManagerException
from vm_mgr.errors import Kind
from vm_mgr.wiring import RealEnv

__all__ = ["LibVirtManager"]

# How SEAPATH's interface calls the states; virsh's words for them are in virsh-domain-monitor.c of libvirt.
STATES = {
    **dict.fromkeys(("paused", "idle", "pmsuspended"), "Paused"),
    "running": "Started",
    "in shutdown": "Stopping",
    "shut off": "Stopped",
    "crashed": "FAILED",
}
TIMEOUT_S = 60.0


class LibVirtManager(AbstractContextManager["LibVirtManager"]):
    """One libvirt; what fails is a VmManagerException with virsh's words."""

    def __init__(self, uri: str = "qemu:///system") -> None:
        self._uri = uri

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave; no connection is kept."""

    def list(self) -> list[str]:
        """Name all domains, those that run and those that are only defined."""
        return self._virsh("list", "--all", "--name").split()

    def get_virsh_secrets(self) -> dict[str, str]:
        """Give the UUIDs of the secrets by their usages."""
        rows = (line.split(maxsplit=2) for line in self._virsh("secret-list").splitlines())
        return {row[2].strip(): row[0] for row in rows if len(row) == len(("UUID", "type", "usage"))}

    def define(self, xml: str) -> None:
        """Keep a definition; libvirt validates it."""
        self._virsh("define", "--validate", "/dev/stdin", stdin=xml)

    def undefine(self, vm_name: str) -> None:
        """Forget a definition and its UEFI variables."""
        self._virsh("undefine", "--nvram", vm_name)

    def start(self, vm_name: str) -> None:
        """Start a domain that is defined; nothing keeps it from running on a second node, too."""
        self._virsh("start", vm_name)

    def stop(self, vm_name: str) -> None:
        """Ask the guest to shut down."""
        self._virsh("shutdown", vm_name)

    def force_stop(self, vm_name: str) -> None:
        """Power it off."""
        self._virsh("destroy", vm_name)

    def status(self, vm_name: str) -> str:
        """Give one of Undefined, Started, Paused, Stopping, Stopped and FAILED."""
        if vm_name not in self.list():
            return "Undefined"
        return STATES.get(self._virsh("domstate", vm_name).strip(), "Undefined")

    @staticmethod
    def export_configuration(domain: str, xml_path: str | Path) -> None:
        """Write a domain's definition to a file."""
        Path(xml_path).write_text(_virsh("qemu:///system", "dumpxml", domain), encoding="utf-8")

    def _virsh(self, *words: str, stdin: str | None = None) -> str:
        return _virsh(self._uri, *words, stdin=stdin)


def _virsh(uri: str, *words: str, stdin: str | None = None) -> str:
    command = ("virsh", "--quiet", "-c", uri, *words)
    done = RealEnv().runner.run(command, stdin=stdin, timeout_s=TIMEOUT_S)
    if done.exit_code != 0:
        told = done.stderr.strip() or f"virsh {words[0]} failed"
        raise VmManagerException(told, kind=Kind.EXTERNAL_FAILURE.value)
    return done.stdout
