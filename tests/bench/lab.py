"""The lab itself: how fast it stands, and what it needs."""

import shutil
import time
from pathlib import Path

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row, median, seconds
from tests.bench.subjects import PATHS, RUNS, Guest
from vm_mgr_lab import up as bring
from vm_mgr_lab.cgroup import all_groups
from vm_mgr_lab.image import node_image
from vm_mgr_lab.paths import Paths

__all__ = ["MEASURES"]


def measure_up() -> Result:
    """Bring the lab up with the deployment not cached, and from cached layers."""
    times: Result = {"up, deployment not cached": [], "up, all cached": []}
    for name, fresh in (("up, deployment not cached", True), ("up, all cached", False)):
        for _ in range(RUNS):
            bring.down(PATHS, print)
            started = time.monotonic()
            bring.up(PATHS, bring.Request(fresh=fresh), print)
            times[name].append(time.monotonic() - started)
    return times


def measure_image() -> Result:
    """Build the node image from nothing."""
    cache = PATHS.cache / "bench"
    times = []
    for _ in range(RUNS):
        shutil.rmtree(cache, ignore_errors=True)
        started = time.monotonic()
        node_image(Paths(state=PATHS.state, cache=cache), "trixie", print)
        times.append(time.monotonic() - started)
    shutil.rmtree(cache)
    return {"image build": times}


def measure_memory() -> Result:
    """Add up the proportional set sizes of all of the lab's processes while one VM runs, in GiB."""
    lab = subjects.lab()
    with Guest(lab, "bench"):
        total = 0
        for group in all_groups():
            for pid in group.pids():
                try:
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                except OSError:
                    continue
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return {"memory of the lab with one VM": [total / 2**20]}


def _memory(result: Result) -> str | None:
    value = median(result, "memory of the lab with one VM")
    return None if value is None else f"{value:.2f} GiB"


MEASURES = {
    "up": Measure(
        measure_up,
        (
            Row("`vm-mgr-lab up`, image and deployment cached", "≤ 45 s", seconds("up, all cached")),
            Row("the same, deployment not cached", "≤ 180 s", seconds("up, deployment not cached")),
        ),
    ),
    "image": Measure(measure_image, (Row("node image build", "≤ 180 s", seconds("image build")),)),
    "memory": Measure(measure_memory, (Row("memory of the whole lab with one VM", "≤ 4 GiB", _memory),)),
}
