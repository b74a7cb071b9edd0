"""Whatever happens to whichever VMs: ids stay unique, and the CIB is as if it had been written anew."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from vm_mgr.adapters.pacemaker import cib_write, moves
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.resource import Clone, Dependency, DiskResource, Role, disk_id
from vm_mgr.model.vm import TargetRole
from vm_mgr.ports.cluster import Move, VmResource

from .test_pacemaker import EMPTY

# Each could be taken for a part of another one's ids.
NAMES = (
    "a",
    "b",
    "a-b",
    "a-b-a",
    "a.b",
    "a_b",
    "meta",
    "meta-a",
    "op-a",
    "pin",
    "a-start",
    "a.meta",
    "fence",
)
KEYS = (
    "a",
    "#health",
    "a b",
    "größe",
    "a.b",
    "a..b",
    ".23.health",
    "on-fail",
    "_x",
    ":",
    "-",
    "23",
    "meta-a",
)
PARTS = {
    "drbd": DiskResource("", "ocf:linbit:drbd", {"a": "1"}, Clone.PROMOTABLE, {"notify": "true"}),
    "lvm": DiskResource("", "ocf:heartbeat:LVM-activate", {"vgname": "x"}, timeouts_s={"start": 90}),
    "shared": DiskResource("", "ocf:x:y", clone=Clone.PLAIN, nodes=("n1", "n2")),
}
SOME = settings(deadline=None, max_examples=300)

pairs = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["1", "x y"]), max_size=3)
# A few names a time, so that the same VMs meet again.
few_names = st.lists(st.sampled_from(NAMES), min_size=3, max_size=3, unique=True).map(st.sampled_from)


def vms(names):
    fields = {
        "name": names,
        "target_role": st.sampled_from(TargetRole),
        "pinned_host": st.sampled_from([None, "n1"]),
        "preferred_host": st.sampled_from([None, "n2"]),
        "params": pairs,
        "meta": pairs,
        "utilization": pairs,
        "depends_on": st.sampled_from([(), (Dependency("mount"),)]),
        "requirements": st.sampled_from([(), ("kvm",), ("bridge-a", "bridge-a.b-a", "machine-x86_64-a-1.0")]),
        "follow_uplink": st.booleans(),
        "colocations": st.dictionaries(names, st.sampled_from(["700", "-INFINITY"]), max_size=3),
    }
    return st.tuples(st.fixed_dictionaries(fields), st.sets(st.sampled_from(list(PARTS)))).map(with_disks)


def with_disks(given):
    """Give the VM disks, which it depends on."""
    fields, parts = given
    disks = tuple(PARTS[part]._replace(id=disk_id(fields["name"], part)) for part in sorted(parts))
    roles = {Clone.PROMOTABLE: Role.PROMOTED}
    needs = tuple(Dependency(one.id, roles.get(one.clone, Role.STARTED)) for one in disks)
    return VmResource(**{**fields, "disks": disks, "depends_on": fields["depends_on"] + needs})


def histories(names):
    step = st.one_of(
        st.tuples(st.just("add"), vms(names)),
        st.tuples(st.just("update"), vms(names)),
        st.tuples(st.just("rename"), names, names),
        st.tuples(st.just("remove"), names),
        st.tuples(st.just("role"), names, st.sampled_from(TargetRole)),
        st.tuples(st.just("move"), names),
    )
    return st.lists(step, min_size=5, max_size=15)


class Expected:
    """The VMs that there are to be, and which of them are being moved."""

    def __init__(self):
        self.vms = {}
        self.moving = set()

    def add(self, vm):
        self.vms[vm.name] = vm
        self.moving.discard(vm.name)

    def update(self, vm):
        if vm.name in self.vms:
            present = self.vms[vm.name]
            self.vms[vm.name] = vm._replace(target_role=present.target_role, params=present.params)

    def rename(self, name, new):
        self.vms[new] = self.vms.pop(name).renamed(new)
        for other, vm in self.vms.items():
            wishes = dict(vm.colocations)
            if name in wishes:
                wishes[new] = wishes.pop(name)
            self.vms[other] = vm._replace(colocations=wishes)
        if name in self.moving:
            self.moving = (self.moving - {name}) | {new}

    def remove(self, name):
        self.vms.pop(name, None)
        self.moving.discard(name)

    def written(self):
        cib = cib_write.parse_cib(EMPTY)
        for vm in self.vms.values():
            cib_write.add_vm(cib, vm)
        for name in self.moving:
            moves.add_move(cib, Move(name, "n1"), 2e9)
        return cib


def do(cib, expected, step):
    verb, *what = step
    if verb == "add":
        cib_write.add_vm(cib, what[0])
        expected.add(what[0])
    elif verb == "update":
        cib_write.update_vm(cib, what[0])
        expected.update(what[0])
    elif verb == "rename" and what[0] in expected.vms and what[1] not in expected.vms:
        cib_write.rename_vm(cib, *what)
        expected.rename(*what)
    elif verb == "remove":
        cib_write.remove_vm(cib, what[0])
        expected.remove(what[0])
    elif verb == "role" and what[0] in expected.vms:
        cib_write.set_target_role(cib, *what)
        expected.vms[what[0]] = expected.vms[what[0]]._replace(target_role=what[1])
    elif verb == "move" and what[0] in expected.vms:
        moves.add_move(cib, Move(what[0], "n1"), 2e9)
        expected.moving.add(what[0])


def content(element):
    """Give what is in the CIB, whatever its order."""
    return (element.tag, sorted(element.attrib.items()), sorted(content(child) for child in element))


@given(few_names.flatmap(histories))
@SOME
def test_any_history_leaves_what_writing_anew_would(history):
    cib, expected = cib_write.parse_cib(EMPTY), Expected()
    for step in history:
        do(cib, expected, step)
        assert content(cib) == content(expected.written())
        ends = sorted((one.get("rsc"), one.get("with-rsc")) for one in cib.iter("rsc_colocation"))
        ends = [pair for pair in ends if pair[1] != "mount" and not pair[1].startswith("vm-mgr-disk-")]
        wishes = [(vm.name, other) for vm in expected.vms.values() for other in vm.colocations]
        assert ends == sorted(pair for pair in wishes if pair[0] != pair[1] and pair[1] in expected.vms)
        ids = [str(ident) for ident in cib.xpath("configuration//@id")]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", ident) for ident in ids)


@given(few_names.flatmap(lambda names: st.tuples(st.lists(vms(names), min_size=2, max_size=6), names)))
@SOME
def test_removal_leaves_nothing_of_the_vm_and_all_of_the_others(given):
    present, name = given
    cib = cib_write.parse_cib(EMPTY)
    for vm in present:
        cib_write.add_vm(cib, vm)
    foreign = etree.SubElement(cib.find("configuration"), "tags")
    for tag, members in {"t1": {name}, "t2": {name, "others"}}.items():
        element = etree.SubElement(foreign, "tag", id=tag)
        for member in sorted(members):
            etree.SubElement(element, "obj_ref", id=member)
    primitives = {one.get("id"): etree.tostring(one) for one in cib.iter("primitive")}
    cib_write.remove_vm(cib, name)
    assert not cib.xpath("//@*[. = $name][name() != 'name' and name() != 'value']", name=name)
    primitives = {
        one: raw
        for one, raw in primitives.items()
        if one != name and not one.startswith(f"vm-mgr-disk-{name}..")
    }
    assert not cib.xpath("//@*[starts-with(., $mine)]", mine=f"vm-mgr-disk-{name}..")
    assert {one.get("id"): etree.tostring(one) for one in cib.iter("primitive")} == primitives
    assert [one.get("id") for one in cib.iter("tag")] == ["t2"]


def test_id_of_something_else_is_never_taken():
    cib = cib_write.parse_cib(EMPTY)
    group = etree.SubElement(cib.find("configuration/resources"), "group", id="g1")
    etree.SubElement(group, "primitive", {"id": "ip1", "class": "ocf", "type": "IPaddr2"})
    cib_write.add_vm(cib, VmResource("web1", TargetRole.STOPPED))
    before = etree.tostring(cib)
    for attempt in (
        lambda: cib_write.add_vm(cib, VmResource("ip1", TargetRole.STOPPED)),
        lambda: cib_write.rename_vm(cib, "web1", "g1"),
    ):
        with pytest.raises(VmMgrError) as caught:
            attempt()
        assert caught.value.kind is Kind.EXISTS
    assert etree.tostring(cib) == before


def test_ids_of_an_older_version_are_no_hindrance():
    cib = cib_write.parse_cib(EMPTY)
    cib_write.add_vm(
        cib, VmResource("web1", TargetRole.STOPPED, pinned_host="n1", colocations={"db1": "700"})
    )
    cib_write.add_vm(cib, VmResource("db1", TargetRole.STOPPED))
    for old, new in {"meta-web1": "web1-meta", "colocation-web1..db1": "colocation-web1-db1"}.items():
        for element in cib.xpath("//*[starts-with(@id, $old)]", old=f"vm-mgr-{old}"):
            element.set("id", element.get("id").replace(old, new).replace("..", "-"))
    cib_write.update_vm(cib, VmResource("web1", TargetRole.STOPPED, colocations={"db1": "700"}))
    constraints = cib.find("configuration/constraints")
    assert [one.get("id") for one in constraints.iter("rsc_colocation")] == ["vm-mgr-colocation-web1..db1"]
    cib_write.rename_vm(cib, "db1", "db-1")
    assert [one.get("id") for one in constraints.iter("rsc_colocation")] == ["vm-mgr-colocation-web1..db-1"]
    cib_write.remove_vm(cib, "web1")
    assert [one.get("id") for one in constraints] == ["vm-mgr-observers"]
