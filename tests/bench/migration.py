"""What a live migration takes, beside bare virsh; what becomes of one that a busy guest keeps from ending."""

import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench import subjects
from tests.bench.measure import Measure, Result, Row, ratio, seconds
from tests.bench.subjects import MAC, Guest, on_node, script
from vm_mgr_lab import demo
from vm_mgr_lab.history import consoles, qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

__all__ = ["MEASURES"]

ENDS = ("n2", "n3")
WITNESS = "n1"
HAND_MAC = MAC + 1
IDLE_PINGS_S, BIG_PINGS_S = 12, 45
MOVES = 6
# What is added by vm-mgr does not depend on the size: the idle guest shows that, this one what it comes to.
BIG_MIB, FILL_MIB = 4096, 3072
BUSY_RUNS, BUSY_TIMEOUT_S, BUSY_PAUSE_S = 20, 20, 10
# What a move takes besides: checks, Pacemaker's steps, and the look at what is left.
BUSY_REST_S = 5
MIB_S = 8  # less than the busy guest dirties
# Touches each page of 48 MiB again and again.
DIRTY = (
    'perl -e \'my $m = "x" x (48 << 20); while (1) { '
    "for (0 .. (48 << 8) - 1) { substr($m, $_ << 12, 1) = chr(rand 256) } }'"
)
FILL = "perl -e 'my $n = @ << 20; my $m = \"x\" x $n; sleep 86400'".replace("@", str(FILL_MIB))
LIVE = ("--enable-live-migration", "--preferred-host", ENDS[0])


def measure_migration() -> Result:
    """Move a guest to and fro with vm-mgr, and one like it with virsh, in turns, from the source.

    First an idle one of 192 MiB, then one of 4 GiB with most of its memory in use.
    """
    lab = subjects.lab()
    with Guest(lab, "bench", *LIVE):
        with _by_hand(lab):
            result = {f"idle, {name}": values for name, values in _in_turns(lab, IDLE_PINGS_S).items()}
        lab.execute(WITNESS, ["vm-mgr", "set", "bench", "--memory", f"{BIG_MIB}M"])
        lab.execute(WITNESS, ["vm-mgr", "stop", "--force", "bench"], timeout_s=180)
        lab.execute(WITNESS, ["vm-mgr", "start", "bench"], timeout_s=180)
        if demo.where_is(lab, "bench", ask=WITNESS)[1] != ENDS[0]:
            lab.execute(WITNESS, ["vm-mgr", "migrate", "bench", ENDS[0]], timeout_s=300)
        with _by_hand(lab):
            for mac in (MAC, HAND_MAC):
                _wait_ssh(lab, mac)
                _in_guest(lab, f"setsid {FILL} >/dev/null 2>&1 </dev/null &", mac)
            for mac in (MAC, HAND_MAC):
                wait_until(
                    lambda mac=mac: _used_mib(lab, mac) >= FILL_MIB,  # type: ignore[misc]
                    what="the guest's memory to be in use",
                    timeout_s=300,
                    interval_s=2,
                )
            return result | _in_turns(lab, BIG_PINGS_S)


def _in_turns(lab: Lab, pings_s: int) -> Result:
    """Move both, which begin on the first node; an even number of times, so that they end there too.

    Who goes first changes: the second one gets memory that the first has just given back, which is faster.
    """
    result: Result = {f"{who}: {what}": [] for who in ("vm-mgr", "virsh") for what in ("total", "no answer")}
    for turn in range(MOVES):
        source, target = ENDS if turn % 2 == 0 else ENDS[::-1]
        ours = ["vm-mgr", "migrate", "bench", target]
        theirs = ["virsh", "migrate", "--live", "hand", f"qemu+ssh://{target}-cluster/system"]
        pair = [("vm-mgr", MAC, ours), ("virsh", HAND_MAC, theirs)]
        for who, mac, command in pair if turn % 2 == 0 else reversed(pair):
            total_s, gap_s = _watched(lab, mac, source, command, pings_s)
            result[f"{who}: total"].append(total_s)
            result[f"{who}: no answer"].append(gap_s)
    return result


def measure_busy() -> Result:
    """Move a guest that dirties its memory faster than the link; the strategy is picked by vm-mgr."""
    lab = subjects.lab()
    result: Result = {"arrived": [], "aborted": [], "stopped or lost": [], "took": []}
    with Guest(lab, "bench", *LIVE):
        _wait_ssh(lab)
        _in_guest(lab, f"setsid {DIRTY} >/dev/null 2>&1 </dev/null &")
        booted = _in_guest(lab, "cat /proc/sys/kernel/random/boot_id")
        for _ in range(BUSY_RUNS):
            _, source = demo.where_is(lab, "bench", ask=WITNESS)
            target = next(node for node in ENDS if node != source)
            times = ["--timeout", str(BUSY_TIMEOUT_S), "--max-pause", str(BUSY_PAUSE_S)]
            terms = ["--bandwidth", str(MIB_S), *times]
            began = time.monotonic()
            command = ["vm-mgr", "migrate", "bench", target, *terms]
            done = lab.execute(WITNESS, command, check=False, timeout_s=300)
            result["took"].append(time.monotonic() - began)
            where = target if done.returncode == 0 else source
            well = (
                done.returncode in (0, 11)
                and qemu_nodes(lab, "bench") == (where,)
                and _in_guest(lab, "cat /proc/sys/kernel/random/boot_id") == booted
            )
            result["arrived"].append(float(well and where == target))
            result["aborted"].append(float(well and where == source))
            result["stopped or lost"].append(float(not well))
    return result


def _watched(lab: Lab, mac: int, source: str, command: list[str], pings_s: int) -> tuple[float, float]:
    """Give how long a command took on the source, and the longest time without an answer of the guest."""
    seen: dict[str, Any] = {}

    def ping() -> None:
        seen.update(on_node(lab, "gaps.py", f"192.0.2.{mac}", str(pings_s), node=WITNESS))

    pinging = threading.Thread(target=ping)
    pinging.start()
    time.sleep(2)
    began = time.monotonic()
    lab.execute(source, command, timeout_s=300)
    took = time.monotonic() - began
    pinging.join()
    assert took < pings_s - 3, f"{shlex.join(command)} took {took:.1f} s, longer than was looked"
    return took, float(seen["longest"])


@contextmanager
def _by_hand(lab: Lab) -> Iterator[None]:
    """Give a domain like the VM bench, with a disk of its own, that no cluster knows."""
    xml = lab.execute(WITNESS, ["rbd", "image-meta", "get", "rbd/system_bench", "xml"]).stdout
    xml = (
        re.sub("<uuid>.*</uuid>", "", xml)
        .replace("bench", "hand")
        .replace(f':{MAC:02x}"', f':{HAND_MAC:02x}"')
        .replace(f"-{MAC}.", f"-{HAND_MAC}.")
    )
    disk = f"/root/guest-{MAC}.qcow2"
    lab.execute(WITNESS, ["sh", "-c", script("domain_by_hand.sh"), "sh", "make", disk], timeout_s=180)
    lab.execute(
        ENDS[0],
        ["sh", "-ec", "cat >/root/hand.xml; virsh create /root/hand.xml; rm /root/hand.xml"],
        stdin=xml,
    )
    try:
        wait_until(
            lambda: any(consoles(lab, HAND_MAC).values()), what="the domain made by hand", timeout_s=120
        )
        yield
    finally:
        for node in ENDS:
            lab.execute(node, ["virsh", "destroy", "hand"], check=False)
        lab.execute(WITNESS, ["sh", "-c", script("domain_by_hand.sh"), "sh", "remove"], timeout_s=180)


def _in_guest(lab: Lab, line: str, mac: int = MAC) -> str:
    command = [*lab.ssh_command(f"192.0.2.{mac}"), line]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def _used_mib(lab: Lab, mac: int) -> int:
    lines = _in_guest(lab, "cat /proc/meminfo", mac).splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return (sizes["MemTotal"] - sizes["MemFree"]) >> 10


def _wait_ssh(lab: Lab, mac: int = MAC) -> None:
    def answers() -> bool:
        try:
            return _in_guest(lab, "echo yes", mac) == "yes"
        except subprocess.SubprocessError:
            return False

    wait_until(answers, what="the guest's ssh", timeout_s=120)


def _difference(name: str, base: str) -> Callable[[Result], str | None]:
    def tell(result: Result) -> str | None:
        if not (result.get(name) and result.get(base)):
            return None
        ours, theirs = (sorted(result[which]) for which in (name, base))
        mine, other = ours[len(ours) // 2] * 1000, theirs[len(theirs) // 2] * 1000
        return f"{mine - other:+.0f} ms ({mine:.0f} ms : {other:.0f} ms)"

    return tell


def _busy(result: Result) -> str | None:
    if not result:
        return None
    counts = {name: int(sum(result[name])) for name in ("arrived", "aborted", "stopped or lost")}
    counts["late"] = sum(took_s > BUSY_TIMEOUT_S + BUSY_PAUSE_S + BUSY_REST_S for took_s in result["took"])
    return ", ".join(f"{count} {name}" for name, count in counts.items()) + f" of {len(result['took'])}"


MEASURES = {
    "migration": Measure(
        measure_migration,
        (
            Row(
                "live migration of a guest of 4 GiB, 3 GiB of it in use, total, `vm-mgr migrate` : bare "
                "`virsh migrate`",
                "≤ 1.3",
                ratio("vm-mgr: total", "virsh: total"),
            ),
            Row(
                "the longest time without an answer meanwhile, at 20 pings a second",
                "≤ bare virsh + 100 ms",
                _difference("vm-mgr: no answer", "virsh: no answer"),
            ),
            Row(
                "the same of an idle guest of 192 MiB, total",
                "",
                ratio("idle, vm-mgr: total", "idle, virsh: total"),
            ),
            Row(
                "— the longest time without an answer",
                "",
                _difference("idle, vm-mgr: no answer", "idle, virsh: no answer"),
            ),
        ),
    ),
    "busy": Measure(
        measure_busy,
        (
            Row(
                f"moving a guest that dirties memory faster than the {MIB_S} MiB/s it may be sent with, "
                f"`auto`, {BUSY_TIMEOUT_S} s and then a pause of at most {BUSY_PAUSE_S} s",
                "20 of 20 arrived or aborted",
                _busy,
            ),
            Row("— how long the command took", "", seconds("took")),
        ),
    ),
}
