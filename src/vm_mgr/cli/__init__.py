"""The command line `vm-mgr`."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; list and status look at the cluster while the rest is still being loaded."""
    from vm_mgr.wiring import RealEnv  # noqa: PLC0415

    env = RealEnv()
    words = sys.argv[1:]
    if words[:1] in (["list"], ["status"]) and "--help" not in words:
        env.prefetch(names=words[0] == "list")
        from vm_mgr.cli.quick import answer  # noqa: PLC0415

        if answer(env, words):
            _leave()
            return
    from vm_mgr.cli.app import app  # noqa: PLC0415

    app(obj=env, prog_name="vm-mgr")


def _leave() -> None:
    """End without the interpreter's teardown of 2 ms; where the output fails, leave it to Python."""
    try:
        sys.stdout.flush()
    except OSError:
        return
    os._exit(0)
