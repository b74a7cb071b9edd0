"""What the cluster refuses after it was stored is taken back: no later command does it after all."""

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.colocation import add_colocation, remove_colocation
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.pacemaker_remote import add_pacemaker_remote, remove_pacemaker_remote
from vm_mgr.operations.repair import repair
from vm_mgr.operations.set_vm import Changes, set_vm

VM, OTHER = "web1", "web2"
XML = """<domain type='qemu'><name>x</name><memory unit='GiB'>1</memory><vcpu>2</vcpu>
<os><type>hvm</type></os><devices/></domain>"""
NEW = {"priority": 9, "user_metadata": {"owner": "", "site": "north"}}
CHANGES = {
    "set": lambda env: set_vm(env, VM, Changes(NEW, memory_bytes=2 << 30)),
    "add-colocation": lambda env: add_colocation(env, VM, [OTHER]),
    "remove-colocation": lambda env: remove_colocation(env, VM, ["db"]),
    "add-remote": lambda env: add_pacemaker_remote(env, VM, "other1", "192.0.2.78"),
    "remove-remote": lambda env: remove_pacemaker_remote(env, VM),
}


@pytest.fixture
def vms(env, image):
    create(env, CreateRequest("db", XML, (image,)))
    create(env, CreateRequest(OTHER, XML, (image,)))
    settings = VmSettings(priority=3, user_metadata={"owner": "me"})
    create(env, CreateRequest(VM, XML, (image,), settings))
    add_colocation(env, VM, ["db"])
    add_pacemaker_remote(env, VM, "inner1", "192.0.2.77")


def facts(env):
    return env.storage.definitions.settings(VM), env.storage.definitions.read(VM), env.cluster.resources[VM]


@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", [Kind.INVALID, Kind.EXTERNAL_FAILURE, Kind.TRY_LATER])
@pytest.mark.parametrize("refusals", [1, 2])
def test_refused_change_is_taken_back(env, monkeypatch, change, kind, refusals):
    """At once, or by the next command where the cluster refuses that, too."""
    before, really, left = facts(env), env.cluster.reconfigure, [refusals]

    def reconfigure(resource, before=None):
        if left[0]:
            left[0] -= 1
            raise VmMgrError(kind, "the cluster does not want it")
        really(resource, before)

    monkeypatch.setattr(env.cluster, "reconfigure", reconfigure)
    with pytest.raises(VmMgrError, match="does not want"):
        change(env)
    assert bool(env.intent_log.intents()) is (refusals > 1)
    repair(env)
    assert facts(env) == before
    assert not env.intent_log.intents()


@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_that_is_not_refused_is_made(env, change):
    before = facts(env)
    change(env)
    assert facts(env) != before
    assert not env.intent_log.intents()
