"""Event stores with something in them, filled without a broker."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import psycopg

from adapters.kafka.consumer.intake import Intake
from adapters.kafka.decoding.record import Record
from adapters.postgres.codec import EventMapper
from adapters.postgres.event_store import OrderApplication
from bench.messages import TopicMessage
from domain.events import OrderEvent
from domain.order import Order, fold
from domain.ports import Batch, Loss, Partition, Position
from projections.delivery.ports import Call
from projections.feed import Recorded
from projections.intended_calls import intended_calls

EVENTS_PER_COMMIT: Final = 5_000
_LOG: Final = Partition("bench", "bench", 0)


class _Collector:
    """An event store that only remembers (domain.ports.OrderStore)."""

    def __init__(self) -> None:
        self.events: list[OrderEvent] = []
        self._orders: dict[int, Order] = {}

    def load(self, order_ids: Iterable[int]) -> Mapping[int, Order]:
        return {order_id: self._orders.get(order_id) or Order(order_id) for order_id in order_ids}

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def commit(self, batch: Batch) -> None:
        assert not batch.quarantined, batch.quarantined[0].detail
        self.events += batch.events
        for event in batch.events:
            order_id = event.order_id
            order = fold(self._orders.get(order_id) or Order(order_id), [event])
            assert order is not None
            self._orders[order_id] = order

    def positions(self, topics: Iterable[str]) -> Mapping[Partition, Position]:  # noqa: ARG002 - a port
        return {}

    def stop(self, partition: Partition, position: int, loss: Loss) -> None: ...


def events_of(messages: Sequence[TopicMessage]) -> list[OrderEvent]:
    """What is decided about them; of each order all from the first one on."""
    store = _Collector()
    intake = Intake(store)
    intake.assign([_LOG])
    intake.handle(
        [Record(_LOG, offset, None, each.key, each.value, each.headers) for offset, each in enumerate(messages)]
    )
    return store.events


def stored_beside(message: TopicMessage) -> bytes:
    """What is stored of a message, beside the bytes received."""
    [event] = events_of([message])
    stored = EventMapper().to_stored_event(event)
    return stored.state.removesuffix(message.value)


def append(database_url: str, events: Sequence[OrderEvent]) -> None:
    """In one transaction for every few thousand."""
    store = OrderApplication(database_url)
    try:
        for start in range(0, len(events), EVENTS_PER_COMMIT):
            store.commit(Batch(events[start : start + EVENTS_PER_COMMIT], (), ()))
    finally:
        store.close()


def queues_of(events: Sequence[OrderEvent]) -> list[list[Call]]:
    """The calls that they ask for, order by order: what delivery must make of them."""
    queues: dict[int, list[Call]] = {}
    for each in intended_calls([Recorded(number, event) for number, event in enumerate(events, 1)]):
        call = Call(each.order_id, each.version, each.effect.kind, each.effect.key, each.body)
        queues.setdefault(call.order_id, []).append(call)
    return list(queues.values())


def multiply(database_url: str, events: int) -> int:
    """Copies the streams that are there, under other stream ids, until there are about so many events.

    Says how many there are. The indexes are dropped meanwhile and built again, and statistics are brought up to
    date, as they would be in a store that has grown that far.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        [there] = fetch_row(connection, "SELECT count(*) FROM stored_events")
        copies = events // there - 1
        if copies > 0:
            connection.execute("SET maintenance_work_mem = '512MB'")
            dropped = _drop_indexes(connection)
            connection.execute(
                "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
                " SELECT md5(originator_id::text || copy)::uuid, originator_version, topic, state"
                " FROM generate_series(1, %s) AS copy, stored_events",
                (copies,),
            )
            for statement in dropped:
                connection.execute(statement)
    tidy(database_url)
    return int(there * max(1, copies + 1))


def tidy(database_url: str) -> None:
    """As autovacuum and a checkpoint would leave it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _drop_indexes(connection: psycopg.Connection[Any]) -> list[str]:
    """Returns the statements that make them again."""
    constraints = connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'stored_events'::regclass AND contype IN ('p', 'u')"
    ).fetchall()
    for name, _ in constraints:
        connection.execute(f'ALTER TABLE stored_events DROP CONSTRAINT "{name}"')
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'stored_events'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f'DROP INDEX "{name}"')
    return [
        *(f'ALTER TABLE stored_events ADD CONSTRAINT "{name}" {definition}' for name, definition in constraints),
        *(definition for _, definition in indexes),
    ]


def fetch_row(connection: psycopg.Connection[Any], query: str, parameters: Any = None) -> Any:
    """The first row of the answer, which has one."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row
