"""Sizes that nothing can ever give are refused; what is only short now, or not known, is told."""

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.capacity import NodeCapacity, Room
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import disable
from vm_mgr.operations.edit import edit
from vm_mgr.operations.enable import enable
from vm_mgr.operations.resize_disk import resize_disk
from vm_mgr.operations.set_vm import Changes, set_vm

from .conftest import DOMAIN

GIB = 1 << 30
ALLOW = ("overcommit",)


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    env.said.clear()
    env.storage.has_room = Room(total_bytes=10 * GIB, free_bytes=3 * GIB)
    return "web1"


@pytest.fixture
def nodes(env):
    """Three nodes of different sizes; the smallest is this one."""
    sizes = {"n1": NodeCapacity(4 * GIB, 2), "n2": NodeCapacity(16 * GIB, 4), "n3": NodeCapacity(8 * GIB, 16)}
    asked = []

    class Hypervisor:
        def __init__(self, node):
            self.node = node

        def capacity(self):
            asked.append(self.node)
            if sizes[self.node] is None:
                raise VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")
            return sizes[self.node]

        def __getattr__(self, verb):
            return getattr(env.hypervisor, verb)

    env.hypervisor_at = Hypervisor
    sizes["asked"] = asked
    return sizes


def codes(env):
    return [report.code for report in env.said if hasattr(report, "code")]


def refused(verb, *arguments, **named):
    with pytest.raises(VmMgrError) as caught:
        verb(*arguments, **named)
    assert caught.value.kind is Kind.NO_RESOURCES
    assert "--allow overcommit" in caught.value.hint
    return caught.value


class TestNodes:
    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            (Changes(memory_bytes=64 << 40), "n2, has 16 GiB"),
            (Changes(memory_bytes=16 * GIB + 1), "n2"),
            (Changes(vcpus=17), "n3, has 16"),
            (Changes(memory_bytes=16 * GIB, vcpus=16), "both"),
        ],
    )
    def test_what_no_node_has_is_refused_and_the_largest_named(self, env, vm, nodes, changes, named):
        before = env.storage.definitions.read(vm)
        assert named in refused(set_vm, env, vm, changes).message
        assert env.storage.definitions.read(vm) == before
        assert set_vm(env, vm, changes._replace(allow=ALLOW))

    def test_both_that_lack_are_named_at_once(self, env, vm, nodes):
        assert refused(set_vm, env, vm, Changes(memory_bytes=1 << 50, vcpus=1000)).others

    @pytest.mark.parametrize("changes", [Changes(memory_bytes=16 * GIB, vcpus=4), Changes(vcpus=16)])
    def test_what_one_node_has_is_taken(self, env, vm, nodes, changes):
        set_vm(env, vm, changes)
        assert "capacity-unknown" not in codes(env)

    def test_only_this_node_is_asked_where_it_is_large_enough(self, env, vm, nodes):
        set_vm(env, vm, Changes(memory_bytes=GIB))
        assert nodes["asked"] == ["n1"]
        set_vm(env, vm, Changes(description="nothing of size"))
        assert nodes["asked"] == ["n1"]

    def test_pinned_vm_has_one_node(self, env, vm, nodes):
        settings = {"pinned_host": env.cluster.places[vm]}
        nodes[env.cluster.places[vm]] = NodeCapacity(4 * GIB, 2)
        refused(set_vm, env, vm, Changes(settings, memory_bytes=8 * GIB))

    def test_node_that_can_not_be_asked_may_be_large_enough(self, env, vm, nodes):
        nodes["n3"] = None
        set_vm(env, vm, Changes(memory_bytes=32 * GIB))
        assert "capacity-unknown" in codes(env)

    def test_node_that_is_down_may_be_large_enough(self, env, vm, nodes):
        env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(online=False)
        set_vm(env, vm, Changes(memory_bytes=32 * GIB))
        assert "capacity-unknown" in codes(env)

    def test_observer_does_not_count(self, env, vm, nodes):
        env.cluster.nodes["n2"] = env.cluster.nodes["n2"]._replace(observer=True)
        refused(set_vm, env, vm, Changes(memory_bytes=16 * GIB))

    def test_new_vm_is_refused_before_its_import(self, env, image, nodes):
        xml = DOMAIN.replace("<memory>", "<memory unit='TiB'>")
        refused(create, env, CreateRequest("big", xml, (image,)))
        assert not env.storage.definitions.exists("big")
        assert not env.intent_log.intents()
        create(env, CreateRequest("big", xml, (image,), VmSettings(), allow=ALLOW))

    def test_edited_text_is_taken_with_a_warning(self, env, vm, nodes):
        before = env.storage.definitions.read(vm)
        edit(env, vm, before.replace("<memory>1<", "<memory unit='TiB'>1<"), before)
        assert "too-large" in codes(env)


class TestFreeMemory:
    """What a VM that is to be started needs now; the nodes have 4, 16 and 8 GiB in all."""

    @pytest.fixture
    def full(self, nodes):
        for node, free in (("n1", 1), ("n2", 3), ("n3", 2)):
            nodes[node] = nodes[node]._replace(free_bytes=free * GIB)
        return nodes

    def request(self, image, gib, **given):
        xml = DOMAIN.replace("<memory>1<", f"<memory unit='GiB'>{gib}<")
        return CreateRequest("big", xml, (image,), **given)

    def test_new_vm_is_warned_before_its_import_and_made_all_the_same(self, env, image, full):
        create(env, self.request(image, 4))
        (at,) = [at for at, one in enumerate(env.said) if getattr(one, "code", "") == "memory-short"]
        assert any(getattr(one, "step", "").startswith("importing") for one in env.said[at:])
        assert not any(getattr(one, "step", "").startswith("importing") for one in env.said[:at])
        note = env.said[at]
        assert "4 GiB" in note.message
        assert "n2 has the most, 3 GiB" in note.message
        assert "--nostart" in note.hint
        assert env.cluster.places["big"]

    @pytest.mark.parametrize(("gib", "asked"), [(1, ["n1"]), (3, ["n1", "n2"])])
    def test_one_node_with_enough_will_do(self, env, image, full, gib, asked):
        create(env, self.request(image, gib))
        assert "memory-short" not in codes(env)
        assert full["asked"] == asked

    def test_vm_that_is_not_started_needs_none(self, env, image, full):
        create(env, self.request(image, 4, start=False))
        assert "memory-short" not in codes(env)

    def test_node_that_does_not_tell_may_have_enough(self, env, image, full):
        full["n3"] = full["n3"]._replace(free_bytes=None)
        create(env, self.request(image, 4))
        assert "memory-short" not in codes(env)

    def test_pinned_vm_has_one_node_and_standby_has_none(self, env, image, full):
        full["n2"] = full["n2"]._replace(free_bytes=9 * GIB)
        create(env, self.request(image, 4, settings=VmSettings(pinned_host="n3")))
        assert "memory-short" in codes(env)
        env.said.clear()
        env.cluster.nodes["n2"] = env.cluster.nodes["n2"]._replace(standby=True)
        create(env, self.request(image, 4)._replace(name="big2"))
        assert "memory-short" in codes(env)

    def test_huge_pages_are_another_account(self, env, image, full):
        request = self.request(image, 4)
        pages = "<memoryBacking><hugepages/></memoryBacking><memory "
        create(env, request._replace(xml=request.xml.replace("<memory ", pages)))
        assert "memory-short" not in codes(env)

    def test_clone_and_enable_are_warned_too(self, env, image, full):
        create(env, self.request(image, 4))
        env.said.clear()
        clone(env, CloneRequest("big", "big2", VmSettings()))
        assert codes(env).count("memory-short") == 1
        disable(env, "big2")
        env.said.clear()
        enable(env, "big2", start=False)
        assert "memory-short" not in codes(env)
        disable(env, "big2")
        enable(env, "big2")
        assert codes(env).count("memory-short") == 1

    def test_clone_and_enable_are_refused_what_no_node_has_in_all(self, env, image, full):
        create(env, self.request(image, 64, allow=ALLOW))
        refused(clone, env, CloneRequest("big", "big2", VmSettings()))
        assert not env.storage.definitions.exists("big2")
        assert not env.storage.snapshots.of("big")
        clone(env, CloneRequest("big", "big2", VmSettings(), allow=ALLOW))
        disable(env, "big2")
        with pytest.raises(VmMgrError, match="no node has 64 GiB") as caught:
            enable(env, "big2")
        assert "--nostart" in caught.value.hint
        enable(env, "big2", start=False)


class TestRoom:
    @pytest.mark.parametrize("size", [900 << 40, 10 * GIB + (1 << 20)])
    def test_disk_that_can_never_be_filled_is_refused(self, env, vm, size):
        assert "10 GiB in all" in refused(add_disk, env, vm, NewDisk(size)).message
        refused(resize_disk, env, vm, size)
        assert len(env.storage.disks.of(vm)) == 1
        assert not env.intent_log.intents()
        resize_disk(env, vm, size, allow=ALLOW)
        add_disk(env, vm, NewDisk(size, allow=ALLOW))
        assert [disk.size_bytes for disk in env.storage.disks.of(vm)] == [size, size]

    def test_disk_that_has_no_room_now_is_told(self, env, vm):
        add_disk(env, vm, NewDisk(5 * GIB))
        resize_disk(env, vm, 5 * GIB)
        assert codes(env) == ["overcommit", "overcommit"]

    def test_disk_that_has_room_is_not(self, env, vm):
        add_disk(env, vm, NewDisk(2 * GIB))
        resize_disk(env, vm, 2 * GIB)
        resize_disk(env, vm, 2 * GIB)
        assert codes(env) == []

    def test_image_is_told(self, env, vm, image):
        env.storage.has_room = Room(total_bytes=1 << 19, free_bytes=1 << 19)
        create(env, CreateRequest("web2", DOMAIN, (image,)))
        assert "overcommit" in codes(env)
        refused(add_disk, env, vm, NewDisk(image=image))

    def test_storage_that_does_not_say_hinders_nothing(self, env, vm):
        env.storage.failing = "disks.room"
        resize_disk(env, vm, 900 << 40)
        assert codes(env) == ["room-unknown"]


def test_command_has_the_override(env, vm):
    line = ["resize-disk", vm, "900T"]
    done = CliRunner(mix_stderr=False).invoke(app, line, obj=env)
    assert (done.exit_code, "--allow overcommit" in done.stderr) == (6, True)
    assert CliRunner().invoke(app, [*line, "--allow", "overcommit"], obj=env).exit_code == 0
