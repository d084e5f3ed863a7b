"""Stored events: their form is fixed, and samples of every version stay readable for ever."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import MapperDeserialisationError, StoredEvent
from msgspec.structs import replace

from adapters.postgres.codec import EventMapper
from domain.events import (
    CashbackCancelled,
    CashbackCompleted,
    CashbackCorrected,
    CashbackCreated,
    CashbackUpdated,
    CorrectionNotNeeded,
    CreateGivenUp,
    Doubt,
    DoubtSettled,
    EventLost,
    GapAccepted,
    MessageEvent,
    MessageHeld,
    MessageRejected,
    OrderEvent,
    Refusal,
    RepeatSeenElsewhere,
    UpdateSuperseded,
    WaitsFor,
    type_of_topic,
)
from domain.messages import Kind, Message, Origin
from domain.order import fold

SAMPLES = Path(__file__).parents[1] / "samples"
STREAM = UUID("ca5bbacc-0000-8000-8000-0000017325c3")
mapper = EventMapper()

CREATED_MESSAGE = Message(
    kind=Kind.CREATED,
    order_id=24_323_523,
    transaction_id="5661042b-cc39-4567-a264-265943097139",
    transaction_date="2025-02-28T13:36:06.026732837Z",
    happened_at_ns=1_740_749_766_026_732_837,
    identity="m-1",
    digest="0f2d",
    sequence=1,
    store_no="54645",
    buyer_id="1234",
    cashback=Decimal("6.00"),
    topic="order-cashback-promotion",
    topic_id="topic-1",
    partition=3,
    offset=42,
    timestamp_ms=1_740_749_766_027,
    headers=(("ce_id", "m-1"), ("sequence", "1"), ("x", "\xff\x00"), ("empty", None)),
    body=b'{"type":"CREATED",\n"payload":{"name":"Gr\xc3\xbc\xc3\x9fe"}}\n',
)
END_MESSAGE = Message(
    kind=Kind.CANCELLED,
    order_id=24_323_523,
    transaction_id="t2",
    transaction_date="2025-02-28T14:36:06.1+01:00",
    happened_at_ns=1_740_749_766_100_000_000,
    identity="0f2e",
    digest="0f2e",
    reason="out of stock",
    topic="order-cashback-promotion",
    topic_id="topic-1",
    partition=0,
    offset=0,
    replay="r-1",
    body=b"{}",
)


def about(message: Message, version: int, **more: Any) -> dict[str, Any]:
    return {
        "originator_id": STREAM,
        "originator_version": version,
        "recorded_at_ns": 1_740_749_767_000_000_001,
        "message": message,
        "effective_at_ns": 1_740_749_766_026_732_838,
    } | more


def by_a_person(version: int, **more: Any) -> dict[str, Any]:
    return {
        "originator_id": STREAM,
        "originator_version": version,
        "recorded_at_ns": 1_740_749_767_000_000_001,
        "decided_by": "Zoë",
        "reason": "asked the shop\nby phone",
    } | more


REPUBLISHED = replace(
    CREATED_MESSAGE,
    replay="r-2",
    origin=Origin("old-topic", "topic-0", 1, 7, 1_740_749_766_027),
    key='"24323523"',
    is_implausible=True,
)
NEGATIVE = replace(CREATED_MESSAGE, is_negative=True, cashback=Decimal("-0.50"))
VERSION_1: dict[str, OrderEvent] = {
    "cashback-created": CashbackCreated(**about(CREATED_MESSAGE, 1, stated_at_ns=5, cashback=Decimal("6.00"))),
    "cashback-updated": CashbackUpdated(
        **about(CREATED_MESSAGE, 2, stated_at_ns=6, cashback=Decimal("1E+3"), doubt=Doubt.UNCERTAIN_ORDER)
    ),
    "cashback-cancelled": CashbackCancelled(**about(END_MESSAGE, 3, stated_at_ns=7, held_version=2)),
    "cashback-completed": CashbackCompleted(**about(END_MESSAGE, 4, stated_at_ns=8, cashback=Decimal("0.10"))),
    "message-held": MessageHeld(**about(END_MESSAGE, 5, waits_for=WaitsFor.SEQUENCE)),
    "update-superseded": UpdateSuperseded(**about(CREATED_MESSAGE, 6, superseded_by_version=5)),
    "message-rejected": MessageRejected(
        **about(NEGATIVE, 7, refusal=Refusal.ENDED_TWICE, against_version=4, doubt=Doubt.CONFLICT)
    ),
    "repeat-seen-elsewhere": RepeatSeenElsewhere(**about(CREATED_MESSAGE, 8)),
    "cashback-corrected": CashbackCorrected(
        **about(
            REPUBLISHED,
            9,
            stated_at_ns=9,
            cashback=Decimal("1.50"),
            doubt=Doubt.UNCERTAIN_ORDER,
            further_doubts=(Doubt.IMPLAUSIBLE_AMOUNT,),
            at_stake=Decimal("-4.50"),
        )
    ),
    "correction-not-needed": CorrectionNotNeeded(**about(END_MESSAGE, 10)),
    "doubt-settled": DoubtSettled(**by_a_person(11, settled=((Doubt.LATE, 7), (Doubt.CONFLICT, 9)))),
    "gap-accepted": GapAccepted(**by_a_person(12, first=4, last=6)),
    "create-given-up": CreateGivenUp(**by_a_person(13)),
    "event-lost": EventLost(**by_a_person(14)),
}


def sample(name: str) -> StoredEvent:
    """A row of the event store; the bytes of its state stand in the file as Latin-1 text."""
    row = json.loads((SAMPLES / f"{name}.json").read_text("ascii"))
    return StoredEvent(
        UUID(row["originator_id"]), row["originator_version"], row["topic"], row["state"].encode("latin-1")
    )


def test_there_is_a_sample_of_every_event() -> None:
    """Whoever adds an event, or a new form of one, adds a sample."""
    assert {file.stem.partition(".")[0] for file in SAMPLES.glob("*.v1.json")} == set(type_of_topic)
    assert set(VERSION_1) == set(type_of_topic)


@pytest.mark.parametrize("topic", list(type_of_topic))
def test_a_sample_of_version_1_is_read_as_it_was_meant(topic: str) -> None:
    """All fields, with their defaults where they weren't written, and the body byte for byte."""
    found = mapper.to_domain_event(sample(f"{topic}.v1"))
    expected = VERSION_1[topic]
    assert type(found) is type(expected)
    assert found == expected
    assert str(getattr(found, "cashback", None)) == str(getattr(expected, "cashback", None))


def test_what_was_not_written_has_the_default_that_it_had_when_it_was_written() -> None:
    """A default may never change: stored events rely on it."""
    found = mapper.to_domain_event(sample("message-held.v1"))
    assert isinstance(found, MessageEvent)
    assert (found.held_version, found.doubt, found.further_doubts, found.at_stake) == (None, None, (), None)
    said = found.message
    assert (said.sequence, said.store_no, said.buyer_id, said.cashback, said.timestamp_ms) == (None,) * 5
    assert (said.is_negative, said.is_implausible, said.headers) == (False, False, ())
    assert said.payload_path == ("payload",)
    created = mapper.to_domain_event(sample("cashback-created.v1"))
    assert isinstance(created, MessageEvent)
    said = created.message
    assert (said.reason, said.replay, said.origin, said.key) == (None, None, None, None)
    rejected = MessageRejected(**about(END_MESSAGE, 1, refusal=Refusal.LATE))
    assert rejected.against_version is None


@pytest.mark.parametrize("topic", list(type_of_topic))
def test_an_event_is_stored_under_its_fixed_name(topic: str) -> None:
    """The name doesn't follow the class when that moves or is renamed."""
    stored = mapper.to_stored_event(VERSION_1[topic])
    assert stored.topic == topic
    assert (stored.originator_id, stored.originator_version) == (STREAM, VERSION_1[topic].originator_version)


@pytest.mark.parametrize("topic", list(type_of_topic))
def test_an_event_is_stored_in_the_form_of_the_samples(topic: str) -> None:
    """So that older processes can read it while newer ones write: no name or form may change in passing."""
    line, _, body = mapper.to_stored_event(VERSION_1[topic]).state.partition(b"\n")
    expected_line, _, expected_body = sample(f"{topic}.v1").state.partition(b"\n")
    assert json.loads(line) == json.loads(expected_line)
    assert body == expected_body


def test_enumerations_are_stored_by_words_that_never_change() -> None:
    """They are in the stored events."""
    assert {each.value for each in Refusal} == {
        *("created_twice", "after_end", "late", "ended_twice", "conflict", "sequence_taken", "negative_cashback"),
        "buyer_changed",
    }
    assert {each.value for each in Doubt} == {
        *("late", "conflict", "uncertain_order", "after_end", "created_twice", "buyer_changed"),
        *("negative_cashback", "implausible_amount"),
    }
    assert {each.value for each in WaitsFor} == {"create", "sequence"}
    assert {each.value for each in Kind} == {"CREATED", "UPDATED", "CANCELLED", "COMPLETED"}


def test_members_that_a_newer_version_has_written_are_passed_over() -> None:
    """During an upgrade old and new processes read the same stream."""
    stored = sample("cashback-created.v1")
    line, _, body = stored.state.partition(b"\n")
    newer = json.loads(line) | {"novelty": 1}
    newer["message"]["novelty"] = 2
    state = json.dumps(newer).encode() + b"\n" + body
    found = mapper.to_domain_event(StoredEvent(STREAM, 1, stored.topic, state))
    assert found == VERSION_1["cashback-created"]


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        ("no-such-event", b"{}\n{}"),
        ("cashback-created", b""),
        ("cashback-created", b"{"),
        ("cashback-created", b"[]\n"),
        ("cashback-created", b"{}\n"),
        ("cashback-created", b'{"message":5}\n'),
        ("cashback-created", b'{"message":{}}\n'),
        ("cashback-created", b"\xff\n"),
    ],
)
def test_a_row_that_cannot_be_read_names_its_place_and_not_its_content(topic: str, state: bytes) -> None:
    """One kind of error, the library's own."""
    with pytest.raises(MapperDeserialisationError, match=rf"event 9 of stream {STREAM} \({topic}\)"):
        mapper.to_domain_event(StoredEvent(STREAM, 9, topic, state))


def test_a_stored_stream_can_be_folded() -> None:
    """The samples of an order's first two events make an order."""
    order = fold(
        None, [mapper.to_domain_event(sample(f"{topic}.v1")) for topic in ("cashback-created", "cashback-updated")]
    )
    assert order is not None
    assert order.terms is not None
    assert (order.order_id, order.version, order.terms.cashback) == (24_323_523, 2, Decimal(1000))
