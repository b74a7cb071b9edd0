"""Settings, memory and processors that change while a VM runs."""

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import disable
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.reports import Note

SMALL = """<domain type='qemu'><name>x</name><memory unit='GiB'>1</memory>
<currentMemory>1048576</currentMemory><vcpu placement='static' current='1'>2</vcpu>{more}
<os><type>hvm</type></os><devices/></domain>"""


@pytest.fixture
def vm(env, image):
    settings = VmSettings(priority=3, pacemaker_meta={"a": "1", "b": "2"}, user_metadata={"owner": "me"})
    create(env, CreateRequest("web1", SMALL.format(more=""), (image,), settings))
    env.said.clear()
    return "web1"


def codes(env):
    return [report.code for report in env.said if isinstance(report, Note)]


def kind_of(env, changes):
    before = (env.storage.definitions.settings("web1"), env.storage.definitions.read("web1"))
    with pytest.raises(VmMgrError) as caught:
        set_vm(env, "web1", changes)
    assert caught.value.hint
    assert (env.storage.definitions.settings("web1"), env.storage.definitions.read("web1")) == before
    return caught.value.kind


def test_cluster_learns_what_it_must_know_at_once(env, vm):
    changes = {"priority": 9, "live_migration": True, "stop_timeout_s": 77, "preferred_host": "n3"}
    set_vm(env, vm, Changes(changes))
    resource = env.cluster.resources[vm]
    assert (resource.priority, resource.live_migration, resource.stop_timeout_s) == (9, True, 77)
    assert resource.preferred_host == "n3"
    assert codes(env) == ["effect-now"]


def test_settings_are_switched_off_and_taken_back(env, vm):
    set_vm(env, vm, Changes({"live_migration": True}))
    set_vm(env, vm, Changes({"live_migration": False, "priority": None}))
    set_vm(
        env,
        vm,
        Changes({"pacemaker_meta": {"a": "", "c": "3"}, "user_metadata": {"owner": "", "site": "north"}}),
    )
    settings = env.storage.definitions.settings(vm)
    assert (settings.live_migration, settings.priority) == (False, None)
    assert settings.pacemaker_meta == {"b": "2", "c": "3"}
    assert settings.user_metadata == {"site": "north"}
    assert env.cluster.resources[vm].priority == 1


def test_host_takes_the_place_of_another(env, vm):
    set_vm(env, vm, Changes({"preferred_host": "n2"}))
    set_vm(env, vm, Changes({"pinned_host": "n1"}))
    settings = env.storage.definitions.settings(vm)
    assert (settings.pinned_host, settings.preferred_host) == ("n1", None)


def test_agents_parameters_wait_for_the_next_enable(env, vm):
    before = env.cluster.resources[vm].params
    set_vm(env, vm, Changes({"migration_downtime_ms": 50}))
    assert env.cluster.resources[vm].params == before
    assert codes(env) == ["effect-enable"]


def test_memory_and_vcpus_take_effect_at_the_next_start(env, vm):
    set_vm(env, vm, Changes(memory_bytes=3 << 30, vcpus=4, description="the <first>"))
    xml = env.storage.definitions.read(vm)
    assert '<memory unit="KiB">3145728</memory>' in xml
    assert '<currentMemory unit="KiB">3145728</currentMemory>' in xml
    assert '<vcpu placement="static">4</vcpu>' in xml
    assert "<description>the &lt;first&gt;</description>" in xml
    assert codes(env) == ["effect-start"]
    set_vm(env, vm, Changes(description=""))
    assert "description" not in env.storage.definitions.read(vm)


@pytest.mark.parametrize(
    ("more", "changes"),
    [
        ("<cpu><topology sockets='1' cores='2' threads='1'/></cpu>", Changes(vcpus=4)),
        ("<cpu><numa><cell id='0' cpus='0-1' memory='1' unit='GiB'/></numa></cpu>", Changes(vcpus=4)),
        ("<vcpus><vcpu id='0' enabled='yes'/></vcpus>", Changes(vcpus=4)),
        ("<cpu><numa><cell id='0' cpus='0' memory='1'/></numa></cpu>", Changes(memory_bytes=2 << 30)),
        ("<maxMemory slots='4' unit='MB'>2000</maxMemory>", Changes(memory_bytes=2 << 30)),
    ],
)
def test_change_that_the_definition_contradicts_is_refused(env, image, more, changes):
    create(env, CreateRequest("web1", SMALL.format(more=more), (image,)))
    assert kind_of(env, changes) is Kind.INVALID


def test_fitting_topology_is_fine(env, image):
    more = "<cpu><topology sockets='2' cores='2' threads='1'/></cpu><maxMemory slots='4'>4194304</maxMemory>"
    create(env, CreateRequest("web1", SMALL.format(more=more), (image,)))
    set_vm(env, "web1", Changes(memory_bytes=4 << 30, vcpus=4))
    assert '<vcpu placement="static">4</vcpu>' in env.storage.definitions.read("web1")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        (Changes(memory_bytes=1), Kind.INVALID),
        (Changes(vcpus=0), Kind.INVALID),
        (Changes({"pinned_host": "n9"}), Kind.NOT_FOUND),
        (Changes({"pinned_host": "n1", "preferred_host": "n2"}), Kind.INVALID),
        (Changes({"pinned_host": "n3"}), Kind.WRONG_STATE),
    ],
)
def test_what_makes_no_sense_is_refused(env, vm, changes, kind):
    assert kind_of(env, changes) is kind


def test_host_that_was_accepted_earlier_may_be_down(env, vm):
    set_vm(env, vm, Changes({"preferred_host": "n3"}))
    env.cluster.nodes["n3"] = env.cluster.nodes["n3"]._replace(online=False)
    set_vm(env, vm, Changes({"priority": 1}))
    assert env.cluster.resources[vm].preferred_host == "n3"


def test_command_says_changed_only_of_what_is(env, vm):
    def shell(*words):
        return CliRunner(mix_stderr=False).invoke(app, ["set", vm, *words], obj=env)

    assert shell("--no-check", "qmp").stdout == ""
    assert shell("--priority", "7").stdout == f"{vm} is changed\n"


def test_disabled_vm_and_no_change(env, vm):
    disable(env, vm)
    set_vm(env, vm, Changes({"priority": 3}))
    set_vm(env, vm, Changes({"priority": 4}))
    assert codes(env) == ["unchanged", "effect-enable"]
    assert env.storage.definitions.settings(vm).priority == 4
    assert not env.intent_log.intents()


HIBERNATES, RESTARTS = {"on_move": "hibernate", "live_migration": False}, {"on_move": None}
MIGRATES = {"on_move": None, "live_migration": True}


@pytest.mark.parametrize(
    ("was", "asked"),
    [
        (HIBERNATES, RESTARTS),
        (HIBERNATES, {}),
        (RESTARTS, HIBERNATES),
        (HIBERNATES, {"live_migration": True, "on_move": None}),
    ],
    ids=["no more", "still", "from now on", "live"],
)
def test_hibernation_is_what_was_asked_for_when_the_memory_changes_too(env, vm, monkeypatch, was, asked):
    """The cluster changes only what differs between the two resources that it is given."""
    set_vm(env, vm, Changes(was))
    told = []
    monkeypatch.setattr(env.cluster, "reconfigure", lambda *given: told.append(given))
    set_vm(env, vm, Changes(asked, memory_bytes=3 << 30))
    ((after, before),) = told
    wanted = {**was, **asked}["on_move"] == "hibernate"
    assert bool(after.hibernation_s) is wanted
    assert after.hibernation_s != before.hibernation_s


def dry(env, *words):
    done = CliRunner(mix_stderr=False).invoke(app, ["set", "web1", *words, "--dry-run"], obj=env)
    assert done.exit_code == 0, done.output
    return [line.partition(". ")[2] for line in done.stdout.splitlines() if line[:1].isdigit()]


@pytest.mark.usefixtures("vm")
def test_dry_run_names_what_changes_and_nothing_else(env):
    assert dry(env, "--memory", "2G") == ["store with web1: definition"]
    assert dry(env, "--metadata", "site=north") == ["store the settings of web1: --metadata site=north"]
    assert dry(env, "--on-move", "migrate", "--priority", "9") == [
        "store the settings of web1: --on-move migrate, --priority 9",
        "change the resource web1: live migration, priority 9, no longer priority 3",
    ]
