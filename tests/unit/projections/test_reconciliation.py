"""The demo's verdict: it must find every difference, and only differences."""

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kafka.producer.publisher import OnDelivery
from adapters.records.publishing import Delivered, Outgoing
from adapters.settings import Settings
from domain.exact_json import loads
from sandbox.demo.program import readable
from sandbox.demo.reconciliation import MAX_KEPT_DIFFERENCES, BooksComparison, Standing, compare
from sandbox.demo.report import MAX_SHOWN, Report, books_table, sentences
from sandbox.demo.settings import (
    MAX_ATTEMPTS,
    MIN_ATTEMPTS,
    PARKED_BY_BAD_LUCK,
    Scenario,
    environment,
    service_settings,
)
from sandbox.order_service.chaos import Chaos
from sandbox.order_service.lifecycles import OrderMessage, outcome
from sandbox.order_service.simulator import NO_CHAOS, simulate

STATUSES = ("PENDING", "COMPLETED", "CANCELLED")
amounts = st.decimals(0, 10**9, places=2)
standings = st.builds(Standing, st.sampled_from(STATUSES), amounts)
books = st.dictionaries(st.integers(1, 50), standings, max_size=20)

PAID = Standing("COMPLETED", Decimal("12.50"))


def report(
    comparison: BooksComparison, expected: int = 0, troubles: Mapping[str, list[str]] | None = None
) -> Report:
    return Report(comparison, expected, {"delivered": 3, "in_doubt": 1}, dict(troubles or {"violation": []}))


class TestComparison:
    @given(books)
    def test_three_equal_views_agree(self, orders: dict[int, Standing]) -> None:
        """Whatever the orders are; every one of them is as expected, and the sums are those of the orders."""
        comparison = compare(orders, dict(orders), dict(orders))

        assert comparison.differences == []
        assert comparison.as_expected == len(orders)
        assert comparison.stored == comparison.booked
        assert comparison.stored.orders.total() == len(orders)
        assert sum(comparison.stored.amounts.values()) == sum((each.amount or 0) for each in orders.values())

    @given(books.filter(bool), st.data())
    def test_a_single_change_in_any_view_is_found(self, orders: dict[int, Standing], data: st.DataObject) -> None:
        """Another status, another amount, or an order that is missing: exactly that order is named."""
        order_id = data.draw(st.sampled_from(sorted(orders)))
        changed = dict(orders)
        replacement = data.draw(st.none() | standings.filter(lambda each: each != orders[order_id]))
        if replacement is None:
            del changed[order_id]
        else:
            changed[order_id] = replacement
        views = [dict(orders), dict(orders), dict(orders)]
        which = data.draw(st.sampled_from((0, 1)))  # what is expected of an order that nobody has is not compared
        views[which] = changed

        comparison = compare(*views)

        assert [each.order_id for each in comparison.differences] == [order_id]
        assert comparison.difference_count == 1
        assert comparison.as_expected == len(orders) - 1

    def test_a_hundred_thousandth_of_a_cent_is_a_difference(self) -> None:
        """Nothing is rounded on the way."""
        ours = {1: Standing("COMPLETED", Decimal("0.1000000"))}
        theirs = {1: Standing("COMPLETED", Decimal("0.1000001"))}

        assert compare(ours, theirs, {}).difference_count == 1

    def test_trailing_zeros_are_no_difference(self) -> None:
        """1.5 and 1.50 are the same money."""
        assert (
            compare(
                {1: Standing("PENDING", Decimal("1.5"))}, {1: Standing("PENDING", Decimal("1.50"))}, {}
            ).differences
            == []
        )

    @pytest.mark.parametrize(("theirs", "differences"), [("25.09", 0), ("25.08", 0), ("25.10", 1)])
    def test_amounts_of_earlier_releases_are_compared_as_finely_as_books_are_kept(
        self, theirs: str, differences: int
    ) -> None:
        """In minor units, rounded half up or cut off."""
        ours = {1: Standing("COMPLETED", Decimal("25.08745"))}
        assert compare(ours, {1: Standing("COMPLETED", Decimal(theirs))}, {}).difference_count == differences

    def test_both_sides_agreeing_on_what_must_not_be_is_a_difference(self) -> None:
        """An order that neither side ended, though its last message was published."""
        pending = {7: Standing("PENDING", Decimal("12.50"))}

        (difference,) = compare(pending, pending, {7: PAID}).differences

        assert str(difference) == (
            "order 7: event store PENDING 12.50, third party PENDING 12.50, to be expected COMPLETED 12.50"
        )

    def test_an_order_that_both_sides_lost_is_a_difference(self) -> None:
        """The generator knows that it was published."""
        (difference,) = compare({}, {}, {7: PAID}).differences

        assert "event store lacks it, third party lacks it" in str(difference)

    def test_orders_of_earlier_runs_are_compared_without_expectations(self) -> None:
        """They may be pending for ever, as long as both sides say so."""
        pending = {1: Standing("PENDING", Decimal(1))}

        assert compare(pending, pending, {}) == compare(pending, dict(pending), {})
        assert compare(pending, {}, {}).differences[0].expected is None

    def test_only_the_first_differences_are_kept(self) -> None:
        """All are counted."""
        many = dict.fromkeys(range(1, MAX_KEPT_DIFFERENCES + 11), PAID)

        comparison = compare(many, {}, {})

        assert comparison.difference_count == MAX_KEPT_DIFFERENCES + 10
        assert len(comparison.differences) == MAX_KEPT_DIFFERENCES


class TestReport:
    def test_it_agrees_when_nothing_differs_and_all_is_there(self) -> None:
        """The last sentence says so."""
        good = report(compare({1: PAID}, {1: PAID}, {1: PAID}), expected=1)

        assert good.agrees
        assert list(sentences(good))[-1].startswith("the third party's books equal the event store")

    @pytest.mark.parametrize("kind", ["violation", "parked order", "order with held messages"])
    def test_any_trouble_is_told_and_prevents_it(self, kind: str) -> None:
        """Even if both sides have the same money."""
        bad = report(compare({1: PAID}, {1: PAID}, {1: PAID}), expected=1, troubles={kind: ["1: because"]})

        assert not bad.agrees
        assert f"  {kind} 1: because" in list(sentences(bad))
        assert list(sentences(bad))[-1] == "NOT RECONCILED"

    def test_an_incomplete_run_does_not_agree(self) -> None:
        """The number of orders is part of what must be right."""
        assert not report(compare({1: PAID}, {1: PAID}, {1: PAID}), expected=2).agrees

    def test_the_first_differences_are_shown_and_the_others_counted(self) -> None:
        """Twenty, and how many more there are."""
        bad = report(compare(dict.fromkeys(range(1, 31), PAID), {}, {}))

        shown = [line for line in sentences(bad) if line.startswith("  ")]
        assert len(shown) == MAX_SHOWN + 1
        assert shown[-1] == "  … and 10 more"

    def test_the_table_has_a_row_for_each_status_there_is(self) -> None:
        """And one for all."""
        table = books_table(report(compare({1: PAID, 2: Standing("NOT_CREATED", None)}, {1: PAID}, {})))

        assert list(table.columns[0].cells) == ["not created", "completed", "all"]
        assert list(table.columns[2].cells) == ["", "12.5", ""]
        assert list(table.columns[5].cells) == ["≠", "=", "≠"]


class Topic:
    """Takes what the order service publishes."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []

    def publish(self, message: Outgoing, on_delivery: OnDelivery | None = None) -> None:
        self.messages.append(message)
        if on_delivery is not None:
            on_delivery(Delivered(message.topic, message.key, 0, len(self.messages)))

    def poll(self) -> None:
        pass

    def flush(self, timeout_seconds: float) -> None:
        pass


class TestWishes:
    @pytest.mark.parametrize("chaos", [NO_CHAOS, Chaos.named("returns")])
    @pytest.mark.parametrize("rate", [None, 10_000.0])
    def test_what_is_expected_is_what_the_order_service_plays(self, rate: float | None, chaos: Chaos) -> None:
        """The same seed at the same pace: the ends and amounts of the messages that really go out."""
        scenario = Scenario(orders=60, rate=rate, seed=5, first_order_id=1_000, chaos=chaos)
        topic = Topic()
        simulate(
            topic,
            "topic",
            orders=scenario.orders,
            rate=scenario.rate,
            seed=scenario.seed,
            first_order_id=scenario.first_order_id,
            stamped=True,
            stop=threading.Event(),
            chaos=chaos,
        )

        messages = [_as_order_message(number, each) for number, each in enumerate(topic.messages)]
        for corrections in (False, True):
            assert outcome(messages, corrections=corrections) == scenario.expected(corrections=corrections)
        assert {message.order_id for message in messages} == set(range(1_000, 1_060))
        is_the_same = scenario.expected() == scenario.expected(corrections=True)
        assert is_the_same is (chaos is NO_CHAOS)

    @pytest.mark.parametrize(
        ("chaos", "given_by_the_user", "is_on"),
        [
            ("returns", {}, True),
            ("all", {}, True),
            ("shuffled", {}, False),
            ("returns", {"third_party_corrections": False}, False),
            ("shuffled", {"third_party_corrections": True}, True),
        ],
    )
    def test_a_demo_with_returns_has_corrections_on_unless_its_user_says_otherwise(
        self, chaos: str, given_by_the_user: dict[str, Any], *, is_on: bool
    ) -> None:
        """The sandbox takes them in any case."""
        scenario = Scenario(orders=1, rate=None, seed=1, first_order_id=1, chaos=Chaos.named(chaos))
        settings = Settings(_env_file=None, **given_by_the_user)
        suited = service_settings(settings, scenario, {})
        assert settings.model_copy(update=suited).third_party_corrections is is_on
        said = environment(settings, suited).get("CASHBACK_THIRD_PARTY_CORRECTIONS")
        assert said == ("on" if suited.get("third_party_corrections") else None)

    @pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
    def test_faults_alone_park_no_order(self, rate: float) -> None:
        """So many attempts are allowed that bad luck is next to impossible."""
        attempts = Scenario(orders=1, rate=None, seed=1, first_order_id=1, error_rate=rate).attempts_needed

        assert MIN_ATTEMPTS <= attempts <= MAX_ATTEMPTS
        assert rate**attempts <= PARKED_BY_BAD_LUCK

    def test_calls_that_never_succeed_are_parked_soon(self) -> None:
        """A run with such faults must end."""
        assert (
            Scenario(orders=1, rate=None, seed=1, first_order_id=1, error_rate=1.0).attempts_needed == MIN_ATTEMPTS
        )


def test_the_end_of_a_log_is_told_without_its_traces() -> None:
    """JSON lines in words, of an exception only its last line."""
    log = (
        '{"event": "a part died", "level": "error", "part": "intake", "timestamp": "…",'
        ' "exception": "Traceback (most recent call last):\\n  File …\\nValueError: too much"}\n'
        "Traceback (most recent call last):\n  File somewhere\nerror: no room\n"
    )

    assert readable(log) == ["error a part died part=intake ValueError: too much", "error: no room"]


def _as_order_message(number: int, sent: Outgoing) -> OrderMessage:
    kind = loads(sent.value)["type"]
    return OrderMessage(int(sent.key), kind, number, number, sent.key, sent.value, ())
