"""Run Pacemaker's tools and translate their exit statuses (crm_error --exit --list lists them)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vm_mgr.errors import Kind, ProgramError, VmMgrError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_mgr.ports.runner import Completed, Runner

__all__ = ["CONFLICT", "NO_SUCH_THING", "call", "check", "no_cluster"]

# The names are those of `crm_error --exit --name`.
NOT_CONNECTED = 102  # CRM_EX_DISCONNECT
NO_SUCH_THING = 105  # CRM_EX_NOSUCH
NO_QUORUM = 106  # CRM_EX_QUORUM
# What a patch meets that was made from an older version: CRM_EX_OLD, CRM_EX_DIGEST, or what it names is gone.
CONFLICT = frozenset({103, 104, NO_SUCH_THING})


def call(
    runner: Runner, argv: Sequence[str], *, stdin: str | None = None, timeout_s: float = 20
) -> Completed:
    """Run a tool; where it isn't installed, this is no cluster node."""
    try:
        return runner.run(argv, timeout_s=timeout_s, stdin=stdin)
    except VmMgrError as error:
        if error.kind is Kind.ENVIRONMENT:
            raise no_cluster() from error
        raise


def check(completed: Completed) -> Completed:
    """Return what succeeded; raise what the exit status means otherwise."""
    if completed.exit_code == 0:
        return completed
    failure = ProgramError(completed.argv, completed.exit_code, completed.stderr)
    if completed.exit_code == NOT_CONNECTED and os.geteuid() == 0:
        raise no_cluster() from failure
    if completed.exit_code == NO_QUORUM:
        hint = "see which nodes are offline: crm_mon -1"
        raise VmMgrError(Kind.TRY_LATER, "the cluster has no quorum", hint=hint) from failure
    if os.geteuid() != 0:
        message = f"{completed.argv[0]} may not talk to the cluster"
        raise VmMgrError(Kind.NOT_PERMITTED, message, hint="run as root") from failure
    raise failure


def no_cluster() -> VmMgrError:
    """Say that there is no cluster here."""
    return VmMgrError(
        Kind.ENVIRONMENT,
        "this machine is not a running cluster node",
        hint="run vm-mgr on a node of the cluster, with Pacemaker started: systemctl start pacemaker",
    )
