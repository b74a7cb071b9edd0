"""Versions stand side by side: a killed upgrade leaves one in use, and what runs ends with its own."""

import base64
import gzip
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FILES = REPOSITORY / "deploy" / "roles" / "vm_mgr" / "files"
AGENTS = ("VirtualDomain", "DiskLocks", "Node")
ENTRIES = ("vm-mgr", "completion", "hook", "exchange.sh", "when-quiet.sh")
# Before each of these a kill is tried: what else there is only reads, or makes drafts.
STEPS = ("tar", "install", "mv", "rm")
REFUSED = "the guard refuses"
GUARD = f"""
import sys, vm_mgr.late, vm_manager.late
sys.exit(f"{REFUSED} {{vm_mgr.late.MINE}} {{vm_manager.late.MINE}}")
"""


class Node:
    """A machine's file system below a folder, with what the deployment does to it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.home = self.root / "usr/lib/vm-mgr"
        self.hook = self.root / "etc/libvirt/hooks/qemu.d/vm-mgr"
        self.agents = self.root / "usr/lib/ocf/resource.d/vm-mgr"
        self.outdated = self.root / "etc/tmpfiles.d/vm-mgr-versions.conf"
        self.count = folder / "count"
        self.shims = folder / "shims"
        (self.root / "etc/libvirt/hooks").mkdir(parents=True)
        (self.root / "run").mkdir()
        self._make_shims()

    def _make_shims(self) -> None:
        self.shims.mkdir()
        for name in STEPS:
            real = shutil.which(name)
            shim = self.shims / name
            shim.write_text(
                f"#!/bin/sh\nread -r n <{self.count}\nn=$((n + 1))\necho $n >{self.count}\n"
                f'[ $n -ne "$KILL_AT" ] || kill -9 0\nexec {real} "$@"\n'
            )
            shim.chmod(0o755)
        (self.shims / "sync").symlink_to("/bin/true")  # a disk that is busy would take minutes

    def run(self, script: str, *arguments: str, stdin: str = "", kill_at: int = 0, umask: int = 0o022):
        self.count.write_text("0\n")
        return subprocess.run(
            ["sh", "-c", script, "sh", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            start_new_session=True,
            umask=umask,
            env={
                "PATH": f"{self.shims}:{os.environ['PATH']}",
                "VM_MGR_ROOT": str(self.root),
                "VM_MGR_PYTHON": "true",
                "KILL_AT": str(kill_at),
            },
        )

    def install(self, version: str, **more):
        return self.run((FILES / "install.sh").read_text(), stdin=archive(version), **more)

    def exchange(self, waits: str, **more):
        version = waits.removeprefix("waits ").strip()
        assert Path(version).parent == self.home / "versions"
        return self.run(f"exec sh {version}/entry/exchange.sh", **more)

    def upgrade(self, version: str) -> None:
        done = self.install(version)
        assert done.returncode == 0, done.stderr
        if done.stdout.startswith("waits "):
            done = self.exchange(done.stdout)
            assert done.returncode == 0, done.stderr

    def in_use(self) -> str:
        """Ask a new process for its version; all of it has to be of one."""
        program = "import vm_mgr.late, vm_manager.late; print(vm_mgr.late.MINE, vm_manager.late.MINE)"
        paths = f"{self.home}/current:{self.home}"
        one, other = self.python(program, paths).split()
        assert one == other
        return one

    def python(self, program: str, path: str) -> str:
        argv = [sys.executable, "-S", "-P", "-B", "-c", program]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PYTHONPATH": path})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def starts(self, *versions: str) -> bool:
        """Let libvirt ask the hook for a start, whose guard may be of any of these versions."""
        done = subprocess.run(
            [self.hook, "web1", "prepare", "begin", "-"],
            capture_output=True,
            text=True,
            check=False,
            env={
                "VM_MGR_HOME": str(self.home),
                "VM_MGR_PYTHON": sys.executable,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        if versions:
            assert done.stderr.strip() in [f"{REFUSED} {one} {one}" for one in versions]
        return done.returncode == 0

    def agents_work(self, *agents: str) -> None:
        for agent in agents or AGENTS:
            done = subprocess.run([self.agents / agent, "meta-data"], capture_output=True, check=False)
            assert done.returncode == 0
            assert b"<resource-agent" in done.stdout
        (library,) = (
            line for line in (self.agents / "VirtualDomain").read_text().split("\n") if line[:4] == "LIB="
        )
        assert Path(library.partition(":-")[2].rstrip("}"), "vm_mgr/late.py").exists()

    def boot(self) -> None:
        """Remove what systemd-tmpfiles removes at a boot, and what is in memory."""
        for line in self.outdated.read_text().splitlines() if self.outdated.exists() else ():
            kind, _, path = line.partition(" ")
            if kind == "R!":
                shutil.rmtree(f"{self.root}{path}", ignore_errors=True)


def archive(version: str) -> str:
    """Pack a product of two small packages, with the agents and entries of this checkout."""
    files = {
        "vm_mgr/__init__.py": (REPOSITORY / "src/vm_mgr/__init__.py").read_bytes(),
        "vm_mgr/late.py": f"MINE = {version!r}\n".encode(),
        "vm_mgr/ocf/__init__.py": b"",
        "vm_mgr/ocf/guard.py": GUARD.encode(),
        "vm_manager/__init__.py": (REPOSITORY / "src/vm_mgr/__init__.py").read_bytes(),
        "vm_manager/late.py": f"MINE = {version!r}\n".encode(),
    }
    files |= {
        f"ocf/{name}": (REPOSITORY / "ocf" / name).read_bytes()
        for name in (*AGENTS, *(f"{one}.xml" for one in AGENTS), "alert", "drbd-handler")
    }
    files |= {f"entry/{name}": (FILES / name).read_bytes() for name in ENTRIES}
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return base64.b64encode(gzip.compress(packed.getvalue(), 1, mtime=0)).decode()


def make_flat(node: Node) -> None:
    """Leave what the deployment left until versions stood side by side."""
    for package in ("vm_mgr", "vm_manager"):
        (node.home / package / "ocf").mkdir(parents=True)
        (node.home / package / "__init__.py").touch()
        (node.home / package / "late.py").write_text("MINE = 'old'\n")
    (node.home / "vm_mgr/ocf/guard.py").write_text(GUARD)
    (node.home / "installed").write_text("3f5d  -\n")
    node.agents.mkdir(parents=True)
    for agent in AGENTS:
        text = (REPOSITORY / "ocf" / agent).read_text().replace("/usr/lib/vm-mgr/current", str(node.home))
        (node.agents / agent).write_text(text)
        (node.agents / agent).chmod(0o755)
        xml = (REPOSITORY / "ocf" / f"{agent}.xml").read_text()  # which these agents had in themselves
        (node.agents / f"{agent}.xml").write_text(xml)
    node.hook.parent.mkdir(parents=True)
    node.hook.write_text(
        f'#!/bin/sh\ncase "$2/$3" in prepare/begin | migrate/begin) ;; *) exit 0 ;; esac\n'
        f"[ -e {node.home}/vm_mgr/ocf/guard.py ] || exit 0\n"
        f'PYTHONPATH={node.home} exec {sys.executable} -B -P -m vm_mgr.ocf.guard "$@"\n'
    )
    node.hook.chmod(0o755)


def make_versions(node: Node) -> None:
    node.upgrade("old")


def make_twice(node: Node) -> None:
    """Where the version that is put to use is one that the next boot would remove."""
    node.upgrade("new")
    node.upgrade("old")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def clone(node: Node, folder: Path) -> Node:
    """Give a copy of a machine; absolute paths in its files are made its own."""
    other = Node(folder)
    shutil.rmtree(other.root)
    shutil.copytree(node.root, other.root, symlinks=True)
    for file in other.root.rglob("*"):
        if file.is_file() and not file.is_symlink():
            text = file.read_text()
            if str(node.root) in text:
                file.write_text(text.replace(str(node.root), str(other.root)))
    return other


@pytest.mark.parametrize("earlier", [make_flat, make_versions, make_twice])
def test_upgrade_that_is_killed_anywhere_leaves_a_working_version_and_a_closed_hook(node, tmp_path, earlier):
    earlier(node)
    assert node.in_use() == "old"
    assert not node.starts()
    for kill_at in range(1, 200):
        killed = clone(node, make_folder(tmp_path / str(kill_at)))
        done = killed.install("new", kill_at=kill_at)
        if done.returncode == 0:
            steps = int(killed.count.read_text())
            assert not killed.starts("old"), "it waits for its node's turn"
            done = killed.exchange(done.stdout, kill_at=kill_at - steps if kill_at > steps else 0)
        ended = done.returncode == 0
        assert not killed.starts(*(["new"] if ended else ["old", "new"]))
        killed.agents_work("VirtualDomain")
        killed.boot()
        assert not killed.starts(*(["new"] if ended else ["old", "new"]))
        killed.agents_work("VirtualDomain")
        if not ended:
            killed.upgrade("new")
        assert not killed.starts("new")
        if ended:
            killed.agents_work()
            return
        shutil.rmtree(tmp_path / str(kill_at))
    pytest.fail("it never ends")


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_first_installation_that_is_killed_anywhere_can_be_repeated_and_has_no_open_hook(tmp_path):
    for kill_at in range(1, 200):
        node = Node(make_folder(tmp_path / str(kill_at)))
        done = node.install("new", kill_at=kill_at)
        assert not node.hook.exists() or not node.starts()
        if done.returncode == 0:
            assert done.stdout.startswith("first\n")
            break
        assert done.returncode == -9
        node.upgrade("new")
        assert not node.starts("new")
    else:
        pytest.fail("it never ends")
    node.agents_work()
    assert node.install("new").stdout == "", "a second run changes nothing"


@pytest.mark.parametrize("path", ["{home}/current", "{home}"])
def test_process_that_lives_through_an_upgrade_loads_the_rest_of_itself_from_its_own_version(node, path):
    node.upgrade("old")
    program = (
        "import sys, vm_mgr, vm_manager; print('begun', flush=True); sys.stdin.readline()\n"
        "import vm_mgr.late, vm_manager.late; print(vm_mgr.late.MINE, vm_manager.late.MINE)"
    )
    begun = subprocess.Popen(
        [sys.executable, "-S", "-P", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": path.format(home=node.home)},
    )
    assert begun.stdout.readline() == "begun\n"
    node.upgrade("new")
    output, _ = begun.communicate("\n", timeout=20)
    assert (begun.returncode, output) == (0, "old old\n")
    assert node.in_use() == "new"
    node.boot()
    assert [one.name for one in (node.home / "versions").iterdir()] == [
        (node.home / "current").readlink().name
    ]


def test_agent_that_lives_through_an_upgrade_calls_its_own_version(node):
    node.upgrade("old")
    script = (node.agents / "VirtualDomain").read_text()
    node.upgrade("new")
    (line,) = (line for line in script.split("\n") if line.startswith("LIB="))
    library = Path(line.partition(":-")[2].rstrip("}"))
    assert node.python("import vm_mgr.late as late; print(late.MINE)", str(library)) == "old\n"
    assert library.resolve() != (node.home / "current").resolve()


def test_command_knows_its_version_once(node):
    """By each of its names; what it imports late is not looked for behind the link."""
    node.upgrade("old")
    text = (node.root / "usr/bin/vm-mgr").read_text().replace("from vm_mgr.cli import main", "import vm_mgr")
    version = (node.home / "current").resolve()
    assert "main())\n" in text
    (version / "entry/vm-mgr").write_text(text.replace("main())", "sys.path[0])"))
    for name in ("vm-mgr", "vm_manager_cmd"):
        command = [sys.executable, "-IS", node.root / "usr/bin" / name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr.strip() == str(version)


@pytest.mark.parametrize("damage", ["current", "package", "guard", "python", "nothing"])
def test_hook_refuses_whatever_is_wrong_with_the_package(node, damage):
    node.upgrade("old")
    if damage == "current":
        (node.home / "current").unlink()
    elif damage == "package":
        shutil.rmtree((node.home / "current").resolve())
    elif damage == "guard":
        (node.home / "current/vm_mgr/ocf/guard.py").unlink()
    elif damage == "python":
        (node.home / "current/vm_mgr/ocf/guard.py").write_text("import nothing_of_the_kind # vm-mgr: \n")
    assert not node.starts()


def test_hook_lets_pass_where_vm_mgr_was_taken_away_on_purpose(node):
    node.upgrade("old")
    (node.home / "installed").unlink()
    assert node.starts()


def test_hook_has_nothing_to_say_of_other_moments(node):
    node.upgrade("old")
    for moment in (("release", "end"), ("started", "begin"), ("stopped", "end"), ("prepare", "end")):
        assert subprocess.run([node.hook, "web1", *moment, "-"], check=False).returncode == 0


@pytest.mark.parametrize("umask", [0, 0o077])
def test_what_is_installed_is_readable_and_writable_for_root_only_whatever_the_umask(node, umask):
    done = node.install("old", umask=umask)
    assert done.returncode == 0
    for path in (node.home, *node.home.rglob("*"), *node.agents.iterdir(), node.hook):
        mode = path.stat().st_mode & 0o777
        assert mode & 0o022 == 0, path
        assert mode & 0o444 == 0o444, path


def test_no_agent_and_no_entry_goes_by_the_place_that_all_versions_had_once():
    for path in [*(REPOSITORY / "ocf").iterdir(), *(REPOSITORY / "deploy").rglob("*.*"), *FILES.iterdir()]:
        if path.is_file() and path.name != "vm-mgr-alerts.service" and path.suffix != ".pyc":
            text = path.read_text()
            assert "PYTHONPATH=/usr/lib/vm-mgr " not in text, path
            assert "VM_MGR_LIB:-/usr/lib/vm-mgr}" not in text, path


def test_package_of_this_checkout_has_what_the_entries_need():
    variables = (REPOSITORY / "deploy/roles/vm_mgr/vars/main.yml").read_text()
    for name in ENTRIES:
        assert f"deploy/roles/vm_mgr/files/{name} " in " ".join(variables.split())
