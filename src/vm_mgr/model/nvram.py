"""Describe what a guest's firmware and TPM keep: UEFI variables, keys, counters (docs/design/0026).

In a storage it is one text of bytes, which means nothing to the storage; on the node of a running VM it is
files, which libvirt names.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from vm_mgr.errors import Kind, VmMgrError

__all__ = ["MOST_BYTES", "VARIABLES", "NvramFile", "NvramPlaces", "digest", "pack", "unpack"]

# UEFI variables are at most 4 MiB, a TPM's files some 100 KiB: what is larger is something else.
MOST_BYTES = 64 << 20
VARIABLES = "variables"


class NvramPlaces(NamedTuple):
    """Where a node has it, as absolute paths: the file of the UEFI variables, the folder of the TPM."""

    variables: str = ""
    tpm: str = ""


class NvramFile(NamedTuple):
    """A file's content, and whose it is: names of user and group, since numbers differ between nodes."""

    content: bytes
    user: str = ""
    group: str = ""


def pack(files: Mapping[str, NvramFile]) -> bytes:
    """Write files as one text; the same files give the same text.

    >>> unpack(pack({"variables": NvramFile(b"ab", "root", "root")}))
    {'variables': NvramFile(content=b'ab', user='root', group='root')}
    """
    if not files:
        return b""
    described = {
        name: [b64encode(one.content).decode(), one.user, one.group] for name, one in sorted(files.items())
    }
    return zlib.compress(json.dumps({"format": 1, "files": described}).encode(), level=6)


def unpack(packed: bytes) -> dict[str, NvramFile]:
    """Read files from a text; raises EXTERNAL_FAILURE for another text, or one far too large."""
    if not packed:
        return {}
    try:
        reader = zlib.decompressobj()
        raw = reader.decompress(packed, 2 * MOST_BYTES)
        if not reader.eof:
            raise ValueError("it does not end")  # noqa: TRY301 - one kind of failure
        found = json.loads(raw)["files"]
        return {
            str(name): NvramFile(b64decode(content, validate=True), str(user), str(group))
            for name, (content, user, group) in found.items()
        }
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"what is kept of UEFI variables and TPM can't be read: {error}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint="look at the storage's health") from error


def digest(packed: bytes) -> str:
    """Tell one text from another; empty for an empty one."""
    return blake2b(packed, digest_size=16).hexdigest() if packed else ""
