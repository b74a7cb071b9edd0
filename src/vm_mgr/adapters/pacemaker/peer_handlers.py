"""Find out who answers DRBD here when a peer is lost, and whether it can read this Pacemaker's CIB."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from vm_mgr.adapters.pacemaker.peer_fence import strange_states
from vm_mgr.errors import VmMgrError
from vm_mgr.model.timings import PeerHandler
from vm_mgr.ports.runner import Runner

__all__ = ["parse_handlers", "read_peer_handlers", "reads_times"]

OURS = "/usr/lib/vm-mgr/drbd-fence-peer"
# drbd-utils' own, which looks for in_ccm="false" and crmd="online"; from Pacemaker 2.1.7 on these are times.
SCRIPT = re.compile(r"/crm-fence-peer(\.9)?\.sh$")
JUDGES = re.compile(r"^guess_if_pacemaker_will_fence\(\).*?^}", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"0-9|:digit:|-[gl][te] 0|> *0")


def read_peer_handlers(runner: Runner, cib: str) -> tuple[PeerHandler, ...]:
    """Ask drbdadm, where the cluster has DRBD resources; a configuration that can't be read tells nothing."""
    names = _resources(cib)
    if not names:
        return ()
    try:
        done = runner.run(("drbdadm", "dump-xml"), timeout_s=10)
        found = parse_handlers(done.stdout) if done.exit_code == 0 else ()
    except (VmMgrError, ET.ParseError):
        return ()
    return tuple(_judged(one, cib) for one in found if one.resource in names)


def parse_handlers(raw: str) -> tuple[PeerHandler, ...]:
    """Read the answer of `drbdadm dump-xml`: what a resource does not set is that of `common`."""
    root = ET.fromstring(raw)  # noqa: S314 - drbdadm's own
    common = _options(root.find("common"))
    return tuple(
        PeerHandler(
            resource=one.get("name", ""),
            fencing=options.get("fencing", ""),
            program=(options.get("fence-peer", "").split() or [""])[0],
        )
        for one in root.iterfind("resource")
        for options in [common | _options(one)]
    )


def reads_times(script: str) -> bool | None:
    """Tell whether a script of drbd-utils takes numbers for a node's state; None for another one.

    >>> reads_times("guess_if_pacemaker_will_fence()\\n{\\n [[ $in_ccm = false ]]\\n}\\n")
    False
    """
    found = JUDGES.search(script)
    return NUMBER.search(found[0]) is not None if found else None


def _judged(handler: PeerHandler, cib: str) -> PeerHandler:
    understands: bool | None = None
    if handler.program == OURS:
        understands = not strange_states(cib)
    elif SCRIPT.search(handler.program) and _has_times(cib):
        try:
            understands = reads_times(Path(handler.program).read_text(errors="replace"))
        except OSError:
            understands = False
    return PeerHandler(
        resource=handler.resource, fencing=handler.fencing, program=handler.program, understands=understands
    )


def _options(element: ET.Element | None) -> dict[str, str]:
    """Give the options of all sections; those that we ask for are in one each."""
    options = element.iterfind("section/option") if element is not None else ()
    return {one.get("name", ""): one.get("value", "") for one in options}


def _resources(cib: str) -> set[str]:
    primitives = ET.fromstring(cib).iterfind("configuration/resources//primitive[@type='drbd']")  # noqa: S314
    pairs = [pair for one in primitives for pair in one.iterfind("instance_attributes/nvpair")]
    return {pair.get("value", "") for pair in pairs if pair.get("name") == "drbd_resource"}


def _has_times(cib: str) -> bool:
    states = ET.fromstring(cib).iterfind("status/node_state")  # noqa: S314
    return any(one.get("in_ccm", "").isdecimal() for one in states)
