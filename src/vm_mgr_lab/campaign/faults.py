"""The faults that a campaign does: each is named, strikes one node (or all), and can be healed."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vm_mgr_lab import bmc
from vm_mgr_lab.campaign.watch import Watch
from vm_mgr_lab.cgroup import Cgroup
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.network import switch_namespace
from vm_mgr_lab.process import run
from vm_mgr_lab.topology import NETWORKS

__all__ = ["DAEMONS", "FAULTS", "Fault", "Site", "heal_all", "make_fault"]

STEPPED_CLOCK = Path(__file__).with_name("stepped_clock.c")
# A daemon that a fault kills → words of its command line.
DAEMONS = {
    "libvirt": ("/usr/sbin/libvirtd", "/usr/sbin/virtqemud"),
    "pacemakerd": ("/usr/sbin/pacemakerd",),
    "controld": ("pacemaker-controld",),
    "based": ("pacemaker-based",),
    "fenced": ("pacemaker-fenced",),
    "execd": ("pacemaker-execd",),
    "schedulerd": ("pacemaker-schedulerd",),
    "attrd": ("pacemaker-attrd",),
    "corosync": ("/usr/sbin/corosync",),
    "mon": ("/usr/bin/ceph-mon",),
    "osd": ("/usr/bin/ceph-osd",),
    "mgr": ("/usr/bin/ceph-mgr",),
    "virtlockd": ("/usr/sbin/virtlockd",),
    # Not virtlogd: QEMUs that run would never write to their consoles' logs again.
    "alert": ("vm_mgr.alert",),
}
COMMAND_SIGNALS = {"killed": signal.SIGKILL, "hung-up": signal.SIGHUP, "terminated": signal.SIGTERM}


@dataclass(slots=True, kw_only=True)
class Site:
    """Where a fault strikes: the lab, what watches it, the VMs, and the commands that are under way."""

    lab: Lab
    watch: Watch
    vms: tuple[str, ...]
    cuts: list[tuple[float, str]] = field(default_factory=list)  # when which node lost its power

    def kill(self, pids: list[int], number: signal.Signals = signal.SIGKILL) -> bool:
        """Signal processes by their ids on the host; tell whether there was any."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(pids)

    def on(self, node: str, script: str) -> None:
        """Run a line of shell on a node, as far as it is on."""
        with contextlib.suppress(LabError):
            self.lab.execute(node, ["sh", "-c", script], check=False, timeout_s=20)


class Fault(Protocol):
    """What can be done to a node, and undone."""

    def inject(self, site: Site, node: str) -> bool:
        """Strike; tell whether there was anything to hit."""

    def heal(self, site: Site, node: str) -> None:
        """Undo it; may be repeated."""


@dataclass(frozen=True, slots=True)
class PowerCut:
    """The plug is pulled, and put back later."""

    def inject(self, site: Site, node: str) -> bool:
        """Cut it."""
        site.cuts.append((time.time(), node))
        site.lab.cut_power(node)
        return True

    def heal(self, site: Site, node: str) -> None:
        """Restore it, where the BMC has not done so already."""
        site.lab.power_on(node)


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing on the node runs for a while, and nothing is lost."""

    def inject(self, site: Site, node: str) -> bool:
        """Freeze it."""
        site.lab.machine(node).pause()
        return True

    def heal(self, site: Site, node: str) -> None:
        """Let it go on, unless it was fenced meanwhile."""
        site.lab.machine(node).resume()


@dataclass(frozen=True, slots=True)
class Cut:
    """Cables are pulled."""

    networks: tuple[str, ...]

    def inject(self, site: Site, node: str) -> bool:
        """Pull them."""
        site.lab.cut_network(node, self.networks)
        return True

    def heal(self, site: Site, node: str) -> None:
        """Plug them in again."""
        site.lab.heal_network(node, self.networks)


@dataclass(frozen=True, slots=True)
class Partition:
    """The node is alone on one side, the others together on the other."""

    def inject(self, site: Site, node: str) -> bool:
        """Part them."""
        site.lab.partition([[node]])
        return True

    def heal(self, site: Site, node: str) -> None:  # noqa: ARG002
        """Join them."""
        site.lab.network.heal_partition()


@dataclass(frozen=True, slots=True)
class Filter:
    """The switch drops what a node sends, or what it is sent, wholly or by chance (nft(8) on its bridges)."""

    direction: str  # "in" is what the node sends into the switch, "out" what it is sent
    percent: int
    networks: tuple[str, ...] = tuple(NETWORKS)

    def inject(self, site: Site, node: str) -> bool:  # noqa: ARG002
        """Load the rules."""
        hook = {"in": "prerouting", "out": "postrouting"}[self.direction]
        chance = "" if self.percent == 100 else f"numgen random mod 100 < {self.percent} "
        rules = "\n".join(
            f'{self.direction[:1]}ifname "{node}-{network}" {chance}drop' for network in self.networks
        )
        table = f"table bridge {self._table(node)}"
        text = f"{table} {{\nchain c {{\ntype filter hook {hook} priority 0;\n{rules}\n}}\n}}\n"
        run([*switch_namespace().enter_command(), "nft", "-f", "-"], stdin=text)
        return True

    def heal(self, site: Site, node: str) -> None:  # noqa: ARG002
        """Take them away."""
        delete = ["nft", "delete", "table", "bridge", self._table(node)]
        run([*switch_namespace().enter_command(), *delete], check=False)

    def _table(self, node: str) -> str:
        return f"campaign_{node}_{self.direction}"


@dataclass(frozen=True, slots=True)
class Narrow:
    """A link so narrow that packets queue for up to half a second and are dropped then (tc-tbf(8))."""

    def inject(self, site: Site, node: str) -> bool:  # noqa: ARG002
        """Narrow both links of a node."""
        for network in NETWORKS:
            limits = ["rate", "400kbit", "burst", "4kb", "latency", "500ms"]
            self._tc("replace", node, network, ["tbf", *limits])
        return True

    def heal(self, site: Site, node: str) -> None:  # noqa: ARG002
        """Widen them."""
        for network in NETWORKS:
            self._tc("delete", node, network, [])

    def _tc(self, verb: str, node: str, network: str, words: list[str]) -> None:
        argv = ["tc", "qdisc", verb, "dev", f"{node}-{network}", "root", *words]
        run([*switch_namespace().enter_command(), *argv], check=verb != "delete")


@dataclass(frozen=True, slots=True)
class BmcFault:
    """The node's BMC is gone, or answers only after a while."""

    slow: bool

    def inject(self, site: Site, node: str) -> bool:
        """Take it down, or hold its answers back."""
        if self.slow:
            Cgroup(f"bmc-{node}").freeze(frozen=True)
        else:
            bmc.break_down(site.lab.topology.node(node))
        return True

    def heal(self, site: Site, node: str) -> None:
        """Bring it back."""
        Cgroup(f"bmc-{node}").freeze(frozen=False)
        bmc.heal(site.lab.paths, site.lab.topology.node(node))


@dataclass(frozen=True, slots=True)
class Killed:
    """A process dies, as by the kernel's OOM killer."""

    find: Callable[[Site, str], list[int]]

    def inject(self, site: Site, node: str) -> bool:
        """Kill it."""
        return site.kill(self.find(site, node))

    def heal(self, site: Site, node: str) -> None:
        """Leave it to who looks after it."""


@dataclass(frozen=True, slots=True)
class CommandSignalled:
    """One of the commands that are under way gets a signal."""

    number: signal.Signals

    def inject(self, site: Site, node: str) -> bool:  # noqa: ARG002
        """Signal the command that was begun first and has not ended."""
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            names = [one.name for one in site.lab.nodes]
            alive = [pid for name in names for pid in site.watch.find_now(name, "/vm-mgr\0")]
            if alive:
                return site.kill(alive[:1], self.number)
            time.sleep(0.05)
        return False

    def heal(self, site: Site, node: str) -> None:
        """A dead command stays dead."""


@dataclass(frozen=True, slots=True)
class OnNode:
    """Something that a line of shell does to a node, and another one undoes."""

    do: str
    undo: str
    prepare: Callable[[Site, str], None] = lambda _site, _node: None

    def inject(self, site: Site, node: str) -> bool:
        """Do it."""
        self.prepare(site, node)
        site.on(node, self.do)
        return True

    def heal(self, site: Site, node: str) -> None:
        """Undo it; a node that has booted since has forgotten it."""
        site.on(node, self.undo)


STEPPED = ("/usr/bin/vm-mgr", "/usr/lib/ocf/resource.d/vm-mgr/VirtualDomain")
CLOCK_DO = """
mkdir -p /run/campaign-clock; for program in {programs}; do
    # A copy beside the program finds what that finds.
    program=$(readlink -f "$program"); own=${{program%/*}}/.campaign-${{program##*/}}
    stepped=/run/campaign-clock/${{program##*/}}; cp -p "$program" "$own"
    printf '%s\\n' '#!/bin/sh' 'export LD_PRELOAD={library} VM_MGR_LAB_CLOCK_S={offset_s}' \\
        "exec $own \\"\\$@\\"" >"$stepped"; chmod 755 "$stepped"; mount --bind "$stepped" "$program"
done
"""
CLOCK_UNDO = """
for program in {programs}; do
    program=$(readlink -f "$program"); while umount "$program"; do :; done 2>/dev/null
    rm -f "${{program%/*}}/.campaign-${{program##*/}}"
done
"""
LIBRARY = "/usr/lib/campaign-clock.so"


def _clock(offset_s: int) -> OnNode:
    """Let commands and agents that begin on the node see another time of day; durations stay right.

    Containers share the host's clock, and no namespace has a time of day of its own. So what these programs
    call sees the other time too, and daemons that run go on with the true one.
    """
    programs = " ".join(STEPPED)
    return OnNode(
        CLOCK_DO.format(programs=programs, library=LIBRARY, offset_s=offset_s),
        CLOCK_UNDO.format(programs=programs),
        _lay_out_clock,
    )


def _lay_out_clock(site: Site, node: str) -> None:
    built = site.lab.paths.state / "campaign-clock.so"
    if not built.exists():
        run(["gcc", "-shared", "-fPIC", "-O2", "-o", built, STEPPED_CLOCK])
    site.lab.copy_in(node, built, LIBRARY)


def _full(mount: str) -> OnNode:
    """Let a file system of the node's memory be full but for some KiB, by its size and not by filling it."""
    return OnNode(
        f'used=$(df --output=used -k {mount} | tail -1); mount -o "remount,size=$((used + 16))k" {mount}; '
        f"dd if=/dev/zero of={mount}/campaign-fills bs=4k 2>/dev/null; true",
        f"rm -f {mount}/campaign-fills; mount -o remount,size=2g {mount}",
    )


HOG = "setsid sh -c 'exec -a campaign-hog sh -c \"while :; do :; done\"' </dev/null >/dev/null 2>&1 &"
# Who starts the agents may have only as much memory as some of them; see memory.rst of cgroup v1.
MEMORY_V1 = Path("/sys/fs/cgroup/memory")


@dataclass(frozen=True, slots=True)
class MemoryPressure:
    """Pacemaker's executor and its agents may use so little memory that the kernel kills some."""

    limit_mib: int = 60

    def inject(self, site: Site, node: str) -> bool:
        """Put them into a group with a limit."""
        if not MEMORY_V1.exists():
            return False
        group = self._group(node)
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(self.limit_mib << 20))
        pids = site.watch.find_now(node, "pacemaker-execd")
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        return bool(pids)

    def heal(self, site: Site, node: str) -> None:  # noqa: ARG002
        """Lift the limit, and the group once it is empty."""
        group = self._group(node)
        if not group.exists():
            return
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (MEMORY_V1 / "cgroup.procs").write_text(pid)
        (group / "memory.limit_in_bytes").write_text("-1")
        with contextlib.suppress(OSError):
            group.rmdir()

    def _group(self, node: str) -> Path:
        return MEMORY_V1 / f"vm-mgr-campaign-{node}"


def _daemon(name: str) -> Killed:
    words = DAEMONS[name]
    return Killed(lambda site, node: [pid for word in words for pid in site.watch.find_now(node, word)])


def _qemus(site: Site, node: str) -> list[int]:
    return [one.pid for vm in site.vms for one in site.watch.qemus(vm) if one.node == node]


FAULTS: dict[str, Fault] = {
    "power-cut": PowerCut(),
    "hang": Hang(),
    "cut-both": Cut(tuple(NETWORKS)),
    "cut-cluster": Cut(("cluster",)),
    "cut-admin": Cut(("admin",)),
    "partition": Partition(),
    "deaf": Filter("out", 100),
    "mute": Filter("in", 100),
    "mute-on-cluster": Filter("in", 100, ("cluster",)),
    "loss": Filter("in", 30),
    "narrow": Narrow(),
    "bmc-broken": BmcFault(slow=False),
    "bmc-slow": BmcFault(slow=True),
    **{f"{name}-killed": _daemon(name) for name in DAEMONS},
    "qemu-killed": Killed(_qemus),
    "agent-killed": Killed(lambda site, node: site.watch.find_now(node, "vm_mgr.ocf")),
    **{f"command-{name}": CommandSignalled(number) for name, number in COMMAND_SIGNALS.items()},
    "clock-ahead": _clock(3600),
    "clock-behind": _clock(-3600),
    "run-full": _full("/run"),
    "tmp-full": _full("/tmp"),  # noqa: S108 - the node's
    "busy": OnNode(HOG * 4, "pkill -KILL -f campaign-hog"),
    "memory-pressure": MemoryPressure(),
    "pool-full": OnNode(
        "ceph osd pool set-quota rbd max_bytes 4096", "ceph osd pool set-quota rbd max_bytes 0"
    ),
}


def make_fault(name: str) -> Fault:
    """Return a fault by its name."""
    return FAULTS[name]


def heal_all(site: Site) -> None:
    """Undo what any fault may have left, on every node."""
    for node in site.lab.nodes:
        Cgroup(f"bmc-{node.name}").freeze(frozen=False)
        for name in ("deaf", "mute", "narrow", "memory-pressure"):
            FAULTS[name].heal(site, node.name)
        for name in ("clock-ahead", "run-full", "tmp-full"):
            FAULTS[name].heal(site, node.name)
    site.lab.heal()
