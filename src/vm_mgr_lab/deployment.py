"""Deploy into the nodes with the roles in deploy/, over ssh, and keep the result as disk layers."""

import hashlib
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from vm_mgr_lab import bmc
from vm_mgr_lab.cgroup import Cgroup
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.machine import SHARE
from vm_mgr_lab.network import switch_namespace
from vm_mgr_lab.paths import CHECKOUT, Paths
from vm_mgr_lab.process import run
from vm_mgr_lab.topology import Node, Topology, bmc_address

__all__ = [
    "FORGET",
    "deploy",
    "forget_old_layers",
    "keep_layers",
    "layers_folder",
    "note_use",
    "on_layers",
    "restore_shared",
    "write_inventory",
]

Say = Callable[[str], None]

SOURCES = ("deploy", "ocf", "src/vm_manager", "src/vm_mgr")
RECIPE = "4"  # raise when the lab itself changes what it deploys
# What stands for a file server: a folder of the host, which every node sees at SHARE.
SHARED_DIR = {"label": "vms", "path": "/srv/vms", "device": SHARE, "fstype": "none", "options": "bind"}
OWN_DISK = "/dev/disk/by-id/lab-own"  # see machine/layer/
# In a folder of layers: which labs have run on it, by the files that describe them.
USERS = "labs"
# Logs and state of the deployment's own boot, which a node that boots from the layer would not have.
NOT_KEPT = ("var/log/journal", "tmp", "var/tmp", "root/.ansible", "run")
# The same on a node with a system disk of its own.
FORGET = "rm -rf /var/log/journal/* /tmp/* /var/tmp/* /root/.ansible"


def layers_folder(paths: Paths, image: Path, topology: Topology) -> Path:
    """Return the link to the cached layers that these nodes would be deployed to; it need not exist."""
    digest = hashlib.sha256()
    kernel = topology.own_kernel
    shape = [
        [[node.name, node.role] for node in topology.nodes],
        topology.storages,
        kernel and asdict(kernel),
    ]
    digest.update(json.dumps([RECIPE, image.name, shape]).encode())
    for source in SOURCES:
        for file in sorted((CHECKOUT / source).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(CHECKOUT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return paths.cache / "layers" / f"{digest.hexdigest()[:16]}.now"


def on_layers(topology: Topology, folder: Path) -> Topology:
    """Return the same lab with nodes that boot from a folder of layers."""
    lower = {name: [str(folder / name), *below] for name, below in topology.lower.items()}
    return replace(topology, lower=lower)


def write_inventory(paths: Paths, topology: Topology) -> None:
    """Write the inventory of the lab's nodes as an operator would write one of his machines."""

    def host(node: Node) -> dict[str, object]:
        disks = {"drbd_devices": [OWN_DISK]} if "drbd" in topology.storages else {}
        return {
            **disks,
            "ansible_host": node.address("admin"),
            "admin_address": node.address("admin"),
            "cluster_address": node.address("cluster"),
            "bmc_address": bmc_address(node),
            "bmc_user": bmc.USER,
            "bmc_password": bmc.ask_password(paths, node),
        }

    options = "-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=" + str(paths.state / "known_hosts")
    inventory = {
        "all": {
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(paths.ssh_key),
                "ansible_ssh_common_args": options,
                "ansible_python_interpreter": "/usr/bin/python3",
                "storages": list(topology.storages),
                "shared_dirs": [SHARED_DIR] if "shared_dir" in topology.storages else [],
            },
            "children": {
                f"{role}s": {"hosts": {node.name: host(node) for node in topology.nodes if node.role == role}}
                for role in ("hypervisor", "observer")
            },
        }
    }
    paths.inventory.touch(mode=0o600)
    paths.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))


def deploy(paths: Paths, say: Say, *, extra: tuple[str, ...] = ()) -> None:
    """Run the playbook over the nodes, saying each play and failure as it comes."""
    group = Cgroup("deploy")
    group.create()
    argv = [
        *group.enter_command(),
        *switch_namespace().enter_command(),
        "env",
        f"HOME={paths.state}",
        f"ANSIBLE_CONFIG={CHECKOUT / 'deploy' / 'ansible.cfg'}",
        f"ANSIBLE_SSH_CONTROL_PATH_DIR={paths.state / 'ssh'}",
        f"ANSIBLE_LOCAL_TEMP={paths.state / 'ansible'}",
        f"{sys.prefix}/bin/ansible-playbook",
        "-i",
        str(paths.inventory),
        "-e",
        f"@{CHECKOUT / 'deploy' / 'vars' / 'containers.yml'}",
        str(CHECKOUT / "deploy" / "site.yml"),
        *extra,
    ]
    log = paths.state / "deploy.log"
    told: list[str] = []
    with (
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as playing,
        log.open("a") as record,
    ):
        for line in playing.stdout or ():
            record.write(line)
            if line.startswith(("PLAY [", "TASK [")):
                say("  " + line.rstrip(" *\n"))
            elif line.startswith(("fatal:", "failed:", "[ERROR]", "ERROR")):
                told.append(line.strip()[:300])
    group.kill()  # ssh's control masters
    group.wait_empty(timeout_s=10)
    group.remove()
    if playing.returncode != 0:
        raise LabError(f"the deployment failed: {' / '.join(told[-3:])}", hint=f"read {log}")


def keep_layers(lab: Lab, link: Path) -> Path:
    """Turn the disks of the switched-off nodes into read-only layers; return their folder.

    Another lab may run on layers of the same deployment: the new ones have a folder of their own.
    """
    folder = link.with_name(f"{link.stem}-{secrets.token_hex(4)}")
    draft = folder.with_suffix(".building")
    draft.mkdir(parents=True)
    draft.chmod(0o700)
    shutil.copytree(lab.paths.state / "bmc", draft / "bmc", ignore=shutil.ignore_patterns("*.out", "*.jsonl"))
    lab.paths.shared.mkdir(exist_ok=True)
    shutil.copytree(lab.paths.shared, draft / "shared")
    if lab.topology.own_kernel:
        _copy_disks(lab, draft / "disks", save=True)
    for node in lab.nodes:
        disk = lab.paths.node(node.name) / "upper"
        for part in NOT_KEPT:
            shutil.rmtree(disk / part, ignore_errors=True)
        shutil.move(disk, draft / node.name)
        shutil.rmtree(lab.paths.node(node.name) / "work", ignore_errors=True)
    draft.rename(folder)
    note_use(folder, lab.paths)
    fresh = folder.with_suffix(".link")
    fresh.symlink_to(folder.name)
    fresh.replace(link)
    return folder


def _copy_disks(lab: Lab, saved: Path, *, save: bool) -> None:
    """Copy the disks of nodes with a kernel of their own, leaving holes where nothing was written."""
    saved.mkdir(exist_ok=True)
    lab.paths.disks.mkdir(parents=True, exist_ok=True)
    pairs = [
        (lab.paths.node(node.name) / f"{disk}.raw", saved / f"{node.name}-{disk}.raw")
        for node in lab.nodes
        for disk in ("system", "disk")
    ]
    number = len(lab.topology.own_kernel.shared_disks_mib) if lab.topology.own_kernel else 0
    names = [f"shared-{one}.raw" for one in range(1, number + 1)]
    pairs += [(lab.paths.disks / name, saved / name) for name in names]
    for used, kept in pairs:
        used.parent.mkdir(parents=True, exist_ok=True)
        run(["cp", "--sparse=always", *((used, kept) if save else (kept, used))], timeout_s=300)


def note_use(folder: Path, paths: Paths) -> None:
    """Note in a folder of layers that a lab runs on them."""
    with (folder / USERS).open("a") as users:
        users.write(f"{paths.description}\n")


def forget_old_layers(cache: Path, *, kept: int) -> None:
    """Keep the newest sets of layers, each costs some hundred MB, and those that a lab runs on."""
    folders = [path for path in (cache / "layers").iterdir() if path.is_dir() and not path.is_symlink()]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime)[:-kept]:
        if not _is_used(folder):
            shutil.rmtree(folder)
    for link in (cache / "layers").iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()


def _is_used(folder: Path) -> bool:
    users = folder / USERS
    labs = [Path(line) for line in users.read_text().splitlines()] if users.exists() else []
    return any(lab.exists() and f"/{folder.name}/" in lab.read_text() for lab in labs)


def restore_shared(lab: Lab, folder: Path) -> None:
    """Bring back what is in no layer: the BMCs' passwords, the shared directory and the disks."""
    shutil.copytree(folder / "bmc", lab.paths.state / "bmc", dirs_exist_ok=True)
    shutil.copytree(folder / "shared", lab.paths.shared, dirs_exist_ok=True)
    if lab.topology.own_kernel:
        _copy_disks(lab, folder / "disks", save=False)
