"""An upgrade goes from node to node, waits until nothing moves there, and restarts no two daemons at once."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from .test_deployed_timeouts import DEPLOY

VM_MGR = DEPLOY / "roles" / "vm_mgr" / "files"
RESTART = DEPLOY / "roles" / "libvirt" / "files" / "restart.sh"
OPERATION = '<lrm_rsc_op id="{0}_last_0" operation_key="{0}_{1}_0" operation="{1}" op-status="-1"/>'
STATUS = "<domstatus state='running' pid='42'>\n  <job type='none' async='{}' phase='perform3'/>\n"


class Programs:
    """Stand-ins on a PATH of their own; each call is written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.qemu = folder / "qemu"
        self.due = folder / "run" / "vm-mgr-libvirt-due"
        (folder / "bin").mkdir()
        self.due.parent.mkdir()
        self.qemu.mkdir()
        self.put("sleep", "")
        self.put("systemctl", 'case "$*" in *is-enabled*libvirtd*) exit 1 ;; esac')
        self.put("virsh", "")
        self.put("cibadmin", "exit 105")

    def put(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\n{text}\n')
        path.chmod(0o755)

    def run(self, script: Path, *words: str):
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "VM_MGR_ROOT": str(self.folder),
            "VM_MGR_LIBVIRT_RUN": str(self.qemu),
        }
        argv = ["sh", "-c", script.read_text(), "sh", *words]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=30)

    def called(self, words: str) -> int:
        return self.calls.read_text().count(words) if self.calls.exists() else 0


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def test_quiet_node_is_not_waited_for(programs):
    (programs.qemu / "web1.xml").write_text(STATUS.format("none"))
    assert programs.run(VM_MGR / "when-quiet.sh", "0").returncode == 0


@pytest.mark.parametrize("action", ["start", "stop", "migrate_to", "migrate_from"])
def test_what_pacemaker_does_is_waited_for_and_named(programs, action):
    programs.put("cibadmin", f"echo '{OPERATION.format('web1', action)}'")
    done = programs.run(VM_MGR / "when-quiet.sh", "3")
    assert done.returncode == 1
    assert f"web1_{action}_0" in done.stderr
    assert programs.called("sleep") == 3


def test_monitor_that_runs_is_not_waited_for(programs):
    programs.put("cibadmin", f"echo '{OPERATION.format('web1', 'monitor')}'")
    assert programs.run(VM_MGR / "when-quiet.sh", "0").returncode == 0


def test_end_is_noticed(programs):
    flag = programs.folder / "once"
    programs.put(
        "cibadmin", f"[ -e {flag} ] && exit 105; : >{flag}; echo '{OPERATION.format('web1', 'start')}'"
    )
    assert programs.run(VM_MGR / "when-quiet.sh", "5").returncode == 0
    assert programs.called("sleep") == 1


def test_pacemaker_that_does_not_answer_is_not_quiet(programs):
    programs.put("cibadmin", "exit 102")
    done = programs.run(VM_MGR / "when-quiet.sh", "1")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


def test_node_without_pacemaker_is_quiet(programs):
    programs.put("systemctl", "exit 3")
    programs.put("cibadmin", "exit 102")
    assert programs.run(VM_MGR / "when-quiet.sh", "0").returncode == 0


@pytest.mark.parametrize("job", ["migration out", "migration in", "save", "start", "snapshot"])
def test_job_of_libvirts_that_nobody_else_knows_of_is_waited_for(programs, job):
    """`virsh migrate` by hand; and the half of a migration that arrives."""
    (programs.qemu / "web1.xml").write_text(STATUS.format(job))
    done = programs.run(VM_MGR / "when-quiet.sh", "1")
    assert (done.returncode, "web1.xml" in done.stderr) == (1, True)


def test_daemon_is_restarted_at_once_where_no_vm_can_be(programs):
    done = programs.run(RESTART, "now")
    assert (done.returncode, done.stdout) == (0, "")
    assert programs.called("systemctl restart virtqemud.service") == 1
    assert not programs.due.exists()


@pytest.mark.parametrize("vm", [False, True])
def test_daemon_is_not_restarted_at_once_where_vms_may_be(programs, vm):
    if vm:
        (programs.qemu / "web1.pid").write_text("42\n")
    done = programs.run(RESTART, "now" if vm else "later")
    assert done.stdout == "later\n"
    assert programs.called("systemctl restart") == 0
    assert programs.due.exists(), "also the next run knows, if this one ends here"
    done = programs.run(RESTART, "due")
    assert (done.returncode, done.stdout) == (0, "restarted\n")
    assert programs.called("systemctl restart virtqemud.service") == 1
    assert not programs.due.exists()
    assert programs.run(RESTART, "due").stdout == ""
    assert programs.called("systemctl restart") == 1


def test_daemon_that_does_not_answer_stops_the_deployment(programs):
    programs.due.touch()
    programs.put("virsh", "exit 1")
    done = programs.run(RESTART, "due")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


def plays():
    return yaml.safe_load((DEPLOY / "site.yml").read_text())


def test_what_runs_is_exchanged_on_one_machine_after_the_other_and_the_first_failure_ends_it():
    (play,) = (one for one in plays() if "serial" in one)
    assert (play["serial"], play["any_errors_fatal"]) == (1, True)
    tasks = [task["ansible.builtin.import_role"] for task in play["tasks"]]
    expected = [{"name": "vm_mgr", "tasks_from": "exchange"}, {"name": "libvirt", "tasks_from": "restart"}]
    assert tasks == expected


def test_nothing_else_exchanges_or_restarts_what_vms_need():
    for path in [one for kind in ("tasks", "handlers") for one in (DEPLOY / "roles").glob(f"*/{kind}/*.yml")]:
        text = path.read_text()
        if path.parts[-3:] in (("vm_mgr", "tasks", "exchange.yml"), ("libvirt", "tasks", "restart.yml")):
            assert "when-quiet.sh" in text
            continue
        assert "exchange.sh" not in text, path
        if path.parts[-3:] != ("libvirt", "handlers", "main.yml"):
            assert "restart virtqemud" not in text, path
            assert "restart.sh" not in text, path


def test_cluster_is_told_of_agents_after_every_machine_has_them():
    names = [play["name"] for play in plays()]
    assert (
        names.index("Tell the cluster")
        == names.index("Exchange what is in use, on one machine after the other") + 1
    )
    for task in yaml.safe_load((DEPLOY / "roles/vm_mgr/tasks/main.yml").read_text()):
        assert "cib" not in task
