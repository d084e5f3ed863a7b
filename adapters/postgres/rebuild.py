"""Reads all streams in one snapshot, page by page, to rebuild orders and to compare or replace the read model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import psycopg
from eventsourcing.persistence import StoredEvent

from adapters.postgres.codec import EventMapper
from adapters.postgres.connections import BoundedConnection, conninfo
from adapters.postgres.projection_feeds import write_orders
from adapters.postgres.sql import statements
from domain.errors import CashbackError
from domain.identifiers import stream_id
from domain.intervention import format_numbers
from domain.lifecycle import Status
from projections import intended_calls, orders
from projections.doubt_marks import is_rightly_marked
from projections.feed import Recorded
from projections.orders import OrderRow, row_of
from projections.rebuild import (
    Difference,
    LedgerCall,
    Positions,
    RebuildCounts,
    differences_of_calls,
    differences_of_row,
    fold_stream,
)

EVENTS_PER_FETCH: Final = 5000
ORDERS_PER_PAGE: Final = 500
MAX_KEPT_DIFFERENCES: Final = 1000
_REBUILD_LOCK: Final = 4223372038

_SQL = statements("rebuild")
_mapper = EventMapper()

Connection = psycopg.Connection[tuple[Any, ...]]
Stream = Sequence[Recorded]
Progress = Callable[[int, int], None]
"""Called with the events read so far, and with about how many there are."""


class RebuildRunning(CashbackError):
    """Another process is rebuilding the read model just now."""


@dataclass(slots=True)
class Result:
    """What was found; the first differences, and how many there are in all."""

    tally: RebuildCounts = field(default_factory=RebuildCounts)
    differences: list[Difference] = field(default_factory=list)
    difference_count: int = 0

    def note(self, difference: Difference) -> None:
        self.difference_count += 1
        if len(self.differences) < MAX_KEPT_DIFFERENCES:
            self.differences.append(difference)


def rebuild(database_url: str, order_ids: Sequence[int], progress: Progress, *, check: bool = False) -> Result:
    """Folds the streams of the orders, of all if none is named, and compares them if asked to.

    Memory stays the same however many there are. Raises psycopg.Error.
    """
    result = Result()
    with _snapshot(database_url) as connection:
        positions = _positions(connection)
        rows_met, ledger_met = 0, 0
        for page in _pages(connection, order_ids, progress):
            ids = [stream[0].event.order_id for stream in page]
            rows = _rows(connection, ids) if check else {}
            calls = _calls(connection, ids) if check else {}
            marked = _doubtful(connection, ids) if check else set()
            rows_met += len(rows)
            ledger_met += len(calls)
            for order_id, stream in zip(ids, page, strict=True):
                order = fold_stream(stream)
                result.tally.add(order, len(stream))
                for first, last in order.missing:
                    versions = format_numbers((first, last))
                    result.note(Difference(order_id, f"its stream lacks the versions {versions}: `repair` it"))
                if check:
                    for found in differences_of_row(stream, rows.get(order_id), positions.orders):
                        result.note(found)
                    for found in differences_of_calls(stream, calls.get(order_id, {}), positions.third_party):
                        result.note(found)
                    is_marked = order_id in marked
                    if not is_rightly_marked(stream, is_doubtful=is_marked, position=positions.third_party):
                        said = "doubtful" if is_marked else "free of doubt"
                        result.note(Difference(order_id, f"the ledger has it as {said}, and it isn't"))
        if check and not order_ids:
            for known, met, name in zip(
                connection.execute(_SQL["count_rows"]).fetchone() or (0, 0),
                (rows_met, ledger_met),
                ("read model", "effect ledger"),
                strict=True,
            ):
                if known != met:
                    result.note(Difference(0, f"the {name} has {known - met} orders that have no stream"))
    return result


def rebuild_read_models(database_url: str, progress: Progress) -> Result:
    """Makes the operators' read model anew from all streams, and puts it in the place of the old one at once.

    The service may run meanwhile: its projection goes on from where this rebuild has read. Raises RebuildRunning
    or psycopg.Error, and then the old read model is as it was.
    """
    result = Result()
    with _connect(database_url) as connection, connection.transaction():
        locked = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_REBUILD_LOCK,)).fetchone()
        if not locked or not locked[0]:
            raise RebuildRunning("the read models are being rebuilt by another process")
        connection.execute(_SQL["begin_rebuilt"])
        with _snapshot(database_url) as snapshot:
            last = _last_notification(snapshot)
            for page in _pages(snapshot, (), progress):
                folded = [(fold_stream(stream), len(stream)) for stream in page]
                for order, events in folded:
                    result.tally.add(order, events)
                write_orders(connection, [row_of(order) for order, _ in folded], table="orders_rebuilt")
        connection.execute(_SQL["lock_projection"])
        connection.execute(_SQL["forget_rows"])
        connection.execute(_SQL["put_rows"])
        connection.execute(_SQL["set_position"], (last,))
    return result


def _connect(database_url: str) -> Connection:
    """Each statement may take as long as it takes; and while the streams are read, the transaction that writes them
    stands still between two pages."""
    return BoundedConnection[tuple[Any, ...]].connect(
        conninfo(database_url, application_name="cashback-rebuild", idle_in_transaction_session_timeout="0"),
        autocommit=True,
        answer_seconds=None,
    )


@contextmanager
def _snapshot(database_url: str) -> Iterator[Connection]:
    """One state of the database, however long we read."""
    with _connect(database_url) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield connection


def _pages(connection: Connection, order_ids: Sequence[int], progress: Progress) -> Iterator[list[Stream]]:
    """Whole streams, some hundred at a time."""
    total = _last_notification(connection)
    done = 0
    with connection.cursor("streams", binary=True) as cursor:
        cursor.itersize = EVENTS_PER_FETCH
        if order_ids:
            cursor.execute(_SQL["some_streams"], ([stream_id(order_id) for order_id in order_ids],))
        else:
            cursor.execute(_SQL["all_streams"])
        page: list[Stream] = []
        for _, rows in groupby(cursor, key=lambda row: row[1]):
            stream = [Recorded(row[0], _mapper.to_domain_event(StoredEvent(*row[1:]))) for row in rows]
            page.append(stream)
            done += len(stream)
            if len(page) == ORDERS_PER_PAGE:
                progress(done, max(total, done))
                yield page
                page = []
        if page:
            yield page
    progress(done, done)


def _last_notification(connection: Connection) -> int:
    row = connection.execute(_SQL["last_notification"]).fetchone()
    return row[0] if row else 0


def _positions(connection: Connection) -> Positions:
    found: dict[str, int] = dict(connection.execute(_SQL["positions"]).fetchall())
    return Positions(orders=found[orders.NAME], third_party=found[intended_calls.NAME])


def _rows(connection: Connection, order_ids: Sequence[int]) -> dict[int, OrderRow]:
    found = connection.execute(_SQL["order_rows"], (list(order_ids),))
    names = [column.name for column in found.description or ()]
    rows = (dict(zip(names, row, strict=True)) for row in found)
    return {
        row["order_id"]: OrderRow(**row | {"status": Status(row["status"]), "doubts": tuple(row["doubts"])})
        for row in rows
    }


def _doubtful(connection: Connection, order_ids: Sequence[int]) -> set[int]:
    return {order_id for (order_id,) in connection.execute(_SQL["doubtful_orders"], (list(order_ids),))}


def _calls(connection: Connection, order_ids: Sequence[int]) -> dict[int, dict[int, LedgerCall]]:
    found: dict[int, dict[int, LedgerCall]] = {}
    for order_id, version, kind, key, digest in connection.execute(_SQL["ledger_calls"], (list(order_ids),)):
        found.setdefault(order_id, {})[version] = LedgerCall(kind, key, bytes(digest))
    return found
