"""Speak with Ceph's cls_lock: name who has a lock, and say which lock a write goes by."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.ceph.connection import load_rados
from vm_mgr.adapters.ceph.listing import LEDGER
from vm_mgr.model.claimant import Claimant, find_claimant

if TYPE_CHECKING:
    from vm_mgr.model.vm import VmName

__all__ = ["assertion", "cookie_of", "lock_owner"]


def assertion(name: VmName, cookie: str) -> bytes:
    """Encode cls_lock_assert_op of version 1: the lock, 1 for an exclusive one, the cookie, the tag."""

    def string(text: str) -> bytes:
        return struct.pack("<I", len(text.encode())) + text.encode()

    words = string(name) + b"\x01" + string(cookie) + string("")
    return struct.pack("<BBI", 1, 1, len(words)) + words


def cookie_of(doing: str) -> str:
    """Name the command in a way that is its own alone: it may renew."""
    us = Claimant(socket.gethostname(), os.getpid(), doing, int(time.time()))
    return us.written(os.urandom(4).hex())


def lock_owner(ioctx: Any, name: str) -> str:
    """Ask cls_lock who has the lock; whatever else Ceph puts around it, the cookie is in its answer."""
    word = name.encode()
    # cls_lock_get_info_op of version 1: a string.
    asked = struct.pack("<BBII", 1, 1, len(word) + 4, len(word)) + word
    try:
        _, answer = ioctx.execute(LEDGER, "lock", "get_info", asked)
    except (load_rados().Error, AttributeError):
        return ""
    found = find_claimant(bytes(answer or b"").decode("latin-1"))
    return found.words(time.time()) if found else ""
