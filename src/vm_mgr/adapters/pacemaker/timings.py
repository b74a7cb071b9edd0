"""Read Corosync's and Pacemaker's timeouts: corosync-cmapctl for what is in effect, the CIB for the rest.

Where the CIB doesn't set an option Pacemaker's documented default holds. A set of options under a rule holds
only sometimes and is left out. A time that can't be understood is None.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_resolve import (
    agent,
    local_now,
    meta_attributes,
    op_attribute,
    operations,
    own_attributes,
)
from vm_mgr.adapters.pacemaker.cib_write import parse_cib
from vm_mgr.adapters.pacemaker.peer_handlers import read_peer_handlers
from vm_mgr.adapters.pacemaker.times import seconds
from vm_mgr.adapters.pacemaker.tools import call, check
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.timings import ClusterTimes, FenceDevice, PacemakerTimes, TotemTimes, VmTimes
from vm_mgr.model.vm import VmName
from vm_mgr.ports.runner import Runner

__all__ = ["parse_cluster", "parse_totem", "read_cluster"]

TOTEM = "runtime.config.totem."
QUORUM_DEVICE = "quorum.device.model"
INFINITY = 1_000_000
TRUE = ("true", "yes", "on", "1", "y")
# Agents whose power_wait is not 0 by default: fence_ipmilan and its other names.
POWER_WAIT = {
    "fence_ipmilan": 2.0,
    "fence_ipmilanplus": 2.0,
    "fence_idrac": 2.0,
    "fence_imm": 2.0,
    "fence_ilo3": 4.0,
    "fence_ilo4": 2.0,
    "fence_ilo5": 2.0,
}

Pairs = Mapping[str, str]


def read_cluster(runner: Runner) -> ClusterTimes:
    """Ask Pacemaker first: without a running cluster it says so best."""
    cib = check(call(runner, ("cibadmin", "--query"))).stdout
    cmap = check(call(runner, ("corosync-cmapctl", TOTEM, QUORUM_DEVICE))).stdout
    found = parse_cluster(cib, parse_totem(cmap), quorum_device=QUORUM_DEVICE in cmap)
    return replace(found, peer_handlers=read_peer_handlers(runner, cib))


def parse_totem(raw: str) -> TotemTimes:
    """Read lines like `runtime.config.totem.token (u32) = 1300`; the times are milliseconds (cmap_keys(7)).

    >>> parse_totem("runtime.config.totem.token (u32) = 1300").token
    1.3
    """
    lines = re.findall(rf"^{re.escape(TOTEM)}(\w+) \(\w+\) = (\d+)$", raw, flags=re.MULTILINE)
    found = {key: int(value) for key, value in lines}
    times = {
        key: found[key] / 1000 if key in found else None
        for key in ("token", "token_retransmit", "join", "consensus")
    }
    number = found.get("token_retransmits_before_loss_const")
    return TotemTimes(**times, token_retransmits_before_loss_const=number)


def parse_cluster(raw: str, totem: TotemTimes, *, quorum_device: bool = False) -> ClusterTimes:
    """Read the CIB."""
    cib = parse_cib(raw)
    primitives = _find(cib, "configuration/resources//primitive")
    common = _common(cib)
    return ClusterTimes(
        nodes=tuple(
            str(one.get("uname")) for one in _find(cib, "configuration/nodes/node") if _is_member(one)
        ),
        totem=totem,
        pacemaker=_pacemaker(_pairs(_find(cib, "configuration/crm_config/cluster_property_set"))),
        devices=tuple(_device(one) for one in primitives if one.get("class") == "stonith"),
        vms=tuple(_vm(one, common) for one in primitives if agent(one).endswith(":VirtualDomain")),
        tells=bool(_find(cib, "configuration/alerts/alert[@id='vm-mgr-alert']")),
        quorum_device=quorum_device,
    )


class _Common(NamedTuple):
    """What holds for all VMs, and the first resource that each of them needs."""

    op_timeout: str
    depends_on: Pairs


def _common(cib: etree._Element) -> _Common:
    ops = _pairs(_find(cib, "configuration/op_defaults/meta_attributes"))
    needed = _find(cib, "configuration/constraints/rsc_colocation[starts-with(@id, 'vm-mgr-needs-')]")
    first = {str(one.get("rsc")): str(one.get("with-rsc")) for one in reversed(needed)}
    return _Common(
        op_timeout=ops.get("timeout", "20s"),
        depends_on=first,
    )


def _is_member(node: etree._Element) -> bool:
    return node.get("type", "member") in ("member", "normal")


def _pacemaker(options: Pairs) -> PacemakerTimes:
    """Read the cluster options; newer releases say fencing where older ones say stonith, and know both."""
    plain = PacemakerTimes()

    def text(name: str, default: str) -> str:
        newer = name.replace("stonith", "fencing")
        return options.get(name, options.get(newer, default))

    def time(name: str, default: float | None) -> float | None:
        return seconds(text(name, f"{default:g}"))

    return PacemakerTimes(
        stonith_enabled=text("stonith-enabled", "true").lower() in TRUE,
        stonith_action=text("stonith-action", plain.stonith_action),
        no_quorum_policy=options.get("no-quorum-policy", plain.no_quorum_policy),
        stonith_timeout=time("stonith-timeout", plain.stonith_timeout),
        stonith_watchdog_timeout=time("stonith-watchdog-timeout", plain.stonith_watchdog_timeout),
        have_watchdog=text("have-watchdog", "false").lower() in TRUE,
        priority_fencing_delay=time("priority-fencing-delay", plain.priority_fencing_delay),
        dc_deadtime=time("dc-deadtime", plain.dc_deadtime),
        cluster_delay=time("cluster-delay", plain.cluster_delay),
        cluster_recheck_interval=time("cluster-recheck-interval", plain.cluster_recheck_interval),
        transition_delay=time("transition-delay", plain.transition_delay),
        shutdown_escalation=time("shutdown-escalation", plain.shutdown_escalation),
    )


def _device(primitive: etree._Element) -> FenceDevice:
    given = _pairs(primitive.findall("instance_attributes"))
    kind = str(primitive.get("type"))
    hosts = re.split(r"[\s,;]+", given.get("pcmk_host_list", "").strip())
    mapped = re.findall(r"([^\s;:=]+)[:=]", given.get("pcmk_host_map", ""))

    def time(name: str, default: str) -> float | None:
        return seconds(given.get(name, default))

    def own(name: str) -> float | None:
        return seconds(given[name]) if name in given else None

    return FenceDevice(
        name=str(primitive.get("id")),
        agent=kind,
        targets=tuple(dict.fromkeys(host for host in (*hosts, *mapped) if host)),
        pcmk_delay_base=_longest_delay(given.get("pcmk_delay_base", "0")),
        pcmk_delay_max=time("pcmk_delay_max", "0"),
        pcmk_reboot_timeout=own("pcmk_reboot_timeout"),
        pcmk_off_timeout=own("pcmk_off_timeout"),
        pcmk_reboot_action=given.get("pcmk_reboot_action", "reboot"),
        method=given.get("method", ""),
        delay=time("delay", "0"),
        power_wait=time("power_wait", f"{POWER_WAIT.get(kind, 0.0):g}"),
        power_timeout=time("power_timeout", "20"),
        login_timeout=time("login_timeout", "5"),
        waits=given.get("disable_timeout", "").lower() in ("0", "no", "off", "false"),
    )


def _longest_delay(text: str) -> float | None:
    """Read a delay, or the longest of those that are given node by node (pacemaker-fenced(7)).

    >>> _longest_delay("5s"), _longest_delay("n1:1s;n2:5")
    (5.0, 5.0)
    """
    each = [seconds(part.rpartition(":")[2]) for part in re.split(r"[\s;]+", text.strip()) if part]
    known = [one for one in each if one is not None]
    return max(known) if known and len(known) == len(each) else None


def _vm(primitive: etree._Element, common: _Common) -> VmTimes:
    """Read a VM."""
    name, now = str(primitive.get("id")), local_now()
    meta = meta_attributes(primitive, now)
    params = own_attributes(primitive, "instance_attributes", now)
    ops = _by_name(operations(primitive))
    given = {action: op_attribute(primitive, op, "timeout", now) for action, op in ops.items()}
    timeouts = {
        action: seconds(given.get(action) or common.op_timeout)
        for action in ("start", "stop", "monitor", "migrate_to", "migrate_from")
    }
    threshold = meta.get("migration-threshold", "").strip()
    times = whole_number(threshold) or 0  # INFINITY
    return VmTimes(
        name=VmName(name),
        **timeouts,
        monitor_interval=(_interval(ops["monitor"]) or None) if "monitor" in ops else None,
        live_migration=meta.get("allow-migrate", "").lower() in TRUE,
        migration_threshold=times if times < INFINITY else 0,
        failure_timeout=seconds(meta.get("failure-timeout", "0")),
        io_error_timeout=seconds(params.get("io_error_timeout", "60")),
        storage=params.get("storage", ""),
        depends_on=common.depends_on.get(name, ""),
    )


def _by_name(found: list[etree._Element]) -> dict[str, etree._Element]:
    """Find the operations by name; of several monitors the one that looks most often."""
    ops: dict[str, etree._Element] = {}
    for op in found:
        name = str(op.get("name"))
        known = ops.get(name)
        if known is None or (name == "monitor" and 0 < _interval(op) < (_interval(known) or INFINITY)):
            ops[name] = op
    return ops


def _interval(op: etree._Element) -> float:
    enabled = op.get("enabled", "true").lower() in TRUE
    return (seconds(op.get("interval", "0")) or 0.0) if enabled else 0.0


def _pairs(sets: list[etree._Element]) -> dict[str, str]:
    """Join sets of name-value pairs; of several values the first holds, sets with rules are left out."""
    found: dict[str, str] = {}
    for one in sets:
        if one.find("rule") is None:
            for pair in one.findall("nvpair"):
                found.setdefault(str(pair.get("name")), str(pair.get("value", "")))
    return found


def _find(element: etree._Element, path: str, name: str = "") -> list[etree._Element]:
    found: Any = element.xpath(path, name=name)
    return list(found)
