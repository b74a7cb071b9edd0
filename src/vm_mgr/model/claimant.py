"""Describe who has locked a VM's name, for the others who wait for it."""

import re
import time
from typing import NamedTuple

__all__ = ["Claimant", "find_claimant"]

_WRITTEN = re.compile(r"([\w.-]+) (\d+) [0-9a-f]{8}(?: ([a-z][a-z_-]*) (\d+))?", re.ASCII)
DAY_S = 86400


class Claimant(NamedTuple):
    """A command by its node, process and name, and since when it is there, in seconds since 1970."""

    host: str
    process: int
    verb: str = ""
    since_utc: int = 0

    def written(self, token: str) -> str:
        """Give it as one line; token, 8 hexadecimal digits, makes it the only one of its kind.

        >>> Claimant("n1", 7, "clone", 1234).written("0123abcd")
        'n1 7 0123abcd clone 1234'
        """
        return f"{self.host} {self.process} {token} {self.verb or 'command'} {self.since_utc}"

    def words(self, now_utc: float) -> str:
        """Say it.

        >>> Claimant("n1", 7).words(0)
        'on n1, process 7'
        >>> Claimant("n1", 7, "clone", 10).words(75).startswith("clone on n1 since ")
        True
        """
        if not self.since_utc:
            return f"on {self.host}, process {self.process}"
        far = abs(now_utc - self.since_utc) > DAY_S
        since = time.strftime("%Y-%m-%d %H:%M" if far else "%H:%M:%S", time.localtime(self.since_utc))
        return f"{self.verb} on {self.host} since {since}, process {self.process}"


def find_claimant(raw: str) -> Claimant | None:
    """Find one in a text, also in a storage's own answer around it.

    >>> find_claimant("x\\0n1 7 0123abcd clone 1234\\0")
    Claimant(host='n1', process=7, verb='clone', since_utc=1234)
    >>> find_claimant("n1 7 0123abcd")  # of an older version
    Claimant(host='n1', process=7, verb='', since_utc=0)
    >>> find_claimant("")
    """
    found = _WRITTEN.search(raw)
    if found is None:
        return None
    host, process, verb, since = found.groups()
    return Claimant(host, int(process), verb or "", int(since or 0))
