"""Meet the intent log port with one object of the pool: a lock per VM, and the intents as its omap."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.connection import failed, load_rados
from vm_mgr.adapters.ceph.lease import LEASE_S
from vm_mgr.adapters.ceph.listing import LEDGER, raw_intents
from vm_mgr.errors import BusyError, Kind, VmMgrError
from vm_mgr.model.intent import Intent, Key, read_intent, write_intent
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vm_mgr.adapters.ceph.connection import Connection
    from vm_mgr.adapters.ceph.listing import Listing

__all__ = ["CephIntentLog"]

RENEW_S = 8
# LIBRADOS_LOCK_FLAG_MUST_RENEW: a lock that has ended is not taken again, since others may have had it.
MUST_RENEW = 2


class CephIntentLog:
    """The object vm-mgr.ledger of the VMs' pool."""

    def __init__(
        self,
        connection: Connection,
        listing: Listing | None = None,
        *,
        doing: Callable[[], str] = lambda: "",
    ) -> None:
        """Doing names the command that locks."""
        self.connection = connection
        self.listing = listing
        self.doing = doing
        self._claimed: dict[str, str] = {}

    @contextmanager
    def lock(self, name: VmName | Key) -> Iterator[None]:
        """Hold the lock of the name, renewed by a thread."""
        from vm_mgr.adapters.ceph.lock_words import cookie_of, lock_owner  # noqa: PLC0415 - not for `list`

        rados = load_rados()

        stored = str(name)
        ioctx = self.connection.ioctx
        leases = self.connection.leases
        cookie = cookie_of(self.doing())

        def lock(flags: int = 0) -> None:
            asked = leases.now()
            ioctx.lock_exclusive(LEDGER, stored, cookie, desc="vm-mgr", duration=LEASE_S, flags=flags)
            leases.hold(cookie, asked)

        try:
            lock()
        except (rados.ObjectBusy, rados.ObjectExists) as error:
            besides = f", or was killed less than {LEASE_S} s ago"
            hint = f"try again when it has ended, or in {LEASE_S} s"
            raise BusyError(stored, lock_owner(ioctx, stored), hint=hint, besides=besides) from error
        except rados.Error as error:
            raise failed(f"can't lock {name}", error) from error
        self._claimed[stored] = cookie
        over = threading.Event()

        def renew() -> None:
            while not over.wait(RENEW_S):
                try:
                    lock(MUST_RENEW)
                except (rados.ObjectBusy, rados.ObjectExists, rados.ObjectNotFound):
                    leases.lose(cookie)
                    return
                except rados.Error:
                    continue  # Ceph hangs; it is tried again, and what is done after the end is refused

        renewing = threading.Thread(target=renew, daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join(LEASE_S)  # the limits of its call end it before
            del self._claimed[stored]
            leases.release(cookie)
            with suppress(rados.Error):  # it ends by itself
                ioctx.unlock(LEDGER, stored, cookie)

    def intents(self) -> Mapping[VmName, Intent]:
        """Read all intents, or take those that were begun to be read earlier."""
        listing, self.listing = self.listing, None
        raw = listing.intents() if listing else raw_intents(self.connection)
        return {VmName(name): read_intent(value) for name, value in raw.items()}

    def write(self, name: VmName, intent: Intent) -> None:
        """Set one key."""
        value = write_intent(intent).encode()
        self._change(name, lambda ioctx, operation: ioctx.set_omap(operation, (str(name),), (value,)))

    def erase(self, name: VmName) -> None:
        """Remove one key."""
        self._change(name, lambda ioctx, operation: ioctx.remove_omap_keys(operation, (str(name),)))

    def _change(self, name: VmName, add: Callable[[Any, Any], None]) -> None:
        """Change an intent, under the lock of its name only while Ceph has it.

        What a dead command has sent into a broken network arrives when that is mended, long after its end.
        """
        from vm_mgr.adapters.ceph.lock_words import assertion  # noqa: PLC0415 - not for `list`

        rados = load_rados()

        ioctx = self.connection.ioctx
        try:
            with rados.WriteOpCtx() as operation:
                if name in self._claimed:
                    operation.execute("lock", "assert_locked", assertion(name, self._claimed[name]))
                add(ioctx, operation)
                ioctx.operate_write_op(operation, LEDGER)
        except rados.ObjectNotFound:  # only to erase one; a lock would have made the object
            return
        except rados.ObjectBusy as error:
            message = f"the lock of {name} has ended; another command may have taken over"
            raise VmMgrError(Kind.TRY_LATER, message, hint="look at it with vm-mgr list") from error
        except rados.Error as error:
            raise failed(f"can't change the intent of {name}", error) from error
