"""What every ledger does."""

import json

import pytest

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.intent import Intent

NAME = "contract1"
OTHER = "contract3"
MARK = Intent("create", "n1", 1700000000.5, {"source": "", "was": "Started"})


def test_claim_is_exclusive_and_ends(env):
    with env.ledger.claim(NAME), env.ledger.claim(OTHER):
        with pytest.raises(VmMgrError) as caught, env.ledger.claim(NAME):
            pass
        assert caught.value.kind is Kind.TRY_LATER
    with env.ledger.claim(NAME):
        pass


def test_claim_ends_also_after_a_failure(env):
    with pytest.raises(RuntimeError), env.ledger.claim(NAME):
        raise RuntimeError
    with env.ledger.claim(NAME):
        pass


def test_marks_are_kept_until_they_are_erased(env):
    assert NAME not in env.ledger.marks()
    env.ledger.erase(NAME)
    env.ledger.write(NAME, MARK)
    env.ledger.write(OTHER, MARK)
    env.ledger.write(NAME, MARK._replace(details={"phase": "deleting"}))
    assert env.ledger.marks()[OTHER] == MARK
    assert env.ledger.marks()[NAME].details == {"phase": "deleting"}
    env.ledger.erase(NAME)
    env.ledger.erase(OTHER)
    assert not {NAME, OTHER} & set(env.ledger.marks())


@pytest.mark.usefixtures("only_ceph")
def test_what_arrives_after_the_end_of_a_claim_changes_nothing(env):
    """Also a packet of a command that ended long ago, once its network is mended."""
    ioctx = env.ledger.connection.ioctx
    ask = ["rados", "-p", "rbd", "lock", "info", "vm-mgr.ledger", NAME, "--format", "json"]
    with env.ledger.claim(NAME):
        env.ledger.write(NAME, MARK)
        cookie = json.loads(env.runner.run(ask, timeout_s=10).stdout)["lockers"][0]["cookie"]
        ioctx.unlock("vm-mgr.ledger", NAME, cookie)
        with pytest.raises(VmMgrError) as caught:
            env.ledger.write(NAME, MARK._replace(details={}))
        assert caught.value.kind is Kind.TRY_LATER
        with pytest.raises(VmMgrError):
            env.ledger.erase(NAME)
        assert env.ledger.marks()[NAME] == MARK
    env.ledger.erase(NAME)
    assert NAME not in env.ledger.marks()
