"""Bound a call in time that has no limit of its own, as those of libvirt and of a storage that hangs."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["OutOfTimeError", "bounded"]

_Result = TypeVar("_Result")


class OutOfTimeError(Exception):
    """Report that a call has not ended in time; it goes on in its thread, which ends with the process."""


def bounded(call: Callable[[], _Result], limit_s: float) -> _Result:
    """Call in a thread; give its result, or raise what it raised, or OutOfTimeError after limit_s seconds.

    >>> bounded(lambda: 7, 1)
    7
    """
    ended: queue.SimpleQueue[tuple[_Result | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            ended.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
            ended.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = ended.get(timeout=limit_s)
    except queue.Empty:
        raise OutOfTimeError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
