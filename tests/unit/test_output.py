"""What --output prints: the documented fields, the same in JSON and YAML."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from vm_mgr import __version__
from vm_mgr.answers.schema import DIALECT, all_schemas, schema_of
from vm_mgr.answers.schema import commands as answering
from vm_mgr.cli.app import app
from vm_mgr.cli.reference import commands
from vm_mgr.cli.render import SCHEMA
from vm_mgr.model.cluster import Fencing, Node
from vm_mgr.model.event import Event, EventKind
from vm_mgr.model.package import Package
from vm_mgr.model.storage import Consistency
from vm_mgr.model.timings import TotemTimes
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.colocation import separate
from vm_mgr.operations.enable import enable
from vm_mgr.ports.guest_access import AddressSource, GuestAddress

from .conftest import DOMAIN

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (REFERENCE / "output.md").read_text()
PRINTERS = [
    name
    for name, command in commands().items()
    if any(p.name == "output" and p.expose_value for p in command.params)
]
OVF = b"""<Envelope><DiskSection><Disk diskId="d" capacity="1048576"/></DiskSection>
<VirtualSystem id="any"><VirtualHardwareSection>
<Item><InstanceID>1</InstanceID><ResourceType>3</ResourceType><VirtualQuantity>1</VirtualQuantity></Item>
<Item><InstanceID>2</InstanceID><ResourceType>4</ResourceType><VirtualQuantity>64</VirtualQuantity></Item>
<Item><InstanceID>3</InstanceID><ResourceType>17</ResourceType><HostResource>ovf:/disk/d</HostResource></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>"""
OF_A_GUEST = {"exec", "screenshot"}  # which test_guest_access.py asks
OPEN = ("list-metadata", "list-colocation")  # objects whose keys are the user's


@pytest.fixture
def printed(env):
    for name in ("web1", "web2"):
        with env.storage.stage(name) as staged:
            staged.add(1 << 20)
            staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
            staged.commit()
    env.storage.snapshots.take("web1", "a", Consistency.OFFLINE)
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
    env.hypervisor.guest.known = [GuestAddress("192.0.2.7", "52:54:00:00:00:01", AddressSource.AGENT)]
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
    require_valid(command, data)
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


CHANGES = """
create new1 --xml {xml} --image {image} --disable
enable new1
pause new1
resume new1
set new1 --priority 3
set-metadata new1 --metadata-name owner --metadata-value me
get-metadata new1 --metadata-name owner
remove-metadata new1 --metadata-name owner
add-disk new1 2M
resize-disk new1 4M --disk 1
remove-disk new1 1 --yes
create-snapshot new1 --snap-name a
remove-snapshot new1 --snap-name a
create-snapshot new1 --snap-name b
purge new1 --number 0
migrate new1 n2
unmigrate new1
clear new1
add-pacemaker-remote new1 --remote-name guest1 --remote-address 192.0.2.9
remove-pacemaker-remote new1
restart new1
rollback new1 --snap-name b --yes
stop new1
start new1
disable new1
rename new1 --new-name new2
clone new2 --dst-name new3 --nostart
flatten new3
edit new2 --file {edited} --yes
separate new3 web1
add-colocation new3 web1
remove-colocation new3
remove new3
add-to-cluster local1
release-node n3
import {ova} --name new4
repair
"""


@pytest.fixture
def cluster(env, tmp_path, image):
    """A VM that runs, a domain of this node's own libvirt, and a node that was fenced."""
    xml, edited = tmp_path / "vm.xml", tmp_path / "edited.xml"
    xml.write_text(DOMAIN)
    with env.storage.stage("web1") as staged:
        staged.add(1 << 20)
        staged.describe(xml=DOMAIN, base_xml=DOMAIN, settings=VmSettings(), notes={})
        staged.commit()
    enable(env, "web1", start=True)
    disk = f"<disk type='file'><driver type='qcow2'/><source file='{image}'/></disk>"
    env.hypervisor.kept["local1"] = DOMAIN.replace("<devices/>", f"<devices>{disk}</devices>")
    env.cluster.nodes["n3"] = Node("n3", online=False)
    ago = datetime.fromtimestamp(env.clock.utc() - 3, UTC)
    env.cluster.fencings.append(Fencing("n3", succeeded=True, completed=f"{ago:%Y-%m-%d %H:%M:%S.%f}Z"))
    env.images.packages["app.ova"] = Package("app.ova", "app.ovf", OVF, {})
    env.paths = {"image": image, "xml": xml, "edited": edited, "ova": "app.ova"}
    return env


def test_all_commands_that_change_something_answer_with_the_documented_data(cluster):
    answered = {}
    for line in CHANGES.format(**cluster.paths).strip().splitlines():
        command, *words = line.split()
        if command == "edit":
            stored = cluster.storage.definitions.read("new2")
            cluster.paths["edited"].write_text(stored.replace("</domain>", "<!-- edited --></domain>"))
        done = CliRunner(mix_stderr=False).invoke(app, [command, *words, "--output", "json"], obj=cluster)
        assert (done.exit_code, done.stdout[:1]) == (0, "{"), (line, done.stdout, done.stderr)
        answered[command] = json.loads(done.stdout)
        require_valid(command, answered[command])
    silent = {"console", "completion", "schema", *OF_A_GUEST, *PRINTERS} - {"migrate"}
    assert answered.keys() == commands().keys() - silent
    known = {name: fields for names, fields in documented_changes() for name in names}
    for command, data in answered.items():
        assert data.keys() == known[command] or known[command] == {"*"}, command


def test_dry_run_answers_with_its_steps(cluster):
    done = CliRunner(mix_stderr=False).invoke(app, ["stop", "web1", "--dry-run", "-o", "json"], obj=cluster)
    assert json.loads(done.stdout) == {"dry_run": True, "steps": ["stop web1"]}
    require_valid("stop", json.loads(done.stdout))
    assert cluster.cluster.places["web1"] == "n1"


def test_published_schema_is_what_the_shapes_say():
    published = json.loads((REFERENCE / "schema.json").read_text())
    fresh = published == all_schemas(SCHEMA)
    assert fresh, "run: vm-mgr schema >docs/reference/schema.json"
    jsonschema.Draft202012Validator.check_schema(published)
    assert published["$schema"] == DIALECT


def test_published_schema_has_every_command_that_answers():
    published = json.loads((REFERENCE / "schema.json").read_text())["$defs"]
    assert {name for name in published if name.islower()} == set(answering())
    assert set(answering()) == commands().keys() - {"completion", "console", "schema"}


@pytest.mark.parametrize("name", ["stop", "list_snapshots", "clear"])
def test_schema_of_a_command_is_printed(name):
    done = CliRunner().invoke(app, ["schema", name])
    assert json.loads(done.output) == schema_of(name.replace("_", "-"), SCHEMA)


def test_schema_of_all_commands_is_printed():
    assert json.loads(CliRunner().invoke(app, ["schema"]).output) == all_schemas(SCHEMA)


@pytest.mark.parametrize("name", ["console", "moon"])
def test_schema_of_a_command_without_data_is_refused(name):
    done = CliRunner(mix_stderr=False).invoke(app, ["schema", name])
    assert done.exit_code == 2
    assert f"no command '{name}' prints data" in done.stderr


VM = {"name": "web1", "state": "Started", "node": "n1", "detail": ""}


@pytest.mark.parametrize(
    "wrong",
    [
        {**VM, "node": None},
        {**VM, "state": 1},
        {key: value for key, value in VM.items() if key != "detail"},
        [VM],
        "web1",
    ],
)
def test_schema_refuses_what_has_changed(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema_of("status", SCHEMA))


def test_schema_takes_what_later_versions_may_add():
    """Fields and words are added within a schema; only the tests of this version are strict about them."""
    later = {**VM, "state": "Hibernating", "memory_bytes": 1}
    jsonschema.validate(later, schema_of("status", SCHEMA))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(later, schema_of("status", SCHEMA, strict=True))


def documented_types(command):
    section = re.search(rf"^## {command}$(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)[1]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, flags=re.MULTILINE)
    return {path: set(types.split(", ")) for path, types in rows}


def types_of(schema, defs, lead=""):
    """Give each path of a schema that has a value, with the types of the page; lists of one type are [*]."""
    schema = defs[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from types_of(one, defs, lead)
    elif "properties" in schema:
        for name, one in schema["properties"].items():
            yield from types_of(one, defs, f"{lead}.{name}")
    elif isinstance(schema.get("additionalProperties"), dict):
        yield lead, "object"
        yield from types_of(schema["additionalProperties"], defs, f"{lead}.*")
    elif "items" in schema:
        yield from types_of(schema["items"], defs, f"{lead}[]")
    else:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        yield from ((lead, {"integer": "number"}.get(one, one)) for one in types if one != "null")


@pytest.mark.parametrize("command", PRINTERS)
def test_page_says_the_types_of_the_schema(command):
    """Below a documented `a.*` fields are named in the schema only; those of --dry-run are told once."""
    told, schema = documented_types(command), schema_of(command, SCHEMA)
    kinds = {}
    for path, kind in types_of(schema, schema["$defs"]):
        kinds.setdefault(path.removeprefix("."), set()).add(kind)
    free = tuple(path.removesuffix("*") for path in told if path.endswith(".*"))
    answers = {path: found for path, found in kinds.items() if path and not path.startswith(free or ("\0",))}
    if command == "migrate":
        of_vms = {f"[].{field}" for field in ("name", "state", "node", "detail")}
        of_one_vm = {"name", "state", "detail", "dry_run", "steps[]"} | of_vms
        answers = {path: found for path, found in answers.items() if path not in of_one_vm}
    assert answers == {path: found for path, found in told.items() if not path.endswith(".*")}


def require_valid(command, data):
    """Compare an answer with its schema, without the fields and words that only later versions have."""
    jsonschema.validate(data, schema_of(command, SCHEMA, strict=True))


def documented_changes():
    section = PAGE.partition("## Commands that change something")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| `.*", section, flags=re.MULTILINE):
        names, fields = row.split("|")[1:3]
        yield re.findall(r"`([^`]+)`", names), set(re.findall(r"`([^`]+)`", fields))
