"""Heal everything, and wait until the cluster has come to rest by itself; say what keeps it from that."""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lxml import etree

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.monitors import Monitors
from vm_mgr_lab.up import ceph_trouble, pacemaker_trouble

__all__ = ["RestTimes", "cleanup", "come_to_rest", "idle_clones", "mend", "settle"]

REST_S = 150.0
MEND_S = 120.0
POWER_AFTER_S = 40.0  # a node that was fenced is switched on by its BMC; one that nobody fenced, by us
GATHER = """
echo '{'; echo '"status": ['; sep=
for vm in "$@"; do echo "$sep"; vm-mgr status "$vm" --output json || echo null; sep=,; done
echo ']}'
"""


@dataclass(slots=True)
class RestTimes:
    """When which kind of trouble was last seen, in seconds from the beginning of the healing."""

    last: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(f"{kind} until {at_s:.1f}" for kind, at_s in self.last.items())


def come_to_rest(lab: Lab, vms: Sequence[str], times: RestTimes, *, within_s: float = REST_S) -> list[str]:
    """Undo all faults and wait; return what is still wrong when the time is over."""
    return settle(lab, vms, times, heal=lab.heal, all_started=True, within_s=within_s)


def settle(
    lab: Lab,
    vms: Sequence[str],
    times: RestTimes,
    *,
    heal: Callable[[], None],
    all_started: bool = False,
    within_s: float = REST_S,
) -> list[str]:
    """Heal and wait until all is at rest; VMs may be stopped or paused unless all are to run."""
    began = time.monotonic()
    monitors = Monitors(lab)
    heal()
    while True:
        at_s = time.monotonic() - began
        if at_s > POWER_AFTER_S:
            for node in lab.nodes:
                lab.power_on(node.name)
        troubles = _troubles(lab, vms, all_started=all_started)
        times.last.update(dict.fromkeys(troubles, round(at_s, 1)))
        monitors.look(troubles.get("ceph", ""))
        if not troubles:
            return []
        if at_s > within_s:
            return [f"not at rest after {within_s:g} s: {kind}: {told}" for kind, told in troubles.items()]
        time.sleep(0.5)


def _troubles(lab: Lab, vms: Sequence[str], *, all_started: bool) -> dict[str, str]:
    asks = {
        "nodes": lambda: pacemaker_trouble(lab),
        "ceph": lambda: ceph_trouble(lab),
        "vms": lambda: vm_trouble(lab, vms, all_started=all_started),
    }
    with ThreadPoolExecutor(len(asks)) as pool:
        told = {kind: pool.submit(_told, ask) for kind, ask in asks.items()}
    return {kind: answer.result() for kind, answer in told.items() if answer.result()}


def _told(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (LabError, etree.XMLSyntaxError, ValueError) as error:
        return str(error) or repr(error)


def vm_trouble(lab: Lab, vms: Sequence[str], *, all_started: bool) -> str:
    """Say what is unusual about VMs: their state, failures, and what moves leave in the CIB."""
    ask = next(node.name for node in lab.nodes if lab.machine(node.name).is_on())
    done = lab.execute(ask, ["sh", "-c", GATHER, "sh", *vms], check=False, timeout_s=60)
    told = []
    for one in json.loads(done.stdout)["status"]:
        if one is None:
            told.append(done.stderr.strip()[-300:])
        elif not _is_calm(one, all_started=all_started):
            told.append(f"{one['name']} is {one['state']} on {one['node']}: {one['detail']}")
    shown = lab.execute(ask, ["crm_mon", "-1", "--output-as=xml"], timeout_s=20).stdout
    status = etree.fromstring(shown.encode())
    told += idle_clones(lab, status)
    resources = [r for r in status.iter("resource") if r.get("id") in vms]
    # A failure that was recovered from stays in the history until somebody reads it.
    held = [
        r.get("id") for r in resources if "true" in (r.get("failed"), r.get("blocked"), r.get("orphaned"))
    ]
    told += [f"failed or blocked: {held}"] if held else []
    told += [f"under way: {r.get('pending')} of {r.get('id')}" for r in resources if r.get("pending")]
    cib = etree.fromstring(lab.execute(ask, ["cibadmin", "--query"], timeout_s=20).stdout.encode())
    # What a killed move leaves has an end; what has none stays for ever.
    left = [
        str(one.get("id"))
        for one in cib.iterfind("configuration/constraints/*")
        if str(one.get("id")).startswith(("vm-mgr-move-", "vm-mgr-restart-", "cli-"))
        and one.find(".//date_expression") is None
    ]
    told += [f"constraints left: {left}"] if left else []
    return "; ".join(told)


def idle_clones(lab: Lab, status: etree._Element) -> list[str]:
    """Name what does not yet run on a node that is back: without its directory much is refused there."""
    hypervisors = {one.name for one in lab.nodes if one.role == "hypervisor"}
    able = {
        str(one.get("name"))
        for one in status.iterfind("nodes/node")
        if (one.get("online"), one.get("standby")) == ("true", "false")
    }
    idle = []
    for clone in status.iterfind("resources/clone"):
        runs = {str(one.get("name")) for one in clone.iterfind(".//resource[@role='Started']/node")}
        idle += [f"{clone.get('id')} does not run on {node}" for node in sorted((hypervisors & able) - runs)]
    return idle


FORGET = """
moved=$(cibadmin -Q --scope constraints | sed -n 's/.* id="vm-mgr-move-\\([^".]*\\)".*/\\1/p')
for vm in $moved; do vm-mgr unmigrate "$vm"; done
crm_mon -1 --output-as=xml | grep -qE '<failure |fail-count=.[1-9I]' || exit 0  # a clean-up probes everything
crm_resource --cleanup; stonith_admin --cleanup --history '*'
"""


def _is_calm(one: dict[str, str], *, all_started: bool) -> bool:
    if all_started:
        return one["state"] == "Started" and not one["detail"]
    unfinished = "unfinished" in one["detail"]  # `vm-mgr repair` is for that
    paused = "paused" in one["detail"] or unfinished
    return one["state"] in ("Started", "Stopped", "Disabled") and (not one["detail"] or paused)


def mend(lab: Lab, vms: Sequence[str], *, heal: Callable[[], None]) -> bool:
    """Do by hand what did not come to rest by itself, so that a campaign can go on; tell if it helped."""
    for node in lab.nodes:
        lab.power_on(node.name)
    with contextlib.suppress(LabError):
        cleanup(lab)
        ask = next(node.name for node in lab.nodes if lab.machine(node.name).is_on())
        lab.execute(ask, ["vm-mgr", "repair"], check=False, timeout_s=MEND_S)
    return not settle(lab, vms, RestTimes(), heal=heal, within_s=MEND_S)


def cleanup(lab: Lab) -> None:
    """Clear the history of failures, as an administrator does who has read it: they must not add up."""
    ask = next(node.name for node in lab.nodes if lab.machine(node.name).is_on())
    lab.execute(ask, ["sh", "-c", FORGET], check=False)
