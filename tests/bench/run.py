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
BENCH_DISK = "/root/bench.qcow2"
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

# Runs on the VM's node: how long the guest was held, by libvirt's own events, and how long the command took.
PAUSES = """
import json, subprocess, sys, threading, time
import libvirt
name, runs, uri = sys.argv[1], int(sys.argv[2]), sys.argv[3]
libvirt.virEventRegisterDefaultImpl()
connection = libvirt.open(uri)
seen = {}
def note(_connection, domain, event, _detail, _opaque):
    if domain.name() == name:
        seen[event] = time.perf_counter()
connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, note, None)
def loop():
    while True:
        libvirt.virEventRunDefaultImpl()
threading.Thread(target=loop, daemon=True).start()
def vm_mgr(verb):
    subprocess.run(["vm-mgr", verb, name, "--snap-name", "bench"], stdout=subprocess.DEVNULL, check=True)
pauses, commands = [], []
for _ in range(runs):
    seen.clear()
    started = time.perf_counter()
    vm_mgr("create-snapshot")
    commands.append(time.perf_counter() - started)
    time.sleep(0.5)
    pauses.append(seen[libvirt.VIR_DOMAIN_EVENT_RESUMED] - seen[libvirt.VIR_DOMAIN_EVENT_SUSPENDED])
    vm_mgr("remove-snapshot")
print(json.dumps({"pause of the guest": pauses, "vm-mgr create-snapshot": commands}))
"""

# Runs on a node: defines VMs with librbd alone and enables some, stopped, in one change; or removes them.
MANY = """
import subprocess, sys
import xml.etree.ElementTree as ET
import rados, rbd
verb, count, enabled = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
names = [f"many{number}" for number in range(count)]
def cibadmin(*arguments, text=None):
    argv = ["cibadmin", *arguments, "--scope", "resources"]
    return subprocess.run(argv, input=text, text=True, stdout=subprocess.PIPE, check=True).stdout
def change_resources():
    resources = ET.fromstring(cibadmin("--query"))
    for primitive in [one for one in resources if one.get("id") in set(names)]:
        resources.remove(primitive)
    for name in names[:enabled] if verb == "make" else []:
        agent = {"class": "ocf", "provider": "vm-mgr", "type": "VirtualDomain"}
        primitive = ET.SubElement(resources, "primitive", {"id": name, **agent})
        meta = ET.SubElement(primitive, "meta_attributes", id=f"vm-mgr-{name}-meta")
        role = {"id": f"vm-mgr-{name}-meta-target-role", "name": "target-role", "value": "Stopped"}
        ET.SubElement(meta, "nvpair", role)
    cibadmin("--replace", "--xml-pipe", text=ET.tostring(resources, encoding="unicode"))
    subprocess.run(["crm_resource", "--wait", "--timeout", "600s"], check=True)
def make(ioctx, name):
    rbd.RBD().create(ioctx, f"system_{name}", 1 << 20)
    with rbd.Image(ioctx, f"system_{name}") as image:
        image.metadata_set("vm_name", name)
    rbd.RBD().group_create(ioctx, name)
    rbd.Group(ioctx, name).add_image(ioctx, f"system_{name}")
def remove(ioctx, name):
    for step in (
        lambda: rbd.Group(ioctx, name).remove_image(ioctx, f"system_{name}"),
        lambda: rbd.RBD().group_remove(ioctx, name),
        lambda: rbd.RBD().remove(ioctx, f"system_{name}"),
    ):
        try:
            step()
        except rbd.Error:
            pass  # an interrupted run has made, or removed, only a part
if verb == "remove":
    change_resources()
with rados.Rados(conffile="/etc/ceph/ceph.conf", rados_id="vm-mgr") as cluster:
    with cluster.open_ioctx("rbd") as ioctx:
        for name in names:
            (make if verb == "make" else remove)(ioctx, name)
if verb == "make":
    change_resources()
"""

DEFINITION = """<domain type="qemu"><name>any</name><memory unit="MiB">32</memory>
<os><type arch="x86_64">hvm</type></os><devices/></domain>"""

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


def measure_clone() -> Result:
    """Clone a VM with a large disk and one with a small disk in turns: at once means independent of both."""
    lab = _lab()
    sources = {"large": ("10G", "1G"), "small": ("1G", "64M")}
    times: Result = {f"clone of a {source} disk": [] for source in sources}
    with _Removed(lab, "copy", *sources):
        for source, (size, written) in sources.items():
            _make_disk(lab, size, f"write -P 7 0 {written}")
            _create_disabled(lab, source)
        for _ in range(RUNS):
            for source in sources:
                command = ["vm-mgr", "clone", source, "--dst-name", "copy", "--disable"]
                times[f"clone of a {source} disk"].append(_timed(lab, command))
                lab.execute("n1", ["vm-mgr", "remove", "copy"], timeout_s=180)
    return times


def measure_snapshot() -> Result:
    """Take snapshots of a running guest with three disks, and no agent, which is therefore paused."""
    lab = _lab()
    _make_disk(lab, "64M", "write -P 7 0 1M")
    uris = {"n1": "qemu:///system", "n2": "qemu+ssh://n2-cluster/system?no_tty=1"}
    times: Result = {}
    with _Removed(lab):
        for node, uri in uris.items():
            more = ("--additional-disk", BENCH_DISK, "--additional-disk", BENCH_DISK, "--pinned-host", node)
            with _Guest(lab, "bench", *more):
                done = lab.execute("n1", ["python3", "-c", PAUSES, "bench", str(RUNS), uri], timeout_s=300)
            where = "on the node of the command" if node == "n1" else "on another node"
            times |= {f"{what} {where}": values for what, values in json.loads(done.stdout).items()}
    return times


def measure_import() -> Result:
    """Import 1 GiB that can't be compressed or left out, and copy it with qemu-img, in turns."""
    lab = _lab()
    random = "head -c 1G /dev/urandom >/root/bench.raw; qemu-img convert -O qcow2 /root/bench.raw"
    lab.execute("n1", ["sh", "-ec", f"{random} {BENCH_DISK}; rm /root/bench.raw"], timeout_s=300)
    times: Result = {"vm-mgr create --disable": [], "qemu-img convert": []}
    copy = ["qemu-img", "convert", "-O", "raw", BENCH_DISK, "rbd:rbd/by-hand:id=vm-mgr"]
    with _Removed(lab, "bench"):
        lab.execute("n1", ["rbd", "rm", "rbd/by-hand"], check=False)  # of an interrupted run
        for _ in range(RUNS):
            times["vm-mgr create --disable"].append(_create_disabled(lab, "bench"))
            lab.execute("n1", ["vm-mgr", "remove", "bench"], timeout_s=180)
            times["qemu-img convert"].append(_timed(lab, copy))
            lab.execute("n1", ["rbd", "--no-progress", "rm", "rbd/by-hand"], timeout_s=180)
    return times


def measure_list1000() -> Result:
    """Compare vm-mgr list of 1000 VMs, 300 of them enabled, with python3, one cibadmin and one listing."""
    lab = _lab()
    commands = {
        "python3 -c ''": ["/usr/bin/python3", "-c", ""],
        "cibadmin": ["cibadmin", "--query"],
        "rbd ls": ["rbd", "ls", "rbd"],
        "vm-mgr list": ["vm-mgr", "list"],
    }
    try:
        lab.execute("n1", ["python3", "-c", MANY, "make", "1000", "300"], timeout_s=1800)
        done = lab.execute("n1", ["python3", "-c", TIMER, json.dumps(commands), "10"], timeout_s=600)
    finally:
        lab.execute("n1", ["python3", "-c", MANY, "remove", "1000", "300"], timeout_s=1800)
    return dict(json.loads(done.stdout))


def measure_help() -> Result:
    """Compare vm-mgr --help with the start of python."""
    commands = {"python3 -c ''": ["/usr/bin/python3", "-c", ""], "vm-mgr --help": ["vm-mgr", "--help"]}
    done = _lab().execute("n1", ["python3", "-c", TIMER, json.dumps(commands), "20"], timeout_s=120)
    return dict(json.loads(done.stdout))


def _make_disk(lab: Lab, size: str, write: str) -> None:
    script = f"qemu-img create -q -f qcow2 {BENCH_DISK} {size}; qemu-io -c '{write}' {BENCH_DISK}"
    lab.execute("n1", ["sh", "-ec", script], timeout_s=180)


def _create_disabled(lab: Lab, name: str) -> float:
    lab.execute("n1", ["sh", "-c", "cat > /root/bench.xml"], stdin=DEFINITION)
    files = ["--xml", "/root/bench.xml", "--image", BENCH_DISK]
    return _timed(lab, ["vm-mgr", "create", "--name", name, *files, "--disable"])


def _timed(lab: Lab, argv: list[str]) -> float:
    started = time.monotonic()
    lab.execute("n1", argv, timeout_s=600)
    return time.monotonic() - started


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
    "clone": measure_clone,
    "snapshot": measure_snapshot,
    "import": measure_import,
    "list1000": measure_list1000,
    "help": measure_help,
    "failover": measure_failover,
    "memory": measure_memory,
}


class _Guest:
    """A VM with the lab's guest, for as long as a measurement needs it."""

    def __init__(self, lab: Lab, name: str, *options: str) -> None:
        self._lab = lab
        self._name = name
        self._options = options

    def __enter__(self) -> None:
        demo.remove_guest(self._lab, self._name, node="n1")
        demo.create_guest(self._lab, self._name, print, mac_byte=MAC, options=self._options)

    def __exit__(self, *_: object) -> None:
        wait_until(lambda: self._lab.machine("n1").is_booted(), what="n1", timeout_s=60)
        demo.remove_guest(self._lab, self._name, node="n1")


class _Removed:
    """Room for VMs of these names, clones before their sources: none is there before or afterwards."""

    def __init__(self, lab: Lab, *names: str) -> None:
        self._lab = lab
        self._names = names

    def __enter__(self) -> None:
        for name in self._names:
            demo.remove_guest(self._lab, name, node="n1")

    def __exit__(self, *_: object) -> None:
        self.__enter__()
        self._lab.execute("n1", ["rm", "-f", BENCH_DISK, "/root/bench.xml"])


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
        (
            "`vm-mgr create --disable` of 1 GiB of random data : `qemu-img convert` into the same pool",
            "≤ 1.11 (0.9 of the rate)",
            ratio("import", "vm-mgr create --disable", "qemu-img convert"),
        ),
        (
            "`vm-mgr clone --disable`, disk of 10 GiB with 1 GiB written",
            "≤ 2 s",
            seconds("clone", "clone of a large disk"),
        ),
        (
            "the same, disk of 1 GiB with 64 MiB written",
            "as above",
            seconds("clone", "clone of a small disk"),
        ),
        (
            "pause of a running guest for a snapshot of its three disks, asked for on its node",
            "≤ 500 ms",
            seconds("snapshot", "pause of the guest on the node of the command"),
        ),
        (
            "the same, asked for on another node",
            "≤ 500 ms",
            seconds("snapshot", "pause of the guest on another node"),
        ),
        (
            "`vm-mgr list` of 1000 VMs, 300 enabled : python3 start + cibadmin --query + rbd ls",
            "≤ 3",
            ratio("list1000", "vm-mgr list", "python3 -c ''", "cibadmin", "rbd ls"),
        ),
        ("`vm-mgr --help` : python3 start", "≤ 3", ratio("help", "vm-mgr --help", "python3 -c ''")),
        ("memory of the whole lab with one VM", "≤ 4 GiB", f"{memory:.2f} GiB" if memory else "not measured"),
    ]


def _render() -> None:
    results = {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}
    raw = {name: result["times"] for name, result in results.items()}
    when = max(result["when"] for result in results.values())
    machine = f"{platform.machine()}, {len(_cores())} cores, Linux {platform.release().split('-')[0]}"
    lines = [
        HEAD.format(machine=machine, when=when[:10]),
        *(f"| {what} | {bar} | {_or_as_before(what, value)} |" for what, bar, value in _rows(raw)),
        "",
    ]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines))


def _or_as_before(what: str, value: str) -> str:
    """Keep what the page has where this machine has not measured it."""
    if value != "not measured" or not PAGE.exists():
        return value
    before = (line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith(f"| {what} | "))
    return next((row[2].removesuffix(" |") for row in before), value)


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
