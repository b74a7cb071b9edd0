"""Each image of a new VM, or for a further disk, is judged by itself; what is left behind is said once."""

import io
import shutil
import subprocess
import tarfile

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.adapters.host.images import HostImages
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.adapters.shared_dir.folders import VmFolders
from vm_mgr.adapters.shared_dir.mount import Mount
from vm_mgr.adapters.shared_dir.port import SharedDirectory
from vm_mgr.adapters.storage_set.storages import StorageEntry, StorageSet
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import ImagePart
from vm_mgr.model.vm import VmName
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.add_to_cluster import Takeover, add_to_cluster
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.reports import Note

from .conftest import DOMAIN

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="the lab's nodes have it")

MIB = 1 << 20


def run(*words):
    subprocess.run([*map(str, words)], check=True, capture_output=True)


@pytest.fixture
def env(env):
    env.images = HostImages(HostRunner())
    env.notes = []
    env.say = env.notes.append
    return env


@pytest.fixture
def on_directory(env, tmp_path):
    """Keep the disks in a directory, with qemu-img."""
    root = tmp_path / "vms"
    root.mkdir()
    mount = Mount(root)
    mount.initialise()
    env.storage = SharedDirectory(VmFolders(mount, HostRunner(), SystemClock()))
    env.storages = StorageSet({"vms": StorageEntry(lambda: env.storage)})
    return root


@pytest.fixture
def qcow2(tmp_path):
    path = tmp_path / "g.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
    run("qemu-io", "-c", "write -P 7 1M 64k", path)
    return path


@pytest.fixture
def seed(tmp_path):
    path = tmp_path / "seed.iso"
    path.write_bytes(bytes(32769) + b"CD001" + bytes(376832 - 32774))
    return path


@pytest.fixture
def zeros(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(MIB))
    return path


def invoke(env, tmp_path, *words):
    definition = tmp_path / "vm.xml"
    definition.write_text(DOMAIN)
    words = [str(word) for word in words]
    line = ("create", "web1", "--xml", str(definition), *words)
    return CliRunner(mix_stderr=False).invoke(app, line, obj=env)


def test_seed_beside_a_qcow2_is_taken_as_raw_by_itself(env, tmp_path, qcow2, seed):
    done = invoke(env, tmp_path, "--image", qcow2, "--additional-disk", seed)
    assert done.exit_code == 0, done.stderr
    assert env.storage.vms["web1"].sizes == [8 * MIB, 376832]


def test_imported_disks_have_the_content_of_their_images(env, on_directory, qcow2, seed):
    create(env, CreateRequest(VmName("web1"), DOMAIN, (str(qcow2), str(seed)), verify=True, start=False))
    made = sorted(on_directory.glob("web1/*.qcow2"), reverse=True)
    assert len(made) == 2
    for image, image_format, disk in zip((qcow2, seed), ("qcow2", "raw"), made, strict=True):
        run("qemu-img", "compare", "-f", image_format, "-F", "qcow2", image, disk)


def test_image_in_a_package_is_copied_from_where_it_is(env, on_directory, qcow2, tmp_path):
    path, content = tmp_path / "a,b c.ova", qcow2.read_bytes()
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("first"))
        entry = tarfile.TarInfo("disk")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    with tarfile.open(path) as archive:
        member = archive.getmember("disk")
    parts = (ImagePart("disk", member.size, str(path), member.offset_data), ImagePart("empty", MIB))
    create(env, CreateRequest(VmName("web1"), DOMAIN, parts, verify=True, start=False))
    run("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", qcow2, on_directory / "web1" / "system.qcow2")
    assert env.storage.disks.of("web1")[1].size_bytes == MIB


def test_format_of_one_image_leaves_the_others_alone(env, tmp_path, qcow2, zeros):
    images = ("--image", qcow2, "--additional-disk", zeros)
    refused = invoke(env, tmp_path, *images)
    assert refused.exit_code == 2
    assert f"--image-format {zeros}:raw" in refused.stderr
    assert invoke(env, tmp_path, *images, "--image-format", f"{zeros}:raw").exit_code == 0
    assert invoke(env, tmp_path, *images, "--force", "--image-format", "data.bin:raw").exit_code == 0


def test_qcow2_is_not_imported_as_raw(env, tmp_path, qcow2, zeros):
    images = ("--image", qcow2, "--additional-disk", zeros)
    done = invoke(env, tmp_path, *images, "--image-format", "raw")
    assert done.exit_code == 2
    assert not env.storage.vms
    assert "is called raw" in done.stderr


def test_one_format_for_all_images_works_as_before(env, tmp_path, zeros):
    images = ("--image", zeros, "--additional-disk", zeros, "--image-format", "raw")
    assert invoke(env, tmp_path, *images).exit_code == 0


@pytest.mark.parametrize("said", [("nofile:raw",), ("raw", "qcow2"), ("g.qcow2:raw", "g.qcow2:qcow2")])
def test_formats_that_contradict_each_other_are_refused(env, tmp_path, qcow2, said):
    words = [word for one in said for word in ("--image-format", one)]
    assert invoke(env, tmp_path, "--image", qcow2, *words).exit_code == 2


def test_problems_of_all_images_are_told_at_once(env, tmp_path, zeros):
    packed = tmp_path / "g.gz"
    packed.write_bytes(b"\x1f\x8b\x08" + bytes(509))
    with pytest.raises(VmMgrError) as caught:
        create(env, CreateRequest(VmName("web1"), DOMAIN, (str(packed), str(zeros))))
    assert len(caught.value.others) == 1
    assert not env.storage.vms


def losses(env):
    return [one for one in env.notes if isinstance(one, Note) and one.code == "left-behind"]


def test_snapshots_that_are_left_behind_are_told_once(env, qcow2):
    run("qemu-img", "snapshot", "-c", "before", qcow2)
    create(env, CreateRequest(VmName("web1"), DOMAIN, (str(qcow2),)))
    assert [one.message.count("before") for one in losses(env)] == [1]


def test_snapshots_of_a_further_disk_are_told_too(env, qcow2):
    create(env, CreateRequest(VmName("web1"), DOMAIN, (str(qcow2),)))
    run("qemu-img", "snapshot", "-c", "before", qcow2)
    add_disk(env, VmName("web1"), NewDisk(image=str(qcow2)))
    assert len(losses(env)) == 1


def test_format_for_a_further_disk_can_name_its_file(env, tmp_path, qcow2, zeros):
    create(env, CreateRequest(VmName("web1"), DOMAIN, (str(qcow2),)))
    line = ("add-disk", "web1", "--image", str(zeros))
    refused = CliRunner(mix_stderr=False).invoke(app, line, obj=env)
    assert f"--image-format {zeros}:raw" in refused.stderr
    for said in (f"{zeros}:raw", "raw"):
        done = CliRunner(mix_stderr=False).invoke(app, (*line, "--image-format", said), obj=env)
        assert done.exit_code == 0, done.stderr


def test_half_an_image_is_refused_for_a_further_disk(env, qcow2, tmp_path):
    create(env, CreateRequest(VmName("web1"), DOMAIN, (str(qcow2),)))
    half = tmp_path / "half.qcow2"
    half.write_bytes(qcow2.read_bytes()[: 5 * 65536])
    with pytest.raises(VmMgrError) as caught:
        add_disk(env, VmName("web1"), NewDisk(image=str(half)))
    assert caught.value.kind is Kind.INVALID


def takeover(env, path, driver="raw", inner=""):
    disk = f"<disk><driver type='{driver}'/><source file='{path}'>{inner}</source><target dev='vda'/></disk>"
    xml = DOMAIN.replace("<devices/>", f"<devices>{disk}</devices>").replace("<name>x", "<name>old1")
    env.hypervisor.definition = lambda _name: xml
    env.hypervisor.domain_state = lambda _name, *, timeout_s: "shut off"
    env.hypervisor.undefine = lambda _name: None
    return add_to_cluster(env, Takeover(VmName("old1"), VmName("web1")))


def test_taken_over_disk_that_is_called_otherwise_is_refused(env, qcow2):
    with pytest.raises(VmMgrError) as caught:
        takeover(env, qcow2)
    assert "<driver type" in caught.value.hint
    assert not env.storage.vms


def test_encrypted_disk_is_not_taken_over(env, zeros):
    with pytest.raises(VmMgrError) as caught:
        takeover(env, zeros, inner="<encryption format='luks'/>")
    assert "encrypted" in caught.value.message


def test_raw_disk_is_taken_over_as_the_definition_says(env, zeros):
    assert takeover(env, zeros).name == "web1"


def test_snapshots_of_a_disk_that_is_taken_over_are_told(env, qcow2):
    run("qemu-img", "snapshot", "-c", "before", qcow2)
    takeover(env, qcow2, driver="qcow2")
    assert len(losses(env)) == 1
