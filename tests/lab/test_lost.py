"""Commands that lose Ceph, their time or their node in the middle: the VM is as before, or as asked for."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until
from vm_mgr_lab.up import wait_ready

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

NODE, WITNESS = "n3", "n1"
FOLDER = "/root/lost"
DEFINITION = """<domain type="qemu"><name>any</name><memory unit="MiB">32</memory>
<os><type arch="x86_64">hvm</type></os><devices><memballoon model="none"/></devices></domain>"""

Answer = subprocess.CompletedProcess[str]
Commands = dict[str, "Future[Answer]"]


def on(lab: Lab, node: str, line: str, *, code: int | None = 0) -> Answer:
    done = lab.execute(node, ["sh", "-c", line], check=False, timeout_s=240)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(autouse=True)
def files(lab: Lab) -> Iterator[None]:
    image = f"{FOLDER}/image.qcow2"
    lab.execute(NODE, ["sh", "-ec", f"mkdir -p {FOLDER}; cat > {FOLDER}/any.xml"], stdin=DEFINITION)
    on(lab, NODE, f"qemu-img create -q -f qcow2 {image} 128M && qemu-io -c 'write -P 7 0 128M' {image}")
    yield
    lab.heal()
    lab.power_on(NODE)
    wait_ready(lab, print)
    for row in rows(lab):  # of a failed test
        on(lab, WITNESS, f"vm-mgr remove {row['name']}")
    on(lab, NODE, f"rm -rf {FOLDER}")


def processes(lab: Lab, *words: str) -> list[int]:
    """Find the processes of the node that have these words in their command line."""
    found = []
    for pid in lab.processes(NODE):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            if all(word in line for word in words):
                found.append(pid)
    return found


def caught_in_the_copy(lab: Lab, vm: str) -> int:
    """Stop qemu-img as soon as it copies the VM's image."""
    found: list[int] = []

    def look() -> bool:
        found[:] = processes(lab, "qemu-img", "convert", vm)
        return bool(found)

    wait_until(look, what=f"the copy of {vm}", timeout_s=180, interval_s=0.01)
    os.kill(found[0], signal.SIGSTOP)
    return found[0]


def begin(lab: Lab, pool: ThreadPoolExecutor, vms: dict[str, str]) -> tuple[Commands, dict[str, int]]:
    """Begin to create VMs, and hold the copies; give the commands and the copies' process ids."""
    create = f"vm-mgr create --xml {FOLDER}/any.xml --image {FOLDER}/image.qcow2 --disable"
    commands, copies = {}, {}
    for vm, storage in vms.items():
        commands[vm] = pool.submit(on, lab, NODE, f"{create} --storage {storage} {vm}", code=None)
        copies[vm] = caught_in_the_copy(lab, vm)
    return commands, copies


def rows(lab: Lab) -> list[dict[str, str]]:
    return list(json.loads(on(lab, WITNESS, "vm-mgr list -o json").stdout))


def left_of(lab: Lab, vms: dict[str, str]) -> list[str]:
    """Name what is there of the VMs: in the listing, in Ceph, in the directory, among the marks."""
    listed = [f"listed {row['name']}: {row['state']}" for row in rows(lab)]
    images = [f"image {name}" for name in on(lab, WITNESS, "rbd ls rbd; rbd group ls rbd").stdout.split()]
    keys = on(lab, WITNESS, "rados -p rbd listomapkeys vm-mgr.ledger").stdout.split()
    marks = [f"mark {name}" for name in keys]
    folders = [f"folder {path.name}" for path in lab.paths.shared.iterdir()]
    return [one for one in (*listed, *images, *marks, *folders) if any(vm in one for vm in vms)]


def test_commands_that_lose_ceph_or_stand_still(lab: Lab) -> None:
    vms = {"lostone": "ceph", "losttwo": "vms", "stoodone": "ceph", "stoodtwo": "vms"}
    with ThreadPoolExecutor() as pool:
        commands, copies = begin(lab, pool, vms)
        standing = [pid for vm in ("stoodone", "stoodtwo") for pid in processes(lab, "python3", "create", vm)]
        assert len(standing) >= 2
        try:
            for pid in standing:
                os.kill(pid, signal.SIGSTOP)
            lab.cut_network(NODE, ["cluster"])
            for vm in ("lostone", "losttwo"):
                os.kill(copies[vm], signal.SIGCONT)
            for vm in ("lostone", "losttwo"):
                done = commands[vm].result()
                assert done.returncode in (7, 11), done.stdout + done.stderr
                assert "Traceback" not in done.stderr
                assert "vm-mgr repair" in done.stderr
            repaired = on(lab, WITNESS, "vm-mgr repair")
            assert all(vm in repaired.stdout + repaired.stderr for vm in vms)
            complete = [one for one in rows(lab) if one["name"] in vms]
            assert all(one["state"] == "Disabled" and not one["detail"] for one in complete), complete
            for one in complete:
                on(lab, WITNESS, f"vm-mgr remove {one['name']}")
            assert left_of(lab, vms) == []
            lab.heal()
        finally:
            for pid in (*standing, *copies.values()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for vm in ("stoodone", "stoodtwo"):
            done = commands[vm].result()
            assert done.returncode in (7, 11), done.stdout + done.stderr
            assert "Traceback" not in done.stderr
    assert left_of(lab, vms) == []


def test_node_that_dies_under_its_commands(lab: Lab) -> None:
    vms = {"diesone": "ceph", "diestwo": "vms"}
    with ThreadPoolExecutor() as pool:
        commands, _ = begin(lab, pool, vms)
        lab.cut_power(NODE)
        assert all(command.result().returncode != 0 for command in commands.values())
    assert len([one for one in left_of(lab, vms) if one.startswith("mark")]) == 2
    on(lab, WITNESS, "vm-mgr repair")
    assert left_of(lab, vms) == []
