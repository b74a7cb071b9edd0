"""Nobody runs a VM twice, by whatever hand; and what happens when its storage is full."""

import contextlib
import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vm_mgr_lab import demo
from vm_mgr_lab.history import consoles, qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

# The name of the VM in each storage; OWN is where the cluster runs it.
VMS = {"ceph": "safe1", "vms": "safe2"}
OWN, OTHER, THIRD = "n2", "n3", "n1"
OTHER_NAME = "safe-other"
FOLDER = "/tmp/safe"
MAC = {"migrating": 240, "io": 241}

DEFINITION = """<domain type="qemu"><name>any</name><memory unit="MiB">32</memory>
<os><type arch="x86_64">hvm</type></os><devices><memballoon model="none"/></devices></domain>"""
AGENT = "/usr/lib/ocf/resource.d/vm-mgr/VirtualDomain"

Answer = subprocess.CompletedProcess[str]


def on(lab: Lab, node: str, line: str, *, code: int | None = 0) -> Answer:
    done = lab.execute(node, ["sh", "-ec" if code is not None else "-c", line], check=False, timeout_s=150)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


def put(lab: Lab, node: str, path: str, text: str) -> None:
    lab.execute(node, ["sh", "-ec", f"mkdir -p {FOLDER}; cat > {path}"], stdin=text)


def pid(lab: Lab, vm: str, node: str = OWN) -> str:
    return on(lab, node, f"cat /run/libvirt/qemu/{vm}.pid").stdout.strip()


def agent(lab: Lab, node: str, vm: str, storage: str) -> Answer:
    """Call the agent as Pacemaker would, with 20 s to do it in."""
    given = f"OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE={vm} OCF_RESKEY_storage={storage}"
    return on(lab, node, f"{given} OCF_RESKEY_CRM_meta_timeout=20000 {AGENT} start", code=None)


def agents(lab: Lab, node: str) -> dict[str, Answer]:
    """Call it for the VMs of both storages at once; each answers within its time."""
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        calls = {storage: pool.submit(agent, lab, node, vm, storage) for storage, vm in VMS.items()}
    assert time.monotonic() - began < 20, "the agent outlived its timeout"
    return {storage: call.result() for storage, call in calls.items()}


def crm_mon(lab: Lab) -> str:
    return on(lab, THIRD, "crm_mon -1rf").stdout


def under_another_name(xml: str) -> str:
    """Give the definition another name and UUID, and the same disk."""
    xml = re.sub("<name>.*?</name>", f"<name>{OTHER_NAME}</name>", xml, count=1)
    return re.sub("<uuid>.*?</uuid>", "<uuid>5afe5afe-0000-4000-8000-00005afe0000</uuid>", xml, count=1)


@pytest.fixture(scope="module")
def vms(lab: Lab) -> Iterator[dict[str, str]]:
    """Give the definitions of a running VM in each storage, in files on all nodes as well."""
    put(lab, THIRD, f"{FOLDER}/any.xml", DEFINITION)
    on(lab, THIRD, f"qemu-img create -q -f qcow2 {FOLDER}/any.qcow2 8M")
    create = f"vm-mgr create --xml {FOLDER}/any.xml --image {FOLDER}/any.qcow2 --enable-live-migration"
    xml = {}
    try:
        for storage, vm in VMS.items():
            options = f"--preferred-host {OWN} --pacemaker-params force_stop=1 --storage {storage}"
            on(lab, THIRD, f"{create} {options} {vm}")
            xml[storage] = on(lab, OWN, f"virsh dumpxml --inactive --security-info {vm}").stdout
            for node in lab.nodes:
                put(lab, node.name, f"{FOLDER}/{vm}.xml", xml[storage])
                put(lab, node.name, f"{FOLDER}/{vm}-other.xml", under_another_name(xml[storage]))
        yield xml
    finally:
        for vm in VMS.values():
            on(lab, THIRD, f"vm-mgr disable {vm}", code=None)
            for node in lab.nodes:  # what a failed test has started by hand
                on(lab, node.name, f"virsh destroy {vm}; virsh undefine {vm}", code=None)
            on(lab, THIRD, f"vm-mgr remove {vm}", code=None)
        for node in lab.nodes:
            on(lab, node.name, f"rm -rf {FOLDER}")
        assert not any(vm in on(lab, THIRD, "vm-mgr list").stdout for vm in VMS.values())


@contextlib.contextmanager
def unharmed(lab: Lab, vm: str) -> Iterator[None]:
    """Check that the VM's only QEMU is the one that it was, and that nothing is left of the try."""
    before = pid(lab, vm)
    yield
    assert qemu_nodes(lab, vm) == (OWN,)
    assert qemu_nodes(lab, OTHER_NAME) == ()
    assert pid(lab, vm) == before
    for node in lab.nodes:
        names = on(lab, node.name, "virsh list --all --name").stdout.split()
        assert OTHER_NAME not in names
        assert (vm in names) == (node.name == OWN)


def try_libvirt(lab: Lab, vm: str) -> None:
    """Try every way that libvirt has, on the VM's node and on another one."""
    same, other = f"{FOLDER}/{vm}.xml", f"{FOLDER}/{vm}-other.xml"
    defined = f"virsh define {other}; virsh start {OTHER_NAME} && exit 77; virsh undefine {OTHER_NAME}"
    for node in (OWN, OTHER):
        for file in (same, other):
            with unharmed(lab, vm):
                refused = on(lab, node, f"virsh create {file}", code=1).stderr
                assert "already active" in refused or "in use on n2" in refused or "lock" in refused, refused
        with unharmed(lab, vm):
            on(lab, node, defined)
    with unharmed(lab, vm):
        defined = f"virsh define {same}; virsh start {vm} && exit 77; virsh undefine {vm}"
        on(lab, OTHER, defined)


@pytest.mark.parametrize("storage", VMS)
def test_running_vm_is_not_started_by_libvirt(lab: Lab, vms: dict[str, str], storage: str) -> None:
    try_libvirt(lab, VMS[storage])


@pytest.mark.parametrize("node", [OWN, OTHER])
def test_system_disk_is_not_shared_by_saying_so(lab: Lab, vms: dict[str, str], node: str) -> None:
    with unharmed(lab, VMS["ceph"]):
        xml = under_another_name(vms["ceph"]).replace("<source protocol", "<shareable/><source protocol")
        put(lab, node, f"{FOLDER}/shareable.xml", xml)
        started = on(lab, node, f"virsh create {FOLDER}/shareable.xml", code=None)
        on(lab, node, f"virsh destroy {OTHER_NAME}", code=None)
        assert started.returncode == 1
        assert "in use on n2" in started.stderr


def test_paused_vm_is_started_neither_by_libvirt_nor_by_the_agent(lab: Lab, vms: dict[str, str]) -> None:
    """libvirt's lock manager gives a paused domain's leases back: QEMU's own locks remain, and the hook."""
    try:
        for vm in VMS.values():
            on(lab, THIRD, f"vm-mgr pause {vm}")
        for vm in VMS.values():
            try_libvirt(lab, vm)
        with unharmed(lab, VMS["ceph"]), unharmed(lab, VMS["vms"]):
            for refused in agents(lab, OTHER).values():
                assert refused.returncode == 1
                assert "in use on n2" in refused.stderr, refused.stderr
            for began in agents(lab, OWN).values():
                assert began.returncode == 0, began.stderr  # it runs here: nothing is to be done
    finally:
        for vm in VMS.values():
            on(lab, THIRD, f"vm-mgr resume {vm}")


@pytest.mark.parametrize("node", [OWN, OTHER])
def test_qemu_by_hand(lab: Lab, vms: dict[str, str], node: str) -> None:
    """A file is refused by QEMU's locks. An RBD image is not: what docs/explanation/second-start.md says."""
    qemu = "timeout 20 qemu-system-x86_64 -accel tcg -m 32 -display none -nodefaults -S -monitor stdio"
    with unharmed(lab, VMS["vms"]):
        drive = f"file=/srv/vms/{VMS['vms']}/system.qcow2,format=qcow2,if=virtio"
        assert "write" in on(lab, node, f"echo quit | {qemu} -drive {drive}", code=1).stderr
    with unharmed(lab, VMS["ceph"]):
        image = f"rbd/system_{VMS['ceph']}"
        drive = f"file=rbd:{image}:id=libvirt,format=raw,if=virtio"
        orders = f"(sleep 2; rbd status {image} >&2; echo quit) | {qemu} -drive {drive}"
        watchers = on(lab, node, orders).stderr
        assert watchers.count("watcher=") == 2, "Ceph refuses a second QEMU by now: say so in the docs"


def test_vm_started_by_hand_is_held_where_it_is(lab: Lab, vms: dict[str, str]) -> None:
    """The VM is Disabled: the agent elsewhere names its node, and `enable` takes over the one that runs."""
    try:
        for storage, vm in VMS.items():
            on(lab, THIRD, f"vm-mgr disable {vm}")
            on(lab, OWN, f"virsh create {FOLDER}/{vm}.xml")
            assert pid(lab, vm), storage
        with unharmed(lab, VMS["ceph"]), unharmed(lab, VMS["vms"]):
            for refused in agents(lab, OTHER).values():
                assert refused.returncode == 1
                assert "in use on n2" in refused.stderr, refused.stderr
            for vm in VMS.values():
                on(lab, THIRD, f"vm-mgr enable {vm}")
                assert json.loads(on(lab, THIRD, f"vm-mgr status {vm} -o json").stdout)["node"] == OWN
    finally:
        for vm in VMS.values():
            on(lab, THIRD, f"vm-mgr enable {vm}", code=None)


@pytest.mark.parametrize("storage", VMS)
def test_vm_that_libvirt_starts_by_itself_is_refused(lab: Lab, vms: dict[str, str], storage: str) -> None:
    vm = VMS[storage]
    on(lab, THIRD, f"vm-mgr stop {vm}")
    try:
        on(lab, OTHER, f"virsh define {FOLDER}/{vm}.xml; virsh autostart {vm}")
        refused = agent(lab, OTHER, vm, storage)
        assert refused.returncode == 1
        # All of it is in the journal; the reason on stderr is cut to what Pacemaker keeps.
        told = on(lab, OTHER, "journalctl -t vm-mgr-agent -n 5 -o cat").stdout
        assert f"virsh autostart --disable {vm}" in told
        assert qemu_nodes(lab, vm) == ()
    finally:
        on(lab, OTHER, f"virsh undefine {vm}", code=None)
        on(lab, THIRD, f"vm-mgr start {vm}")


def test_qemu_that_died_is_followed_on_another_node_at_once(lab: Lab, vms: dict[str, str]) -> None:
    """The stop on its node shuts its client out; another node would wait for Ceph to give it up."""
    vm = VMS["ceph"]
    threshold = f"crm_resource -r {vm} --meta -p migration-threshold"
    on(lab, THIRD, f"{threshold} -v 1")
    try:
        on(lab, OWN, f"kill -9 {pid(lab, vm)}")
        wait_until(lambda: qemu_nodes(lab, vm), what="the next QEMU", timeout_s=180)
        assert OWN not in qemu_nodes(lab, vm)
        status = f"vm-mgr status {vm}"
        wait_until(lambda: "Started" in on(lab, THIRD, status).stdout, what="it to be Started", timeout_s=180)
        told = json.loads(on(lab, THIRD, f"vm-mgr events {vm} --since 2m --output json").stdout)["events"]
        running = [event for event in told if event["event"] == "running"][-1]
        assert running["node"] != OWN
        assert running["waited_ms"]["disk"] < 5000
    finally:
        on(lab, THIRD, f"{threshold} -d; crm_resource -r {vm} -C; vm-mgr migrate {vm} {OWN}", code=None)
    assert qemu_nodes(lab, vm) == (OWN,)


def test_lock_of_a_client_that_died_does_not_keep_a_vm_down(lab: Lab, vms: dict[str, str]) -> None:
    """Ceph ends the watch of a client that died, but not its lock; nobody fences its node for that."""
    vm = VMS["ceph"]
    image = f"rbd/system_{vm}"
    on(lab, THIRD, f"vm-mgr stop {vm}")
    write = f"rbd --id vm-mgr bench --io-type write --io-threads 1 --io-total 1T {image}"
    on(lab, OTHER, f"{write} >/dev/null 2>&1 & sleep 3; kill -9 $!")
    assert "auto " in on(lab, THIRD, f"rbd --id vm-mgr lock ls {image}").stdout
    on(lab, THIRD, f"vm-mgr start {vm}")
    assert qemu_nodes(lab, vm) == (OWN,)


def test_moving_vm_is_not_started_on_the_third_node(lab: Lab) -> None:
    vm = "safe3"
    params = ("--pacemaker-params", "migration_speed=8", "--preferred-host", OWN)
    try:
        demo.create_guest(
            lab, vm, print, mac_byte=MAC["migrating"], options=("--enable-live-migration", *params)
        )
        xml = on(lab, OWN, f"virsh dumpxml --inactive --security-info {vm}").stdout
        put(lab, THIRD, f"{FOLDER}/{vm}.xml", xml)
        put(lab, THIRD, f"{FOLDER}/{vm}-other.xml", under_another_name(xml))
        with ThreadPoolExecutor() as pool:
            moved = pool.submit(on, lab, OTHER, f"vm-mgr migrate {vm} {OTHER}")
            wait_until(lambda: set(qemu_nodes(lab, vm)) == {OWN, OTHER}, what="the move", timeout_s=180)
            for file in (f"{vm}.xml", f"{vm}-other.xml"):
                refused = on(lab, THIRD, f"virsh create {FOLDER}/{file}", code=1).stderr
                assert "in use on" in refused, refused
            assert not moved.done(), "the move was over before the tries were"
            assert set(qemu_nodes(lab, vm)) == {OWN, OTHER}
            moved.result()
        assert qemu_nodes(lab, vm) == (OTHER,)
        assert qemu_nodes(lab, OTHER_NAME) == ()
    finally:
        on(lab, THIRD, f"vm-mgr stop --force {vm}", code=None)
        demo.remove_guest(lab, vm, node=THIRD)
        on(lab, THIRD, f"rm -rf {FOLDER}/{vm}* /root/guest-{MAC['migrating']}.*")


@contextlib.contextmanager
def full_storage(lab: Lab, vm: str) -> Iterator[str]:
    """Lay a full file system over the VM's folder on one node; gives the shell line that makes it larger."""
    place = f"/srv/vms/{vm}"
    on(
        lab,
        OWN,
        f"mkdir -p {FOLDER}/io; mount -t tmpfs -o size=200m none {FOLDER}/io; cp -a {place}/. {FOLDER}/io; "
        f"size=$(du -sk {FOLDER}/io | cut -f1); mount -o remount,size=$((size + 4))k {FOLDER}/io; "
        f"mount --bind {FOLDER}/io {place}; umount {FOLDER}/io",
    )
    try:
        yield f"mount -o remount,size=200m {place}"
    finally:
        on(lab, THIRD, f"vm-mgr stop --force {vm}; vm-mgr disable {vm}", code=None)
        on(
            lab,
            OWN,
            f"umount {place} || umount -l {place}; rmdir {FOLDER}/io {FOLDER} 2>/dev/null",
            code=None,
        )
        assert place not in on(lab, OWN, "cat /proc/self/mounts").stdout


def status(lab: Lab, vm: str) -> str:
    return on(lab, THIRD, f"vm-mgr status {vm}").stdout


def stalled(lab: Lab, vm: str) -> bool:
    return "I/O error" in on(lab, OWN, f"virsh domstate --reason {vm}", code=None).stdout


def test_full_storage_pauses_the_guest_until_there_is_room(lab: Lab) -> None:
    """The guest stands still for as long as it takes: it never fails for that."""
    vm = "safeio"
    disk, xml = demo.guest_files(lab, THIRD, print, mac_byte=MAC["io"])
    options = f"--disable --storage vms --pinned-host {OWN} --pacemaker-params force_stop=1"
    for node in lab.nodes:
        on(lab, node.name, f"rm -f /var/log/libvirt/qemu/guest-{MAC['io']}.console.log*")
    on(lab, THIRD, f"vm-mgr create {vm} --xml {xml} --image {disk} {options}")

    def written() -> int:
        return len(consoles(lab, MAC["io"])[OWN])

    try:
        with full_storage(lab, vm) as enlarge:
            on(lab, THIRD, f"vm-mgr enable {vm}")
            wait_until(lambda: stalled(lab, vm), what="the full storage to be felt", timeout_s=180)
            first = pid(lab, vm)
            at = written()
            assert f"{vm}: " not in crm_mon(lab).partition("Migration Summary")[2]
            on(lab, OWN, enlarge)
            wait_until(lambda: written() > at, what="the guest to write on", timeout_s=25)
            assert pid(lab, vm) == first
            assert qemu_nodes(lab, vm) == (OWN,)
        on(lab, THIRD, f"vm-mgr set {vm} --pacemaker-params io_error_timeout=5")
        with full_storage(lab, vm) as enlarge:
            on(lab, THIRD, f"vm-mgr enable {vm}")
            told = "its storage is full since"
            wait_until(lambda: told in status(lab, vm), what="the full storage to be told", timeout_s=180)
            first = pid(lab, vm)
            since = f"$(($(cut -d. -f1 /proc/uptime) - $(cat /run/vm-mgr/io-error..{vm})))"
            wait_until(
                lambda: int(on(lab, OWN, f"echo {since}").stdout) > 20,
                what="its patience to end",
                timeout_s=180,
            )
            assert f"{vm}: " not in crm_mon(lab).partition("Migration Summary")[2]
            assert (pid(lab, vm), qemu_nodes(lab, vm)) == (first, (OWN,))
            assert "full" in on(lab, THIRD, f"vm-mgr events {vm}").stdout
            on(lab, OWN, enlarge)
    finally:
        on(lab, THIRD, f"vm-mgr remove {vm}; rm -f {shlex.quote(disk)} {shlex.quote(xml)}", code=None)


def test_creation_in_a_full_storage_leaves_nothing(lab: Lab) -> None:
    config = f"{FOLDER}/vm-mgr.toml"
    python = (
        "from pathlib import Path; from vm_mgr.adapters.shared_dir.mount import Mount; "
        f"Mount(Path('{FOLDER}/small')).initialise()"
    )
    try:
        on(lab, THIRD, f"mkdir -p {FOLDER}/small; mount -t tmpfs -o size=20m none {FOLDER}/small")
        on(lab, THIRD, f'PYTHONPATH=/usr/lib/vm-mgr/current python3 -c "{python}"')
        usual = on(lab, THIRD, "cat /etc/vm-mgr/vm-mgr.toml").stdout
        put(lab, THIRD, config, f'{usual}\n[shared_dir.small]\npath = "{FOLDER}/small"\n')
        put(lab, THIRD, f"{FOLDER}/any.xml", DEFINITION)
        on(lab, THIRD, f"qemu-img create -q -f qcow2 {FOLDER}/big.qcow2 64M")
        on(lab, THIRD, f"qemu-io -c 'write -P 7 0 40M' {FOLDER}/big.qcow2")
        create = f"vm-mgr create safe4 --xml {FOLDER}/any.xml --image {FOLDER}/big.qcow2 --disable"
        done = on(lab, THIRD, f"VM_MGR_CONFIG={config} {create} --storage small", code=None)
        assert done.returncode in (6, 11), done.stdout + done.stderr
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr
        left = on(lab, THIRD, f"ls -A {FOLDER}/small; ls {FOLDER}/small/.vm-mgr/marks").stdout.split()
        assert left == [".vm-mgr"]
        assert "safe4" not in on(lab, THIRD, f"VM_MGR_CONFIG={config} vm-mgr list").stdout
    finally:
        on(lab, THIRD, f"umount {FOLDER}/small; rm -f {FOLDER}/big.qcow2 {FOLDER}/vm-mgr.toml", code=None)
        on(lab, THIRD, f"rmdir {FOLDER}/small", code=None)
