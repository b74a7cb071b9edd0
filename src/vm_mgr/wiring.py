"""Build the real environment from the configuration; every part lazily, at its first use."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING

from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.config import DRBD
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import NodeName, migration_host
from vm_mgr.reports import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from vm_mgr.adapters.ceph.connection import Connection
    from vm_mgr.adapters.ceph.listing import Listing
    from vm_mgr.adapters.ceph.port import CephStorage
    from vm_mgr.adapters.host.remote import SshNodes
    from vm_mgr.adapters.host.runner import CommandLog, HostRunner
    from vm_mgr.adapters.libvirt.port import LocalLibvirt
    from vm_mgr.adapters.libvirt.remote import RemoteLibvirt
    from vm_mgr.adapters.pacemaker.port import Pacemaker
    from vm_mgr.adapters.shared_dir.mount import Mount
    from vm_mgr.adapters.shared_dir.port import SharedDirectory
    from vm_mgr.adapters.storage_set.storages import StorageSet
    from vm_mgr.adapters.storage_set.timings import BothTimings
    from vm_mgr.config import CephSettings, Settings, StorageSettings
    from vm_mgr.model.storage import DiskSource, Identified
    from vm_mgr.model.vm import VmName
    from vm_mgr.node_paths import NodePaths
    from vm_mgr.ports.definition import Definitions
    from vm_mgr.ports.env import Env
    from vm_mgr.ports.event_log import EventLog, Journal
    from vm_mgr.ports.evidence import Evidence
    from vm_mgr.ports.holds import HoldLimits
    from vm_mgr.ports.images import Images
    from vm_mgr.ports.intent_log import IntentLog
    from vm_mgr.ports.node_disks import NodeDisks
    from vm_mgr.ports.node_facts import NodeFacts
    from vm_mgr.ports.nodes import Nodes
    from vm_mgr.ports.nvram_files import NvramFiles
    from vm_mgr.ports.own_clients import OwnClients
    from vm_mgr.ports.processes import Processes
    from vm_mgr.ports.storage import Storage
    from vm_mgr.ports.storage_fencing import StorageFencing
    from vm_mgr.ports.timers import Timers
    from vm_mgr.reports import Say
    from vm_mgr.wiring_drbd import Drbd

__all__ = ["RealEnv", "dry_run_env"]


class RealEnv:
    """This machine, its cluster and its storage."""

    def __init__(
        self, say: Say = silent, log: CommandLog | None = None, *, storage_patience_s: float | None = None
    ) -> None:
        self.say = say
        self.doing = ""  # the command's name, for others who wait for it
        self.clock = SystemClock()
        self.log = log
        self.storage_patience_s = storage_patience_s
        self._listing: Listing | None = None
        self._names_begun = False
        self._connected: dict[NodeName, RemoteLibvirt] = {}

    @cached_property
    def settings(self) -> Settings:
        """The configuration file."""
        from vm_mgr.config import load  # noqa: PLC0415

        return load()

    @cached_property
    def storage_settings(self) -> StorageSettings:
        """The configuration's part about storages."""
        from vm_mgr.config import load_storage  # noqa: PLC0415

        return load_storage()

    @property
    def ceph(self) -> CephSettings:
        """The configuration's part about Ceph."""
        ceph = self.storage_settings.ceph
        if ceph is None:
            raise VmMgrError(Kind.ENVIRONMENT, "no Ceph is configured here", hint="add a table [ceph]")
        return ceph

    @cached_property
    def _paths(self) -> NodePaths:
        from vm_mgr.node_paths import node_paths  # noqa: PLC0415 - pathlib takes 4 ms of `status`

        return node_paths()

    def prefetch(self, *, names: bool) -> None:
        """Start looking at cluster and storage, while the caller loads the rest of itself."""
        if names and self.storage_settings.ceph:
            from vm_mgr.adapters.ceph.listing import Listing  # noqa: PLC0415

            with suppress(OSError):  # no process or pipe is left: what is asked for then is asked here
                self._listing = Listing(lambda: self.connection)
                self._names_begun = True
        self.cluster.prefetch()

    @cached_property
    def runner(self) -> HostRunner:
        """The programs of this machine."""
        from vm_mgr.adapters.host.runner import HostRunner  # noqa: PLC0415 - after the fork of prefetch

        return HostRunner(self.log)

    @cached_property
    def connection(self) -> Connection:
        """The client of Ceph."""
        ceph = self.ceph
        from vm_mgr.adapters.ceph.connection import Connection  # noqa: PLC0415

        if self.storage_patience_s is None:
            return Connection(ceph.conf, ceph.user, ceph.pool)
        return Connection(ceph.conf, ceph.user, ceph.pool, patience_s=self.storage_patience_s)

    def close(self) -> None:
        """Leave what was connected to; programs that live on make an environment for each operation."""
        built = [self.__dict__[one] for one in ("hypervisor", "connection") if one in self.__dict__]
        for one in (*self._connected.values(), *built):
            one.close()

    @cached_property
    def cluster(self) -> Pacemaker:
        """Pacemaker."""
        from vm_mgr.adapters.pacemaker.port import Pacemaker  # noqa: PLC0415

        return Pacemaker(self.runner, self.clock, require=self._require_claims, utc_at=self.utc_at)

    @cached_property
    def nodes(self) -> Nodes:
        """Pacemaker's nodes."""
        from vm_mgr.adapters.pacemaker.nodes import PacemakerNodes  # noqa: PLC0415

        return PacemakerNodes(self.runner, self.cluster.state)

    def utc_at(self, node: NodeName) -> float:
        """Give the wall clock of any node, in seconds; raises EXTERNAL_FAILURE where it does not tell."""
        return self.clock.utc() if node == self.cluster.local_node() else self.node_runner.utc(node)

    @cached_property
    def node_runner(self) -> SshNodes:
        """Other nodes, over ssh on the migration network."""
        from vm_mgr.adapters.host.remote import SshNodes  # noqa: PLC0415

        return SshNodes(self.runner, self.migration_network_suffix)

    @cached_property
    def storages(self) -> StorageSet:
        """The storages by their labels, the default one first."""
        from vm_mgr.adapters.shared_dir.listing import vm_names  # noqa: PLC0415
        from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet  # noqa: PLC0415

        settings = self.storage_settings
        ceph = StorageEntry(
            lambda: self._ceph_storage, names=self._ceph_names, identify=self._identify_images
        )
        entries = {settings.ceph.label: ceph} if settings.ceph else {}
        for label, directory in settings.directories.items():
            names = partial(vm_names, self._mount(label))
            entries[label] = StorageEntry(partial(self._directory, label), directory.resource, names)
        if settings.drbd:
            entries[settings.drbd.label] = StorageEntry(lambda: self._drbd.storage)
        return StorageSet({settings.default: entries.pop(settings.default), **entries})

    @cached_property
    def storage(self) -> Storage:
        """The storage that has a VM, whichever it is."""
        only, *others = self.storages.labels()
        if not others:
            return self.storages.get(only)
        from vm_mgr.adapters.storage_set.port import RoutedStorage  # noqa: PLC0415

        return RoutedStorage(self.storages)

    def _ceph_names(self) -> set[VmName]:
        """Take the names that prefetch began to read, once; all else of the storage takes 10 ms to load."""
        from vm_mgr.adapters.ceph.listing import group_names  # noqa: PLC0415

        begun, self._names_begun = self._names_begun, False
        return self._listing.names() if begun and self._listing else group_names(self.connection)

    def _identify_images(self, sources: Sequence[DiskSource]) -> Identified:
        """Tell the images of the pool, for libvirt's hook; all else of the storage takes 20 ms to load."""
        from vm_mgr.adapters.ceph.identify import identified  # noqa: PLC0415

        return identified(sources, self.ceph.pool)

    @cached_property
    def _ceph_storage(self) -> CephStorage:
        from vm_mgr.wiring_ceph import ceph_storage  # noqa: PLC0415

        given = self.ceph, self.connection, self.runner, self.clock  # a command sets another `say` later
        return ceph_storage(*given, spool=self._paths.spool, say=lambda one: self.say(one))  # noqa: PLW0108

    def _directory(self, label: str) -> SharedDirectory:
        from vm_mgr.wiring_shared import shared_directory  # noqa: PLC0415

        given = self.storage_settings.directories[label], self._mount(label), self.runner, self.clock
        return shared_directory(*given, where_it_runs=self._where_it_runs, require=self._require_claims)

    @cached_property
    def _drbd(self) -> Drbd:
        from vm_mgr.wiring_drbd import Drbd  # noqa: PLC0415

        return Drbd(self.storage_settings.drbd, self)

    @property
    def node_disks(self) -> NodeDisks:
        """This node's halves of the disks on DRBD."""
        return self._drbd.node

    def _require_claims(self) -> None:
        """A lock in Ceph can end under us; a file's lock can't."""
        if "connection" in self.__dict__:
            self.connection.leases.require()

    def _where_it_runs(self, name: VmName) -> LocalLibvirt:
        resource = self.cluster.state().resources.get(name)
        if resource is None or not resource.nodes:
            raise VmMgrError(Kind.WRONG_STATE, f"{name} does not run", hint=f"look: vm-mgr status {name}")
        return self.hypervisor_at(resource.nodes[0])

    def _mount(self, label: str) -> Mount:
        from vm_mgr.adapters.shared_dir.mount import Mount  # noqa: PLC0415

        directory = self.storage_settings.directories.get(label)
        return Mount(directory.path) if directory else Mount.own_of(self._paths.events)

    @cached_property
    def intent_log(self) -> IntentLog:
        """One for all storages: an object in Ceph's pool, files of the default directory, or the CIB."""
        if self.storage_settings.ceph is None:
            if self.storage_settings.default == DRBD:
                return self.cib_intent_log
            from vm_mgr.adapters.shared_dir.intent_log import SharedIntentLog  # noqa: PLC0415

            return SharedIntentLog(self._mount(self.storage_settings.default), doing=lambda: self.doing)
        from vm_mgr.adapters.ceph.intent_log import CephIntentLog  # noqa: PLC0415

        return CephIntentLog(self.connection, self._listing, doing=lambda: self.doing)

    @cached_property
    def cib_intent_log(self) -> IntentLog:
        """One in the CIB, for storages that only one node can open at a time."""
        return self.cluster.intent_log(self.processes, self.node_runner.has_ended, lambda: self.doing)

    @cached_property
    def storage_fencing(self) -> StorageFencing:
        """Ceph's daemons and clients; a shared directory's servers know by themselves who is gone."""
        if self.storage_settings.ceph is None:
            hint = "nothing is to be done: leases and locks of shared directories end with the fenced node"
            raise VmMgrError(Kind.NOT_SUPPORTED, "no storage here has to know of lost nodes", hint=hint)
        from vm_mgr.adapters.ceph.storage_fencing import CephStorageFencing  # noqa: PLC0415

        return CephStorageFencing(self.connection)

    @cached_property
    def event_log(self) -> EventLog:
        """In Ceph's pool, in the default directory, or each node's own where the CIB has the intents."""
        if self.storage_settings.ceph is None:
            from vm_mgr.adapters.shared_dir.event_log import SharedEventLog  # noqa: PLC0415

            return SharedEventLog(self._mount(self.storage_settings.default))
        from vm_mgr.adapters.ceph.event_log import CephEventLog  # noqa: PLC0415

        return CephEventLog(self.connection)

    @cached_property
    def journal(self) -> Journal:
        """systemd's journal, and the pipe to the service that keeps events."""
        from vm_mgr.adapters.host.journal import HostJournal  # noqa: PLC0415

        return HostJournal(self._paths.alerts, self._paths.journal, self._paths.proc)

    @cached_property
    def images(self) -> Images:
        """Image files, through qemu-img."""
        from vm_mgr.adapters.host.images import HostImages  # noqa: PLC0415

        return HostImages(self.runner)

    @cached_property
    def definitions(self) -> Definitions:
        """Domain XML."""
        from vm_mgr.adapters.libvirt.definition import DomainXml  # noqa: PLC0415

        return DomainXml(lambda: self.storage_settings.paths, lambda: self.storage_settings.ceph is not None)

    @cached_property
    def hypervisor(self) -> LocalLibvirt:
        """The libvirt of this node."""
        from vm_mgr.adapters.libvirt.port import LocalLibvirt  # noqa: PLC0415

        return LocalLibvirt(self.runner, self.state_dir, run=self._paths.libvirt_run)

    def hypervisor_at(self, node: NodeName) -> LocalLibvirt:
        """The libvirt of any node, over ssh on the migration network."""
        if node == self.cluster.local_node():
            return self.hypervisor
        if node not in self._connected:
            from vm_mgr.adapters.libvirt.remote import RemoteLibvirt  # noqa: PLC0415

            host = migration_host(node, self.migration_network_suffix)
            self._connected[node] = RemoteLibvirt.at(host, self.runner, self.state_dir)
        return self._connected[node]

    def facts_at(self, node: NodeName) -> NodeFacts:
        """What any node has: its own look, over ssh on the migration network."""
        from vm_mgr.adapters.libvirt.node_facts import LocalFacts, RemoteFacts  # noqa: PLC0415

        there, local = self.hypervisor_at(node).connection, node == self.cluster.local_node()
        return LocalFacts(self.runner, there) if local else RemoteFacts(self.node_runner, node, there)

    def holds_at(self, node: NodeName) -> HoldLimits:
        """The timers of any node's systemd, over ssh on the migration network."""
        from vm_mgr.adapters.host.holds import RemoteHolds, SystemdHolds  # noqa: PLC0415

        if node == self.cluster.local_node():
            return SystemdHolds(self.runner)
        return RemoteHolds(self.node_runner, node)

    @cached_property
    def nvram_files(self) -> NvramFiles:
        """What this node has of VMs' UEFI variables and TPMs."""
        from vm_mgr.adapters.host.nvram_files import HostNvramFiles  # noqa: PLC0415

        return HostNvramFiles(self.state_dir)

    @cached_property
    def processes(self) -> Processes:
        """The processes of this node."""
        from vm_mgr.adapters.host.processes import HostProcesses  # noqa: PLC0415

        return HostProcesses(self.clock, self._paths.proc, self._paths.libvirt_run)

    @cached_property
    def own_clients(self) -> OwnClients:
        """Files below the state directory."""
        from vm_mgr.adapters.host.own_clients import FileOwnClients  # noqa: PLC0415

        return FileOwnClients(self.state_dir)

    @cached_property
    def evidence(self) -> Evidence:
        """What tells more of a VM that runs here than its process does; for the agent's deeper checks."""
        from vm_mgr.adapters.libvirt.evidence import LibvirtEvidence  # noqa: PLC0415

        return LibvirtEvidence(self.runner, self._paths.libvirt_run)

    @cached_property
    def timings(self) -> BothTimings:
        """Timeouts of Corosync, Pacemaker and Ceph."""
        from vm_mgr.adapters.pacemaker.timings import read_cluster  # noqa: PLC0415
        from vm_mgr.adapters.storage_set.timings import BothTimings  # noqa: PLC0415

        if self.storage_settings.ceph is None:
            return BothTimings(lambda: read_cluster(self.runner), None)
        from vm_mgr.adapters.ceph.timings import read_ceph  # noqa: PLC0415

        return BothTimings(lambda: read_cluster(self.runner), lambda: read_ceph(self.connection))

    @cached_property
    def timers(self) -> Timers:
        """systemd's."""
        from vm_mgr.adapters.host.timers import SystemdTimers  # noqa: PLC0415 - for the agent only

        return SystemdTimers(self.runner, self.clock)

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
        return self._paths.state


def dry_run_env(env: Env, show: Callable[[str], None]) -> Env:
    """Give an environment in which operations change nothing, and show each step in words instead."""
    from vm_mgr.adapters.dry_run.recorder import DryRunEnv  # noqa: PLC0415

    return DryRunEnv(env, show)
