"""Define the exception tree and what each kind of failure means to a shell.

VmMgrError            anything that vm-mgr reports in one line
├── AbortedError      a live migration did not reach its target
├── ConsentError      VMs would be moved or restarted, and nobody has said that they may
├── ProgramError      an external program ended with a non-zero exit status
├── BusyError         another command is at the VM
├── UnknownNameError  nothing has the name; one that is like it is in the hint
└── UuidTakenError    another VM has the domain's UUID
SignalError           a signal asked us to stop; undo steps have run, or a report says what goes on
"""

from collections.abc import Iterable, Sequence
from enum import Enum

__all__ = [
    "EXIT_CODES",
    "AbortedError",
    "BusyError",
    "ConsentError",
    "Kind",
    "ProgramError",
    "SignalError",
    "UnknownNameError",
    "UuidTakenError",
    "VmMgrError",
    "raise_all",
]


class Kind(Enum):
    """Classify failures; the set is closed."""

    INVALID = "invalid"
    NOT_FOUND = "not-found"
    EXISTS = "exists"
    WRONG_STATE = "wrong-state"
    NO_RESOURCES = "no-resources"
    TRY_LATER = "try-later"
    NOT_SUPPORTED = "not-supported"
    NOT_PERMITTED = "not-permitted"
    ENVIRONMENT = "environment"
    EXTERNAL_FAILURE = "external-failure"
    INTERNAL = "internal"


# 1 is left to Python itself; 2 is what command line parsers use for bad usage.
EXIT_CODES: dict[Kind, int] = {
    Kind.INVALID: 2,
    Kind.NOT_FOUND: 3,
    Kind.EXISTS: 4,
    Kind.WRONG_STATE: 5,
    Kind.NO_RESOURCES: 6,
    Kind.TRY_LATER: 7,
    Kind.NOT_SUPPORTED: 8,
    Kind.NOT_PERMITTED: 9,
    Kind.ENVIRONMENT: 10,
    Kind.EXTERNAL_FAILURE: 11,
    Kind.INTERNAL: 12,
}


class VmMgrError(Exception):
    """Carry one failure: its kind, one line for people, a hint, and further problems found with it."""

    def __init__(self, kind: Kind, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.others: tuple[VmMgrError, ...] = ()

    @property
    def exit_code(self) -> int:
        """Give the exit status of the command line for this failure."""
        return EXIT_CODES[self.kind]


class ProgramError(VmMgrError):
    """Say which program failed, with its exit status and the last lines of its stderr."""

    def __init__(self, argv: Sequence[str], exit_code: int, stderr: str, *, hint: str = "") -> None:
        last = " / ".join(line.strip() for line in stderr.strip().splitlines()[-3:])
        message = f"{argv[0]} failed with exit status {exit_code}" + (f": {last}" if last else "")
        super().__init__(Kind.EXTERNAL_FAILURE, message, hint=hint)
        self.argv = tuple(argv)
        self.program_exit_code = exit_code
        self.stderr = stderr


class AbortedError(VmMgrError):
    """Say that a live migration did not reach its target; why is an AbortReason (model/migration.py)."""

    def __init__(self, message: str, why: str, *, kind: Kind = Kind.EXTERNAL_FAILURE, hint: str = "") -> None:
        super().__init__(kind, message, hint=hint)
        self.why = why


class BusyError(VmMgrError):
    """Say that another command is at a VM; who, in words, or nothing where that is not known."""

    def __init__(self, name: str, who: str, *, hint: str, besides: str = "") -> None:
        told = f" ({who})" if who else ""
        super().__init__(Kind.TRY_LATER, f"another command is at {name}{told}{besides}", hint=hint)
        self.who = who


class ConsentError(VmMgrError):
    """Say what a command would do that nobody has agreed to, mostly to VMs that it was not asked to touch.

    allows: the argument of the operation that says yes to it; option: the same on the command line.
    """

    def __init__(
        self, message: str, *, allows: str = "restart_others", option: str = "--restart-others"
    ) -> None:
        super().__init__(Kind.WRONG_STATE, message, hint=f"allow that: {option}")
        self.allows = allows


class UnknownNameError(VmMgrError):
    """Say that nothing has a name; where a known one is like it, the hint begins with that one."""

    def __init__(self, message: str, name: str, known: Iterable[str], *, hint: str) -> None:
        from difflib import get_close_matches  # noqa: PLC0415 - not for those who make no mistake

        folded = {one.casefold(): one for one in known}
        near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
        meant = f"did you mean {folded[near[0]]}? " if near else ""
        super().__init__(Kind.NOT_FOUND, message, hint=meant + hint)


class UuidTakenError(VmMgrError):
    """Say which VM has a UUID already."""

    def __init__(self, uuid: str, owner: str) -> None:
        hint = "remove the <uuid> element; a new one is generated"
        super().__init__(Kind.EXISTS, f"the UUID {uuid} belongs to the VM {owner}", hint=hint)


class SignalError(BaseException):
    """Report that SIGINT, SIGTERM or SIGHUP ended the operation.

    No VmMgrError: who goes on after a failure would go on after Ctrl-C too, and the next one is not heard.
    outcomes: what became of what was begun, in words; hint: how that is taken back, or finished. hanging: a
    call is still under way that nothing ends, so nothing may be undone beside it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.signal_number = signal_number
        self.outcomes: list[str] = []
        self.hint = ""
        self.hanging = False

    @property
    def message(self) -> str:
        """Say in one line what is known to be true."""
        return "; ".join(["interrupted", *self.outcomes])

    def add(self, outcome: str, *, hint: str = "") -> None:
        """Say what became of something; the first hint counts."""
        if outcome not in self.outcomes:
            self.outcomes.append(outcome)
        self.hint = self.hint or hint

    def leave(self) -> None:
        """Say that a report has told what goes on."""
        self.add("what could not be undone goes on")

    @property
    def exit_code(self) -> int:
        """Follow the shell's convention for deaths by signal."""
        return 128 + self.signal_number


def raise_all(problems: Sequence[VmMgrError]) -> None:
    """Raise the first problem, carrying the others, or return when there is none."""
    if problems:
        problems[0].others = tuple(problems[1:])
        raise problems[0]
