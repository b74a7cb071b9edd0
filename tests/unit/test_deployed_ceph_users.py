"""What the clients of VMs may do in Ceph: in the pools that are configured, and in no other."""

import importlib.util
import json
import re
import sys
import types

import pytest
import yaml

from .test_deployed_timeouts import DEPLOY, Deployment


def capabilities(**extra):
    deployment = Deployment(3, **extra)
    deployment.values["ceph_client_pools"] = extra.get("ceph_client_pools", [extra.get("ceph_pool", "rbd")])
    return deployment.value(deployment.values["ceph_clients"])


@pytest.mark.parametrize("pool", ["rbd", "vms"])
@pytest.mark.parametrize("user", ["libvirt", "vm-mgr"])
def test_client_is_let_into_the_pool_of_the_vms_only(pool, user):
    found = capabilities(ceph_pool=pool)[user]
    assert found["osd"] == f"profile rbd pool={pool}"
    assert found["mgr"] == f"profile rbd pool={pool}"
    assert found["mon"].startswith("profile rbd"), "it shuts out the dead owner of a lock"


def test_further_pools_are_named_one_by_one():
    found = capabilities(ceph_client_pools=["rbd", "old"])
    assert found["libvirt"]["osd"] == "profile rbd pool=rbd, profile rbd pool=old"


def test_qemus_client_gets_no_command_beyond_its_profile():
    assert capabilities()["libvirt"]["mon"] == "profile rbd"


def test_documented_capabilities_are_the_deployed_ones():
    text = (DEPLOY.parent / "docs" / "howto" / "deploy.md").read_text()
    for user, kinds in capabilities().items():
        (command,) = re.findall(rf"ceph auth get-or-create client\.{user} ((?:.*\\\n)*.*)\n", text)
        told = dict(re.findall(r"(mon|osd|mgr) '([^']*)'", command))
        assert told == kinds


class Cluster:
    """Ceph's monitors, as far as they know users."""

    def __init__(self, users):
        self.users = users
        self.changes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def mon_command(self, text, _):
        asked = json.loads(text)
        if asked["prefix"] == "auth get":
            return (
                0,
                json.dumps([{"entity": asked["entity"], "key": "s", "caps": self.users[asked["entity"]]}]),
                "",
            )
        assert asked["prefix"] == "auth caps"
        words = asked["caps"]
        self.users[asked["entity"]] = dict(zip(words[::2], words[1::2], strict=True))
        self.changes.append(asked["entity"])
        return 0, b"", ""


def test_users_of_an_earlier_deployment_are_brought_up_to_date_once(monkeypatch):
    wanted = capabilities()
    cluster = Cluster({f"client.{name}": {**caps, "osd": "profile rbd"} for name, caps in wanted.items()})
    answers = []
    module = types.SimpleNamespace(
        params={"clients": wanted}, check_mode=False, exit_json=lambda **told: answers.append(told["changed"])
    )
    fake = types.ModuleType("rados")
    fake.Rados, fake.Error = (lambda **_: cluster), OSError
    monkeypatch.setitem(sys.modules, "rados", fake)
    spec = importlib.util.spec_from_file_location("ceph_user", DEPLOY / "library" / "ceph_user.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    monkeypatch.setattr(loaded, "AnsibleModule", lambda **_: module)
    loaded.main()
    loaded.main()
    assert answers == [True, False]
    assert cluster.users == {f"client.{name}": caps for name, caps in wanted.items()}
    assert sorted(cluster.changes) == ["client.libvirt", "client.vm-mgr"]


def test_keys_of_a_new_cluster_have_these_capabilities_from_the_beginning():
    tasks = yaml.safe_load((DEPLOY / "roles/ceph/tasks/bootstrap.yml").read_text())
    assert "ceph_clients.items()" in tasks[0]["ansible.builtin.shell"]
    (update,) = (task for task in tasks if "ceph_user" in task)
    assert update["when"] == "ceph_new_keys is not changed"
