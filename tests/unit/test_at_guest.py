"""What is asked of a running guest that stops or moves at that moment."""

import pytest

from vm_mgr.adapters.libvirt.virsh import check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.remove_disk import remove_disk
from vm_mgr.operations.resize_disk import resize_disk
from vm_mgr.ports.runner import Completed

VM = "web1"
XML = """<domain type='qemu'><name>x</name><memory unit='GiB'>1</memory><vcpu>2</vcpu>
<os><type>hvm</type></os><devices/></domain>"""
MIB = 1 << 20
# What is asked, and the verb of libvirt's that it comes to.
ASKED = {
    "resize": (lambda env: resize_disk(env, VM, 64 * MIB), "grow"),
    "add": (lambda env: add_disk(env, VM, NewDisk(size_bytes=8 * MIB)), "attach"),
    "remove": (lambda env: remove_disk(env, VM, 1), "detach"),
}


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest(VM, XML, (image,)))
    add_disk(env, VM, NewDisk(size_bytes=8 * MIB))
    return VM


def fail_once(env, monkeypatch, verb, then):
    """Have libvirt fail as it does for a domain that is no more; then is what has become of it."""
    really, failed = getattr(env.hypervisor, verb), []

    def act(*arguments, **named):
        if failed:
            return really(*arguments, **named)
        failed.append(True)
        then()
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "libvirt: failed to get domain 'web1'")

    monkeypatch.setattr(env.hypervisor, verb, act)
    return failed


@pytest.mark.usefixtures("vm")
@pytest.mark.parametrize(("ask", "verb"), ASKED.values(), ids=ASKED)
class TestGuest:
    """Each of the commands that ask it for something."""

    def test_that_stops_meanwhile_is_asked_for_nothing(self, env, monkeypatch, ask, verb):
        def stop():
            env.hypervisor.running.clear()
            env.cluster.places.pop(VM)

        failed = fail_once(env, monkeypatch, verb, stop)
        ask(env)
        assert failed
        assert not env.intent_log.intents()

    def test_of_whose_stop_the_cluster_hears_later_is_asked_for_nothing(self, env, monkeypatch, ask, verb):
        really = env.clock.sleep

        def sleep(seconds):
            env.cluster.places.pop(VM, None)
            really(seconds)

        def stop():
            env.hypervisor.running.clear()
            monkeypatch.setattr(env.clock, "sleep", sleep)

        failed = fail_once(env, monkeypatch, verb, stop)
        ask(env)
        assert failed

    def test_that_runs_on_and_refuses_is_an_error(self, env, monkeypatch, ask, verb):
        fail_once(env, monkeypatch, verb, lambda: None)
        with pytest.raises(VmMgrError, match="failed to get domain"):
            ask(env)


@pytest.mark.parametrize(
    ("stderr", "hint"),
    [
        (
            "error: Failed to attach device\nerror: internal error: No more available PCI slots",
            "--disk-bus scsi",
        ),
        ("error: failed to get domain 'web1'", "journalctl"),
        ("error: failed to connect to the hypervisor", "systemctl status"),
    ],
)
def test_failure_of_libvirt_has_a_hint(stderr, hint):
    with pytest.raises(VmMgrError) as caught:
        check(Completed(("virsh",), 1, "", stderr))
    assert hint in caught.value.hint


def test_guest_that_is_asked_once_more_for_a_disk_is_waited_for(env, vm, monkeypatch):
    """QEMU refuses to ask it again; that the disk goes is what counts, and else the refusal is told."""
    plugged = env.hypervisor.plugged[vm]
    source, really = plugged[-1], env.clock.sleep

    def refuse(*_):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "libvirt: already in the process of unplug")

    monkeypatch.setattr(env.hypervisor, "detach", refuse)
    with pytest.raises(VmMgrError, match=r"does not release .* already in the process") as caught:
        remove_disk(env, vm, 1)
    assert caught.value.kind is Kind.WRONG_STATE

    def sleep(seconds):
        if source in plugged:
            plugged.remove(source)
        really(seconds)

    monkeypatch.setattr(env.clock, "sleep", sleep)
    remove_disk(env, vm, 1)
    assert len(env.storage.disks.of(vm)) == 1
