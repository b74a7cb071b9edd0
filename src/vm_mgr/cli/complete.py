"""Complete names of VMs, nodes, snapshots and files in a shell: in bounded time, silent whatever fails.

A child process looks, since a call into a library that hangs can't be ended in any other way. What it has
found when the time is over counts.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from vm_mgr.errors import VmMgrError
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from vm_mgr.model.fields import Completes
    from vm_mgr.ports.env import Env

__all__ = ["COMPLETERS", "Completer", "dashed", "first_vm_then"]

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

PATIENCE_S = 2.0
NEW = ("create", "add-to-cluster")  # commands whose name is not that of a VM


def vm_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Name the VMs, unless the command's VM is new, or was named already."""
    if context.command.name in NEW or (_given(context) and _is_name(parameter)):
        return []
    return _found(context, _vms, incomplete)


def node_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Name the nodes that may run VMs."""
    return _found(context, _nodes, incomplete)


def snapshot_names(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Name the snapshots of the VM that the line names, unless a new one is to be taken."""
    if context.command.name == "create-snapshot":
        return []
    name = _given(context)
    return _found(context, lambda env: (one.name for one in env.storage.snapshots.of(name)), incomplete)


def storage_labels(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Name the storages."""
    return _found(context, lambda env: env.storages.labels(), incomplete)


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Leave it to the shell."""
    return [CompletionItem(incomplete, type="file")]


def first_vm_then(others: Completer | None) -> Completer:
    """Complete the plain words of a command: the VM, unless it is named, then what others gives."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if not _given(context):
            return vm_names(context, parameter, incomplete)
        return others(context, parameter, incomplete) if others else []

    return complete


COMPLETERS: dict[Completes, Completer] = {
    "vm": vm_names,
    "node": node_names,
    "snapshot": snapshot_names,
    "storage": storage_labels,
    "file": files,
}


def dashed(word: str) -> str:
    """Write an option as we do; older scripts have underscores.

    >>> dashed("--snap_name=a_b")
    '--snap-name=a_b'
    """
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def _given(context: click.Context) -> VmName:
    """Give the VM of the line; where that ends with an option, its plain words are not yet assigned."""
    plain = context.params.get("plain") or context.args
    first = plain if isinstance(plain, str) else next(iter(plain), "")
    return VmName(context.params.get("named") or first)


def _is_name(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Argument) and parameter.nargs == 1


def _vms(env: Env) -> Iterator[str]:
    with suppress(VmMgrError):
        yield from (name for name, resource in env.cluster.state().resources.items() if resource.is_vm)
    yield from env.storage.definitions.names()


def _nodes(env: Env) -> Iterable[str]:
    return (node.name for node in env.cluster.state().nodes if not node.observer)


def _found(
    context: click.Context, look: Callable[[Env], Iterable[str]], incomplete: str
) -> list[CompletionItem]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(context.find_root().obj, look, writing)
    os.close(writing)
    names = _read(reading)
    os.close(reading)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, os.WNOHANG)  # one that the kernel holds is not waited for
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def _answer(env: Env, look: Callable[[Env], Iterable[str]], writing: int) -> None:
    """Write names into the pipe as they are found, and end; the shell's own pipe is let go at once."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        for name in look(env):
            os.write(writing, f"{name}\0".encode())
    finally:
        os._exit(0)


def _read(reading: int) -> set[str]:
    deadline = time.monotonic() + PATIENCE_S
    raw = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        piece = os.read(reading, 65536)
        if not piece:
            break
        raw += piece
    return set(raw.decode(errors="replace").split("\0")[:-1])


class _BothSpellings(ShellComplete):
    """Understand options with underscores, and complete them so."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Give nothing where anything fails: the user is typing."""
        try:
            found = super().get_completions([dashed(word) for word in args], dashed(incomplete))
        except Exception:  # noqa: BLE001 - the outermost boundary: a traceback would spoil the typed line
            return []
        if "=" not in incomplete and dashed(incomplete) != incomplete:
            for item in found:
                item.value = "--" + item.value[2:].replace("-", "_")
        return found


@add_completion_class
class _Bash(_BothSpellings, BashComplete):
    pass


@add_completion_class
class _Zsh(_BothSpellings, ZshComplete):
    pass


@add_completion_class
class _Fish(_BothSpellings, FishComplete):
    pass
