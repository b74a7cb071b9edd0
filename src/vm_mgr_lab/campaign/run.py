"""Play the rounds of a campaign: operations from several nodes, faults among them, healing, audits."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from vm_mgr_lab import demo
from vm_mgr_lab.campaign import audits
from vm_mgr_lab.campaign.faults import Site, heal_all, make_fault
from vm_mgr_lab.campaign.keep import keep_evidence
from vm_mgr_lab.campaign.look import ClusterLook, NodeLook, look_at_cluster, look_at_nodes
from vm_mgr_lab.campaign.model import Ask, Core, Facts, Spare, facts_of, judge_facts
from vm_mgr_lab.campaign.operations import DEFINITION, IMAGE, Scene, make_ask
from vm_mgr_lab.campaign.plan import Asked, Round, Strike
from vm_mgr_lab.campaign.records import judge_records, on_disk
from vm_mgr_lab.campaign.rest import RestTimes, cleanup, mend, settle
from vm_mgr_lab.campaign.watch import Watch
from vm_mgr_lab.disks import OWN
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.history import bmc_events
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

__all__ = ["Campaign", "Played", "core_vms", "secrets_of"]

Say = Callable[[str], None]

COMMAND_S = 240.0
BACK_S = 120.0
COMPARED_S = 300.0
MONITOR_S = 12.0
SMALL = """<domain type="qemu"><name>any</name><memory unit="MiB">192</memory>
<os><type arch="x86_64">hvm</type></os><devices><memballoon model="none"/></devices></domain>"""


@dataclass(slots=True, kw_only=True)
class Played:
    """What became of a round."""

    plan: Round
    problems: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    hit: dict[str, bool] = field(default_factory=dict)
    ended: list[tuple[Ask, int | None]] = field(default_factory=list)
    took_s: float = 0.0
    phases: str = ""
    healed: bool = True


def core_vms(storage: str) -> tuple[Core, ...]:
    """Return the VMs that keep records: one that moves live, one that hibernates, one that is pinned.

    One name is the beginning of another one.
    """
    first = storage[0]
    return (
        Core(name=f"c{first}1", mac_byte=_mac(storage, 0), options=("--on-move", "migrate")),
        Core(name=f"c{first}10", mac_byte=_mac(storage, 1), options=("--on-move", "hibernate")),
        Core(name=f"c{first}2", mac_byte=_mac(storage, 2), options=("--pinned-host", "n2")),
    )


def _mac(storage: str, number: int) -> int:
    return {"ceph": 220, "vms": 224}[storage] + number


def secrets_of(lab: Lab) -> dict[str, bytes]:
    """Return what may never be seen in a command line or a journal: the BMCs' passwords and Ceph's keys."""
    found = {
        f"the password of {node.name}'s BMC": lab.paths.bmc_password(node.name).read_text().strip().encode()
        for node in lab.nodes
    }
    script = "cat /etc/ceph/*.keyring | sed -n 's/^[ \\t]*key = //p' | sort -u"
    keys = lab.execute(lab.nodes[0].name, ["sh", "-c", script]).stdout.split()
    return found | {f"Ceph's key {number}": key.encode() for number, key in enumerate(keys, 1)}


class Campaign:
    """Plays rounds on a lab that is up, on VMs that stay from round to round."""

    def __init__(self, lab: Lab, storage: str, watch: Watch, keep: Path, secrets: dict[str, bytes]) -> None:
        self._lab = lab
        self._storage = storage
        self._watch = watch
        self._keep = keep
        self._secrets = secrets
        self._core = core_vms(storage)
        self._spare = Spare(f"c{storage[0]}")
        self._site = Site(lab=lab, watch=watch, vms=tuple(one.name for one in self._core))
        self._facts: dict[str, Facts] = {}
        self._told_secrets: set[str] = set()
        self._last: ClusterLook | None = None
        self._since_s = dict.fromkeys(self._site.vms, time.time())

    def prepare(self, say: Say) -> None:
        """Make the VMs that are not there yet, take away what an earlier campaign left, and come to rest."""
        for node in self._lab.nodes:
            self._lab.execute(node.name, ["sh", "-c", f"cat >{DEFINITION}"], stdin=SMALL)
            self._lab.execute(node.name, ["qemu-img", "create", "-q", "-f", "qcow2", IMAGE, "16M"])
        rows = {row["name"]: row for row in self._look(()).rows}
        for one in self._core:
            if one.name not in rows:
                options = ("--storage", self._storage, *one.options)
                demo.create_guest(self._lab, one.name, say, mac_byte=one.mac_byte, options=options)
        for name in rows:
            if name.startswith(f"{self._spare.prefix}s"):
                self._vm_mgr("remove", name)
        if not mend(self._lab, self._site.vms, heal=lambda: heal_all(self._site)):
            raise LabError("the lab is not healthy", hint="vm-mgr-lab exec n1 -- vm-mgr list")
        try:
            self._restore(self._look(self._site.vms))
        except LabError:
            if not self._start_anew():
                raise
        self._since_s = dict.fromkeys(self._site.vms, time.time())

    def play(self, plan: Round) -> Played:
        """Play one round, heal everything, and audit."""
        began_s, played, self._last = time.time(), Played(plan=plan), None
        self._site.cuts.clear()
        asks = [(asked, make_ask(asked, self._scene(plan))) for asked in plan.asked]
        commands = self._clash(plan, asks, played)
        times = RestTimes()
        struck_s = time.time()
        rest = settle(self._lab, self._site.vms, times, heal=lambda: heal_all(self._site))
        rested_s = time.time()
        played.story.append(f"at rest {rested_s - struck_s:.1f} s after the last fault: {times}")
        played.problems += rest + self._ends_of(commands, asks, played)
        with contextlib.suppress(LabError):
            self._lab.execute(self._ask(), ["vm-mgr", "repair"], check=False, timeout_s=COMMAND_S)
        try:
            played.problems += self._audit(began_s, played)
        except LabError as error:
            played.problems.append(f"the audits could not be done: {error}")
        audited_s = time.time()
        if played.problems:
            self._keep_all(plan, began_s, played)
        if rest:
            played.healed = mend(self._lab, self._site.vms, heal=lambda: heal_all(self._site))
        try:
            look = self._last if not rest else None
            self._restore(look or self._look(self._site.vms))
        except LabError as error:
            played.problems.append(f"the VMs can't be brought back: {error}")
            played.healed = self._start_anew()
        played.took_s = time.time() - began_s
        played.phases = (
            f"{struck_s - began_s:.0f}+{rested_s - struck_s:.0f}+{audited_s - rested_s:.0f}"
            f"+{time.time() - audited_s:.0f}"
        )
        return played

    def _scene(self, plan: Round) -> Scene:
        where = {vm: (self._watch.nodes_of(vm) or [""])[0] for vm in self._site.vms}
        return Scene(
            storage=self._storage,
            nodes=tuple(node.name for node in self._lab.nodes),
            core=self._core,
            facts=self._facts,
            where=where,
            spare=self._spare,
            number=plan.round,
        )

    def _clash(
        self, plan: Round, asks: list[tuple[Asked, Ask]], played: Played
    ) -> "list[Future[tuple[int | None, str]]]":
        """Begin all operations and faults, each at its time; return when the last fault was healed."""
        pool = ThreadPoolExecutor(len(asks))
        commands = [pool.submit(self._command, asked, ask) for asked, ask in asks]
        strikes = [threading.Thread(target=self._strike, args=(one, played)) for one in plan.strikes]
        for one in strikes:
            one.start()
        for one in strikes:
            one.join()
        pool.shutdown(wait=False)
        return commands

    def _command(self, asked: Asked, ask: Ask) -> tuple[int | None, str]:
        time.sleep(asked.at_s)
        node = self._lab.nodes[asked.ask % len(self._lab.nodes)].name
        try:
            enter = self._lab.machine(node).enter_command()
        except LabError:
            return None, f"{node} is off"
        if ask.before:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run([*enter, "sh", "-c", ask.before], check=False, capture_output=True, timeout=30)
        argv = [*enter, "/usr/bin/vm-mgr", *ask.words]
        command = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            output = command.communicate(timeout=COMMAND_S)[0]
        except subprocess.TimeoutExpired:
            command.kill()
            output = command.communicate()[0]
            return -1000, output
        code = command.returncode
        return (None if code < 0 or code >= 128 else code), output

    def _strike(self, strike: Strike, played: Played) -> None:
        time.sleep(strike.at_s)
        node = self._lab.nodes[strike.node % len(self._lab.nodes)].name
        fault = make_fault(strike.fault)
        at = time.strftime("%H:%M:%S", time.gmtime())
        try:
            played.hit[strike.fault] = fault.inject(self._site, node)
        except LabError as error:
            played.story.append(f"{at} {strike.fault} on {node} could not be done: {error}")
            return
        hit = "" if played.hit[strike.fault] else ", which hit nothing"
        played.story.append(f"{at} {strike.fault} on {node} for {strike.hold_s} s{hit}")
        time.sleep(strike.hold_s)
        with contextlib.suppress(LabError):
            fault.heal(self._site, node)

    def _ends_of(
        self,
        commands: "list[Future[tuple[int | None, str]]]",
        asks: list[tuple[Asked, Ask]],
        played: Played,
    ) -> list[str]:
        """Wait for the commands, and judge what they said."""
        problems = []
        for (asked, ask), command in zip(asks, commands, strict=True):
            code, output = command.result()
            played.ended.append((ask, code))
            words = " ".join(ask.words)
            node = self._lab.nodes[asked.ask % len(self._lab.nodes)].name
            played.story.append(
                f"{asked.at_s:.1f} s on {node}: vm-mgr {words} → {code}: {output.strip()[-900:]}"
            )
            if code == -1000:
                problems.append(f"vm-mgr {words} did not end within {COMMAND_S:g} s")
            if "Traceback" in output or "defect" in output:
                problems.append(f"vm-mgr {words} ended with a defect: {output.strip()[-300:]}")
            elif code and code > 0 and "hint:" not in output:
                problems.append(f"vm-mgr {words} failed with {code} and no hint: {output.strip()[-300:]}")
        return problems

    def _audit(self, began_s: float, played: Played) -> list[str]:
        look, nodes = self._looks(began_s, played)
        if audits.agreement(look, nodes, self._core, self._watch):
            # A death of which Pacemaker does not know yet is no disagreement: its monitor comes every 10 s.
            time.sleep(MONITOR_S)
            settle(self._lab, self._site.vms, RestTimes(), heal=lambda: None)
            look, nodes = self._looks(began_s, played)
        seen = self._watch.sightings(since_s=began_s)
        fenced = [e for e in bmc_events(self._lab, since_s=began_s - 5) if e.kind == "fenced"]
        folders = [path.name for path in self._lab.paths.shared.iterdir() if path.name not in OWN]
        problems = audits.never_two(seen, self._site.cuts, fenced)
        problems += audits.agreement(look, nodes, self._core, self._watch)
        problems += audits.nothing_orphaned(look, nodes, folders)
        problems += audits.quiet_journals(nodes, self._secrets)
        after = self._facts_in(look)
        problems += judge_facts(self._facts, after, played.ended)
        problems += self._records(played)
        problems += sorted(self._watch.shown_secrets - self._told_secrets)
        self._told_secrets |= self._watch.shown_secrets
        self._facts = after
        self._last = look
        return problems

    def _looks(self, began_s: float, played: Played) -> tuple[ClusterLook, list[NodeLook]]:
        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(self._look, self._touched(played))
            nodes = look_at_nodes(self._lab, since_s=began_s)
            return asked.result(), nodes

    def _records(self, played: Played) -> list[str]:
        """Compare each VM's disk with what was acknowledged since the last time that it was rolled back."""
        rolled = {want.vm for ask, _ in played.ended for want in ask.wants if want.fact == "all"}

        def judged(vm: str) -> list[str]:
            if vm in rolled:
                self._since_s[vm] = time.time()
                return []
            acknowledged = self._watch.records(vm, since_s=self._since_s[vm])
            disk = on_disk(self._lab, vm, acknowledged, node=self._ask())
            return [f"{vm}: {one}" for one in judge_records(acknowledged, disk)]

        with ThreadPoolExecutor(len(self._site.vms)) as pool:
            return [problem for found in pool.map(judged, self._site.vms) for problem in found]

    def _look(self, vms: Collection[str]) -> ClusterLook:
        return look_at_cluster(self._lab, self._ask(), vms)

    def _touched(self, played: Played) -> list[str]:
        """Name the VMs that the round's commands may have changed, and those that run."""
        asked = {want.vm for ask, _ in played.ended for want in ask.wants}
        return sorted({*self._site.vms, *asked})

    def _facts_in(self, look: ClusterLook) -> dict[str, Facts]:
        """Return what is known of each VM that there is: as it is shown now, or as it was shown last."""
        return {
            row["name"]: facts_of(look.shown[row["name"]])
            if row["name"] in look.shown
            else self._facts.get(row["name"], {"exists": True})
            for row in look.rows
        }

    def _keep_all(self, plan: Round, began_s: float, played: Played) -> None:
        story = [
            f"round {plan.round}: {plan}",
            *played.story,
            "",
            *(f"PROBLEM: {p}" for p in played.problems),
        ]
        keep_evidence(
            self._lab, self._keep / f"round-{plan.round}", self._watch, began_s=began_s, story=story
        )

    def _restore(self, look: ClusterLook) -> None:
        """Let every VM run again, remove spare VMs beyond a few, and forget what was judged."""
        cleanup(self._lab)
        self._facts = self._facts_in(look)
        rows = {row["name"]: row["state"] for row in look.rows}
        spares = sorted((n for n in rows if n.startswith(f"{self._spare.prefix}s")), key=len)
        orders = [words for one in self._core for words in self._to_run_again(one.name, rows)]
        orders += [("remove", name) for name in spares[:-3]]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda words: self._vm_mgr(*words), orders))
        for vm in self._site.vms:
            self._wait_for_write(vm)
        if orders:
            self._facts = self._facts_in(self._look(self._site.vms))
        for vm in self._site.vms:  # what was compared for so long is enough
            self._since_s[vm] = max(self._since_s[vm], time.time() - COMPARED_S)
        self._watch.forget(before_s=min(self._since_s.values()))

    def _start_anew(self) -> bool:
        """Unplug and start all VMs, so that the campaign can go on; tell whether they write then."""
        try:
            for vm in self._site.vms:
                self._lab.execute(
                    self._ask(), ["vm-mgr", "stop", "--force", vm], check=False, timeout_s=COMMAND_S
                )
            mend(self._lab, self._site.vms, heal=lambda: heal_all(self._site))
            self._restore(self._look(self._site.vms))
        except LabError:
            return False
        return True

    def _to_run_again(self, vm: str, rows: dict[str, str]) -> list[tuple[str, ...]]:
        if vm not in rows:
            raise LabError(f"{vm} is gone")
        if rows[vm] == "Disabled":
            return [("enable", vm)]
        if rows[vm] != "Started":
            return [("start", vm)]
        return [("resume", vm)] if "paused" in str(self._facts[vm].get("state")) else []

    def _wait_for_write(self, vm: str) -> None:
        since_s = time.time()
        wait_until(
            lambda: bool(self._watch.records(vm, since_s=since_s)), what=f"a write of {vm}", timeout_s=BACK_S
        )

    def _vm_mgr(self, *words: str) -> None:
        self._lab.execute(self._ask(), ["vm-mgr", *words], timeout_s=COMMAND_S)

    def _ask(self) -> str:
        return next(node.name for node in self._lab.nodes if self._lab.machine(node.name).is_on())
