"""Programs in a guest, its addresses, its screen."""

import base64
import json
import struct
import zlib

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.libvirt.guest_access import LibvirtGuests
from vm_mgr.adapters.libvirt.virsh import check
from vm_mgr.cli.app import app
from vm_mgr.cli.pictures import as_png
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.ports.guest_access import AddressSource, Executed, GuestAddress
from vm_mgr.ports.runner import Completed


@pytest.fixture
def shell(env, image):
    def run(*words):
        return CliRunner(mix_stderr=False).invoke(app, words, obj=env)

    assert run("create", "web1", "--image", image).exit_code == 0
    env.hypervisor.with_agent.add("web1")
    return run


def test_program_runs_in_the_guest_and_its_status_is_ours(shell, env):
    env.hypervisor.guest.outcomes = [None, None, Executed(3, b"out\xff\n", b"err\n")]
    done = shell("exec", "web1", "ls", "-l", "--all")
    assert env.hypervisor.guest.begun == [("web1", ("ls", "-l", "--all"))]
    assert (done.exit_code, done.stdout_bytes, done.stderr) == (3, b"out\xff\n", "err\n")


def test_program_as_data(shell, env):
    env.hypervisor.guest.outcomes = [Executed(0, b"1", b"")]
    done = shell("exec", "-o", "json", "--name", "web1", "true")
    assert json.loads(done.stdout) == {"name": "web1", "exit_code": 0, "stdout": "1", "stderr": ""}


def test_program_that_does_not_end_is_not_waited_for(shell, env):
    began = env.clock.now
    done = shell("exec", "--timeout", "5s", "web1", "sleep", "9")
    assert done.exit_code == EXIT_CODES[Kind.TRY_LATER]
    assert "as process 1" in done.stderr
    assert 5 <= env.clock.now - began < 7


@pytest.mark.parametrize("words", [["exec", "web1", "true"], ["address", "web1"]])
def test_guest_that_tells_nothing_is_named_with_the_way_out(shell, env, words):
    env.hypervisor.with_agent.clear()
    done = shell(*words)
    assert done.exit_code in (EXIT_CODES[Kind.NOT_SUPPORTED], EXIT_CODES[Kind.TRY_LATER])
    assert "install qemu-guest-agent" in done.stderr
    assert not env.hypervisor.guest.begun


@pytest.mark.parametrize(
    "words",
    [
        ["exec", "web1", "true"],
        ["address", "web1"],
        ["screenshot", "web1"],
        ["console", "web1", "--graphical"],
    ],
)
def test_vm_that_does_not_run_has_no_guest(shell, words):
    shell("stop", "web1")
    done = shell(*words)
    assert done.exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert "start it: vm-mgr start web1" in done.stderr


def test_program_has_to_be_given(shell):
    assert shell("exec", "web1").exit_code == 2


def test_addresses_are_those_of_who_knows_best(shell, env):
    arp = GuestAddress("192.0.2.9", "52:54:00:00:00:01", AddressSource.ARP)
    env.hypervisor.guest.known = [arp]
    assert shell("address", "web1").stdout.splitlines()[1].split() == ["192.0.2.9", arp.mac, "arp"]
    env.hypervisor.guest.known += [
        GuestAddress("2001:db8::7", "52:54:00:00:00:01", AddressSource.AGENT),
        GuestAddress("192.0.2.7", "52:54:00:00:00:01", AddressSource.AGENT),
    ]
    found = json.loads(shell("address", "web1", "-o", "json").stdout)
    assert [(one["address"], one["source"]) for one in found] == [
        ("192.0.2.7", "agent"),
        ("2001:db8::7", "agent"),
    ]


def test_screen_is_a_picture_that_programs_show(shell, env, tmp_path):
    env.hypervisor.guest.picture = b"P6\n2 1\n255\n" + b"\n\x20\x00abc"
    png, ppm = tmp_path / "a.png", tmp_path / "a.ppm"
    assert shell("screenshot", "web1", str(png)).stdout == f"the screen of web1 is in {png}\n"
    assert shell("screenshot", "web1", str(ppm)).exit_code == 0
    assert ppm.read_bytes() == env.hypervisor.guest.picture
    written = png.read_bytes()
    assert written.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", written[16:24]) == (2, 1)
    at = written.index(b"IDAT")
    (size,) = struct.unpack(">I", written[at - 4 : at])
    assert zlib.decompress(written[at + 4 : at + 4 + size]) == b"\0\n\x20\x00abc"
    assert as_png(written) == written


def test_guest_without_a_screen_leaves_no_file(shell, tmp_path):
    assert shell("screenshot", "web1", str(tmp_path / "a.png")).exit_code == EXIT_CODES[Kind.EXTERNAL_FAILURE]
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("path", ["/none/a.png", f"/tmp/{'a' * 300}.png"])
def test_file_that_can_not_be_written_is_told(shell, env, path):
    env.hypervisor.guest.picture = b"x"
    done = shell("screenshot", "web1", path)
    assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert "hint: name a file that can be written" in done.stderr


@pytest.mark.parametrize(
    ("uri", "lines"),
    [
        ("vnc://127.0.0.1:1", ["ssh -N -L 5901:127.0.0.1:5901 n1", "vnc://localhost:5901"]),
        ("spice://127.0.0.1:5902", ["ssh -N -L 5902:127.0.0.1:5902 n1", "spice://localhost:5902"]),
        ("vnc://[::1]:0", ["ssh -N -L 5900:[::1]:5900 n1", "vnc://localhost:5900"]),
    ],
)
def test_way_to_the_screen_is_printed(shell, env, uri, lines):
    env.hypervisor.guest.uri = uri
    assert shell("console", "web1", "--graphical").stdout.splitlines() == lines


@pytest.mark.parametrize("uri", ["", "vnc+unix:///run/x.sock", "vnc://127.0.0.1:"])
def test_no_way_to_a_screen_is_refused(shell, env, uri):
    env.hypervisor.guest.uri = uri
    assert shell("console", "web1", "--graphical").exit_code == EXIT_CODES[Kind.NOT_SUPPORTED]


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (
            "Guest agent command failed, error was 'Failed to execute child process “ll” (No such file)'",
            "sh -c",
        ),
        ("The command guest-exec has been disabled for this instance", "allow guest-exec"),
        ("Command guest-exec has been disabled: the command is not allowed", "allow guest-exec"),
        ("no screens to take screenshot from", "<video/>"),
    ],
)
def test_what_a_guest_refuses_has_a_hint_for_the_guest(said, hint):
    with pytest.raises(VmMgrError) as failed:
        check(Completed(("virsh",), 1, "", f"error: internal error: {said}\n"))
    assert said in failed.value.message
    assert hint in failed.value.hint
    assert "journalctl" not in failed.value.hint


class Virsh:
    def __init__(self, *outputs):
        self.outputs, self.calls = list(outputs), []

    def run(self, argv, *, timeout_s):
        self.calls.append(argv[4:])
        return Completed(argv, 0, self.outputs.pop(0), "")


def test_agent_is_asked_through_libvirt():
    out = base64.b64encode(b"hello\n").decode()
    virsh = Virsh(
        '{"return":{"pid":812}}\n',
        '{"return":{"exited":false}}',
        f'{{"return":{{"exitcode":4,"out-data":"{out}","exited":true}}}}',
        '{"return":{"signal":9,"exited":true}}',
    )
    guests = LibvirtGuests(virsh, "qemu:///system")
    assert guests.begin("web1", ["sh", "-c", "echo 'a\"b'"]) == 812
    assert json.loads(virsh.calls[0][2])["arguments"]["arg"] == ["-c", "echo 'a\"b'"]
    assert guests.ended("web1", 812) is None
    assert guests.ended("web1", 812) == Executed(4, b"hello\n", b"")
    assert guests.ended("web1", 812) == Executed(137, b"", b"")


def test_table_of_addresses_is_read_with_its_gaps():
    table = """
 lo         00:00:00:00:00:00    ipv4         127.0.0.1/8
 -          -                    ipv6         ::1/128
 eth0       52:54:00:00:00:01    ipv4         192.0.2.7/24
 -          -                    ipv6         fe80::1/64
 -          -                    ipv6         2001:db8::7/64
 odd        52:54:00:00:00:02    N/A          N/A
"""
    found = LibvirtGuests(Virsh(table), "qemu:///system").addresses("web1", AddressSource.AGENT)
    assert [one.address for one in found] == ["192.0.2.7", "2001:db8::7"]
    assert {one.mac for one in found} == {"52:54:00:00:00:01"}
