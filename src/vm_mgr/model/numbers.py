"""Read numbers that other programs and people have written."""

__all__ = ["whole_number"]

# More digits count nothing that there is, and Python refuses to read some thousands of them.
MOST_DIGITS = 18


def whole_number(text: object, *, signed: bool = False) -> int | None:
    """Read a whole number of ASCII digits, at most 18; None for anything else.

    str.isdigit also takes superscripts and the digits of other scripts, of which int() refuses some.

    >>> whole_number("12"), whole_number("007"), whole_number("-3", signed=True)
    (12, 7, -3)
    >>> [whole_number(text) for text in ("", "²", "٣", "1e3", "+1", " 1", "-1", "1_0", "9" * 19, None)]
    [None, None, None, None, None, None, None, None, None, None]
    >>> [whole_number(text, signed=True) for text in ("--5", "-", "-²", "- 1")]
    [None, None, None, None]
    """
    if not isinstance(text, str):
        return None
    digits = text[1:] if signed and text.startswith("-") else text
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MOST_DIGITS):
        return None
    return int(text)
