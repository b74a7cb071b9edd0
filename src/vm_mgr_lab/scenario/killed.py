"""Let a command die as a killed process does: at a call of a port, after which no call has an effect."""

from typing import Any

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.storage import PARTS

__all__ = ["DyingEnv", "KilledError"]

PORTS = ("cluster", "storage", "storages", "intent_log", "hypervisor")

PARTS_OF_STORAGE = frozenset(f"storage.{part}" for part in PARTS)


class KilledError(BaseException):
    """The process is gone."""


class DyingEnv:
    """An environment whose command ends before a call has an effect: "cluster.add", "storage.disks.drop"."""

    def __init__(self, env: object, point: str) -> None:
        """Raise INVALID where no port has such a call."""
        call: object = env
        for word in point.split("."):
            call = getattr(call, word, None)
        if point.partition(".")[0] not in PORTS or not callable(call):
            raise VmMgrError(Kind.INVALID, f"no port has a call {point!r}")
        self._env = env
        self._point = point
        self.dead = False
        for name in PORTS:
            setattr(self, name, _Port(self, name, getattr(env, name)))

    def __getattr__(self, name: str) -> Any:
        """Give the rest as it is."""
        return getattr(self._env, name)

    def hypervisor_at(self, node: str) -> Any:
        """Give another node's libvirt."""
        self.live("hypervisor_at")
        return self._env.hypervisor_at(node)  # type: ignore[attr-defined]

    def live(self, call: str) -> None:
        """Die where it is time, and stay dead."""
        self.dead = self.dead or call == self._point
        if self.dead:
            raise KilledError


class _Port:
    """A port of a process that may be dead."""

    def __init__(self, env: DyingEnv, name: str, port: object) -> None:
        self._of = env
        self._name = name
        self._port = port

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self._port, verb)
        if f"{self._name}.{verb}" in PARTS_OF_STORAGE:
            return _Port(self._of, f"{self._name}.{verb}", found)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            self._of.live(f"{self._name}.{verb}")
            return found(*given, **named)

        return call
