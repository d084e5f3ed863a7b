"""Amounts, times and bytes as people read them. Times are UTC."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from markupsafe import Markup

from adapters.presentation.printable import escaped
from adapters.records.status import MAX_COUNTED
from domain.exact_json import InvalidJson, loads
from domain.instants import NANOSECONDS_PER_SECOND, format_instant, parse_instant

NOTHING: Final = "–"
_AGES: Final = ((86_400, "day"), (3600, "hour"), (60, "minute"))
_STEPS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_MS_PER_SECOND: Final = 1000
_TEN_SECONDS_MS: Final = 10_000
BYTES_PER_ROW: Final = 16
MAX_HEX_BYTES: Final = 8192
"""Of a message shown in hexadecimal."""
_SAYING: Final = ("code", "error", "title", "message", "detail")
"""Members of a JSON answer that tell people something, in this order."""
_FIRST_PRINTABLE, _LAST_PRINTABLE = 0x20, 0x7E
_MIN_PLACES: Final = 2


def amount(value: Decimal | int | None) -> str:
    """With all its digits, two behind the point at least."""
    if value is None:
        return NOTHING
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    places = -exponent if isinstance(exponent, int) else 0
    return f"{number:,.{max(_MIN_PLACES, places)}f}"


def count(value: int) -> str:
    """A count that stopped at its limit says so."""
    return f"{MAX_COUNTED:,}+" if value > MAX_COUNTED else f"{value:,}"


def nanoseconds_of(value: datetime | str | int) -> int:
    """Since 1970."""
    match value:
        case datetime():
            delta = value - datetime(1970, 1, 1, tzinfo=UTC)
            return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000
        case str():
            return parse_instant(value)
        case int():
            return value


def moment(value: datetime | str | int | None) -> Markup:
    """To the second; all the digits show when one points at it."""
    if value is None:
        return Markup("–")
    exact = format_instant(nanoseconds_of(value))
    return Markup('<time datetime="{}Z" title="{}">{} {}</time>').format(
        exact[:23], exact, exact[:10], exact[11:19]
    )


def age(value: datetime | str | int | None, now: datetime) -> str:
    """How long ago, in its largest unit, or its two largest."""
    if value is None:
        return NOTHING
    return span((nanoseconds_of(now) - nanoseconds_of(value)) // NANOSECONDS_PER_SECOND)


def ago(value: datetime | None, now: datetime) -> str:
    """In its largest unit, so that it doesn't change from second to second."""
    if value is None:
        return NOTHING
    seconds = (nanoseconds_of(now) - nanoseconds_of(value)) // NANOSECONDS_PER_SECOND
    for size, unit in _AGES:
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "just now"


def span(seconds: int) -> str:
    left = max(0, seconds)
    parts: list[str] = []
    for size, unit in _STEPS:
        number, left = divmod(left, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
        elif parts:
            break
        if len(parts) == 2:  # noqa: PLR2004 - units shown
            break
    return " ".join(parts)


def took(milliseconds: int) -> str:
    if milliseconds < _TEN_SECONDS_MS:
        return f"{milliseconds} ms"
    return f"{milliseconds / _MS_PER_SECOND:.1f} s"


def rate(per_second: float) -> str:
    if per_second <= 0:
        return "0"
    return f"{per_second:.1f}" if per_second < 100 else f"{per_second:,.0f}"  # noqa: PLR2004 - decimals say nothing


def answer_summary(answer: str) -> str:
    """What an answer of the third party says, without its JSON; as it is if that can't be told."""
    try:
        said = loads(answer.encode())
    except InvalidJson:
        return answer
    if not isinstance(said, dict):
        return answer
    parts = [said[name] for name in _SAYING if isinstance(said.get(name), str) and said[name].strip()]
    return ": ".join(dict.fromkeys(parts)) or answer


def words(name: str) -> str:
    """A name of the program as a person says it."""
    return name.replace("_", " ").lower()


def hexdump(value: bytes) -> list[tuple[str, str, str]]:
    """Rows of offset, bytes and characters; MAX_HEX_BYTES at most."""
    rows = []
    for start in range(0, min(len(value), MAX_HEX_BYTES), BYTES_PER_ROW):
        row = value[start : start + BYTES_PER_ROW]
        halves = row[: BYTES_PER_ROW // 2].hex(" "), row[BYTES_PER_ROW // 2 :].hex(" ")
        characters = "".join(chr(each) if _FIRST_PRINTABLE <= each <= _LAST_PRINTABLE else "·" for each in row)
        rows.append((f"{start:06x}", "  ".join(halves), characters))
    return rows


def text_of(value: bytes) -> str:
    """As UTF-8, with � for what isn't, and what can't be seen written out."""
    return escaped(value[:MAX_HEX_BYTES].decode("utf-8", "replace"))


FILTERS: Final[dict[str, Any]] = {
    "amount": amount,
    "count": count,
    "moment": moment,
    "age": age,
    "ago": ago,
    "span": span,
    "took": took,
    "rate": rate,
    "words": words,
    "answer_summary": answer_summary,
}
