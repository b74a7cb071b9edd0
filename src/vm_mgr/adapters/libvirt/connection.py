"""Keep a connection to a libvirt through its Python binding, and bound each call in time.

The binding is loaded at the first call: most commands never need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ASLEEP", "PAUSED", "STATES", "Connection", "binding", "qemu_binding"]

# virDomainState (libvirt-domain.h), in virsh's words.
STATES = ("no state", "running", "idle", "paused", "in shutdown", "shut off", "crashed", "pmsuspended")
PAUSED = STATES.index("paused")
ASLEEP = STATES[-1]


def binding() -> Any:
    """Load libvirt's Python binding; raises ENVIRONMENT where it is not installed."""
    try:
        import libvirt  # noqa: PLC0415 - not for most commands
    except ImportError as error:
        hint = "apt install python3-libvirt"
        raise VmMgrError(Kind.ENVIRONMENT, "libvirt's Python binding is missing here", hint=hint) from error
    libvirt.registerErrorHandler(lambda *_: None, None)  # it would print what is raised, too
    return libvirt


def qemu_binding() -> Any:
    """Load the part for QEMU alone: its monitor and the guest's agent; raises ImportError."""
    import libvirt_qemu  # noqa: PLC0415

    return libvirt_qemu


class Connection:
    """One connection, made at the first call and again after it was lost or closed.

    libvirt's calls have no time limit of their own, so each is made in a thread that is given up in the end.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._open: Any = None

    def close(self) -> None:
        """Leave; the next call connects again."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def host(self, libvirt: Any) -> Any:
        """Give virConnect; to be called from within a call."""
        if self._open is None or not self._open.isAlive():
            self._open = libvirt.open(self.uri)
        return self._open

    def domain(self, libvirt: Any, name: str) -> Any:
        """Give virDomain; to be called from within a call."""
        return self.host(libvirt).lookupByName(name)

    def find(self, libvirt: Any, name: str) -> Any | None:
        """Give virDomain, or None where there is none of this name; to be called from within a call."""
        try:
            return self.domain(libvirt, name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def call(self, function: Callable[[Any], Any], timeout_s: float) -> Any:
        """Call with the binding; a call that hangs leaves its thread and its connection behind."""
        libvirt = binding()
        try:
            return bounded(lambda: function(libvirt), timeout_s)
        except OutOfTimeError:
            self._open = None
            message, cause = f"no answer of {self.uri} within {timeout_s:.0f} s", None
        except libvirt.libvirtError as error:
            message, cause = " ".join(str(error).split()), error
        hint = f"try it: virsh --connect '{self.uri}' list"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint) from cause
