"""What the third party is told: which calls, with which keys and dates."""

from typing import Any

from domain.effects import Effect, EffectKind, effect_of
from domain.events import Refusal, type_of_topic
from domain.identifiers import idempotency_key, stream_id
from tests.support.messages import NOON_NS, ORDER_ID, History, cancelled, completed, created, updated

LIFECYCLE = [
    created(offset=0),
    updated(at_ns=1, offset=1, cashback="4"),
    updated(at_ns=2, offset=2, cashback="5"),
    completed(at_ns=3, offset=3),
]


def test_each_accepted_event_asks_for_one_call() -> None:
    """Create, updates, end, in the order of the stream; the key is a function of order, call and message."""
    history = History(*LIFECYCLE)
    kinds = [EffectKind.CREATE, EffectKind.UPDATE, EffectKind.UPDATE, EffectKind.COMPLETE]
    stream = stream_id(ORDER_ID)
    assert history.effects == [
        Effect(kind, stream, version, idempotency_key(stream, kind, said))
        for version, (kind, said) in enumerate(zip(kinds, LIFECYCLE, strict=True), 1)
    ]
    (cancel,) = History(created(), cancelled(at_ns=1, offset=1)).effects[1:]
    assert cancel.kind is EffectKind.CANCEL


def test_the_words_for_calls_never_change() -> None:
    """They are in the keys that the third party remembers, and in stored rows."""
    assert [kind.value for kind in EffectKind] == ["create", "update", "cancel", "complete", "correct"]


def test_no_other_event_asks_for_a_call() -> None:
    """Held, superseded, rejected and seen elsewhere are our own affair."""
    fields: dict[str, Any] = {
        "originator_id": stream_id(ORDER_ID),
        "originator_version": 1,
        "recorded_at_ns": 0,
        "effective_at_ns": 0,
        "message": created(),
        "waits_for": "create",
        "superseded_by_version": 1,
        "refusal": Refusal.LATE,
        "decided_by": "support",
        "reason": "asked the shop",
        "settled": (),
        "first": 2,
        "last": 3,
    }
    quiet = {topic for topic in type_of_topic if not topic.startswith("cashback-")}
    assert quiet == {
        *("message-held", "update-superseded", "message-rejected", "repeat-seen-elsewhere"),
        *("correction-not-needed", "doubt-settled", "gap-accepted", "create-given-up", "event-lost"),
    }
    for topic in quiet:
        event_type = type_of_topic[topic]
        known = {name: fields[name] for name in event_type.__struct_fields__ if name in fields}
        assert effect_of(event_type(**known)) is None


def test_the_dates_that_the_third_party_is_given_never_go_back() -> None:
    """An update with an older date, later on the partition, is stated with the date of the call before it."""
    history = History(
        created(at_ns=10),
        updated(at_ns=30, offset=1),
        updated(at_ns=20, offset=2),
        updated(at_ns=31, offset=3),
        completed(at_ns=5, offset=4),
    )
    assert [event.stated_at_ns - NOON_NS for event in history.accepted] == [10, 30, 30, 31, 31]


def test_a_date_before_1970_is_stated_as_it_is() -> None:
    """No date counts as missing because it is negative or zero."""
    history = History(
        created(at_ns=-NOON_NS - 5), updated(at_ns=-NOON_NS, offset=1), updated(at_ns=-NOON_NS - 1, offset=2)
    )
    assert [event.stated_at_ns for event in history.accepted] == [-5, 0, 0]
