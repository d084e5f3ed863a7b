"""What the store made of a topic: everything but the moment of it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from uuid import UUID

import psycopg

from adapters.postgres.event_store import OrderApplication
from domain.order import Order

StoredEvent = tuple[UUID, int, str, str, bytes]
Position = tuple[str, str, int]


@dataclass(frozen=True)
class Stored:
    """Equal exactly if two stores say the same, whenever they were told."""

    events: list[StoredEvent]
    """Stream, version, name, the decision as sorted JSON without its recording time, the message's body."""
    quarantine: list[tuple[Any, ...]]
    positions: Mapping[Position, int]


def stored(database_url: str) -> Stored:
    with psycopg.connect(database_url) as connection:
        events = connection.execute(
            "SELECT originator_id, originator_version, topic, state FROM stored_events ORDER BY 1, 2"
        ).fetchall()
        quarantine = connection.execute(
            "SELECT topic, topic_id, partition, kafka_offset, timestamp_ms, message_key, message_value, headers,"
            " order_id, reason, detail, state FROM quarantine ORDER BY topic, topic_id, partition, kafka_offset"
        ).fetchall()
        return Stored([_timeless(*event) for event in events], quarantine, _positions(connection))


def messages_read(database_url: str, topic: str) -> int:
    """How many records of the topic are behind the positions."""
    return sum(offsets(database_url, topic).values())


def offsets(database_url: str, topic: str) -> Mapping[Position, int]:
    """The positions in topics of this name."""
    with psycopg.connect(database_url) as connection:
        found = _positions(connection)
    return {position: offset for position, offset in found.items() if position[0] == topic}


def orders_stored(database_url: str, order_ids: Iterable[int]) -> dict[int, Order]:
    """Each rebuilt from its stream."""
    store = OrderApplication(database_url)
    try:
        return dict(store.load(order_ids))
    finally:
        store.close()


def _positions(connection: psycopg.Connection) -> Mapping[Position, int]:
    rows = connection.execute("SELECT topic, topic_id, partition, next_offset FROM kafka_position").fetchall()
    return {(topic, topic_id, partition): offset for topic, topic_id, partition, offset in rows}


def _timeless(stream: UUID, version: int, name: str, state: bytes) -> StoredEvent:
    decision, _, body = state.partition(b"\n")
    fields = json.loads(decision)
    del fields["recorded_at_ns"]
    return stream, version, name, json.dumps(fields, sort_keys=True), body


def first_difference(expected: Stored, actual: Stored) -> object:
    """None if there is none; only the first, since pytest takes long to compare thousands."""
    for what in ("events", "quarantine"):
        pairs = zip_longest(getattr(expected, what), getattr(actual, what))
        for number, (wanted, found) in enumerate(pairs):
            if wanted != found:
                return f"{what}[{number}]", wanted, found
    return None if expected.positions == actual.positions else (expected.positions, actual.positions)
