"""Ask each node once for all that the audits need: one script a node, all nodes at the same time."""

import json
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lxml import etree

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab

__all__ = ["ClusterLook", "NodeLook", "look_at_cluster", "look_at_node", "look_at_nodes"]

NODE = r"""
section() { printf '\n@@%s\n' "$1"; }
section domains; virsh --readonly --quiet list --all --name
section marks; ls /run/vm-mgr
section units; systemctl list-units --all --no-legend --plain 'vm-mgr-*..*' | awk '{print $1, $4}'
section processes; ps -eo etimes=,args= | grep -E 'vm_mgr\.ocf|/vm-mgr ' | grep -v grep
section temporary; ls -A /tmp /var/tmp | grep -vE '^(systemd-private|\.(ICE|X11|XIM|font)-unix|/|$)'
section journal; journalctl --no-pager --output=short-precise --since="@$1"
"""
CLUSTER = r"""
section() { printf '\n@@%s\n' "$1"; }
section list; vm-mgr list --output json
section mon; crm_mon -1 --output-as=xml
section cib; cibadmin --query
section images; timeout 20 rbd --id vm-mgr ls rbd
section groups; timeout 20 rbd --id vm-mgr group ls rbd
section trash; timeout 20 rbd --id vm-mgr trash ls rbd
section ledger; timeout 20 rados --id vm-mgr -p rbd listomapkeys vm-mgr.ledger
section shown; printf '['; sep=
for vm in "$@"; do
    printf '%s' "$sep"; vm-mgr show "$vm" --output json 2>/dev/null || printf null; sep=,
done; printf ']'
"""
SECTION = re.compile(r"^@@(\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLook:
    """What one node says of itself."""

    node: str
    domains: list[str]
    marks: list[str]
    units: list[str]
    processes: list[str]
    temporary: list[str]
    journal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLook:
    """What vm-mgr, Pacemaker and the storage say, asked on one node."""

    rows: list[dict[str, str]]
    shown: dict[str, dict[str, object]]
    mon: etree._Element
    cib: etree._Element
    images: list[str]
    groups: list[str]
    trash: list[str]
    ledger: list[str]


def look_at_nodes(lab: Lab, *, since_s: float) -> list[NodeLook]:
    """Look at every node at once."""
    names = [node.name for node in lab.nodes]
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(lambda name: look_at_node(lab, name, since_s=since_s), names))


def look_at_node(lab: Lab, node: str, *, since_s: float) -> NodeLook:
    """Return what a node says of itself, with its journal since a time."""
    parts = _sections(lab, node, NODE, str(int(since_s)))
    lines = {name: text.split("\n") if text else [] for name, text in parts.items()}
    return NodeLook(
        node=node,
        journal=parts["journal"],
        **{name: lines[name] for name in ("domains", "marks", "units", "processes", "temporary")},
    )


def look_at_cluster(lab: Lab, node: str, vms: Collection[str]) -> ClusterLook:
    """Return what a node says of the whole cluster, and of some VMs all; LabError if it can't."""
    parts = _sections(lab, node, CLUSTER, *vms)
    try:
        shown = [one for one in json.loads(parts["shown"]) if one]
        rows = json.loads(parts["list"])
        silent = {row["name"] for row in rows} & set(vms) - {str(one["name"]) for one in shown}
        if silent:  # what was known before would be judged instead
            raise LabError(f"{node} does not show {', '.join(sorted(silent))}, which it lists")
        return ClusterLook(
            rows=rows,
            shown={str(one["name"]): one for one in shown},
            mon=etree.fromstring(parts["mon"].encode()),
            cib=etree.fromstring(parts["cib"].encode()),
            **{name: parts[name].split() for name in ("images", "groups", "ledger")},
            trash=parts["trash"].splitlines(),
        )
    except (ValueError, etree.XMLSyntaxError) as error:
        raise LabError(f"{node} does not say how the cluster is: {error}") from error


def _sections(lab: Lab, node: str, script: str, *arguments: str) -> dict[str, str]:
    done = lab.execute(node, ["sh", "-c", script, "sh", *arguments], check=False, timeout_s=90)
    words = SECTION.split(done.stdout)[1:]
    return {name: text.strip() for name, text in zip(words[::2], words[1::2], strict=True)}
