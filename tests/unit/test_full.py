"""A node whose file systems are full: changes go on, and what is full is told from a defect."""

import errno
import os
import sys
import tempfile

import pytest
from lxml import etree

import vm_mgr.cli
from vm_mgr.adapters.libvirt.port import LocalLibvirt
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.pacemaker.cib_transaction import CibEditor
from vm_mgr.cli.edit import _in_editor, _kept
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.model.vm import TargetRole
from vm_mgr.ocf import __main__ as agent
from vm_mgr.ports.cluster import VmResource
from vm_mgr.ports.runner import Completed
from vm_mgr.room import in_memory

from .test_pacemaker import EMPTY

CIB = EMPTY if isinstance(EMPTY, str) else etree.tostring(EMPTY, encoding="unicode")


class Tools:
    """Pacemaker's tools and virsh; they read the files that they are given while they run."""

    def __init__(self):
        self.read = {}

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        for word in argv:
            if word.startswith("/proc/"):
                with open(word, encoding="utf-8") as file:  # noqa: PTH123
                    self.read.setdefault(argv[0], []).append(file.read())
        answers = {"cibadmin": (0, CIB), "crm_diff": (1, "<patch/>")}
        code, out = answers.get(argv[0], (0, ""))
        return Completed(tuple(argv), code, out, "")


@pytest.fixture
def full(monkeypatch, tmp_path):
    """Let no folder take a file."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    def no_folder():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/']")

    monkeypatch.setattr(tempfile, "_get_default_tempdir", no_folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
    for call in ("mkdir", "write_text", "write_bytes", "touch"):
        monkeypatch.setattr(f"pathlib.Path.{call}", refuse)


def test_cib_is_changed_without_a_folder(full):
    tools = Tools()
    CibEditor(tools, VirtualClock()).add(VmResource("web1", TargetRole.STARTED))
    old, new = tools.read["crm_diff"]
    assert ("web1" in old, "web1" in new) == (False, True)


def test_device_is_handed_over_without_a_folder(full, tmp_path):
    tools = Tools()
    LocalLibvirt(tools, tmp_path / "none").attach("web1", "<disk>ö</disk>")
    assert tools.read["virsh"] == ["<disk>ö</disk>"]


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_no_memory_is_told_as_such(monkeypatch, number):
    def refuse(_name):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(VmMgrError) as caught, in_memory("x", "web1.xml"):
        pass
    assert (caught.value.kind, "web1.xml" in caught.value.message) == (Kind.NO_RESOURCES, True)
    assert caught.value.hint


def test_memory_is_given_back():
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        with pytest.raises(KeyError), in_memory("x" * 200_000, "a"):
            raise KeyError
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/run/x"), Kind.NO_RESOURCES),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Kind.NO_RESOURCES),
        (OSError(errno.EROFS, "Read-only file system"), Kind.NO_RESOURCES),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), Kind.NO_RESOURCES),
        (OSError(errno.EBADF, "Bad file descriptor"), Kind.INTERNAL),
        (FileNotFoundError(2, "No such file or directory"), Kind.INTERNAL),
    ],
)
def test_full_file_system_is_no_defect(monkeypatch, capsys, error, kind):
    def fail():
        raise error

    monkeypatch.setattr(vm_mgr.cli, "_answer", fail)
    monkeypatch.setattr(sys, "argv", ["vm-mgr", "stop", "web1"])
    with pytest.raises(SystemExit) as ended:
        vm_mgr.cli.main()
    assert ended.value.code == EXIT_CODES[kind]
    assert ("a defect" in capsys.readouterr().err) is (kind is Kind.INTERNAL)


def test_agent_gives_the_reason(monkeypatch, capsys):
    def fail(_env, _given):
        raise OSError(errno.ENOSPC, "No space left on device", "/run/vm-mgr/x")

    monkeypatch.setitem(agent.ACTIONS, "start", fail)
    monkeypatch.setenv("OCF_RESOURCE_INSTANCE", "web1")
    assert agent.main("start") == agent.OCF_ERR_GENERIC
    assert "ocf-exit-reason:start: no space on /run/vm-mgr" in capsys.readouterr().err


def test_edited_text_is_not_lost(full, capsys):
    error = _kept("web1", "<domain>mine</domain>", VmMgrError(Kind.INVALID, "no"))
    assert error.kind is Kind.INVALID
    assert "<domain>mine</domain>" in capsys.readouterr().out
    assert "printed" in error.hint


def test_editor_needs_a_folder_and_says_so(full, monkeypatch):
    monkeypatch.setenv("EDITOR", "true")
    with pytest.raises(VmMgrError) as caught:
        _in_editor("<domain/>")
    assert (caught.value.kind, "TMPDIR" in caught.value.hint) == (Kind.NO_RESOURCES, True)
