"""Bring the lab up, and take it down whatever state it is in."""

import contextlib
import fcntl
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from vm_mgr_lab import bmc, cgroup, deployment
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.guest import base_image, kvm_works
from vm_mgr_lab.image import node_image
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.machine import own_kernel, personalise
from vm_mgr_lab.monitors import Monitors
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import require_programs, require_root, run, wait_clear, wait_until
from vm_mgr_lab.topology import Node, OwnKernel, Topology

__all__ = [
    "Request",
    "Say",
    "build",
    "ceph_trouble",
    "down",
    "exclusive",
    "make_key",
    "pacemaker_trouble",
    "up",
    "wait_ready",
]

Say = Callable[[str], None]

BOOT_S = 180
READY_S = 180
KEPT_LAYERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `up` is asked for."""

    hypervisors: int = 3
    observers: int = 0
    suite: str = "trixie"
    fresh: bool = False
    bare: bool = False
    storages: tuple[str, ...] = ("ceph", "shared_dir")
    own_kernel: bool = False
    disk_mib: int = 4096
    shared_disks_mib: tuple[int, ...] = ()


def up(paths: Paths, request: Request, say: Say) -> Lab:
    """Boot a cluster: build and deploy what isn't cached, wait until it is healthy."""
    require_root()
    require_programs()
    with exclusive(paths):
        if paths.description.exists() or cgroup.all_groups():
            raise LabError("a lab is up already", hint="vm-mgr-lab status, or vm-mgr-lab down first")
        nodes = Topology.make_nodes(request.hypervisors, request.observers)
        _refuse(request, len(nodes))
        make_key(paths)
        image = node_image(paths, request.suite, say)
        kernel = _kernel(paths, request, say)
        kvm = not kernel and kvm_works(paths, image, base_image(paths, request.suite, say), say)
        bare = Topology(
            suite=request.suite,
            nodes=nodes,
            kvm=kvm,
            lower={node.name: [*_modules(kernel), str(image)] for node in nodes},
            storages=request.storages,
            own_kernel=kernel,
        )
        layers = deployment.layers_folder(paths, image, bare)
        cached = layers.exists() and not request.fresh and not request.bare
        lab = Lab(paths, deployment.on_layers(bare, layers.resolve()) if cached else bare)
        lab.topology.save(paths)
        if cached:
            deployment.note_use(layers.resolve(), paths)
            deployment.restore_shared(lab, layers)
        _switch_on(lab, say, new=not cached)
        deployment.write_inventory(paths, lab.topology)
        if not cached and not request.bare:
            lab = _deploy_and_reboot(lab, layers, say)
        if not request.bare:
            wait_ready(lab, say)
    return lab


def _refuse(request: Request, machines: int) -> None:
    """Refuse what could not work, before anything is made."""
    two_alone = machines == 2 and "ceph" not in request.storages
    if machines % 2 == 0 and not two_alone and not request.bare:
        raise LabError(
            f"{machines} machines can split into two equal halves",
            hint="add an observer: vm-mgr-lab up --nodes 2 --observers 1",
        )
    if request.own_kernel and set(request.storages) != {"drbd"}:
        raise LabError(
            f"nodes with a kernel of their own have no storage {' and '.join(request.storages)}",
            hint="files of a folder of the host are not locked between kernels; take --storage drbd",
        )
    if not request.own_kernel and "drbd" in request.storages:
        raise LabError("containers share the host's kernel: no DRBD", hint="vm-mgr-lab up --kernel own")


def _kernel(paths: Paths, request: Request, say: Say) -> OwnKernel | None:
    """Find what nodes with a kernel of their own run on; it needs the C library of Debian 13."""
    if not request.own_kernel:
        return None
    return OwnKernel(
        folder=str(own_kernel(paths, say)),
        loader=str(node_image(paths, "trixie", say)),
        disk_mib=request.disk_mib,
        shared_disks_mib=request.shared_disks_mib,
    )


def _modules(kernel: OwnKernel | None) -> list[str]:
    return [str(Path(kernel.folder) / "layer")] if kernel else []


def build(paths: Paths, suites: Iterable[str], say: Say) -> None:
    """Build what `up` takes from the cache and what takes longest: the images of nodes and of the guest."""
    require_root()
    with exclusive(paths):
        for suite in suites:
            node_image(paths, suite, say)
            base_image(paths, suite, say)


def down(paths: Paths, say: Say) -> None:
    """Remove everything that `up` made, also after an interruption; the caches stay."""
    require_root()
    with exclusive(paths):
        say("ending the lab's processes")
        cgroup.remove_all()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{paths.state}/")), reverse=True):
            run(["umount", "--lazy", mount], check=False)
        say("removing the lab's state")
        if paths.state.exists():
            shutil.rmtree(paths.state)


@contextlib.contextmanager
def exclusive(paths: Paths) -> Iterator[None]:
    """Hold the lab's lock, or refuse when another command is bringing it up or down."""
    paths.cache.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(
                "another vm-mgr-lab is bringing the lab up or down", hint="wait until it has ended"
            ) from None
        yield


def wait_ready(lab: Lab, say: Say) -> None:
    """Wait until every node is online, every fence device is started and Ceph, if any, is healthy."""
    say("waiting for Pacemaker: nodes online, fencing started")
    wait_clear(
        lambda: pacemaker_trouble(lab),
        what="all nodes online and all fence devices started",
        timeout_s=READY_S,
    )
    if "ceph" not in lab.topology.storages:
        return
    say("waiting for Ceph: HEALTH_OK")
    monitors = Monitors(lab, say)

    def trouble() -> str:
        told = ceph_trouble(lab)
        monitors.look(told)
        return told

    wait_clear(trouble, what="Ceph's HEALTH_OK", timeout_s=READY_S)


def make_key(paths: Paths) -> None:
    """Make the ssh key that opens nodes and guests, once."""
    if not paths.ssh_key.exists():
        paths.ssh_key.parent.mkdir(parents=True, exist_ok=True)
        paths.ssh_key.parent.chmod(0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm-mgr-lab", "-f", paths.ssh_key])


def _switch_on(lab: Lab, say: Say, *, new: bool) -> None:
    say(f"booting {', '.join(node.name for node in lab.nodes)}")
    lab.network.create()
    for node in lab.nodes:
        if new:
            _personalise(lab, node)
        bmc.start(lab.paths, node)
        lab.power_on(node.name, firmware_s=0)
    wait_until(
        lambda: all(lab.machine(node.name).is_booted() for node in lab.nodes),
        what="the nodes to boot",
        timeout_s=BOOT_S,
        interval_s=0.3,
    )


def _personalise(lab: Lab, node: Node) -> None:
    """Give a new node what an installer gives it: identity, host keys and the administrator's key."""
    disk = lab.paths.node(node.name) / "upper"
    for folder in ("etc/ssh", "root/.ssh"):
        (disk / folder).mkdir(parents=True, exist_ok=True)
    (disk / "root/.ssh").chmod(0o700)
    (disk / "root").chmod(0o700)
    (disk / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
    (disk / "etc/hostname").write_text(node.name + "\n")
    shutil.copy(lab.paths.ssh_key.with_suffix(".pub"), disk / "root/.ssh/authorized_keys")
    if lab.topology.own_kernel:
        personalise(node, disk)
    run(["ssh-keygen", "-A", "-f", disk])


def _deploy_and_reboot(lab: Lab, layers: Path, say: Say) -> Lab:
    """Deploy, keep the result as layers, and boot from them: what is then tested is a cold start."""
    say("deploying (ansible)")
    deployment.deploy(lab.paths, say)
    wait_ready(lab, say)
    say("keeping the deployed state for the next time")
    for node in lab.nodes:
        if lab.topology.own_kernel:
            lab.execute(node.name, ["sh", "-c", deployment.FORGET])
        lab.execute(node.name, ["systemctl", "poweroff", "--no-block"], check=False)
    for node in lab.nodes:
        lab.machine(node.name).shut_down(timeout_s=BOOT_S)
        lab.network.unplug(node)
    kept = deployment.keep_layers(lab, layers)
    deployment.forget_old_layers(lab.paths.cache, kept=KEPT_LAYERS)
    again = Lab(lab.paths, deployment.on_layers(lab.topology, kept))
    again.topology.save(lab.paths)
    say("booting the deployed nodes")
    for node in again.nodes:
        again.power_on(node.name, firmware_s=0)
    return again


def pacemaker_trouble(lab: Lab) -> str:
    """Say what keeps Pacemaker from being ready; nothing when it is."""
    probe = lab.nodes[0].name
    try:
        shown = lab.execute(probe, ["crm_mon", "-1", "--output-as=xml"], check=False)
    except LabError as error:
        return str(error)
    if shown.returncode != 0:
        return f"crm_mon on {probe} ended with {shown.returncode}: {shown.stderr.strip()[-200:]}"
    status = etree.fromstring(shown.stdout.encode())
    online = {node.get("name") for node in status.iterfind("nodes/node") if node.get("online") == "true"}
    fencing = [
        r.get("id")
        for r in status.iter("resource")
        if str(r.get("resource_agent")).startswith("stonith:") and r.get("role") == "Started"
    ]
    if online == {n.name for n in lab.nodes} and len(fencing) == len(lab.nodes):
        return ""
    return f"online: {sorted(map(str, online))}, fence devices started: {len(fencing)}"


def ceph_trouble(lab: Lab) -> str:
    """Say what keeps Ceph from being ready; nothing when it is.

    The storage daemons are asked too: after a cold start the monitors repeat what was true before.
    """
    node = lab.nodes[0].name
    for ask in (["ceph", "tell", "osd.*", "version"], ["rbd", "--id", "vm-mgr", "ls", "rbd"]):
        done = lab.execute(node, ["timeout", "5", *ask], check=False, timeout_s=30)
        if done.returncode != 0:
            return f"{' '.join(ask)} on {node} ended with {done.returncode}: {done.stderr.strip()[-200:]}"
    shown = lab.execute(
        node, ["ceph", "--connect-timeout", "5", "health", "--format=json"], check=False, timeout_s=30
    )
    if shown.returncode != 0:
        return shown.stderr.strip()[-200:] or "ceph health doesn't answer"
    checks = json.loads(shown.stdout)["checks"]
    messages = {code: str(check["summary"]["message"]) for code, check in checks.items()}
    return "; ".join(f"{code}: {text}" for code, text in messages.items() if not _is_past(code, text))


def _is_past(code: str, message: str) -> bool:
    """Tell warnings about what was from what is.

    Ping times are means over up to 15 minutes. Monitors may count failure reports as slow operations until
    they are restarted (https://tracker.ceph.com/issues/50964); storage daemons don't.
    """
    return code.startswith("OSD_SLOW_PING_TIME") or (code == "SLOW_OPS" and "osd." not in message)
