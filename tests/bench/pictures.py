"""Draw what was measured, for docs/explanation: as SVG with plain text, which git can compare."""

import json
import statistics
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.measure import Result
from tests.bench.page import RESULTS
from vm_mgr_lab.paths import CHECKOUT

__all__ = ["draw"]

FOLDER = CHECKOUT / "docs" / "explanation"
COLOURS = ("#4c78a8", "#e45756", "#72b7b2", "#f2cf5b")
OURS, THEIRS = "vm-mgr/VirtualDomain", "heartbeat/VirtualDomain"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "vm-mgr", "font.size": 9, "axes.spines.top": False}


def draw() -> None:
    """Write each picture whose measurements are there."""
    results = {file.stem: json.loads(file.read_text())["times"] for file in RESULTS.glob("*.json")}
    with mpl.rc_context(STYLE):
        for name, needed, picture in PICTURES:
            if needed <= set(results):
                figure = Figure(figsize=(7, 2.6), layout="constrained")
                picture(figure, results)
                figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})


def _recovery(figure: Figure, results: dict[str, Result]) -> None:
    axes = figure.subplots()
    rows = {"with vm-mgr's timeouts": "failover", "with the distribution's": "defaults"}
    for row, measure in rows.items():
        _phases(axes, row, results[measure])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.spines["right"].set_visible(False)
    axes.set_xlabel("seconds after the power cut, medians")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=4, columnspacing=1, frameon=False)


def _phases(axes: Axes, row: str, result: Result) -> None:
    """Stack what each phase added; a phase may end before the one that is named before it has ended."""
    ends = {
        "noticed": "membership lost",
        "fenced": "fenced",
        "storage released, QEMU started": "VM started",
        "guest's boot": "guest writes again",
    }
    left = 0.0
    for colour, (label, name) in zip(COLOURS, ends.items(), strict=True):
        end = max(left, statistics.median(result[name]))
        named = label if label not in axes.get_legend_handles_labels()[1] else None
        axes.barh(row, end - left, left=left, color=colour, label=named)
        left = end
    axes.text(left, row, f" {left:.1f} s", va="center")


def _monitoring(figure: Figure, results: dict[str, Result]) -> None:
    one, many = figure.subplots(ncols=2)
    _pair(one, results["monitor"], (OURS, THEIRS), 1000, "ms of CPU for one call")
    names = tuple(f"{agent}, Pacemaker and agent" for agent in (OURS, THEIRS))
    _pair(many, results["many"], names, 100, "% of a core, 100 VMs on the node")


def _pair(axes: Axes, result: Result, names: tuple[str, ...], scale: float, label: str) -> None:
    for colour, name in zip(COLOURS, names, strict=False):
        value = statistics.median(result[name]) * scale
        axes.bar(name.split("/")[0], value, color=colour, width=0.6)
        axes.text(name.split("/")[0], value, f"{value:.3g}", ha="center", va="bottom")
    axes.set_ylabel(label)
    axes.spines["right"].set_visible(False)


def _migration(figure: Figure, results: dict[str, Result]) -> None:
    total, gap = figure.subplots(ncols=2)
    for axes, what, label in ((total, "total", "s in all"), (gap, "no answer", "s without an answer")):
        for number, who in enumerate(("vm-mgr", "virsh")):
            values = results["migration"][f"{who}: {what}"]
            axes.scatter([number] * len(values), values, color=COLOURS[number], alpha=0.6)
            axes.hlines(statistics.median(values), number - 0.2, number + 0.2, color=COLOURS[number])
        axes.set_xticks((0, 1), ("vm-mgr migrate", "virsh migrate"))
        axes.set_xlim(-0.6, 1.6)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        axes.spines["right"].set_visible(False)


Picture = Callable[[Figure, dict[str, Any]], None]
PICTURES: tuple[tuple[str, set[str], Picture], ...] = (
    ("recovery-time", {"failover", "defaults"}, _recovery),
    ("monitoring", {"monitor", "many"}, _monitoring),
    ("migration", {"migration"}, _migration),
)
