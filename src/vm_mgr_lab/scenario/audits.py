"""What must hold after every scenario: no write lost, no two writers, everybody tells the same.

Each audit returns the problems it found, in words.
"""

import json
import re

from lxml import etree

from vm_mgr_lab import checkers, demo, disks
from vm_mgr_lab.history import Event, consoles, qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.scenario.expectation import fenced_problems
from vm_mgr_lab.scenario.load import Scenario
from vm_mgr_lab.scenario.steps import Run, Subject

__all__ = ["audit"]

# In the journal of a node: what no scenario may provoke unless it says so.
FORBIDDEN = (
    # Ceph's manager tries modules that Debian lacks parts of.
    r"(?<!mgr\[py\] )Traceback \(most recent call last\)",
    r"segfault|core dumped|SIGSEGV|SIGABRT",
    r"Internal error",
    r"Resource \S+ is active on 2 nodes",
    r"is unmanaged because",
    r"vm-mgr: error: internal",
)


def audit(run: Run, scenario: Scenario, *, began_s: float) -> list[str]:
    """Return every problem that the audits of a scenario found."""
    ask = run.lab.nodes[0].name
    problems = []
    for one in run.subjects:
        state, node = demo.where_is(run.lab, one.vm, ask=ask)
        problems += [
            *_expected(run, one, scenario, state, node),
            *_records(run.lab, one, scenario),
            *_agreement(run.lab, one.vm, ask, node),
            *_fenced_first(one),
            *_alone(one, scenario),
            *_blocklist(run, one, scenario),
        ]
    return [*problems, *_orphans(run, ask), *_logs(run.lab, scenario, began_s)]


def _expected(run: Run, one: Subject, scenario: Scenario, state: str, node: str | None) -> list[str]:
    expect = scenario.expect
    problems = []
    if state != expect.state:
        problems.append(f"vm-mgr status says that {one.vm} is {state}, expected {expect.state}")
    if expect.node != "any" and (node == run.first_node) != (expect.node == "same"):
        problems.append(f"{one.vm} is on {node}, expected {expect.node} than {run.first_node}")
    fenced = {e.node for e in one.history.events() if e.kind == "fenced"}
    return [*problems, *fenced_problems(fenced, expect.fenced, run.first_node)]


def _records(lab: Lab, one: Subject, scenario: Scenario) -> list[str]:
    """Compare the guest's disk with what was acknowledged on any console."""
    acknowledged = consoles(lab, one.mac_byte)
    boots = {record.boot for records in acknowledged.values() for record in records}
    # The consoles are kept across scenarios: only boots of this one's VM are on its disk.
    disk = checkers.records_on_disk(lab, one.vm, node=lab.nodes[0].name)
    mine = {e.detail.split()[0] for e in one.history.events() if e.kind == "record"} & boots
    shown = {node: [r for r in records if r.boot in mine] for node, records in acknowledged.items()}
    problems = [*checkers.lost_records(disk, shown), *checkers.several_writers(disk)]
    if scenario.expect.same_boot and len(mine) != 1:
        problems.append(f"the guest of {one.vm} booted {len(mine)} times, expected once")
    return problems


def _agreement(lab: Lab, vm: str, ask: str, node: str | None) -> list[str]:
    """Let vm-mgr, Pacemaker, libvirt and the host's process table say where the VM runs."""
    problems = []
    mon = etree.fromstring(lab.execute(ask, ["crm_mon", "-1", "--output-as=xml"]).stdout.encode())
    resource = next((r for r in mon.iter("resource") if r.get("id") == vm), None)
    cluster = [n.get("name") for n in resource.iterfind("node")] if resource is not None else None
    if cluster != ([node] if node else []):
        problems.append(f"vm-mgr says {vm} is on {node}, Pacemaker says {cluster}")
    hypervisors = [n.name for n in lab.nodes if n.role == "hypervisor"]
    libvirt = [
        n for n in hypervisors if vm in lab.execute(n, ["virsh", "list", "--name", "--all"]).stdout.split()
    ]
    if libvirt != ([node] if node else []):
        problems.append(f"vm-mgr says {vm} is on {node}, libvirt knows it on {libvirt}")
    if list(qemu_nodes(lab, vm)) != ([node] if node else []):
        problems.append(f"vm-mgr says {vm} is on {node}, QEMU runs on {qemu_nodes(lab, vm)}")
    failures = [
        f.get("op_key") for f in mon.iterfind("failures/failure") if str(f.get("op_key")).startswith(vm)
    ]
    clients = disks.openers(lab, vm)
    if clients != ({node} if node else set()):
        problems.append(f"{vm} is on {node}, its disk is open at {sorted(clients)}; {failures}")
    return problems


def _orphans(run: Run, ask: str) -> list[str]:
    """Find volumes, groups, resources and constraints that belong to no VM."""
    wanted = [one.vm for one in run.subjects]
    cib = etree.fromstring(run.lab.execute(ask, ["cibadmin", "--query"]).stdout.encode())
    primitives = {str(p.get("id")) for p in cib.iterfind("configuration/resources/primitive")}
    constraints = {str(c.get("id")) for c in cib.iterfind("configuration/constraints/*")}
    disks_of = {str(r.get("id")) for r in cib.iterfind("configuration/resources/*")}
    vms = {p for p in primitives if not p.startswith("vm-mgr-")}
    vms |= {d for d in disks_of if d.startswith("vm-mgr-disk-") and d[12:].partition("..")[0] not in wanted}
    problems = []
    if strangers := disks.strangers(run.lab, wanted):
        problems.append(f"in the storages, too much or missing: {strangers}")
    if vms != set(wanted):
        problems.append(f"resources in the CIB: {sorted(vms)}")
    in_folder = "|".join(re.escape(vm) for vm in wanted if disks.in_shared_folder(run.lab, vm))
    of_vm = "|".join(map(re.escape, wanted))
    allowed = re.compile(
        rf"vm-mgr-(observers|fence-.*|dir-.*|node-hypervisors|(needs|after)-({in_folder})"
        rf"|(pin|prefer)-({of_vm})|(fits|uplink|disk)-({of_vm})\.\..*)$"
    )
    strange = sorted(c for c in constraints if not allowed.match(c))
    if strange:
        problems.append(f"constraints left in the CIB: {strange}")
    return problems


def _alone(one: Subject, scenario: Scenario) -> list[str]:
    """Check that QEMU was never on two nodes at once, where the guest is to boot again.

    One that never ends has two for a while when it moves, and when somebody tries to start it by hand: the
    second one finds the disk locked. The records tell that only one wrote.
    """
    if scenario.expect.same_boot or scenario.expect.moves_live:
        return []
    return [f"{one.vm} ran on {' and '.join(nodes)} at once" for nodes in one.history.simultaneous()]


def _fenced_first(one: Subject) -> list[str]:
    """Check that a lost node was fenced before the VM was started on another one."""
    events = one.history.events()
    problems = []
    running: str | None = None
    for event in events:
        if event.kind == "process" and event.detail == "running":
            if running and running != event.node and not _left(events, running, event):
                problems.append(f"{one.vm} was started on {event.node} while it was on {running}, not fenced")
            running = event.node
    return problems


def _left(events: list[Event], node: str, start: Event) -> bool:
    """Tell whether a node was a member, and so gave the VM up in good order, or was fenced, at a start."""
    before = [e for e in events if e.time_s <= start.time_s and e.node == node]
    seen = [e for e in before if e.kind == "membership"]
    if not seen or seen[-1].detail == "online":
        return True
    was_online = [e.time_s for e in seen if e.detail == "online"]
    return any(e.kind == "fenced" and (not was_online or e.time_s > was_online[-1]) for e in before)


def _blocklist(run: Run, one: Subject, scenario: Scenario) -> list[str]:
    """Check that Ceph's client of a fenced node was put on the blocklist before the VM ran elsewhere."""
    if disks.in_shared_folder(run.lab, one.vm):
        return []  # a file's locks end with their node
    shown = run.lab.execute(run.healthy_node(), ["ceph", "osd", "dump", "--format", "json"]).stdout
    hosts = {address.rsplit(":", 1)[0] for address in json.loads(shown)["blocklist"]}
    fenced = [run.first_node] if "@first" in scenario.expect.fenced and run.first_node in run.lost else []
    return [
        f"the Ceph clients of {name}, which was fenced, are not on the blocklist"
        for name in fenced
        if run.lab.topology.node(name).address("cluster") not in hosts
    ]


def _logs(lab: Lab, scenario: Scenario, began_s: float) -> list[str]:
    """Search the nodes' journals since the scenario began for lines that nothing may provoke."""
    forbidden = re.compile("|".join(FORBIDDEN))
    allowed = [re.compile(pattern) for pattern in scenario.expect.allowed_logs]
    found = []
    for node in lab.nodes:
        journal = lab.execute(
            node.name,
            ["journalctl", "--no-pager", "--output=short", f"--since=@{int(began_s)}"],
            timeout_s=60,
        ).stdout
        found += [
            f"{node.name}: {line[:200]}"
            for line in journal.splitlines()
            if forbidden.search(line) and not any(pattern.search(line) for pattern in allowed)
        ]
    return found[:10]
