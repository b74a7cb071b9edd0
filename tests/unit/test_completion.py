"""What the shells are offered, through the protocol that their scripts speak."""

import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from vm_mgr.cli import complete
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.enable import enable

from .conftest import DOMAIN


@pytest.fixture
def world(env):
    for name in ("web1", "web2", "db1"):
        with env.storage.stage(name) as staged:
            staged.add(1 << 20)
            staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
            staged.commit()
    enable(env, "web1", start=True)
    env.storage.snapshots.take("web1", "before_update", "offline")
    env.storage.snapshots.take("web1", "old", "offline")
    return env


@pytest.fixture
def offered(world):
    def ask(line, shell="bash"):
        words = line.split(" ")
        protocol = {
            "_VM_MGR_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
        }
        done = CliRunner(mix_stderr=False).invoke(app, [], obj=world, prog_name="vm-mgr", env=protocol)
        assert not done.stderr
        return done.stdout.strip().splitlines()

    return ask


def plain(*words):
    return [f"plain,{word}" for word in words]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("vm-mgr rest", ["restart"]),
        ("vm-mgr create_s", ["create_snapshot"]),
        ("vm-mgr start ", ["db1", "web1", "web2"]),
        ("vm-mgr start w", ["web1", "web2"]),
        ("vm-mgr start --name d", ["db1"]),
        ("vm-mgr start -n d", ["db1"]),
        ("vm-mgr start --name web1 ", []),
        ("vm-mgr create ", []),
        ("vm-mgr create --name ", []),
        ("vm-mgr create x --pinned-host n", ["n1", "n2", "n3"]),
        ("vm-mgr create x --pinned_host n", ["n1", "n2", "n3"]),
        ("vm-mgr create x --preferred-host=n2", ["n2"]),
        ("vm-mgr migrate web", ["web1", "web2"]),
        ("vm-mgr migrate web1 ", ["n1", "n2", "n3"]),
        ("vm-mgr migrate --name web1 n3", ["n3"]),
        ("vm-mgr add_colocation web1 d", ["db1"]),
        ("vm-mgr resize-disk web1 ", []),
        ("vm-mgr rollback web1 --snap-name ", ["before_update", "old"]),
        ("vm-mgr rollback --name web1 --snap_name b", ["before_update"]),
        ("vm-mgr rollback web1 ", ["before_update", "old"]),
        ("vm-mgr remove-snapshot web1 b", ["before_update"]),
        ("vm-mgr rollback --name web1 o", ["old"]),
        ("vm-mgr create-snapshot web1 ", []),
        ("vm-mgr rollback web2 --snap-name ", []),
        ("vm-mgr rollback nobody --snap-name ", []),
        ("vm-mgr rollback web1 --snap-n", ["--snap-name"]),
        ("vm-mgr rollback web1 --snap_n", ["--snap_name"]),
        ("vm-mgr create-snapshot web1 --snap-name ", []),
        ("vm-mgr clone web1 --dst-name ", []),
        ("vm-mgr list --output j", ["json"]),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_what_is_offered(offered, line, words, shell):
    answers = [answer.partition("\t")[0] for answer in offered(line, shell)]
    assert answers == plain(*words)


def test_zsh_is_told_summaries(offered):
    assert offered("vm-mgr resta", "zsh") == ["plain", "restart", "Shut a VM down and start it again."]
    assert offered("vm-mgr stop db", "zsh") == ["plain", "db1", "_"]


def test_files_are_left_to_the_shell(offered):
    assert offered("vm-mgr create x --xml ./a") == ["file,./a"]


def test_failures_are_silent_and_what_is_known_is_offered(offered, world):
    world.storage.failing = "definitions.names"
    assert offered("vm-mgr start ") == plain("web1")
    world.cluster.state = None
    assert offered("vm-mgr start ") == []
    assert offered("vm-mgr migrate web1 ") == []


def test_what_hangs_is_not_waited_for(offered, world, monkeypatch):
    monkeypatch.setattr(complete, "PATIENCE_S", 2)

    def hang():
        time.sleep(60)
        raise VmMgrError(Kind.EXTERNAL_FAILURE, "too late")

    world.storage.definitions.names = hang
    began = time.monotonic()
    assert offered("vm-mgr start ") == plain("web1")
    assert time.monotonic() - began < 10


def test_program_itself_completes_options_with_underscores():
    protocol = {
        "_VM_MGR_COMPLETE": "bash_complete",
        "COMP_WORDS": "vm-mgr rollback web1 --snap_",
        "COMP_CWORD": "3",
    }
    command = [sys.executable, "-m", "vm_mgr.cli"]
    done = subprocess.run(command, env={**os.environ, **protocol}, capture_output=True, text=True, check=True)
    assert done.stdout == "plain,--snap_name\n"


HANGS = """
import sys, time, vm_mgr.cli as cli

def hang():
    print("hanging", flush=True)
    time.sleep(60)

cli._answer = hang
cli.main()
"""


@pytest.mark.parametrize("completes", [True, False])
def test_ctrl_c_while_a_shell_completes_leaves_no_traceback_in_the_prompt(completes):
    environment = {**os.environ, **({"_VM_MGR_COMPLETE": "bash_complete"} if completes else {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    pipes["preexec_fn"] = lambda: signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job's is ignored
    with subprocess.Popen([sys.executable, "-c", HANGS], env=environment, text=True, **pipes) as program:
        assert program.stdout.readline() == "hanging\n"
        program.send_signal(signal.SIGINT)
        stderr = program.communicate(timeout=20)[1]
    assert program.returncode == -signal.SIGINT
    assert bool(stderr) is not completes
