#!/usr/bin/python
"""Ansible module: bring the capabilities of Ceph's users to a wanted form; their keys stay."""

import json

import rados
from ansible.module_utils.basic import AnsibleModule


def main():
    """Look at each user, and change what differs."""
    wanted = {"clients": {"type": "dict", "required": True}}
    module = AnsibleModule(argument_spec=wanted, supports_check_mode=True)
    changed = False
    try:
        with rados.Rados(conffile="/etc/ceph/ceph.conf", rados_id="admin") as cluster:
            for name, capabilities in module.params["clients"].items():
                changed |= bring_about(cluster, f"client.{name}", capabilities, only_look=module.check_mode)
    except rados.Error as error:
        module.fail_json(msg=f"Ceph: {error}")
    module.exit_json(changed=changed)


def bring_about(cluster, entity, wanted, *, only_look):
    """Give a user these capabilities and no others; return whether they were different."""
    (user,) = json.loads(ask(cluster, "auth get", entity=entity, format="json"))
    if user["caps"] == wanted:
        return False
    if not only_look:
        pairs = [word for pair in wanted.items() for word in pair]
        ask(cluster, "auth caps", entity=entity, caps=pairs)
    return True


def ask(cluster, prefix, **arguments):
    """Send one command to the monitors and return its answer."""
    code, output, explanation = cluster.mon_command(json.dumps({"prefix": prefix, **arguments}), b"")
    if code != 0:
        raise rados.Error(f"{prefix}: {explanation} ({code})")
    return output


if __name__ == "__main__":
    main()
