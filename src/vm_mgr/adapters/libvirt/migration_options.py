"""Translate options of virsh migrate into flags and parameters of libvirt's API."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vm_mgr.model.numbers import whole_number

__all__ = ["NOTHING", "Understood", "understood"]

# virsh's options (virsh(1), migrate) that are flags of the API.
_FLAGS = {
    "--live": "VIR_MIGRATE_LIVE",
    "--abort-on-error": "VIR_MIGRATE_ABORT_ON_ERROR",
    "--auto-converge": "VIR_MIGRATE_AUTO_CONVERGE",
    "--compressed": "VIR_MIGRATE_COMPRESSED",
    "--change-protection": "VIR_MIGRATE_CHANGE_PROTECTION",
    "--parallel": "VIR_MIGRATE_PARALLEL",
    "--tls": "VIR_MIGRATE_TLS",
    "--unsafe": "VIR_MIGRATE_UNSAFE",
    "--zerocopy": "VIR_MIGRATE_ZEROCOPY",
}
_NUMBERS = {
    "--auto-converge-increment": "VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT",
    "--auto-converge-initial": "VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL",
    "--bandwidth": "VIR_MIGRATE_PARAM_BANDWIDTH",
    "--parallel-connections": "VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS",
}


class Understood(NamedTuple):
    """Options of virsh as names of the API."""

    flags: tuple[str, ...]
    numbers: Mapping[str, int]


def understood(options: Sequence[str]) -> Understood | None:
    """Translate options of virsh; None where one has no translation here.

    >>> understood(["--auto-converge", "--bandwidth", "8"]).numbers
    {'VIR_MIGRATE_PARAM_BANDWIDTH': 8}
    >>> understood(["--copy-storage-all"]) is None
    True
    """
    flags, numbers, words = [], {}, [part for word in options for part in word.split("=", 1)]
    while words:
        word = words.pop(0)
        if word in _FLAGS:
            flags.append(_FLAGS[word])
        elif word in _NUMBERS and words and (number := whole_number(words[0])) is not None:
            numbers[_NUMBERS[word]] = number
            words.pop(0)
        else:
            return None
    return Understood(tuple(flags), numbers)


NOTHING = Understood((), {})
