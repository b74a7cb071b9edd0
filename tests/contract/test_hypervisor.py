"""What every hypervisor does, and that processes agree with it."""

import shutil
import time
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.live_migration import Migration
from vm_mgr.ports.own_clients import Opened

NAME = "contract1"
# A machine without disks stays in its firmware.
DOMAIN = """<domain type="qemu"><name>contract1</name><memory unit="MiB">32</memory>
<os><type arch="x86_64">hvm</type></os><features><acpi/></features>
<devices><memballoon model="none"/></devices></domain>"""


def wait_gone(env):
    for _ in range(50):
        if env.processes.find_vm(NAME) is None:
            return True
        env.clock.sleep(0.1)
    return False


def test_domain_runs_until_it_is_destroyed(env):
    assert env.processes.find_vm(NAME) is None
    assert env.hypervisor.domain_state(NAME, timeout_s=5) == "absent"
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    assert env.processes.find_vm(NAME) is not None
    assert env.hypervisor.domain_state(NAME, timeout_s=5) == "running"
    env.hypervisor.abort_job(NAME)
    env.hypervisor.destroy(NAME, timeout_s=10)
    assert wait_gone(env)
    assert env.hypervisor.domain_state(NAME, timeout_s=5) == "absent"


def test_second_start_is_refused(env):
    with_uuid = DOMAIN.replace("<memory", "<uuid>0dd5afe0-0000-4000-8000-0000000000c1</uuid><memory", 1)
    env.hypervisor.create(with_uuid, NAME, timeout_s=30)
    with pytest.raises(VmMgrError) as caught:
        env.hypervisor.create(with_uuid, NAME, timeout_s=30)
    assert caught.value.kind is Kind.TRY_LATER


def test_killed_process_is_gone(env):
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    env.processes.end(env.processes.find_vm(NAME), force=True)
    assert wait_gone(env)


def test_absent_domain_cannot_be_destroyed(env):
    with pytest.raises(VmMgrError):
        env.hypervisor.destroy(NAME, timeout_s=5)


def test_guest_without_an_agent_does_not_answer(env):
    assert not env.hypervisor.agent_answers(NAME)
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    assert not env.hypervisor.agent_answers(NAME)


def test_process_of_a_domain_has_ended_once_it_is_destroyed(env):
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    pid = env.processes.find_vm(NAME)
    birth = env.processes.birth(pid)
    assert not env.processes.has_ended(pid, birth)
    assert env.processes.has_ended(pid, f"{birth}0")
    assert not env.processes.has_memory(pid, 0x10)
    env.hypervisor.destroy(NAME, timeout_s=10)
    deadline = time.monotonic() + 5
    while not env.processes.has_ended(pid, birth):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not env.processes.has_memory(pid, 0x10)


def test_note_of_storage_clients_is_kept_until_it_is_forgotten(env):
    opened = Opened(7, "5", frozenset({"198.51.100.11:0/7", "[fd00::1]:0/8"}))
    env.own_clients.forget(NAME)
    assert env.own_clients.kept(NAME) is None
    env.own_clients.keep(NAME, Opened(6, "4"))
    env.own_clients.keep(NAME, opened)
    assert env.own_clients.kept(NAME) == opened
    assert env.own_clients.kept("contract10") is None
    env.own_clients.forget(NAME)
    env.own_clients.forget(NAME)
    assert env.own_clients.kept(NAME) is None


def test_unknown_text_is_mentioned_nowhere(env):
    assert env.processes.mentions("no-such-text-anywhere") == []


DISK = """<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{path}"/>
<target dev="vdq" bus="virtio"/></disk>"""


def test_disk_is_plugged_into_a_running_domain(env, image):
    with NamedTemporaryFile(suffix=".qcow2") as disk:  # where QEMU's user may look, unlike pytest's folders
        shutil.copyfile(image, disk.name)
        env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
        assert env.hypervisor.disk_sources(NAME) == []
        env.hypervisor.attach(NAME, DISK.format(path=disk.name))
        assert env.hypervisor.disk_sources(NAME) == [disk.name]
        env.hypervisor.destroy(NAME, timeout_s=10)


def test_domain_stands_until_it_is_let_go_on(env, hypervisor):
    assert hypervisor.domain_state(NAME, timeout_s=5) == "absent"
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    assert hypervisor.domain_state(NAME, timeout_s=5) == "running"
    assert hypervisor.paused(NAME, timeout_s=5) == ""
    hypervisor.pause(NAME)
    hypervisor.pause(NAME)
    assert hypervisor.domain_state(NAME, timeout_s=5) == "paused"
    assert hypervisor.paused(NAME, timeout_s=5) == "user"
    assert not hypervisor.freeze(NAME)
    assert not hypervisor.thaw(NAME)
    hypervisor.resume(NAME)
    hypervisor.resume(NAME)
    assert hypervisor.paused(NAME, timeout_s=5) == ""


def test_guest_that_waits_for_no_source_is_not_let_go_on(env, hypervisor):
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    hypervisor.let_go(NAME, timeout_s=10)
    hypervisor.pause(NAME)
    hypervisor.let_go(NAME, timeout_s=10, ident="1f")
    assert hypervisor.paused(NAME, timeout_s=5) == "user"
    hypervisor.take_back(NAME)
    assert hypervisor.paused(NAME, timeout_s=5) == ""


def test_absent_domain_is_not_paused(hypervisor):
    with pytest.raises(VmMgrError):
        hypervisor.paused(NAME, timeout_s=5)
    with pytest.raises(VmMgrError):
        hypervisor.pause(NAME)
    with pytest.raises(VmMgrError):
        hypervisor.resume(NAME)


def test_running_domain_is_looked_at_before_it_moves(env, hypervisor):
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    xml = hypervisor.running_definition(NAME)
    assert f"<name>{NAME}</name>" in xml
    assert hypervisor.migration_problems(xml) == []
    assert hypervisor.migration_progress(NAME) is None
    assert not hypervisor.receives(NAME)
    hypervisor.abort_job(NAME)
    assert hypervisor.dirty_rate(NAME) >= 0


def test_absent_domain_can_not_move(env, hypervisor):
    with pytest.raises(VmMgrError):
        hypervisor.running_definition(NAME)
    assert hypervisor.migration_progress(NAME) is None
    assert hypervisor.dirty_rate(NAME) is None


def test_migration_to_nowhere_leaves_the_domain_running_here(env):
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    pid = env.processes.find_vm(NAME)
    with pytest.raises(VmMgrError):
        env.hypervisor.migrate(Migration(NAME, "qemu+tcp://127.0.0.1:1/system", "tcp://127.0.0.1", 20.0))
    assert env.processes.find_vm(NAME) == pid
    assert env.hypervisor.paused(NAME, timeout_s=5) == ""


@pytest.fixture
def memory():
    """Name a file that is not there, where libvirt may write."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        yield f"{folder}/memory"


def test_saved_guest_stands_and_can_go_on(env, memory):
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    pid = env.processes.find_vm(NAME)
    env.hypervisor.pause(NAME)
    env.hypervisor.save_memory(NAME, memory, timeout_s=60)
    assert Path(memory).stat().st_size > 0
    assert env.hypervisor.paused(NAME, timeout_s=5) == "user"
    env.hypervisor.resume(NAME)
    assert env.hypervisor.domain_state(NAME, timeout_s=5) == "running"
    assert env.processes.find_vm(NAME) == pid


def test_restored_guest_stands_until_it_is_let_go_on(env, memory):
    env.hypervisor.create(DOMAIN, NAME, timeout_s=30)
    env.hypervisor.pause(NAME)
    env.hypervisor.save_memory(NAME, memory, timeout_s=60)
    uuid = env.processes.uuid(env.processes.find_vm(NAME))
    env.hypervisor.destroy(NAME, timeout_s=10)
    assert wait_gone(env)
    env.hypervisor.restore(memory, NAME, timeout_s=60)
    assert env.hypervisor.paused(NAME, timeout_s=5) != ""
    assert env.processes.uuid(env.processes.find_vm(NAME)) == uuid
    env.hypervisor.resume(NAME)
    assert env.hypervisor.domain_state(NAME, timeout_s=5) == "running"
    with pytest.raises(VmMgrError):
        env.hypervisor.restore(memory, NAME, timeout_s=60)


def test_what_is_no_memory_starts_nothing(env, memory):
    Path(memory).write_text("nothing of the kind")
    with pytest.raises(VmMgrError):
        env.hypervisor.restore(memory, NAME, timeout_s=30)
    assert env.processes.find_vm(NAME) is None


def test_absent_guest_has_no_memory(env, memory):
    with pytest.raises(VmMgrError):
        env.hypervisor.save_memory(NAME, memory, timeout_s=10)
    assert not Path(memory).exists()
