"""What every ledger does."""

import json

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import Intent, Key, KeyKind

NAME = "contract1"
OTHER = "contract3"
MARK = Intent("create", "n1", 1700000000.5, {"source": "", "was": "Started"})


def test_claim_is_exclusive_and_ends(env):
    with env.intent_log.lock(NAME), env.intent_log.lock(OTHER):
        with pytest.raises(VmMgrError) as caught, env.intent_log.lock(NAME):
            pass
        assert caught.value.kind is Kind.TRY_LATER
    with env.intent_log.lock(NAME):
        pass


def test_lock_that_is_no_vms_is_named_as_older_versions_name_it(env):
    with env.intent_log.lock(Key(KeyKind.DRAIN, "n1")):
        with pytest.raises(VmMgrError) as caught, env.intent_log.lock("drain-n1"):
            pass
        assert caught.value.kind is Kind.TRY_LATER
        with env.intent_log.lock(Key(KeyKind.UUID, "n1")), env.intent_log.lock("n1"):
            pass


def test_claim_ends_also_after_a_failure(env):
    with pytest.raises(RuntimeError), env.intent_log.lock(NAME):
        raise RuntimeError
    with env.intent_log.lock(NAME):
        pass


def test_marks_are_kept_until_they_are_erased(env):
    assert NAME not in env.intent_log.intents()
    env.intent_log.erase(NAME)
    env.intent_log.write(NAME, MARK)
    env.intent_log.write(OTHER, MARK)
    env.intent_log.write(NAME, MARK._replace(details={"phase": "deleting"}))
    assert env.intent_log.intents()[OTHER] == MARK
    assert env.intent_log.intents()[NAME].details == {"phase": "deleting"}
    env.intent_log.erase(NAME)
    env.intent_log.erase(OTHER)
    assert not {NAME, OTHER} & set(env.intent_log.intents())


@pytest.mark.usefixtures("only_ceph")
def test_what_arrives_after_the_end_of_a_claim_changes_nothing(env):
    """Also a packet of a command that ended long ago, once its network is mended."""
    ioctx = env.intent_log.connection.ioctx
    ask = ["rados", "-p", "rbd", "lock", "info", "vm-mgr.ledger", NAME, "--format", "json"]
    with env.intent_log.lock(NAME):
        env.intent_log.write(NAME, MARK)
        cookie = json.loads(env.runner.run(ask, timeout_s=10).stdout)["lockers"][0]["cookie"]
        ioctx.unlock("vm-mgr.ledger", NAME, cookie)
        with pytest.raises(VmMgrError) as caught:
            env.intent_log.write(NAME, MARK._replace(details={}))
        assert caught.value.kind is Kind.TRY_LATER
        with pytest.raises(VmMgrError):
            env.intent_log.erase(NAME)
        assert env.intent_log.intents()[NAME] == MARK
    env.intent_log.erase(NAME)
    assert NAME not in env.intent_log.intents()
