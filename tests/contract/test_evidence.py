"""What is found beyond a VM's process, and how the process itself is told from others."""

import pytest

from vm_mgr.errors import VmMgrError

from .test_hypervisor import DOMAIN, NAME, wait_gone

UUID = "c0c0c0c0-0000-4000-8000-00000000c0c0"
OTHER = "c0c0c0c0-0000-4000-8000-00000000c0c1"


@pytest.fixture
def pid(env):
    env.hypervisor.create(DOMAIN.replace("<memory", f"<uuid>{UUID}</uuid><memory", 1), NAME, timeout_s=30)
    return env.processes.find_vm(NAME)


def test_process_is_told_by_uuid_and_birth(env, pid):
    assert env.processes.uuid(pid) == UUID
    assert env.processes.find_vm(NAME, uuid=UUID) == pid
    assert env.processes.find_vm(NAME, uuid=OTHER) is None
    assert env.processes.birth(pid)
    assert env.processes.birth(pid) == env.processes.birth(pid)
    assert not env.processes.is_halted(pid)
    assert env.processes.vcpu_time_ns(pid) is not None


def test_machine_that_runs_answers(env, pid):
    assert env.evidence.state(NAME, pid).startswith("running (")
    assert env.evidence.control(NAME).word == "ok"
    assert env.evidence.qemu_status(NAME) == "running"
    assert env.evidence.agent_answers(NAME) is None
    assert env.evidence.disk_requests(NAME) == 0


def test_pause_is_told_with_its_reason(env, pid):
    env.hypervisor.pause(NAME)
    assert env.evidence.state(NAME, pid) == "paused (user)"
    assert env.evidence.qemu_status(NAME) == "paused"
    env.hypervisor.resume(NAME)
    assert env.evidence.state(NAME, pid) == "running (unpaused)"


def test_nothing_is_said_of_another_process_nor_of_an_absent_machine(env, pid):
    assert env.evidence.state(NAME, pid + 1) == ""
    env.hypervisor.destroy(NAME, timeout_s=10)
    assert wait_gone(env)
    assert env.evidence.state(NAME, pid) == ""
    assert env.processes.birth(pid) == ""
    for ask in (env.evidence.control, env.evidence.qemu_status, env.evidence.disk_requests):
        with pytest.raises(VmMgrError):
            ask(NAME)
    with pytest.raises(VmMgrError):
        env.evidence.agent_answers(NAME)
