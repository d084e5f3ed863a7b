"""What the console shows: amounts, times, bytes, the overview's numbers, and an order's picture."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kafka.decoding.record import Record
from adapters.presentation import formatting
from adapters.presentation.order_view import order_view
from adapters.presentation.overview import SPARK_HEIGHT, SPARK_WIDTH, overview
from adapters.presentation.printable import escaped
from adapters.records.orders import OrderRecord
from adapters.records.status import KEPT_SECONDS, MAX_COUNTED, ProcessRow, Sample, ServiceCounts, Stalled
from adapters.web.console.timeline import MARK_GAP, MAX_EVENTS_AT_END, Timeline, timeline
from domain.messages import Kind
from domain.money import DEFAULT_TILL
from tests.support.decoding import read
from tests.support.messages import SECOND_NS, History, record_of

NOW = datetime(2025, 2, 28, 13, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal(6), "6.00"),
        (0, "0.00"),
        (Decimal("1234567.5"), "1,234,567.50"),
        (Decimal("2.51745"), "2.51745"),
        (Decimal("15432098626543209862.123456789"), "15,432,098,626,543,209,862.123456789"),
        (Decimal("1E+3"), "1,000.00"),
        (None, "–"),
    ],
)
def test_amounts_keep_all_their_digits(value: Decimal | int | None, shown: str) -> None:
    assert formatting.amount(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h")],
)
def test_a_span_of_time_is_told_in_its_largest_units(seconds: int, shown: str) -> None:
    assert formatting.span(seconds) == shown


def test_a_moment_is_short_and_keeps_its_nanoseconds() -> None:
    """They show when one points at it, and stand in the page for machines as browsers read them."""
    shown = str(formatting.moment("2025-02-28T14:36:06.026732837+01:00"))
    assert ">2025-02-28 13:36:06<" in shown
    assert 'title="2025-02-28T13:36:06.026732837Z"' in shown
    assert shown == str(formatting.moment(formatting.nanoseconds_of("2025-02-28T13:36:06.026732837Z")))


@given(st.binary(max_size=100))
def test_the_bytes_of_a_message_can_be_read_back_from_their_picture(value: bytes) -> None:
    rows = formatting.hexdump(value)
    assert bytes.fromhex("".join(octets for _, octets, _ in rows)) == value
    assert [int(offset, 16) for offset, *_ in rows] == list(range(0, len(value), 16))
    assert "".join(characters for *_, characters in rows).isprintable()


@given(st.binary(max_size=100))
def test_a_text_of_any_bytes_has_no_control_characters(value: bytes) -> None:
    assert all(each >= " " or each in "\n\t" for each in formatting.text_of(value))


@given(st.text(st.characters()))
def test_nothing_on_a_page_turns_the_text_round_or_hides(text: str) -> None:
    """It is written out; what is layout or can be seen stays."""
    shown = escaped(text)
    assert not set(shown) & set(
        "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
    )
    assert all(each in "\n\t" or unicodedata.category(each) != "Cc" for each in shown)
    assert escaped(shown) == shown


def test_what_is_hidden_is_named() -> None:
    assert escaped("a\u202eb\x1b[31m\r\n\x9b\tü漢\u200d") == "a[U+202E]b␛[31m␍\n[U+009B]\tü漢\u200d"


def sample(seconds_ago: float, **numbers: Any) -> Sample:
    return Sample(NOW - timedelta(seconds=seconds_ago), ServiceCounts(**numbers))


class TestOverview:
    def test_rates_follow_from_counters(self) -> None:
        """Two messages a second; a counter that goes back counts as standing still, not as a negative rate."""
        samples = [sample(10, messages=100), sample(5, messages=110), sample(0, messages=3)]
        (spark, *_) = overview(samples[:2], [], NOW - timedelta(seconds=5)).sparks
        assert (spark.now, spark.peak) == ("2.0", "2.0")
        (spark, *_) = overview(samples, [], NOW).sparks
        assert (spark.now, spark.peak) == ("0", "2.0")

    def test_numbers_that_are_old_are_not_shown_as_those_of_now(self) -> None:
        """The curve still is."""
        shown = overview([sample(60, parked=Stalled(3))], [], NOW)
        assert shown.numbers is None
        assert [(each.now, each.peak) for each in shown.sparks if each.name == "orders parked"] == [("–", "3")]

    def test_the_share_of_failed_calls_is_that_of_the_last_half_minute(self) -> None:
        samples = [
            sample(40, attempts=0, failed_attempts=99),
            sample(20, attempts=100, failed_attempts=100),
            sample(0, attempts=140, failed_attempts=10),
        ]
        assert overview(samples, [], NOW).failed_share == 0.25
        assert overview(samples[-1:], [], NOW).failed_share is None

    def test_what_a_process_waits_for_is_told(self) -> None:
        """And which breakers aren't closed."""
        state = {
            "ready": False,
            "parts": {"api": "listening", "push": "no answers"},
            "stopped": ["t-0"],
            "breaker": "open",
        }
        shown = overview([], [ProcessRow("host:1", ["push"], state, NOW, NOW)], NOW)
        assert shown.troubles == ["host:1: push: no answers", "host:1: stands still: t-0"]
        assert shown.breakers == ["host:1: open"]

    @given(st.lists(st.tuples(st.floats(0, KEPT_SECONDS * 1.2), st.integers(0, 10**12)), max_size=50))
    def test_every_curve_stays_within_its_frame(self, levels: list[tuple[float, int]]) -> None:
        samples = [sample(ago, messages=level, lag=level) for ago, level in sorted(levels, reverse=True)]
        for spark in overview(samples, [], NOW).sparks:
            for x, y in (map(float, point.split(",")) for point in spark.points.split()):
                assert -SPARK_WIDTH / 100 <= x <= SPARK_WIDTH
                assert 0 <= y <= SPARK_HEIGHT

    def test_a_count_that_stopped_at_its_limit_says_so(self) -> None:
        assert (formatting.count(MAX_COUNTED), formatting.count(MAX_COUNTED + 1)) == ("10,000", "10,000+")


def drawn(*records: Record) -> Timeline:
    """Of an order that was told these, and whose calls haven't gone yet."""
    told = OrderRecord(History(*(read(each) for each in records)).events, None, (), (), (), ())
    return timeline(order_view(told, DEFAULT_TILL)["timeline"])


def looks(shown: Timeline, lane: str) -> list[str]:
    """Of the marks in one lane."""
    return [mark.look for mark in shown.marks if mark.y == dict(shown.lanes)[lane]]


class TestPicture:
    @given(st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
    def test_marks_stand_in_the_order_of_time_and_apart(self, times: list[int]) -> None:
        """From left to right, whatever the pauses, and never one upon another in its lane."""
        marks = drawn(*(record_of(Kind.UPDATED, at_ns=at, offset=offset) for offset, at in enumerate(times))).marks
        in_place = sorted(marks, key=lambda mark: mark.x)
        assert [mark.at_ns for mark in in_place] == sorted(mark.at_ns for mark in marks)
        for height in {mark.y for mark in marks}:
            places = [mark.x for mark in in_place if mark.y == height]
            assert all(right - left >= MARK_GAP - 0.11 for left, right in pairwise(places))

    def test_what_was_held_is_one_message_and_two_decisions(self) -> None:
        """With a line from the one to the other."""
        shown = drawn(
            record_of(Kind.UPDATED, at_ns=SECOND_NS),
            record_of(Kind.CREATED, offset=1),
            record_of(Kind.CANCELLED, at_ns=2 * SECOND_NS, offset=2),
        )
        assert looks(shown, "messages") == ["message"] * 3
        assert looks(shown, "decisions") == ["held", *["accepted"] * 3]
        assert [link.look for link in shown.links].count("released") == 1

    def test_of_a_long_story_the_ends_are_drawn(self) -> None:
        """And how many are left out is told."""
        updates = (record_of(Kind.UPDATED, at_ns=n * SECOND_NS, offset=n) for n in range(1, 100))
        shown = drawn(record_of(Kind.CREATED), *updates)
        assert len(looks(shown, "decisions")) == 2 * MAX_EVENTS_AT_END
        assert shown.omitted == 100 - 2 * MAX_EVENTS_AT_END


def test_templates_hold_no_scripts_styles_or_addresses_of_others() -> None:
    """The policy that comes with every page would refuse them; here it shows before a browser looks."""
    forbidden = re.compile(r"\sstyle=|<style|\son[a-z]+=|<script(?! src=\"/static/)|https?://|\|\s*safe")
    for template in files("adapters.web.console").joinpath("templates").iterdir():
        assert forbidden.search(template.read_text("utf-8")) is None, template.name
