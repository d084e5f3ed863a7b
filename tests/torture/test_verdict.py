"""A torture that finds nothing would find something if it were there."""

from decimal import Decimal
from itertools import islice
from random import Random
from typing import Final

import pytest

from sandbox.demo.reconciliation import Standing
from tests.torture.faults import LATE_MS, kinds, plan
from tests.torture.trend import Trend, trend_of
from tests.torture.verdict import Verdict

PAID: Final = Standing("COMPLETED", Decimal(6))
OPEN: Final = Standing("PENDING", Decimal(6))
TRUTH: Final = {1: ("COMPLETED", Decimal(6)), 2: ("CANCELLED", Decimal(1))}
BOTH: Final = {1: PAID, 2: Standing("CANCELLED", Decimal(1))}
AT: Final = "2026-11-30T12:00:00.000000000Z"
AT_SECONDS: Final = 1_796_040_000.0


def of_books(stored: dict[int, Standing], booked: dict[int, Standing], unfinished: set[int]) -> dict[str, int]:
    verdict = Verdict()
    verdict.judge_books(stored, booked, TRUTH, unfinished)
    return {name: number for name, number in verdict.counts.items() if number}


def test_books_that_are_as_they_must_be_are_good() -> None:
    verdict = Verdict()
    verdict.judge_books(BOTH, BOTH, TRUTH, set())
    verdict.judge_calls([], [])
    assert verdict.is_good
    assert list(verdict.lines()) == []


@pytest.mark.parametrize(
    ("stored", "booked", "expected"),
    [
        ({2: BOTH[2]}, {2: BOTH[2]}, {"lost": 1}),
        (BOTH, {1: PAID}, {"lost": 1}),
        (BOTH, BOTH | {1: OPEN}, {"lost": 1}),
        (BOTH | {1: OPEN}, BOTH | {1: OPEN}, {"lost": 1}),
        (BOTH, BOTH | {3: PAID}, {"lost": 1}),
        (BOTH, BOTH | {1: Standing("COMPLETED", Decimal(7))}, {"wrong": 1}),
        (BOTH, BOTH | {2: PAID}, {"wrong": 1}),
    ],
)
def test_an_order_that_is_not_as_it_must_be_is_found(
    stored: dict[int, Standing], booked: dict[int, Standing], expected: dict[str, int]
) -> None:
    """On either side. With calls still to be made it is another finding."""
    assert of_books(stored, booked, set()) == expected
    assert of_books(stored, booked, {1, 2, 3}) == {"not converged": 3}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("second_credit", "twice"),
        ("wrong_order", "out of order"),
        ("illegal_call", "out of order"),
        ("amount_mismatch", "out of order"),
        ("overlap", "two at once"),
    ],
)
def test_what_the_third_party_has_written_down_is_found(kind: str, expected: str) -> None:
    """Only two calls at once may be the wire's doing, and only while it brings requests late."""
    violation = {"kind": kind, "orderId": 1, "time": AT, "detail": "so"}
    spans = {"never": (), "before": ((0.0, AT_SECONDS - LATE_MS),), "then": ((AT_SECONDS - 3, AT_SECONDS - 1),)}
    for when, late in spans.items():
        verdict = Verdict()
        verdict.judge_calls([violation], late)
        is_excused = when == "then" and kind == "overlap"
        assert verdict.counts[expected] == (0 if is_excused else 1)
        assert verdict.is_good == is_excused


def test_a_seed_is_one_row_of_faults_and_each_kind_is_in_every_round() -> None:
    every = kinds(is_apache=True)
    first, again, other = ([*islice(plan(Random(seed), every), 2 * len(every))] for seed in (1, 1, 2))
    assert first == again != other
    for faults in (first, other):
        for number in (0, len(every)):
            assert {step.kinds[0] for step in faults[number : number + len(every)]} == set(every)
        assert all(len({kind.place for kind in step.kinds}) == len(step.kinds) for step in faults)


def test_a_trend_is_where_it_began_and_ended_and_how_steep_it_is() -> None:
    trend = trend_of([(0, 10), (30, 12), (60, 11), (90, 16)])
    assert (trend.first, trend.median, trend.last) == (10, 11.5, 16)
    assert trend.slope_per_minute == pytest.approx(3.4)
    assert trend_of([(5, 7)]) == Trend(7, 7, 7, 0)
