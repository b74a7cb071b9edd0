"""Read the CIB, and apply what is changed in it as one versioned patch.

Each node has a copy. A node that was silent for a moment, and is back before it was fenced, takes a change
into its own copy alone and calls that a success. When it has joined again, another copy takes the place of
its own. So a change has succeeded only once another node has it too.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_xml import bump_version, parse_cib
from vm_mgr.adapters.pacemaker.tools import CONFLICT, call, check
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.ports.clock import Clock
from vm_mgr.ports.runner import Runner
from vm_mgr.room import in_memory

__all__ = ["Cib"]

# A patch names the version that it was made from, which also counts changes of status (num_updates): while
# resources move, a lost race is normal and says nothing about another editor. Of several editors one
# always wins, so patience is enough.
PATIENCE_S = 30.0
LONGEST_PAUSE_S = 0.3
FIRST_PAUSE_S = 0.01
# How long another node may take to show its copy; one that was just lost never does.
COPY_S = 3
AWAY = frozenset({"", "0", "false", "offline"})

# An element by its tag and id, without its children.
Key = tuple[str, str]
Parts = dict[Key, tuple[tuple[str, str], ...] | None]


class Cib:
    """The cluster's configuration and status: what is read, and changes that are one transaction each."""

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self.runner = runner
        self.clock = clock

    def query(self) -> str:
        """Give it as text."""
        return check(call(self.runner, ("cibadmin", "--query"))).stdout

    def read(self) -> etree._Element:
        """Give it as XML."""
        return parse_cib(self.query())

    def edit(self, change: Callable[[etree._Element], None]) -> None:
        """Change what is there now; change is called again for each lost race.

        Raises TRY_LATER where others kept coming before for 30 s, and whatever change raises.
        """
        deadline, pause_s = self.clock.monotonic() + PATIENCE_S, 0.0
        while self.clock.monotonic() < deadline:
            self.clock.sleep(pause_s)
            pause_s = min(pause_s + 0.05, LONGEST_PAUSE_S)
            before = self.query()
            cib = parse_cib(before)
            unchanged = etree.tostring(cib)
            change(cib)
            if etree.tostring(cib) == unchanged:
                return
            bump_version(cib)
            if self._apply(before, etree.tostring(cib, encoding="unicode")) and self._arrived(
                _changed(parse_cib(before), cib), cib, deadline
            ):
                return
        message = "the cluster's configuration kept changing while it was being edited"
        raise VmMgrError(Kind.TRY_LATER, message, hint="run the command again")

    def _apply(self, before: str, after: str) -> bool:
        """Apply the difference if the CIB is still the one that was read; False after a lost race."""
        with in_memory(before, "old.xml") as old, in_memory(after, "new.xml") as new:
            diff = call(self.runner, ("crm_diff", "--original", old, "--new", new))
        if diff.exit_code != 1:  # 1 says that they differ
            check(diff)
        patched = call(self.runner, ("cibadmin", "--patch", "--xml-pipe"), stdin=diff.stdout)
        if patched.exit_code in CONFLICT:
            return False
        check(patched)
        return True

    def _arrived(self, wanted: Mapping[Key, object], present: etree._Element, deadline: float) -> bool:
        """Wait until another node's copy has a change; False where this node has lost it again.

        Raises TRY_LATER where neither is seen in time.
        """
        pause_s = FIRST_PAUSE_S  # another node is some milliseconds behind
        while True:
            peer = _peer(present)
            if not peer or self._copy_has(peer, wanted):
                return True
            if self.clock.monotonic() >= deadline:
                message = f"{peer} does not show the change: this node is not yet back in the cluster"
                raise VmMgrError(Kind.TRY_LATER, message, hint="see: crm_mon -1; then run the command again")
            self.clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            present = self.read()
            if not _has(present, wanted):
                return False

    def _copy_has(self, node: str, wanted: Mapping[Key, object]) -> bool:
        argv = ("cibadmin", "--query", "--node", node, "--timeout", str(COPY_S))
        with suppress(VmMgrError):
            return _has(parse_cib(check(call(self.runner, argv)).stdout), wanted)
        return False


def _parts(cib: etree._Element) -> Iterator[tuple[Key, tuple[tuple[str, str], ...]]]:
    for element in cib.iterfind("configuration//*[@id]"):
        yield (str(element.tag), str(element.get("id"))), tuple(sorted(map(_text, element.items())))


def _text(pair: tuple[object, object]) -> tuple[str, str]:
    return str(pair[0]), str(pair[1])


def _changed(before: etree._Element, after: etree._Element) -> Parts:
    """Give the elements that a change has made or altered; None for those that it has removed."""
    old, new = dict(_parts(before)), dict(_parts(after))
    removed: Parts = dict.fromkeys(old.keys() - new.keys())
    return removed | {key: value for key, value in new.items() if old.get(key) != value}


def _has(cib: etree._Element, wanted: Mapping[Key, object]) -> bool:
    parts = dict(_parts(cib))
    return all(parts.get(key) == value for key, value in wanted.items())


def _peer(cib: etree._Element) -> str:
    """Name another node that is a member, best the coordinator; nothing for a node that is alone."""
    here = os.uname().nodename.partition(".")[0]
    members = {
        str(one.get("id")): str(one.get("uname"))
        for one in cib.iterfind("status/node_state")
        if one.get("join") == "member" and one.get("crmd", "") not in AWAY and not one.get("remote_node")
    }
    others = {ident: name for ident, name in members.items() if name.partition(".")[0] != here}
    return others.get(cib.get("dc-uuid", ""), next(iter(others.values()), ""))
