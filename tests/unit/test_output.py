"""What --output prints: the documented fields, the same in JSON and YAML."""

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from vm_mgr import __version__
from vm_mgr.cli.app import app
from vm_mgr.cli.reference import commands
from vm_mgr.cli.render import SCHEMA
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.storage import Consistency
from vm_mgr.model.timings import TotemTimes
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.colocation import separate
from vm_mgr.operations.enable import enable

from .conftest import DOMAIN

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "output.md").read_text()
PRINTERS = [name for name, command in commands().items() if any(p.name == "output" for p in command.params)]
OPEN = ("list-metadata", "list-colocation")  # objects whose keys are the user's


@pytest.fixture
def printed(env):
    for name in ("web1", "web2"):
        with env.storage.stage(name) as staged:
            staged.add(1 << 20)
            staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
            staged.commit()
    env.snapshots.take_snapshot("web1", "a", Consistency.OFFLINE)
    enable(env, "web1", start=True)
    now = env.clock.utc()
    env.event_log.append(
        [
            Event(now - 9, EventKind.LOST, "n2", "n1", vms=("web1", "web2")),
            Event(now - 7, EventKind.FENCED, "n2", "n1", waited={"power": 2000}),
            Event(now - 6, EventKind.RUNNING, "web1", "n1", "guest agent expected", {"disk": 300}),
        ]
    )
    separate(env, "web1", ["web2"])
    env.timings.totem = TotemTimes(token=2.0, consensus=2.0)  # so that there is an inconsistency to print

    def run(command, output):
        words = {"list": [], "events": [], "migrate": ["--all-from", "n1", "--restart-others"]}
        name = words.get(command, ["web1"])
        env.cluster.places["web1"] = "n1"  # from where another output has moved it
        done = CliRunner(mix_stderr=False).invoke(app, [command, *name, "--output", output], obj=env)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    return run


def paths(data, command, lead=""):
    if isinstance(data, list):
        return {path for one in data for path in paths(one, command, f"{lead}[]")}
    if isinstance(data, dict) and data:
        fields = {"*" if command in OPEN and not lead else key: value for key, value in data.items()}
        return {path for key, value in fields.items() for path in paths(value, command, f"{lead}.{key}")}
    return {lead.removeprefix(".")}


def documented(command):
    section = re.search(rf"^## {command}$(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert section, f"docs/reference/output.md has no section {command}"
    return set(re.findall(r"^\| `([^`]+)` \|", section[1], flags=re.MULTILINE))


@pytest.mark.parametrize("command", PRINTERS)
def test_fields_are_the_documented_ones(printed, command):
    data = json.loads(printed(command, "json"))
    assert yaml.safe_load(printed(command, "yaml")) == data
    shown, known = paths(data, command), documented(command)
    # Below a documented `a.*` keys are free.
    free = tuple(path.removesuffix("*") for path in known if path.endswith("*"))
    assert {path for path in shown if not path.startswith(free or ("\0",))} <= known
    assert {path for path in known if not path.endswith("*") and "[]" not in path} <= shown


def test_times_are_utc(printed):
    (snapshot,) = json.loads(printed("list-snapshots", "json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", snapshot["taken"])


def test_version_tells_the_schema():
    done = CliRunner().invoke(app, ["--version"])
    assert done.output == f"vm-mgr {__version__}, output schema {SCHEMA}\n"
    assert f"**schema {SCHEMA}**" in PAGE


def test_free_fields_keep_the_names_of_their_schema(printed):
    """Dataclasses are renamed, what scripts read is not."""
    shown = json.loads(printed("timeouts", "json"))["vms"][0]["timeouts"]
    assert {"name", "storage", "needs", "start", "stop", "monitor_interval"} <= set(shown)
