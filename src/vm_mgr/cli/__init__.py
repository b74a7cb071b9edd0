"""The command line `vm-mgr`."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; list and status look at the cluster while the rest is still being loaded."""
    try:
        _answer()
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _admit(error)


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

    if "_VM_MGR_COMPLETE" in os.environ:
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
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return
    os._exit(status)
