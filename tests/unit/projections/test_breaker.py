"""The breaker: when it opens, whom it blames, how it closes again."""

import pytest

from projections.delivery.breaker import FAILURES_IN_A_ROW, HOLD_MAX_SECONDS, QUIET_SECONDS, Breaker, BreakerState

CONCURRENCY = 16


class Told:
    """A breaker with a clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.states: list[BreakerState] = []
        self.breaker = Breaker(
            CONCURRENCY, monotonic=lambda: self.now, on_change=lambda breaker: self.states.append(breaker.state)
        )

    def answered(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.answered(self.breaker.epoch)

    def failed(self, *order_ids: int, wait: float = 0.0) -> list[bool]:
        """Whether each was to blame."""
        breaker = self.breaker
        return [breaker.failed(breaker.epoch, order_id, "down", least_seconds=wait) for order_id in order_ids]

    def open(self) -> None:
        self.failed(*range(FAILURES_IN_A_ROW))
        assert self.breaker.state is BreakerState.OPEN

    def probe(self) -> None:
        """Until one call may go out."""
        self.now += self.breaker.held_seconds
        assert self.breaker.limit() == 1
        assert self.breaker.state is BreakerState.PROBING

    def ramp(self) -> None:
        self.open()
        self.probe()
        self.answered()


@pytest.fixture
def told() -> Told:
    return Told()


class TestOpening:
    def test_it_opens_when_many_orders_fail_in_a_row(self, told: Told) -> None:
        """Not one failure earlier; only the first of them was to blame, as far as anybody could know."""
        told.answered()
        assert told.failed(*range(FAILURES_IN_A_ROW - 1)) == [True, *[False] * (FAILURES_IN_A_ROW - 2)]
        assert told.breaker.limit() == CONCURRENCY
        assert told.failed(FAILURES_IN_A_ROW) == [False]
        assert told.states == [BreakerState.OPEN]
        assert told.breaker.limit() == 0

    def test_an_answer_in_between_begins_the_row_anew(self, told: Told) -> None:
        """However many fail: somebody is at home."""
        for order_id in range(100):
            told.failed(order_id, order_id + 1, order_id + 2)
            told.answered()
        assert told.states == []

    def test_one_order_that_always_fails_does_not_open_it(self, told: Told) -> None:
        """It is to blame, each time, as long as others are answered now and then."""
        for _ in range(100):
            told.now += QUIET_SECONDS / 3
            told.answered()
            assert told.failed(7, 7) == [True, True]
        assert told.states == []

    def test_nobody_is_to_blame_while_nobody_is_answered(self, told: Told) -> None:
        """Nothing shows whether the third party is well, so the only order that is called opens it, too."""
        assert told.failed(*[7] * (FAILURES_IN_A_ROW - 1)) == [False] * (FAILURES_IN_A_ROW - 1)
        told.answered()
        assert told.failed(7) == [True]
        told.now += QUIET_SECONDS + 1
        assert told.failed(*[7] * (FAILURES_IN_A_ROW - 1)) == [False] * (FAILURES_IN_A_ROW - 1)
        assert told.states == [BreakerState.OPEN]

    def test_refused_credentials_open_it_at_once(self, told: Told) -> None:
        """And calls that were under way then, and are refused as well, don't make the wait longer."""
        epoch = told.breaker.epoch
        for _ in range(20):
            told.breaker.open(epoch, "refused")
        assert told.breaker.held_seconds == pytest.approx(1)
        assert (told.states, told.breaker.reason) == ([BreakerState.OPEN], "refused")


class TestHolding:
    def test_it_holds_longer_each_time_up_to_a_limit(self, told: Told) -> None:
        """And nobody is to blame for a probe that fails."""
        told.open()
        holds = []
        for order_id in range(8):
            holds.append(told.breaker.held_seconds)
            told.probe()
            assert told.failed(order_id) == [False]
        assert holds == [1, 2, 4, 8, 16, HOLD_MAX_SECONDS, HOLD_MAX_SECONDS, HOLD_MAX_SECONDS]

    def test_it_holds_as_long_as_the_third_party_asks_for(self, told: Told) -> None:
        """If that is longer."""
        told.failed(*range(FAILURES_IN_A_ROW), wait=100)
        assert told.breaker.held_seconds == pytest.approx(100)

    @pytest.mark.parametrize("answers", [True, False])
    def test_what_comes_of_calls_from_before_it_opened_changes_nothing(self, told: Told, *, answers: bool) -> None:
        """Neither their answers nor their failures, and those cost nothing."""
        before = told.breaker.epoch
        told.open()
        for _ in range(2):
            if answers:
                told.breaker.answered(before)
            else:
                assert not told.breaker.failed(before, 1, "late")
            told.probe()
        assert told.breaker.state is BreakerState.PROBING


class TestClosing:
    def test_twice_as_many_calls_after_each_round_that_succeeds(self, told: Told) -> None:
        """From one on, until all may go out."""
        told.open()
        told.probe()
        limits = []
        while told.breaker.state is not BreakerState.CLOSED:
            limits.append(told.breaker.limit())
            told.answered(told.breaker.limit() - 1)
            assert told.breaker.limit() == limits[-1]
            told.answered()
        assert limits == [1, 2, 4, 8]
        assert told.states == [BreakerState.OPEN, BreakerState.PROBING, BreakerState.RAMPING, BreakerState.CLOSED]
        assert told.breaker.limit() == CONCURRENCY

    def test_a_round_is_over_when_nothing_else_is_due(self, told: Told) -> None:
        """A quiet night doesn't keep it from closing; but something must have been answered."""
        told.ramp()
        told.breaker.underused()
        assert told.breaker.limit() == 2
        for _ in range(3):
            told.answered()
            told.breaker.underused()
        assert told.breaker.state is BreakerState.CLOSED

    @pytest.mark.parametrize("answers", [0, 1])
    def test_it_closes_when_no_call_waits(self, told: Told, answers: int) -> None:
        """Others have made them all: there is nothing to hold back. While it is open it stays so."""
        told.open()
        told.breaker.idle()
        told.probe()
        told.answered(answers)
        told.breaker.idle()
        told.breaker.idle()
        assert told.breaker.limit() == CONCURRENCY
        assert told.states.count(BreakerState.CLOSED) == 1

    def test_two_failures_in_a_row_end_the_ramp(self, told: Told) -> None:
        """Unless one order alone fails; it holds longer than before, and forgets that only once it was closed."""
        told.ramp()
        assert told.failed(*[1] * 20) == [True] * 20
        told.answered()
        assert told.failed(1, 2) == [True, False]
        assert told.breaker.state is BreakerState.OPEN
        assert told.breaker.held_seconds == pytest.approx(2)
        told.probe()
        told.answered(1 + 2 + 4 + 8)
        assert told.states[-1] is BreakerState.CLOSED
        told.open()
        assert told.breaker.held_seconds == pytest.approx(1)
