"""The command line `vm-mgr`."""

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from typing import Any, ClassVar

__all__ = ["COMPLETES", "main"]

# Set by the shell's script while a word is completed.
COMPLETES = "_VM_MGR_COMPLETE"


class _Output(io.FileIO):
    """Standard output, which remembers that it could not be written to."""

    failure: ClassVar[OSError | None] = None

    def write(self, data: Any) -> int:
        """Write, or remember why not."""
        try:
            return super().write(data)
        except OSError as error:
            _Output.failure = error
            raise


def main() -> None:
    """Run the command line; list and status look at the cluster while the rest is still being loaded."""
    if COMPLETES in os.environ:  # who types on, or gives up, wants no traceback in the prompt
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_closed()
    try:
        _answer()
    except Exception as error:  # the outermost boundary: what is not foreseen is a defect, told in a line
        _leave_if_unwritten()
        if "--debug" in sys.argv:
            raise
        _admit(error)


def _open_closed() -> None:
    """Give the standard streams that were closed a file: what is opened next would take their numbers.

    Writing to an output that was closed fails as it does in other programs, and each failure is remembered:
    Python's buffers forget what they could not write.
    """
    for number, (flags, mode) in enumerate(((os.O_RDONLY, "r"), (os.O_RDONLY, "w"), (os.O_WRONLY, "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)
            name = ("stdin", "stdout", "stderr")[number]
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    words = (sys.stdout.encoding, sys.stdout.errors)
    buffer = io.BufferedWriter(_Output(1, "wb", closefd=False))
    sys.stdout = io.TextIOWrapper(buffer, *words, line_buffering=os.isatty(1))


def _answer() -> None:
    if sys.argv[1:] in (["--help"], ["-h"]):
        from vm_mgr.cli.help import overview  # noqa: PLC0415

        print(overview())
        _leave()
        return
    from vm_mgr.wiring import RealEnv  # noqa: PLC0415

    env = RealEnv()
    words = sys.argv[1:]
    if words[:1] in (["list"], ["status"]) and not any(map(_goes_on, words)):
        env.prefetch(names=words[0] == "list")
        from vm_mgr.cli.quick import answer  # noqa: PLC0415

        if answer(env, words):
            _leave()
            return
    from vm_mgr.cli.app import app  # noqa: PLC0415

    if COMPLETES in os.environ:
        import vm_mgr.cli.complete  # noqa: F401, PLC0415 - click then completes both spellings
    try:
        app(obj=env, prog_name="vm-mgr")
    except SystemExit as ended:
        _leave(ended.code)
        raise


def _admit(error: Exception) -> None:
    """Say in one line what is full, or that vm-mgr is at fault."""
    from vm_mgr.cli.run import fail  # noqa: PLC0415
    from vm_mgr.errors import Kind, VmMgrError  # noqa: PLC0415

    if isinstance(error, OSError):
        from vm_mgr.room import is_full, no_room  # noqa: PLC0415

        if is_full(error):
            fail(no_room("the command can't go on", error))
    message = f"a defect of vm-mgr: {type(error).__name__}: {error}"
    fail(VmMgrError(Kind.INTERNAL, message, hint="report it, with what vm-mgr --debug COMMAND … shows"))


def _goes_on(word: str) -> bool:
    """Tell whether a word asks for more, or less, than one look."""
    return word in ("-h", "--help") or word.startswith("--watch")


def _leave(status: object = 0) -> None:
    """End without the interpreter's teardown, where the output doesn't fail and the status is a number.

    The teardown takes 2 ms, and with Ceph's client connected it has ended in a segmentation fault.
    """
    if not isinstance(status, int):
        return
    _leave_if_unwritten(status)
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(status)


def _leave_if_unwritten(status: int = 0) -> None:
    """End with 1, or the given failure, where the output can't be written; a reader may just leave."""
    with suppress(OSError):
        sys.stdout.flush()
    failure = _Output.failure
    if failure is None:
        return
    with suppress(OSError):
        if failure.errno != errno.EPIPE:
            print(f"vm-mgr: error: can't write the output: {failure.strerror}", file=sys.stderr, flush=True)
    os._exit(status or 1)
