"""Dry runs: the steps are those of the operation, and nothing real is asked to change."""

import copy
import typing

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.dry_run.reads import BOOKS, READS
from vm_mgr.adapters.dry_run.recorder import DryRunEnv
from vm_mgr.adapters.dry_run.wording import WORDS
from vm_mgr.adapters.memory.storage import MemoryStorage
from vm_mgr.adapters.storage_set.port import RoutedStorage
from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet
from vm_mgr.cli.app import app
from vm_mgr.cli.help import COMMANDS
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.cluster import Node, Resource
from vm_mgr.model.intent import Intent
from vm_mgr.model.migration import render_terms
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.metadata import set_metadata
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.pause import pause, resume
from vm_mgr.operations.registry import OPERATIONS as REGISTRY
from vm_mgr.operations.registry import Permission
from vm_mgr.operations.remove import remove
from vm_mgr.operations.rename import rename
from vm_mgr.operations.repair import repair
from vm_mgr.operations.resize_disk import resize_disk
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop
from vm_mgr.ports.cluster import Move
from vm_mgr.ports.env import Env
from vm_mgr.ports.staged import Staged
from vm_mgr.ports.storage import PARTS, Storage
from vm_mgr.reports import Note

from .conftest import DOMAIN
from .test_kills import OPERATIONS, STORED, world

# What nobody can change.
APART = {"clock", "migration_network_suffix", "node_addresses", "say"}


class Changed(BaseException):
    """Somebody tried to change the world."""


class Untouchable:
    """A port that may be asked for verbs that read, and for nothing else."""

    def __init__(self, port, real):
        self._port = port
        self._real = real

    def __getattr__(self, verb):
        part = f"{self._port}.{verb}"
        if part in READS:
            return type(self)(part, getattr(self._real, verb))
        if verb not in READS[self._port]:
            raise Changed(part)
        found = getattr(self._real, verb)
        if (self._port, verb) == ("storages", "get"):
            return lambda label: Untouchable("storage", found(label))
        return found


class UntouchableEnv:
    """A world that can only be looked at."""

    def __init__(self, env):
        self._env = env

    def hypervisor_at(self, node):
        return Untouchable("hypervisor", self._env.hypervisor_at(node))

    def __getattr__(self, name):
        found = getattr(self._env, name)
        return Untouchable(name, found) if name in READS else found


def ports():
    parts = {f"storage.{name}": part for name, part in properties(Storage).items()}
    return {**properties(Env, APART), **parts, "staged": Staged}


def properties(protocol, apart=()):
    return {
        name: typing.get_type_hints(getter.fget)["return"]
        for name, getter in vars(protocol).items()
        if isinstance(getter, property) and name not in apart
    }


def verbs(protocol):
    return {name for name in dir(protocol) if not name.startswith("_") and callable(getattr(protocol, name))}


def test_parts_of_a_storage_are_those_that_are_named():
    assert set(PARTS) == set(properties(Storage))


@pytest.mark.parametrize("port", ports())
def test_every_verb_is_known_to_read_or_has_words(port):
    reads, books, words = (table.get(port, ()) for table in (READS, BOOKS, WORDS))
    assert sorted([*reads, *books, *words]) == sorted(verbs(ports()[port]))


def seen(env):
    """What the ports tell, but for what is new each time: addresses, UUIDs, times."""
    vms = {
        name: (
            [(disk.image, disk.size_bytes, disk.parent) for disk in env.storage.disks.of(name)],
            sorted(one.name for one in env.storage.snapshots.of(name)),
            env.storage.definitions.settings(name),
            sorted(env.storage.definitions.metadata(name)),
            env.storage.definitions.metadata(name)["vm_name"],
            env.storages.label_of(name),
        )
        for name in env.storage.definitions.names()
    }
    resources = {
        name: (one.role, one.target_role, one.active, one.nodes)
        for name, one in env.cluster.state().resources.items()
    }
    left = {name: env.cluster.configured(name).others for name in resources}
    known = env.hypervisor.domain_state("old1", timeout_s=1)
    return vms, resources, left, known, dict(env.intent_log.intents())


def everything(env):
    env.cluster.state()  # which does at each look what it was asked for
    vms = {name: vars(vm) for name, vm in env.storage.vms.items()}
    parts = (env.storage, env.cluster, env.intent_log, env.hypervisor)
    apart = {"on_call": None, "domains": None, **dict.fromkeys(PARTS)}
    kept = [env.storage.saved_memory.states, *({**vars(part), "vms": vms, **apart} for part in parts)]
    return copy.deepcopy(kept)


def dry_run_of(env, operation):
    """Run it in a world that can't be changed; give its environment, and the steps that it told."""
    before = everything(env)
    steps = []
    dry_run_env = DryRunEnv(UntouchableEnv(env), steps.append)
    try:
        operation(dry_run_env)
    finally:
        assert everything(env) == before
    return dry_run_env, steps


@pytest.mark.parametrize("name", OPERATIONS)
def test_dry_run_ends_where_the_operation_would_and_changes_nothing(name, image):
    options, operation = OPERATIONS[name]
    env = world(image, **options)
    env.cluster.state()
    dry_run_env, steps = dry_run_of(env, lambda dry: operation(dry, image))
    assert steps
    assert all(steps)
    operation(env, image)
    assert seen(dry_run_env) == seen(env)


def test_steps_are_told_in_words_and_in_order(image):
    env = world(image)
    request = CreateRequest("web1", DOMAIN, (image,), VmSettings(priority=5), force=True)
    assert dry_run_of(env, lambda dry: create(dry, request))[1] == [
        "make system_web1 (1 MiB)",
        "copy disk.qcow2 (1 MiB) into system_web1",
        "store the definition and the settings of web1",
        "stop web1",
        "take web1 and its constraints out of the cluster's configuration",
        "put the disks of web1 in place and delete those it had: system_web1 (1 MiB), data_web1_0 (1 MiB)",
        "write the resource web1: Started, priority 5, migration_network_suffix=-cluster",
    ]
    assert dry_run_of(env, lambda dry: remove(dry, "web1"))[1] == [
        "stop web1",
        "take web1 and its constraints out of the cluster's configuration",
        "delete the disks of web1: system_web1 (1 MiB), data_web1_0 (1 MiB)",
    ]
    assert dry_run_of(env, lambda dry: rollback(dry, "web1", "old"))[1] == [
        "stop web1",
        "take all disks of web1 back to old",
        "start web1",
    ]
    assert dry_run_of(env, lambda dry: clone(dry, CloneRequest("web1", "new1", VmSettings())))[1] == [
        "hold web1 still: freeze its file systems, or pause it if it has no agent",
        "take the snapshot vm-mgr-clone-new1 of all disks of web1",
        "let web1 go on",
        "make system_new1, sharing the blocks of system_web1",
        "make data_new1_0, sharing the blocks of data_web1_0",
        "store the definition and the settings of new1",
        "put the disks of new1 in place",
        "remove the snapshot vm-mgr-clone-new1 of web1",
        "write the resource new1: Started, migration_network_suffix=-cluster",
    ]


def test_steps_of_a_running_vm_are_told_in_words(image):
    env = world(image)
    assert dry_run_of(env, lambda dry: migrate(dry, "web1", "n3"))[1] == [
        "move web1 from n1 to n3, by a constraint for at most 300 s",
        "remove the constraint of the move of web1",
    ]
    terms = {"strategy": "precopy", "reason": "it is idle", "bandwidth": "8", "timeout": "9"}
    move = Move("web1", "n1", "n3", options=render_terms(terms), lifetime_s=5)
    how = "bandwidth 8 MiB/s, timeout 9 s, precopy: it is idle"
    assert dry_run_of(env, lambda dry: dry.cluster.begin_move(move))[1] == [
        f"move web1 from n1 to n3 ({how}), by a constraint for at most 5 s"
    ]
    assert dry_run_of(env, lambda dry: resize_disk(dry, "web1", 3 << 30, 1))[1] == [
        "make data_web1_0 larger: 3 GiB",
        "tell web1 that rbd/data_web1_0 has 3 GiB",
    ]
    assert dry_run_of(env, lambda dry: add_disk(dry, "web1", NewDisk(image=image)))[1] == [
        "make data_web1_1 (1 MiB) and copy disk.qcow2 into it",
        "put data_web1_1 in place",
        "store with web1: definition",
        "attach the disk to the running guest of web1",
    ]
    assert dry_run_of(env, lambda dry: set_metadata(dry, "web1", "owner", "me"))[1] == [
        "store with web1: owner=me"
    ]


def test_what_is_as_asked_for_takes_no_step(image):
    env = world(image)
    assert dry_run_of(env, lambda dry: stop(dry, "db1"))[1] == []
    assert dry_run_of(env, lambda dry: start(dry, "web1"))[1] == []


def test_guest_is_paused_and_unplugged_in_words_only(image):
    env = world(image)
    assert dry_run_of(env, lambda dry: stop(dry, "web1", force=True))[1] == [
        "stop web1",
        "power off web1",
    ]
    assert dry_run_of(env, lambda dry: pause(dry, "web1"))[1] == ["pause web1"]
    pause(env, "web1")
    assert dry_run_of(env, lambda dry: pause(dry, "web1"))[1] == []
    assert dry_run_of(env, lambda dry: resume(dry, "web1"))[1] == ["let web1 go on"]
    assert dry_run_of(env, lambda dry: create_snapshot(dry, "web1", "fresh"))[1] == [
        "take the snapshot fresh of all disks of web1"
    ]
    env.hypervisor.halted["web1"] = "I/O error"
    for operation in (pause, lambda dry, name: create_snapshot(dry, name, "fresh")):
        with pytest.raises(VmMgrError) as refused:
            dry_run_of(env, lambda dry, operation=operation: operation(dry, "web1"))
        assert refused.value.kind is Kind.WRONG_STATE


def test_unfinished_operation_is_settled_first_in_a_dry_run_too(image):
    env = world(image)
    env.intent_log.write("web1", Intent("restart", "n3"))
    env.cluster.set_target_role("web1", TargetRole.STOPPED)
    for operation in (repair, lambda dry: start(dry, "web1")):
        assert dry_run_of(env, operation)[1] == [
            "start web1",
            "close the unfinished restart of web1, begun on n3",
        ]
    assert dry_run_of(env, lambda dry: remove(dry, "web1"))[1][-1] == (
        "close the unfinished restart of web1, begun on n3"
    )


def test_stop_is_rehearsed_without_a_storage_too(image):
    env = world(image)
    env.intent_log.intents = lambda: env.storage.may_fail("intents")
    env.storage.failing = "intents"
    steps = []
    stop(DryRunEnv(UntouchableEnv(env), steps.append), "web1")
    assert steps == ["stop web1"]
    assert env.said[-1].code == "not-alone"


def test_another_command_is_not_disturbed(image):
    env = world(image)
    with env.intent_log.lock("web1"):
        assert dry_run_of(env, lambda dry: stop(dry, "web1"))[1] == ["stop web1"]


@pytest.mark.parametrize(
    ("spoil", "operation", "kind"),
    [
        (lambda env: setattr(env.cluster, "quorate", False), lambda env: stop(env, "web1"), Kind.TRY_LATER),
        (lambda env: None, lambda env: migrate(env, "db1"), Kind.WRONG_STATE),
        (lambda env: None, lambda env: rename(env, "web1", "db1"), Kind.EXISTS),
        (lambda env: None, lambda env: start(env, "nobody"), Kind.NOT_FOUND),
        (
            lambda env: clone(env, CloneRequest("web1", "new1", VmSettings())),
            lambda env: remove(env, "web1"),
            Kind.WRONG_STATE,
        ),
        (
            lambda env: env.cluster.foreign.update(ip1=Resource("ip1", agent="ocf:heartbeat:IPaddr2")),
            lambda env: clone(env, CloneRequest("web1", "ip1", VmSettings(), force=True)),
            Kind.EXISTS,
        ),
        (
            lambda env: env.storage.held.append(DiskClient("system_db1", "198.51.100.77:0/1")),
            lambda env: rollback(env, "db1", "old"),
            Kind.WRONG_STATE,
        ),
        (
            lambda env: setattr(env.storage, "failing", "definitions.names"),
            lambda env: rollback(env, "db1", "old"),
            Kind.EXTERNAL_FAILURE,
        ),
    ],
)
def test_error_is_the_one_that_the_operation_would_have(spoil, operation, kind, image):
    env = world(image)
    env.cluster.state()
    spoil(env)
    steps = []
    with pytest.raises(VmMgrError) as dry:
        operation(DryRunEnv(UntouchableEnv(env), steps.append))
    assert not steps
    with pytest.raises(VmMgrError) as real:
        operation(env)
    assert dry.value.kind is real.value.kind is kind


def test_vm_is_shown_as_the_cluster_has_it_until_it_is_changed(image):
    env = world(image)
    moving = Resource("web1", role="Migrating", active=True, nodes=("n1",), target_role="Started")
    del env.cluster.resources["web1"]
    env.cluster.foreign["web1"] = moving
    env.cluster.nodes["n2"] = Node("n2", standby=True)
    env.cluster.sets = {"vm-mgr-dir-vms": frozenset({"n1"})}
    dry_run_env = DryRunEnv(UntouchableEnv(env), [].append)
    assert dry_run_env.cluster.state() == env.cluster.state()
    stop(dry_run_env, "web1")
    assert dry_run_env.cluster.state().resources["web1"].role == "Stopped"
    assert dry_run_env.cluster.state().sets == env.cluster.sets


def test_only_the_vms_that_are_changed_are_read(image):
    env = world(image)
    asked = []

    class Asked(Untouchable):
        def __getattr__(self, verb):
            found = super().__getattr__(verb)
            if isinstance(found, Untouchable):
                return found
            return lambda *arguments: asked.append((verb, *arguments)) or found(*arguments)

    whole = UntouchableEnv(env)
    whole.storage = Asked("storage", env.storage)
    rollback(DryRunEnv(whole, [].append), "web1", "old")
    assert "web1" in {name for _, *names in asked for name in names if isinstance(name, str)}
    assert "db1" not in {name for _, *names in asked for name in names if isinstance(name, str)}
    assert "exclusive" not in {verb for verb, *_ in asked}


def test_vm_that_cannot_be_read_can_be_removed(image):
    env = world(image)

    read = ("metadata", "settings", "read")
    unread = {*(f"storage.definitions.{verb}" for verb in read), "storage.disks.of", "storage.snapshots.of"}

    class Broken(Untouchable):
        def __getattr__(self, verb):
            if f"{self._port}.{verb}" in unread:
                raise VmMgrError(Kind.EXTERNAL_FAILURE, "it is broken")
            return super().__getattr__(verb)

    whole = UntouchableEnv(env)
    whole.storage = Broken("storage", env.storage)
    env.cluster.remove("web1")
    steps = []
    dry_run_env = DryRunEnv(whole, steps.append)
    remove(dry_run_env, "web1")
    assert steps == ["delete what is left of web1 in the storage"]
    assert not dry_run_env.storage.definitions.exists("web1")


def test_disk_with_a_name_of_its_own_keeps_it(image):
    env = world(image)
    images = ["system_web1", "scratch"]

    class Own(Untouchable):
        def __getattr__(self, verb):
            found = super().__getattr__(verb)
            if verb == "images":
                return lambda name: images if name == "web1" else found(name)
            if (self._port, verb) == ("storage.disks", "of"):
                return lambda name: [
                    disk._replace(image=images[number]) if name == "web1" else disk
                    for number, disk in enumerate(found(name))
                ]
            return found

    whole = UntouchableEnv(env)
    whole.storage = Own("storage", env.storage)
    dry_run_env = DryRunEnv(whole, [].append)
    stop(dry_run_env, "web1")
    clone(dry_run_env, CloneRequest("web1", "new1", VmSettings()))
    assert [disk.parent for disk in dry_run_env.storage.disks.of("new1")] == images
    rename(dry_run_env, "web1", "web2")
    assert dry_run_env.storage.clients.images("web2") == ["system_web2", "scratch"]


def test_storages_side_by_side_are_rehearsed_as_one(image):
    env = world(image)
    real, other = env.storage, MemoryStorage()
    env.storages = StorageSet(
        {"ceph": StorageEntry(lambda: real), "vms": StorageEntry(lambda: other, "mount")}
    )
    env.storage = RoutedStorage(env.storages)
    request = CreateRequest("new1", DOMAIN, (image,), storage="vms")
    steps = []
    dry_run_env = DryRunEnv(UntouchableEnv(env), steps.append)
    create(dry_run_env, request)
    assert dry_run_env.storages.label_of("new1") == "vms"
    assert dry_run_env.storages.label_of("web1") == "ceph"
    assert "needs mount" in steps[-1]
    assert not other.vms
    create(env, request)
    with pytest.raises(VmMgrError) as refused:
        create(DryRunEnv(UntouchableEnv(env), [].append), request._replace(storage="", force=True))
    assert refused.value.kind is Kind.WRONG_STATE
    dry_run_env = DryRunEnv(UntouchableEnv(env), [].append)
    clone(dry_run_env, CloneRequest("new1", "new2", VmSettings()))
    assert dry_run_env.storages.label_of("new2") == "vms"
    assert {"new1", "new2", "web1"} <= dry_run_env.storage.definitions.names()


def test_warnings_are_passed_on_and_progress_is_not(image):
    env = world(image, started=False)
    env.cluster.fencing_enabled = False
    env.said.clear()
    assert dry_run_of(env, lambda dry: start(dry, "web1"))[1] == ["start web1"]
    assert [type(report) for report in env.said] == [Note]


@pytest.fixture
def shell(image, tmp_path):
    env = world(image)
    (tmp_path / "vm.xml").write_text(DOMAIN)

    def run(*words):
        return CliRunner(mix_stderr=False).invoke(app, words, obj=env)

    run.env = env
    return run


# What another program, or the guest, does.
NO_DRY_RUN = {"console", "exec", "screenshot"}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_change_something_have_the_option(shell, command):
    done = shell(command, "--help")
    named = {"clear": "unmigrate"}.get(command, command)
    reads = named not in REGISTRY or REGISTRY[named].permission is Permission.READ or named in NO_DRY_RUN
    assert ("--dry-run" in done.stdout) is not reads
    assert done.stdout.count("--dry-run") == (0 if reads else 1)


def test_dry_run_prints_numbered_steps_and_the_command_says_nothing_else(shell):
    before = seen(shell.env)
    done = shell("rollback", "web1", "--snap-name", "old", "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "1. stop web1",
        "2. take all disks of web1 back to old",
        "3. start web1",
        "nothing was changed",
    ]
    assert shell("start", "web1", "--dry_run").stdout == "nothing would be changed\n"
    assert seen(shell.env) == before


def test_dry_run_fails_as_the_command_would(shell, tmp_path):
    for words in (
        ("start", "nobody"),
        ("create", "web1", "--xml", str(tmp_path / "vm.xml"), "--image", "/none"),
        ("clone", "web1", "--dst-name", "db1"),
        ("rename", "web1", "--new-name", "web2"),
        ("add-to-cluster", "old2"),
    ):
        dry, real = shell(*words, "--dry-run"), shell(*words)
        assert dry.exit_code == real.exit_code > 1
        assert dry.stderr == real.stderr
        assert dry.stdout == ""
    assert shell("purge", "web1", "--number", "-1", "--dry-run").exit_code == 2
    assert shell("status", "web1", "--dry-run").exit_code == EXIT_CODES[Kind.INVALID]


def test_dry_run_of_repair_names_what_is_unfinished(shell):
    shell.env.intent_log.write("web1", Intent("drop-snapshot", "n2", details={"snapshot": "old"}))
    assert shell("repair", "--dry-run").stdout.splitlines() == [
        "1. remove the snapshot old of web1",
        "2. close the unfinished drop-snapshot of web1, begun on n2",
        "nothing was changed",
    ]
    assert shell.env.intent_log.intents()


def test_definition_is_edited_in_a_dry_run_without_being_asked(shell, tmp_path):
    (tmp_path / "vm.xml").write_text(STORED.replace("hvm", "xen"))
    done = shell("edit", "web1", "--file", str(tmp_path / "vm.xml"), "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-2:] == ["1. store with web1: definition", "nothing was changed"]
    assert "xen" not in shell.env.storage.definitions.read("web1")
