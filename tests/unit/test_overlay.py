"""A VM that writes elsewhere than to its stored disks: nothing lets that vanish without a word."""

import contextlib
import subprocess

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.libvirt.evidence import LibvirtEvidence
from vm_mgr.agent.actions import ACTIONS
from vm_mgr.agent.disks import note_disks
from vm_mgr.agent.parameters import Parameters
from vm_mgr.cli.app import app
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.drain import drain
from vm_mgr.operations.enable import enable
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.remove import remove
from vm_mgr.operations.rename import rename
from vm_mgr.operations.resize_disk import resize_disk
from vm_mgr.operations.restart import restart
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.show import show
from vm_mgr.operations.start import start
from vm_mgr.operations.stop import stop
from vm_mgr.operations.storage.overlay import NOTE

from .conftest import DOMAIN
from .test_agent import proc  # noqa: F401 - a fixture
from .test_io_errors import PROBE, RECURRING, Stands

GIVEN = Parameters(name="web1", timeout_s=30)
OVERLAY = "/var/tmp/web1.overlay"
DISK = """<disk type='file' device='{device}'>{readonly}<source file='{source}'/>
<backingStore type='file'><source file='/base'/></backingStore>{mirror}<target dev='{target}'/></disk>"""


def disk(source, target="vdz", device="disk", readonly="", mirror=""):
    return DISK.format(source=source, target=target, device=device, readonly=readonly, mirror=mirror)


@pytest.fixture
def running(env, image, tmp_path):
    """Give a VM that runs, and what puts other disks under its QEMU."""
    env.state_dir = tmp_path / "state"
    create(env, CreateRequest("web1", DOMAIN, (image,), settings=VmSettings(live_migration=True)))
    create_snapshot(env, "web1", "before")
    stored = env.storage.definitions.read("web1")
    env.hypervisor.xmls["web1"] = stored
    assert "web1" in env.hypervisor.running

    def change(xml):
        env.hypervisor.xmls["web1"] = xml

    env.change, env.stored = change, stored
    return env


def overlaid(env):
    (own,) = env.definitions.written(env.stored)
    kind = "network" if 'type="network"' in env.stored else "file"
    return (
        env.stored.replace(f'type="{kind}"', 'type="file"')
        .replace(f'"{own.source}"', f'"{OVERLAY}"')
        .replace(" name=", " file=")
        .replace("<driver file=", "<driver name=")
    )


def plugged(env):
    return env.stored.replace("</devices>", f"{disk('/by/hand')}</devices>")


def copied(env):
    job = "<mirror type='file' job='copy'><source file='/copy'/></mirror>"
    return env.stored.replace("</disk>", f"{job}</disk>")


def committed(env):
    job = "<mirror type='file' job='active-commit'><source file='/x'/></mirror>"
    return overlaid(env).replace("</disk>", f"{job}</disk>")


VERBS = {
    "stop": lambda env: stop(env, "web1"),
    "restart": lambda env: restart(env, "web1"),
    "disable": lambda env: disable(env, "web1"),
    "rollback": lambda env: rollback(env, "web1", "before"),
    "migrate": lambda env: migrate(env, "web1"),
    "resize": lambda env: resize_disk(env, "web1", 1 << 40),
    "snapshot": lambda env: create_snapshot(env, "web1", "now"),
}
WAYS = {
    "overlay": (overlaid, "virsh blockcommit web1 vda --active --pivot --wait"),
    "plugged in": (plugged, "virsh detach-disk web1 vdz --live"),
    "copy": (copied, "virsh blockjob web1 vda --abort"),
    "commit": (committed, "virsh blockjob web1 vda --pivot"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", WAYS)
def test_command_that_would_lose_its_writes_is_refused_with_the_way_out(running, verb, way):
    change, hint = WAYS[way]
    running.change(change(running))
    with pytest.raises(VmMgrError) as caught:
        VERBS[verb](running)
    assert caught.value.kind is Kind.WRONG_STATE
    assert hint in caught.value.hint
    assert "web1" in running.hypervisor.running
    assert not running.intent_log.intents()
    running.change(running.stored)
    VERBS[verb](running)


@pytest.mark.parametrize(
    "device",
    [
        disk("/other.iso", device="cdrom"),
        disk("/other.iso", readonly="<readonly/>"),
        "<disk type='file' device='floppy'><target dev='fda'/></disk>",
    ],
    ids=["medium", "read-only", "empty"],
)
def test_what_nothing_is_written_to_hinders_nothing(running, device):
    running.change(running.stored.replace("</devices>", f"{device}</devices>"))
    restart(running, "web1")


def test_drain_leaves_it_and_names_it(running):
    running.change(overlaid(running))
    node = running.cluster.places["web1"]
    (stays,) = drain(running, node).stays
    assert stays.name == "web1"
    assert OVERLAY in stays.reason


@pytest.mark.parametrize("way", WAYS)
def test_show_says_it_with_the_way_out(running, way):
    change, hint = WAYS[way]
    show(running, "web1")
    assert not [one for one in running.said if getattr(one, "code", "") == "writes-elsewhere"]
    running.change(change(running))
    show(running, "web1")
    (note,) = [one for one in running.said if getattr(one, "code", "") == "writes-elsewhere"]
    assert hint in note.hint


def test_removal_says_what_goes_and_forced_stop_unplugs(running):
    running.change(overlaid(running))
    stop(running, "web1", force=True)
    assert "web1" not in running.hypervisor.running
    start(running, "web1")
    running.change(overlaid(running))
    remove(running, "web1")
    assert [note.code for note in running.said if getattr(note, "code", "") == "writes-elsewhere"]
    assert not running.storage.definitions.exists("web1")


def test_libvirt_that_does_not_answer_does_not_keep_a_vm_from_being_stopped(running, monkeypatch):
    def hangs(name):
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "libvirt does not answer")

    monkeypatch.setattr(running.hypervisor, "running_definition", hangs)
    stop(running, "web1")
    assert "web1" not in running.hypervisor.running


class TestAgent:
    """What Pacemaker does by itself can't be refused: the next start is, on every node."""

    @pytest.fixture
    def died(self, running):
        running.cluster.stuck.add("web1")
        running.change(overlaid(running))
        note_disks(running, GIVEN)
        assert OVERLAY in running.storage.definitions.metadata("web1")[NOTE]
        assert any("writes elsewhere" in line for line in running.journal.lines)
        running.hypervisor.running.clear()
        return running

    def test_start_after_a_crash_or_on_another_node_is_refused(self, died):
        with pytest.raises(VmMgrError) as caught:
            ACTIONS["start"](died, GIVEN)
        assert caught.value.kind is Kind.WRONG_STATE
        assert OVERLAY in caught.value.message
        assert "--allow lost-writes" in caught.value.hint
        assert not died.hypervisor.running

    def test_stop_notes_what_no_monitor_has_seen_yet(self, running):
        running.cluster.stuck.add("web1")
        running.change(overlaid(running))
        ACTIONS["stop"](running, GIVEN)
        assert not running.hypervisor.running
        with pytest.raises(VmMgrError, match="elsewhere"):
            ACTIONS["start"](running, GIVEN)

    def test_stop_does_not_fail_for_a_storage_that_is_silent(self, running, monkeypatch):
        def silent(*_):
            raise VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph does not answer")

        running.change(overlaid(running))
        monkeypatch.setattr(running.storage.definitions, "metadata", silent)
        ACTIONS["stop"](running, GIVEN)
        assert not running.hypervisor.running

    @pytest.mark.parametrize("xml", [None, "<domain", "<domain><devices/></domain>"])
    def test_definition_that_is_lost_or_broken_is_no_defect(self, running, xml):
        running.change(overlaid(running))
        running.storage.definitions.describe("web1", {"xml": xml})
        with contextlib.suppress(VmMgrError):
            note_disks(running, GIVEN)
        ACTIONS["stop"](running, GIVEN)
        assert not running.hypervisor.running

    def test_overlay_that_was_committed_is_forgotten(self, died):
        died.hypervisor.running["web1"] = 1000
        died.change(died.stored)
        note_disks(died, GIVEN)
        assert NOTE not in died.storage.definitions.metadata("web1")
        died.hypervisor.running.clear()
        ACTIONS["start"](died, GIVEN)

    @pytest.mark.parametrize("change", [plugged, copied])
    def test_what_leaves_the_stored_disk_the_newest_costs_no_recovery(self, running, change):
        running.cluster.stuck.add("web1")
        running.change(change(running))
        note_disks(running, GIVEN)
        running.hypervisor.running.clear()
        ACTIONS["start"](running, GIVEN)

    def test_commands_refuse_it_too_until_it_is_allowed(self, died):
        died.cluster.set_target_role("web1", TargetRole.STOPPED)
        died.cluster.places.clear()
        died.cluster.stuck.clear()
        for refused in (lambda: start(died, "web1"), lambda: rename(died, "web1", "web2")):
            with pytest.raises(VmMgrError) as caught:
                refused()
            assert OVERLAY in caught.value.message
        done = CliRunner(mix_stderr=False).invoke(app, ("start", "web1"), obj=died)
        assert done.exit_code == EXIT_CODES[Kind.WRONG_STATE]
        done = CliRunner(mix_stderr=False).invoke(app, ("start", "web1", "--allow", "lost-writes"), obj=died)
        assert done.exit_code == 0, done.stderr
        assert OVERLAY in done.stderr
        assert NOTE not in died.storage.definitions.metadata("web1")

    def test_disabled_vm_is_not_enabled(self, died):
        died.cluster.remove("web1")
        with pytest.raises(VmMgrError, match="elsewhere"):
            enable(died, "web1")


def test_state_file_of_libvirt_tells_the_disks_of_this_process_only(tmp_path):
    head = "<!--\n-->\n<domstatus state='running' reason='booted' pid='42'>\n"
    text = f"{head}<domain type='kvm'>\n<x/></domain>\n</domstatus>"
    (tmp_path / "web1.xml").write_text(text)
    evidence = LibvirtEvidence(None, tmp_path)
    assert evidence.definition("web1", 42) == "<domain type='kvm'>\n<x/></domain>"
    assert evidence.definition("web1", 43) == evidence.definition("web2", 42) == ""


class TestMonitor:
    @pytest.fixture(params=["dash", "busybox"])
    def vm(self, request, proc):  # noqa: F811
        stands = Stands(request.param, proc)
        stands.stands("running", "booted")
        python = stands.box / "bin" / "python3"
        python.write_text('#!/bin/sh\necho "$4" >>"$BOX/asked"\n[ ! -e "$BOX/fails" ]\n')
        python.chmod(0o755)
        stands.asked = lambda: (
            len((stands.box / "asked").read_text().split()) if (stands.box / "asked").exists() else 0
        )
        return stands

    def change(self, vm, source="/overlay", more="", newer=5):
        status, target = vm.box / "run" / "web1.xml", "<target dev='vda'"
        text = status.read_text().replace(f"{vm.box}/disk", source).replace(target, more + target)
        status.write_text(text)
        subprocess.run(["touch", "-d", f"+{newer} seconds", str(status)], check=True)

    def test_disks_are_judged_once_and_again_when_they_change(self, vm):
        for _ in range(4):
            assert vm.look().returncode == 0
        assert vm.asked() == 1
        self.change(vm, newer=2)
        for _ in range(3):
            assert vm.look().returncode == 0
        assert vm.asked() == 2
        self.change(vm, "/overlay", "<mirror type='file' job='copy'>\n")
        vm.look()
        assert vm.asked() == 3

    def test_what_could_not_be_kept_is_tried_again(self, vm):
        (vm.box / "fails").touch()
        assert [vm.look().returncode for _ in range(2)] == [0, 0]
        (vm.box / "fails").unlink()
        vm.look()
        assert vm.asked() == 3
        vm.look()
        assert vm.asked() == 3

    def test_status_that_is_written_anew_with_the_same_disks_starts_nothing(self, vm):
        vm.look()
        self.change(vm, f"{vm.box}/disk")
        vm.look()
        assert vm.asked() == 1

    def test_probe_does_not_look(self, vm):
        vm.look(**PROBE)
        vm.look("status", X="")
        assert vm.asked() == 0
        vm.look(**RECURRING)
        assert vm.asked() == 1
