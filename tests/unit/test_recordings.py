"""The recorded earlier versions are whole: the lab upgrades from them."""

import tarfile
from pathlib import Path

RECORDINGS = Path(__file__).parents[1] / "recordings"


def test_first_version_is_what_its_deployment_installed():
    with tarfile.open(RECORDINGS / "vm-mgr-0.1.tar.xz") as recorded:
        members = recorded.getmembers()
        version = recorded.extractfile("lib/vm_mgr/__init__.py").read().decode()
        script = recorded.extractfile("install.sh").read().decode()
        agent = recorded.extractfile("ocf/VirtualDomain").read().decode()
    names = {one.name for one in members}
    assert {"lib/vm_mgr/cli/__init__.py", "lib/vm_manager/__init__.py", "ocf/DiskLocks"} <= names
    assert all(one.isfile() or one.isdir() for one in members)
    assert '__version__ = "0.1.0"' in version
    assert "/usr/lib/ocf/resource.d/vm-mgr" in script
    assert agent.startswith("#!/bin/sh")
    assert "lib/vm_mgr/operations/events.py" not in names, "it is to be an earlier version than this one"


def test_later_version_is_what_its_deployment_installed():
    with tarfile.open(RECORDINGS / "vm-mgr-b989f9c.tar.xz") as recorded:
        members = recorded.getmembers()
        script = recorded.extractfile("install.sh").read().decode()
        exchange = recorded.extractfile("entry/exchange.sh").read().decode()
    names = {one.name for one in members}
    assert {
        "vm_mgr/cli/__init__.py",
        "vm_manager/__init__.py",
        "ocf/Node",
        "ocf/alert",
        "entry/vm-mgr",
    } <= names
    assert all(one.isfile() or one.isdir() for one in members)
    assert "/versions" in script
    assert "current" in exchange
    assert "vm_mgr/operations/migration/run.py" not in names, "it is to be an earlier version than this one"
