"""What the third party's answers mean (contract.md, section 2, "Answers")."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.third_party_api.client import MAX_KEPT_CHARACTERS, classify, read_lookup, retry_after_seconds
from projections.delivery.ports import Answer, Found, Lookup, NotFound, Outcome

NOW: Final = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
NINE_DAYS_SECONDS: Final = 9 * 86_400.0


class TestClassification:
    @pytest.mark.parametrize(
        ("statuses", "outcome"),
        [
            ((200, 201, 202, 204, 299), Outcome.DELIVERED),
            ((408, 425, 429, 500, 502, 503, 504, 599), Outcome.FAILED),
            ((300, 301, 302, 304, 307, 308, 600, 999), Outcome.FAILED),
            ((401, 403), Outcome.UNAUTHORIZED),
            ((400, 402, 404, 405, 409, 410, 412, 413, 415, 418, 422, 451, 499), Outcome.REFUSED),
        ],
    )
    def test_each_status_has_its_meaning(self, statuses: tuple[int, ...], outcome: Outcome) -> None:
        """The table "Answers" of contract.md; what it doesn't name is tried again."""
        for status in statuses:
            assert classify(status, b'{"code":"illegal_state"}', None, NOW).outcome is outcome, status

    @pytest.mark.parametrize(
        ("body", "outcome"),
        [
            (b'{"code":"in_flight"}', Outcome.IN_FLIGHT),
            (b' {"detail": "x", "code" : "in_flight"} ', Outcome.IN_FLIGHT),
            (b'{"code":"illegal_state"}', Outcome.REFUSED),
            (b'{"code":["in_flight"]}', Outcome.REFUSED),
            (b'["in_flight"]', Outcome.REFUSED),
            (b"in_flight", Outcome.REFUSED),
            (b"\xff", Outcome.REFUSED),
            (b"", Outcome.REFUSED),
        ],
    )
    def test_a_conflict_is_in_flight_only_if_it_says_so(self, body: bytes, outcome: Outcome) -> None:
        """Any other 409 parks the order."""
        assert classify(409, body, None, NOW).outcome is outcome

    def test_of_a_long_answer_a_piece_is_kept(self) -> None:
        """Whatever bytes it consists of."""
        assert len(classify(500, b"\xff" * 10_000, None, NOW).text) == MAX_KEPT_CHARACTERS


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (None, None),
            ("0", 0.0),
            (" 120 ", 120.0),
            ("9" * 400, 999_999_999.0),
            ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
            ("Thursday, 01-Jan-26 12:01:30 GMT", 90.0),
            ("Thu Jan  1 12:01:30 2026", 90.0),
            ("Thu, 01 Jan 2026 13:01:30 +0100", 90.0),
            ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
            ("Sat, 10 Jan 2026 12:00:00 GMT", NINE_DAYS_SECONDS),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("٣", None),
            ("Thu, 99 Foo 2026 99:99:99 GMT", None),
            ("Fri, 31 Dec 99999 23:59:59 GMT", None),
            ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
            ("Fri, 31 Dec 2026 23:59:59 +99999999999999", None),
        ],
    )
    def test_it_is_seconds_or_a_date(self, value: str | None, seconds: float | None) -> None:
        """RFC 9110, section 10.2.3, with the old forms of dates; a past date is now, anything else is nothing."""
        assert retry_after_seconds(value, NOW) == seconds

    @given(
        st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,30} [A-Z][a-z]{2} [0-9]{1,30} [0-9:+-]{0,40}")
    )
    def test_nothing_that_a_server_writes_there_is_an_error(self, value: str) -> None:
        """None, or seconds from now."""
        found = retry_after_seconds(value, NOW)
        assert found is None or found >= 0


LOOKED_UP: Final = (
    b'{"orderId":7,"status":"PENDING","cashbackAmount":6.50,"lastTransactionDate":"2025-02-28T13:00:00Z"}'
)


def looked_up(status: int, body: bytes) -> Lookup:
    return read_lookup(7, classify(status, body, None, NOW), body)


class TestLookups:
    def test_it_shows_status_and_exact_amount(self) -> None:
        """Members that we don't know are let pass; 404 means that there is no such order."""
        expected = Found("PENDING", Decimal("6.50"), "2025-02-28T13:00:00Z")
        assert looked_up(200, LOOKED_UP) == expected
        assert looked_up(200, LOOKED_UP.replace(b"{", b'{"more":[],')) == expected
        assert looked_up(200, LOOKED_UP.replace(b"6.50", b"6")) == replace(expected, cashback_amount=Decimal(6))
        assert looked_up(404, b"") == NotFound()

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"7", b"8"),
            (b"7", b'"7"'),
            (b"7", b"7.0"),
            (b"PENDING", b"PAID"),
            (b'"PENDING"', b"1"),
            (b"6.50", b'"6.50"'),
            (b"6.50", b"true"),
            (b"6.50", b"null"),
            (b"6.50", b"1e999"),
            (b'"2025-02-28T13:00:00Z"', b"null"),
            (b'"2025-02-28T13:00:00Z"', b'"\\u0000"'),
            (b'"2025-02-28T13:00:00Z"', b'"\\ud800", "beyond": ' + b"9" * 30),
            (b'"2025-02-28T13:00:00Z"', b'"' + b"9" * 101 + b'"'),
            (b'"cashbackAmount"', b'"amount"'),
            (b"}", b""),
            (LOOKED_UP, b"[]"),
            (LOOKED_UP, b"<html>"),
            (LOOKED_UP, b""),
        ],
    )
    def test_an_answer_that_says_something_else_shows_nothing(self, old: bytes, new: bytes) -> None:
        """It's no news about the order: neither that it differs nor that it is missing."""
        said = LOOKED_UP.replace(old, new, 1)
        assert looked_up(200, said) == Answer(Outcome.FAILED, 200, "not the answer to a lookup")

    def test_an_error_is_passed_on(self) -> None:
        """As with a call."""
        assert looked_up(503, b"down") == classify(503, b"down", None, NOW)
