"""Move running domains between nodes, and look at what moves."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from vm_mgr.errors import VmMgrError
from vm_mgr.model.migration import Decision, JobSample, Limits, Plan
from vm_mgr.model.vm import VmName

__all__ = ["LiveMigration", "Migration", "Tell", "quiet"]

# What it gives is why the move has to end now, where there is a reason.
Tell = Callable[[JobSample, Decision], str]


def quiet(sample: JobSample, decision: Decision) -> str:  # noqa: ARG001
    """Say nothing."""
    return ""


class Migration(NamedTuple):
    """How a running domain goes to another node; bandwidth in MiB/s, parallel in connections.

    ident tells this migration from any other.
    """

    name: VmName
    destination_uri: str
    migrate_uri: str
    timeout_s: float
    downtime_ms: int | None = None
    speed_mib: int | None = None
    extra_options: Sequence[str] = ()
    parallel: int | None = None
    plan: Plan = Plan()
    limits: Limits | None = None
    ident: str = ""


class LiveMigration(Protocol):
    """Every call is bounded in time and raises EXTERNAL_FAILURE when it fails or hangs."""

    def migrate(self, migration: Migration, tell: Tell = quiet) -> bool:
        """Move live; tell hears of each look at the job and of what is done for it, and may end it.

        True where it goes on at the target; False where it waits there for the end of its process here: the
        caller sees to that end, and then calls let_go at the target. On failure the domain runs on here, as
        it did before; what is not so is said in the error.
        """
        ...

    def let_go(self, name: VmName, *, timeout_s: float, ident: str = "") -> None:
        """Let a guest go on that waits for the end of its source; nothing to be done is fine.

        Only for who knows that the source has ended, and did not go on after the guest had left it. One that
        has come by another migration than ident stays as it is.
        """
        ...

    def abort_job(self, name: VmName) -> None:
        """Cancel a migration under way; no job is fine."""
        ...

    def migration_progress(self, name: VmName) -> JobSample | None:
        """Look at the migration that is under way; None where there is none."""
        ...

    def receives(self, name: VmName) -> bool:
        """Tell whether a domain is just arriving by a migration, whoever has asked for that."""
        ...

    def begin_dirty_rate(self, name: VmName) -> None:
        """Begin what dirty_rate then waits for: the time passes while others are asked; never fails."""
        ...

    def dirty_rate(self, name: VmName) -> float | None:
        """Measure for a moment what the guest dirties, in bytes per second; None where nobody can."""
        ...

    def migration_problems(self, xml: str) -> list[VmMgrError]:
        """Say what keeps a domain, given as it runs elsewhere, from running here too."""
        ...
