"""Snapshots in files that a QEMU has open: what it is asked, and what its answers mean."""

import json

import pytest

from vm_mgr.adapters.libvirt.open_disks import QemuDisks
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.runner import Completed

FILES = ["/vms/web1/system.qcow2", "/vms/web1/data_0.qcow2"]


def device(number, path, driver="qcow2"):
    """Give what QEMU 10.0 says of a disk that libvirt has made, shortened."""
    node = f"libvirt-{number}-format"
    image = {"filename": path, "format": driver, "virtual-size": 1048576}
    inserted = {"node-name": node, "file": path, "drv": driver, "ro": False, "image": image}
    qdev = f"/machine/peripheral/virtio-disk{number}/virtio-backend"
    return {"device": "", "qdev": qdev, "type": "unknown", "locked": False, "inserted": inserted}


DRIVE = {"device": "", "qdev": "sata0-0-1", "type": "unknown", "locked": False, "tray_open": False}


class Monitor:
    """virsh before a running QEMU."""

    def __init__(self, *devices, state="running"):
        self.devices = [DRIVE, *devices]
        self.state = state
        self.asked = []
        self.error = ""

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        words = argv[4:]
        if words[0] == "qemu-monitor-command":
            return Completed(tuple(argv), 0, json.dumps(self.answer(words[1], json.loads(words[2]))), "")
        return Completed(tuple(argv), 0, "web1\n" if words[0] == "list" else self.state + "\n", "")

    def answer(self, name, request):
        assert name == "web1"
        if request["execute"] == "query-block":
            return {"return": self.devices, "id": "libvirt-401"}
        self.asked.append((request["execute"], request["arguments"]))
        if self.error:
            return {"id": "libvirt-402", "error": {"class": "GenericError", "desc": self.error}}
        return {"return": {}, "id": "libvirt-402"}


def disks(monitor, tmp_path):
    return QemuDisks(lambda _name: LocalLibvirt(monitor, tmp_path))


@pytest.fixture
def monitor():
    return Monitor(device(2, FILES[0]), device(1, FILES[1]), device(3, "/other.raw", "raw"))


def test_snapshot_is_one_transaction_over_all_files(monitor, tmp_path):
    disks(monitor, tmp_path).take_snapshot("web1", FILES, "now")
    kind = "blockdev-snapshot-internal-sync"
    actions = [
        {"type": kind, "data": {"device": node, "name": "now"}}
        for node in ("libvirt-2-format", "libvirt-1-format")
    ]
    assert monitor.asked == [("transaction", {"actions": actions})]


def test_snapshot_is_dropped_from_each_file(monitor, tmp_path):
    disks(monitor, tmp_path).drop_snapshot("web1", FILES[1:], "now")
    arguments = {"device": "libvirt-1-format", "name": "now"}
    assert monitor.asked == [("blockdev-snapshot-delete-internal-sync", arguments)]


@pytest.mark.parametrize("verb", ["take_snapshot", "drop_snapshot"])
def test_nothing_is_asked_where_a_file_is_not_open(monitor, tmp_path, verb):
    for files in ([*FILES, "/vms/web1/data_1.qcow2"], ["/other.raw"]):
        with pytest.raises(VmMgrError) as caught:
            getattr(disks(monitor, tmp_path), verb)("web1", files, "now")
        assert caught.value.kind is Kind.NOT_FOUND
    monitor.state = "shut off"
    with pytest.raises(VmMgrError) as caught:
        getattr(disks(monitor, tmp_path), verb)("web1", FILES, "now")
    assert caught.value.kind is Kind.WRONG_STATE
    assert not monitor.asked


def test_refusal_of_qemu_is_a_failure(monitor, tmp_path):
    monitor.error = "Snapshot with name 'now' already exists on device 'libvirt-2-format'"
    with pytest.raises(VmMgrError) as caught:
        disks(monitor, tmp_path).take_snapshot("web1", FILES, "now")
    assert caught.value.kind is Kind.EXTERNAL_FAILURE
    assert "already exists" in caught.value.message
