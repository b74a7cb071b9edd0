"""Disks that are resources of the cluster: written, read, seen, and what Pacemaker makes of them."""

import copy
import subprocess

import pytest
from lxml import etree

from vm_mgr.adapters.dry_run.recorder import DryRunEnv
from vm_mgr.adapters.memory.storage import MemoryStorage
from vm_mgr.adapters.pacemaker import cib_read, cib_write, moves
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.adapters.pacemaker.disk_resources import read_dependencies
from vm_mgr.adapters.pacemaker.nodes import SCORES, read_score
from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet
from vm_mgr.agent.moving import migrate_from, migrate_to
from vm_mgr.agent.parameters import Parameters
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import ClusterState, Node, NodeName, Resource
from vm_mgr.model.intent import Intent
from vm_mgr.model.resource import Clone, ClusterParts, Dependency, DiskResource, Role, disk_id
from vm_mgr.model.vm import TargetRole, VmName
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import disable
from vm_mgr.operations.enable import enable
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.rename import rename
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.stop import stop
from vm_mgr.operations.support.placement import missing_resources
from vm_mgr.ports.cluster import Move, VmResource
from vm_mgr.ports.nodes import INFINITY
from vm_mgr_lab.scenario.simulate import with_tools

from .conftest import DOMAIN
from .test_pacemaker import EMPTY

DRBD = disk_id("web1", "drbd")
STATEFUL = "ocf:pacemaker:Stateful"


def promotable(name="web1", *, both=False):
    """Give a disk like a DRBD resource, with one writable side or two."""
    disk = DiskResource(
        disk_id(name, "drbd"),
        STATEFUL,
        params={"drbd_resource": "r7"},
        clone=Clone.PROMOTABLE,
        meta={"clone-max": "2", "promoted-max": "2" if both else "1", "notify": "true", "interleave": "true"},
        timeouts_s={"start": 240, "promote": 90},
        nodes=("n1", "n2"),
    )
    return ClusterParts((disk,), (Dependency(disk.id, Role.PROMOTED),))


def vm_with(parts, **more):
    return VmResource(
        "web1",
        TargetRole.STARTED,
        live_migration=True,
        disks=parts.disks,
        depends_on=parts.depends_on,
        **more,
    )


@pytest.fixture
def cib():
    return cib_write.parse_cib(EMPTY)


class TestConfiguration:
    def test_vm_runs_where_its_disk_is_promoted_and_after_that(self, cib):
        before = etree.tostring(cib)
        cib_write.add_vm(cib, vm_with(promotable()))
        beside, after = cib.find(".//rsc_colocation"), cib.find(".//rsc_order")
        assert (beside.get("rsc"), beside.get("with-rsc"), beside.get("with-rsc-role")) == (
            "web1",
            DRBD,
            "Promoted",
        )
        assert (after.get("first"), after.get("first-action")) == (DRBD, "promote")
        assert (after.get("then"), after.get("then-action")) == ("web1", "start")
        assert [op.get("role") for op in cib.iterfind(".//clone//op[@name='monitor']")] == [
            "Promoted",
            "Unpromoted",
        ]
        cib_write.remove_vm(cib, "web1")
        assert etree.tostring(cib) == before

    @pytest.mark.parametrize("clone", [None, Clone.PLAIN, Clone.PROMOTABLE])
    def test_disks_and_dependencies_are_read_back(self, cib, clone):
        disk = promotable().disks[0]._replace(clone=clone)
        role = Role.PROMOTED if clone is Clone.PROMOTABLE else Role.STARTED
        depends_on = (Dependency("mount"), Dependency(disk.id, role))
        cib_write.add_vm(cib, vm_with(ClusterParts((disk,), depends_on)))
        found = cib_read.read_configured(cib, "web1")
        assert (found.vm.disks, found.vm.depends_on) == ((disk,), depends_on)
        assert found.others == ()

    def test_role_in_the_words_of_older_tools_is_known(self, cib):
        cib_write.add_vm(cib, vm_with(promotable()))
        cib.find(".//rsc_colocation").set("with-rsc-role", "Master")
        assert read_dependencies(cib, "web1") == (Dependency(DRBD, Role.PROMOTED),)

    def test_change_restarts_no_disk_adds_the_new_and_removes_the_old(self, cib):
        (drbd,) = promotable().disks
        old = DiskResource(disk_id("web1", "old"), STATEFUL, clone=Clone.PLAIN, nodes=("n1",))
        needs = (Dependency(drbd.id, Role.PROMOTED), Dependency(old.id))
        cib_write.add_vm(cib, vm_with(ClusterParts((drbd, old), needs)))
        kept = etree.tostring(cib.find(f".//clone[@id='{DRBD}']"))
        new = DiskResource(disk_id("web1", "new"), STATEFUL)
        other = drbd._replace(params={"drbd_resource": "r8"})
        needs = (Dependency(drbd.id, Role.PROMOTED), Dependency(new.id))
        cib_write.update_vm(cib, vm_with(ClusterParts((other, new), needs)))
        found = cib_read.read_configured(cib, "web1").vm
        assert (found.disks, found.depends_on) == ((drbd, new), needs)
        assert etree.tostring(cib.find(f".//clone[@id='{DRBD}']")) == kept
        assert not cib.xpath("//@*[starts-with(., $gone)]", gone=old.id)


class TestScheduler:
    """What Pacemaker's own scheduler makes of it (which ./bootstrap unpacks), by schemas of 2.1 and 3.0."""

    @pytest.fixture
    def cluster(self, cib):
        cib.attrib.update({"admin_epoch": "0", "validate-with": "pacemaker-3.9", "crm_feature_set": "3.10.0"})
        options = etree.SubElement(cib.find(".//crm_config"), "cluster_property_set", id="options")
        for key, value in {"stonith-enabled": "false", "no-quorum-policy": "ignore"}.items():
            etree.SubElement(options, "nvpair", id=f"option-{key}", name=key, value=value)
        status = etree.SubElement(cib, "status")
        for number, name in enumerate(("n1", "n2", "n3"), 1):
            etree.SubElement(cib.find(".//nodes"), "node", id=str(number), uname=name)
            state = {"id": str(number), "uname": name, "in_ccm": "true", "crmd": "online", "join": "member"}
            node = etree.SubElement(status, "node_state", {**state, "expected": "member"})
            etree.SubElement(node, "transient_attributes", id=str(number))
            etree.SubElement(etree.SubElement(node, "lrm", id=str(number)), "lrm_resources")
        return cib

    @staticmethod
    def run(cib, tmp_path, tool, *options):
        file = tmp_path / "in.xml"
        file.write_bytes(etree.tostring(cib))
        # Without a file to save to, crm_simulate writes where Pacemaker is installed.
        saved = [f"--save-output={tmp_path / 'out.xml'}"] if tool == "crm_simulate" else []
        line = with_tools([tool, f"--xml-file={file}", *saved, *options], file)
        answer = subprocess.run(line, check=False, text=True, capture_output=True, timeout=60)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def actions(self, cib, tmp_path):
        """Give the actions of the next transition."""
        raw = self.run(cib, tmp_path, "crm_simulate", "--run", "--output-as=xml")
        found = etree.fromstring(raw.encode()).find("actions")
        return [dict(one.attrib) for one in found if one.get("reason") != "none"]

    def settled(self, cib, tmp_path):
        """Let the cluster do all that it wants, twice: promotion scores come after the start."""
        for _ in range(2):
            self.run(cib, tmp_path, "crm_simulate", "--simulate")
            cib = cib_write.parse_cib((tmp_path / "out.xml").read_text())
        return cib

    @staticmethod
    def seen(cib, tmp_path):
        """Look at the cluster as `vm-mgr status` does."""
        path = tmp_path / "seen.xml"
        path.write_bytes(etree.tostring(cib))
        line = with_tools(["crm_mon", "-1", "--output-as=xml"], path)
        done = subprocess.run(line, check=True, text=True, capture_output=True, timeout=60)
        return parse_crm_mon(done.stdout)

    @staticmethod
    def promote_at(cib, *nodes):
        for node in cib.iterfind("status/node_state"):
            if node.get("uname") in nodes:
                ident = f"a-{node.get('id')}"
                parent = etree.SubElement(
                    node.find("transient_attributes"), "instance_attributes", id=f"set-{ident}"
                )
                score = {"id": ident, "name": f"master-{DRBD}..instance", "value": "10"}
                etree.SubElement(parent, "nvpair", score)

    @pytest.mark.parametrize("schema", ["pacemaker-3.7", "pacemaker-3.9"])
    def test_configuration_is_valid(self, cluster, schema, tmp_path):
        cluster.set("validate-with", schema)
        cib_write.add_vm(cluster, vm_with(promotable(), requirements=("kvm",)))
        self.run(cluster, tmp_path, "crm_verify", "-V")

    def test_vm_starts_where_its_disk_is_promoted(self, cluster, tmp_path):
        cib_write.add_vm(cluster, vm_with(promotable()))
        self.promote_at(cluster, "n2")
        done = self.settled(cluster, tmp_path)
        seen = self.seen(done, tmp_path)
        assert seen.resources["web1"].nodes == ("n2",)
        assert seen.clones[DRBD] == {"n1": "Unpromoted", "n2": "Promoted"}
        assert DRBD not in seen.resources

    def test_vm_without_a_promoted_disk_stays_stopped(self, cluster, tmp_path):
        cib_write.add_vm(cluster, vm_with(promotable()))
        done = self.settled(cluster, tmp_path)
        seen = self.seen(done, tmp_path)
        assert not seen.resources["web1"].active
        assert set(seen.clones[DRBD].values()) == {"Unpromoted"}

    def test_nodes_without_the_data_are_barred(self, cluster, tmp_path):
        cib_write.add_vm(cluster, vm_with(promotable()))
        self.promote_at(cluster, "n2")
        done = self.settled(cluster, tmp_path)
        raw = self.run(done, tmp_path, *(word for word in SCORES if word != "--xml-pipe"))
        scores = {node: read_score(raw, "web1", node) for node in ("n1", "n2", "n3")}
        assert scores["n2"] > 0 > scores["n3"]
        assert scores["n3"] == -INFINITY

    @pytest.mark.parametrize(
        ("parts", "action"),
        [("one side", "move"), ("both", "migrate"), ("plain", "migrate"), ("single", "move")],
    )
    def test_vm_moves_live_where_both_nodes_may_write(self, cluster, tmp_path, parts, action):
        """One promoted side alone has to be demoted before the other one: the VM is stopped and started."""
        wanted = promotable(both=parts == "both")
        if parts in ("plain", "single"):
            (disk,) = wanted.disks
            disk = disk._replace(clone=Clone.PLAIN if parts == "plain" else None, meta={})
            wanted = ClusterParts((disk,), (Dependency(disk.id),))
        cib_write.add_vm(cluster, vm_with(wanted, preferred_host="n1"))
        self.promote_at(cluster, "n1", "n2")
        running = self.settled(cluster, tmp_path)
        moves.add_move(running, Move(VmName("web1"), NodeName("n1"), NodeName("n2")), expires_utc=4e9)
        found = {one["resource"]: one["action"] for one in self.actions(running, tmp_path)}
        assert found["web1"].lower() == action

    def promoted_at(self, cluster, tmp_path, **more):
        """Let a VM run on n1 with its disk, which either node could have."""
        defaults = etree.SubElement(cluster.find("configuration"), "rsc_defaults")
        stickiness = {"id": "stay", "name": "resource-stickiness", "value": "100"}
        etree.SubElement(etree.SubElement(defaults, "meta_attributes", id="defaults"), "nvpair", stickiness)
        cib_write.add_vm(cluster, vm_with(promotable(), preferred_host="n1", **more))
        self.promote_at(cluster, "n1", "n2")
        return self.settled(cluster, tmp_path)

    MOVE = Move(VmName("web1"), NodeName("n1"), NodeName("n2"), both_promoted=True)

    def test_vm_moves_live_once_its_disk_may_be_promoted_twice(self, cluster, tmp_path):
        """One transaction is enough: the disk is promoted at the target before the VM leaves."""
        running = self.promoted_at(cluster, tmp_path)
        moves.add_move(running, self.MOVE, expires_utc=4e9)
        self.run(running, tmp_path, "crm_verify", "-V")
        found = {one["resource"]: one["action"].lower() for one in self.actions(running, tmp_path)}
        assert found == {f"{DRBD}..instance:1": "promote", "web1": "migrate"}
        text = self.run(running, tmp_path, "crm_simulate", "--simulate")
        assert text.index("promote on n2") < text.index("migrate_to on n1")

    @pytest.mark.parametrize("there", ["n1", "n2"])
    def test_end_of_a_move_demotes_the_node_that_the_vm_is_not_on(self, cluster, tmp_path, there):
        """n1: the move was called off, with the disk promoted at both."""
        running = self.promoted_at(cluster, tmp_path)
        moves.add_move(running, self.MOVE, expires_utc=4e9)
        if there == "n1":
            for one in running.xpath("//rsc_location[starts-with(@id, 'vm-mgr-move-')]"):
                one.getparent().remove(one)
        both = self.settled(running, tmp_path)
        assert set(self.seen(both, tmp_path).clones[DRBD].values()) == {"Promoted"}
        assert moves.may_be_promoted_twice(both, "web1")
        moves.keep_at(both, "web1", there, 4e9)
        found = {one["resource"]: one["action"].lower() for one in self.actions(both, tmp_path)}
        assert list(found.values()) == ["demote"]
        ended = self.settled(both, tmp_path)
        moves.sweep_moves(ended, "web1", 0)
        seen = self.seen(self.settled(ended, tmp_path), tmp_path)
        assert seen.resources["web1"].nodes == (there,)
        assert seen.clones[DRBD] == {"n1": "Unpromoted", "n2": "Unpromoted", there: "Promoted"}

    def test_double_promotion_ends_before_the_constraint_that_keeps_the_vm(self, cluster, tmp_path):
        """Both have a date, so that nobody has to be there: a command may have been killed."""
        running = self.promoted_at(cluster, tmp_path)
        moves.add_move(running, self.MOVE, expires_utc=4e9)
        ends = {
            one.get("end")
            for one in running.iterfind(f".//meta_attributes[@id='{DRBD}..both']//date_expression")
        }
        kept = {one.get("end") for one in running.iterfind(".//rsc_location//date_expression")}
        assert len(ends) == len(kept) == 1
        assert max(ends) < min(kept)

    def test_what_a_move_adds_to_a_disk_is_no_part_of_it(self, cluster):
        cib_write.add_vm(cluster, vm_with(promotable()))
        moves.add_move(cluster, self.MOVE, expires_utc=4e9)
        assert cib_read.read_configured(cluster, "web1").vm.disks == promotable().disks
        moves.sweep_moves(cluster, "web1", 0)
        assert b"..both" not in etree.tostring(cluster)

    def half_way(self, cluster, tmp_path, half, sent_to, chosen=None):
        """Let two VMs run on n1; one has been sent to a node when the other one is to leave, too."""
        there = copy.deepcopy(cluster)
        for name in ("web1", "web2"):
            cib_write.add_vm(there, VmResource(VmName(name), TargetRole.STARTED, live_migration=True))
            first = {"id": f"first-{name}", "rsc": name, "node": "n1", "score": "100"}
            etree.SubElement(there.find(".//constraints"), "rsc_location", first)
        there = self.settled(there, tmp_path)
        moves.add_move(there, Move(VmName(half), NodeName("n1"), chosen=chosen), expires_utc=4e9)
        history = there.xpath(f"//node_state[@uname='n1']//lrm_resource[@id='{half}']")[0]
        sent = etree.SubElement(history, "lrm_rsc_op", dict(history.find("lrm_rsc_op").attrib))
        key = f"{half}_migrate_to_0"
        sent.attrib.update({"id": key, "operation_key": key, "operation": "migrate_to", "interval": "0"})
        sent.attrib.update({"call-id": "90", "rc-code": "0", "op-status": "0"})
        sent.attrib.update({"migrate_source": "n1", "migrate_target": sent_to})
        other = VmName("web2" if half == "web1" else "web1")
        moves.add_move(there, Move(other, NodeName("n1")), expires_utc=4e9)
        return next(one for one in self.actions(there, tmp_path) if one["resource"] == half)

    @pytest.mark.parametrize("half", ["web1", "web2"])
    @pytest.mark.parametrize("target", ["n2", "n3"])
    def test_vm_that_is_half_on_its_way_goes_on_to_the_node_that_was_chosen(
        self, cluster, tmp_path, half, target
    ):
        found = self.half_way(cluster, tmp_path, half, target, NodeName(target))
        assert (found["action"].lower(), found["dest"]) == ("migrate", target)

    def test_without_a_chosen_node_it_would_be_restarted_somewhere(self, cluster, tmp_path):
        cases = [(half, target) for half in ("web1", "web2") for target in ("n2", "n3")]
        found = {self.half_way(cluster, tmp_path, *case)["action"].lower() for case in cases}
        assert found - {"migrate"}, "then nothing has to be chosen any more"


class TestOperations:
    """The life of a VM whose storage has a promotable disk for each."""

    def test_live_migration_opens_the_disk_at_the_target_and_closes_it_after_the_move(self, env, vm):
        set_vm(env, vm, Changes({"live_migration": True}))
        source = env.cluster.state().resources[vm].nodes[0]
        target = "n2" if source == "n1" else "n1"
        migrate(env, vm, target)
        assert env.storages.handovers.asked == [("open", vm, target), ("close elsewhere", vm, target)]
        assert env.intent_log.intents() == {}

    def test_disk_that_can_not_be_opened_keeps_the_vm_where_it_is(self, env, vm):
        set_vm(env, vm, Changes({"live_migration": True}))
        source = env.cluster.state().resources[vm].nodes[0]
        env.storages.handovers.refusing = "the sides are not the same"
        with pytest.raises(VmMgrError):
            migrate(env, vm, "n2" if source == "n1" else "n1")
        assert env.cluster.state().resources[vm].nodes == (source,)
        assert env.cluster.moves == {}
        assert env.intent_log.intents() == {}

    def test_killed_live_migration_is_ended_by_whoever_comes_next(self, env, vm):
        details = {"storage": env.storages.label_of(vm)}
        env.intent_log.write(vm, Intent("handover", "n1", 0.0, details))
        stop(env, vm)
        assert [what for what, *_ in env.storages.handovers.asked] == ["close elsewhere"]
        assert env.intent_log.intents() == {}

    @pytest.fixture
    def vm(self, env, image):
        env.storages.parts = promotable
        create(env, CreateRequest(name="web1", xml=DOMAIN, images=(image,)))
        return "web1"

    def test_disk_comes_with_the_vm_and_is_promoted_beside_it(self, env, vm):
        state = env.cluster.state()
        (place,) = state.resources[vm].nodes
        assert state.clones[DRBD][place] == "Promoted"
        assert state.sets[DRBD] == {"n1", "n2"}
        assert env.cluster.resources[vm].depends_on == (Dependency(DRBD, Role.PROMOTED),)

    def test_disabled_vm_has_no_disk_and_an_enabled_one_has_it_again(self, env, vm):
        disable(env, vm)
        assert DRBD not in env.cluster.state().clones
        enable(env, vm)
        assert "Promoted" in env.cluster.state().clones[DRBD].values()

    def test_dry_run_names_the_disk_and_the_role(self, env, vm):
        disable(env, vm)
        steps = []
        enable(DryRunEnv(env, steps.append), vm)
        (written,) = [step for step in steps if step.startswith("write the resource")]
        assert f"needs {DRBD} (Promoted)" in written
        assert f"with the disk {DRBD}" in written
        assert DRBD not in env.cluster.state().clones

    def test_renamed_vm_takes_its_disk_along(self, env, vm):
        stop(env, vm)
        rename(env, vm, "db1")
        new = disk_id("db1", "drbd")
        assert set(env.cluster.state().clones) == {new}
        resource = env.cluster.resources["db1"]
        assert (resource.disks, resource.depends_on) == (
            promotable("db1").disks,
            promotable("db1").depends_on,
        )

    def test_change_of_settings_leaves_the_disk(self, env, vm):
        env.storages.parts = lambda name: promotable(name, both=True)
        set_vm(env, vm, Changes({"priority": 7}))
        assert env.cluster.resources[vm].disks == promotable().disks

    def test_single_disk_runs_where_its_vm_does(self, env, image):
        lvm = DiskResource(disk_id("web1", "lvm"), "ocf:heartbeat:LVM-activate")
        env.storages.parts = lambda _: ClusterParts((lvm,), (Dependency(lvm.id),))
        create(env, CreateRequest(name="web1", xml=DOMAIN, images=(image,)))
        resources = env.cluster.state().resources
        assert resources[lvm.id].nodes == resources["web1"].nodes
        assert not resources[lvm.id].is_vm


class TestPlacement:
    STATE = ClusterState(
        nodes=tuple(Node(name) for name in ("n1", "n2", "n3")),
        resources={
            "web1": Resource("web1"),
            "lvm": Resource("lvm", "ocf:heartbeat:LVM-activate", nodes=("n1",)),
        },
        sets={DRBD: frozenset({"n1", "n2"})},
        clones={DRBD: {"n1": "Promoted", "n2": "Unpromoted"}},
    )

    def test_node_without_an_instance_lacks_the_disk(self):
        found = {node: missing_resources(self.STATE, promotable(), node) for node in ("n1", "n2", "n3")}
        assert found == {"n1": [], "n2": [], "n3": [DRBD]}

    def test_single_disk_comes_along_with_its_vm_but_one_of_others_does_not(self):
        needs = ClusterParts(depends_on=(Dependency("lvm"),))
        assert missing_resources(self.STATE, needs, "n2") == ["lvm"]
        own = needs._replace(disks=(DiskResource("lvm", "ocf:heartbeat:LVM-activate"),))
        assert missing_resources(self.STATE, own, "n2") == []


class Replicated(MemoryStorage):
    """A storage that has it all."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def cluster_parts(self, name):
        return promotable(name)

    def open_at(self, name, node):
        self.asked.append(("open", name, node))

    def close_elsewhere(self, name, node):
        self.asked.append(("close elsewhere", name, node))


class TestStorageSet:
    def test_storage_adds_to_what_all_its_vms_need(self):
        storages = StorageSet(
            {"plain": StorageEntry(MemoryStorage, "mount"), "drbd": StorageEntry(Replicated, "x")}
        )
        assert storages.cluster_parts("plain", "web1") == ClusterParts(depends_on=(Dependency("mount"),))
        disk, needs = promotable()
        assert storages.cluster_parts("drbd", "web1") == (disk, (Dependency("x"), *needs))

    def test_only_a_storage_that_can_hands_disks_over(self):
        storages = StorageSet({"plain": StorageEntry(MemoryStorage), "drbd": StorageEntry(Replicated)})
        storages.handover("plain").open_at("web1", "n2")
        storages.handover("plain").close_elsewhere("web1", "n2")
        storages.handover("drbd").open_at("web1", "n2")
        assert storages.get("drbd").asked == [("open", "web1", "n2")]


class TestHandover:
    GIVEN = Parameters(name="web1", timeout_s=120, target_node="n2")

    @pytest.fixture
    def node(self, env, tmp_path):
        env.state_dir = tmp_path / "state"
        env.hypervisor.running["web1"] = 1000
        env.cluster.add(VmResource("web1", TargetRole.STARTED, live_migration=True, preferred_host="n1"))
        env.cluster.state()
        return env

    def test_disks_are_open_at_the_target_before_and_only_there_afterwards(self, node):
        migrate = node.hypervisor.migrate

        def moved(*given):
            assert node.storages.handovers.asked == [("open", "web1", "n2")]
            return migrate(*given)

        node.hypervisor.migrate = moved
        migrate_to(node, self.GIVEN)
        assert node.storages.handovers.asked[1:] == [("close elsewhere", "web1", "n2")]

    def test_guest_that_stays_has_its_disks_alone_again(self, node):
        node.hypervisor.failing_moves["web1"] = "no ssh"
        with pytest.raises(VmMgrError):
            migrate_to(node, self.GIVEN)
        assert node.storages.handovers.asked == [("open", "web1", "n2"), ("close elsewhere", "web1", "n1")]

    def test_nothing_is_closed_where_nobody_knows_where_the_guest_goes_on(self, node):
        node.hypervisor.failing_moves["web1"] = "connection lost"
        node.hypervisor.domain_state = node.hypervisor.paused = unreachable
        with pytest.raises(VmMgrError):
            migrate_to(node, self.GIVEN)
        assert node.storages.handovers.asked == [("open", "web1", "n2")]

    def test_disks_that_can_not_be_opened_end_the_move_before_it_begins(self, node):
        node.storages.handovers.refusing = "the peer is disconnected"
        with pytest.raises(VmMgrError) as caught:
            migrate_to(node, self.GIVEN)
        assert caught.value.kind is Kind.EXTERNAL_FAILURE
        assert node.hypervisor.migrated == []
        assert "web1" in node.hypervisor.running

    def test_guest_that_has_arrived_closes_what_a_killed_agent_left_open(self, node):
        migrate_from(node, self.GIVEN)
        assert node.storages.handovers.asked == [("close elsewhere", "web1", "n1")]

    def test_storage_that_is_unknown_here_leaves_the_move_to_qemu(self, node):
        node.storages.handover = unreachable
        migrate_to(node, self.GIVEN)
        assert "web1" not in node.hypervisor.running


def unreachable(*_, **__):
    raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")
