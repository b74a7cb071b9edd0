"""The storage on DRBD on two nodes in memory: files, links, kills, and what is refused."""

import pytest

from tests.contract.conftest import MemoryCib
from tests.contract.drbd_world import KilledError, World
from vm_mgr.adapters.drbd.record import State
from vm_mgr.adapters.drbd.res_file import parse_file
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker.cib_storage_records import CibStorageRecords
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.replication import Side, troubles
from vm_mgr.model.resource import Clone, Role
from vm_mgr.model.storage import Consistency, DiskClient, ImageFile
from vm_mgr.model.vm import VmSettings

NAME = "web1"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, CibStorageRecords(MemoryCib(), "drbd"), VirtualClock())


def make(world, name=NAME, *, disks=1, xml="<domain/>", commit=True, content=b"first"):
    path = world.nodes["n1"].resources.parent / f"{name}.img"
    path.write_bytes(content)
    with world.storage.stage(name) as staged:
        for _ in range(disks):
            staged.add(1 << 20)
            staged.fill(ImageFile(str(path), "raw", 1 << 20), lambda _: None)
        staged.describe(xml=xml, base_xml=xml, settings=VmSettings(), notes={})
        if commit:
            staged.commit()


def resource_of(node, port=7800):
    text = (node.resources / f"vm-mgr-{port}.res").read_text()
    return parse_file(text).sections("resource")[0]


def links(node):
    return {path.name: str(path.readlink()) for path in node.links.iterdir()}


def clean(world):
    """Tell that nothing is left of any VM."""
    assert world.storage.pool.records.read() == ({}, {})
    for node in world.nodes.values():
        assert (node.lvs, node.up, list(node.resources.iterdir()), links(node)) == ({}, {}, [], {})


def refused(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    return caught.value


class TestNewVm:
    def test_both_nodes_have_the_same_and_nothing_is_up(self, world):
        make(world, disks=2)
        for node in world.nodes.values():
            assert [volume["content"] for volume in node.lvs.values()] == [b"first", b"first"]
            assert {volume["md"] for volume in node.lvs.values()} == {"same"}
            assert node.up == {}
            assert resource_of(node).option("disk", "fencing") == "resource-and-stonith"
            assert links(node) == {"system_web1": "/dev/drbd100", "data_web1_0": "/dev/drbd101"}
            (path,) = node.resources.iterdir()
            assert path.stat().st_mode & 0o777 == 0o600

    def test_no_sync_was_needed(self, world):
        make(world, disks=2)
        marked = [argv for argv in world.nodes["n1"].ran if "--clear-bitmap" in argv]
        assert [argv[-1] for argv in marked] == ["vm-mgr-7800/0", "vm-mgr-7800/1"]
        assert not any("--clear-bitmap" in argv for argv in world.nodes["n2"].ran)

    def test_secret_is_in_no_argument(self, world):
        make(world)
        secret = world.storage.pool.placed(NAME).secret
        assert len(secret) >= 32
        assert not any(secret in word for node in world.nodes.values() for argv in node.ran for word in argv)
        assert {resource_of(node).option("net", "shared-secret") for node in world.nodes.values()} == {secret}

    def test_two_vms_share_nothing(self, world):
        make(world)
        make(world, "db1", disks=2)
        ours, theirs = (world.storage.pool.placed(name) for name in (NAME, "db1"))
        assert (ours.port, theirs.port) == (7800, 7801)
        assert {one.minor for one in ours.volumes}.isdisjoint({one.minor for one in theirs.volumes})
        assert ours.secret != theirs.secret

    def test_peer_that_is_silent_leaves_nothing_here(self, world):
        world.silent = {"n2"}
        error = refused(make, world)
        assert error.kind is Kind.EXTERNAL_FAILURE
        world.silent = set()
        assert world.storage.unstage(NAME) is False
        clean(world)

    def test_node_without_disks_makes_none(self, world):
        world.here = "n3"
        world.halves["n3"] = None
        error = refused(make, world)
        assert (error.kind, error.hint) == (Kind.NOT_SUPPORTED, "run the command on one of: n1, n2")

    def test_cluster_is_told_of_a_promotable_clone(self, world):
        make(world)
        (disk,), (needs,) = world.storage.cluster_parts(NAME)
        assert (disk.agent, disk.clone, disk.nodes) == ("ocf:linbit:drbd", Clone.PROMOTABLE, ("n1", "n2"))
        assert disk.params["drbd_resource"] == "vm-mgr-7800"
        assert disk.meta["promoted-max"] == "1"
        assert (needs.on, needs.role) == (disk.id, Role.PROMOTED)
        # Data that may be behind is never promoted.
        assert disk.params["adjust_master_score"].split()[0] == "0"


class TestKills:
    """After a kill before any program, whoever comes next finds the VM as before, or as asked for."""

    def killed_at(self, world, step, operation):
        world.left = step
        try:
            operation()
        except KilledError:
            return True
        finally:
            world.left = None
            for node in world.nodes.values():  # a copy or an open device ends with its process
                node.opened.clear()
        return False

    def each(self, tmp_path, prepare, operation, check):
        for step in range(200):
            world = World(tmp_path / str(step), CibStorageRecords(MemoryCib(), "drbd"), VirtualClock())
            prepare(world)
            killed = self.killed_at(world, step, lambda world=world: operation(world))
            world.storage.unstage(NAME)
            check(world)
            assert world.storage.unstage(NAME) is False
            if not killed:
                return step
        raise AssertionError

    def test_creation(self, tmp_path):
        def check(world):
            if world.storage.definitions.exists(NAME):
                for node in world.nodes.values():
                    assert links(node) == {"system_web1": "/dev/drbd100"}
                    assert resource_of(node).option("disk", "fencing") == "resource-and-stonith"
                world.storage.remove(NAME)
            clean(world)

        assert self.each(tmp_path, lambda _: None, make, check) > 10

    def test_replacement(self, tmp_path):
        def check(world):
            xml = world.storage.definitions.read(NAME)
            for node in world.nodes.values():
                content = {volume["content"] for volume in node.lvs.values()}
                assert content == {b"first" if xml == "<old/>" else b"second"}
                assert len(node.lvs) == len(links(node)) == 1
            world.storage.remove(NAME)
            clean(world)

        self.each(
            tmp_path,
            lambda world: make(world, xml="<old/>"),
            lambda world: make(world, xml="<new/>", content=b"second"),
            check,
        )

    def test_removal(self, tmp_path):
        def check(world):
            world.storage.remove(NAME)
            clean(world)

        self.each(tmp_path, make, lambda world: world.storage.remove(NAME), check)

    def test_further_disk(self, tmp_path):
        def add(world):
            world.storage.disks.make(NAME, 1, 1 << 20, None, lambda _: None)
            world.storage.disks.place(NAME, 1)

        def check(world):
            images = world.storage.clients.images(NAME)
            for node in world.nodes.values():
                assert sorted(links(node)) == sorted(images)
                assert len(node.lvs) == len(images)
                assert len(resource_of(node).sections("volume")) == len(images)
            world.storage.remove(NAME)
            clean(world)

        self.each(tmp_path, make, add, check)

    def test_rollback(self, tmp_path):
        def prepare(world):
            make(world, disks=2)
            world.storage.snapshots.take(NAME, "s1", Consistency.OFFLINE)
            for node in world.nodes.values():
                for name in ("drbd100", "drbd101"):
                    node.lvs[name]["content"] = b"later"

        def check(world):
            world.storage.snapshots.roll_back(NAME, "s1")
            for node in world.nodes.values():
                assert {volume["content"] for volume in node.lvs.values()} == {b"first"}
                assert len(node.lvs) == 4
                assert node.up == {}

        self.each(tmp_path, prepare, lambda world: world.storage.snapshots.roll_back(NAME, "s1"), check)

    def test_snapshot(self, tmp_path):
        def check(world):
            found = world.storage.snapshots.of(NAME)
            if not found:
                world.storage.snapshots.drop(NAME, "s1")
            for node in world.nodes.values():
                assert len(node.lvs) == (2 if found else 1)

        self.each(
            tmp_path,
            make,
            lambda world: world.storage.snapshots.take(NAME, "s1", Consistency.OFFLINE),
            check,
        )


class TestSnapshots:
    def test_writes_of_a_running_vm_are_held_meanwhile_and_no_longer(self, world):
        make(world)
        world.take(NAME)
        world.storage.snapshots.take(NAME, "s1", Consistency.FROZEN)
        n1 = world.nodes["n1"]
        verbs = [argv[1] if argv[0] == "drbdadm" else argv[0] for argv in n1.ran if argv[0] != "lvs"]
        assert verbs[-4:] == ["suspend-io", "lvcreate", "resume-io", "systemctl"]
        assert (n1.suspended, n1.timers) == (set(), set())

    def test_snapshot_through_which_writes_went_on_is_none(self, world):
        make(world)
        world.take(NAME)
        n2 = world.nodes["n2"]
        slow = n2.run

        def late(argv, **given):
            world.nodes["n1"].suspended.clear()  # as the timer does
            return slow(argv, **given)

        world.halves["n2"].runner.run = late
        error = refused(world.storage.snapshots.take, NAME, "s1", Consistency.FROZEN)
        assert error.kind is Kind.TRY_LATER
        assert world.storage.snapshots.of(NAME) == []

    def test_writes_that_do_not_end_are_let_go_on(self, world):
        make(world)
        world.take(NAME)
        world.nodes["n1"].under_way = 1
        error = refused(world.storage.snapshots.take, NAME, "s1", Consistency.FROZEN)
        assert error.kind is Kind.TRY_LATER
        assert world.nodes["n1"].suspended == set()

    def test_sides_that_differ_are_not_kept(self, world):
        make(world)
        world.take(NAME)
        world.linked = False
        error = refused(world.storage.snapshots.take, NAME, "s1", Consistency.FROZEN)
        assert error.kind is Kind.WRONG_STATE
        assert "n1 has UpToDate (WFConnection)" in error.message
        assert world.storage.snapshots.of(NAME) == []

    def test_rollback_has_the_cluster_let_go_and_take_again(self, world):
        make(world)
        world.take(NAME)
        world.storage.snapshots.take(NAME, "s1", Consistency.OFFLINE)
        world.asked.clear()
        world.storage.snapshots.roll_back(NAME, "s1")
        assert [verb for verb, _ in world.asked] == ["stop", "start"]
        assert world.nodes["n1"].primary == {"vm-mgr-7800"}

    def test_rollback_of_a_disk_in_use_is_refused_before_anything(self, world):
        make(world)
        world.storage.snapshots.take(NAME, "s1", Consistency.OFFLINE)
        world.nodes["n2"].opened = {100}
        assert refused(world.storage.snapshots.roll_back, NAME, "s1").kind is Kind.WRONG_STATE
        assert not any(argv[0] == "lvrename" for argv in world.nodes["n1"].ran)


class TestChanges:
    def test_disk_of_a_running_vm_grows_at_the_primary(self, world):
        make(world)
        world.take(NAME, primary="n2")
        world.storage.disks.resize(NAME, "system_web1", 1 << 22)
        assert world.nodes["n2"].ran[-1][:2] == ("drbdadm", "resize")
        for node in world.nodes.values():
            assert resource_of(node).sections("volume")[0].option("disk", "size") == "4096K"

    def test_disk_never_shrinks(self, world):
        make(world)
        assert refused(world.storage.disks.resize, NAME, "system_web1", 4096).kind is Kind.INVALID

    def test_running_vm_gets_a_disk_that_is_whole_from_the_first_moment(self, world):
        make(world)
        world.take(NAME)
        world.storage.disks.make(NAME, 1, 1 << 20, None, lambda _: None)
        world.storage.disks.place(NAME, 1)
        for node in world.nodes.values():
            assert [side.disk for side in node.up["vm-mgr-7800"]] == ["UpToDate", "UpToDate"]
        world.storage.disks.drop(NAME, 1)
        assert [len(node.up["vm-mgr-7800"]) for node in world.nodes.values()] == [1, 1]

    def test_renamed_vm_keeps_its_resource_and_has_new_paths(self, world):
        make(world)
        before = world.storage.cluster_parts(NAME)[0][0].params
        world.storage.rename(NAME, "db1")
        assert world.storage.cluster_parts("db1")[0][0].params == before
        for node in world.nodes.values():
            assert links(node) == {"system_db1": "/dev/drbd100"}

    def test_clone_begins_with_what_the_snapshot_has(self, world):
        make(world)
        world.storage.snapshots.take(NAME, "s1", Consistency.OFFLINE)
        with world.storage.stage("db1") as staged:
            staged.add_clone("system_web1", "s1")
            staged.describe(xml="<domain/>", base_xml="<domain/>", settings=VmSettings(), notes={})
            staged.commit()
        for node in world.nodes.values():
            assert node.lvs["drbd101"]["content"] == b"first"
        world.storage.remove(NAME)
        assert world.storage.definitions.names() == {"db1"}

    def test_removal_that_meets_a_silent_peer_is_finished_later(self, world):
        make(world)
        world.silent = {"n2"}
        assert refused(world.storage.remove, NAME).kind is Kind.EXTERNAL_FAILURE
        assert not world.storage.definitions.exists(NAME)
        assert [one.state for one in world.storage.pool.all().values()] == [State.OLD]
        world.silent = set()
        assert world.storage.remove(NAME)
        clean(world)


class TestClients:
    def test_open_disk_is_told_by_its_nodes_address(self, world):
        make(world)
        world.take(NAME, primary="n2")
        world.nodes["n2"].opened = {100}
        assert world.storage.clients.of(["system_web1"]) == [DiskClient("system_web1", "192.0.2.2:0/4711")]
        assert world.storage.clients.of(["system_web2"]) == []

    def test_peer_that_can_not_write_is_not_asked(self, world):
        make(world)
        world.take(NAME, primary="n1")
        world.silent = {"n2"}
        assert world.storage.clients.of(["system_web1"]) == []

    def test_silent_peer_that_writes_has_it_open(self, world):
        make(world)
        world.take(NAME, primary="n2")
        world.silent = {"n2"}
        assert world.storage.clients.of(["system_web1"]) == [DiskClient("system_web1", "192.0.2.2:0/0")]


class TestHandover:
    """Two primaries for the time of a live migration, and never else."""

    def second(self, world):
        return world.nodes["n2"].run(("drbdadm", "primary", "vm-mgr-7800"), timeout_s=1).exit_code

    def test_second_primary_is_refused_outside_of_a_handover(self, world):
        make(world)
        world.take(NAME)
        assert self.second(world) != 0
        world.storage.open_at(NAME, "n2")
        world.storage.open_at(NAME, "n2")
        assert [resource_of(node).option("net", "allow-two-primaries") for node in world.nodes.values()] == [
            "yes",
            "yes",
        ]
        assert self.second(world) == 0
        assert refused(world.storage.close_elsewhere, NAME, "n2").kind is Kind.TRY_LATER
        world.nodes["n1"].primary.clear()
        world.storage.close_elsewhere(NAME, "n2")
        world.storage.close_elsewhere(NAME, "n2")
        assert {resource_of(node).option("net", "allow-two-primaries") for node in world.nodes.values()} == {
            ""
        }
        world.nodes["n1"].run(("drbdadm", "secondary", "vm-mgr-7800"), timeout_s=1)
        assert world.nodes["n1"].run(("drbdadm", "primary", "vm-mgr-7800"), timeout_s=1).exit_code != 0

    def test_sides_that_differ_are_not_opened(self, world):
        make(world)
        world.take(NAME)
        world.linked = False
        assert refused(world.storage.open_at, NAME, "n2").kind is Kind.EXTERNAL_FAILURE
        assert not world.storage.pool.placed(NAME).two_primaries


class TestTroubles:
    """What people are told of the two sides."""

    def told(self, *sides):
        return {one.code: one.text for one in troubles(NAME, sides)}

    def side(self, node="n1", connection="Connected", disk="UpToDate", **more):
        return Side(node, "system_web1", "Secondary", disk, connection, **more)

    def test_whole_sides_are_not_worth_a_word(self, world):
        make(world)
        assert troubles(NAME, world.storage.sides(NAME)) == []  # not in the cluster
        world.take(NAME)
        assert troubles(NAME, world.storage.sides(NAME)) == []

    def test_lost_peer_is_told_by_who_is_left(self, world):
        make(world)
        world.take(NAME)
        world.linked, world.silent = False, {"n2"}
        told = self.told(*world.storage.sides(NAME))
        assert told["side-unknown"] == "n2 does not tell of its disks: n2 does not answer"
        assert told["peer-lost"].startswith("n1 has no connection to the other side of system_web1")

    def test_side_that_catches_up_tells_how_far_it_is(self):
        other = self.side("n2", "SyncTarget", "Inconsistent", synced_percent=26.4, finish_s=72)
        assert self.told(self.side("n1", "SyncSource"), other) == {
            "syncing": "n2 is catching up with system_web1: 26.4 % done, 72 s left"
        }

    def test_split_brain_shows_both_sides(self):
        sides = [self.side(node, "StandAlone", lacks_kib=number) for node, number in (("n1", 4), ("n2", 8))]
        told = self.told(*sides)
        assert set(told) == {"split-brain"}
        assert "n1: Secondary, UpToDate, 4 KiB" in told["split-brain"]
        assert "n2: Secondary, UpToDate, 8 KiB" in told["split-brain"]

    @pytest.mark.parametrize(
        ("code", "side"),
        [
            ("no-disk", {"disk": "Diskless"}),
            ("behind", {"disk": "Outdated", "connection": "WFConnection"}),
            ("behind", {"disk": "Inconsistent"}),
            ("side-down", {"connection": "Unconfigured"}),
            ("held", {"held": True}),
        ],
    )
    def test_each_state_has_its_word(self, code, side):
        assert code in self.told(self.side("n2"), self.side(**side))
