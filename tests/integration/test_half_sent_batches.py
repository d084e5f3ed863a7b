"""A batch of which PostgreSQL has a part: whoever sends it may stand still for ever, and nobody else notices."""

import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.postgres.event_store import First, OrderApplication
from domain.ports import Advance, Batch, Fenced, Position, StoreUnavailable
from sandbox.servers.postgres import create_database, drop_database
from tests.support.event_store import sql, store_at, streams
from tests.support.messages import partition_of
from tests.support.postgres_proxy import PostgresProxy, postgres_proxy
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.slow

P0, P1 = partition_of(0), partition_of(1)
MIN_BYTES = 4000
WRITERS_LOCK = 4223372036
LOCKS = (
    "SELECT locktype, relation::regclass::text FROM pg_locks"
    " WHERE pid <> pg_backend_pid() AND locktype <> 'virtualxid'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
def proxy(database_url: str) -> Iterator[PostgresProxy]:
    with postgres_proxy(database_url) as proxy:
        yield proxy


@contextmanager
def half_sent(
    proxy: PostgresProxy, batch: Batch, *, share: float = 0.5, first: First | None = None, is_prepared: bool = True
) -> Iterator[Future[None]]:
    """While the body runs, PostgreSQL has that share of the batch; then the rest, unless the body cuts the wire."""
    store = OrderApplication(proxy.url, pool_size=1)
    with ThreadPoolExecutor(1) as pool:
        try:
            if is_prepared:
                store.commit(Batch(streams([900]), [], [Advance(partition_of(9), None, 0)]))
            proxy.hold_next(min_bytes=MIN_BYTES, share=share)
            under_way = pool.submit(store.commit, batch, first)
            proxy.wait_until_held()
            yield under_way
        finally:
            proxy.release()
            store.close()


@pytest.mark.parametrize("is_prepared", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_batch_that_is_not_there_as_a_whole_holds_no_lock(
    proxy: PostgresProxy, database_url: str, *, share: float, is_prepared: bool
) -> None:
    """Of no kind: neither the one of all writers nor those of its positions. When the rest comes, it is stored."""
    batch = Batch(streams(range(1, 9)), [], [Advance(P0, None, 5)])
    with store_at(database_url) as other, half_sent(proxy, batch, share=share, is_prepared=is_prepared) as sent:
        assert sql(database_url, LOCKS) == []
        other.commit(Batch(streams([100]), [], [Advance(P1, None, 5)]))
        assert not sent.done()
        proxy.release()
        sent.result(DEADLINE_SECONDS)
        assert other.load([1])[1].version == 3


def test_a_batch_whose_positions_were_taken_over_meanwhile_is_fenced(
    proxy: PostgresProxy, database_url: str
) -> None:
    """Its rest comes when another has read on from there: nothing of it is stored."""
    batch = Batch(streams(range(1, 9)), [], [Advance(P0, None, 5)])
    with store_at(database_url) as other, half_sent(proxy, batch) as sent:
        other.commit(Batch(streams(range(1, 5)), [], [Advance(P0, None, 3)]))
        proxy.release()
        with pytest.raises(Fenced):
            sent.result(DEADLINE_SECONDS)
        assert other.positions([P0.topic])[P0] == Position(3)
        assert other.load([8])[8].version == 0


def test_a_batch_whose_rest_never_comes_leaves_nothing(proxy: PostgresProxy, database_url: str) -> None:
    """The wire is cut."""
    batch = Batch(streams(range(1, 9)), [], [Advance(P0, None, 5)])
    with store_at(database_url) as other, half_sent(proxy, batch) as sent:
        proxy.close()
        with pytest.raises(StoreUnavailable):
            sent.result(DEADLINE_SECONDS)
        assert other.load([1])[1].version == 0
        assert P0 not in other.positions([P0.topic])


def test_what_comes_with_a_batch_does_not_hold_the_writers_lock_either(
    proxy: PostgresProxy, database_url: str
) -> None:
    """In a transaction of several statements (a quarantined message is read again), it is taken by the last one."""
    batch = Batch(streams(range(1, 9)), [], [])

    def first(cursor: Cursor[DictRow]) -> None:
        cursor.execute("SELECT FROM quarantine FOR UPDATE")

    with store_at(database_url) as other, half_sent(proxy, batch, first=first):
        assert ("advisory", None) not in sql(database_url, LOCKS)
        other.commit(Batch(streams([100]), [], []))


def test_databases_can_be_dropped_beside_a_half_sent_batch(proxy: PostgresProxy, postgres_server: str) -> None:
    """A backend that read the rows of a COPY let nobody drop any database of its server."""
    with half_sent(proxy, Batch(streams(range(1, 9)), [], [])):
        drop_database(create_database(postgres_server, f"cashback_dropped_{secrets.token_hex(4)}"))


def test_notification_ids_are_handed_out_when_it_is_a_batchs_turn(database_url: str) -> None:
    """And not while it waits: else a later one could commit smaller ids."""
    last_id = "SELECT pg_sequence_last_value(pg_get_serial_sequence('stored_events', 'notification_id'))"
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with store_at(database_url) as store, ThreadPoolExecutor(1) as pool:
        store.commit(Batch(streams([1]), [], []))
        before = sql(database_url, last_id)
        with psycopg.connect(database_url) as another:
            another.execute("SELECT pg_advisory_xact_lock(%s)", (WRITERS_LOCK,))
            waits = pool.submit(store.commit, Batch(streams([2]), [], [Advance(P0, None, 5)]))
            wait_until(lambda: sql(database_url, waiting) == [(1,)], "the batch waits for its turn")
            assert sql(database_url, last_id) == before
        waits.result(DEADLINE_SECONDS)
        assert sql(database_url, last_id) > before
