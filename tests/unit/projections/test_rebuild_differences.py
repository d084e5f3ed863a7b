"""What `rebuild --check` calls a difference."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.events import OrderEvent
from domain.identifiers import idempotency_key_by_version, stream_id
from domain.lifecycle import Status
from domain.messages import Kind, Message
from projections.feed import Recorded
from projections.intended_calls import intended_calls
from projections.orders import OrderRow, row_of
from projections.rebuild import LedgerCall, RebuildCounts, differences_of_calls, differences_of_row, fold_stream
from tests.support.decoding import read
from tests.support.messages import ORDER_ID, History, record_of

FAR = 10**6
"""A position behind all that there is."""


def said(kind: Kind, number: int) -> Message:
    return read(record_of(kind, offset=number, at_ns=number))


def recorded(events: Sequence[OrderEvent], first_id: int = 101) -> list[Recorded]:
    return [Recorded(first_id + number, event) for number, event in enumerate(events)]


STREAM = recorded(History(said(Kind.CREATED, 0), said(Kind.UPDATED, 1), said(Kind.COMPLETED, 2)).events)
ROW = row_of(fold_stream(STREAM))
CALLS = {
    call.version: LedgerCall(call.effect.kind, call.effect.key, call.digest) for call in intended_calls(STREAM)
}


def row_faults(row: OrderRow | None, position: int = FAR) -> list[str]:
    return [difference.what for difference in differences_of_row(STREAM, row, position)]


def call_faults(calls: dict[int, LedgerCall], position: int = FAR) -> list[str]:
    return [difference.what for difference in differences_of_calls(STREAM, calls, position)]


class TestRows:
    def test_a_row_that_says_what_the_events_say_is_no_difference(self) -> None:
        """The rule."""
        assert row_faults(ROW) == []

    @pytest.mark.parametrize(
        "change",
        [
            {"status": Status.PENDING},
            {"cashback": Decimal(7)},
            {"cashback": None},
            {"buyer_id": "other"},
            {"store_no": None},
            {"held": 1},
            {"rejected": 1},
            {"superseded": 1},
            {"doubts": ("late",)},
            {"held_since_ns": 1},
            {"recorded_at_ns": 1},
        ],
    )
    def test_every_column_is_compared(self, change: dict[str, Any]) -> None:
        """And named."""
        assert row_faults(replace(ROW, **change)) == [f"{next(iter(change))} differs from what the events say"]

    def test_trailing_zeros_are_no_difference(self) -> None:
        """6 and 6.00 are the same money."""
        assert row_faults(replace(ROW, cashback=Decimal("6.00"))) == []

    def test_a_row_that_is_missing_is_a_difference_once_the_projection_has_passed_it(self) -> None:
        """Before, it only lags."""
        assert row_faults(None) == ["the read model lacks the order"]
        assert row_faults(None, position=101) == ["the read model lacks the order"]
        assert row_faults(None, position=100) == []

    @pytest.mark.parametrize("version", [1, 2])
    def test_an_older_row_is_a_difference_once_the_projection_has_passed_the_next_event(self, version: int) -> None:
        """It must be right for its own version in any case."""
        row = row_of(fold_stream(STREAM[:version]))
        assert row_faults(row, position=100 + version) == []
        assert row_faults(row, position=101 + version) == [
            f"the read model is at version {version} and should be at {version + 1}"
        ]
        assert row_faults(replace(row, held=9), position=100 + version) == ["held differs from what the events say"]

    def test_a_row_may_be_ahead_of_the_position(self) -> None:
        """The projection loads whole streams, so that a row can be newer than what it has read."""
        assert row_faults(ROW, position=0) == []

    def test_a_row_of_a_version_that_never_was_is_a_difference(self) -> None:
        """It can't have come from these events."""
        assert row_faults(replace(ROW, version=4)) == [
            "the read model is at version 4, which the stream hasn't got"
        ]


class TestCalls:
    def test_calls_that_the_events_ask_for_are_no_difference(self) -> None:
        """The rule."""
        assert call_faults(CALLS) == []

    @pytest.mark.parametrize(
        ("change", "what"),
        [({"digest": b"other"}, "body"), ({"key": UUID(int=1)}, "key"), ({"kind": "cancel"}, "kind")],
    )
    def test_a_call_that_was_changed_is_a_difference(self, change: dict[str, Any], what: str) -> None:
        """Its body, its key and its kind; a key that changed might pay twice."""
        changed = CALLS | {2: replace(CALLS[2], **change)}
        assert call_faults(changed) == [f"the ledger's call of version 2 has another {what}"]

    def test_a_ledger_that_is_older_than_keys_by_content_is_no_difference(self) -> None:
        """Call by call: an order may have had its first calls before, and its last ones since. The key by the
        version of another call is none."""
        before = {
            version: replace(call, key=idempotency_key_by_version(stream_id(ORDER_ID), version))
            for version, call in CALLS.items()
        }
        assert call_faults(before) == []
        assert call_faults(CALLS | {1: before[1]}) == []
        mixed_up = replace(before[1], key=before[2].key)
        assert call_faults(CALLS | {1: mixed_up}) == ["the ledger's call of version 1 has another key"]

    def test_a_missing_call_is_a_difference_once_the_projection_has_passed_its_event(self) -> None:
        """Before, it only lags."""
        missing = {version: call for version, call in CALLS.items() if version != 3}
        assert call_faults(missing, position=103) == ["the ledger lacks the call of version 3"]
        assert call_faults(missing, position=102) == []
        assert call_faults({}) == [f"the ledger lacks the call of version {version}" for version in (1, 2, 3)]

    def test_a_call_that_no_event_asks_for_is_a_difference(self) -> None:
        """Wherever the projection stands."""
        stray = CALLS | {4: CALLS[3]}
        assert call_faults(stray, position=0) == ["the ledger has a call of version 4, which no event asks for"]


def test_a_tally_counts_orders_events_and_money_by_status() -> None:
    """Exactly; an order that was never created has no amount."""
    tally = RebuildCounts()
    streams = (
        STREAM,
        recorded(History(said(Kind.CREATED, 0)).events),
        recorded(History(said(Kind.CREATED, 0), said(Kind.CANCELLED, 1)).events),
        recorded(History(said(Kind.COMPLETED, 1)).events),
        STREAM,
    )
    for stream in streams:
        tally.add(fold_stream(stream), len(stream))
    assert (tally.orders, tally.events, tally.doubtful) == (5, 10, 0)
    assert tally.by_status == {
        Status.COMPLETED: 2,
        Status.PENDING: 1,
        Status.CANCELLED: 1,
        Status.NOT_CREATED: 1,
    }
    assert tally.cashback == {Status.COMPLETED: 12, Status.PENDING: 6, Status.CANCELLED: 6}
