"""Tell which rules of the CIB hold now, as Pacemaker's scheduler does where no node is looked at.

Rules guard sets of attributes: by the time, by the kind of a resource or an operation (in the defaults). An
expression on a node's attributes never holds for meta attributes (Pacemaker Explained, "Rules").
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from lxml import etree

from vm_mgr.adapters.pacemaker.cib_xml import referred
from vm_mgr.adapters.pacemaker.times import seconds
from vm_mgr.model.numbers import whole_number

__all__ = ["applies"]

FIELDS = {
    "seconds": lambda now: now.second,
    "minutes": lambda now: now.minute,
    "hours": lambda now: now.hour,
    "monthdays": lambda now: now.day,
    "weekdays": lambda now: now.isoweekday(),
    "yeardays": lambda now: now.timetuple().tm_yday,
    "months": lambda now: now.month,
    "weeks": lambda now: now.isocalendar().week,
    "years": lambda now: now.year,
    "weekyears": lambda now: now.isocalendar().year,
}
DURATIONS = {"weeks": 7 * 86400, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def applies(
    guarded: etree._Element,
    now: datetime,
    resource: etree._Element | None = None,
    operation: etree._Element | None = None,
) -> bool:
    """Tell whether a set has no rules, or one that holds; now has a time zone, the nodes' own."""
    rules = [referred(one) for one in guarded.iterchildren("rule")]
    return not rules or any(_holds(one, now, resource, operation) for one in rules)


def _holds(
    rule: etree._Element,
    now: datetime,
    resource: etree._Element | None,
    operation: etree._Element | None,
) -> bool:
    def judged() -> Iterator[bool]:
        for one in rule.iterchildren(etree.Element):
            if one.tag == "rule":
                yield _holds(referred(one), now, resource, operation)
            elif one.tag == "date_expression":
                yield _is_time(referred(one), now)
            elif one.tag == "rsc_expression":
                yield _matches(one, resource, ("class", "provider", "type"))
            elif one.tag == "op_expression":
                yield _matches(one, operation, ("name",)) and _interval_matches(one, operation)
            else:
                yield False

    return any(judged()) if str(rule.get("boolean-op", "and")).lower() == "or" else all(judged())


def _matches(wanted: etree._Element, given: etree._Element | None, keys: tuple[str, ...]) -> bool:
    return given is not None and all(wanted.get(key) in (None, given.get(key)) for key in keys)


def _interval_matches(wanted: etree._Element, operation: etree._Element | None) -> bool:
    interval = wanted.get("interval")
    return interval is None or (
        operation is not None and seconds(str(interval)) == seconds(str(operation.get("interval", "0")))
    )


def _is_time(expression: etree._Element, now: datetime) -> bool:
    word = str(expression.get("operation", "in_range")).lower()
    begin, end = (_date(expression.get(key), now) for key in ("start", "end"))
    if word == "lt":
        return end is not None and now < end
    if word == "gt":
        return begin is not None and now > begin
    if word == "date_spec":
        specs = list(expression.iterchildren("date_spec"))
        return bool(specs) and all(_is_in(str(text), FIELDS[key](now)) for key, text in _fields(specs[0]))
    for duration in expression.iterchildren("duration"):
        if begin is not None and end is None:
            end = _after(begin, duration)
    known = begin is not None or end is not None
    return known and (begin is None or begin <= now) and (end is None or now <= end)


def _fields(spec: etree._Element) -> Iterator[tuple[str, str]]:
    return ((str(key), str(text)) for key, text in spec.items() if key in FIELDS)


def _is_in(text: str, number: int) -> bool:
    """Compare with a number or a range.

    >>> [_is_in(text, 9) for text in ("9", "9-16", "10-", "-9", "nine")]
    [True, True, False, True, False]
    """
    found = re.fullmatch(r"\s*([0-9]{0,18})\s*(-?)\s*([0-9]{0,18})\s*", text)
    if found is None or not (found[1] or found[3]):
        return False
    if not found[2]:
        return int(found[1] or found[3]) == number
    return int(found[1] or 0) <= number and (not found[3] or number <= int(found[3]))


def _after(begin: datetime, duration: etree._Element) -> datetime:
    given = {str(key): whole_number(str(text)) or 0 for key, text in duration.items()}
    months = begin.month - 1 + given.get("months", 0)
    year, month = begin.year + given.get("years", 0) + months // 12, months % 12 + 1
    day = begin.day
    while True:  # the 31st of a month that has none is its last day
        try:
            later = begin.replace(year=year, month=month, day=day)
            break
        except ValueError:
            day -= 1
    return later + timedelta(seconds=sum(DURATIONS[key] * given[key] for key in given if key in DURATIONS))


def _date(text: str | None, now: datetime) -> datetime | None:
    """Read a date of ISO 8601; one without a zone is of the zone in which the nodes are."""
    try:
        date = datetime.fromisoformat(str(text).strip().replace(" Z", "Z"))
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=now.tzinfo)
