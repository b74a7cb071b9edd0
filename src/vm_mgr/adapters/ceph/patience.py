"""Call librbd so that a signal is heard, and so that a wait is told.

Its calls can take minutes, and Python hears no signal until the call of its main thread returns. So each is
made in a thread of its own, while the main thread waits.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vm_mgr.errors import Kind, SignalError, VmMgrError
from vm_mgr.interruption import current
from vm_mgr.reports import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.reports import Say

__all__ = ["Patience"]

T = TypeVar("T")
POLL_S = 0.25
TELL_S = 1.0
# For so long the call of an interrupted command may go on to its end: what is undone may not meet it.
END_S = 10.0
CLASSES = ("Group", "Image", "RBD")


class Patience:
    """Waits for Ceph, in the name of one storage."""

    def __init__(self, say: Say = silent) -> None:
        self.say = say
        self.hanging = False

    def module(self, rbd: Any, doing: str) -> Any:
        """Give rbd's binding, whose calls are made in threads; doing says why, as an error would."""
        return _Patient(rbd, self, doing, CLASSES)

    def call(
        self,
        function: Callable[[], T],
        doing: str,
        *,
        fraction: Callable[[], float | None] = lambda: None,
        end_s: float = END_S,
    ) -> T:
        """Wait for a call, telling what is waited for.

        Raises SignalError once the call has ended, or is left to itself after end_s. Raises TRY_LATER where
        such a call is still under way, or a second signal says that nobody wants to wait for the undoing.
        """
        if threading.current_thread() is not threading.main_thread():
            return function()
        if self.hanging:
            raise _left(doing)
        ended: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()
        threading.Thread(target=_work, args=(function, ended), daemon=True).start()
        began = time.monotonic()
        try:
            while True:
                try:
                    return cast("T", _result(*ended.get(timeout=POLL_S)))
                except Empty:
                    self._tell(doing, began, fraction())
                if current.impatient:
                    self.hanging = True
                    raise _left(doing)
        except SignalError as error:
            self._await_end(ended, doing, end_s, error)
            raise

    def _tell(self, doing: str, began: float, fraction: float | None) -> None:
        if time.monotonic() - began > TELL_S:
            what = doing.removeprefix("can't ")
            self.say(Progress(f"waiting for Ceph to {what}", fraction))

    def _await_end(self, ended: SimpleQueue[Any], doing: str, end_s: float, error: SignalError) -> None:
        self._tell(doing, float("-inf"), None)
        deadline = time.monotonic() + end_s
        while time.monotonic() < deadline and not current.impatient:
            with suppress(Empty):
                ended.get(timeout=POLL_S)
                return
        self.hanging = error.hanging = True


class _Patient:
    """The binding, or one of its objects."""

    def __init__(self, real: Any, patience: Patience, doing: str, wrapped: tuple[str, ...] = ()) -> None:
        self._real = real
        self._patience = patience
        self._doing = doing
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if self._wrapped and name not in self._wrapped:
            return found  # a constant, or an exception
        return self._called(found) if callable(found) else found

    def __enter__(self) -> Any:
        return _Patient(self._call(self._real.__enter__), self._patience, self._doing)

    def __exit__(self, *failure: object) -> bool:
        if self._patience.hanging:
            return False  # closing would wait for the call that hangs; the process ends soon
        return bool(self._call(lambda: self._real.__exit__(*failure)))

    def _called(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            made = self._call(lambda: function(*arguments, **named))
            return _Patient(made, self._patience, self._doing) if self._wrapped else made

        return call

    def _call(self, function: Callable[[], Any]) -> Any:
        return self._patience.call(function, self._doing)


def _work(function: Callable[[], Any], ended: SimpleQueue[Any]) -> None:
    try:
        ended.put((function(), None))
    except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
        ended.put((None, error))


def _result(result: Any, error: BaseException | None) -> Any:
    if error is not None:
        raise error
    return result


def _left(doing: str) -> VmMgrError:
    what = doing.removeprefix("can't ")
    return VmMgrError(Kind.TRY_LATER, f"Ceph has not finished yet: {what}", hint="check again: vm-mgr repair")
