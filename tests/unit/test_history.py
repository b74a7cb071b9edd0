"""Commands at VMs that other tools have a say in: in groups, by other agents, run beside the cluster."""

import pytest

from vm_mgr.adapters.dry_run.recorder import DryRunEnv
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.cluster import Resource
from vm_mgr.model.intent import Intent
from vm_mgr.model.storage import Consistency, DiskClient
from vm_mgr.model.vm import TargetRole, VmName, VmSettings, VmState
from vm_mgr.operations.add_disk import NewDisk, add_disk
from vm_mgr.operations.add_to_cluster import Takeover, add_to_cluster
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.colocation import add_colocation
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.create_snapshot import create_snapshot
from vm_mgr.operations.disable import disable
from vm_mgr.operations.drain import drain
from vm_mgr.operations.enable import enable
from vm_mgr.operations.list_vms import list_vms
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.pacemaker_remote import add_pacemaker_remote
from vm_mgr.operations.remove import remove
from vm_mgr.operations.rename import rename
from vm_mgr.operations.repair import repair
from vm_mgr.operations.rollback import rollback
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.operations.show import show
from vm_mgr.operations.status import status
from vm_mgr.operations.stop import stop
from vm_mgr.ports.cluster import Configured, Constraint, VmResource
from vm_mgr.reports import Note

from .conftest import DOMAIN

OLD = "ocf:heartbeat:VirtualDomain"


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,), VmSettings(live_migration=True)))
    return "web1"


@pytest.fixture
def grouped(env, vm):
    env.cluster.within[vm] = ("group office", ("fs1",))
    env.cluster.sets["office"] = frozenset({"n1"})
    return vm


def refused(kind, word, function, *arguments, **more):
    with pytest.raises(VmMgrError) as caught:
        function(*arguments, **more)
    assert caught.value.kind is kind
    assert word in caught.value.message
    assert caught.value.hint


def test_vm_in_a_group_is_listed_with_it(env, grouped):
    (listed,) = list_vms(env)
    assert (listed.state, listed.words) == (VmState.STARTED, "in the group office")
    assert status(env, grouped).state is VmState.STARTED


@pytest.mark.parametrize(
    "act",
    [
        disable,
        remove,
        migrate,
        lambda env, name: migrate(env, name, "n2"),
        lambda env, name: create(env, CreateRequest(name, DOMAIN, (env.image,), force=True)),
        lambda env, name: clone(env, CloneRequest("other", name, VmSettings(), force=True)),
    ],
)
def test_what_would_break_a_group_is_refused_by_its_name(env, grouped, image, act):
    create(env, CreateRequest("other", DOMAIN, (image,)))
    env.image = image
    refused(Kind.WRONG_STATE, "group office", act, env, grouped)
    assert status(env, grouped).state is VmState.STARTED
    assert env.intent_log.intents() == {}


def test_enabling_a_vm_of_a_group_says_that_it_is_enabled(env, grouped):
    refused(Kind.EXISTS, "enabled already", enable, env, grouped)


@pytest.mark.parametrize("act", [stop, lambda env, name: rollback(env, name, "s1")])
def test_who_stops_with_a_vm_of_a_group_is_named(env, grouped, act):
    create_snapshot(env, grouped, "s1")
    act(env, grouped)
    assert any("fs1" in text for text in notes(env, "followers"))


def quiesced_at_each_take(env, name):
    """Note of each snapshot whether the guest was paused, and whether it was frozen."""
    found, take = [], env.storage.snapshots.take

    def taken(*arguments):
        found.append((name in env.hypervisor.halted, name in env.hypervisor.frozen))
        return take(*arguments)

    env.storage.snapshots.take = taken
    return found


@pytest.mark.parametrize(
    ("agent", "consistency", "held"),
    [(False, Consistency.CRASH, (True, False)), (True, Consistency.FROZEN, (False, True))],
)
def test_snapshot_holds_a_vm_of_a_group(env, image, agent, consistency, held):
    """It was taken for one that is stopped: with several disks each was of another instant."""
    create(env, CreateRequest("web2", DOMAIN, (image, image)))
    env.cluster.within["web2"] = ("group office", ("fs1",))
    if agent:
        env.hypervisor.with_agent.add("web2")
    seen = quiesced_at_each_take(env, "web2")
    assert create_snapshot(env, "web2", "s1").consistency is consistency
    assert seen == [held]
    assert not env.hypervisor.halted
    assert not env.hypervisor.frozen


def test_drain_leaves_a_vm_to_its_group(env, grouped):
    drained = drain(env, "n1")
    assert [(one.name, "group office" in one.reason) for one in drained.stays] == [(grouped, True)]


@pytest.mark.parametrize("partner", ["office", "all", "box"])
def test_vm_is_kept_with_a_group_or_clone(env, vm, partner):
    env.cluster.sets[partner] = frozenset({"n1"})
    assert add_colocation(env, vm, [partner]) == {partner: "700"}


@pytest.mark.parametrize("name", ["office"])
def test_name_of_a_group_is_taken(env, vm, image, name):
    env.cluster.sets[name] = frozenset()
    refused(Kind.EXISTS, name, create, env, CreateRequest(name, DOMAIN, (image,)))
    stop(env, vm)
    refused(Kind.EXISTS, name, rename, env, vm, name)


@pytest.fixture
def foreign(env):
    env.cluster.foreign["old9"] = Resource("old9", OLD, role="Started", active=True, nodes=("n1",))
    return "old9"


def test_vm_of_the_distributions_agent_is_listed_as_that(env, foreign):
    (listed,) = list_vms(env)
    assert (listed.state, listed.words) == (VmState.STARTED, f"run by {OLD}")


@pytest.mark.parametrize(
    "act",
    [
        disable,
        remove,
        lambda env, name: create(env, CreateRequest(name, DOMAIN, (env.image,), force=True)),
    ],
)
def test_parameters_of_another_agent_are_never_lost(env, foreign, image, act):
    env.image = image
    refused(Kind.NOT_SUPPORTED, OLD, act, env, foreign)
    assert foreign in env.cluster.foreign
    assert env.intent_log.intents() == {}


def test_vm_that_a_storage_has_becomes_ours_whatever_agent_runs_it(env, foreign, image):
    """SEAPATH's tools make such VMs."""
    del env.cluster.foreign[foreign]
    create(env, CreateRequest(foreign, DOMAIN, (image,), enable=False))
    env.cluster.foreign[foreign] = Resource(foreign, OLD, role="Stopped", target_role="Stopped")
    assert disable(env, foreign).state is VmState.DISABLED


THEIRS = VmResource(
    VmName("old9"),
    TargetRole.STOPPED,
    live_migration=True,
    priority=7,
    stop_timeout_s=90,
    params={"config": "/etc/old9.xml", "hypervisor": "qemu:///system"},
)


@pytest.fixture
def theirs(env, foreign, image):
    """Have it stopped, and give its definition."""
    env.cluster.foreign[foreign] = Resource(foreign, OLD, role="Stopped", target_role="Stopped")
    configured = env.cluster.configured
    env.cluster.configured = lambda name: (
        Configured(THEIRS) if name in env.cluster.foreign else configured(name)
    )
    disk = f"<disk type='file'><driver type='qcow2'/><source file='{image}'/><target dev='vda'/></disk>"
    return DOMAIN.replace("<devices/>", f"<devices>{disk}</devices>")


def taken(env, xml, name="old9", **options):
    return add_to_cluster(env, Takeover(VmName(name), VmName(options.pop("new", name)), xml=xml, **options))


def test_vm_of_the_distributions_agent_becomes_ours_in_one_step(env, theirs, image):
    assert taken(env, theirs).state is VmState.STARTED
    assert not env.cluster.foreign
    made = env.cluster.resources["old9"]
    assert (made.live_migration, made.priority, made.stop_timeout_s) == (True, 7, 90)
    assert "config" not in made.params
    (gone,) = [one for one in env.said if isinstance(one, Note) and one.code == "not-kept"]
    assert "hypervisor=qemu:///system" in gone.message
    assert env.intent_log.intents() == {}


def test_what_is_asked_for_goes_before_how_the_other_agent_ran_it(env, theirs):
    taken(env, theirs, settings=VmSettings(priority=1, stop_timeout_s=5))
    made = env.cluster.resources["old9"]
    assert (made.live_migration, made.priority, made.stop_timeout_s) == (True, 1, 5)


def test_taking_over_a_vm_that_the_distributions_agent_runs_says_how(env, theirs):
    with pytest.raises(VmMgrError, match=OLD) as told:
        taken(env, "")
    assert told.value.hint.endswith("vm-mgr add-to-cluster old9 --xml /etc/old9.xml")
    assert "vm-mgr stop" not in told.value.hint


def test_place_of_what_has_become_ours_meanwhile_is_not_taken(env, vm, theirs, image):
    stop(env, vm)
    refused(Kind.EXISTS, vm, create, env, CreateRequest(vm, DOMAIN, (image,), resource=True))


NOT_TAKEN = {
    "it runs": ("runs", lambda env, xml: run_again(env) or taken(env, xml)),
    "it runs, and no definition": ("already", lambda env, _: run_again(env) or taken(env, "")),
    "another name": ("keeps its name", lambda env, xml: taken(env, xml, new="web9")),
    "out of the cluster": ("stays there", lambda env, xml: taken(env, xml, enable=False)),
    "in a group": ("group office", lambda env, xml: put_into_group(env) or taken(env, xml)),
    "variables elsewhere": (
        "UEFI variables",
        lambda env, xml: taken(env, xml.replace("</os>", "<nvram>/v.fd</nvram></os>")),
    ),
    "no disk": ("no hard disk", lambda env, _: taken(env, DOMAIN)),
    "nothing of it in the cluster": ("no other tool's agent", lambda env, xml: taken(env, xml, "nobody")),
}


def run_again(env):
    env.cluster.foreign["old9"] = Resource("old9", OLD, role="Started", active=True, nodes=("n1",))


def put_into_group(env):
    env.cluster.foreign["old9"] = env.cluster.foreign["old9"]._replace(within="group office")


@pytest.mark.parametrize(("text", "act"), NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_vm_of_another_agent_that_can_not_be_taken_over_stays_as_it_is(env, theirs, text, act):
    with pytest.raises(VmMgrError, match=text):
        act(env, theirs)
    assert list(env.cluster.foreign) == ["old9"]
    assert env.storage.definitions.names() == set()
    assert env.intent_log.intents() == {}


@pytest.mark.parametrize("at", ["definitions.keep_nvram", "cluster.add"])
def test_takeover_that_is_killed_is_finished_or_taken_back(env, theirs, monkeypatch, at):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    part, verb = at.split(".")
    with monkeypatch.context() as patch:
        target = env.cluster if part == "cluster" else env.storage
        patch.setattr(target, verb if part == "cluster" else "stage", killed)
        with pytest.raises(Killed):
            taken(env, theirs)
    repair(env)
    ours = "old9" in env.cluster.resources
    assert ours is (at == "cluster.add")
    assert ("old9" in env.cluster.foreign) is not ours
    assert ("old9" in env.storage.definitions.names()) is ours


@pytest.fixture
def beside(env, vm):
    """Have somebody run a Disabled VM with virsh create, with its disks open."""
    add_disk(env, vm, NewDisk(1 << 20))
    create_snapshot(env, vm, "before")
    disable(env, vm)
    env.hypervisor.running[vm] = 4711
    env.storage.open_by = [
        DiskClient(one, "10.0.0.1:0/7", watching=True) for one in env.storage.image_names(vm)
    ]
    env.storage.clients_of = lambda images: [one for one in env.storage.open_by if one.image in images]
    return vm


@pytest.mark.parametrize("act", [remove, lambda env, name: rollback(env, name, "before")])
def test_vm_that_runs_beside_the_cluster_is_left_alone_without_a_mark(env, beside, act):
    disks = env.storage.image_names(beside)
    refused(Kind.WRONG_STATE, "in use", act, env, beside)
    assert env.intent_log.intents() == {}
    env.hypervisor.running.pop(beside)
    env.storage.open_by = []
    repair(env)
    assert enable(env, beside).state is VmState.STARTED
    assert env.storage.image_names(beside) == disks


def test_snapshot_holds_a_vm_that_runs_beside_the_cluster(env, beside):
    held = quiesced_at_each_take(env, beside)
    assert create_snapshot(env, beside, "s2").consistency is Consistency.CRASH
    assert held == [(True, False)]
    assert beside not in env.hypervisor.halted


def test_snapshot_of_disks_in_unknown_hands_is_refused(env, beside):
    env.hypervisor.running.pop(beside)
    refused(Kind.WRONG_STATE, "in use", create_snapshot, env, beside, "s2")
    assert [one.name for one in env.storage.snapshots.of(beside)] == ["before"]


def test_vm_that_runs_beside_the_cluster_is_shown_so(env, beside):
    assert "n1" in show(env, beside).status.detail


TIES = [
    Constraint("t1", "ticket siteA (fence)", kind="ticket"),
    Constraint("l1", "location n3 (-INFINITY)", kind="location"),
]


def notes(env, code):
    return [one.message for one in env.said if isinstance(one, Note) and one.code == code]


def test_constraints_of_others_are_named_and_kept(env, vm):
    env.cluster.leftovers[vm] = list(TIES)
    disable(env, vm)
    (told,) = notes(env, "kept")
    assert told.index("t1") < told.index("l1")
    assert env.cluster.configured(vm).others == tuple(TIES)


BY_PATTERN = Constraint("l2", "location n3 (-INFINITY) by the pattern ^web", kind="pattern")


def test_constraint_by_a_pattern_does_not_go_with_the_vm(env, vm):
    env.cluster.leftovers[vm] = [*TIES, BY_PATTERN]
    steps = []
    remove(DryRunEnv(env, steps.append), vm)
    (step,) = [one for one in steps if "with them go" in one]
    assert "l1" in step
    assert "l2" not in step
    remove(env, vm)
    assert "l2" not in notes(env, "goes-too")[-1]
    assert "l2" in notes(env, "stays")[-1]


def test_constraint_by_a_pattern_stays_whatever_agent_ran_the_vm(env, foreign, image):
    del env.cluster.foreign[foreign]
    create(env, CreateRequest(foreign, DOMAIN, (image,), enable=False))
    env.cluster.foreign[foreign] = Resource(foreign, OLD, role="Stopped", target_role="Stopped")
    env.cluster.leftovers[foreign] = [BY_PATTERN]
    disable(env, foreign)
    assert not notes(env, "not-kept")
    assert "l2" in notes(env, "kept")[0]


def test_constraints_of_others_that_go_are_named_before(env, vm):
    env.cluster.leftovers[vm] = list(TIES)
    remove(env, vm)
    (told,) = notes(env, "goes-too")
    assert told.index("t1") < told.index("l1")


@pytest.mark.parametrize(
    ("act", "word"), [(disable, "keep for its return: t1, l1"), (remove, "with them go: t1, l1")]
)
def test_dry_run_names_what_is_kept_and_what_goes(env, vm, act, word):
    env.cluster.leftovers[vm] = list(TIES)
    steps = []
    act(DryRunEnv(env, steps.append), vm)
    assert any(word in str(step) for step in steps)


class Told:
    """The cluster's changes with how the VM was to be run before."""

    def __init__(self, env, monkeypatch):
        self.pairs = []
        real = env.cluster.reconfigure

        def reconfigure(resource, before=None):
            self.pairs.append((resource, before))
            return real(resource, before)

        monkeypatch.setattr(env.cluster, "reconfigure", reconfigure)


@pytest.mark.parametrize(
    ("act", "field"),
    [
        (lambda env, name: set_vm(env, name, Changes({"priority": 7})), "priority"),
        (lambda env, name: add_colocation(env, name, ["n/a"]), "colocations"),
        (lambda env, name: add_pacemaker_remote(env, name, "guest1", "192.0.2.7"), "meta"),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_only_what_changes_is_asked_for_also_when_it_is_taken_back(env, vm, monkeypatch, act, field, fails):
    env.cluster.sets["n/a"] = frozenset()
    told = Told(env, monkeypatch)
    if fails:
        real, calls = env.cluster.reconfigure, []

        def once(resource, before=None):
            calls.append(resource)
            if len(calls) == 1:
                raise VmMgrError(Kind.EXTERNAL_FAILURE, "lost", hint="again")
            return real(resource, before)

        monkeypatch.setattr(env.cluster, "reconfigure", once)
        with pytest.raises(VmMgrError):
            act(env, vm)
    else:
        act(env, vm)
    ((after, before),) = told.pairs
    assert before is not None
    differing = {key for key in after._fields if getattr(after, key) != getattr(before, key)}
    assert differing == {field}


def test_intent_of_an_older_version_is_still_recovered(env, vm, monkeypatch):
    told = Told(env, monkeypatch)
    env.intent_log.write(vm, Intent("colocation", "n1", env.clock.utc(), {}))
    repair(env)
    assert [before for _, before in told.pairs] == [None]
