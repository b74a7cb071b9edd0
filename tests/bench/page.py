"""Keep results, with what they were measured on, and render docs/reference/performance.md from them."""

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import subjects
from tests.bench.measure import Measure, Result
from vm_mgr_lab.paths import CHECKOUT

__all__ = ["RESULTS", "render", "write"]

RESULTS = Path(__file__).parent / "results"
PAGE = CHECKOUT / "docs" / "reference" / "performance.md"

HEAD = """# Performance

Measured by `sudo make bench` (one figure: `sudo make bench BENCH=failover`) on the lab: medians, with minimum
and maximum. {machine}, guests without KVM where it does not work; last run {when}.
Nodes: {versions}.
Times vary between runs on the same machine; ratios are taken within one run.

| what | bar | measured |
|---|---|---|"""


# What a result depends on besides our own code, as Debian's packages on a node.
PACKAGES = {
    "Debian": "base-files",
    "Pacemaker": "pacemaker",
    "Corosync": "corosync",
    "resource-agents": "resource-agents",
    "libvirt": "libvirt-daemon",
    "QEMU": "qemu-system-x86",
    "Ceph": "ceph-osd",
    "Python": "python3",
}


def write(name: str, times: Result) -> None:
    """Keep a result: all runs, the time, the command, the machine and the versions of what ran on it."""
    result = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m tests.bench {name}",
        "machine": _machine(),
        "versions": _versions(),
        "times": times,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1))


def render(measures: dict[str, Measure]) -> None:
    """Write the page; what this machine has not measured stays as the page has it."""
    results: dict[str, Any] = {file.stem: json.loads(file.read_text()) for file in RESULTS.glob("*.json")}
    before = _rows_before()
    newest = max(results.values(), key=lambda result: result["when"])
    versions = ", ".join(f"{what} {version}" for what, version in newest["versions"].items())
    lines = [HEAD.format(machine=newest["machine"], when=newest["when"][:10], versions=versions)]
    for name, measure in measures.items():
        times = results.get(name, {}).get("times", {})
        for row in measure.rows:
            told = row.tell(times) or before.get(row.what, "not measured")
            lines.append(f"| {row.what} | {row.bar} | {told} |")
    PAGE.write_text("\n".join(lines) + "\n")


def _rows_before() -> dict[str, str]:
    if not PAGE.exists():
        return {}
    cells = (line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| "))
    return {row[0].strip(): row[-1].strip() for row in cells if len(row) > 1}


def _versions() -> dict[str, str]:
    """Ask a node, without the packages' epochs and revisions."""
    asked = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *PACKAGES.values()]
    shown = subjects.lab().execute("n1", asked).stdout.splitlines()
    found = dict(line.split() for line in shown)
    return {what: found[one].rpartition(":")[2].partition("-")[0] for what, one in PACKAGES.items()}


def _machine() -> str:
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    cores = sum(line.startswith("processor") for line in cpus)
    return f"{platform.machine()}, {cores} cores, Linux {platform.release().split('-')[0]}"
