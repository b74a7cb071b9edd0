"""libvirt's units, as the role libvirt sets them up, in a folder instead of /etc."""

import os
import subprocess

import pytest

from .test_deployed_timeouts import DEPLOY

SCRIPT = (DEPLOY / "roles" / "libvirt" / "files" / "set-up-units.sh").read_text()
UNITS = "/etc/systemd/system"


@pytest.fixture
def set_up(tmp_path):
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text('#!/bin/sh\ncase "$*" in *libvirt-guests*) echo masked ;; esac\n')
    systemctl.chmod(0o755)
    assert UNITS in SCRIPT

    def run():
        argv = ["sh", "-c", SCRIPT.replace(UNITS, str(tmp_path / "units"))]
        path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run(argv, env=path, capture_output=True, text=True, check=True, timeout=30).stdout

    return run


@pytest.mark.parametrize(
    ("unit", "variable"), [("libvirtd", "LIBVIRTD_ARGS"), ("virtqemud", "VIRTQEMUD_ARGS")]
)
def test_daemons_speak_english_and_do_not_end_when_idle(set_up, tmp_path, unit, variable):
    """A retry goes by libvirt's words where it gives no number (adapters/libvirt/failures.py)."""
    set_up()
    text = (tmp_path / "units" / f"{unit}.service.d" / "vm-mgr.conf").read_text()
    assert text.splitlines()[-2:] == ["[Service]", f"Environment={variable}= LC_ALL=C.UTF-8"]


def test_second_run_changes_nothing_and_mends_what_was_changed(set_up, tmp_path):
    assert set_up().count("changed ") == 2
    assert set_up() == ""
    (tmp_path / "units" / "virtqemud.service.d" / "vm-mgr.conf").write_text("[Service]\n")
    assert set_up().splitlines() == [f"changed {tmp_path}/units/virtqemud.service.d/vm-mgr.conf"]
