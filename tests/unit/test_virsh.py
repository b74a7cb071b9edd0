"""What virsh is asked for devices of running domains."""

from pathlib import Path

import pytest

from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.runner import Completed

DISKS = " vda   rbd/system_web1\n sda   -\n vdb   /vms/with space.qcow2\n"
REMOTE = "qemu+ssh://n2-cluster/system?no_tty=1"


class Recorder:
    """virsh that answers with what it was told to."""

    def __init__(self, stderr=""):
        self.stderr = stderr
        self.calls = []

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        words = argv[4:]
        if words[0] == "domblklist":
            return Completed(tuple(argv), 0, DISKS, "")
        device = [Path(words[2]).read_text()] if words[0] == "attach-device" else [words[2]]
        self.calls.append((argv[2], *words[:2], *device, *words[3:]))
        return Completed(tuple(argv), 1 if self.stderr else 0, "", self.stderr)


def test_device_is_given_in_a_file_that_is_gone_afterwards(tmp_path):
    runner = Recorder()
    LocalLibvirt(runner, tmp_path / "state", uri=REMOTE).attach("web1", "<disk/>")
    assert runner.calls == [(REMOTE, "attach-device", "web1", "<disk/>", "--live")]
    assert not (tmp_path / "state").exists()


def test_disk_is_detached_by_the_target_that_it_has_in_the_running_domain(tmp_path):
    runner = Recorder()
    virsh = LocalLibvirt(runner, tmp_path, uri=REMOTE)
    virsh.detach("web1", "/vms/with space.qcow2")
    assert runner.calls == [(REMOTE, "detach-disk", "web1", "vdb", "--live")]
    with pytest.raises(VmMgrError) as caught:
        virsh.detach("web1", "rbd/data_web1_0")
    assert caught.value.kind is Kind.NOT_FOUND


def test_sources_are_those_of_media(tmp_path):
    virsh = LocalLibvirt(Recorder(), tmp_path)
    assert virsh.disk_sources("web1") == ["rbd/system_web1", "/vms/with space.qcow2"]


class Sleeper:
    """virsh with a guest that sleeps, and wakes at the second look after it was asked to."""

    def __init__(self, *states):
        self.states = list(states)
        self.done = []

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        verb = argv[4]
        if verb == "domstate":
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return Completed(tuple(argv), 0, f"{state}\n", "")
        failed = verb == "suspend" and "dompmwakeup" not in self.done and self.states[0] == "pmsuspended"
        self.done.append(verb)
        return Completed(tuple(argv), int(failed), "", "error: domain is pmsuspended" if failed else "")


SLEEPS = ("pmsuspended", "pmsuspended", "running")


@pytest.mark.parametrize(
    ("act", "states", "done"),
    [
        (lambda virsh: virsh.pause("web1"), SLEEPS, ["suspend", "dompmwakeup", "suspend"]),
        (lambda virsh: virsh.pause("web1"), ("running",), ["suspend"]),
        (lambda virsh: virsh.resume("web1"), ("pmsuspended (unknown)", *SLEEPS), ["dompmwakeup"]),
        (lambda virsh: virsh.resume("web1"), ("running (booted)", "running"), []),
    ],
    ids=["pause", "pause awake", "resume", "resume awake"],
)
def test_guest_that_sleeps_is_woken_first(tmp_path, monkeypatch, act, states, done):
    monkeypatch.setattr("time.sleep", lambda _: None)
    runner = Sleeper(*states)
    act(LocalLibvirt(runner, tmp_path))
    assert runner.done == done


class Keeper:
    """virsh with two domains that it keeps, of which old1 has a managed save."""

    def __init__(self):
        self.done = []

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        words = tuple(argv[4:])
        self.done.append(words)
        saved = "--with-managed-save" in words
        answers = {"list": "old1\n" if saved else "old1\nold2\n", "dumpxml": "<domain/>"}
        return Completed(tuple(argv), 0, answers.get(words[0], ""), "")


def test_domain_whose_memory_libvirt_has_saved_is_not_as_it_will_start(tmp_path):
    virsh = LocalLibvirt(Keeper(), tmp_path)
    with pytest.raises(VmMgrError) as caught:
        virsh.definition("old1")
    assert caught.value.kind is Kind.WRONG_STATE
    assert "virsh managedsave-remove old1" in caught.value.hint
    assert virsh.definition("old2") == "<domain/>"


def test_forgotten_domain_keeps_its_files_and_its_saved_memory(tmp_path):
    runner = Keeper()
    LocalLibvirt(runner, tmp_path).undefine("old2")
    verb, name, *options = runner.done[-1]
    assert (verb, name) == ("undefine", "old2")
    assert {"--keep-nvram", "--keep-tpm"} <= {*options}
    assert not {"--nvram", "--tpm", "--managed-save", "--remove-all-storage"} & {*options}
