"""HTTP-date (RFC 9110 §5.6.7): its three forms read, IMF-fixdate written.

What must not be here: a clock, a locale, a time zone. Instants are seconds since the epoch.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_DAYS: Final = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY_SECONDS: Final = 86_400
_FIRST: Final = (date.min.toordinal() - _EPOCH) * _DAY_SECONDS
_LAST: Final = (date.max.toordinal() + 1 - _EPOCH) * _DAY_SECONDS - 1
_FIFTY_YEARS: Final = 50 * 365.2425 * _DAY_SECONDS

_DAY: Final = b"(?:%b)" % "|".join(_DAYS).encode()
_MONTH: Final = b"(?P<month>%b)" % "|".join(_MONTHS).encode()
# A leap second exists at the end of a day only.
_TIME: Final = (
    rb"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):"
    rb"(?P<second>[0-5][0-9]|(?<=23:59:)60)"
)
_FORMS: Final = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rb"%b, (?P<day>[0-9]{2}) %b (?P<year>[0-9]{4}) %b GMT" % (_DAY, _MONTH, _TIME),
        rb"%b, (?P<day>[0-9]{2})-%b-(?P<year>[0-9]{2}) %b GMT" % (_LONG_DAYS, _MONTH, _TIME),
        rb"%b %b (?P<day>[ 0-9][0-9]) %b (?P<year>[0-9]{4})" % (_DAY, _MONTH, _TIME),
    )
)


def parse_date(value: bytes, now: float) -> float | None:
    """Read an HTTP-date as an instant; ``None`` where it is none, or no day of the calendar.

    The grammar exactly, in any case (RFC 9111 §4.2); the name of the day need not be that of the
    date. A two-digit year is the latest with these digits that is at most fifty years of 365.2425
    days after *now*. The leap second 23:59:60 is the instant after it.
    """
    stripped = value.strip(b" \t")
    for form in _FORMS:
        fields = form.fullmatch(stripped)
        if fields:
            break
    else:
        return None
    month = _MONTHS.index(fields["month"].decode().title()) + 1
    year, day = int(fields["year"]), int(fields["day"])
    seconds = int(fields["hour"]) * 3600 + int(fields["minute"]) * 60 + int(fields["second"])
    if len(fields["year"]) == 4:
        return _instant(year, month, day, seconds)
    limit = now + _FIFTY_YEARS
    latest = date.fromordinal(_EPOCH + int(limit // _DAY_SECONDS)).year
    year = latest - (latest - year) % 100
    instant = _instant(year, month, day, seconds)
    return _instant(year - 100, month, day, seconds) if instant and instant > limit else instant


def _instant(year: int, month: int, day: int, seconds: int) -> float | None:
    try:
        days = date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None
    return float(days * _DAY_SECONDS + seconds)


def format_date(instant: float) -> bytes:
    """Write *instant* as IMF-fixdate, fractions dropped, held within the years 1 to 9999."""
    days, seconds = divmod(int(min(max(instant, _FIRST), _LAST) // 1), _DAY_SECONDS)
    day = date.fromordinal(_EPOCH + days)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return (
        f"{_DAYS[day.weekday()]}, {day.day:02} {_MONTHS[day.month - 1]} {day.year:04} "
        f"{hour:02}:{minute:02}:{second:02} GMT"
    ).encode("ascii")
