"""A node whose own file systems are full: the agents go on, or say what is missing."""

import contextlib
import io
import os
import resource
import subprocess

import pytest

from vm_mgr.agent import destroy_times, identity, retry_backoff
from vm_mgr.agent.actions import ACTIONS
from vm_mgr.agent.agent_log import log_throttled
from vm_mgr.ocf import __main__ as agent

from .test_agent import AGENT, GIVEN, node, proc  # noqa: F401 - fixtures
from .test_io_errors import RECURRING, Stands

SHELLS = ("dash", "busybox")


@contextlib.contextmanager
def full():
    """Let every write to a file fail, in this process and those that it starts: Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(autouse=True)
def ignoring(monkeypatch):
    """Have children ignore it, too."""
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *words, **more: run(*words, restore_signals=False, **more))


class TestMonitor:
    @pytest.fixture(params=SHELLS)
    def vm(self, request, proc):  # noqa: F811
        return Stands(request.param, proc)

    @pytest.mark.parametrize("state", [("running", "booted"), ("paused", "ioerror")])
    def test_full_run_fails_no_vm(self, vm, state):
        vm.stands(*state)
        vm.look()
        for uptime in (5010, 5020):
            vm.at(uptime)
            with full():
                done = vm.look()
            assert done.returncode == 0, done.stderr
            assert "ocf-exit-reason" not in done.stderr

    def test_file_that_cannot_be_opened_does_not_hide_that_the_vm_is_gone(self, vm):
        """A folder in its place stands for a file system that was mounted read-only."""
        (vm.box / "state" / "running..web1").mkdir(parents=True)
        (vm.proc / "42" / "comm").write_text("sleep\n")
        assert vm.look(**RECURRING).returncode == 7


@pytest.mark.parametrize("shell", SHELLS)
class TestOtherAgents:
    def run(self, shell, tmp_path, name, action, *, anew=True):
        argv = ["busybox", "sh"] if shell == "busybox" else [shell]
        (tmp_path / "bin").mkdir(exist_ok=True)
        for tool in ("systemctl", "logger", "cibadmin", "attrd_updater"):
            if anew:
                (tmp_path / "bin" / tool).write_text("#!/bin/sh\nexit 0\n")
                (tmp_path / "bin" / tool).chmod(0o755)
        given = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "VM_MGR_STATE": str(tmp_path / "state")}
        done = subprocess.run(
            [*argv, str(AGENT.with_name(name)), action],
            env={**given, "OCF_RESKEY_CRM_meta_interval": "10000"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    @pytest.mark.parametrize("name", ["Node", "DiskLocks"])
    def test_start_that_cannot_write_says_so_and_is_no_wrong_parameter(self, shell, tmp_path, name):
        """Status 2, with which a shell ends at a redirection that fails, is for wrong parameters."""
        (tmp_path / "state").write_text("a file where a folder has to be")
        code, said = self.run(shell, tmp_path, name, "start")
        assert code == 1
        assert "ocf-exit-reason:" in said
        assert str(tmp_path / "state") in said

    def test_node_goes_on_looking(self, shell, tmp_path):
        folder = tmp_path / "state" / "node"
        assert self.run(shell, tmp_path, "Node", "start")[0] == 0
        prepared = self.run(shell, tmp_path, "Node", "monitor")
        with full():
            assert [self.run(shell, tmp_path, "Node", "monitor", anew=False) for _ in range(2)] == [
                (0, "")
            ] * 2
        assert prepared == (0, "")
        assert (folder / "looks").exists()


class TestSlowActions:
    def test_start_and_stop_need_none_of_the_files(self, node):  # noqa: F811
        with full(), contextlib.redirect_stderr(io.StringIO()):
            ACTIONS["start"](node, GIVEN)
            log_throttled(node, "web1", 0, "a thing", failed=False)
            assert retry_backoff.add(node, "web1") == 1
            assert destroy_times.reserve_s(node, 60) > 0
            ACTIONS["stop"](node, GIVEN._replace(force_stop=True))
        assert not node.hypervisor.running
        assert identity.known_uuid(node, "web1") == ""

    def test_start_that_fails_for_it_says_so(self, monkeypatch, capsys):
        def start(env, given):
            raise OSError(28, "No space left on device", "/run/vm-mgr/web1.xml")

        monkeypatch.setitem(agent.ACTIONS, "start", start)
        monkeypatch.setenv("OCF_RESOURCE_INSTANCE", "web1")
        assert agent.main("start") == agent.OCF_ERR_GENERIC
        said = capsys.readouterr().err
        assert "ocf-exit-reason:start: no space on /run/vm-mgr of " in said
