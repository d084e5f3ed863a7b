"""What a page says will happen, and what people write into its forms."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from adapters.records.jobs import BulkMode, Foretold, Job, JobState
from adapters.web.bulk_requests import BulkRequest
from adapters.web.console.bulk_replays import fields_of
from adapters.web.console.parameters import order_ids
from adapters.web.console.sentences import (
    bulk_says,
    number_of,
    quarantine_says,
    replay_says,
    retry_says,
    selection_says,
    skip_says,
)
from projections.redelivery import Include, RedeliveryOptions

NOW = datetime(2025, 3, 1, tzinfo=UTC)


def call(version: int, amount: str | None, **more: Any) -> dict[str, Any]:
    body = "{}" if amount is None else f'{{"cashbackAmount":{amount}}}'
    named = {"version": version, "method": "PUT", "path": "/v1/cashbacks/7", "formerKey": None}
    return named | {"body": body.encode(), "cashbackAmount": None if amount is None else Decimal(amount)} | more


def plan(*items: dict[str, Any], risk: str = "0", **more: Any) -> dict[str, Any]:
    whole = {"mode": "redeliver", "items": list(items), "suppressed": [], "amountAtRisk": Decimal(risk)}
    return whole | more


def replay(mode: BulkMode, total: int, rate: float, foretold: Foretold | None = None) -> Job:
    return Job(
        number=1,
        id=UUID(int=1),
        kind=mode,
        state=JobState.PREVIEWED,
        reason="why",
        rate_per_second=rate,
        total=total,
        done=0,
        failed=0,
        note=None,
        requested_at=NOW,
        started_at=None,
        ended_at=None,
        expected_end=None,
        selection={},
        cashback=Decimal(0),
        expires_at=NOW,
        foretold=foretold,
    )


class TestReplaysOfOneOrder:
    def test_calls_are_named_with_their_amounts_and_the_risk(self) -> None:
        """Exact to the last digit."""
        said = replay_says(plan(call(1, "4.90"), call(2, "12.405"), risk="12.405"))
        calls = "PUT /v1/cashbacks/7 (4.90), PUT /v1/cashbacks/7 (12.405)"
        assert said == [
            f"Two calls will be sent to the third party again, in this order: {calls}.",
            "Each keeps its key: the third party takes it for the call that it knows.",
            "12.405 at risk: it could be paid a second time.",
        ]

    def test_new_keys_and_what_is_not_sent_are_told(self) -> None:
        said = replay_says(plan(call(1, None, formerKey=UUID(int=2)), suppressed=[{"version": 2}]))
        assert said == [
            "One call will be sent to the third party again, in this order: PUT /v1/cashbacks/7.",
            "Under new keys: the third party can't tell that it knows them.",
            "Nothing is at risk.",
            "One call will not be sent.",
        ]

    def test_of_many_calls_only_the_first_are_named(self) -> None:
        (said, *_) = replay_says(plan(*(call(version, None) for version in range(12))))
        assert said.startswith("12 calls will be sent")
        assert said.endswith("PUT /v1/cashbacks/7 and 7 more.")

    def test_messages_are_named_with_their_topic(self) -> None:
        items = [{"type": kind, "topic": "t", "version": 1} for kind in ("CREATED", "COMPLETED")]
        (said, _) = replay_says(plan(*items, mode="republish"))
        assert said == "Two messages will be published to t again: CREATED, COMPLETED."

    def test_nothing_is_told_as_such(self) -> None:
        assert replay_says(plan()) == ["Nothing will be sent."]


@pytest.mark.parametrize(
    ("behind", "amount", "said"),
    [
        (0, "6", "The amount that it carries, 6.00, is given up with it."),
        (0, None, "No call stands behind it: the order is then told as far as it ever will be."),
        (1, None, "The order goes on with one call behind it."),
    ],
)
def test_a_skip_says_what_is_given_up_and_what_follows(behind: int, amount: str | None, said: str) -> None:
    given = skip_says({"orderId": 7, "call": call(1, amount), "followCount": behind})
    assert given[0] == "The call PUT /v1/cashbacks/7 of order 7 is given up, and never sent."
    assert said in given


def test_a_retry_says_what_goes_out() -> None:
    """Or that nothing does."""
    said = retry_says({"orderId": 7, "call": call(1, "6"), "followCount": 2})
    assert said[:2] == [
        "The call PUT /v1/cashbacks/7 (6.00) of order 7 goes out again at once.",
        "Once it is through, two calls behind it follow in their order.",
    ]
    assert "only stops being parked" in retry_says({"orderId": 7, "call": None, "followCount": 0})[0]


def test_a_message_that_is_known_already_decides_nothing() -> None:
    said = {"type": "CREATED", "orderId": 7, "transactionDate": "2025-03-01T00:00:00Z", "decisions": []}
    told = quarantine_says(said | {"isRepeat": True}, is_edited=True)
    assert told[0] == "Edited so, the message is read as CREATED of order 7, dated 2025-03-01T00:00:00Z."
    assert told[1:] == ["It is known already: nothing is decided.", "What came is kept as it came."]


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (
            replay(BulkMode.REDELIVER, 120, 2, Foretold(240, 3, Decimal("12.4"))),
            [
                "The calls of 120 orders are sent to the third party again, at most 2 a second: about 1 min.",
                "240 calls will be sent, 3 will not.",
                "12.40 at risk: it could be paid a second time.",
            ],
        ),
        (
            replay(BulkMode.RETRY, 1, 50),
            ["One order is retried, with the same keys, at most 50 a second: a moment."],
        ),
        (
            replay(BulkMode.REPUBLISH, 7200, 0.5),
            ["The messages of 7,200 orders are published again, at most 0.5 a second: about 4 h."],
        ),
    ],
)
def test_a_replay_of_many_orders_says_how_much_and_how_long(of: Job, said: list[str]) -> None:
    assert bulk_says(of) == said


def test_a_selection_is_said_in_words() -> None:
    assert selection_says({"namedOrders": 3, "status": "PENDING", "parkedReason": "refused"}) == (
        "3 named, in the state PENDING, parked because “refused…”"
    )


@pytest.mark.parametrize(
    ("count", "said"), [(0, "no calls"), (1, "one call"), (10, "ten calls"), (1234, "1,234 calls")]
)
def test_small_numbers_are_words(count: int, said: str) -> None:
    assert number_of(count, "call") == said


@pytest.mark.parametrize("text", ["1,2;3", " 1\n2\t3 ", "1, 2,, 3"])
def test_order_ids_may_stand_apart_by_anything(text: str) -> None:
    assert order_ids(text) == [1, 2, 3]


@pytest.mark.parametrize("word", ["x", "1.5", "-1", "0", "9223372036854775808", "٣"])
def test_what_is_no_order_id_is_told(word: str) -> None:
    with pytest.raises(ValueError, match="no order id"):
        order_ids(f"1 {word}")


class TestTheFormForManyOrders:
    def test_says_what_the_api_takes(self) -> None:
        """A moment of a field for date and time is UTC."""
        form = {
            "mode": "redeliver",
            "orders": "7 8",
            "status": "",
            "changed_from": "2025-03-01T12:00",
            "changed_to": "2025-03-01T12:00:30",
            "rate": "2.5",
            "how": "resume",
            "nonce": " ticket ",
            "include_skipped": "1",
            "reason": "why",
        }
        asked = BulkRequest.model_validate(fields_of(form))
        assert asked.select.selection.orders == frozenset({7, 8})
        assert asked.select.selection.changed_to_ns is not None
        assert asked.select.selection.changed_from_ns == asked.select.selection.changed_to_ns - 30 * 10**9
        assert (asked.rate_per_second, asked.reason) == (2.5, "why")
        assert asked.options == RedeliveryOptions("resume", "ticket", frozenset({Include.SKIPPED}))  # type: ignore[arg-type]  # as text

    @pytest.mark.parametrize(
        "wrong", [{"rate": "fast"}, {"orders": "x"}, {"orders": ""}, {"reason": " "}, {"mode": "x"}, {"rate": "0"}]
    )
    def test_is_refused_with_what_the_api_refuses(self, wrong: dict[str, str]) -> None:
        form = {"mode": "republish", "orders": "7", "rate": "1", "reason": "why"} | wrong
        with pytest.raises((ValueError, ValidationError)):
            BulkRequest.model_validate(fields_of(form))
