"""Points in time as whole nanoseconds since 1970-01-01T00:00:00Z, read from and written as RFC 3339.

`parse_instant` takes RFC 3339 and nothing else. `read_instant` takes what publishers' serializers make of an
instant besides, by the rules of contract.md, section 1.
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from typing import Final

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
# What JVM programs write: no seconds, an offset without a colon, the name of the zone that has this offset.
_ALMOST_RFC_3339: Final = re.compile(
    r"(?P<minute>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d)(?P<seconds>:\d\d(?:\.\d{1,9})?)?"
    r"(?P<offset>[Zz]|[+-]\d\d:?\d\d)(?:\[[A-Za-z0-9_+:/~.-]{1,64}\])?",
    re.ASCII,
)
_LOCAL: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?:\[[^]]*\])?", re.ASCII)
_QUOTED_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[Ee][+-]?\d+)?", re.ASCII)
_MAX_ALMOST_LENGTH: Final = 128
_MAX_SECONDS_DIGITS: Final = 11
_MAX_MILLISECONDS_DIGITS: Final = 14
_NANOSECOND: Final = Decimal("1e-9")
_exact: Final = Context(prec=40, traps=[Inexact, InvalidOperation])
_NO_OFFSET: Final = "a local date without an offset: publish an instant, or a date with its offset from UTC"
_NO_DATE: Final = "must be a text in RFC 3339"


def parse_instant(text: str) -> int:
    """Reads an RFC 3339 date-time, UTC or with an offset, up to nine fractional digits.

    A leap second (`:60`) counts as the first second of the next minute, as POSIX time has it.
    Raises BadInstant for anything else.
    """
    found = _RFC_3339.fullmatch(text) if len(text) <= _MAX_TEXT_LENGTH else None
    if found is None:
        raise BadInstant(text[:_MAX_TEXT_LENGTH], "not an RFC 3339 date-time with at most nine fractional digits")
    return _instant_said(text, found)


def _instant_said(text: str, found: re.Match[str]) -> int:
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


def read_instant(said: object) -> tuple[int, str]:
    """Reads a `transactionDate`: the instant in nanoseconds, and in RFC 3339, as received if it came in that.

    `said` is what stands in the JSON, a number as an `int` or a `Decimal`. A number with a fraction counts seconds;
    a whole one of up to 11 digits seconds, of 12 to 14 milliseconds, however it is spelled (`1740749766026.0` is
    whole). A text may lack the seconds, or the colon in its offset, and name a zone behind the offset: the offset
    counts, the name isn't looked up. Raises BadInstant for anything else: above all for a date without an offset,
    and for a number in quotes, since `"20250228"` may be a date.
    """
    match said:
        case str():
            found = _RFC_3339.fullmatch(said)
            if found is not None:
                return _instant_said(said, found), said
            instant_ns = _parse_almost(said)
        case int() | Decimal() if not isinstance(said, bool):
            instant_ns = _instant_of(Decimal(said))
        case list():
            raise BadInstant("", _NO_OFFSET if _is_local(said) else _NO_DATE)
        case _:
            raise BadInstant("", _NO_DATE)
    return instant_ns, format_instant(instant_ns)


def _parse_almost(text: str) -> int:
    if len(text) > _MAX_ALMOST_LENGTH:
        return parse_instant(text)
    if _LOCAL.fullmatch(text):
        raise BadInstant(text, _NO_OFFSET)
    if _QUOTED_NUMBER.fullmatch(text):
        raise BadInstant(text, "a number in quotes: publish it without them, or a text in RFC 3339")
    found = _ALMOST_RFC_3339.fullmatch(text)
    if found is None:
        return parse_instant(text)
    minute, seconds, offset = found["minute"], found["seconds"] or ":00", found["offset"]
    if len(offset) == len("+0000"):
        offset = f"{offset[:3]}:{offset[3:]}"
    return parse_instant(minute + seconds + offset)


def _instant_of(number: Decimal) -> int:
    shown = f"{number:.40}"
    try:
        in_nanoseconds = int(_exact.scaleb(_exact.quantize(number, _NANOSECOND), 9))
    except Inexact as error:
        raise BadInstant(shown, "a number with more than nine fractional digits") from error
    except (InvalidOperation, ValueError) as error:
        raise BadInstant(shown, "a number far beyond any date") from error
    whole, rest = divmod(abs(in_nanoseconds), NANOSECONDS_PER_SECOND)
    if not rest and len(str(whole)) > _MAX_SECONDS_DIGITS:
        if len(str(whole)) > _MAX_MILLISECONDS_DIGITS:
            raise BadInstant(shown, "a whole number of more than 14 digits: neither seconds nor milliseconds")
        in_nanoseconds //= NANOSECONDS_PER_SECOND // NANOSECONDS_PER_MILLISECOND
    if abs(in_nanoseconds) > _MAX_INSTANT_NS:
        raise BadInstant(shown, "outside the years 1678 to 2261")
    return in_nanoseconds


def _is_local(parts: list[object]) -> bool:
    """As Jackson writes a `LocalDate` or a `LocalDateTime` by default: year, month, day, hour, minute …"""
    return 3 <= len(parts) <= 7 and all(isinstance(each, int) for each in parts)  # noqa: PLR2004 - to nanoseconds


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
