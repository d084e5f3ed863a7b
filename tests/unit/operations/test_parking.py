"""What a retry and a skip mean for an order, by where its calls stand."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pytest

from adapters.presentation.action_reports import MAX_SHOWN_CALLS, parking_view
from adapters.records.errors import AnotherCall, NotPossible, UnderWay
from adapters.records.parking import WaitingCall, retried, skip_warnings, skipped
from domain.effects import EffectKind
from projections.republication import CallState
from tests.support.fake_ledger import call

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREATE, UPDATE, CANCEL, COMPLETE, CORRECT = EffectKind
State = Literal["idle", "due", "in_flight", "retrying", "parked"]


@dataclass(frozen=True)
class Cursor:
    state: str = "parked"
    parked_reason: str | None = "refused with status 422"
    is_under_way: bool = False
    order_id: int = 7
    next_attempt_at: datetime = NOON


def waiting(*kinds: EffectKind, maybe_done: bool = False) -> list[WaitingCall]:
    """From version 1 on."""
    calls = [call(7, version, kind) for version, kind in enumerate(kinds, start=1)]
    return [WaitingCall(each, CallState.DUE, 0, maybe_done, None) for each in calls]


class TestRetry:
    @pytest.mark.parametrize("state", ["parked", "retrying", "due"])
    def test_an_order_whose_calls_wait_goes_on(self, state: State) -> None:
        """Parked or not, and however often it is asked for."""
        report = retried(Cursor(state), waiting(CREATE, UPDATE))
        assert (report.state_before, report.state_after) == (state, "due")
        assert [each["version"] for each in parking_view(report)["follows"]] == [2]

    def test_an_order_that_has_nothing_to_send_is_refused(self) -> None:
        """By its state."""
        with pytest.raises(NotPossible, match="order 7 is idle") as refused:
            retried(Cursor("idle"), [])
        assert refused.value.state == "idle"

    def test_an_order_whose_call_is_under_way_is_refused(self) -> None:
        """And it is said until when that can be."""
        with pytest.raises(UnderWay, match="12:00:00Z"):
            retried(Cursor("in_flight", is_under_way=True), waiting(CREATE))

    def test_an_order_that_was_stopped_by_an_invariant_goes_on_with_a_warning(self) -> None:
        """Unless it was repaired, it will be stopped again."""
        report = retried(Cursor(parked_reason="invariant: ended_once"), waiting(CREATE))
        assert "ended_once" in report.warnings[0]
        assert retried(Cursor(), waiting(CREATE)).warnings == []


class TestSkip:
    @pytest.mark.parametrize("state", ["idle", "due", "in_flight", "retrying"])
    def test_only_a_call_at_which_an_order_is_parked_is_given_up(self, state: State) -> None:
        with pytest.raises(NotPossible, match=f"order 7 is {state}"):
            skipped(Cursor(state), waiting(CREATE))

    def test_a_parked_order_without_calls_has_nothing_to_give_up(self) -> None:
        with pytest.raises(NotPossible):
            skipped(Cursor(), [])

    def test_a_call_that_may_be_under_way_is_not_given_up(self) -> None:
        """As when an order is stopped while a dispatcher has it."""
        with pytest.raises(UnderWay):
            skipped(Cursor(is_under_way=True), waiting(CREATE))

    def test_a_call_that_is_named_must_be_the_one_at_which_the_order_stands(self) -> None:
        """What a person has looked at may have gone on since."""
        with pytest.raises(AnotherCall, match="stands at call 1, not at 2"):
            skipped(Cursor(), waiting(CREATE, UPDATE), 2)
        assert skipped(Cursor(), waiting(CREATE, UPDATE), 1).calls[0].call.version == 1

    def test_the_order_goes_on_or_rests(self) -> None:
        """By whether another call waits."""
        assert skipped(Cursor(), waiting(CREATE, UPDATE)).state_after == "due"
        assert skipped(Cursor(), waiting(COMPLETE)).state_after == "idle"

    @pytest.mark.parametrize(
        ("kinds", "words"),
        [
            ((CREATE, UPDATE), ["refuses what follows"]),
            ((CREATE,), ["never hears"]),
            ((UPDATE, COMPLETE), ["completion with 6.50 may be refused"]),
            ((UPDATE, UPDATE, COMPLETE), []),
            ((UPDATE,), ["instead of 6.50"]),
            ((UPDATE, CANCEL), ["instead of 6.50"]),
            ((COMPLETE,), ["isn't paid 6.50"]),
            ((CANCEL,), ["stays open"]),
            (
                (COMPLETE, CORRECT),
                ["isn't paid 6.50, and the corrections that follow are refused"],
            ),
            ((CORRECT,), ["keeps the amount before, instead of 6.50"]),
            ((CORRECT, CORRECT), []),
        ],
    )
    def test_what_becomes_of_the_order_is_told(self, kinds: tuple[EffectKind, ...], words: list[str]) -> None:
        """An update that another one follows is no loss."""
        head, *later = waiting(*kinds)
        told = skip_warnings(head, later)
        assert len(told) == len(words)
        assert all(word in warning for word, warning in zip(words, told, strict=True))

    def test_a_call_that_may_have_been_carried_out_is_not_taken_back(self) -> None:
        (head,) = waiting(CANCEL, maybe_done=True)
        assert "take it back" in skip_warnings(head, [])[0]


def test_a_long_queue_is_shown_in_part() -> None:
    """With its length."""
    shown = parking_view(retried(Cursor(), waiting(CREATE, *[UPDATE] * 150)))
    assert (len(shown["follows"]), shown["followCount"]) == (MAX_SHOWN_CALLS, 150)
