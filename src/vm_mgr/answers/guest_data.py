"""Give the data of what a guest has told or shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from vm_mgr.answers import shapes
    from vm_mgr.ports.guest_access import Executed, GuestAddress

    Given = Mapping[str, Any]

__all__ = ["addresses", "executed", "screenshot"]


def addresses(_: Given, found: Sequence[GuestAddress]) -> list[shapes.GuestAddress]:
    """Name address, card and who told it."""
    return [{"address": one.address, "mac": one.mac, "source": one.source.value} for one in found]


def executed(given: Given, done: Executed) -> shapes.Executed:
    """Give what the program wrote; bytes that are no UTF-8 are marked."""
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    return {"name": given["name"], "exit_code": done.exit_code, "stdout": out, "stderr": err}


def screenshot(given: Given, _: object) -> shapes.Screenshot:
    """Name the file."""
    return {"name": given["name"], "file": given["path"]}
