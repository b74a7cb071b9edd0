#!/usr/bin/python
"""Ansible module: bring a Ceph pool for block devices to these properties, and wait until Ceph is healthy."""

import json
import time

import rados
import rbd
from ansible.module_utils.basic import AnsibleModule


def main():
    """Bring the pool to the wanted form, then wait for HEALTH_OK."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "pg_num": {"type": "int", "required": True},
            "size": {"type": "int", "required": True},
            "min_size": {"type": "int", "required": True},
            "healthy_within_s": {"type": "int", "default": 180},
        },
    )
    wanted = module.params
    try:
        with rados.Rados(conffile="/etc/ceph/ceph.conf", rados_id="admin") as cluster:
            changed = bring_about(cluster, wanted)
            problems = wait_for_health(cluster, wanted)
            if not problems:
                initialise(cluster, wanted["name"])
    except (rados.Error, rbd.Error) as error:
        module.fail_json(msg=f"Ceph: {error}")
    if problems:
        module.fail_json(msg="Ceph is not healthy: " + "; ".join(problems), changed=changed)
    module.exit_json(changed=changed)


def bring_about(cluster, wanted):
    """Create the pool or correct it; return whether anything changed."""
    name = wanted["name"]
    pools = {pool["pool_name"]: pool for pool in ask(cluster, "osd pool ls", detail="detail")}
    changed = False
    if name not in pools:
        ask(cluster, "osd pool create", pool=name, pg_num=wanted["pg_num"], pool_type="replicated")
        pools = {pool["pool_name"]: pool for pool in ask(cluster, "osd pool ls", detail="detail")}
        changed = True
    pool = pools[name]
    for key in ("size", "min_size"):
        if pool[key] != wanted[key]:
            ask(cluster, "osd pool set", pool=name, var=key, val=str(wanted[key]))
            changed = True
    if "rbd" not in pool["application_metadata"]:
        ask(cluster, "osd pool application enable", pool=name, app="rbd")
        changed = True
    return changed


def initialise(cluster, name):
    """Prepare the pool for block devices; repeating it is harmless."""
    with cluster.open_ioctx(name) as pool:
        rbd.RBD().pool_init(pool, force=True)


def wait_for_health(cluster, wanted):
    """Return what keeps Ceph from being healthy when the time is over; nothing when it is.

    HEALTH_OK alone is not enough: a new cluster says so before its first OSD has reported.
    """
    deadline = time.monotonic() + wanted["healthy_within_s"]
    while True:
        status = ask(cluster, "status")
        osds, groups = status["osdmap"], status["pgmap"]
        clean = sum(
            state["count"] for state in groups["pgs_by_state"] if state["state_name"] == "active+clean"
        )
        problems = [
            f"{code}: {check['summary']['message']}" for code, check in status["health"]["checks"].items()
        ]
        if osds["num_up_osds"] < max(osds["num_osds"], wanted["size"]):
            problems.append(f"{osds['num_up_osds']} OSDs are up, of {max(osds['num_osds'], wanted['size'])}")
        if clean < max(groups["num_pgs"], wanted["pg_num"]):
            problems.append(f"{clean} placement groups are active and clean, of {groups['num_pgs']}")
        if status["health"]["status"] == "HEALTH_OK" and not problems:
            return []
        if time.monotonic() > deadline:
            return problems
        time.sleep(0.5)


def ask(cluster, prefix, **arguments):
    """Send one command to the monitors and return its parsed answer."""
    command = json.dumps({"prefix": prefix, "format": "json", **arguments})
    code, output, explanation = cluster.mon_command(command, b"")
    if code != 0:
        raise rados.Error(f"{prefix}: {explanation} ({code})")
    return json.loads(output) if output.strip() else None


if __name__ == "__main__":
    main()
