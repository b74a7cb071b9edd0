"""What is recognised as an image, and what is refused."""

import shutil
import subprocess

import pytest

from vm_mgr.errors import Kind, VmMgrError


def kind_of(function, *arguments):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments)
    return caught.value.kind


def test_size_is_the_guests(env, image):
    found = env.images.inspect(image)
    assert (found.format, found.size_bytes) == ("qcow2", 1 << 20)


def test_what_is_no_image_is_refused(env, tmp_path):
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(4096))
    empty = tmp_path / "empty"
    empty.touch()
    assert kind_of(env.images.inspect, str(raw)) is Kind.INVALID
    assert kind_of(env.images.inspect, str(empty)) is Kind.INVALID
    assert kind_of(env.images.inspect, str(tmp_path / "none")) is Kind.NOT_FOUND
    assert kind_of(env.images.inspect, str(raw), "qcow2") is Kind.INVALID


def test_raw_image_is_taken_when_it_is_called_so(env, tmp_path):
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(4096))
    assert env.images.inspect(str(raw), "raw").size_bytes == 4096


def test_image_on_top_of_another_file_is_refused(env, tmp_path):
    """Its content would be whatever that file is: of this machine, not of whoever made the image."""
    secret, over = tmp_path / "secret", tmp_path / "over.qcow2"
    secret.write_bytes(b"x" * 4096)
    if not shutil.which("qemu-img"):
        over.write_bytes(
            b"QFI\xfb" + bytes(4) + (104).to_bytes(8, "big") + bytes(8) + bytes(7) + b"\x10" + bytes(99)
        )
    else:
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(secret), "-F", "raw", str(over)]
        subprocess.run(argv, check=True)
    assert kind_of(env.images.inspect, str(over)) is Kind.INVALID


def test_raw_image_without_its_last_bytes_is_refused(env, tmp_path):
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(4096 - 1))
    assert kind_of(env.images.inspect, str(raw), "raw") is Kind.INVALID


def test_image_that_is_called_what_it_is_not_is_refused(env, image):
    assert kind_of(env.images.inspect, image, "raw") is Kind.INVALID


def test_raw_disk_with_a_signature_needs_no_word(env, tmp_path):
    seed = tmp_path / "seed.iso"
    seed.write_bytes(bytes(32769) + b"CD001" + bytes(40960 - 32774))
    assert (env.images.inspect(str(seed)).format, env.images.inspect(str(seed), "raw").size_bytes) == (
        "raw",
        40960,
    )


def test_packed_image_is_refused_whatever_it_is_called(env, tmp_path):
    packed = tmp_path / "disk.qcow2"
    packed.write_bytes(b"\xfd7zXZ\0" + bytes(506))
    for said in (None, "raw", "qcow2"):
        assert kind_of(env.images.inspect, str(packed), said) is Kind.INVALID
