"""Two people at one name: one wins, or both are serialised; never a half of each.

Two operations begin at the same moment on two nodes, with an offset of up to 0.3 s. What is there afterwards,
and how each has ended, must be what one after the other gives, in either order; these are played on the
memory adapters, which know no races. A quarter of all pairs occurs, in one of the storages, and others each
day; all of them with VM_MGR_ALL=1.
VM_MGR_RACES is the number of rounds per storage, VM_MGR_RACES_SEED the number of another run.
"""

import json
import os
import queue
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from itertools import combinations_with_replacement, islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lab.node import races
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.errors import EXIT_CODES, VmMgrError
from vm_mgr_lab.lab import Lab

from .turns import ALL

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

TOP = Path(__file__).parents[2]
SOURCE = TOP / "src"
FOLDER = "/tmp/races"
UNPACK = f"rm -rf {FOLDER}; mkdir {FOLDER}; tar -xzf /tmp/races.tgz -C {FOLDER}; rm /tmp/races.tgz"
STORAGES = ("ceph", "vms")
TODAY = datetime.now(UTC).toordinal()
SEED = int(os.environ.get("VM_MGR_RACES_SEED", TODAY))
ROUNDS = int(os.environ.get("VM_MGR_RACES", "0"))
DAYS = 4
OFFSET_S = 0.3
LEAD_S = 0.15  # in which a request reaches its node
PATIENCE_S = 120.0
# The cluster's other nodes hear of a change some milliseconds after the one that made it.
NEWS_S = 3.0
SLOW_S = 25.0  # a claim that was left behind would keep the next command waiting for longer
BY_COMMAND = 8  # every so many rounds the command line is started on the nodes
MAKING = {"create", "clone to", "rename to"}
NEEDING_OTHER = {"clone to", "clone over", "rename to"}
KINDS = {code: kind.value for kind, code in EXIT_CODES.items()}
OK, LATER = "ok", "try-later"
ORDERS = ("first, second", "second, first", "one alone", "one alone")
NODES = ("n1", "n2", "n3")
LANES = 2


class Node:
    """A process on a node that does what it is asked for, one thing after the other."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.name = name
        argv = [*lab.machine(name).enter_command(), "env", f"PYTHONPATH={FOLDER}"]
        self.process = subprocess.Popen(
            [*argv, "python3", "-m", "tests.lab.node.races"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def ask(self, do: str, **arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()

    def answer(self, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        return json.loads(self.answers.get(timeout=timeout_s))

    def result(self) -> Any:
        answer = self.answer()
        assert "error" not in answer, answer
        assert answer["took"] < SLOW_S, answer
        return answer["result"]

    def do(self, do: str, **arguments: Any) -> Any:
        self.ask(do, **arguments)
        return self.result()

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdout.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)


class Round:
    """Two operations and what both find."""

    def __init__(self, number: int, pair: tuple[str, str], storage: str, draw: random.Random) -> None:
        self.pair = pair if draw.random() < 0.5 else pair[::-1]
        makes = bool(MAKING & set(pair))
        self.begins = draw.choice(("absent", "absent", "stopped") if makes else ("stopped", "disabled"))
        self.other = bool(NEEDING_OTHER & set(pair))
        self.nodes = tuple(draw.sample(NODES, 2))
        self.offset_s = OFFSET_S * draw.random() ** 3  # the first one often has not got far
        self.command = number % BY_COMMAND == BY_COMMAND - 1
        self.storage = storage
        self.world = (f"race{number:04}", storage, FOLDER + "/images")

    def __str__(self) -> str:
        first, second = self.pair
        how = " by command" if self.command else ""
        later = f"{self.offset_s * 1000:.0f} ms later {second} on {self.nodes[1]}"
        return f"{first} on {self.nodes[0]}, {later}{how}; web {self.begins} in {self.storage}"


def in_memory(begins: str, other: bool, storage: str, played: tuple[tuple[str, int], ...]) -> Any:
    """Play operations one after the other; give the facts afterwards and how each ended."""
    env = MemoryEnv(DomainXml())
    if storage != "ceph":
        env.storage.clones.of = lambda _: []  # a clone is a whole file there
    with tempfile.TemporaryDirectory() as folder:
        for word in filter(None, races.CONTENTS.values()):
            header = b"QFI\xfb" + bytes(20) + (2 * races.MIB).to_bytes(8, "big")
            Path(folder, f"{word}.qcow2").write_bytes(header)
        world = races.World("race", "ceph", folder)
        races.make(env, world, begins, other=other, write=overwrite)
        ends = {side: outcome(env, world, operation, side) for operation, side in played}
    seen = races.facts(env, world, lambda env, name, number: Path(env.storage.vms[name].disks[number]).stem)
    return cut(seen, storage), ends


def overwrite(env: MemoryEnv, name: str, word: str) -> None:
    env.storage.vms[name].disks[0] = word


def outcome(env: MemoryEnv, world: races.World, operation: str, side: int) -> str:
    try:
        races.OPERATIONS[operation](env, world, side)
    except VmMgrError as error:
        return error.kind.value
    return OK


def cut(facts: Any, storage: str) -> Any:
    """Leave out what only Ceph knows."""
    for vm in facts.values():
        if storage != "ceph" and vm["stored"]:
            vm["stored"].pop("clone", None)
    return facts


@cache
def allowed(begins: str, other: bool, storage: str, pair: tuple[str, str]) -> list[Any]:
    """Give what one after the other leads to, and what one alone does where the other gave up waiting."""
    first, second = (pair[0], 1), (pair[1], 2)
    found = [in_memory(begins, other, storage, order) for order in ((first, second), (second, first))]
    for one, side in ((first, 2), (second, 1)):
        facts, ends = in_memory(begins, other, storage, (one,))
        found.append((facts, {**ends, side: LATER}))
    return found


def ended(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return answer["error"]
    if answer["result"] is None:
        return OK
    status = answer["result"]["status"]
    return OK if status == 0 else KINDS.get(status, f"status {status}: {answer['result']['stderr'][-300:]}")


class Arena:
    """The nodes' processes: one that races on each, one that prepares, one that looks and cleans up."""

    def __init__(self, lab: Lab) -> None:
        self.racers = {name: Node(lab, name) for name in NODES}
        self.maker, self.looker = Node(lab, "n3"), Node(lab, "n1")
        self.all = [*self.racers.values(), self.maker, self.looker]
        self.orders: Counter[str] = Counter()
        self.worlds: list[tuple[str, str, str]] = []

    def prepare(self, round_: Round) -> None:
        self.worlds.append(round_.world)
        self.maker.ask("make", world=round_.world, begins=round_.begins, other=round_.other)

    def run(self, round_: Round) -> str:
        """Let both go; give what is wrong with the outcome."""
        at = time.time() + LEAD_S
        for side, (operation, node) in enumerate(zip(round_.pair, round_.nodes, strict=True), 1):
            when = at + (side - 1) * round_.offset_s
            asked = {"operation": operation, "side": side, "at": when, "command": round_.command}
            self.racers[node].ask("race", world=round_.world, **asked)
        answers = [self.racers[node].answer() for node in round_.nodes]
        ends = {side: ended(answer) for side, answer in enumerate(answers, 1)}
        problem = self._judge(round_, ends)
        self.looker.do("wipe", world=round_.world)
        self.worlds.remove(round_.world)
        return f"{round_}: {problem}; {answers}" if problem else ""

    def _judge(self, round_: Round, ends: dict[int, str]) -> str:
        fitting = allowed(round_.begins, round_.other, round_.storage, round_.pair)
        deadline = time.monotonic() + NEWS_S
        while True:
            seen = self.looker.do("look", world=round_.world)
            facts = cut(seen["facts"], round_.storage)
            if (facts, ends) in fitting and not seen["strays"]:
                self.orders[ORDERS[fitting.index((facts, ends))]] += 1
                return ""
            if time.monotonic() > deadline:
                wanted = [different(facts, ends, *one) for one in fitting[:2]]
                return f"left {seen['strays']}; has, but should have: {' or '.join(wanted)}"

    def close(self) -> None:
        """End the processes, and remove what a round that failed has left."""
        for node in self.all:
            if node is not self.looker:
                node.close()
        for world in self.worlds:
            self.looker.ask("wipe", world=world)
        self.looker.close()


def different(facts: Any, ends: Any, wanted: Any, wanted_ends: Any) -> str:
    """Say in which facts two outcomes differ."""
    texts = [f"{role}: {facts[role]}, {wanted[role]}" for role in facts if facts[role] != wanted[role]]
    return " | ".join(texts + ([f"{ends}, {wanted_ends}"] if ends != wanted_ends else []))


@pytest.fixture(scope="module")
def arenas(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Arena]]:
    archive = tmp_path_factory.mktemp("races") / "races.tgz"
    scripts = [str(path) for path in ("tests/__init__.py", "tests/lab/__init__.py", "tests/lab/node")]
    subprocess.run(
        ["tar", "-czf", archive, "--exclude=__pycache__", "-C", SOURCE, "vm_mgr", "-C", TOP, *scripts],
        check=True,
    )
    for node in NODES:
        lab.copy_in(node, archive, "/tmp/races.tgz")
        lab.execute(node, ["sh", "-ec", UNPACK])
    built: list[Arena] = []
    try:
        for _ in range(LANES):
            built.append(Arena(lab))  # noqa: PERF401 - those that were built are closed
        for node in NODES:
            built[0].racers[node].do("images", folder=FOLDER + "/images")
        yield built
    finally:
        for arena in built:
            arena.close()
        for node in NODES:
            lab.execute(node, ["rm", "-rf", FOLDER])


class Bereaved(NamedTuple):
    """A command that waits for one that was killed."""

    node: Node
    world: tuple[str, str, str]


@pytest.fixture(scope="module")
def bereaved(lab: Lab, arenas: list[Arena]) -> Iterator[Bereaved]:
    """Let a command wait for 30 s; whoever asks for this fixture need not wait with it."""
    world = ("racez", "ceph", FOLDER + "/images")
    victim, waiting = Node(lab, "n1"), Node(lab, "n2")
    try:
        arenas[0].maker.do("make", world=world, begins="stopped", other=False)
        pid = victim.do("hold", name="racezweb")
        lab.execute("n1", ["kill", "-9", str(pid)])
        waiting.ask("race", **metadata(world))
        yield Bereaved(waiting, world)
    finally:
        victim.close()
        waiting.close()
        arenas[0].looker.do("wipe", world=world)


def rounds() -> Iterator[Round]:
    """Draw for ever: all pairs in a random order, dealt out to the storages in turn, then again."""
    draw, number = random.Random(SEED), 0  # noqa: S311 - nothing is kept secret
    pairs = list(combinations_with_replacement(races.OPERATIONS, 2))
    while True:
        draw.shuffle(pairs)
        for pair in pairs:
            yield Round(number, pair, STORAGES[number % len(STORAGES)], draw)
            number += 1


def race(arena: Arena, drawn: Iterator[Round]) -> list[str]:
    """Run the rounds that no other lane takes, each prepared during the one before; give what was wrong."""
    problems = []
    following = next(drawn, None)
    if following:
        arena.prepare(following)
    while following:
        arena.maker.result()
        round_, following = following, next(drawn, None)
        if following:
            arena.prepare(following)
        problem = arena.run(round_)
        if problem:
            print(problem, flush=True)
            problems.append(problem)
    return problems


def test_two_operations_on_one_name_leave_what_one_after_the_other_would(
    arenas: list[Arena], bereaved: Bereaved
) -> None:
    pairs = len(races.OPERATIONS) * (len(races.OPERATIONS) + 1) // 2
    drawn = list(islice(rounds(), len(STORAGES) * ROUNDS or pairs // (1 if ALL else DAYS)))
    dealt = iter(drawn)
    began = time.monotonic()
    # Each lane has names of its own, so the lanes must not disturb each other either.
    with ThreadPoolExecutor(LANES) as lanes:
        running = [lanes.submit(race, arena, dealt) for arena in arenas]
    problems = [problem for lane in running for problem in lane.result()]
    orders = sum((arena.orders for arena in arenas), Counter())
    took_s = time.monotonic() - began
    print(f"seed {SEED}, {len(drawn)} rounds, {took_s:.0f} s, in the order of {dict(orders)}")
    assert not problems, f"seed {SEED}, {len(problems)} problems:\n" + "\n".join(problems[:5])


@pytest.fixture
def vms(arenas: list[Arena]) -> Iterator[tuple[str, str, str]]:
    """Give a world of its own with the VMs web, which is stopped, and db."""
    world = ("racex", "ceph", FOLDER + "/images")
    arenas[0].maker.do("make", world=world, begins="stopped", other=True)
    yield world
    arenas[0].looker.do("wipe", world=world)


def metadata(world: tuple[str, str, str]) -> dict[str, Any]:
    return {"world": world, "operation": "set metadata", "side": 1, "at": 0}


def owner(arena: Arena, world: tuple[str, str, str]) -> str:
    return arena.looker.do("look", world=world)["facts"]["web"]["stored"]["owner"]


def test_different_names_do_not_wait_for_each_other(arenas: list[Arena], vms: tuple[str, str, str]) -> None:
    """The claim of one name stays held; whatever is done at other names meanwhile has not waited for it."""
    arena = arenas[0]
    beside = ("racey", *vms[1:])
    arena.racers["n1"].do("hold", name="racexdb")
    try:
        for node, world, operation in (
            ("n2", vms, "clone from"),
            ("n3", vms, "set"),
            ("n2", vms, "remove"),
            ("n3", beside, "create"),
            ("n2", beside, "rename from"),
        ):
            arena.racers[node].ask("race", world=world, operation=operation, side=1, at=0)
            answer = arena.racers[node].answer()
            expected = "wrong-state" if operation == "remove" else None  # there is a clone of it by now
            assert (answer.get("error"), answer["waited"]) == (expected, False), operation
        assert [text for text in arena.looker.do("claimed", world=vms) if "racexdb" in text]
    finally:
        arena.racers["n1"].do("free")
        arena.looker.do("wipe", world=beside)


def test_second_command_waits_and_then_does_its_thing(arenas: list[Arena], vms: tuple[str, str, str]) -> None:
    arena = arenas[0]
    arena.racers["n1"].do("hold", name="racexweb")
    arena.racers["n2"].ask("race", **metadata(vms))
    with pytest.raises(queue.Empty):
        arena.racers["n2"].answer(timeout_s=2)
    assert owner(arena, vms) == "side4"
    arena.racers["n1"].do("free")
    answer = arena.racers["n2"].answer()
    assert (answer.get("error"), answer["waited"]) == (None, True)
    assert owner(arena, vms) == "set1"


def test_claim_ends_30_s_after_its_holder_was_killed(arenas: list[Arena], bereaved: Bereaved) -> None:
    answer = bereaved.node.answer()
    assert (answer.get("error"), answer["waited"]) == (None, True)
    assert 15 < answer["took"] < 40
    assert owner(arenas[0], bereaved.world) == "set1"
