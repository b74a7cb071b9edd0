"""Measure the figures that vm-mgr promises, on the lab, and write docs/reference/performance.md.

`python tests/bench/run.py` measures all, `python tests/bench/run.py status create` only those. Raw numbers
go to tests/bench/results/NAME.json; the page is rendered from all results that are there.
"""

import json
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from vm_mgr_lab import demo
from vm_mgr_lab import up as bring
from vm_mgr_lab.cgroup import all_groups
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.image import node_image
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import CHECKOUT, Paths
from vm_mgr_lab.process import wait_until

Result = dict[str, list[float]]

RESULTS = Path(__file__).parent / "results"
PAGE = CHECKOUT / "docs" / "reference" / "performance.md"
RUNS = 5
MAC = 240
PATHS = Paths.from_environment()

# Runs on a node: times each command as a whole process, taking turns, so that noise meets all of them alike.
TIMER = """
import json, subprocess, sys, time
commands, runs = json.loads(sys.argv[1]), int(sys.argv[2])
times = {name: [] for name in commands}
for turn in range(runs + 1):
    for name, argv in commands.items():
        started = time.perf_counter()
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        if turn:
            times[name].append(time.perf_counter() - started)
print(json.dumps(times))
"""

# Runs on a node: what create does, by hand, until Pacemaker says Started.
BY_HAND = """
set -eu
qemu-img convert -f qcow2 -O raw "$2" "rbd:rbd/system_$1:id=vm-mgr:conf=/etc/ceph/ceph.conf"
cibadmin --create --scope resources --xml-pipe < /root/hand-primitive.xml
while ! crm_mon -1 --output-as=xml | grep -q "id=\\"$1\\".*role=\\"Started\\""; do sleep 0.1; done
"""

CLEAN_UP_BY_HAND = """
set -eu
crm_resource --resource hand --meta --set-parameter target-role --parameter-value Stopped
crm_resource --wait --timeout 120s
cibadmin --delete --xml-text '<primitive id="hand"/>'
rbd --no-progress rm rbd/system_hand
"""


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


def measure_status() -> Result:
    """Compare vm-mgr status and list with the start of python and one crm_mon."""
    lab = _lab()
    with _Guest(lab, "bench"):
        commands = {
            "python3 -c ''": ["/usr/bin/python3", "-c", ""],
            "crm_mon": ["crm_mon", "-1", "--output-as=xml"],
            "vm-mgr status": ["vm-mgr", "status", "bench"],
            "vm-mgr list": ["vm-mgr", "list"],
        }
        done = lab.execute("n1", ["python3", "-c", TIMER, json.dumps(commands), "20"], timeout_s=300)
    return dict(json.loads(done.stdout))


def measure_create() -> Result:
    """Compare vm-mgr create until Started with the same steps by hand."""
    lab = _lab()
    disk, definition = demo.guest_files(lab, "n1", print, mac_byte=MAC)
    times: Result = {"vm-mgr create": [], "by hand": []}
    for _ in range(RUNS):
        started = time.monotonic()
        lab.execute(
            "n1", ["vm-mgr", "create", "--name", "bench", "--xml", definition, "--image", disk], timeout_s=180
        )
        times["vm-mgr create"].append(time.monotonic() - started)
        xml = lab.execute("n1", ["rbd", "image-meta", "get", "rbd/system_bench", "xml"]).stdout
        lab.execute("n1", ["vm-mgr", "remove", "bench"], timeout_s=180)
        times["by hand"].append(_by_hand(lab, xml.replace("bench", "hand"), disk))
    return times


def _by_hand(lab: Lab, xml: str, disk: str) -> float:
    primitive = (
        '<primitive id="hand" class="ocf" provider="heartbeat" type="VirtualDomain">'
        '<instance_attributes id="hand-i"><nvpair id="hand-c" name="config" value="/root/hand.xml"/>'
        '<nvpair id="hand-h" name="hypervisor" value="qemu:///system"/></instance_attributes>'
        '<operations><op id="hand-s" name="start" interval="0" timeout="120s"/>'
        '<op id="hand-m" name="monitor" interval="10s" timeout="60s"/></operations></primitive>'
    )
    for node in lab.nodes:
        lab.execute(node.name, ["sh", "-c", "cat > /root/hand.xml"], stdin=xml)
    lab.execute("n1", ["sh", "-c", "cat > /root/hand-primitive.xml"], stdin=primitive)
    started = time.monotonic()
    lab.execute("n1", ["sh", "-c", BY_HAND, "sh", "hand", disk], timeout_s=180)
    took = time.monotonic() - started
    lab.execute("n1", ["sh", "-c", CLEAN_UP_BY_HAND], timeout_s=180)
    return took


def measure_failover() -> Result:
    """Cut the power of the VM's node, again and again."""
    lab = _lab()
    times: Result = {"membership lost": [], "fenced": [], "VM started": [], "guest writes again": []}
    with _Guest(lab, "bench"):
        for _ in range(RUNS):
            bring.wait_ready(lab, print)
            seen = demo.power_loss(lab, "bench", print, mac_byte=MAC)
            if seen.problems:
                raise LabError("; ".join(seen.problems))
            for name, value in (
                ("membership lost", seen.membership_lost_s),
                ("fenced", seen.fenced_s),
                ("VM started", seen.started_s),
                ("guest writes again", seen.writes_again_s),
            ):
                times[name].append(value if value is not None else float("nan"))
        bring.wait_ready(lab, print)
    return times


def measure_memory() -> Result:
    """Add up the proportional set sizes of all of the lab's processes while one VM runs, in GiB."""
    lab = _lab()
    with _Guest(lab, "bench"):
        total = 0
        for group in all_groups():
            for pid in group.pids():
                try:
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                except OSError:
                    continue
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return {"memory of the lab with one VM": [total / 2**20]}


HEAD = """# Performance

Measured by `sudo make bench` (one figure: `sudo make bench BENCH=failover`) on the lab: medians, with minimum
and maximum. {machine}, nodes Debian 13, guests without KVM where it does not work; last run {when}.
Times vary between runs on the same machine; ratios are taken within one run.

| what | bar | measured |
|---|---|---|"""

MEASURES: dict[str, Callable[[], Result]] = {
    "image": measure_image,
    "up": measure_up,
    "status": measure_status,
    "create": measure_create,
    "failover": measure_failover,
    "memory": measure_memory,
}


class _Guest:
    """A VM with the lab's guest, for as long as a measurement needs it."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self._name = name

    def __enter__(self) -> None:
        demo.remove_guest(self._lab, self._name, node="n1")
        demo.create_guest(self._lab, self._name, print, mac_byte=MAC)

    def __exit__(self, *_: object) -> None:
        wait_until(lambda: self._lab.machine("n1").is_booted(), what="n1", timeout_s=60)
        demo.remove_guest(self._lab, self._name, node="n1")


def _lab() -> Lab:
    return Lab.load(PATHS) if PATHS.description.exists() else bring.up(PATHS, bring.Request(), print)


def _median(results: dict[str, Result], measure: str, name: str) -> float | None:
    values = results.get(measure, {}).get(name)
    return statistics.median(values) if values else None


def _rows(results: dict[str, Result]) -> list[tuple[str, str, str]]:
    def seconds(measure: str, name: str) -> str:
        value = _median(results, measure, name)
        if value is None:
            return "not measured"
        values = results[measure][name]
        return f"{value:.1f} s ({min(values):.1f} to {max(values):.1f}, {len(values)} runs)"

    def ratio(measure: str, name: str, *bases: str) -> str:
        value = _median(results, measure, name)
        base = [_median(results, measure, other) for other in bases]
        if value is None or None in base:
            return "not measured"
        total = sum(part for part in base if part is not None)
        unit, scale = ("ms", 1000) if value < 1 else ("s", 1)
        return f"{value / total:.2f} x ({value * scale:.1f} {unit} : {total * scale:.1f} {unit})"

    memory = _median(results, "memory", "memory of the lab with one VM")
    return [
        ("`vm-mgr-lab up`, image and deployment cached", "≤ 45 s", seconds("up", "up, all cached")),
        ("the same, deployment not cached", "≤ 180 s", seconds("up", "up, deployment not cached")),
        ("node image build", "≤ 180 s", seconds("image", "image build")),
        ("power cut → guest's next acknowledged record", "≤ 20 s", seconds("failover", "guest writes again")),
        ("— of these, until membership was lost", "", seconds("failover", "membership lost")),
        ("— until the node was fenced", "", seconds("failover", "fenced")),
        ("— until QEMU was started", "", seconds("failover", "VM started")),
        (
            "`vm-mgr status` : python3 start + crm_mon",
            "≤ 2",
            ratio("status", "vm-mgr status", "python3 -c ''", "crm_mon"),
        ),
        (
            "`vm-mgr list` : python3 start + crm_mon",
            "≤ 2",
            ratio("status", "vm-mgr list", "python3 -c ''", "crm_mon"),
        ),
        (
            "`vm-mgr create` until Started : the steps by hand",
            "≤ 1.5",
            ratio("create", "vm-mgr create", "by hand"),
        ),
        ("memory of the whole lab with one VM", "≤ 4 GiB", f"{memory:.2f} GiB" if memory else "not measured"),
    ]


def _render() -> None:
    results = {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}
    raw = {name: result["times"] for name, result in results.items()}
    when = max(result["when"] for result in results.values())
    machine = f"{platform.machine()}, {len(_cores())} cores, Linux {platform.release().split('-')[0]}"
    lines = [
        HEAD.format(machine=machine, when=when[:10]),
        *(f"| {what} | {bar} | {value} |" for what, bar, value in _rows(raw)),
        "",
    ]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines))


def _cores() -> list[str]:
    return [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")]


def main(names: list[str]) -> None:
    """Measure and render; unknown names end with the list of known ones."""
    unknown = set(names) - set(MEASURES)
    if unknown:
        sys.exit(f"bench: no {', '.join(sorted(unknown))}; there are: {', '.join(MEASURES)}")
    RESULTS.mkdir(exist_ok=True)
    for name in names or MEASURES:
        times = MEASURES[name]()
        when = datetime.now(UTC).isoformat(timespec="seconds")
        (RESULTS / f"{name}.json").write_text(json.dumps({"when": when, "times": times}, indent=1))
        print(name, {what: round(statistics.median(values), 3) for what, values in times.items()})
    _render()


if __name__ == "__main__":
    main(sys.argv[1:])
