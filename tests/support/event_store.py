"""Orders' streams for the event store on PostgreSQL, and ways to look at what the projections made of them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from msgspec.structs import replace

from adapters.postgres.event_store import OrderApplication
from adapters.postgres.projection_feeds import PostgresFeed, write_ledger_rows, write_orders
from domain.decision import DEFAULT_POLICY, Policy, decide
from domain.events import MessageEvent, OrderEvent
from domain.identifiers import stream_id
from domain.messages import Kind
from domain.order import Order, fold
from domain.ports import Batch
from projections import doubt_marks, intended_calls, orders
from projections.doubt_marks import LedgerRow
from projections.orders import OrderRow
from projections.runner import Projection
from tests.support.decoding import read
from tests.support.messages import NOW_NS, record_of

LIFECYCLE: Final = (Kind.CREATED, Kind.UPDATED, Kind.COMPLETED)


def stream(
    order_id: int, kinds: Sequence[Kind] = LIFECYCLE, *, partition: int = 0, policy: Policy = DEFAULT_POLICY
) -> list[MessageEvent]:
    """What is decided about an order's messages, which come in their order."""
    order, events = Order(order_id), list[MessageEvent]()
    for number, kind in enumerate(kinds):
        message = read(record_of(kind, order_id=order_id, at_ns=number, offset=number, partition=partition))
        decided = decide(order, message, now_ns=NOW_NS, policy=policy)
        order = fold(order, decided) or order
        events += decided
    return events


def streams(order_ids: Iterable[int], kinds: Sequence[Kind] = LIFECYCLE) -> list[MessageEvent]:
    return [event for order_id in order_ids for event in stream(order_id, kinds)]


def renumbered(events: Iterable[MessageEvent], by: int) -> list[MessageEvent]:
    """The same streams of orders whose ids are greater by so much; quicker than deciding anew."""
    return [
        replace(
            event,
            originator_id=stream_id(event.message.order_id + by),
            message=replace(event.message, order_id=event.message.order_id + by),
        )
        for event in events
    ]


@contextmanager
def store_at(database_url: str) -> Iterator[OrderApplication]:
    store = OrderApplication(database_url)
    try:
        yield store
    finally:
        store.close()


def append(database_url: str, events: Sequence[OrderEvent]) -> None:
    """In one transaction."""
    with store_at(database_url) as store:
        store.commit(Batch(events, [], []))


@contextmanager
def orders_projection(database_url: str) -> Iterator[Projection[OrderRow]]:
    feed = PostgresFeed(database_url, orders.NAME, write_orders)
    try:
        with store_at(database_url) as store:
            yield Projection(orders.NAME, feed, orders.OrderRows(store.load))
    finally:
        feed.close()


@contextmanager
def calls_projection(database_url: str) -> Iterator[Projection[LedgerRow]]:
    feed = PostgresFeed(database_url, intended_calls.NAME, write_ledger_rows)
    try:
        yield Projection(intended_calls.NAME, feed, doubt_marks.ledger_rows)
    finally:
        feed.close()


def project(database_url: str, limit: int = 2000) -> None:
    """Until both projections have seen everything."""
    with orders_projection(database_url) as rows:
        while rows.step(limit):
            pass
    with calls_projection(database_url) as calls:
        while calls.step(limit):
            pass


def sql(database_url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Runs one statement, without placeholders unless there are parameters."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def position(database_url: str, name: str) -> int:
    [(found,)] = sql(database_url, "SELECT notification_id FROM projection_position WHERE name = %s", name)
    assert isinstance(found, int)
    return found
