"""Heal everything, and wait until the cluster has come to rest by itself; say what keeps it from that."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lxml import etree

from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.up import ceph_trouble, pacemaker_trouble

__all__ = ["RestTimes", "come_to_rest"]

REST_S = 150.0
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
    began = time.monotonic()
    lab.heal()
    while True:
        at_s = time.monotonic() - began
        if at_s > POWER_AFTER_S:
            for node in lab.nodes:
                lab.power_on(node.name)
        troubles = _troubles(lab, vms)
        times.last.update(dict.fromkeys(troubles, round(at_s, 1)))
        if not troubles:
            return []
        if at_s > within_s:
            return [f"not at rest after {within_s:g} s: {kind}: {told}" for kind, told in troubles.items()]
        time.sleep(0.5)


def _troubles(lab: Lab, vms: Sequence[str]) -> dict[str, str]:
    asks = {
        "nodes": lambda: pacemaker_trouble(lab),
        "ceph": lambda: ceph_trouble(lab),
        "vms": lambda: vm_trouble(lab, vms),
    }
    with ThreadPoolExecutor(len(asks)) as pool:
        told = {kind: pool.submit(_told, ask) for kind, ask in asks.items()}
    return {kind: answer.result() for kind, answer in told.items() if answer.result()}


def _told(ask: "object") -> str:
    try:
        return ask()  # type: ignore[operator,no-any-return]
    except (LabError, etree.XMLSyntaxError, ValueError) as error:
        return str(error) or repr(error)


def vm_trouble(lab: Lab, vms: Sequence[str]) -> str:
    """Say what is unusual about VMs that are to run: their state, failures, and what moves leave in the CIB."""
    ask = next(node.name for node in lab.nodes if lab.machine(node.name).is_on())
    done = lab.execute(ask, ["sh", "-c", GATHER, "sh", *vms], check=False, timeout_s=60)
    told = []
    for one in json.loads(done.stdout)["status"]:
        if one is None:
            told.append(done.stderr.strip()[-300:])
        elif one["state"] != "Started" or one["detail"]:
            told.append(f"{one['name']} is {one['state']} on {one['node']}: {one['detail']}")
    shown = lab.execute(ask, ["crm_mon", "-1", "--output-as=xml"], timeout_s=20).stdout
    failed = [str(f.get("op_key")) for f in etree.fromstring(shown.encode()).iterfind("failures/failure")]
    told += [f"failures: {failed}"] if any(key.startswith(vm) for key in failed for vm in vms) else []
    cib = etree.fromstring(lab.execute(ask, ["cibadmin", "--query"], timeout_s=20).stdout.encode())
    ids = [str(one.get("id")) for one in cib.iterfind("configuration/constraints/*")]
    left = [
        one for one in ids if any(vm in one for vm in vms) and one.split("-")[2:3] in (["move"], ["restart"])
    ]
    left += [one for one in ids if one.startswith("cli-")]
    told += [f"constraints left: {left}"] if left else []
    return "; ".join(told)
