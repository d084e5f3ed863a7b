"""What a replay would send: each message once and in order, and no call whose key may be forgotten."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.effects import EffectKind
from domain.messages import Kind, Message
from domain.money import ZERO
from projections.delivery.ports import Call
from projections.redelivery import (
    DEFAULT_OPTIONS,
    How,
    Include,
    LedgerEntry,
    Redelivery,
    RedeliveryOptions,
    redelivery,
)
from projections.republication import CallState, republications
from tests.support.deliveries import POLICY, TOLERANCE_NS, arrivals, published
from tests.support.messages import ORDER_ID, TOPIC, History, cancelled, completed, created, updated

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
PLACE = ("cashback-origin", b"order-cashback-promotion@topic-1/0/0/1740744000000")
MOMENT = timedelta(microseconds=1)


def again(*arrived: Message, topics: tuple[str, ...] = (TOPIC,)) -> list[Message]:
    """The messages that a republication of the order would send."""
    return [each.message for each in republications(History(*arrived, policy=POLICY).events, topics)]


class TestRepublication:
    def test_stamped_messages_go_in_the_order_of_their_numbers(self) -> None:
        """However they came, and whatever their dates say."""
        first, second, third = (
            created(sequence=1, at_ns=30),
            updated(sequence=2, at_ns=20),
            completed(sequence=3, at_ns=10),
        )
        assert again(third, second, first) == [first, second, third]

    def test_messages_of_one_partition_keep_its_order_whatever_their_dates_say(self) -> None:
        """The order of publishing is the truth."""
        first, second, third = created(offset=1, at_ns=5), updated(offset=2, at_ns=3), updated(offset=3, at_ns=4)
        assert again(first, second, third) == [first, second, third]

    def test_messages_of_several_partitions_go_in_the_order_in_which_they_happened(self) -> None:
        """Then CREATED goes before UPDATED, and both before the end."""
        first, second, third = created(at_ns=1), updated(partition=1, at_ns=1), cancelled(partition=2, at_ns=1)
        assert again(third, second, first) == [first, second, third]

    def test_an_update_that_counted_goes_before_the_end(self) -> None:
        """Their dates are closer than clocks can be trusted; one that was refused stays behind it."""
        first, update = created(at_ns=0), updated(at_ns=5, offset=1)
        end, refused = completed(at_ns=4, partition=1), updated(at_ns=6, partition=1, offset=1)
        assert again(first, update, end, refused) == [first, update, end, refused]

    def test_a_held_message_and_its_acceptance_are_one_message(self) -> None:
        """Also one that was held twice, for its number and for the CREATED; and a known one seen elsewhere."""
        early, second, first = (
            updated(partition=1, at_ns=100),
            updated(partition=1, offset=1, at_ns=200),
            created(at_ns=0),
        )
        elsewhere = updated(partition=2, at_ns=100)
        history = History(early, second, first, elsewhere, policy=POLICY)
        assert len(history.events) == 6
        assert again(early, second, first, elsewhere) == [first, early, second]
        numbered = updated(sequence=2, at_ns=100)
        assert again(numbered, updated(sequence=1, at_ns=50)) == [updated(sequence=1, at_ns=50), numbered]

    def test_rejected_and_superseded_messages_go_too(self) -> None:
        """All that was ever said about the order; messages that contradict each other are two."""
        first, late, last = created(at_ns=0), updated(partition=1, at_ns=50), updated(at_ns=100, offset=1)
        other = created(at_ns=0, transaction="t0", content="other", partition=2)
        assert sorted(each.digest for each in again(first, last, late, other)) == sorted(
            each.digest for each in (first, late, last, other)
        )

    def test_the_same_words_under_a_second_number_are_sent_under_both(self) -> None:
        """Or else the numbers after it would wait for ever."""
        first, doubled, third = created(sequence=1), created(sequence=2), completed(sequence=3, at_ns=9)
        assert [each.sequence for each in again(first, doubled, third)] == [1, 2, 3]

    def test_a_message_goes_to_its_own_topic_or_to_the_first_that_we_read(self) -> None:
        """The four old topics are gone one day."""
        old, new = created(topic="old"), updated(topic="new", at_ns=100)
        events = History(old, new).events
        assert [each.topic for each in republications(events, ("first", "new"))] == ["first", "new"]

    def test_key_and_headers_are_those_received_and_name_the_replay(self) -> None:
        """An earlier replay's name gives way; bytes that aren't text stay what they are."""
        received = replace(
            created(),
            headers=(
                ("ce_id", "\xff\x00"),
                ("cashback-replay", "old"),
                ("none", None),
                ("cashback-replay", "x"),
            ),
        )
        (sent,) = republications(History(received).events, (TOPIC,))
        assert sent.key == b"%d" % ORDER_ID
        assert sent.headers("new") == (("ce_id", b"\xff\x00"), ("none", None), ("cashback-replay", b"new"), PLACE)

    @given(st.data())
    def test_an_order_told_again_from_its_republication_ends_in_the_same_place(self, data: st.DataObject) -> None:
        """Any lifecycle, any partitions, any arrival: into an empty store, on one partition, wherever the order was
        beyond doubt."""
        said = data.draw(published(max_skew_ns=TOLERANCE_NS - 1, copies=True))
        history = History(*data.draw(arrivals(said.partitions)), policy=POLICY)
        sent = republications(history.events, (TOPIC,))
        assert sorted(each.message.digest for each in sent) == sorted({each.digest for each in said.messages})
        if history.order.doubts:
            return
        copies = [
            replace(each.message, partition=0, offset=offset, replay=None) for offset, each in enumerate(sent)
        ]
        assert History(*copies, policy=POLICY).outcome == history.outcome

    @given(st.data())
    def test_stamped_messages_come_out_in_the_order_of_publishing(self, data: st.DataObject) -> None:
        """Any arrival at all."""
        said = data.draw(published(stamped=True, copies=True, max_skew_ns=100))
        history = History(*data.draw(st.permutations(said.messages)), policy=POLICY)
        assert [each.message.kind for each in republications(history.events, (TOPIC,))] == said.kinds


def entry(
    version: int,
    state: CallState,
    *,
    age: timedelta | None = None,
    maybe_done: bool | None = None,
    nonce: str | None = None,
    amount: str = "0",
) -> LedgerEntry:
    body = f'{{"cashbackAmount":{amount}}}'.encode()
    call = Call(ORDER_ID, version, EffectKind.UPDATE, UUID(int=version), body)
    first_attempt_at = None if age is None else NOW - age
    return LedgerEntry(call, state, 0 if age is None else 1, first_attempt_at, maybe_done, nonce)


def plan_of(*entries: LedgerEntry, **options: Any) -> Redelivery:
    return redelivery(entries, RedeliveryOptions(**options), now=NOW, key_retention=DAY)


class TestRedelivery:
    @pytest.mark.parametrize(
        ("age", "sent"),
        [(timedelta(0), True), (DAY - MOMENT, True), (DAY, False), (DAY + MOMENT, False), (None, False)],
    )
    def test_a_delivered_call_is_sent_again_while_its_key_is_remembered(
        self, age: timedelta | None, *, sent: bool
    ) -> None:
        """Counted from its first attempt; and not where that isn't known."""
        plan = redelivery([entry(1, CallState.DELIVERED, age=age)], DEFAULT_OPTIONS, now=NOW, key_retention=DAY)
        assert plan.versions == ([1] if sent else [])
        assert [each.entry.call.version for each in plan.suppressed] == ([] if sent else [1])
        if not sent:
            assert "24 h" in plan.suppressed[0].reason

    @pytest.mark.parametrize("state", [CallState.DUE, CallState.RETRYING, CallState.IN_DOUBT, CallState.PARKED])
    @pytest.mark.parametrize("age", [None, timedelta(0), DAY])
    def test_a_call_that_is_not_settled_is_sent_with_a_warning_if_its_key_may_be_forgotten(
        self, state: CallState, age: timedelta | None
    ) -> None:
        """It would be sent anyhow; but an attempt long ago may have been carried out."""
        (sent,) = redelivery([entry(1, state, age=age)], DEFAULT_OPTIONS, now=NOW, key_retention=DAY).sent
        assert (sent.warning is not None) == (age == DAY)

    def test_a_call_that_was_given_up_stays_given_up(self) -> None:
        plan = redelivery(
            [entry(1, CallState.SKIPPED, age=timedelta(0))], DEFAULT_OPTIONS, now=NOW, key_retention=DAY
        )
        assert (plan.sent, plan.suppressed[0].reason) == ((), "a person has given it up")

    def test_calls_go_in_the_order_of_their_versions(self) -> None:
        """Whatever order the ledger gave them in."""
        entries = [entry(version, CallState.DUE) for version in (3, 1, 2)]
        assert redelivery(entries, DEFAULT_OPTIONS, now=NOW, key_retention=DAY).versions == [1, 2, 3]

    def test_an_order_without_calls_has_nothing_to_send(self) -> None:
        plan = redelivery([], DEFAULT_OPTIONS, now=NOW, key_retention=DAY)
        assert (plan.sent, plan.suppressed) == ((), ())


class TestWishes:
    """What is sent on a person's wish, under which keys, and what that could cost."""

    def test_resuming_sends_only_what_is_missing(self) -> None:
        """Whatever the third party remembers."""
        entries = [entry(n, state, age=timedelta(0)) for n, state in enumerate(CallState)]
        sent = {each.entry.state for each in plan_of(*entries, how=How.RESUME).sent}
        assert sent == set(CallState) - {CallState.DELIVERED, CallState.SKIPPED}

    def test_what_may_pay_again_is_sent_only_if_it_is_named(self) -> None:
        """Then with its old key, without a lookup before, and at the risk of its amount."""
        old = entry(1, CallState.DELIVERED, age=DAY, amount="6.50")
        plan = plan_of(old, include=frozenset({Include.FORGOTTEN}))
        assert ([each.key for each in plan.sent], plan.blind) == ([old.call.key], [1])
        assert plan.amount_at_risk == Decimal("6.50")
        assert "do it again" in (plan.sent[0].warning or "")
        young = entry(2, CallState.DELIVERED, age=DAY - MOMENT, amount="6.50")
        harmless = plan_of(young, include=frozenset({Include.FORGOTTEN}))
        assert (harmless.versions, harmless.blind, harmless.amount_at_risk) == ([2], list[int](), ZERO)

    def test_what_a_person_has_given_up_is_sent_only_if_it_is_named(self) -> None:
        """So a skip can be undone; resuming does it too."""
        given_up = entry(1, CallState.SKIPPED)
        for how in How:
            assert plan_of(given_up, how=how).versions == []
            assert plan_of(given_up, how=how, include=frozenset({Include.SKIPPED})).versions == [1]

    def test_a_nonce_makes_new_keys_from_the_old_ones(self) -> None:
        """The same ones each time, and others for another nonce; calls that have it already keep theirs."""
        entries = [entry(1, CallState.DELIVERED, age=DAY), entry(2, CallState.DUE, nonce="b")]
        plan = plan_of(*entries, nonce="a")
        assert plan.renewed == {n: uuid5(UUID(int=n), "a") for n in (1, 2)}
        assert plan_of(*entries, nonce="b").renewed == {1: uuid5(UUID(int=1), "b")}
        assert plan_of(entry(1, CallState.DELIVERED, age=timedelta(0), nonce="a"), nonce="a").renewed == {}

    @pytest.mark.parametrize(
        ("state", "maybe_done", "at_risk"),
        [
            (CallState.DELIVERED, True, "6"),
            (CallState.IN_DOUBT, True, "6"),
            (CallState.PARKED, None, "6"),
            (CallState.PARKED, False, "0"),
        ],
    )
    def test_a_new_key_puts_at_risk_what_may_have_been_carried_out(
        self, state: CallState, *, maybe_done: bool | None, at_risk: str
    ) -> None:
        """What was surely refused was not; what was never sent was not either."""
        tried = entry(1, state, age=timedelta(0), maybe_done=maybe_done, amount="6")
        assert plan_of(tried, entry(2, CallState.DUE, amount="9"), nonce="a").amount_at_risk == Decimal(at_risk)

    def test_of_several_amounts_the_greatest_is_at_risk(self) -> None:
        """Each call replaces the amount of the one before; it is never their sum."""
        calls = [entry(n, CallState.DELIVERED, age=DAY, amount=a) for n, a in ((1, "6"), (2, "7.5"), (3, "2"))]
        assert plan_of(*calls, nonce="a").amount_at_risk == Decimal("7.5")
        assert plan_of(*calls).amount_at_risk == 0

    @given(st.data())
    def test_nothing_is_at_risk_unless_a_person_has_asked_for_it(self, data: st.DataObject) -> None:
        """Without a nonce, and without calls whose keys may be forgotten."""
        ages = st.none() | st.sampled_from([timedelta(0), DAY - MOMENT, DAY, 2 * DAY])
        entries = [
            entry(
                version,
                data.draw(st.sampled_from(CallState)),
                age=data.draw(ages),
                maybe_done=data.draw(st.none() | st.booleans()),
                amount="5",
            )
            for version in range(data.draw(st.integers(0, 5)))
        ]
        include = frozenset(data.draw(st.sets(st.just(Include.SKIPPED))))
        plan = plan_of(*entries, how=data.draw(st.sampled_from(How)), include=include)
        assert (plan.amount_at_risk, plan.renewed, plan.blind) == (ZERO, dict[int, UUID](), list[int]())
        assert sorted([*plan.versions, *(each.entry.call.version for each in plan.suppressed)]) == [
            each.call.version for each in entries
        ]


def test_every_state_of_the_ledger_is_known() -> None:
    """The states are those that the database's own check allows."""
    from importlib.resources import files

    schema = files("adapters.postgres").joinpath("migrations/0003_delivery.sql").read_text()
    allowed = schema.split("CHECK (state IN (")[1].split(")")[0]
    assert {word.strip(" '") for word in allowed.split(",")} == set(CallState)


def test_kinds_that_end_an_order_are_ranked_last() -> None:
    """At the same instant on different partitions."""
    assert [each.kind for each in again(completed(partition=1), created())] == [Kind.CREATED, Kind.COMPLETED]
