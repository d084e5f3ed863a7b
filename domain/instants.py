"""Points in time as whole nanoseconds since 1970-01-01T00:00:00Z, read from and written as RFC 3339."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from domain.errors import BadInstant

NANOSECONDS_PER_SECOND = 1_000_000_000
NANOSECONDS_PER_MILLISECOND = 1_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MAX_TEXT_LENGTH = 64
_KEPT_MINUTES = 4096  # messages are of few days, and come in the order of time
_MAX_INSTANT_NS = 2**63 - 1  # what 64 bits hold: the years 1678 to 2261, whole
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def parse_instant(text: str) -> int:
    """Reads an RFC 3339 date-time, UTC or with an offset, up to nine fractional digits.

    A leap second (`:60`) counts as the first second of the next minute, as POSIX time has it.
    Raises BadInstant for anything else.
    """
    found = _RFC_3339.fullmatch(text) if len(text) <= _MAX_TEXT_LENGTH else None
    if found is None:
        raise BadInstant(text[:_MAX_TEXT_LENGTH], "not an RFC 3339 date-time with at most nine fractional digits")
    minute, second, fraction, sign, offset_hours, offset_minutes = found.groups()
    try:
        seconds = _seconds(minute) + int(second)
    except ValueError as error:
        raise BadInstant(text, str(error)) from error
    if int(second) > 60:  # noqa: PLR2004 - the clock's own limit
        raise BadInstant(text, "no such time of day")
    if sign is not None:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:  # noqa: PLR2004 - the clock's own limits
            raise BadInstant(text, "no such offset from UTC")
        offset_seconds = (int(offset_hours) * 60 + int(offset_minutes)) * 60
        seconds -= offset_seconds if sign == "+" else -offset_seconds
    instant_ns = seconds * NANOSECONDS_PER_SECOND + int((fraction or "").ljust(9, "0"))
    if abs(instant_ns) > _MAX_INSTANT_NS:
        raise BadInstant(text, "outside the years 1678 to 2261")
    return instant_ns


@lru_cache(maxsize=_KEPT_MINUTES)
def _seconds(minute: str) -> int:
    """From 1970-01-01T00:00 to this minute. Raises ValueError with the reason if there is none."""
    hours, minutes = int(minute[11:13]), int(minute[14:])
    try:
        days = date.fromisoformat(minute[:10]).toordinal() - _EPOCH_DAY
    except ValueError as error:
        raise ValueError("no such day") from error
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - the clock's own limits
        raise ValueError("no such time of day")
    return ((days * 24 + hours) * 60 + minutes) * 60


def format_instant(instant_ns: int) -> str:
    """Writes an instant in UTC with nine fractional digits, e.g. `2025-02-28T13:36:06.026732837Z`."""
    seconds, nanoseconds = divmod(instant_ns, NANOSECONDS_PER_SECOND)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
