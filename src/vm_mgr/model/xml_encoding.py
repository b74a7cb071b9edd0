"""Make text of an XML file's bytes as appendix F of XML 1.0 tells: by byte order mark, or as it declares.

A file that declares another encoding than it has is read as it declares, as by every XML parser; where the
bytes tell that this is wrong, a warning says so.
"""

import codecs
import re

from vm_mgr.errors import Kind, VmMgrError

__all__ = ["decoded", "misdeclared"]

# Longer ones first: the mark of UTF-32 begins as that of UTF-16 does.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
# How "<" begins a file that has no mark.
FIRST = {b"<\0\0\0": "utf-32-le", b"\0\0\0<": "utf-32-be", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
DECLARED = re.compile(rb"""<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")


def decoded(raw: bytes) -> str:
    """Give the text without its mark; raises INVALID and names the encoding.

    >>> decoded("<?xml version='1.0' encoding='ISO-8859-1'?><a>ü</a>".encode("latin-1"))[-6:]
    '>ü</a>'
    >>> decoded("<a>ü</a>".encode("utf-16")), decoded("<a>ü</a>".encode("utf-16-be"))
    ('<a>ü</a>', '<a>ü</a>')
    """
    encoding, mark = _encoding(raw)
    try:
        return raw[len(mark) :].decode(encoding)
    except (LookupError, UnicodeError) as error:
        wrong = "is not known" if isinstance(error, LookupError) else "is not that of its bytes"
        message = f"the encoding {encoding} {wrong}"
        hint = "write it as UTF-8, and have its first line say so: iconv -f ENCODING -t UTF-8 FILE"
        raise VmMgrError(Kind.INVALID, message, hint=hint) from error


def misdeclared(raw: bytes) -> str:
    """Name the declared encoding of bytes that are UTF-8 in fact, as far as bytes tell; else nothing.

    >>> misdeclared("<?xml version='1.0' encoding='ISO-8859-1'?><a>ü</a>".encode())
    'iso-8859-1'
    >>> misdeclared(b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>")
    ''
    """
    encoding, mark = _encoding(raw)
    if mark or raw.isascii() or encoding.startswith("utf"):
        return ""
    try:
        raw.decode("utf-8")
    except UnicodeError:
        return ""
    return encoding


def _encoding(raw: bytes) -> tuple[str, bytes]:
    for mark, encoding in MARKS.items():
        if raw.startswith(mark):
            return encoding, mark
    for first, encoding in FIRST.items():
        if raw.startswith(first):
            return encoding, b""
    declared = DECLARED.match(raw)
    named = declared[1].decode("ascii").lower() if declared else "utf-8"
    # A text of two bytes a letter would not have been read so far.
    return "utf-8" if named in ("utf-16", "utf-32", "ucs-2", "ucs-4") else named, b""
