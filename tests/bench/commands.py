"""What a command costs on a node, beside the least that it could cost."""

import json

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row, ratio
from tests.bench.subjects import RUNS, Guest, Removed, create_disabled, make_disk, on_node, timed
from vm_mgr_lab.lab import Lab

__all__ = ["MEASURES"]

PYTHON = {"python3 -c ''": ["/usr/bin/python3", "-c", ""]}


def measure_status() -> Result:
    """Compare vm-mgr status and list with the start of python and one crm_mon."""
    lab = subjects.lab()
    with Guest(lab, "bench"):
        commands = {
            **PYTHON,
            "crm_mon": ["crm_mon", "-1", "--output-as=xml"],
            "crm resource status": ["crm", "resource", "status", "bench"],
            "vm-mgr status": ["vm-mgr", "status", "bench"],
            "vm-mgr list": ["vm-mgr", "list"],
        }
        return dict(on_node(lab, "timer.py", json.dumps(commands), "20"))


def measure_list1000() -> Result:
    """Compare vm-mgr list of 1000 VMs, 300 of them enabled, with python3, one cibadmin and one listing."""
    lab = subjects.lab()
    commands = {
        **PYTHON,
        "cibadmin": ["cibadmin", "--query"],
        "rbd ls": ["rbd", "ls", "rbd"],
        "vm-mgr list": ["vm-mgr", "list"],
    }
    try:
        on_node(lab, "many.py", "make", "1000", "300", timeout_s=1800)
        return dict(on_node(lab, "timer.py", json.dumps(commands), "10"))
    finally:
        on_node(lab, "many.py", "remove", "1000", "300", timeout_s=1800)


FEW, MANY = 10, 1000
# What looks at one VM, or makes one, in the order in which it is done; NEW is a VM in the beginning.
ONE_VM = {
    "create": None,
    "status": ["vm-mgr", "status", "new"],
    "show": ["vm-mgr", "show", "new"],
    "clone": ["vm-mgr", "clone", "new", "--dst-name", "copy", "--disable"],
    "rename": ["vm-mgr", "rename", "copy", "--new-name", "renamed"],
    "enable": ["vm-mgr", "enable", "new"],
}


def measure_one_of_many() -> Result:
    """Time commands at one VM while there are few others in a storage, and many, in both storages."""
    lab = subjects.lab()
    times: Result = {}
    for storage in ("ceph", "vms"):
        make_disk(lab, "16M", "write -P 7 0 1M")
        with Removed(lab, "renamed", "copy", "new", "template"):
            create_disabled(lab, "template", "--storage", storage)
            for count in (FEW, MANY):
                try:
                    _others(lab, storage, "make", count)
                    for run in range(RUNS + 1):  # the first one reads what the index lacks
                        for verb, took_s in _at_one_vm(lab, storage).items():
                            if run:
                                times.setdefault(f"{verb} {storage} {count}", []).append(took_s)
                finally:
                    _others(lab, storage, "remove", count)
    return times


def _others(lab: Lab, storage: str, verb: str, count: int) -> None:
    if storage == "ceph":
        on_node(lab, "many.py", verb, str(count), "0", timeout_s=1800)
    else:
        on_node(lab, "many_folders.py", verb, "template", str(count), timeout_s=600)


def _at_one_vm(lab: Lab, storage: str) -> dict[str, float]:
    """Do all verbs once; the VMs are gone afterwards."""
    found = {}
    for verb, argv in ONE_VM.items():
        found[verb] = create_disabled(lab, "new", "--storage", storage) if argv is None else timed(lab, argv)
    lab.execute("n1", ["vm-mgr", "stop", "--force", "new"], timeout_s=120)
    for name in ("renamed", "new"):
        lab.execute("n1", ["vm-mgr", "remove", name], timeout_s=120)
    return found


def measure_help() -> Result:
    """Compare vm-mgr --help with the start of python."""
    commands = PYTHON | {"vm-mgr --help": ["vm-mgr", "--help"]}
    return dict(on_node(subjects.lab(), "timer.py", json.dumps(commands), "20"))


MEASURES = {
    "status": Measure(
        measure_status,
        (
            Row(
                "`vm-mgr status` : python3 start + crm_mon",
                "≤ 2",
                ratio("vm-mgr status", "python3 -c ''", "crm_mon"),
            ),
            Row(
                "the same : `crm resource status`",
                "",
                ratio("vm-mgr status", "crm resource status"),
            ),
            Row(
                "`vm-mgr list` : python3 start + crm_mon",
                "≤ 2",
                ratio("vm-mgr list", "python3 -c ''", "crm_mon"),
            ),
        ),
    ),
    "list1000": Measure(
        measure_list1000,
        (
            Row(
                "`vm-mgr list` of 1000 VMs, 300 enabled : python3 start + cibadmin --query + rbd ls",
                "≤ 3",
                ratio("vm-mgr list", "python3 -c ''", "cibadmin", "rbd ls"),
            ),
        ),
    ),
    "one-of-many": Measure(
        measure_one_of_many,
        tuple(
            Row(
                f"`vm-mgr {verb}` with {MANY} other VMs in the storage {storage} : with {FEW}",
                "≤ 1.2",
                ratio(f"{verb} {storage} {MANY}", f"{verb} {storage} {FEW}"),
            )
            for storage in ("ceph", "vms")
            for verb in ONE_VM
        ),
    ),
    "help": Measure(
        measure_help,
        (Row("`vm-mgr --help` : python3 start", "≤ 3", ratio("vm-mgr --help", "python3 -c ''")),),
    ),
}
