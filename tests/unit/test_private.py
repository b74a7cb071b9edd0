"""What we keep on a node is nobody else's, whatever the umask: it is secret, or believed."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from vm_mgr import private
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.model.vm import VmName
from vm_mgr.ports.runner import Completed

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(params=[0, 0o022, 0o077], ids=lambda value: f"{value:03o}")
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder):
    return {one.name: one.stat().st_mode & 0o777 for one in folder.rglob("*")}


class Looks:
    """A runner that looks at the state directory while the program would run."""

    def __init__(self, folder):
        self.folder = folder
        self.seen = {}
        self.read = []

    def run(self, argv, **_more):
        self.seen |= modes(self.folder) if self.folder.exists() else {}
        self.read += [Path(word).read_text() for word in argv if word.startswith("/proc/")]
        return Completed(tuple(argv), 0, "", "")


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("exists", [False, True])
def test_definition_is_readable_for_nobody_else_while_virsh_reads_it(tmp_path, exists):
    state = tmp_path / "run" / "vm-mgr"
    if exists:
        (tmp_path / "run").mkdir(mode=0o755)
        state.mkdir()
        state.chmod(0o755)  # as an earlier version has left it
    looks = Looks(state)
    LocalLibvirt(looks, state).attach(VmName("web1"), "<disk/>")
    assert looks.read == ["<disk/>"], "from this process's own memory"
    assert looks.seen == {}


@pytest.mark.usefixtures("umask")
def test_file_that_was_open_to_others_is_closed(tmp_path):
    file = tmp_path / "state" / "kept"
    file.parent.mkdir()
    file.touch()
    file.chmod(0o666)
    private.write(file, "one\n")
    private.append(file, "two\n")
    assert file.read_text() == "one\ntwo\n"
    assert modes(tmp_path) == {"state": 0o700, "kept": 0o600}


@pytest.mark.usefixtures("umask")
def test_link_that_somebody_left_is_not_followed(tmp_path):
    (tmp_path / "kept").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="kept"):
        private.write(tmp_path / "kept", "one\n")
    assert not (tmp_path / "other").exists()


def shell(agent, action, folder, umask, **given):
    """Run an agent as Pacemaker does, with programs that are content with everything."""
    programs = folder / "bin"
    if not programs.exists():
        programs.mkdir()
        for name in ("systemctl", "virsh", "attrd_updater", "cibadmin", "logger", "systemd-run", "python3"):
            (programs / name).write_text("#!/bin/sh\nexit 0\n")
            (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "VM_MGR_STATE": str(folder / "state"),
        "VM_MGR_LIBVIRT_RUN": str(folder / "libvirt"),
        "VM_MGR_PROC": str(folder / "proc"),
        "VM_MGR_JOURNAL": str(folder / "none"),
        "OCF_RESKEY_domain": "web1",
        **given,
    }
    argv = [REPOSITORY / "ocf" / agent, action]
    return subprocess.run(argv, env=environment, umask=umask, check=False, capture_output=True)


@pytest.mark.parametrize("umask", [0, 0o022])
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("agent", ["Node", "DiskLocks"])
def test_agents_keep_their_state_to_themselves(tmp_path, agent, umask, exists):
    if exists:
        (tmp_path / "state").mkdir(mode=0o755)
    assert shell(agent, "start", tmp_path, umask).returncode == 0
    found = modes(tmp_path / "state") | {".": (tmp_path / "state").stat().st_mode & 0o777}
    assert len(found) > 1
    assert {mode & 0o077 for mode in found.values()} == {0}


@pytest.mark.parametrize("umask", [0, 0o022])
def test_monitor_keeps_what_it_has_seen_to_itself(tmp_path, umask):
    """A QEMU that stands for an I/O error makes it keep the process, the time and its own words."""
    for pid in ("1", "42"):
        (tmp_path / "proc" / pid).mkdir(parents=True)
        (tmp_path / "proc" / pid / "comm").write_text("init\n")
    process = tmp_path / "proc" / "42"
    (process / "cmdline").write_bytes(b"/usr/bin/qemu-system-x86_64\0-name\0guest=web1,debug-threads=on\0")
    (process / "comm").write_text("qemu-system-x86\n")
    (process / "stat").write_text("42 (qemu) S " + " ".join(["1"] * 49) + "\n")
    (tmp_path / "libvirt").mkdir()
    (tmp_path / "libvirt" / "web1.xml").write_text("<domstatus state='paused' reason='ioerror' pid='42'>\n")
    (tmp_path / "libvirt" / "web1.pid").write_text("42\n")
    shell("VirtualDomain", "monitor", tmp_path, umask, OCF_RESKEY_CRM_meta_interval="10000")
    found = modes(tmp_path / "state") | {".": (tmp_path / "state").stat().st_mode & 0o777}
    assert "io-error..web1" in found
    assert {mode & 0o077 for mode in found.values()} == {0}


def test_nothing_else_of_ours_makes_files_by_the_umask():
    """Whoever writes goes through vm_mgr.private, or is known here to close its files in another way."""
    closed = {
        "private.py": "the place itself",
        "room.py": "memory, which has no name",
        "agent/disk_locks.py": "modes, and no parents",
        "cli/complete.py": "/dev/null",
        "cli/edit.py": "mkstemp",
        "cli/man.py": "pages for everybody",
        "cli/guest_access.py": "a picture where its user wants it",
        "adapters/drbd/node_files.py": "modes of its own; links for QEMU's user",
        "adapters/host/nvram_files.py": "modes of its own, as libvirt has them",
        "adapters/pacemaker/cib_transaction.py": "below a folder of mkdtemp's",
        "adapters/shared_dir/files.py": "chmod and a mode",
        "adapters/ceph/listing.py": "a pipe",
        "adapters/ceph/saved_memory.py": "touch with a mode",
    }
    makes = re.compile(r"\.mkdir\(|write_text\(|write_bytes\(|\.touch\(|\.open\(\"[wax]|open\(.*\"[wax]b?\"")
    source = REPOSITORY / "src" / "vm_mgr"
    found = {str(path.relative_to(source)) for path in source.rglob("*.py") if makes.search(path.read_text())}
    assert {name for name in found if "adapters/memory" not in name} <= set(closed)
