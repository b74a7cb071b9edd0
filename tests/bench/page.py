"""Render docs/reference/performance.md from all results that are there."""

import json
import platform
from pathlib import Path
from typing import Any

from tests.bench.measure import Measure
from vm_mgr_lab.paths import CHECKOUT

__all__ = ["RESULTS", "render"]

RESULTS = Path(__file__).parent / "results"
PAGE = CHECKOUT / "docs" / "reference" / "performance.md"

HEAD = """# Performance

Measured by `sudo make bench` (one figure: `sudo make bench BENCH=failover`) on the lab: medians, with minimum
and maximum. {machine}, nodes Debian 13, guests without KVM where it does not work; last run {when}.
Times vary between runs on the same machine; ratios are taken within one run.

| what | bar | measured |
|---|---|---|"""


def render(measures: dict[str, Measure]) -> None:
    """Write the page; what this machine has not measured stays as the page has it."""
    results: dict[str, Any] = {file.stem: json.loads(file.read_text()) for file in RESULTS.glob("*.json")}
    before = _rows_before()
    lines = [HEAD.format(machine=_machine(), when=max(result["when"] for result in results.values())[:10])]
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


def _machine() -> str:
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    cores = sum(line.startswith("processor") for line in cpus)
    return f"{platform.machine()}, {cores} cores, Linux {platform.release().split('-')[0]}"
