"""Connect to Ceph in bounded time and translate its errors."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.lease import Leases
from vm_mgr.bounded import OutOfTimeError, bounded
from vm_mgr.errors import Kind, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BLOCKLIST_S",
    "PATIENCE_S",
    "TIME_LIMITS",
    "Connection",
    "begun",
    "failed",
    "load_rados",
    "load_rbd",
    "translated",
    "wait_for_map",
]

# What a person waits for an answer; the agent has the time that Pacemaker gives it.
PATIENCE_S = 10.0
# Monitors that elect give no map for some seconds.
MAP_S = 30.0
# How long a client stays blocklisted: one that never heard of it, as on a node whose switch was off, may
# come back after any time. Without a time of its own Ceph forgets an entry after an hour.
BLOCKLIST_S = 30 * 24 * 3600.0
# Ceph's options for it, in seconds.
TIME_LIMITS = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")


class Connection:
    """One client of one pool, connected at first use."""

    def __init__(self, conf: str, user: str, pool: str, *, patience_s: float = PATIENCE_S) -> None:
        self.conf = conf
        self.user = user
        self.pool = pool
        self.patience_s = patience_s
        self.leases = Leases()
        self.silent: tuple[float, VmMgrError] | None = None
        self._cluster: Any = None
        self._ioctx: Any = None

    @property
    def cluster(self) -> Any:
        """Give the rados client."""
        if self._cluster is None:
            self._cluster = self._connect()
        return self._cluster

    @property
    def ioctx(self) -> Any:
        """Give the pool; raises TRY_LATER after the end of a lock that is held through this connection."""
        self.leases.require()
        if self._ioctx is None:
            rados = load_rados()
            try:
                self._ioctx = self.cluster.open_ioctx(self.pool)
            except rados.ObjectNotFound as error:
                hint = f"create it: ceph osd pool create {self.pool}; rbd pool init {self.pool}"
                if "/" in self.pool:
                    hint = "namespaces of RBD are not supported: name a pool in /etc/vm-mgr/vm-mgr.toml"
                raise VmMgrError(Kind.ENVIRONMENT, f"Ceph has no pool {self.pool}", hint=hint) from error
            except rados.Error as error:  # the first map did not come: there are no monitors in quorum
                raise failed(f"can't open the pool {self.pool}", error) from error
        return self._ioctx

    def close(self) -> None:
        """Leave; librados keeps the threads of a client that is only forgotten."""
        ioctx, cluster = self._ioctx, self._cluster
        self._ioctx = self._cluster = None

        def leave() -> None:
            if ioctx is not None:
                ioctx.close()
            if cluster is not None:
                cluster.shutdown()

        with suppress(OutOfTimeError):  # a Ceph that hangs does not keep us
            bounded(leave, self.patience_s)

    def _connect(self) -> Any:
        rados = load_rados()
        limits = dict.fromkeys(TIME_LIMITS, str(int(self.patience_s)))
        # After the loss of a node the map that a new client gets still has its storage daemons: while one of
        # them leaves a request unanswered for half a second, a newer map is asked for, instead of after 10 s.
        limits |= {"objecter_timeout": "0.5", "objecter_tick_interval": "0.25"}
        # Monitors that elect send a client away: it asks again after a fifth of a second instead of 3 s.
        limits["mon_client_hunt_interval"] = "0.2"
        # A time of librbd's own would keep it from breaking locks: it sends a string, which monitors refuse.
        limits["rbd_blocklist_expire_seconds"] = "0"
        limits["rbd_default_clone_format"] = "2"  # Ceph 16's binding can't ask for it by itself
        try:
            cluster = rados.Rados(conffile=self.conf, rados_id=self.user, conf=limits)
        except (rados.Error, OSError) as error:
            hint = "set [ceph] conf in /etc/vm-mgr/vm-mgr.toml"
            raise VmMgrError(Kind.ENVIRONMENT, f"can't read {self.conf}: {error}", hint=hint) from error
        try:
            cluster.connect()
        except rados.Error as error:
            if os.geteuid() != 0 and getattr(error, "errno", 0) != errno.ETIMEDOUT:
                message = f"only root may be Ceph's client.{self.user}: {_words(error)}"
                raise VmMgrError(Kind.NOT_PERMITTED, message, hint="run as root") from error
            message = f"Ceph can't be reached as client.{self.user}: {_words(error)}"
            hint = f"look at it with: ceph -s --id {self.user} --connect-timeout 5"
            raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint) from error
        return cluster


def load_rados() -> Any:
    """Load the client; raises ENVIRONMENT where it is not installed."""
    try:
        import rados  # noqa: PLC0415
    except ImportError as error:
        raise _no_binding() from error
    return rados


def load_rbd() -> Any:
    """Load what knows images, which takes another 10 ms; raises ENVIRONMENT where it is not installed."""
    try:
        import rbd  # noqa: PLC0415
    except ImportError as error:
        raise _no_binding() from error
    return rbd


def _no_binding() -> VmMgrError:
    message = "Ceph's Python binding is not installed here"
    hint = "run vm-mgr on a node of the cluster; there: apt install python3-rados python3-rbd"
    return VmMgrError(Kind.ENVIRONMENT, message, hint=hint)


def wait_for_map(cluster: Any) -> None:
    """Wait until a client knows the newest map; raises EXTERNAL_FAILURE where no monitor tells in time.

    librados itself would wait for ever.
    """
    try:
        bounded(cluster.wait_for_latest_osdmap, MAP_S)
    except OutOfTimeError as error:
        message = f"Ceph's monitors did not give their newest map within {MAP_S:.0f} s"
        hint = "look at Ceph's health: ceph -s --connect-timeout 5"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=hint) from error


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn Ceph's errors into ours, saying what was being done."""
    rados, rbd = load_rados(), load_rbd()
    try:
        yield
    except rbd.ImageBusy as error:
        hint = "see who has it open: rbd status POOL/IMAGE"
        raise VmMgrError(Kind.WRONG_STATE, f"{doing}: the disk is in use", hint=hint) from error
    except rbd.ImageHasSnapshots as error:
        hint = "remove the clones that depend on it, or flatten them"
        raise VmMgrError(Kind.WRONG_STATE, f"{doing}: clones depend on the disk", hint=hint) from error
    except (rados.Error, rbd.Error) as error:
        raise failed(doing, error) from error


@contextmanager
def begun(doing: str) -> Iterator[None]:
    """Turn all of Ceph's errors into EXTERNAL_FAILURE: something is changed by now, so none is a refusal."""
    try:
        with translated(doing):
            yield
    except VmMgrError as error:
        if error.kind is Kind.EXTERNAL_FAILURE:
            raise
        raise VmMgrError(Kind.EXTERNAL_FAILURE, error.message, hint=error.hint) from error


def failed(doing: str, error: Exception) -> VmMgrError:
    """Say in our words that Ceph failed at something."""
    hint = "look at Ceph's health: ceph -s --connect-timeout 5"
    return VmMgrError(Kind.EXTERNAL_FAILURE, f"{doing}: {_words(error)}", hint=hint)


def _words(error: Exception) -> str:
    return str(error).removeprefix("[errno ").replace("] ", ": ", 1) if str(error) else type(error).__name__
