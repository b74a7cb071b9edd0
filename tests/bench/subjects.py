"""What the measurements work on: the lab, VMs in it, and scripts that run on its nodes."""

import json
import time
from pathlib import Path
from typing import Any

from vm_mgr_lab import demo
from vm_mgr_lab import up as bring
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import wait_until

__all__ = [
    "BENCH_DISK",
    "MAC",
    "PATHS",
    "RUNS",
    "Guest",
    "Removed",
    "TinyVms",
    "create_disabled",
    "lab",
    "make_disk",
    "on_node",
    "script",
    "timed",
]

RUNS = 5
MAC = 240
BENCH_DISK = "/root/bench.qcow2"
PATHS = Paths.from_environment()

DEFINITION = """<domain type="qemu"><name>any</name><memory unit="MiB">16</memory>
<os><type arch="x86_64">hvm</type></os><devices/></domain>"""
# A firmware of nothing but HLT, which stops the processor for good: no boot of a guest is measured with it.
HALT_ROM = "/root/halt.rom"
HALTED = DEFINITION.replace("</os>", f'<loader readonly="yes" type="rom">{HALT_ROM}</loader></os>')


def lab() -> Lab:
    """Give the lab, and bring it up where there is none."""
    return Lab.load(PATHS) if PATHS.description.exists() else bring.up(PATHS, bring.Request(), print)


def script(name: str) -> str:
    """Give the text of a script in tests/bench/node."""
    return (Path(__file__).parent / "node" / name).read_text()


def on_node(lab: Lab, name: str, *arguments: str, node: str = "n1", timeout_s: float = 600) -> Any:
    """Run a script of tests/bench/node there, and give what it prints as JSON, if anything."""
    done = lab.execute(node, ["python3", "-c", script(name), *arguments], timeout_s=timeout_s)
    return json.loads(done.stdout) if done.stdout.strip() else None


def make_disk(lab: Lab, size: str, write: str) -> None:
    """Make the disk that VMs are created from, and write a part of it."""
    script = f"qemu-img create -q -f qcow2 {BENCH_DISK} {size}; qemu-io -c '{write}' {BENCH_DISK}"
    lab.execute("n1", ["sh", "-ec", script], timeout_s=180)


def create_disabled(lab: Lab, name: str, *options: str) -> float:
    """Create a VM that does not run; give the time in seconds."""
    lab.execute("n1", ["sh", "-c", "cat > /root/bench.xml"], stdin=DEFINITION)
    files = ["--xml", "/root/bench.xml", "--image", BENCH_DISK]
    return timed(lab, ["vm-mgr", "create", "--name", name, *files, "--disable", *options])


def timed(lab: Lab, argv: list[str]) -> float:
    """Run a command on n1; give the time in seconds."""
    started = time.monotonic()
    lab.execute("n1", argv, timeout_s=600)
    return time.monotonic() - started


class TinyVms:
    """Running VMs of one node, tiny0 and so on: little memory, and a processor that halts at once."""

    def __init__(self, lab: Lab, count: int, node: str, *, placed: str = "--pinned-host") -> None:
        self._lab = lab
        self._count = count
        self._node = node
        self._placed = placed

    def __enter__(self) -> None:
        self.__exit__()
        for node in self._lab.nodes:
            fill = f"head -c 65536 /dev/zero | tr '\\0' '\\364' >{HALT_ROM}"
            self._lab.execute(node.name, ["sh", "-ec", fill])
        self._run("make_tiny.sh", stdin=HALTED)

    def __exit__(self, *_: object) -> None:
        self._run("remove_tiny.sh")
        for node in self._lab.nodes:
            self._lab.execute(node.name, ["rm", "-f", HALT_ROM])

    def _run(self, name: str, stdin: str | None = None) -> None:
        argv = ["sh", "-ec", script(name), "sh", str(self._count), self._placed, self._node]
        self._lab.execute("n1", argv, stdin=stdin, timeout_s=3600)


class Guest:
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


class Removed:
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
