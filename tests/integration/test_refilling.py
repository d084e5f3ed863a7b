"""Columns of the read model that came with a later release are filled while the service runs."""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from decimal import Decimal
from typing import Final

import psycopg
import pytest

from adapters.postgres.migrate import migrate, migrations
from adapters.postgres.order_row_refill import ROWS_PER_STEP, refill, refill_for_ever
from adapters.postgres.projection_feeds import write_orders
from adapters.postgres.rebuild import rebuild
from domain.messages import Kind
from domain.order import fold
from domain.ports import StoreUnavailable
from projections.orders import OrderRow, row_of
from sandbox.servers.free_port import free_port
from sandbox.servers.postgres import create_database, drop_database
from tests.integration.test_migrations import make_version
from tests.support.event_store import append, project, sql, store_at, stream, streams
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.slow

ENDS_TWICE: Final = (Kind.CREATED, Kind.CANCELLED, Kind.COMPLETED)
"""What leaves a doubt."""
NEW_COLUMNS: Final = ("held_cashback", "at_stake", "doubtful_since_ns", "began_at_ns")
NEW: Final = (
    "SELECT order_id, held_cashback, at_stake, doubtful_since_ns, began_at_ns FROM orders ORDER BY order_id"
)
UNFILLED: Final = "SELECT count(*) FROM orders WHERE began_at_ns IS NULL"


@pytest.fixture
def release_before(postgres_server: str) -> Iterator[str]:
    """A database made by the migrations of the release before these columns came."""
    url = create_database(postgres_server, f"cashback_before_{secrets.token_hex(4)}")
    make_version(url, next(each.number for each in migrations() if each.name == "money_may_be_wrong") - 1)
    yield url
    drop_database(url)


def put_row_as_before(database_url: str, row: OrderRow) -> None:
    """As the release before writes it."""
    names = [field.name for field in fields(OrderRow) if field.name not in NEW_COLUMNS]
    values = [
        list(value) if isinstance(value, tuple) else value for value in (getattr(row, name) for name in names)
    ]
    places = ", ".join(["%s"] * len(names))
    sql(database_url, f"INSERT INTO orders ({', '.join(names)}) VALUES ({places})", *values)


def refilled(database_url: str) -> int:
    with store_at(database_url) as store:
        return refill(database_url, store.load)


def differences(database_url: str) -> list[str]:
    found = rebuild(database_url, (), lambda *_: None, check=True).differences
    return [f"{each.order_id}: {each.what}" for each in found]


def test_a_database_of_the_release_before_fills_up_after_its_migration(release_before: str) -> None:
    """Its lists are there all the time; at the end all is as if made anew, and nothing is left to do."""
    number = ROWS_PER_STEP + 2
    append(
        release_before,
        [*streams(range(1, number)), *stream(number, ENDS_TWICE), *stream(number + 1, [Kind.UPDATED])],
    )
    with store_at(release_before) as store:
        for order in store.load(range(1, number + 2)).values():
            put_row_as_before(release_before, row_of(order))
    last = "(SELECT max(notification_id) FROM stored_events)"
    sql(release_before, f"UPDATE projection_position SET notification_id = {last} WHERE name = 'orders'")

    migrate(release_before)
    assert sql(release_before, "SELECT count(*) FROM orders") == [(number + 1,)]
    assert sql(release_before, UNFILLED) == [(number + 1,)]

    assert refilled(release_before) == number + 1
    with store_at(release_before) as store:
        expected = [row_of(order) for order in store.load(range(1, number + 2)).values()]
    assert sql(release_before, NEW) == [
        (row.order_id, *(getattr(row, name) for name in NEW_COLUMNS)) for row in expected
    ]
    assert expected[number - 1].at_stake is not None
    project(release_before)
    assert differences(release_before) == []
    assert refilled(release_before) == 0


def test_rows_of_old_processes_are_found_in_the_next_round(database_url: str) -> None:
    """They go on while they are being replaced: new orders lack the columns, and so do doubts that they add."""
    append(database_url, [*streams([1, 2]), *stream(3, ENDS_TWICE)])
    project(database_url)
    assert refilled(database_url) == 0
    sql(database_url, "UPDATE orders SET began_at_ns = NULL WHERE order_id = 1")
    sql(database_url, "UPDATE orders SET at_stake = NULL, doubtful_since_ns = NULL WHERE order_id = 3")
    assert refilled(database_url) == 2
    assert differences(database_url) == []


def test_a_row_is_never_set_back(database_url: str) -> None:
    """What the projection has written meanwhile stays; a row without a stream is left alone."""
    append(database_url, stream(1, [Kind.CREATED]))
    project(database_url)
    with store_at(database_url) as store:
        old = dict(store.load([1, 2]))
        append(database_url, stream(1)[1:])
        project(database_url)
        sql(database_url, "UPDATE orders SET began_at_ns = NULL")
        sql(
            database_url,
            "INSERT INTO orders (order_id, version, status, held, rejected, superseded, doubts, recorded_at_ns)"
            " VALUES (2, 1, 'PENDING', 0, 0, 0, '{}', 1)",
        )
        assert refill(database_url, lambda _: old) == 2
    assert sql(database_url, "SELECT order_id, version, began_at_ns FROM orders ORDER BY 1") == [
        (1, 3, None),
        (2, 1, None),
    ]


def test_several_processes_share_the_work(database_url: str) -> None:
    """None waits for another, and each row is made anew."""
    append(database_url, streams(range(1, 2001)))
    project(database_url)
    sql(database_url, "UPDATE orders SET began_at_ns = NULL")
    threads = [threading.Thread(target=refilled, args=(database_url,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    refilled(database_url)
    assert sql(database_url, UNFILLED) == [(0,)]
    assert differences(database_url) == []


def test_it_goes_on_beside_the_service_until_told_to_stop(database_url: str) -> None:
    """Without a wait at the end; an outage is told apart from the end of the work."""
    append(database_url, streams(range(1, 11)))
    project(database_url)
    sql(database_url, "UPDATE orders SET began_at_ns = NULL")
    stop = threading.Event()
    with store_at(database_url) as store:
        running = threading.Thread(target=refill_for_ever, args=(database_url, store.load, stop))
        running.start()
        try:
            wait_until(lambda: sql(database_url, UNFILLED) == [(0,)], "the last row")
        finally:
            stop.set()
            running.join(DEADLINE_SECONDS)
        assert not running.is_alive()
    nowhere = f"postgresql://127.0.0.1:{free_port()}/none"
    with pytest.raises(StoreUnavailable):
        refill(nowhere, lambda _: {})


def test_an_update_of_an_order_stays_in_its_block(database_url: str) -> None:
    """No index has a column that an ordinary UPDATED changes: the row changes in place (HOT)."""
    events = stream(1, [Kind.CREATED, Kind.UPDATED])
    with psycopg.connect(database_url) as connection:
        for last in (1, 2):
            order = fold(None, events[:last])
            assert order is not None
            write_orders(connection, [replace(row_of(order), cashback=Decimal(last))])
        changed = "pg_stat_get_xact_tuples_updated('orders'::regclass)"
        in_place = "pg_stat_get_xact_tuples_hot_updated('orders'::regclass)"
        assert connection.execute(f"SELECT {changed}, {in_place}").fetchone() == (1, 1)
