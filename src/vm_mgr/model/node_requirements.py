"""Name what a VM asks of a node, and say what the node's answers mean for it (docs/design/0011).

An ask is a word of model/requirement_words.py. Each hypervisor answers, as a transient attribute of its node,
what the VMs' rules ask for (the agent ocf:vm-mgr:Node). No answer means nothing.
"""

from collections.abc import Mapping, Sequence

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.requirement_words import LONGEST, MEDIUM, cure, is_word, text

__all__ = [
    "BRIDGE",
    "CUT",
    "MISSING",
    "PRESENT",
    "Uplink",
    "ask_of",
    "attribute",
    "cures",
    "needed",
    "penalty",
    "published",
    "reasons",
    "scores",
]

BRIDGE, KVM, MACHINE = "bridge-", "kvm", "machine-"
PREFIX = "vm-mgr-"
# A node's answers.
MISSING, CUT, PRESENT = "0", "1", "2"

# Above the stickiness and the wishes of a cluster. A node gets them for each thing that it does not lack: if
# it lost them for what it lacks, Pacemaker would stop a VM that no node suits, because below 0 nothing runs.
CONNECTED_SCORE = 10_000
PRESENT_SCORE = 100_000
# Pacemaker's infinity is 1,000,000: all together stay below it.
MOST = 900_000


class Uplink:
    """What a VM does where its bridges have lost their networks; the words of the setting `uplink`."""

    FOLLOW = "follow"
    IGNORE = "ignore"
    WORDS = (FOLLOW, IGNORE)

    @classmethod
    def problems(cls, word: str | None) -> list[VmMgrError]:
        """Refuse another word.

        >>> [len(Uplink.problems(word)) for word in (None, "ignore", "no")]
        [0, 0, 1]
        """
        if word is None or word in cls.WORDS:
            return []
        hint = f"use one of {', '.join(cls.WORDS)}"
        return [VmMgrError(Kind.INVALID, f"unknown word {word!r} for the uplink", hint=hint)]


def attribute(ask: str) -> str:
    """Name the attribute of a node that has the answer."""
    return PREFIX + ask


def ask_of(name: str) -> str:
    """Give the ask that an attribute answers, or nothing for another attribute.

    >>> ask_of("vm-mgr-bridge-br0"), ask_of("vm-mgr-kvm"), ask_of("vm-mgr-role"), ask_of("bridge-br0")
    ('bridge-br0', 'kvm', '', '')
    """
    ask = name.removeprefix(PREFIX)
    return ask if ask != name and is_word(ask) else ""


def published(requirements: Sequence[str]) -> tuple[str, ...]:
    """Leave out what has too long a name for an attribute: a node tells of that when it is asked.

    >>> [len(published([f"has-file-{'x' * count}"])) for count in (191, 192)]
    [1, 0]
    """
    return tuple(one for one in requirements if len(one) <= LONGEST)


def needed(requirements: Sequence[str]) -> tuple[str, ...]:
    """Leave out what a VM starts without.

    >>> needed(["kvm", "has-medium-__a.iso"])
    ('kvm',)
    """
    return tuple(one for one in requirements if not one.startswith(f"{MEDIUM}-"))


def scores(requirements: Sequence[str], *, follow_uplink: bool) -> list[tuple[str, str, int]]:
    """Give each answer that speaks against a node, and what the nodes get that don't give it, as a score.

    >>> scores(["bridge-br0", "kvm"], follow_uplink=True)
    [('bridge-br0', '0', 100000), ('bridge-br0', '1', 10000), ('kvm', '0', 100000)]
    >>> scores(["has-medium-__a.iso"], follow_uplink=True)
    [('has-medium-__a.iso', '0', 0)]
    >>> sum(score for _, _, score in scores([f"bridge-b{n}" for n in range(30)], follow_uplink=True))
    899970
    """
    present = min(PRESENT_SCORE, MOST // max(len(needed(requirements)), 1) * 10 // 11)
    connected = present * CONNECTED_SCORE // PRESENT_SCORE
    found = []
    for ask in requirements:
        # A rule without a score has the nodes tell of it, and keeps a VM from none of them.
        found.append((ask, MISSING, present if needed([ask]) else 0))
        if follow_uplink and ask.startswith(BRIDGE):
            found.append((ask, CUT, connected))
    return found


def penalty(requirements: Sequence[str], told: Mapping[str, str], *, follow_uplink: bool) -> int:
    """Add up what a node lacks that has told this; 0 or less.

    >>> penalty(["bridge-br0"], {"bridge-br0": "1"}, follow_uplink=True)
    -10000
    >>> penalty(["bridge-br0"], {}, follow_uplink=True)
    0
    """
    against = scores(requirements, follow_uplink=follow_uplink)
    return -sum(score for ask, answer, score in against if told.get(ask) == answer)


def reasons(requirements: Sequence[str], told: Mapping[str, str], *, follow_uplink: bool) -> list[str]:
    """Say for people what speaks against a node that has told this.

    >>> reasons(["bridge-br0", "kvm"], {"bridge-br0": "1", "kvm": "0"}, follow_uplink=True)
    ['the bridge br0 has no uplink', 'it has no hardware virtualisation (KVM)']
    """
    against = scores(requirements, follow_uplink=follow_uplink)
    return [_reason(ask, answer) for ask, answer, score in against if score and told.get(ask) == answer]


def cures(requirements: Sequence[str], told: Mapping[str, str], *, follow_uplink: bool) -> list[str]:
    """Say what can be done about each of these reasons; nothing about an uplink that is lost.

    >>> cures(["bridge-br0", "has-tpm"], {"bridge-br0": "1", "has-tpm": "0"}, follow_uplink=True)
    ['', 'apt install swtpm swtpm-tools']
    """
    against = scores(requirements, follow_uplink=follow_uplink)
    told_of = [(ask, answer) for ask, answer, score in against if score and told.get(ask) == answer]
    return [cure(ask) if answer == MISSING else "" for ask, answer in told_of]


def _reason(ask: str, answer: str) -> str:
    if ask == KVM:
        return "it has no hardware virtualisation (KVM)"
    if ask.startswith(MACHINE):
        return f"its QEMU has no machine type {ask.removeprefix(MACHINE).partition('-')[2]}"
    return f"{text(ask)} {'is missing' if answer == MISSING else 'has no uplink'}"
