"""Tell whether locks in a shared directory lock between nodes.

Each node on which the agent DiskLocks runs holds an fcntl(2) lock on a file of its name, and touches it
as long as it does. A node that could lock the file of another one, and sees it touched afterwards, has proof:
locks don't lock between the two. libvirt's leases and QEMU's locks would then keep no second start from
happening. Where no other node holds a lock nothing is known, and nothing is refused.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["NodePaths", "check", "hold", "leases_folder"]

BEAT_S = 5.0
# A file that was not touched for so long is no living holder's.
FRESH_S = 3 * BEAT_S
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class NodePaths(NamedTuple):
    """Where libvirt's configuration and the kernel's view are, and who this node is."""

    etc: Path = Path("/etc/libvirt")
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    run: Path = Path("/run")
    node: str = os.uname().nodename

    @classmethod
    def from_environment(cls) -> NodePaths:
        """Take other folders from the environment, for tests."""
        given = os.environ.get
        return cls(
            etc=Path(given("VM_MGR_LIBVIRT_ETC", "/etc/libvirt")),
            proc=Path(given("VM_MGR_PROC", "/proc")),
            sys=Path(given("VM_MGR_SYS", "/sys")),
            run=Path(given("VM_MGR_RUN", "/run")),
        )


class Mounted(NamedTuple):
    """What the kernel tells of the mount that a path is in."""

    point: str
    kind: str
    options: frozenset[str]


def check(places: NodePaths, folders: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    """Give the reason why locks don't lock, or none, and the nodes whose locks were seen to do."""
    leases = leases_folder(places)
    for problem in (
        _unconfigured(places),
        *(_local(places, folder) for folder in (*((leases,) if leases else ()), *folders)),
    ):
        if problem:
            return problem, []
    return _tried(places, Path(leases).parent / "nodes") if leases else ("", [])


def leases_folder(places: NodePaths) -> str:
    """Give the folder of libvirt's leases; empty where it is configured to have none."""
    return _settings(places.etc / "qemu-lockd.conf").get("file_lockspace_dir", "")


def _settings(file: Path) -> dict[str, str]:
    """Read what libvirt reads: KEY = VALUE, quoted or not; what is absent has libvirt's own default."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#")]
    return {key.strip(): _value(value.strip()) for key, value in pairs}


def _value(text: str) -> str:
    quote = text[:1]
    return text[1:].partition(quote)[0] if quote in ('"', "'") else text.partition("#")[0].strip()


def _unconfigured(places: NodePaths) -> str:
    """Tell whether libvirt takes leases at all, as it is configured and as it runs."""
    if _settings(places.etc / "qemu.conf").get("lock_manager") != "lockd":
        return f'libvirt takes no leases: {places.etc}/qemu.conf lacks lock_manager = "lockd"'
    if _settings(places.etc / "qemu-lockd.conf").get("auto_disk_leases", "1") == "0":
        return f"libvirt takes no leases: auto_disk_leases is 0 in {places.etc}/qemu-lockd.conf"
    for daemon in ("virtqemud", "libvirtd"):
        try:
            pid = (places.run / f"{daemon}.pid").read_text(encoding="ascii").strip()
            if (places.proc / pid / "comm").read_text(encoding="utf-8").strip() != daemon:
                continue
            maps = (places.proc / pid / "maps").read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError):
            continue  # it does not run, and will read its configuration when it does
        if "lockd.so" not in maps:
            return f"libvirt takes no leases: {daemon} has not been restarted since it was configured to"
    return ""


def _local(places: NodePaths, folder: str) -> str:
    """Tell whether the directory is mounted so that its locks hold on this node only."""
    found = _mounted(places, folder)
    if found is None:
        return ""
    nfs = found.kind.startswith("nfs")
    if found.point == "/" and not nfs:
        return f"{folder} is not mounted: locks in it hold on this node only"
    # nolock means nothing in NFS 4, whose locks are part of the protocol.
    words = {"nfs": {"nolock"}, "gfs2": {"localflocks", "lockproto=lock_nolock"}, "cifs": {"nobrl"}}
    words |= {"smb3": {"nobrl"}, "ocfs2": {"localflocks", "cluster_stack=o2cb"}}
    bad = sorted(words.get(found.kind, set()) & found.options)
    if nfs:
        bad += sorted({"local_lock=all", "local_lock=posix", "local_lock=flock"} & found.options)
    if found.kind == "ocfs2" and not bad and _own_stack(places, found):
        bad = ["o2cb, OCFS2's own stack; it needs dlm_controld under Pacemaker"]
    if bad:
        return f"{found.point} is mounted with {', '.join(bad)}: locks in it hold on one node only"
    return ""


def _own_stack(places: NodePaths, found: Mounted) -> bool:
    if any(option.startswith("cluster_stack=") for option in found.options):
        return False
    try:
        stack = (places.sys / "fs/ocfs2/cluster_stack").read_text(encoding="ascii").strip()
    except OSError:
        return False
    return stack == "o2cb"


def _mounted(places: NodePaths, folder: str) -> Mounted | None:
    """Find the mount that a path is in: proc_pid_mountinfo(5), the last of those at the same point."""
    try:
        lines = (places.proc / "self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    best: Mounted | None = None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, (kind, _, options, *_) = before.split(), (*after.split(), "", "", "")
        point = fields[4].encode().decode("unicode_escape")
        inside = point in ("/", folder) or folder.startswith(f"{point}/")
        if inside and (best is None or len(point) >= len(best.point)):
            best = Mounted(point, kind, frozenset((*fields[5].split(","), *options.split(","))))
    return best


def _tried(places: NodePaths, nodes: Path) -> tuple[str, list[str]]:
    """Try to lock what other nodes hold; errors of the file system's lock service are its own words."""
    try:
        if not nodes.parent.is_dir():
            return "", []  # it is not yet a storage
        _make(nodes)
        now = _touched(nodes / f".{places.node}")
        proved = []
        for file in sorted(nodes.iterdir()):
            if file.name.startswith(".") or file.name == places.node:
                continue
            if now - file.stat().st_mtime > FRESH_S:
                continue
            if _is_locked(file):
                proved.append(file.name)
            elif _lives(file) and not _is_locked(file):
                reason = f"{file.name} holds one that {places.node} could take"
                return f"locks in {nodes.parent} don't lock: {reason}", []
    except OSError as error:
        return f"locks in {nodes.parent} can't be taken: {error.strerror}", []
    return "", proved


def _make(nodes: Path) -> None:
    try:
        nodes.mkdir(mode=0o700)
    except FileExistsError:
        return


def _touched(file: Path) -> float:
    """Give the time by the file system's own clock."""
    opened = os.open(file, _FLAGS, 0o600)
    try:
        with suppress(BlockingIOError, PermissionError):  # held by another check: fcntl(2)
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where there are no locks at all
        os.utime(opened)
        return os.fstat(opened).st_mtime
    finally:
        os.close(opened)


def _is_locked(file: Path) -> bool:
    try:
        opened = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # either: fcntl(2)
        return True
    finally:
        os.close(opened)
    return False


def _lives(file: Path) -> bool:
    """Tell whether the file is touched from now on; its holder may have ended a moment ago."""
    before = file.stat().st_mtime
    end = time.monotonic() + 2 * BEAT_S + 1
    while time.monotonic() < end:
        time.sleep(0.2)
        opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC)  # on NFS only opening asks the server
        try:
            if os.fstat(opened).st_mtime > before:
                return True
        finally:
            os.close(opened)
    return False


def hold(places: NodePaths) -> None:
    """Hold this node's lock, and touch its file, until the process is ended."""
    leases = leases_folder(places)
    if not leases:
        return
    nodes = Path(leases).parent / "nodes"
    while not nodes.parent.is_dir():
        time.sleep(0.2)
    _make(nodes)
    opened = os.open(nodes / places.node, _FLAGS, 0o600)
    fcntl.lockf(opened, fcntl.LOCK_EX)
    while True:
        os.utime(opened)
        time.sleep(BEAT_S)
