"""Taking the lab down leaves nothing on the host, whatever state it was in."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from vm_mgr_lab import up as bring
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import wait_until

from .footprint import Footprint

pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.timeout(300)]


def test_down_after_a_full_run_leaves_nothing(lab: Lab, host_before: Footprint, keeps_lab: bool) -> None:
    if keeps_lab:
        pytest.skip("VM_MGR_LAB_KEEP: the lab is kept")
    assert Footprint.take().left_since(host_before), (
        "a running lab must be visible, or this test sees nothing"
    )
    bring.down(lab.paths, print)
    assert Footprint.take().left_since(host_before) == {}
    assert not lab.paths.state.exists()


@pytest.mark.parametrize("after_s", [0.3, 1.0, 2.0, 3.0])
def test_down_after_a_kill_in_the_middle_of_up_leaves_nothing(
    paths: Paths, host_before: Footprint, keeps_lab: bool, after_s: float
) -> None:
    if keeps_lab:
        pytest.skip("VM_MGR_LAB_KEEP: the lab is kept")
    bring.down(paths, print)
    with subprocess.Popen(
        [sys.executable, "-m", "vm_mgr_lab.cli", "up", "--bare"], start_new_session=True
    ) as up:
        deadline = time.monotonic() + after_s
        while time.monotonic() < deadline and up.poll() is None:
            os.sched_yield()
        os.kill(up.pid, signal.SIGKILL)
    bring.down(paths, print)
    # A short program that the killed command had just called, such as ssh-keygen, ends by itself.
    with contextlib.suppress(LabError):
        wait_until(lambda: not Footprint.take().left_since(host_before), what="the last program", timeout_s=5)
    assert Footprint.take().left_since(host_before) == {}
    assert not paths.state.exists()


def test_down_without_a_lab_is_fine(paths: Paths, keeps_lab: bool) -> None:
    if keeps_lab:
        pytest.skip("VM_MGR_LAB_KEEP: the lab is kept")
    bring.down(paths, print)
    with pytest.raises(LabError):
        Lab.load(paths)
