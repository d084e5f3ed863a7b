"""The event store on PostgreSQL: the eventsourcing library's application and recorder, with batches.

One batch is one transaction, and one statement: events, quarantined messages, and the positions of all partitions,
each by compare-and-set (adapters/postgres/sql/intake.sql, docs/adr/0012-a-batch-is-one-statement.md).
"""

import base64
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import eventsourcing.persistence as library
import psycopg
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import ConnectionPool, PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection, Cursor
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from adapters.postgres.codec import EventMapper
from adapters.postgres.connections import (
    BoundedConnection,
    ConnectFailure,
    check_answers,
    closed_if_unusable,
    conninfo,
    reason_of,
    translated,
)
from adapters.postgres.lineage import History, Lineage, read_lineage
from adapters.postgres.sql import statements
from domain.identifiers import stream_id
from domain.order import Order, fold
from domain.ports import (
    Advance,
    Batch,
    Fenced,
    Loss,
    OnRewind,
    Partition,
    Position,
    Quarantined,
    RewindSign,
    Rewound,
    StaleOrder,
    StoreUnavailable,
)

POOL_TIMEOUT_SECONDS: Final = 3.0
"""How long to wait for a connection before the store counts as unavailable; it is made in the background."""
IDLE_IN_TRANSACTION_SECONDS: Final = 5
"""A process that stands still in a transaction of several statements is cut off after this: it may hold the lock
that all writers need."""
TRANSACTION_TIMEOUT_SECONDS: Final = 60
"""The same if it stands still while it sends a statement, which counts as busy. PostgreSQL 16 can't do it."""
LOCK_TIMEOUT_SECONDS: Final = 30
"""How long a batch waits for the batches of other processes before it is given up, to be tried again."""
STATEMENT_TIMEOUT_SECONDS: Final = 60

# The library silences the pool, which alone can tell why there is no connection.
logging.getLogger("psycopg.pool").setLevel(logging.WARNING)

First = Callable[[Cursor[DictRow]], None]

_SQL = statements("intake")
_mapper = EventMapper()


class StoreConnection(BoundedConnection[DictRow]):
    """Knows the history that it works on."""

    lineage: Lineage | None = None


class OrderDatastore(PostgresDatastore):
    """The library's datastore, with a connection string (so that TLS and the rest can be set there)."""

    def __init__(self, database_url: str, *, pool_size: int, pool: ConnectionPool[Any] | None = None) -> None:
        super().__init__(
            dbname="",
            host="",
            port="",
            user="",
            password="",
            idle_in_transaction_session_timeout=IDLE_IN_TRANSACTION_SECONDS,
        )
        self.failure = ConnectFailure()
        self.pool = pool or ConnectionPool(
            conninfo(
                database_url,
                application_name="cashback-store",
                statement_timeout=f"{STATEMENT_TIMEOUT_SECONDS}s",
                lock_timeout=f"{LOCK_TIMEOUT_SECONDS}s",
                idle_in_transaction_session_timeout=f"{IDLE_IN_TRANSACTION_SECONDS}s",
            ),
            connection_class=StoreConnection,
            kwargs={
                "row_factory": dict_row,
                "autocommit": True,
                "failure": self.failure,
            },
            min_size=1,
            max_size=pool_size,
            open=False,
            configure=_configure,
            check=check_answers,
            timeout=POOL_TIMEOUT_SECONDS,
            # When it gives up it begins anew at the next request; else its pauses grow as long as the outage.
            reconnect_timeout=POOL_TIMEOUT_SECONDS,
        )

    @contextmanager
    def get_connection(self) -> Iterator[Connection[DictRow]]:
        with super().get_connection() as connection, closed_if_unusable(connection):
            yield connection

    def register_type_adapters(self) -> None:
        """The library's composite types serve its database functions, which we don't use: nothing to ask for."""


def _configure(connection: Connection[Any]) -> None:
    """What the connection string can't say."""
    # One type for integers of all sizes: else each mixture of sizes would be a statement of its own to prepare.
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    connection.execute(_SQL["limit_transactions"], (f"{TRANSACTION_TIMEOUT_SECONDS}s",))
    if isinstance(connection, StoreConnection):
        connection.lineage = read_lineage(connection)


class OrderRecorder(PostgresApplicationRecorder):
    """Stores a batch's events, positions and quarantine in one transaction."""

    def __init__(self, datastore: OrderDatastore, on_rewind: OnRewind) -> None:
        super().__init__(datastore)
        self._on_rewind = on_rewind
        self._history = History(on_rewind)
        self._last: StoredEvent | None = None
        """Of those that were stored with positions."""

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        quarantined: Sequence[Quarantined] = (),
        advances: Sequence[Advance] = (),
        first: First | None = None,
        **_: Any,
    ) -> None:
        """Raises Fenced if a position was moved by another, or if the server isn't the one that the positions were
        read from; the library's IntegrityError if a stream was moved; as either if it lacks what came before."""
        columns = {
            **_position_columns(advances),
            **_quarantine_columns(quarantined),
            **_base_columns(stored_events),
            "streams": [event.originator_id for event in stored_events],
            "versions": [event.originator_version for event in stored_events],
            "names": [event.topic for event in stored_events],
            "states": [event.state for event in stored_events],
        }
        with (
            self.datastore.get_connection() as connection,
            connection.transaction() if first else nullcontext(),
            connection.cursor() as cursor,
        ):
            if advances and self._has_changed(connection):
                raise Fenced("the server was restarted, or is another one, since the positions were read")
            if first is not None:
                first(cursor)
            try:
                [fence] = cursor.execute(_SQL["store_batch"], columns, prepare=True)
            except psycopg.errors.UniqueViolation as error:
                if error.diag.table_name == "kafka_position":
                    raise Fenced("a position was stored first by another consumer") from error
                raise
            if fence["lacking"]:
                found = f"{fence['lacking']} orders lack events that were there when these were decided"
                raise Rewound(RewindSign.STREAM, found) if advances else library.IntegrityError(found)
            if not fence["holds"]:
                expected = sum(advance.expected is not None for advance in advances)
                raise Fenced(
                    f"{expected - fence['held']} of {expected} positions were moved or stopped by another consumer"
                )
        if advances and stored_events:
            self._last = stored_events[-1]

    def select_streams(self, stream_ids: Sequence[UUID]) -> list[StoredEvent]:
        with self.datastore.get_connection() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(_SQL["select_streams"], (stream_ids,), prepare=True)
            return [
                StoredEvent(row["originator_id"], row["originator_version"], row["topic"], row["state"])
                for row in cursor
            ]

    def select_positions(self, topics: Iterable[str]) -> dict[Partition, Position]:
        """From here on batches build on the server that answers."""
        with self.datastore.get_connection() as connection:
            self._has_changed(connection)
            rows = connection.execute(_SQL["select_positions"], (list(topics),)).fetchall()
            if self._last is not None and not _has_event(connection, self._last):
                stream, version = self._last.originator_id, self._last.originator_version
                self._last = None
                self._on_rewind(RewindSign.EVENT, f"event {version} of stream {stream} was stored, and isn't there")
        return dict(map(position_of, rows))

    def _has_changed(self, connection: Connection[DictRow]) -> bool:
        assert isinstance(connection, StoreConnection)
        return connection.lineage is not None and self._history.has_changed(connection.lineage)

    def stop_position(self, partition: Partition, position: int, loss: Loss) -> bool:
        """False if there's no such position."""
        where = {
            "topic": partition.topic,
            "topic_id": partition.topic_id,
            "partition": partition.number,
            "position": position,
            "loss": loss,
        }
        with self.datastore.get_connection() as connection:
            return connection.execute(_SQL["stop_position"], where).rowcount == 1


@dataclass(frozen=True, slots=True)
class _Prepared(Batch):
    """A batch with its events as they are stored."""

    stored: Sequence[StoredEvent] = ()


class OrderApplication(Application[UUID]):
    """The library's application over our recorder; `domain.ports.OrderStore` for intake. `pool`: another one than
    its own."""

    def __init__(
        self,
        database_url: str,
        *,
        pool_size: int = 2,
        on_rewind: OnRewind = lambda *_: None,
        pool: ConnectionPool[Any] | None = None,
    ) -> None:
        """`on_rewind` hears when the database is seen to have gone back in time, on the thread that sees it."""
        self._datastore = OrderDatastore(database_url, pool_size=pool_size, pool=pool)
        self._on_rewind = on_rewind
        super().__init__(env={})

    def construct_mapper(self) -> EventMapper:
        return _mapper

    def construct_recorder(self) -> OrderRecorder:
        return OrderRecorder(self._datastore, self._on_rewind)

    def load(self, order_ids: Iterable[int]) -> Mapping[int, Order]:
        wanted = {stream_id(order_id): Order(order_id) for order_id in order_ids}
        orders = {order.order_id: order for order in wanted.values()}
        assert isinstance(self.recorder, OrderRecorder)
        with self._translated():
            stored = self.recorder.select_streams(list(wanted))
        for originator_id, stream in groupby(stored, key=lambda event: event.originator_id):
            assert isinstance(originator_id, UUID)
            order = fold(wanted[originator_id], map(_mapper.to_domain_event, stream))
            assert order is not None
            orders[order.order_id] = order
        return orders

    def get(self, order_id: int) -> Order | None:
        """One order rebuilt from its stream by the library's repository; None if it has none."""
        with self._translated():
            try:
                return self.repository.get(stream_id(order_id), projector_func=fold)
            except AggregateNotFoundError:
                return None

    def prepare(self, batch: Batch) -> _Prepared:
        stored = [_mapper.to_stored_event(event) for event in batch.events]
        return _Prepared(batch.events, batch.quarantined, batch.advances, stored)

    def commit(self, batch: Batch, first: First | None = None) -> None:
        """`first` is done in the same transaction, before the rest; if it raises, nothing is stored."""
        prepared = batch if isinstance(batch, _Prepared) else self.prepare(batch)
        assert isinstance(self.recorder, OrderRecorder)
        with self._translated():
            self.recorder.insert_events(
                prepared.stored, quarantined=batch.quarantined, advances=batch.advances, first=first
            )

    def positions(self, topics: Iterable[str]) -> Mapping[Partition, Position]:
        assert isinstance(self.recorder, OrderRecorder)
        with self._translated():
            return self.recorder.select_positions(topics)

    def stop(self, partition: Partition, position: int, loss: Loss) -> None:
        assert isinstance(self.recorder, OrderRecorder)
        with self._translated():
            is_noted = self.recorder.stop_position(partition, position, loss)
        if not is_noted:
            raise Fenced("the position at which a loss was found has been moved by another consumer")

    def close(self) -> None:
        super().close()
        self._datastore.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The library's errors in the words of the port: those of the driver, which it wraps, as everywhere."""
        with translated(self._datastore.failure):
            try:
                yield
            except library.IntegrityError as error:
                raise StaleOrder(str(error)) from error
            except library.PersistenceError as error:
                if isinstance(error.__cause__, psycopg.Error):
                    raise error.__cause__ from error
                raise StoreUnavailable(reason_of(error)) from error


def position_of(row: Mapping[str, Any]) -> tuple[Partition, Position]:
    """A row of `kafka_position`."""
    loss = None if row["loss"] is None else Loss(row["loss"])
    position = Position(row["next_offset"], row["leader_epoch"], loss)
    return Partition(row["topic"], row["topic_id"], row["partition"]), position


def _has_event(connection: Connection[DictRow], event: StoredEvent) -> bool:
    """This very one: decided anew, it would have another time."""
    row = connection.execute(_SQL["select_event"], (event.originator_id, event.originator_version)).fetchone()
    return row is not None and bytes(row["state"]) == event.state


def _base_columns(stored_events: Sequence[StoredEvent]) -> dict[str, Any]:
    """The event before the first new one of each stream."""
    firsts: dict[Any, int] = {}
    for event in stored_events:
        firsts.setdefault(event.originator_id, event.originator_version)
    bases = [(stream, version - 1) for stream, version in firsts.items() if version > 1]
    return {"bases": [stream for stream, _ in bases], "base_versions": [version for _, version in bases]}


def _position_columns(advances: Sequence[Advance]) -> dict[str, Any]:
    return {
        "topics": [advance.partition.topic for advance in advances],
        "topic_ids": [advance.partition.topic_id for advance in advances],
        "partitions": [advance.partition.number for advance in advances],
        "expected": [advance.expected for advance in advances],
        "next": [advance.next_offset for advance in advances],
        "leader_epochs": [advance.leader_epoch for advance in advances],
    }


def _quarantine_columns(quarantined: Sequence[Quarantined]) -> dict[str, Any]:
    return {
        "q_topics": [each.partition.topic for each in quarantined],
        "q_topic_ids": [each.partition.topic_id for each in quarantined],
        "q_partitions": [each.partition.number for each in quarantined],
        "q_offsets": [each.offset for each in quarantined],
        "q_timestamps_ms": [each.timestamp_ms for each in quarantined],
        "q_keys": [each.key for each in quarantined],
        "q_values": [each.value for each in quarantined],
        "q_headers": [Jsonb(_headers_kept(each), dumps=json.dumps) for each in quarantined],
        "q_order_ids": [each.order_id for each in quarantined],
        "q_reasons": [each.reason for each in quarantined],
        "q_details": [each.detail for each in quarantined],
    }


def _headers_kept(quarantined: Quarantined) -> list[list[str | None]]:
    """Values in base64: they are any bytes."""
    return [
        [name, None if value is None else base64.b64encode(value).decode()] for name, value in quarantined.headers
    ]
