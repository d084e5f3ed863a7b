"""RFC 3339 to nanoseconds and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInstant, CashbackError
from domain.instants import format_instant, parse_instant

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
