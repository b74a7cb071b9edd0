"""Keep what tells how a round failed: journals of all nodes, the cluster's configuration, what was seen."""

import contextlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from vm_mgr_lab.campaign.watch import Watch
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab

__all__ = ["keep_evidence"]

LOOKS = {
    "crm_mon": "crm_mon -1 --show-detail --inactive --failcounts",
    "events": "vm-mgr events --since 15m",
    "list": "vm-mgr list",
    "virsh": "virsh list --all",
    "processes": "ps -eo pid,ppid,stat,lstart,args",
    "ceph": "timeout 9 ceph -s; timeout 9 ceph osd blocklist ls",
    "ledger": "timeout 9 rados -p rbd listomapvals vm-mgr.ledger",
    "run": "ls -la /run/vm-mgr /run/libvirt/qemu",
}


def keep_evidence(lab: Lab, folder: Path, watch: Watch, *, began_s: float, story: Sequence[str]) -> None:
    """Write a folder with all there is about a round that began at a time; a lost node is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "story.txt").write_text("\n".join(story) + "\n")
    seen = [asdict(one) for one in watch.sightings(since_s=began_s)]
    (folder / "qemus.json").write_text(json.dumps(seen, indent=1))
    nodes = [node.name for node in lab.nodes]
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(lambda name: _keep_node(lab, folder, name, began_s), nodes))


def _keep_node(lab: Lab, folder: Path, node: str, began_s: float) -> None:
    journal = f"journalctl --no-pager --output=short-precise --since=@{int(began_s) - 5}"
    for name, line in {"journal": journal, "cib": "cibadmin --query", **LOOKS}.items():
        with contextlib.suppress(LabError):
            done = lab.execute(node, ["sh", "-c", f"timeout 40 {line} 2>&1"], check=False, timeout_s=60)
            (folder / f"{node}-{name}.txt").write_text(done.stdout)
    for name in ("pacemaker/pacemaker.log", "libvirt/libvirtd.log"):
        log = lab.disk_of(node) / "var/log" / name
        with contextlib.suppress(OSError):
            (folder / f"{node}-{log.name}").write_text(log.read_text(errors="replace")[-400_000:])
    for log in (lab.disk_of(node) / "var/log/libvirt/qemu").glob("*.log"):
        with contextlib.suppress(OSError):
            (folder / f"{node}-qemu-{log.name}").write_text(log.read_text(errors="replace")[-40_000:])
