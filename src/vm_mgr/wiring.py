"""Build the real environment from the configuration; every part lazily, at its first use."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.reports import silent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vm_mgr.adapters.ceph.connection import Connection
    from vm_mgr.adapters.ceph.listing import Listing
    from vm_mgr.adapters.ceph.port import CephStorage
    from vm_mgr.adapters.host.runner import CommandLog, HostRunner
    from vm_mgr.adapters.pacemaker.port import Pacemaker
    from vm_mgr.config import CephSettings, Settings
    from vm_mgr.model.cluster import NodeName
    from vm_mgr.ports.definition import Definitions
    from vm_mgr.ports.hypervisor import Hypervisor
    from vm_mgr.ports.images import Images
    from vm_mgr.ports.ledger import Ledger
    from vm_mgr.ports.processes import Processes
    from vm_mgr.reports import Say

__all__ = ["RealEnv"]


class RealEnv:
    """This machine, its cluster and its storage."""

    def __init__(
        self, say: Say = silent, log: CommandLog | None = None, *, storage_patience_s: float | None = None
    ) -> None:
        self.say = say
        self.clock = SystemClock()
        self.log = log
        self.storage_patience_s = storage_patience_s
        self._listing: Listing | None = None

    @cached_property
    def settings(self) -> Settings:
        """The configuration file."""
        from vm_mgr.config import load  # noqa: PLC0415

        return load()

    @cached_property
    def ceph(self) -> CephSettings:
        """The configuration's part about Ceph."""
        from vm_mgr.config import load_ceph  # noqa: PLC0415

        return load_ceph()

    def prefetch(self, *, names: bool) -> None:
        """Start looking at cluster and storage, while the caller loads the rest of itself."""
        if names:
            from vm_mgr.adapters.ceph.listing import Listing  # noqa: PLC0415

            self._listing = Listing(lambda: self.connection)
        self.cluster.prefetch()

    @cached_property
    def runner(self) -> HostRunner:
        """The programs of this machine."""
        from vm_mgr.adapters.host.runner import HostRunner  # noqa: PLC0415 - after the fork of prefetch

        return HostRunner(self.log)

    @cached_property
    def connection(self) -> Connection:
        """The client of Ceph."""
        from vm_mgr.adapters.ceph.connection import Connection  # noqa: PLC0415

        ceph = self.ceph
        if self.storage_patience_s is None:
            return Connection(ceph.conf, ceph.user, ceph.pool)
        return Connection(ceph.conf, ceph.user, ceph.pool, patience_s=self.storage_patience_s)

    @cached_property
    def cluster(self) -> Pacemaker:
        """Pacemaker."""
        from vm_mgr.adapters.pacemaker.port import Pacemaker  # noqa: PLC0415

        return Pacemaker(self.runner, self.clock)

    @cached_property
    def storage(self) -> CephStorage:
        """Ceph RBD."""
        from vm_mgr.adapters.ceph.port import CephStorage  # noqa: PLC0415

        return CephStorage(
            self.connection, self.runner, self.clock, cache=self.ceph.cache, listing=self._listing
        )

    @property
    def snapshots(self) -> CephStorage:
        """Snapshots of RBD images."""
        return self.storage

    @cached_property
    def ledger(self) -> Ledger:
        """An object in the pool."""
        from vm_mgr.adapters.ceph.ledger import CephLedger  # noqa: PLC0415

        return CephLedger(self.connection, self._listing)

    @cached_property
    def images(self) -> Images:
        """Image files, through qemu-img."""
        from vm_mgr.adapters.host.images import HostImages  # noqa: PLC0415

        return HostImages(self.runner)

    @cached_property
    def definitions(self) -> Definitions:
        """Domain XML."""
        from vm_mgr.adapters.libvirt.definition import DomainXml  # noqa: PLC0415

        return DomainXml()

    @cached_property
    def hypervisor(self) -> Hypervisor:
        """The libvirt of this node."""
        from vm_mgr.adapters.libvirt.port import Virsh  # noqa: PLC0415

        return Virsh(self.runner, self.state_dir)

    def hypervisor_at(self, node: NodeName) -> Hypervisor:
        """The libvirt of any node, over ssh on the migration network."""
        if node == self.cluster.local_node():
            return self.hypervisor
        from vm_mgr.adapters.libvirt.commands import remote_uri  # noqa: PLC0415
        from vm_mgr.adapters.libvirt.port import Virsh  # noqa: PLC0415

        return Virsh(self.runner, self.state_dir, uri=remote_uri(node + self.migration_network_suffix))

    @cached_property
    def processes(self) -> Processes:
        """The processes of this node."""
        from vm_mgr.adapters.host.processes import HostProcesses  # noqa: PLC0415

        return HostProcesses(self.clock)

    @property
    def node_addresses(self) -> Mapping[str, NodeName]:
        """Which node an address on the storage network belongs to."""
        return self.settings.node_addresses

    @property
    def migration_network_suffix(self) -> str:
        """What a node's name on the migration network ends with."""
        return self.settings.migration_network_suffix

    @property
    def state_dir(self) -> Path:
        """Where what lasts until the next boot is kept."""
        from pathlib import Path  # noqa: PLC0415 - not for `list` and `status`

        return Path(self.settings.state_dir)

    @property
    def pool(self) -> str:
        """The pool that holds the VMs' disks."""
        return self.ceph.pool
