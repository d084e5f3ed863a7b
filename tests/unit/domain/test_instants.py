"""RFC 3339 to nanoseconds and back."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInstant, CashbackError
from domain.instants import format_instant, parse_instant, read_instant

MAX_NS = 2**63 - 1
FORM = "not an RFC 3339 date-time with at most nine fractional digits"
DAY_NS = 86_400_000_000_000


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2025-02-28T13:36:06.026732837Z", 1_740_749_766_026_732_837),
        ("2025-02-28T13:36:06.02673283Z", 1_740_749_766_026_732_830),
        ("2025-02-28T13:36:06.0Z", 1_740_749_766_000_000_000),
        ("2025-02-28t13:36:06z", 1_740_749_766_000_000_000),
        ("2025-02-28 13:36:06Z", 1_740_749_766_000_000_000),
        ("2025-02-28T16:36:06+03:00", 1_740_749_766_000_000_000),
        ("2025-02-28T08:06:06-05:30", 1_740_749_766_000_000_000),
        ("2025-02-28T13:36:06+00:00", 1_740_749_766_000_000_000),
        ("2025-02-28T13:36:06-00:00", 1_740_749_766_000_000_000),
        ("1970-01-01T23:59:00+23:59", 0),
        ("1969-12-31T00:01:00-23:59", 0),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
        ("2016-12-31T23:59:60.5Z", 1_483_228_800_500_000_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
        ("2000-02-29T23:59:59Z", 951_868_799_000_000_000),
        ("2262-04-11T23:47:16.854775807Z", MAX_NS),
        ("1677-09-21T00:12:43.145224193Z", -MAX_NS),
    ],
)
def test_a_date_time_is_read_to_the_nanosecond(text: str, expected_ns: int) -> None:
    """UTC or with an offset, any number of fractional digits up to nine, leap days and leap seconds."""
    assert parse_instant(text) == expected_ns


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", FORM),
        ("2025-02-28", FORM),
        ("2025-02-28T13:36:06", FORM),
        ("2025-02-28T13:36Z", FORM),
        ("2025-02-28T13:36:06.Z", FORM),
        ("2025-02-28T13:36:06.0267328371Z", FORM),
        ("2025-02-28T13:36:06,5Z", FORM),
        ("2025-02-28T13:36:06+0300", FORM),
        ("2025-02-28T13:36:06+03", FORM),
        ("2025-2-28T13:36:06Z", FORM),
        ("25-02-28T13:36:06Z", FORM),
        ("+2025-02-28T13:36:06Z", FORM),
        ("2025-02-28T13:36:06Z ", FORM),
        ("2025-02-28T13:36:06Z\n", FORM),
        (" 2025-02-28T13:36:06Z", FORM),
        ("٢٠٢٥-02-28T13:36:06Z", FORM),  # digits, but not ASCII
        ("2025-02-28X13:36:06Z", FORM),
        ("1740749766", FORM),
        ("2025-02-28T13:36:06" + "Z" * 60, FORM),
        ("2025-02-29T00:00:00Z", "no such day"),
        ("1900-02-29T00:00:00Z", "no such day"),
        ("2025-04-31T00:00:00Z", "no such day"),
        ("2025-00-01T00:00:00Z", "no such day"),
        ("2025-13-01T00:00:00Z", "no such day"),
        ("2025-01-00T00:00:00Z", "no such day"),
        ("0000-01-01T00:00:00Z", "no such day"),
        ("2025-02-28T24:00:00Z", "no such time of day"),
        ("2025-02-28T23:60:00Z", "no such time of day"),
        ("2025-02-28T23:59:61Z", "no such time of day"),
        ("2025-02-28T13:36:06+24:00", "no such offset from UTC"),
        ("2025-02-28T13:36:06-00:60", "no such offset from UTC"),
        ("2262-04-11T23:47:16.854775808Z", "outside the years 1678 to 2261"),
        ("1677-09-21T00:12:43.145224192Z", "outside the years 1678 to 2261"),
        ("9999-12-31T23:59:59Z", "outside the years 1678 to 2261"),
        ("0001-01-01T00:00:00Z", "outside the years 1678 to 2261"),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str, why: str) -> None:
    """BadInstant carries the text, bounded, and what is wrong with it."""
    with pytest.raises(BadInstant) as caught:
        parse_instant(text)
    assert isinstance(caught.value, CashbackError)
    assert (caught.value.why, caught.value.text) == (why, text[:64])
    assert str(caught.value) == f"{why}: {text[:64]!r}"


@pytest.mark.parametrize(
    ("instant_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_740_749_766_026_732_837, "2025-02-28T13:36:06.026732837Z"),
        (-MAX_NS, "1677-09-21T00:12:43.145224193Z"),
    ],
)
def test_an_instant_is_written_in_utc_with_nine_digits(instant_ns: int, expected: str) -> None:
    """So that texts sort as the instants do."""
    assert format_instant(instant_ns) == expected


@given(st.integers(min_value=-MAX_NS, max_value=MAX_NS))
def test_what_is_written_is_read_back(instant_ns: int) -> None:
    """Every instant that 64 bits hold, to the nanosecond."""
    assert parse_instant(format_instant(instant_ns)) == instant_ns


@given(
    st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001 - gets its zone below
    st.integers(min_value=-23 * 60 - 59, max_value=23 * 60 + 59),
)
def test_offsets_are_read_as_pythons_own_library_reads_them(moment: datetime, offset_minutes: int) -> None:
    """To the microsecond, which is all that it has."""
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    expected = elapsed.days * DAY_NS + elapsed.seconds * 1_000_000_000 + elapsed.microseconds * 1000
    assert parse_instant(moment.isoformat()) == expected


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other exception comes out."""
    try:
        parse_instant(text)
    except BadInstant:
        return


# What JVM serializers make of an instant.

NOT_A_DATE = "must be a text in RFC 3339"
LOCAL = "a local date without an offset: publish an instant, or a date with its offset from UTC"
QUOTED = "a number in quotes: publish it without them, or a text in RFC 3339"
TOO_FINE = "a number with more than nine fractional digits"
TOO_LONG = "a whole number of more than 14 digits: neither seconds nor milliseconds"
TOO_FAR = "a number far beyond any date"
BEYOND = "outside the years 1678 to 2261"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.000000000Z"),
        (1_740_749_766, "2025-02-28T13:36:06.000000000Z"),
        (9_223_372_036, "2262-04-11T23:47:16.000000000Z"),
        (100_000_000_000, "1973-03-03T09:46:40.000000000Z"),
        (-100_000_000_000, "1966-10-31T14:13:20.000000000Z"),
        (1_740_749_766_026, "2025-02-28T13:36:06.026000000Z"),
        (9_223_372_036_854, "2262-04-11T23:47:16.854000000Z"),
        (Decimal("1740749766.026732837"), "2025-02-28T13:36:06.026732837Z"),
        (Decimal("1.740749766026732837E9"), "2025-02-28T13:36:06.026732837Z"),
        (Decimal("1740749766.000000000"), "2025-02-28T13:36:06.000000000Z"),
        (Decimal("1740749766026.0"), "2025-02-28T13:36:06.026000000Z"),
        (Decimal("1.740749766026E12"), "2025-02-28T13:36:06.026000000Z"),
        (Decimal("1740749766.0267328370000"), "2025-02-28T13:36:06.026732837Z"),
        (Decimal("0.000000001"), "1970-01-01T00:00:00.000000001Z"),
        (Decimal("-0.000000001"), "1969-12-31T23:59:59.999999999Z"),
        (Decimal("9223372036.854775807"), "2262-04-11T23:47:16.854775807Z"),
        ("2025-02-28T13:36Z", "2025-02-28T13:36:00.000000000Z"),
        ("2025-02-28T16:36+03:00", "2025-02-28T13:36:00.000000000Z"),
        ("2025-02-28T16:36:06.026+0300", "2025-02-28T13:36:06.026000000Z"),
        ("2025-02-28T13:36:06.026732837+0000", "2025-02-28T13:36:06.026732837Z"),
        ("2025-02-28T08:06-0530", "2025-02-28T13:36:00.000000000Z"),
        ("2025-02-28T16:36:06.026732837+03:00[Europe/Istanbul]", "2025-02-28T13:36:06.026732837Z"),
        ("2025-02-28T10:36:06-03:00[America/Argentina/ComodRivadavia]", "2025-02-28T13:36:06.000000000Z"),
        ("2025-02-28T13:36:06Z[UTC]", "2025-02-28T13:36:06.000000000Z"),
        ("2025-02-28T16:36+0300[GMT+03:00]", "2025-02-28T13:36:00.000000000Z"),
    ],
)
def test_what_serializers_make_of_an_instant_is_read(said: Any, expected: str) -> None:
    """Numbers by their digits, never through a float; it is written again in RFC 3339."""
    assert read_instant(said) == (parse_instant(expected), expected)


NO_DATES: list[Any] = [None, True, False, {}, [], [2025], [2025, 2, "28"], [1] * 8, 1.5]
LOCAL_DATES: list[Any] = [
    *("2025-02-28", "2025-02-28T13:36", "2025-02-28T13:36:06.026732837", "2025-02-28 13:36:06"),
    *("2025-02-28T13:36:06[Europe/Istanbul]", [2025, 2, 28], [2025, 2, 28, 13, 36]),
    [2025, 2, 28, 13, 36, 6, 26_732_837],
]
QUOTED_NUMBERS = ["20250228", "1740749766.026732837", "1740749766026", "-1", "1E9"]
FAR_NUMBERS = [10**40, Decimal(10) ** 5000, Decimal("1E+999999"), Decimal("NaN"), Decimal("Infinity")]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        *((each, NOT_A_DATE) for each in NO_DATES),
        *((each, LOCAL) for each in LOCAL_DATES),
        *((each, QUOTED) for each in QUOTED_NUMBERS),
        *((each, TOO_FAR) for each in FAR_NUMBERS),
        (99_999_999_999, BEYOND),
        (9_223_372_037, BEYOND),
        (9_223_372_036_855, BEYOND),
        (99_999_999_999_999, BEYOND),
        (Decimal("9223372036.854775808"), BEYOND),
        (Decimal("1740749766026.5"), BEYOND),
        (100_000_000_000_000, TOO_LONG),
        (1_740_749_766_026_732_837, TOO_LONG),
        (Decimal("1740749766.0267328371"), TOO_FINE),
        (Decimal("1E-999999999"), TOO_FINE),
        *(
            (each, TOO_FAR)
            for each in (10**40, Decimal(10) ** 5000, Decimal("1E+999999"), Decimal("NaN"), Decimal("Infinity"))
        ),
        ("2025-02-28T13:36:06+03", FORM),
        ("2025-02-28T13:36:06+03:00:00", FORM),
        ("2025-02-28T13:36:06+03:00[]", FORM),
        ("2025-02-28T13:36:06+03:00[a b]", FORM),
        ("2025-02-28T13:36:06+03:00[a", FORM),
        ("2025-02-28T13:36:06.1234567890+0000", FORM),
        ("2025-02-28T13:36.5Z", FORM),
        ("20250228T133606Z", FORM),
        ("2025-02-28T13:36:06Z" + "Z" * 200, FORM),
        ("\u06f2025-02-28T13:36Z", FORM),
        ("2025-02-30T13:36Z", "no such day"),
        ("2025-02-28T13:60+0000", "no such time of day"),
        ("2025-02-28T13:36:06+2400", "no such offset from UTC"),
    ],
)
def test_what_nobody_can_be_sure_of_is_refused(said: Any, why: str) -> None:
    """By exact rules, never by guess."""
    with pytest.raises(BadInstant) as caught:
        read_instant(said)
    assert caught.value.why == why


@given(st.integers(min_value=-MAX_NS, max_value=MAX_NS))
def test_a_number_is_read_to_the_nanosecond(instant_ns: int) -> None:
    """As Jackson writes an instant by default, plain or with an exponent; and as whole milliseconds."""
    seconds = Decimal(instant_ns).scaleb(-9)
    for spelled in (seconds, Decimal(f"{seconds:E}"), seconds.normalize()):
        assert read_instant(spelled) == (instant_ns, format_instant(instant_ns))
    milliseconds = int(Decimal(instant_ns) // 1_000_000)
    if abs(milliseconds) >= 10**11:
        assert read_instant(milliseconds)[0] == milliseconds * 1_000_000


@given(st.integers(min_value=-MAX_NS, max_value=MAX_NS), st.integers(-1439, 1439), st.sampled_from("TZ[UTC] +00:"))
def test_a_date_with_an_offset_is_read_in_all_forms(instant_ns: int, offset_minutes: int, stray: str) -> None:
    """With a colon or without, with a zone's name or without; whatever stands there besides is refused."""
    sign, (hours, minutes) = "-" if offset_minutes < 0 else "+", divmod(abs(offset_minutes), 60)
    local_ns = instant_ns + offset_minutes * 60 * 1_000_000_000
    if abs(local_ns) > MAX_NS:
        return
    local = format_instant(local_ns)[:-1]
    for colon in ("", ":"):
        for zone in ("", "[Europe/Istanbul]"):
            text = f"{local}{sign}{hours:02d}{colon}{minutes:02d}{zone}"
            assert read_instant(text)[0] == instant_ns
            with pytest.raises(BadInstant):
                read_instant(text + stray)


@given(st.text(max_size=80) | st.integers() | st.decimals() | st.lists(st.integers(), max_size=8))
def test_anything_is_an_instant_or_refused(said: Any) -> None:
    """No other exception comes out."""
    try:
        instant_ns, text = read_instant(said)
    except BadInstant:
        return
    assert parse_instant(text) == instant_ns
