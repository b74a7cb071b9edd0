"""Every command with any words: no traceback, a documented exit status, no hang, nothing left of what failed.

The lines are made from the click objects, so that new commands and options are met too.
"""

import copy
from contextlib import chdir
from itertools import chain

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from vm_mgr.adapters.ceph import layout
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.memory.clock import VirtualClock
from vm_mgr.adapters.memory.env import MemoryEnv
from vm_mgr.adapters.pacemaker import cib_write as commands_of_pacemaker
from vm_mgr.adapters.shared_dir import record
from vm_mgr.cli.app import app
from vm_mgr.cli.reference import commands
from vm_mgr.errors import EXIT_CODES, Kind, SignalError
from vm_mgr.model.storage import Consistency
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.enable import enable

from .conftest import DOMAIN

COMMANDS = commands()
# 1 is "no" to a question; 12 would be a defect of vm-mgr.
STATUSES = {0, 1, *EXIT_CODES.values()} - {EXIT_CODES[Kind.INTERNAL]}
LONGEST_S = 3600
EXAMPLES = 30  # of each command
EDITORS = {"VISUAL": "true", "EDITOR": "true"}  # not one that waits for somebody

VMS = ["web1", "web2", "db1", "copy1"]
USUAL = {
    "NAME": [*VMS, *VMS, "nobody"],
    "NEW": ["new1", "new2", "new3", "web2", "db1"],
    "RESOURCE": [*VMS, *VMS, "nobody"],
    "LABEL": ["ceph", ""],
    "VALUE": ["me", "a b"],
    "NODE": ["n1", "n2", "n2", "n9"],
    "FILE": [*["disk.qcow2"] * 8, "vm.xml", "folder", "none"],
    "--xml": [*["vm.xml"] * 8, "disk.qcow2", "folder", "none"],
    "S": ["old", "old", "older", "new1", "new2", "7"],
    "KEY": ["owner", "owner", "site", "xml"],
    "KEY=VALUE": ["owner=me", "a=b=c", "a="],
    "SIZE": ["2M", "1G", "1"],
    "BUS": ["virtio", "scsi", "floppy"],
    "FORMAT": ["raw", "qcow2", "vmdk"],
    "'DD/MM/YYYY HH:MM:SS'": ["31/12/2026 23:59:59", "01/01/1970 00:00:00", "01/01/0001 00:00:00"],
}
HOSTILE = [
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "a\nb",
        "\n",
        "\x1b[2J",
        "ä",
        "名前",
        "\ud800",
        "\udcff",
        "٣",
        "²",
        "a" * 65,
        "x" * 5000,
    ),
    *(
        "-",
        "--",
        "-x",
        "--x",
        "=",
        "a=",
        "=b",
        "\0=\0",
        "\n=\n",
        "\x01=\x01",
        "%s",
        "{0}",
        "$(x)",
        "<x/>",
        "&",
        "'",
        '"',
    ),
    *(
        ".",
        "..",
        "/",
        "../..",
        "/dev/null",
        "/proc/self/mem",
        "/etc/shadow/x",
        "xml",
        "vm_name",
        "all",
        "None",
    ),
    *("0", "-1", "1e9", "nan", "inf", "1" * 30, "-" + "9" * 30, "18446744073709551616", "99999999T"),
    *("31/12/9999 23:59:59", "01/01/0001 00:00:00"),
]
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=()), max_size=12))


class Impatient(VirtualClock):
    """Presses Ctrl-C after an hour."""

    def sleep(self, seconds):
        super().sleep(seconds)
        if self.now > 1_000_000 + LONGEST_S:
            raise SignalError(2)


def world():
    env = MemoryEnv(DomainXml())
    env.clock = Impatient()
    for name in ("web1", "web2", "db1"):
        with env.storage.stage(name) as staged:
            staged.add(1 << 20)
            staged.add(1 << 20)
            staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={"owner": "me"})
            staged.commit()
        for snapshot in ("old", "older"):
            env.storage.snapshots.take(name, snapshot, Consistency.OFFLINE)
    enable(env, "web1", start=True)
    enable(env, "db1", start=False)
    clone(env, CloneRequest("web2", "copy1", VmSettings()))
    disk = "<devices><disk type='file'><driver type='qcow2'/><source file='disk.qcow2'/></disk></devices>"
    env.hypervisor.kept["old1"] = DOMAIN.replace("<devices/>", disk)
    env.clock = Impatient()
    return env


WORLD = world()


def picture(env):
    env.cluster.state()
    vms = {name: vars(vm) for name, vm in env.storage.vms.items()}
    kept = [
        {key: value for key, value in vars(port).items() if not hasattr(value, "__dict__")}
        for port in (env.cluster, env.hypervisor, env.intent_log)
    ]
    return copy.deepcopy((vms, kept))


def usually(values):
    """Mostly a value that means something here, now and then one that is meant for something else, or any."""
    strange = st.one_of(TEXT, st.sampled_from(list(chain(*USUAL.values()))))
    return st.integers(0, 9).flatmap(lambda dice: strange if dice == 0 else values)


def value(command, parameter):
    if isinstance(parameter.type, click.Choice):
        return usually(st.sampled_from(parameter.type.choices))
    if parameter.type.name.startswith("integer"):
        return usually(st.one_of(st.integers(1, 400), st.integers()).map(str))
    if command.name == "add-to-cluster" and parameter.metavar == "NAME":
        return usually(st.just("old1"))
    if command.name == "create" and parameter.metavar in ("NAME", "[NAME]"):
        return usually(st.sampled_from(USUAL["NEW"]))
    known = USUAL.get(parameter.opts[0]) or USUAL.get((parameter.metavar or "").strip("[]"))
    return usually(st.sampled_from(known)) if known else st.one_of(st.sampled_from(["new1", "7"]), TEXT)


@st.composite
def option(draw, command, parameter):
    """An option as it may stand in a line, mostly not at all."""
    left_out = not draw(st.integers(0, 19)) if parameter.required else draw(st.integers(0, 7))
    if left_out:
        return []
    spelled = draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))
    if spelled.startswith("--") and draw(st.booleans()):
        spelled = "--" + spelled[2:].replace("-", "_")
    if parameter.is_flag:
        return [spelled]
    given = draw(value(command, parameter))
    return [f"{spelled}={given}"] if spelled.startswith("--") and draw(st.booleans()) else [spelled, given]


@st.composite
def argument(draw, command, parameter):
    """Plain words, as the metavar says: [NAME] RESOURCE..."""
    words = []
    for metavar in (parameter.metavar or "").split():
        meant = copy.copy(parameter)
        meant.metavar = metavar.replace("...", "").strip("[]")
        words += draw(st.lists(value(command, meant), min_size=1, max_size=3 if "..." in metavar else 1))
    return words if draw(st.integers(0, 7)) else words[:-1]


@st.composite
def line(draw, command):
    parts = [
        draw((option if isinstance(parameter, click.Option) else argument)(command, parameter))
        for parameter in command.params
    ]
    return [command.name, *chain(*draw(st.permutations(parts)))]


def check_storable(env):
    """What is kept can be written where it is kept on real components, and read again."""
    cib = commands_of_pacemaker.parse_cib("<cib><configuration/></cib>")
    for name, vm in env.storage.vms.items():
        kept = env.storage.definitions.settings(name)
        written = layout.write_settings(kept)
        assert "\0" not in "".join(chain(*written.items(), *vm.keys.items())).encode().decode()
        assert without_empty(layout.read_settings(written)) == without_empty(kept)
        told = record.parse(record.render(record.Record(kept, kept.user_metadata)))
        assert without_empty(told.settings) == without_empty(kept)
    for resource in env.cluster.resources.values():
        commands_of_pacemaker.add_vm(cib, resource)


def without_empty(kept):
    return {key: value for key, value in kept._asdict().items() if value or value == 0}


@pytest.fixture(autouse=True)
def _files(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "vm.xml").write_text(DOMAIN)
    (tmp_path / "disk.qcow2").write_bytes(b"QFI\xfb" + bytes(20) + (1 << 20).to_bytes(8, "big"))
    with chdir(tmp_path):
        yield


@pytest.mark.parametrize("name", COMMANDS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),  # finding is quick; shrinking what is found is not
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_words_end_well(name, data):
    words = data.draw(line(COMMANDS[name]))
    env = copy.deepcopy(WORLD)
    before = picture(env)
    done = CliRunner(mix_stderr=False).invoke(app, words, obj=env, env=EDITORS)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in STATUSES, done.stderr
    assert "Traceback" not in done.stderr
    assert not env.intent_log.locked
    assert not env.intent_log.kept
    if done.exit_code:
        assert done.stderr.splitlines()
        if " failed for " not in done.stderr:  # of several VMs the others may have changed
            assert picture(env) == before
    else:
        check_storable(env)
