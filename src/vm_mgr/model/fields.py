"""Describe what a user may give: an argument of an operation, or a setting of a VM."""

from typing import Literal, NamedTuple

__all__ = ["Completes", "Field", "Sort"]

# pairs: any number of KEY=VALUE. size: bytes, or with K, M, G, T. duration: with s, m, h, d. time: local.
# document: a text that is read from a file. A text of a closed list has words.
Sort = Literal["flag", "text", "number", "pairs", "size", "duration", "time", "document"]
# What a shell completes.
Completes = Literal["", "vm", "node", "snapshot", "storage", "file"]


class Field(NamedTuple):
    """One thing that may be given.

    options: its spellings on the command line; without any it is a plain word there, or has commands of its
    own. least and most hold for numbers. default: what holds where nothing is given, in the field's unit; the
    command's help shows it if shows_default. many: it may be given several times. argument: of the operation,
    which this is made a part of; empty if that has the field's name. negates: a flag whose option means no.
    """

    name: str
    help: str
    sort: Sort = "text"
    options: tuple[str, ...] = ()
    metavar: str = ""
    unit: str = ""
    words: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    default: int | str | None = None
    many: bool = False
    required: bool = False
    completes: Completes = ""
    argument: str = ""
    negates: bool = False
    shows_default: bool = False

    @property
    def word(self) -> str:
        """Name it as the command line does, without dashes before it.

        >>> Field("stop_timeout_s", "", options=("--stop-timeout",)).word
        'stop-timeout'
        """
        return self.options[0].lstrip("-") if self.options else self.name.replace("_", "-")

    @property
    def value(self) -> str:
        """Say what it takes, for people.

        >>> Field("a", "", sort="number", least=1, most=255, unit="s").value
        '1 to 255 s'
        """
        if self.words:
            return ", ".join(self.words)
        if self.sort != "number":
            return self.metavar or self.sort
        range_ = "whole number" if self.least is None else f"{self.least} to {self.most}"
        least = f"at least {self.least}" if self.most is None and self.least is not None else range_
        return f"{least} {self.unit}".rstrip()
