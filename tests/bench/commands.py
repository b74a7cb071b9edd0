"""What a command costs on a node, beside the least that it could cost."""

import json

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row, ratio
from tests.bench.subjects import Guest, on_node

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
    "help": Measure(
        measure_help,
        (Row("`vm-mgr --help` : python3 start", "≤ 3", ratio("vm-mgr --help", "python3 -c ''")),),
    ),
}
