"""The event store as the projections see it (projections/feed.py), on one connection of its own each."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, Literal, TypeVar
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent

from adapters.postgres.codec import EventMapper
from adapters.postgres.connections import BoundedConnection, conninfo, translated
from adapters.postgres.sql import statements
from domain.ports import OnRewind, RewindSign, StoreUnavailable
from projections.doubt_marks import BrokenStream, DoubtMark, LedgerRow
from projections.feed import Recorded
from projections.intended_calls import IntendedCall
from projections.orders import OrderRow
from projections.reconciliation import BROKEN, Invariant

STATEMENT_TIMEOUT_SECONDS: Final = 60

ANOTHER_STANDS_SECONDS: Final = 30.0
"""Longer than a batch takes. A process that is frozen in one is cut off by PostgreSQL after a minute."""

# What a projection writes follows from the events, and moves with its position: a crash of PostgreSQL sets both
# back together. Nobody is called because of rows that can still be lost: a claim's commit waits for the disk, and
# with it goes all that was written to the log before.
_SYNCHRONOUS_COMMIT: Final = "off"

_SQL = statements("projections")
_mapper = EventMapper()

Row = TypeVar("Row")
Connection = psycopg.Connection[tuple[Any, ...]]
Writer = Callable[[Connection, Sequence[Row]], None]
_Handled = tuple[int, UUID, int]
"""An event that was handled: its notification id, its stream and its version."""


class PostgresBatch(Generic[Row]):
    """One batch inside its transaction."""

    def __init__(self, connection: Connection, events: Sequence[Recorded], writer: Writer[Row]) -> None:
        self._connection = connection
        self._writer = writer
        self.events = events

    def write(self, rows: Sequence[Row]) -> None:
        if rows:
            self._writer(self._connection, rows)


class PostgresFeed(Generic[Row]):
    """For one thread at a time. Connects when it is first used, and again after an outage."""

    def __init__(  # noqa: PLR0913 - its parts, each replaceable in tests
        self,
        database_url: str,
        name: str,
        writer: Writer[Row],
        *,
        forget: Callable[[Connection], None] = lambda _: None,
        on_rewind: OnRewind = lambda *_: None,
        connect: Callable[..., Connection] = BoundedConnection[tuple[Any, ...]].connect,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`forget` takes away what the projection has written, where it can be written anew; `on_rewind` hears when
        the database is seen to have gone back in time."""
        self._database_url = database_url
        self._name = name
        self._writer = writer
        self._forget = forget
        self._on_rewind = on_rewind
        self._connect = connect
        self._monotonic = monotonic
        self._connection: Connection | None = None
        self._last: _Handled | None = None
        self._was_checked = False
        self._others_place: tuple[int, float] | None = None
        """A position that another process holds, and since when it has stood there with events behind it."""

    @contextmanager
    def next_batch(self, limit: int) -> Iterator[PostgresBatch[Row] | None]:
        with translated(), self._closing_on_error():
            connection = self._connected()
            with connection.transaction():
                locked = connection.execute(_SQL["lock_position"], (self._name,)).fetchone()
                for _ in connection.notifies(timeout=0):
                    pass  # of what this batch reads; kept for `wait`, they would pile up while there is much to do
                if locked is None:
                    self._check_that_another_works(connection)
                    yield None
                    return
                self._others_place = None
                self._look_back(connection)
                events = _next_events(connection, locked[0], limit)
                if not events and self._is_ahead(connection, locked[0]):
                    self._forget(connection)
                    connection.execute(_SQL["move_position"], (0, self._name))
                yield PostgresBatch(connection, events, self._writer)
                if events:
                    connection.execute(_SQL["move_position"], (events[-1].notification_id, self._name))
            if events:
                last = events[-1]
                self._last = last.notification_id, last.event.originator_id, last.event.originator_version

    def _look_back(self, connection: Connection) -> None:
        """On a new connection: is what was handled last still there? Where the position went back with it, the
        projection only goes on from there."""
        if self._last is not None and not self._was_checked:
            last, self._last = self._last, None
            found = connection.execute(_SQL["event_at"], (last[0],)).fetchone()
            if found == last[1:]:
                self._last = last
            else:
                what = f"event {last[0]}, which {self._name} had handled, isn't there any more"
                self._on_rewind(RewindSign.PROJECTION, what)
        self._was_checked = True

    def _is_ahead(self, connection: Connection, position: int) -> bool:
        """Whether the projection has read further than the events go: it must start over, or it would pass over
        those that get the same ids. With events behind its position it has not."""
        [end] = connection.execute(_SQL["last_event"]).fetchone() or (0,)
        if position <= end:
            return False
        self._on_rewind(
            RewindSign.PROJECTION, f"{self._name} has read up to event {position}, and the last is {end}"
        )
        return True

    def wait(self, timeout_seconds: float) -> None:
        try:
            for _ in self._connected().notifies(timeout=timeout_seconds, stop_after=1):
                pass
        except psycopg.Error:
            self.close()  # the next batch finds out what is wrong

    def _check_that_another_works(self, connection: Connection) -> None:
        """Raises StoreUnavailable if the one that holds the position hasn't moved it for long, and events wait."""
        row = connection.execute(_SQL["others_position"], (self._name,)).fetchone()
        if row is None:
            raise StoreUnavailable(f"there is no position of the projection {self._name}")
        position, events_wait = row
        now = self._monotonic()
        if not events_wait or self._others_place is None or self._others_place[0] != position:
            self._others_place = position, now
        elif now - self._others_place[1] > ANOTHER_STANDS_SECONDS:
            raise StoreUnavailable("another session holds the projection's position, and doesn't move it")

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._connect(
                conninfo(
                    self._database_url,
                    application_name=f"cashback-{self._name}",
                    statement_timeout=f"{STATEMENT_TIMEOUT_SECONDS}s",
                    synchronous_commit=_SYNCHRONOUS_COMMIT,
                ),
                autocommit=True,
            )
            connection.execute("LISTEN cashback_events")
            self._connection = connection
            self._was_checked = False
        return self._connection


def _next_events(connection: Connection, after: int, limit: int) -> list[Recorded]:
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(_SQL["next_events"], (after, limit), prepare=True).fetchall()
        read = {row[1:3] for row in rows}
        bases = [(stream, version - 1) for _, stream, version, *_ in rows if version > 1]
        unread = [base for base in bases if base not in read]
        columns = ([stream for stream, _ in unread], [version for _, version in unread])
        lacking = set(cursor.execute(_SQL["lacking"], columns, prepare=True)) if unread else set[Any]()
    return [
        Recorded(row[0], _mapper.to_domain_event(StoredEvent(*row[1:])), is_broken=(row[1], row[2] - 1) in lacking)
        for row in rows
    ]


def forget_orders(connection: Connection) -> None:
    """All rows of the operators' read model; they are made anew."""
    connection.execute(_SQL["forget_orders"])


def write_orders(
    connection: Connection, rows: Sequence[OrderRow], table: Literal["orders", "orders_rebuilt"] = "orders"
) -> None:
    """Writes the operators' read model, or a new one that is being built beside it."""
    rows = sorted(rows, key=lambda row: row.order_id)
    columns = (
        [row.order_id for row in rows],
        [row.version for row in rows],
        [row.status for row in rows],
        [row.buyer_id for row in rows],
        [row.store_no for row in rows],
        [row.cashback for row in rows],
        [row.held for row in rows],
        [row.rejected for row in rows],
        [row.superseded for row in rows],
        [",".join(row.doubts) for row in rows],
        [row.held_since_ns for row in rows],
        [row.recorded_at_ns for row in rows],
        [row.held_cashback for row in rows],
        [row.at_stake for row in rows],
        [row.doubtful_since_ns for row in rows],
        [row.began_at_ns for row in rows],
    )
    statement = _SQL["upsert_orders"].replace("INTO orders", f"INTO {table}", 1)
    connection.execute(statement, columns, prepare=True)


def write_ledger_rows(
    connection: Connection,
    rows: Sequence[LedgerRow],
    on_broken: Callable[[int, Invariant], None] = lambda *_: None,
) -> None:
    """As `write_intended_calls`, and marks the orders that are doubtful, or not any more, or whose streams are
    broken."""
    marks = [row for row in rows if isinstance(row, DoubtMark)]
    calls = [row for row in rows if isinstance(row, IntendedCall)]
    broken = [row.order_id for row in rows if isinstance(row, BrokenStream)]
    if marks:
        connection.execute(_SQL["lock_cursors"], ([row.order_id for row in rows],))
        flags = ([mark.order_id for mark in marks], [mark.is_doubtful for mark in marks])
        connection.execute(_SQL["mark_doubtful"], flags)
        connection.execute(_SQL["notify_due"])
    if calls:
        write_intended_calls(connection, calls, on_broken)
    if broken:  # last: what its events ask for is noted, and waits
        connection.execute(_SQL["park_broken_streams"], (broken, f"{BROKEN}{Invariant.STREAM_IS_WHOLE}"))
        for order_id in broken:
            on_broken(order_id, Invariant.STREAM_IS_WHOLE)


def write_intended_calls(
    connection: Connection,
    calls: Sequence[IntendedCall],
    on_broken: Callable[[int, Invariant], None] = lambda *_: None,
) -> None:
    """Adds to the effect ledger, and moves the heads of the orders' cursors.

    A call that would credit or end an order a second time is not added: its order is parked, and
    `on_broken(order_id, invariant)` hears of it (again, if this transaction must be tried again). All others go on.
    """
    order_ids = [call.order_id for call in calls]
    versions = [call.version for call in calls]
    effects = (
        order_ids,
        versions,
        [call.effect.kind for call in calls],
        [call.effect.key for call in calls],
        [call.body for call in calls],
        [call.digest for call in calls],
    )
    added = connection.execute(_SQL["insert_effects"], effects, prepare=True).rowcount
    postings = (*effects[:3], [call.recorded_ns for call in calls], [call.cashback for call in calls])
    connection.execute(_SQL["insert_postings"], postings, prepare=True)
    connection.execute(_SQL["upsert_delivery"], (order_ids, versions), prepare=True)
    if added < len(calls):  # the others were there before, unless they may not be there
        broken = connection.execute(_SQL["park_broken"], effects[:3]).fetchall()
        for order_id, invariant in broken:
            on_broken(order_id, Invariant(invariant))
    connection.execute(_SQL["notify_due"])
