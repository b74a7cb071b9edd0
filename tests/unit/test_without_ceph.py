"""Commands where Ceph, its binding or the cluster's quorum is missing."""

import json
import os
import sys
import time

import pytest
from click.testing import CliRunner

from vm_mgr.adapters.ceph.connection import Connection
from vm_mgr.adapters.ceph.definitions import CephDefinitions
from vm_mgr.adapters.ceph.event_log import CephEventLog
from vm_mgr.adapters.ceph.intent_log import CephIntentLog
from vm_mgr.adapters.ceph.listing import Listing
from vm_mgr.adapters.ceph.pool import Pool
from vm_mgr.adapters.ceph.port import CephStorage
from vm_mgr.adapters.host.clock import SystemClock
from vm_mgr.cli.app import app
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import VmName
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.events import events
from vm_mgr.operations.list_vms import look
from vm_mgr.operations.metadata import set_metadata
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.remove import remove
from vm_mgr.operations.repair import repair
from vm_mgr.operations.stop import stop

from .conftest import DOMAIN

SILENT = VmMgrError(Kind.EXTERNAL_FAILURE, "Ceph can't be reached: 110", hint="ceph -s")


class Silent:
    """A connection that waits in vain, and counts how often."""

    def __init__(self):
        self.silent = None
        self.waits = 0
        self.leases = None

    @property
    def ioctx(self):
        self.waits += 1
        raise SILENT


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only


@pytest.mark.parametrize("again", [1, 3])
def test_begun_list_tells_names_and_marks_the_same_error(again):
    before = open_files()
    listing = Listing(Silent)
    for _ in range(again):
        for ask in (listing.names, listing.intents):
            with pytest.raises(VmMgrError) as caught:
                ask()
            told = (caught.value.kind, caught.value.message, caught.value.hint)
            assert told == (SILENT.kind, SILENT.message, SILENT.hint)
    assert open_files() == before


@pytest.mark.parametrize("end", [lambda: os._exit(1), lambda: os.kill(os.getpid(), 9), lambda: 1 / 0])
def test_child_that_ends_without_an_answer_is_an_error_each_time(end, capfd):
    listing = Listing(end)
    for ask in (listing.intents, listing.names, listing.intents):
        with pytest.raises(VmMgrError) as caught:
            ask()
        assert (caught.value.kind, bool(caught.value.hint)) == (Kind.EXTERNAL_FAILURE, True)


def test_child_that_hangs_is_not_waited_for():
    began = time.monotonic()
    listing = Listing(lambda: time.sleep(60), limit_s=0.3)
    for ask in (listing.names, listing.intents):
        with pytest.raises(VmMgrError, match="within 0 s"):
            ask()
    assert time.monotonic() - began < 5


def test_list_shows_what_the_cluster_runs_and_waits_once(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    connection = Silent()
    listing = Listing(Silent)
    for begun, waits in ((listing, 0), (None, 1)):
        names = begun.names if begun else CephDefinitions(Pool(connection, None, SystemClock())).names
        env.storage.definitions.names, env.intent_log = names, CephIntentLog(connection, begun)
        found = look(env)
        assert [vm.name for vm in found.vms] == ["web1"]
        assert [error.message for error in found.missing] == [SILENT.message]
        assert connection.waits == waits


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_list_says_what_may_be_missing(env, image, output):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    env.storage.failing = "definitions.names"
    done = CliRunner(mix_stderr=False).invoke(app, ["list", "-o", output], obj=env)
    assert "web1" in done.stdout
    assert "warning: VMs that are not enabled" in done.stderr
    if output == "json":
        assert json.loads(done.stdout)[0]["name"] == "web1"


LOOKS = ("intents", "read", "names", "metadata", "images")


@pytest.mark.parametrize("what", ["lock", "write", "erase", "append", *LOOKS])
def test_missing_binding_is_the_environments(monkeypatch, what):
    monkeypatch.setitem(sys.modules, "rados", None)
    monkeypatch.setitem(sys.modules, "rbd", None)
    connection = Connection("ceph.conf", "vm-mgr", "rbd")
    intent_log, event_log = CephIntentLog(connection), CephEventLog(connection)
    storage = CephStorage(Pool(connection, None, SystemClock()))
    name = VmName("web1")

    def lock():
        with intent_log.lock(name):
            pass

    acts = {
        "lock": lock,
        "intents": intent_log.intents,
        "write": lambda: intent_log.write(name, Intent("set")),
        "erase": lambda: intent_log.erase(name),
        "read": event_log.read,
        "append": lambda: event_log.append([object()]),
        "names": storage.definitions.names,
        "metadata": lambda: storage.definitions.metadata(name),
        "images": lambda: storage.clients.images(name),
    }
    with pytest.raises(VmMgrError) as caught:
        acts[what]()
    assert (caught.value.kind, "apt install" in caught.value.hint) == (Kind.ENVIRONMENT, True)


ACTS = {
    "remove": lambda env: remove(env, "web1"),
    "migrate": lambda env: migrate(env, "web1"),
    "repair": repair,
    "events": lambda env: events(env, since_s=60),
    "set-metadata": lambda env: set_metadata(env, "web1", "a", "b"),
    "stop": lambda env: stop(env, "web1"),
}


@pytest.mark.parametrize("act", ACTS)
def test_without_quorum_no_storage_is_waited_for(env, image, act):
    create(env, CreateRequest("web1", DOMAIN, (image,)))
    env.cluster.quorate = False
    asked = []

    def ask(*_, **__):
        asked.append(act)
        raise SILENT

    env.storage.definitions.names = env.intent_log.lock = env.intent_log.intents = env.event_log.read = ask
    with pytest.raises(VmMgrError, match="no quorum") as caught:
        ACTS[act](env)
    assert (caught.value.kind, asked) == (Kind.TRY_LATER, [])


@pytest.mark.parametrize("act", ["repair", "events", "remove", "migrate"])
@pytest.mark.parametrize("kind", [Kind.NOT_PERMITTED, Kind.ENVIRONMENT])
def test_what_the_cluster_says_comes_before_the_storage(env, act, kind):
    def refuse():
        raise VmMgrError(kind, "no", hint="run as root")

    env.cluster.state = refuse
    env.intent_log.lock = env.intent_log.intents = env.event_log.read = None
    with pytest.raises(VmMgrError) as caught:
        ACTS[act](env)
    assert caught.value.kind is kind
