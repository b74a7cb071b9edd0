"""Names of VMs: nothing that is named after one can be taken for another one's."""

from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vm_mgr.adapters.ceph import layout as ceph
from vm_mgr.adapters.host.processes import is_vm_process
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.adapters.shared_dir import layout as shared
from vm_mgr.agent.state_files import path
from vm_mgr.errors import VmMgrError
from vm_mgr.model.storage import disk_image, disk_owner, snapshot_name_problems
from vm_mgr.model.vm import NAME_MAX, name_problems
from vm_mgr.operations.storage.clone_source import clone_snapshot
from vm_mgr.ports.runner import Completed

ROOT = Path("/vms")
NUMBERS = (0, 1, 2, 11)
# All short names of some characters, among them those that layouts use.
SHORT = ["".join(word) for length in range(1, 5) for word in product("a0_.", repeat=length)]
SHORT = [name for name in SHORT if not name_problems(name)]
LONG = ["a", "a_0", "a_0_0", "data_a", "data_a_0", "system_a", "new_0_a", "a.xml", "a.json", "a.new"]

names = st.from_regex(r"[A-Za-z]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda name: not name_problems(name)
)


def images_of(name):
    for number in NUMBERS:
        yield ("disk", number), disk_image(name, number)
        yield ("new", number), ceph.new_image(name, number)
        yield ("old", number), ceph.old_image(name, number)


def taken_for(name, image):
    """Say what of this VM an image is by its name."""
    found = [("disk", ceph.disk_number(name, image))] if ceph.disk_number(name, image) is not None else []
    for kind, prefix in (("new", ceph.NEW), ("old", ceph.OLD)):
        if ceph.is_of(image, prefix, name):
            found.append((kind, int(image.removeprefix(prefix).partition("_")[0])))
    return found


def check(one, other):
    for what, image in images_of(one):
        assert taken_for(one, image) == [what]
        assert one == other or not taken_for(other, image)


def test_image_of_a_vm_is_nobody_elses():
    assert len(SHORT) > 30
    for one, other in product([*SHORT, *LONG], repeat=2):
        check(one, other)


@given(one=names, other=names, number=st.integers(0, 99))
@settings(deadline=None)
def test_image_of_any_vm_is_nobody_elses(one, other, number):
    check(one, other)
    check(one, f"{one}_{number}") if len(one) < NAME_MAX - 3 else None
    check(f"{one}_{number}", one) if len(one) < NAME_MAX - 3 else None


@given(one=names, number=st.sampled_from(NUMBERS))
@settings(deadline=None)
def test_image_leads_to_its_file(one, number):
    image = disk_image(one, number)
    assert disk_owner(image) == one
    assert shared.image_file(ROOT, image) == ROOT / one / shared.disk_file(number)


@given(image=st.text(max_size=20) | st.from_regex(r"(system|data)_[a-z0-9._/-]{0,9}", fullmatch=True))
@settings(deadline=None)
def test_no_image_leads_out_of_the_directory(image):
    with suppress(VmMgrError):
        file = shared.image_file(ROOT, image)
        assert file.parent.parent == ROOT
        assert not name_problems(file.parent.name)


def test_files_and_folders_of_a_vm_are_nobody_elses():
    taken = {}
    for name in [*SHORT, *LONG]:
        for place in (shared.vm_folder, shared.new_folder, shared.old_folder):
            assert taken.setdefault(place(ROOT, name), name) == name
        assert not place(ROOT, name).name.startswith(".vm-mgr")


@pytest.mark.parametrize("image", ["data_a_00", "data_a_٣", "data_a_", "data_a_0_x", "vm-mgr-new_00_a"])
def test_what_we_never_write_is_nobodys(image):
    assert not taken_for("a", image)


@given(one=names, other=names)
@settings(deadline=None)
def test_processes_are_told_apart(one, other):
    argv = ["qemu-system-x86_64", "-name", f"guest={one},debug-threads=on"]
    assert is_vm_process(argv, one)
    assert is_vm_process(argv, other) == (one == other)


@given(one=names, other=names)
@settings(deadline=None)
def test_announcement_is_no_file_of_another_vm(one, other):
    class Node:
        state_dir = ROOT

    assume(one != other)
    assert path(Node(), "incoming", one) not in {path(Node(), "incoming", other), ROOT / f"{other}.xml"}


@given(names)
@settings(deadline=None)
def test_snapshot_for_a_clone_cannot_be_a_users(name):
    assert snapshot_name_problems(clone_snapshot(name))


@pytest.mark.parametrize(("listed", "state"), [("my web\n", "absent"), ("my web\nweb\n", "running")])
def test_domain_with_a_space_is_not_taken_for_two(listed, state):
    class Programs:
        def run(self, argv, **_):
            return Completed(argv, 0, "running\n" if "domstate" in argv else f"{listed}\n", "")

    assert LocalLibvirt(Programs(), ROOT).domain_state("web", timeout_s=1) == state
