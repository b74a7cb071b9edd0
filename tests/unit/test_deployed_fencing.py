"""The BMCs' passwords are in files for root and in no argument, environment or configuration."""

import base64
import os
import subprocess
import xml.etree.ElementTree as ET

import pytest

from .test_deployed_timeouts import DEPLOY, Deployment

FILES = DEPLOY / "roles" / "fencing" / "files"
WORDS = [
    *("-I", "lanplus", "-H", "192.0.2.101", "-p", "623", "-U", "admin", "-P", "{}"),
    *("-C", "17", "-L", "ADMINISTRATOR", "-N", "2", "chassis", "power", "status"),
]


def call(folder, password, *, words=WORDS):
    """Call the wrapper as fence_ipmilan does; what stands for ipmitool shows what it was given."""
    tool = folder / "ipmitool"
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\necho --\ncat "$2"\n')
    tool.chmod(0o755)
    argv = ["sh", FILES / "ipmitool", *(word.format(password) for word in words)]
    environment = {**os.environ, "VM_MGR_FENCE": str(folder), "VM_MGR_IPMITOOL": str(tool)}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def write(root, passwords, *, umask=0o022):
    lines = [f"- {base64.b64encode((FILES / 'ipmitool').read_bytes()).decode()}"]
    lines += [f"{name} {base64.b64encode(one.encode()).decode()}" for name, one in passwords.items()]
    return subprocess.run(
        ["sh", "-c", (FILES / "write-passwords.sh").read_text()],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
        umask=umask,
        env={"PATH": os.environ["PATH"], "VM_MGR_ROOT": str(root)},
    ).stdout


PASSWORDS = {"n1": 'secret one\'s "$(id)" \\ x', "n2": " spaces ", "n3": "-f"}


def test_wrapper_hands_over_a_file_in_place_of_the_name(tmp_path):
    write(tmp_path, PASSWORDS)
    for name, password in PASSWORDS.items():
        folder = tmp_path / "etc/vm-mgr/fence"
        done = call(folder, name)
        words, _, given = done.stdout.partition("\n--\n")
        expected = [word for word in WORDS if word not in ("-P", "{}")]
        assert words.split("\n") == ["-f", f"{folder}/{name}.password", *expected]
        assert given == f"{password}\n"


@pytest.mark.parametrize("name", ["", "n9", "../n1", "n1.password", "secret"])
def test_wrapper_refuses_what_is_no_machine_and_repeats_it_nowhere(tmp_path, name):
    write(tmp_path, PASSWORDS)
    done = call(tmp_path / "etc/vm-mgr/fence", name)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("vm-mgr: ")


def test_wrapper_without_a_password_refuses(tmp_path):
    assert call(tmp_path, "", words=["-H", "192.0.2.1"]).returncode == 1
    assert call(tmp_path, "", words=["-H", "192.0.2.1", "-P"]).returncode == 1


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_files_are_for_root_only_whatever_the_umask(tmp_path, umask):
    assert "changed" in write(tmp_path, PASSWORDS, umask=umask)
    folder = tmp_path / "etc/vm-mgr/fence"
    modes = {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()}
    assert modes == {f"{n}.password": 0o600 for n in PASSWORDS} | {f"{n}.name": 0o700 for n in PASSWORDS}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "usr/lib/vm-mgr/fence-ipmitool").stat().st_mode & 0o777 == 0o700
    assert write(tmp_path, PASSWORDS, umask=umask) == "", "a second run changes nothing"


def test_what_fencing_calls_prints_no_password(tmp_path):
    write(tmp_path, PASSWORDS)
    for name in PASSWORDS:
        done = subprocess.run(
            [tmp_path / f"etc/vm-mgr/fence/{name}.name"], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{name}\n"


def test_scripts_of_an_earlier_deployment_stay_until_pacemaker_calls_the_new_ones(tmp_path):
    """Fencing works at every moment of the upgrade; afterwards a task of its own removes them."""
    older = tmp_path / "etc/vm-mgr/fence/n1"
    older.parent.mkdir(parents=True)
    older.write_text("#!/bin/sh\necho secret\n")
    assert "older" in write(tmp_path, PASSWORDS)
    assert older.exists()


def test_machine_that_left_leaves_no_password(tmp_path):
    write(tmp_path, PASSWORDS)
    write(tmp_path, {"n1": "x"})
    assert {one.name for one in (tmp_path / "etc/vm-mgr/fence").iterdir()} == {"n1.name", "n1.password"}


def test_devices_are_configured_with_the_wrapper_and_without_a_password():
    root = ET.fromstring(Deployment(3).template("fencing", "configuration.xml.j2"))  # noqa: S314
    for device in root.iter("primitive"):
        found = {one.get("name"): one.get("value") for one in device.iter("nvpair")}
        assert found["ipmitool_path"] == "/usr/lib/vm-mgr/fence-ipmitool"
        assert found["password_script"] == f"/etc/vm-mgr/fence/{found['pcmk_host_list']}.name"
        assert not {"password", "passwd"} & set(found)
