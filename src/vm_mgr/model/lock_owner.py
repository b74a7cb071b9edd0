"""Describe the process that has a lock which does not end by itself."""

import json
from typing import NamedTuple

from vm_mgr.model.claimant import Claimant

__all__ = ["LockOwner", "read_owner"]


class LockOwner(NamedTuple):
    """A process by node, number and birth, in the words of ports/processes; token: which lock of its.

    verb: its command; since_utc: seconds since 1970, for people.
    """

    node: str
    process: int
    birth: str
    token: str
    verb: str = ""
    since_utc: int = 0

    def written(self) -> str:
        """Give it as text.

        >>> read_owner(LockOwner("n1", 7, "123", "ab").written())
        LockOwner(node='n1', process=7, birth='123', token='ab', verb='', since_utc=0)
        """
        return json.dumps(self._asdict())

    def words(self, now_utc: float) -> str:
        """Say it for who waits."""
        return Claimant(self.node, self.process, self.verb, self.since_utc).words(now_utc)


def read_owner(raw: str) -> LockOwner | None:
    """Read one; None for what is none.

    >>> read_owner("{}")
    """
    try:
        value = json.loads(raw)
        node, birth, token = (str(value[key]) for key in ("node", "birth", "token"))
        verb, since_utc = str(value.get("verb", "")), int(value.get("since_utc", 0))
        return LockOwner(node, int(value["process"]), birth, token, verb, since_utc)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
