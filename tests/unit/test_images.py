"""An image that is cut short or damaged is refused before it is imported."""

import shutil
import subprocess

import pytest

from vm_mgr.adapters.host.images import HostImages
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.errors import Kind, VmMgrError

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="the lab's nodes have it")

FORMATS = ("qcow2", "vmdk", "vdi", "vhdx", "vpc")
MIB = 1 << 20


def qemu_img(*words):
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A disk with data between holes, and in its last sector."""
    path = tmp_path_factory.mktemp("images") / "disk.raw"
    with path.open("wb") as file:
        file.truncate(12 * MIB)
        for place in (0, 5 * MIB):
            file.seek(place)
            file.write(bytes(range(1, 256)) * 4096)
    return path


@pytest.fixture
def make(disk, tmp_path):
    def made(image_format, *options):
        path = tmp_path / f"disk.{image_format}"
        qemu_img("convert", "-O", image_format, *options, disk, path)
        return path

    return made


def refused(path, image_format=None):
    with pytest.raises(VmMgrError) as caught:
        HostImages(HostRunner()).inspect(str(path), image_format)
    assert caught.value.kind is Kind.INVALID
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def cut(path, by):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - by)


@pytest.mark.parametrize("image_format", FORMATS)
def test_whole_image_is_taken(make, image_format):
    assert HostImages(HostRunner()).inspect(str(make(image_format))).size_bytes >= 12 * MIB


@pytest.mark.parametrize("options", [("-c",), ("-o", "cluster_size=2M"), ("-o", "compat=0.10")])
def test_whole_qcow2_of_any_kind_is_taken(make, options):
    assert HostImages(HostRunner()).inspect(str(make("qcow2", *options))).size_bytes == 12 * MIB


def test_image_that_guests_have_written_to_is_taken(tmp_path, disk):
    for number, size in enumerate(("1M", "3M", "64k", "512")):
        path = tmp_path / f"{number}.qcow2"
        qemu_img("create", "-f", "qcow2", path, "1G")
        subprocess.run(["qemu-io", "-c", f"write 5M {size}", str(path)], check=True, capture_output=True)
        HostImages(HostRunner()).inspect(str(path))


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("by", [1, 70_000, MIB, "half"])
def test_image_that_is_cut_short_is_refused(make, image_format, by):
    path = make(image_format)
    cut(path, path.stat().st_size // 2 if by == "half" else by)
    refused(path)
    refused(path, image_format)


def test_image_with_a_damaged_table_is_refused(make):
    path = make("qcow2")
    content = bytearray(path.read_bytes())
    table = int.from_bytes(content[40:48], "big")  # the first entry of the L1 table
    content[table : table + 8] = (1 << 63 | 0x7000_0000).to_bytes(8, "big")
    path.write_bytes(content)
    refused(path)


def test_image_that_only_wastes_room_is_taken(make):
    path = make("qcow2")
    done = subprocess.run(
        ["qemu-io", "-c", "write 8M 1M", "-c", "flush", "-c", "abort", str(path)],
        check=False,
        capture_output=True,
    )
    assert done.returncode
    HostImages(HostRunner()).inspect(str(path))


@pytest.mark.parametrize("by", [1, 100, 511])
def test_raw_image_ends_with_a_whole_sector(disk, tmp_path, by):
    path = tmp_path / "raw"
    path.write_bytes(disk.read_bytes())
    assert HostImages(HostRunner()).inspect(str(path), "raw").size_bytes == 12 * MIB
    cut(path, by)
    refused(path, "raw")


@pytest.mark.parametrize(("sectors", "whole"), [(2048, True), (2047, False), (1024, False), (4096, True)])
def test_raw_image_holds_its_partition_table(tmp_path, sectors, whole):
    path = tmp_path / "raw"
    head = bytearray(1024)
    head[512:520] = b"EFI PART"
    head[544:552] = (2047).to_bytes(8, "little")
    path.write_bytes(head + bytes(sectors * 512 - 1024))
    if whole:
        HostImages(HostRunner()).inspect(str(path), "raw")
    else:
        refused(path, "raw")
