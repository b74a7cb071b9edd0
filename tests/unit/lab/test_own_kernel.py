"""Nodes with a kernel of their own: which lab a command means, and where the kernel comes from."""

import shlex
import subprocess
from pathlib import Path

import click
import pytest

from vm_mgr_lab.cli import SIZE
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.machine import kernel, uml
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import run
from vm_mgr_lab.topology import Node, OwnKernel, Topology
from vm_mgr_lab.up import Request, up


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("VM_MGR_LAB_STATE", raising=False)
    known = Paths(state=tmp_path / "lab", cache=tmp_path / "cache")
    monkeypatch.setattr(Paths, "from_environment", lambda: known)
    return known.state


def bring_up(state: Path) -> None:
    state.mkdir()
    (state / "lab.json").touch()


def test_one_lab_that_is_up_is_meant(state: Path) -> None:
    own = state.with_name("lab-own")
    assert Paths.of_lab(None).state == state
    bring_up(own)
    assert Paths.of_lab(None).state == own
    assert Paths.of_lab("host").state == state


def test_command_that_could_mean_two_labs_is_refused(state: Path) -> None:
    own = state.with_name("lab-own")
    bring_up(state)
    bring_up(own)
    with pytest.raises(LabError, match="two labs are up"):
        Paths.of_lab(None)
    assert Paths.of_lab("own").state == own


def test_named_state_folder_is_the_lab(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VM_MGR_LAB_STATE", str(state))
    assert Paths.of_lab("own").state == state


def test_another_package_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    paths = Paths(state=tmp_path / "state", cache=tmp_path)
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / f"user-mode-linux_{kernel.VERSION}_amd64.deb").write_text("another one")
    with pytest.raises(LabError, match="is another package"):
        kernel.own_kernel(paths, print)
    assert [entry.suffix for entry in (tmp_path / "kernels").iterdir()] == [".deb"]


def test_package_that_the_mirror_lacks_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_package(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 100, "", "404  Not Found")

    monkeypatch.setattr(kernel, "run", no_package)
    monkeypatch.setattr(kernel, "debian_mirror", lambda: "http://mirror.invalid/debian")
    with pytest.raises(LabError, match="can't be had") as caught:
        kernel.own_kernel(Paths(state=tmp_path / "state", cache=tmp_path), print)
    assert kernel.SHA256 in caught.value.hint


def test_arguments_reach_the_shell_at_the_other_end_as_they_are() -> None:
    """Stands for ssh: a program that hands one argument to bash, as sshd does."""
    odd = ["printf", "%s|", "a  b", "", "it's", "$HOME", "two\nlines", "-n"]
    done = run(["bash", "-c", uml.QUOTED, "bash", "2", "bash", "-c", *odd])
    assert done.stdout == "a  b||it's|$HOME|two\nlines|-n|"


def test_lab_is_described_with_its_kernel(tmp_path: Path) -> None:
    paths = Paths(state=tmp_path / "state", cache=tmp_path)
    described = Topology(
        suite="trixie",
        nodes=Topology.make_nodes(2, 1),
        kvm=False,
        lower={},
        storages=("drbd",),
        own_kernel=OwnKernel(folder="/kernel", loader="/image", shared_disks_mib=(64, 512)),
    )
    described.save(paths)
    assert Topology.load(paths) == described


def test_each_node_has_its_disks_and_cards(tmp_path: Path) -> None:
    node = Node(name="n2", index=2, role="hypervisor")
    own = OwnKernel(folder="/kernel", loader="/image", shared_disks_mib=(64,))
    paths = Paths(state=tmp_path, cache=tmp_path)
    command = uml.UmlMachine(node, tmp_path / "n2", [], own, paths=paths).kernel_command()
    assert {"ubd0=/mnt/node/system.raw", "ubd1=/mnt/node/disk.raw", "ubd2c=/mnt/disks/shared-1.raw"} <= set(
        command
    )
    cards = [word.split("ifname=")[1].split(",")[0] for word in command if word.startswith("vec")]
    assert cards == ["n2-admin-t", "n2-cluster-t", "n2-service-t"]
    assert shlex.join(command) == " ".join(command)  # the kernel splits its command line at blanks


@pytest.mark.parametrize(("text", "mib"), [("512M", 512), ("4G", 4096), ("64", 64)])
def test_size(text: str, mib: int) -> None:
    assert SIZE.convert(text, None, None) == mib


@pytest.mark.parametrize("text", ["", "0", "4T", "1.5G", "G", "-1M", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 512M or 4G"):
        SIZE.convert(text, None, None)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(own_kernel=True, storages=("shared_dir",)), "no storage shared_dir"),
        (Request(own_kernel=True, storages=("drbd", "ceph")), "no storage drbd and ceph"),
        (Request(storages=("drbd",)), "no DRBD"),
        (Request(hypervisors=4), "two equal halves"),
        (Request(hypervisors=2), "two equal halves"),  # Ceph needs a majority of its own
    ],
)
def test_lab_that_could_not_work_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: Request, message: str
) -> None:
    monkeypatch.setattr("vm_mgr_lab.up.require_root", lambda: None)
    monkeypatch.setattr("vm_mgr_lab.up.require_programs", lambda: None)
    monkeypatch.setattr("vm_mgr_lab.cgroup.all_groups", list)
    with pytest.raises(LabError, match=message):
        up(Paths(state=tmp_path / "state", cache=tmp_path / "cache"), request_, print)
    assert not (tmp_path / "state").exists()
