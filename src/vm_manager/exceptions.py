"""Define what the functions raise, and translate vm-mgr's own errors to it.

RuntimeError
└── VmManagerException       whatever failed, with a hint
    ├── ArgumentError        a wrong name or argument; a ValueError too
    └── UuidConflictError    another VM has the domain's UUID
"""

from collections.abc import Iterator
from contextlib import contextmanager

from vm_mgr.errors import Kind, UuidTakenError, VmMgrError

__all__ = ["ArgumentError", "UuidConflictError", "VmManagerException", "translated"]


# Programs, and SEAPATH's own tests, look for these words in what is raised.
WORDS = {Kind.EXISTS: "already exists", Kind.NOT_FOUND: "does not exist"}


class VmManagerException(RuntimeError):  # noqa: N818 - the name that programs know
    """Anything that failed; kind is vm-mgr's word for it, as in the command line's documentation."""

    def __init__(self, message: str, *, kind: str = "", hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.kind = kind
        self.hint = hint


class ArgumentError(VmManagerException, ValueError):
    """A wrong name or argument."""


class UuidConflictError(VmManagerException):
    """Another VM has the UUID."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise what programs written for SEAPATH know instead of vm-mgr's errors, with all problems found."""
    try:
        yield
    except VmMgrError as error:
        message = "; ".join(problem.message for problem in (error, *error.others))
        if error.kind in WORDS:
            message = f"{WORDS[error.kind]}: {message}"
        kind: type[VmManagerException] = VmManagerException
        if isinstance(error, UuidTakenError):
            kind = UuidConflictError
        elif error.kind is Kind.INVALID:
            kind = ArgumentError
        raise kind(message, kind=error.kind.value, hint=error.hint) from error
