"""How many calls a second go out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.delivery.rate_limiter import (
    BURST_SECONDS,
    DECREASE_PAUSE_SECONDS,
    DOUBLING_SECONDS,
    MIN_CALLS_PER_SECOND,
    RateLimiter,
)


class Paced:
    """A pacer whose clock its callers move on."""

    def __init__(self, ceiling: float | None) -> None:
        self.now = 50.0
        self.rate_limiter = RateLimiter(ceiling, monotonic=lambda: self.now)

    def send_for(self, seconds: float, *, at_once: int = 1) -> list[float]:
        """As fast as it lets so many callers; when each call went out."""
        sent, end = [], self.now + seconds
        while self.now < end:
            turns = [self.rate_limiter.turn(math.inf) for _ in range(at_once)]
            waits = [turn for turn in turns if turn is not None]
            if not waits:
                self.now += self.rate_limiter.asked_to_wait_seconds
                continue
            sent += [self.now + wait_seconds for wait_seconds in waits]
            self.now += max(*waits, 0.001)
        return sent


def busiest(sent: list[float], seconds: float) -> int:
    """The most calls within any stretch of that length."""
    return max(sum(start <= at < start + seconds for at in sent) for start in sent)


@given(
    ceiling=st.floats(0.5, 500),
    pauses=st.lists(st.floats(0, 30), max_size=5),
    at_once=st.integers(1, 8),
    throttles=st.booleans(),
)
def test_the_limit_is_never_exceeded(ceiling: float, pauses: list[float], at_once: int, *, throttles: bool) -> None:
    """In no stretch of time, whatever came before; but for a short burst."""
    paced = Paced(ceiling)
    sent = []
    for pause_seconds in [*pauses, 0.0]:
        paced.now += pause_seconds
        sent += paced.send_for(20 / ceiling, at_once=at_once)
        if throttles:
            paced.rate_limiter.throttled(paced.now, None)
    seconds = 10 / ceiling
    assert busiest(sent, seconds) <= ceiling * seconds + max(1.0, ceiling * BURST_SECONDS) + 1


def test_calls_that_may_go_out_do() -> None:
    """The limit is used, not just kept."""
    paced = Paced(20)
    assert len(paced.send_for(10)) >= 195


def test_without_a_limit_nothing_waits() -> None:
    """However many calls there are."""
    paced = Paced(None)
    assert [paced.rate_limiter.turn(0.0) for _ in range(1000)] == [0.0] * 1000
    assert paced.rate_limiter.slots() is None
    assert (paced.rate_limiter.held_seconds, paced.rate_limiter.calls_per_second) == (0.0, math.inf)


def test_a_turn_that_comes_too_late_is_not_taken() -> None:
    """Whoever can't wait takes no one else's place."""
    paced = Paced(1)
    assert paced.rate_limiter.turn(0.0) == 0.0
    assert paced.rate_limiter.turn(0.5) is None
    assert paced.rate_limiter.turn(1.5) == pytest.approx(1.0)
    assert paced.rate_limiter.turn(1.5) is None
    assert paced.rate_limiter.turn(2.5) == pytest.approx(2.0)


@pytest.mark.parametrize("ceiling", [None, 100.0])
def test_a_refusal_for_too_many_calls_halves_the_rate_that_really_was(ceiling: float | None) -> None:
    """Once for all calls that were under way then or soon after, and again for one that was sent later."""
    paced = Paced(ceiling)
    for _ in range(200):  # 40 a second
        paced.rate_limiter.turn(math.inf)
        paced.now += 0.025
    sent_at = paced.now - 0.01
    for _ in range(10):
        paced.rate_limiter.throttled(sent_at, None)
    assert paced.rate_limiter.calls_per_second == pytest.approx(20, rel=0.1)
    for _ in range(40):
        paced.rate_limiter.turn(math.inf)
        paced.now += 0.05
    paced.rate_limiter.throttled(paced.now, None)
    assert paced.rate_limiter.calls_per_second == pytest.approx(10, rel=0.2)


def test_the_rate_grows_again_slowly_up_to_the_limit_and_no_further() -> None:
    """The half that was taken is back after the time of a doubling."""
    paced = Paced(40)
    paced.send_for(5)
    paced.rate_limiter.throttled(paced.now, None)
    low = paced.rate_limiter.calls_per_second
    paced.now += DOUBLING_SECONDS / 2
    assert low < paced.rate_limiter.calls_per_second < 40
    paced.now += DOUBLING_SECONDS
    assert paced.rate_limiter.calls_per_second == 40


@pytest.mark.parametrize("ceiling", [None, 40.0])
def test_a_minute_of_refusals_is_made_good_in_minutes(ceiling: float | None) -> None:
    """However far down the rate was halved: a third party that refused everything for a while isn't called slowly
    for hours."""
    paced = Paced(ceiling)
    for _ in range(200):  # 40 a second
        paced.rate_limiter.turn(math.inf)
        paced.now += 0.025
    for _ in range(60):
        paced.now += DECREASE_PAUSE_SECONDS
        paced.rate_limiter.throttled(paced.now, None)
    assert paced.rate_limiter.calls_per_second < 1
    paced.now += math.log2(40 / MIN_CALLS_PER_SECOND) * DOUBLING_SECONDS
    assert paced.rate_limiter.calls_per_second == pytest.approx(40)


def test_there_is_always_a_next_call() -> None:
    """Refusal after refusal, the rate stays above a floor; and below the limit, where that is lower still."""
    for ceiling, expected in ((None, MIN_CALLS_PER_SECOND), (MIN_CALLS_PER_SECOND / 4, MIN_CALLS_PER_SECOND / 4)):
        paced = Paced(ceiling)
        for _ in range(100):
            paced.now += DECREASE_PAUSE_SECONDS
            paced.rate_limiter.throttled(paced.now, None)
        assert paced.rate_limiter.calls_per_second == pytest.approx(expected, rel=0.01)


def test_everybody_waits_as_long_as_the_third_party_asks_for() -> None:
    """The longest of its wishes counts, and nobody takes a turn before."""
    paced = Paced(None)
    for seconds in (3.0, 10.0, 5.0):
        paced.rate_limiter.throttled(paced.now, seconds)
    assert paced.rate_limiter.turn(1000.0) is None
    paced.now += 9.9
    assert paced.rate_limiter.held_seconds == pytest.approx(0.1)
    assert paced.rate_limiter.turn(1000.0) is None
    paced.now += 0.2
    assert paced.rate_limiter.turn(1000.0) is not None
