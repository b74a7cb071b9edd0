"""Read the CIB, and apply what is changed in it as one versioned patch."""

from collections.abc import Callable

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
            if self._apply(before, etree.tostring(cib, encoding="unicode")):
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
