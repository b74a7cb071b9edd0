"""Images as downloads and other programs leave them: the content decides, and what can't work is refused."""

import bz2
import gzip
import io
import lzma
import shutil
import socket
import struct
import subprocess
import tarfile
import zipfile
import zlib

import pytest

from vm_mgr.adapters.host.images import HostImages
from vm_mgr.adapters.host.runner import HostRunner
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.image_content import recognise

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="the lab's nodes have it")

MIB = 1 << 20
FORMATS = ("qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc")


def run(*words):
    subprocess.run([*map(str, words)], check=True, capture_output=True)


def inspect(path, image_format=None):
    return HostImages(HostRunner()).inspect(str(path), image_format)


def refused(path, image_format=None, kind=Kind.INVALID):
    with pytest.raises(VmMgrError) as caught:
        inspect(path, image_format)
    assert caught.value.kind is kind, caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.fixture
def qcow2(tmp_path):
    path = tmp_path / "plain.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
    return path


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A disk whose content can hardly be compressed, up to its end."""
    path = tmp_path_factory.mktemp("noise") / "disk.raw"
    state, content = 1, bytearray()
    for _ in range(MIB // 4):
        state = state * 1103515245 + 12345 & 0xFFFFFFFF
        content += state.to_bytes(4, "big")
    path.write_bytes(bytes(MIB) + content)
    return path


def convert(source, tmp_path, image_format, *options):
    path = tmp_path / f"made.{image_format}"
    run("qemu-img", "convert", "-O", image_format, *options, source, path)
    return path


# What a file is


@pytest.mark.parametrize("name", ["disk", "disk.raw", "disk.qcow2", "a b:c,d.img"])
@pytest.mark.parametrize("image_format", FORMATS)
def test_content_decides_and_not_the_name(noise, tmp_path, image_format, name):
    path = convert(noise, tmp_path, image_format).rename(tmp_path / name)
    assert inspect(path).format == image_format
    assert inspect(path, image_format).format == image_format
    assert "--image-format" in refused(path, "raw").hint


@pytest.mark.parametrize(
    "options", [("subformat=fixed",), ("subformat=dynamic",), ("subformat=fixed,force_size",)]
)
def test_vhd_is_known_by_its_last_sector(noise, tmp_path, options):
    path = convert(noise, tmp_path, "vpc", "-o", *options)
    assert inspect(path).format == "vpc"
    assert inspect(path, "vhd").format == "vpc"
    refused(path, "raw")


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
@pytest.mark.parametrize(
    "more", ["", ",extended_l2=on", ",compression_type=zstd", ",lazy_refcounts=on", ",cluster_size=512"]
)
def test_qcow2_of_each_kind_is_taken(noise, tmp_path, compat, more):
    if compat == "0.10" and more and "cluster" not in more:
        pytest.skip("version 2 has no features")
    path = convert(noise, tmp_path, "qcow2", "-o", f"compat={compat}{more}")
    assert inspect(path).size_bytes == 2 * MIB


@pytest.mark.parametrize("subformat", ["monolithicSparse", "streamOptimized"])
def test_vmdk_of_one_file_is_taken(noise, tmp_path, subformat):
    assert inspect(convert(noise, tmp_path, "vmdk", "-o", f"subformat={subformat}")).format == "vmdk"


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_split_vmdk_is_refused_with_the_cure(noise, tmp_path, subformat):
    error = refused(convert(noise, tmp_path, "vmdk", "-o", f"subformat={subformat}"))
    assert "made-" in error.message
    assert "qemu-img convert -f vmdk -O qcow2" in error.hint


def test_one_piece_of_a_split_vmdk_is_refused(noise, tmp_path):
    convert(noise, tmp_path, "vmdk", "-o", "subformat=twoGbMaxExtentSparse")
    refused(tmp_path / "made-s001.vmdk")


def signed(at, signature, size=1 << 17):
    content = bytearray(size)
    content[at : at + len(signature)] = signature
    return bytes(content)


RAW = {
    "iso": signed(32769, b"CD001"),
    "gpt": signed(512, b"EFI PART"),
    "mbr": signed(510, b"\x55\xaa"),
    "ext": signed(1080, b"\x53\xef"),
    "xfs": signed(0, b"XFSB"),
    "btrfs": signed(65600, b"_BHRfS_M"),
    "lvm": signed(512, b"LABELONE"),
    "swap": signed(4086, b"SWAPSPACE2"),
    "squashfs": signed(0, b"hsqs"),
}


@pytest.mark.parametrize("content", RAW)
def test_raw_disk_with_a_signature_is_taken(tmp_path, content):
    path = tmp_path / "disk"
    path.write_bytes(RAW[content])
    assert inspect(path).format == "raw"
    assert inspect(path, "raw").size_bytes == 1 << 17
    refused(path, "qcow2")


def test_raw_disk_without_a_signature_is_asked_for(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(MIB))
    assert f"--image-format {path}:raw" in refused(path).hint
    assert inspect(path, "raw").size_bytes == MIB


def test_luks_disk_is_taken_only_as_what_the_guest_opens(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(b"LUKS\xba\xbe" + bytes(MIB - 6))
    assert "LUKS" in refused(path).message
    assert inspect(path, "raw").format == "raw"


def test_unknown_format_is_refused(qcow2):
    assert "qcow2" in refused_word(qcow2, "nbd").hint


def refused_word(path, word):
    with pytest.raises(VmMgrError) as caught:
        inspect(path, word)
    assert caught.value.kind is Kind.INVALID
    return caught.value


def test_what_is_no_file_is_refused_and_not_opened(tmp_path):
    place = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(place))
        refused(place, kind=Kind.NOT_FOUND)
    refused(tmp_path, kind=Kind.NOT_FOUND)
    fifo = tmp_path / "fifo"
    run("mkfifo", fifo)
    refused(fifo, kind=Kind.NOT_FOUND)


@pytest.mark.parametrize(
    "text", [b"<!DOCTYPE html><html>", b"\xef\xbb\xbf<?xml version='1.0'?>", b'{"error": 404}']
)
def test_web_page_in_place_of_an_image_is_named(tmp_path, text):
    path = tmp_path / "disk.qcow2"
    path.write_bytes(text + b" " * 4096)
    assert "text" in refused(path).message


# Packed


def tar_of(path):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        archive.add(path, "disk.qcow2")
    return held.getvalue()


def zip_of(path):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.write(path, "disk.qcow2")
    return held.getvalue()


PACKED = {
    "disk.qcow2.gz": (lambda path: gzip.compress(path.read_bytes()), "gzip -dc {} >{}/disk.qcow2"),
    "disk.qcow2.xz": (lambda path: lzma.compress(path.read_bytes()), "xz -dc {} >{}/disk.qcow2"),
    "disk.qcow2.bz2": (lambda path: bz2.compress(path.read_bytes()), "bzip2 -dc {} >{}/disk.qcow2"),
    "disk.qcow2": (lambda path: gzip.compress(path.read_bytes()), "gzip -dc {} >{}/disk.qcow2.unpacked"),
    "disk.tar": (tar_of, "tar -xf {}"),
    "disk.tar.xz": (lambda path: lzma.compress(tar_of(path)), "tar -xf {}"),
    "vagrant.box": (lambda path: gzip.compress(tar_of(path)), "tar -xf {}"),
    "disk.zip": (zip_of, "unzip {}"),
    "disk.7z": (lambda _: b"7z\xbc\xaf\x27\x1c" + bytes(506), "7z x {}"),
    "disk.zst": (lambda _: b"\x28\xb5\x2f\xfd" + bytes(508), "zstd -dc {} >{}/disk"),
    "disk.lz4": (lambda _: b"\x04\x22\x4d\x18" + bytes(508), "lz4 -dc {} >{}/disk"),
    "disk.lzma": (
        lambda path: lzma.compress(path.read_bytes(), lzma.FORMAT_ALONE),
        "xz --format=lzma -dc {} >{}/disk",
    ),
}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("said", [None, "raw", "qcow2"])
def test_packed_image_is_refused_with_the_command_that_unpacks(qcow2, tmp_path, name, said):
    make, command = PACKED[name]
    path = tmp_path / name
    path.write_bytes(make(qcow2))
    assert command.format(path, tmp_path) in refused(path, said).hint


@pytest.mark.parametrize(
    "name", ["disk.qcow2.gz", "disk.qcow2.xz", "disk.qcow2.bz2", "disk.tar", "disk.tar.xz"]
)
def test_command_of_the_hint_makes_what_can_be_imported(qcow2, tmp_path, name):
    path = tmp_path / f"a b {name}"
    path.write_bytes(PACKED[name][0](qcow2))
    command = refused(path).hint.partition(": ")[2]
    subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path)
    made = tmp_path / ("disk.qcow2" if "tar" in name else "a b disk.qcow2")
    assert inspect(made).format == "qcow2"


@pytest.mark.parametrize("image_format", ["parallels"])
def test_other_format_of_qemu_is_refused_with_the_conversion(noise, tmp_path, image_format):
    path = convert(noise, tmp_path, image_format)
    assert f"qemu-img convert -f {image_format}" in refused(path).hint


def test_ova_is_sent_to_import(tmp_path):
    path, ovf = tmp_path / "app.ova", tmp_path / "app.ovf"
    ovf.write_text("<Envelope/>")
    with tarfile.open(path, "w") as archive:
        archive.add(ovf, "app.ovf")
    assert f"vm-mgr import {path}" in refused(path).hint


# Half an image


@pytest.mark.parametrize("image_format", ["qcow2", "qcow", "qed", "vmdk", "vdi", "vpc"])
@pytest.mark.parametrize("by", [1, 512, 4096, MIB // 2])
def test_image_that_lacks_its_end_is_refused(noise, tmp_path, image_format, by):
    path = convert(noise, tmp_path, image_format)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - by)
    refused(path)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("qcow2", ("-c",)),
        ("qcow2", ("-c", "-o", "compression_type=zstd")),
        ("vmdk", ("-o", "subformat=streamOptimized")),
        ("qcow2", ("-c", "-o", "extended_l2=on,cluster_size=64k")),
    ],
)
@pytest.mark.parametrize("by", [60_000, MIB // 2])
def test_compressed_image_that_lacks_its_end_is_refused(noise, tmp_path, image_format, options, by):
    text = tmp_path / "text.raw"  # every cluster has something to compress
    text.write_bytes(b"".join(one.to_bytes(4, "big") + bytes(4) for one in range(MIB // 4)))
    path = convert(text, tmp_path, image_format, *options)
    assert inspect(path).size_bytes == 2 * MIB
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - min(by, path.stat().st_size // 2))
    refused(path)


def test_compressed_qcow_of_version_1_that_lacks_its_end_is_refused(tmp_path):
    """Made by hand: qemu-img makes none any more."""
    path = tmp_path / "old.qcow"
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    piece = stream.compress(bytes(range(256)) * 16) + stream.flush()
    head = struct.pack(">IIQIIQBBHIQ", 0x514649FB, 1, 0, 0, 0, MIB, 12, 9, 0, 0, 48)
    table = (1 << 63 | len(piece) << 51 | 8192).to_bytes(8, "big")
    content = (head + (4096).to_bytes(8, "big")).ljust(4096, b"\0") + table.ljust(4096, b"\0") + piece
    path.write_bytes(content)
    assert inspect(path).format == "qcow"
    assert convert(path, tmp_path, "raw").read_bytes().startswith(bytes(range(256)) * 16)
    path.write_bytes(content[:-1])
    refused(path)


def test_stream_of_vmware_has_its_tables_named_at_the_end(tmp_path):
    """Made from one of QEMU's: in VMware's the copy of the header at the end says where the tables are."""
    text = tmp_path / "text.raw"
    text.write_bytes(b"".join(one.to_bytes(4, "big") + bytes(4) for one in range(MIB // 4)))
    path = convert(text, tmp_path, "vmdk", "-o", "subformat=streamOptimized")
    content = path.read_bytes()
    marker = struct.pack("<QII", 1, 0, 3).ljust(512, b"\0")
    head = content[:56] + b"\xff" * 8 + content[64:]
    whole = head + marker + content[:512] + bytes(512)
    path.write_bytes(whole)
    assert inspect(path).size_bytes == 2 * MIB
    for by in (512, 1024, MIB // 4):
        path.write_bytes(whole[:-by])
        refused(path)


def test_end_of_a_compressed_image_within_a_sector_is_missed(tmp_path):
    text = tmp_path / "text.raw"
    text.write_bytes(b"".join(one.to_bytes(4, "big") + bytes(4) for one in range(MIB // 4)))
    path = convert(text, tmp_path, "qcow2", "-c")
    whole = path.read_bytes().rstrip(b"\0")
    path.write_bytes(whole)
    inspect(path)  # other programs don't fill the last sector
    path.write_bytes(whole[:-8])
    refused(path)


def test_fixed_vhd_without_its_end_is_no_raw_disk(tmp_path):
    disk = tmp_path / "disk.raw"
    disk.write_bytes(mbr(4 * MIB // 512 - 2048) + bytes(4 * MIB - 512))
    path = convert(disk, tmp_path, "vpc", "-o", "subformat=fixed")
    assert inspect(path).format == "vpc"
    with path.open("r+b") as file:
        file.truncate(2 * MIB)
    refused(path)


def mbr(sectors, first=2048, kind=0x83):
    entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", kind, b"\xfe\xff\xff", first, sectors)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


@pytest.mark.parametrize(("sectors", "whole"), [(2048, True), (2049, False), (1 << 20, False)])
def test_raw_disk_holds_the_partitions_of_its_mbr(tmp_path, sectors, whole):
    path = tmp_path / "disk"
    path.write_bytes(mbr(sectors) + bytes(2 * MIB - 512))
    if whole:
        inspect(path)
    else:
        refused(path)
        refused(path, "raw")


def test_protective_mbr_says_nothing_of_the_size(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(mbr(0xFFFFFFFF, 1, 0xEE) + bytes(2 * MIB - 512))
    inspect(path)


def gpt(size, sector=512, *, backup=True):
    content = bytearray(size)
    content[sector : sector + 8] = b"EFI PART"
    content[sector + 32 : sector + 40] = (size // sector - 1).to_bytes(8, "little")
    if backup:
        content[-sector : -sector + 8] = b"EFI PART"
    return content


@pytest.mark.parametrize("sector", [512, 4096])
def test_raw_disk_holds_both_tables_of_its_gpt(tmp_path, sector):
    path = tmp_path / "disk"
    content = gpt(2 * MIB, sector)
    path.write_bytes(content)
    assert inspect(path).losses == ()
    path.write_bytes(content[:-sector])
    refused(path)
    path.write_bytes(gpt(2 * MIB, sector, backup=False))
    assert "half an image" in inspect(path).losses[0]


@pytest.mark.parametrize("program", [("mkfs.ext4", "-q", "-F"), ("mkfs.vfat",), ("mkswap",)])
def test_file_system_without_a_partition_table_is_whole(tmp_path, program):
    found = shutil.which(program[0]) or shutil.which(program[0], path="/usr/sbin:/sbin")
    if not found:
        pytest.skip("this machine has it not")
    path = tmp_path / "disk"
    path.write_bytes(bytes(16 * MIB))
    run(found, *program[1:], path)
    assert inspect(path).format == "raw"
    with path.open("r+b") as file:
        file.truncate(12 * MIB)
    refused(path)


def superblock(**places):
    content = bytearray(1 << 17)
    for at, value in places.items():
        content[int(at[1:], 0) : int(at[1:], 0) + len(value)] = value
    return bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        lambda size: superblock(
            _0=b"XFSB", _4=(4096).to_bytes(4, "big"), _8=(size // 4096).to_bytes(8, "big")
        ),
        lambda size: superblock(_65600=b"_BHRfS_M", _65745=size.to_bytes(8, "little")),
        lambda size: superblock(_0=b"hsqs", _40=size.to_bytes(8, "little")),
        lambda size: superblock(
            _32768=b"\1CD001",
            _32848=(size // 2048).to_bytes(4, "little"),
            _32896=(2048).to_bytes(2, "little"),
        ),
        lambda size: superblock(
            _512=b"LABELONE", _532=(32).to_bytes(4, "little"), _576=size.to_bytes(8, "little")
        ),
    ],
    ids=["xfs", "btrfs", "squashfs", "iso", "lvm"],
)
def test_other_file_systems_say_their_size_too(tmp_path, make):
    path = tmp_path / "disk"
    path.write_bytes(make(1 << 17))
    inspect(path)
    path.write_bytes(make(1 << 18))
    refused(path)


def test_what_is_left_of_a_file_system_before_a_partition_says_nothing(tmp_path):
    path = tmp_path / "disk"
    content = bytearray(mbr(2048) + bytes(2 * MIB - 512))
    content[1028:1032] = b"\xff" * 4
    content[1080:1082] = b"\x53\xef"
    path.write_bytes(content)
    inspect(path)


# What is encrypted, of others, unclean, lost


def make_encrypted(path, image_format, options):
    """Make a disk; LUKS measures a processor, which fails where that is taken away in between."""
    secret = ("--object", "secret,id=k,data=abc")
    for left in (3, 2, 1, 0):
        try:
            run("qemu-img", "create", "-q", *secret, "-f", image_format, "-o", options, path, "2M")
        except subprocess.CalledProcessError:
            if not left:
                raise
        else:
            return


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("qcow2", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10"),
        ("qcow2", "encrypt.format=aes,encrypt.key-secret=k"),
        ("qcow", "encrypt.format=aes,encrypt.key-secret=k"),
    ],
)
def test_encrypted_image_is_refused(tmp_path, image_format, options):
    path = tmp_path / "disk"
    make_encrypted(path, image_format, options)
    error = refused(path)
    assert "encrypted" in error.message
    assert f"driver={image_format}" in error.hint


def test_qemus_luks_disk_is_refused_where_a_definition_says_so(tmp_path):
    path = tmp_path / "disk"
    make_encrypted(path, "luks", "key-secret=k,iter-time=10")
    assert "encrypted" in refused(path, "luks").message


@pytest.mark.parametrize(
    "backing", ["plain.qcow2", "/etc/shadow", "nbd://192.0.2.1/x", 'json:{"driver":"null-co"}']
)
def test_backing_file_is_refused_by_name_and_not_opened(qcow2, tmp_path, backing):
    path = tmp_path / "over.qcow2"
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "raw", path, "8M")
    error = refused(path)
    assert backing in error.message
    assert "qemu-img convert -f qcow2" in error.hint


@pytest.mark.parametrize("image_format", ["qed", "vmdk", "qcow"])
def test_backing_file_of_other_formats_is_refused_by_name(noise, tmp_path, image_format):
    base = convert(noise, tmp_path, image_format)
    path = tmp_path / "over"
    run("qemu-img", "create", "-q", "-f", image_format, "-b", base, "-F", image_format, path)
    assert base.name in refused(path).message


def test_data_file_is_refused_by_name_before_it_is_opened(tmp_path):
    path, other = tmp_path / "disk.qcow2", tmp_path / "elsewhere.raw"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={other}", path, "2M")
    other.unlink()
    assert str(other) in refused(path).message


def test_description_of_a_vmdk_is_read_before_its_files_are(tmp_path):
    path, fifo = tmp_path / "disk.vmdk", tmp_path / "fifo"
    run("mkfifo", fifo)
    path.write_text(f'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "{fifo}" 0\n')
    assert str(fifo) in refused(path).message


def test_differencing_vhd_is_refused(noise, tmp_path):
    path = convert(noise, tmp_path, "vpc")
    content = bytearray(path.read_bytes())
    content[-512 + 63] = 4
    path.write_bytes(content)
    assert "differencing" in refused(path).message


def test_vhd_of_which_qemu_would_not_see_the_end_is_refused(tmp_path):
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(5 * MIB))
    path = convert(disk, tmp_path, "vpc", "-o", "subformat=fixed,force_size")
    content = bytearray(path.read_bytes())
    content[-512 + 28 : -512 + 32] = b"vbox"
    content[-512 + 56 : -512 + 60] = b"\x00\x64\x04\x11"  # 100 cylinders, 4 heads, 17 sectors
    content[-512 + 64 : -512 + 68] = bytes(4)
    content[-512 + 64 : -512 + 68] = (~sum(content[-512:]) & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)
    assert "force_size_calc=current_size" in refused(path).hint


@pytest.mark.parametrize("bit", [1, 2])
def test_dirty_or_corrupt_image_is_refused(qcow2, bit):
    content = bytearray(qcow2.read_bytes())
    content[79] = bit
    qcow2.write_bytes(content)
    assert "qemu-img check -r all" in refused(qcow2).hint


def test_image_that_a_program_has_open_for_writing_is_refused(qcow2):
    words = ["qemu-io", "-f", "qcow2", str(qcow2)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdin.write(b"write 0 512\n")
        writer.stdin.flush()
        writer.stdout.readline()
        refused(qcow2, kind=Kind.WRONG_STATE)
        writer.communicate()
    inspect(qcow2)


def test_internal_snapshots_and_bitmaps_are_named_as_left_behind(qcow2):
    run("qemu-img", "snapshot", "-c", "before", qcow2)
    run("qemu-img", "snapshot", "-c", "after", qcow2)
    run("qemu-img", "bitmap", "--add", qcow2, "backup0")
    snapshots, bitmaps = inspect(qcow2).losses
    assert "before, after" in snapshots
    assert "backup0" in bitmaps


def test_content_of_a_small_file_is_nothing_that_is_known():
    for size in (0, 1, 100, 600):
        assert recognise(bytes(size), b"").format == ""
