"""Let a command die as a killed process does: at a call of a port, after which no call has an effect."""

from typing import Any

from vm_mgr.errors import Kind, VmMgrError

__all__ = ["DyingEnv", "KilledError"]

PORTS = ("cluster", "storage", "storages", "snapshots", "intent_log", "hypervisor")


class KilledError(BaseException):
    """The process is gone."""


class DyingEnv:
    """An environment whose command ends before a call, as "storage.rename", has an effect."""

    def __init__(self, env: object, point: str) -> None:
        """Raise INVALID where no port has such a call."""
        port, _, verb = point.partition(".")
        if port not in PORTS or not hasattr(getattr(env, port), verb):
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
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            self._of.live(f"{self._name}.{verb}")
            return found(*given, **named)

        return call
