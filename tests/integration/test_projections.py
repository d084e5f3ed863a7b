"""Projections over a real event store: nothing is missed, nothing is done twice, rows and tracking are one."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from adapters.postgres.event_store import OrderApplication
from adapters.postgres.migrate import migrate
from adapters.postgres.projection_feeds import PostgresFeed, write_intended_calls
from domain.effects import EffectKind
from domain.identifiers import idempotency_key_by_version, stream_id
from domain.messages import Kind
from domain.money import ZERO
from domain.ports import Advance, Batch, Fenced, StaleOrder, StoreUnavailable
from projections import intended_calls as calls_module
from projections import orders
from projections.feed import Recorded
from projections.intended_calls import IntendedCall, intended_calls
from projections.orders import row_of
from projections.reconciliation import Invariant
from projections.runner import Projection
from sandbox.servers.postgres import EmbeddedPostgres
from tests.support.event_store import (
    append,
    calls_projection,
    orders_projection,
    position,
    project,
    sql,
    store_at,
    stream,
    streams,
)
from tests.support.fake_ledger import effect
from tests.support.messages import NOW_NS, partition_of
from tests.support.waiting import DEADLINE_SECONDS, gone, wait_until

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


class Witness:
    """A projection whose rows are the ids of the events that it was given, in a table without a key."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        sql(database_url, "CREATE TABLE IF NOT EXISTS seen (place bigint GENERATED ALWAYS AS IDENTITY, id bigint)")
        sql(database_url, "INSERT INTO projection_position (name) VALUES ('witness') ON CONFLICT DO NOTHING")

    @contextmanager
    def projection(self) -> Iterator[Projection[int]]:
        feed = PostgresFeed(self._url, "witness", _write_ids)
        try:
            yield Projection("witness", feed, lambda events: [event.notification_id for event in events])
        finally:
            feed.close()

    @property
    def seen(self) -> list[int]:
        return [number for (number,) in sql(self._url, "SELECT id FROM seen ORDER BY place")]

    @property
    def stored(self) -> list[int]:
        found = sql(self._url, "SELECT notification_id FROM stored_events ORDER BY notification_id")
        return [number for (number,) in found]


def _write_ids(connection: psycopg.Connection, rows: Sequence[int]) -> None:
    connection.cursor().executemany("INSERT INTO seen (id) VALUES (%s)", [(row,) for row in rows])


@contextmanager
def on_threads(works: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Runs them beside the body; their errors are raised at its end."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)


def ignore(*_: object) -> None:
    pass


class TestTogether:
    def test_rows_and_tracking_commit_together(self, database_url: str) -> None:
        """One batch, one transaction."""
        append(database_url, streams([1, 2]))
        witness = Witness(database_url)
        with witness.projection() as projection:
            assert projection.step(4) == 4
            assert witness.seen == witness.stored[:4]
            assert position(database_url, "witness") == witness.stored[3]
            assert (projection.step(4), projection.step(4)) == (2, 0)
        assert witness.seen == witness.stored

    def test_an_error_while_rows_are_made_leaves_neither(self, database_url: str) -> None:
        """The next attempt gets the same events."""
        append(database_url, streams([1]))
        witness = Witness(database_url)
        feed = PostgresFeed(database_url, "witness", _write_ids)
        try:
            with suppress(ZeroDivisionError), feed.next_batch(10) as batch:
                assert batch is not None
                batch.write([1, 2, 3])
                raise ZeroDivisionError
            assert (witness.seen, position(database_url, "witness")) == ([], 0)
            with feed.next_batch(10) as batch:
                assert batch is not None
                batch.write([event.notification_id for event in batch.events])
            assert witness.seen == witness.stored
        finally:
            feed.close()

    def test_an_error_while_rows_are_written_leaves_neither(self, database_url: str) -> None:
        """It's told as the store's, and the feed goes on by itself when the store has come to its senses."""
        append(database_url, streams([1]))
        witness = Witness(database_url)
        with witness.projection() as projection:
            sql(database_url, "ALTER TABLE seen ADD CONSTRAINT few CHECK (id < 2)")
            with pytest.raises(StoreUnavailable):
                projection.step()
            assert (witness.seen, position(database_url, "witness")) == ([], 0)
            sql(database_url, "ALTER TABLE seen DROP CONSTRAINT few")
            assert projection.step() == 3
        assert witness.seen == witness.stored

    def test_a_process_killed_between_rows_and_commit_leaves_neither(self, database_url: str) -> None:
        """By SIGKILL, with the rows written and the transaction open."""
        append(database_url, streams([1]))
        witness = Witness(database_url)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_BEFORE_COMMIT, database_url],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        with witness.projection() as projection:
            assert projection.step() == 0, "the other process is at it"
            process.send_signal(signal.SIGKILL)
            process.communicate()
            wait_until(lambda: projection.step() == 3, "the projection is free again")
        assert witness.seen == witness.stored


KILLED_BEFORE_COMMIT = """
import sys
from adapters.postgres.projection_feeds import PostgresFeed
from tests.integration.test_projections import _write_ids

with PostgresFeed(sys.argv[1], "witness", _write_ids).next_batch(10) as batch:
    batch.write([each.notification_id for each in batch.events])
    print("written", flush=True)
    sys.stdin.read()
"""


class TestTailing:
    def test_two_runners_of_one_projection_do_nothing_twice(self, database_url: str) -> None:
        """While one is at a batch the other finds none."""
        append(database_url, streams([1]))
        witness = Witness(database_url)
        first = PostgresFeed(database_url, "witness", _write_ids)
        try:
            with first.next_batch(2) as batch, witness.projection() as second:
                assert batch is not None
                assert second.step() == 0
                batch.write([event.notification_id for event in batch.events])
            with witness.projection() as second:
                assert second.step() == 1
        finally:
            first.close()
        assert witness.seen == witness.stored

    def test_every_committed_event_is_seen_once_and_in_order(self, database_url: str) -> None:
        """Six write batches of many sizes and roll back every third, while two runners tail.

        Notification ids must be handed out in the order of commits, or a reader that has seen one would miss a
        smaller one that is committed after it. (Without the advisory lock of sql/intake.sql this test fails.)
        """
        witness = Witness(database_url)
        written, stop = threading.Barrier(7), threading.Event()

        def write(writer: int) -> None:
            with store_at(database_url) as store:
                for number in range(30):
                    order_ids = range(1 + 1000 * writer + 10 * number, 1 + 1000 * writer + 10 * number + number % 9)
                    if number % 3 == 2:
                        _roll_back(store, order_ids)
                    else:
                        store.commit(Batch(streams(order_ids), [], []))
            written.wait(DEADLINE_SECONDS)

        def tail() -> None:
            with witness.projection() as projection:
                while not stop.is_set():
                    projection.step(50)

        works: list[Callable[[], None]] = [lambda writer=writer: write(writer) for writer in range(6)]  # type: ignore[misc]
        with on_threads([*works, tail, tail]):
            try:
                written.wait(DEADLINE_SECONDS)
                wait_until(lambda: len(witness.seen) >= len(witness.stored), "all events seen")
            finally:
                stop.set()
        assert witness.seen == witness.stored
        assert max(witness.stored) > len(witness.stored), "what was rolled back has left gaps"

    def test_a_projection_that_runs_is_woken_by_new_events(self, database_url: str) -> None:
        """Waiting ends long before its time."""
        feed = PostgresFeed(database_url, "orders", _write_ids)
        try:
            feed.wait(0)
            with on_threads([lambda: feed.wait(10 * DEADLINE_SECONDS)]):
                append(database_url, stream(1))
        finally:
            feed.close()

    def test_waiting_is_not_cut_short_by_what_was_read_long_ago(self, database_url: str) -> None:
        """Notifications don't pile up while there is much to do."""
        witness = Witness(database_url)
        feed = PostgresFeed(database_url, "witness", _write_ids)
        try:
            projection = Projection("witness", feed, lambda events: [each.notification_id for each in events])
            projection.step()
            for order_id in range(1, 21):
                append(database_url, stream(order_id))
            assert projection.step() == 60
            assert list(feed._connected().notifies(timeout=0)) == []
        finally:
            feed.close()
        assert witness.seen == witness.stored

    def test_an_event_whose_notification_was_missed_is_found_all_the_same(self, database_url: str) -> None:
        """Runners look again by themselves: a notification only wakes them."""
        witness = Witness(database_url)
        stop = threading.Event()

        def run() -> None:
            with witness.projection() as projection:
                projection.run(stop, ignore, ignore)

        with on_threads([run]):
            try:
                for order_id in (1, 2):
                    append(database_url, stream(order_id)[:1])
                    # Put a second event there in silence, as if its notification had been lost.
                    topic, state = sql(database_url, "SELECT topic, state FROM stored_events LIMIT 1")[0]
                    wait_until(lambda: witness.seen == witness.stored, "the event is seen")
                    sql(
                        database_url,
                        "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
                        " VALUES (gen_random_uuid(), 1, %s, %s)",
                        topic,
                        state,
                    )
                    wait_until(lambda: witness.seen == witness.stored, "the silent event is seen")
            finally:
                stop.set()

    def test_a_projection_outlives_the_loss_of_its_connection(self, database_url: str) -> None:
        """It connects again and goes on."""
        witness = Witness(database_url)
        stop = threading.Event()

        def run() -> None:
            with witness.projection() as projection:
                projection.run(stop, ignore, ignore)

        with on_threads([run]):
            try:
                append(database_url, stream(1))
                wait_until(lambda: witness.seen == witness.stored, "the first events are seen")
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
                wait_until(lambda: bool(sql(database_url, cut, "cashback-witness")), "its connection is cut")
                append(database_url, stream(2))
                wait_until(lambda: witness.seen == witness.stored, "the other events are seen")
            finally:
                stop.set()


def _roll_back(store: OrderApplication, order_ids: Sequence[int]) -> None:
    """Once before any event is written, and once after ids were handed out."""
    events = streams([*order_ids, 10**9])
    with pytest.raises(Fenced):
        store.commit(Batch(events, [], [Advance(partition_of(0), 5, 6)]))
    with pytest.raises(StaleOrder):
        store.commit(Batch([*events, *events[-1:]], [], []))


class TestOrders:
    @pytest.mark.parametrize("limit", [1, 2, 5, 2000])
    def test_each_order_has_one_row_that_says_what_its_stream_says(self, database_url: str, limit: int) -> None:
        """However the events are cut into batches, and however the streams are mixed."""
        kinds = (
            [Kind.CREATED],
            [Kind.CREATED, Kind.UPDATED],
            [Kind.UPDATED, Kind.COMPLETED],
            [*Kind, Kind.CREATED],
        )
        each = [stream(order_id, kinds[order_id % 4]) for order_id in range(1, 13)]
        longest = max(map(len, each))
        append(database_url, [events[n] for n in range(longest) for events in each if n < len(events)])
        project(database_url, limit)
        expected = expected_rows(database_url, range(1, 13))
        assert shown_rows(database_url) == expected

    def test_a_row_never_goes_back(self, database_url: str) -> None:
        """A projection that reads events again leaves rows that are newer as they are."""
        append(database_url, streams([1, 2]))
        project(database_url)
        before = shown_rows(database_url)
        sql(database_url, "UPDATE projection_position SET notification_id = 0")
        with orders_projection(database_url) as projection:
            while projection.step(2):
                assert shown_rows(database_url) == before
        assert position(database_url, orders.NAME) == 6


def expected_rows(database_url: str, order_ids: Sequence[int]) -> list[tuple[object, ...]]:
    with store_at(database_url) as store:
        rows = [row_of(order) for order in store.load(order_ids).values()]
    return [
        (row.order_id, row.version, row.status, row.cashback, row.held, row.rejected, list(row.doubts))
        for row in sorted(rows, key=lambda row: row.order_id)
    ]


def shown_rows(database_url: str) -> list[tuple[object, ...]]:
    columns = "order_id, version, status, cashback, held, rejected, doubts"
    return sql(database_url, f"SELECT {columns} FROM orders ORDER BY order_id")


class TestThirdParty:
    def test_the_ledger_holds_the_calls_that_the_events_ask_for(self, database_url: str) -> None:
        """Key, body and digest of each; and of each order the last version that has one."""
        kinds = [Kind.CREATED, Kind.CREATED, Kind.UPDATED, Kind.COMPLETED, Kind.UPDATED]
        events = [*stream(1, kinds), *stream(2)]
        append(database_url, events)
        with calls_projection(database_url) as projection:
            while projection.step(3):
                pass
        expected = intended_calls([Recorded(0, event) for event in events])
        found = sql(
            database_url,
            "SELECT order_id, version, kind, idempotency_key, body, body_digest, state, attempts FROM effect"
            " ORDER BY order_id, version",
        )
        assert found == [
            (call.order_id, call.version, call.effect.kind, call.effect.key, call.body, call.digest, "due", 0)
            for call in expected
        ]
        heads = sql(database_url, "SELECT order_id, head_version, settled_version FROM delivery ORDER BY order_id")
        assert heads == [(1, 4, 0), (2, 3, 0)]

    def test_reading_the_events_again_changes_nothing(self, database_url: str) -> None:
        """What was sent stays sent."""
        append(database_url, streams([1, 2]))
        project(database_url)
        sql(database_url, "UPDATE delivery SET settled_version = 2, attempts = 3, parked_at = now()")
        sql(database_url, "UPDATE effect SET state = 'delivered', attempts = 1 WHERE version < 3")
        tables = ("SELECT * FROM effect ORDER BY 1, 2", "SELECT * FROM delivery ORDER BY 1")
        before = [sql(database_url, table) for table in tables]
        sql(database_url, "UPDATE projection_position SET notification_id = 0")
        project(database_url)
        assert [sql(database_url, table) for table in tables] == before
        assert position(database_url, calls_module.NAME) == 6

    def test_calls_that_are_older_than_keys_by_content_keep_their_keys(self, database_url: str) -> None:
        """Also when their events are read again; the calls that come later have theirs by content."""
        events = [*stream(1), *stream(2, (Kind.CREATED,))]
        append(database_url, events[:2])
        project(database_url)
        sql(database_url, "ALTER TABLE effect DISABLE TRIGGER effect_stays")
        old = {version: idempotency_key_by_version(stream_id(1), version) for version in (1, 2)}
        for version, key in old.items():
            sql(database_url, f"UPDATE effect SET idempotency_key = '{key}' WHERE version = {version}")
        sql(database_url, "ALTER TABLE effect ENABLE TRIGGER effect_stays")
        append(database_url, events[2:])
        sql(database_url, "UPDATE projection_position SET notification_id = 0")
        project(database_url)
        last, other = intended_calls([Recorded(0, event) for event in events[2:]])
        found = sql(database_url, "SELECT version, idempotency_key FROM effect ORDER BY order_id, version")
        assert found == [*old.items(), (3, last.effect.key), (1, other.effect.key)]
        assert sql(database_url, "SELECT order_id FROM delivery WHERE parked_at IS NOT NULL") == []

    def test_an_order_is_corrected_any_number_of_times(self, database_url: str) -> None:
        """A correction is no second end; a second end still stops its order."""
        asked = [(1, EffectKind.CREATE), (2, EffectKind.COMPLETE), (3, EffectKind.CORRECT), (4, EffectKind.CORRECT)]
        calls = [IntendedCall(7, version, effect(7, version, kind), b"{}", NOW_NS, ZERO) for version, kind in asked]
        with psycopg.connect(database_url) as connection:
            write_intended_calls(connection, calls)
        again = IntendedCall(7, 5, effect(7, 5, EffectKind.COMPLETE), b"{}", NOW_NS, ZERO)
        heard: list[tuple[int, Invariant]] = []
        with psycopg.connect(database_url) as connection:
            write_intended_calls(connection, [again], lambda *said: heard.append(said))
        assert sql(database_url, "SELECT version, kind FROM effect ORDER BY version") == asked
        assert heard == [(7, Invariant.ENDED_ONCE)]


def test_a_crash_of_postgresql_sets_rows_and_position_back_together(tmp_path: Path) -> None:
    """Projections don't wait for the disk. What a crash takes is made again, and is the same."""
    with EmbeddedPostgres(tmp_path) as server:
        url = server.url
        migrate(url)
        sql(url, "ALTER SYSTEM SET wal_writer_delay = '10s'")  # nobody else writes to the disk what they leave
        sql(url, "SELECT pg_reload_conf()")
        events = streams(range(1, 30))
        append(url, events)
        with calls_projection(url) as calls:
            assert calls.step() == len(events)
            before = _effects(url)
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: gone(server.pid), "the end of the server")
        server.stop()
        url = server.start()
        assert position(url, calls_module.NAME) == (len(events) if _effects(url) else 0)
        project(url)
        assert _effects(url) == before
        assert len(before) == len(intended_calls([Recorded(n, event) for n, event in enumerate(events, 1)]))


def _effects(url: str) -> list[tuple[Any, ...]]:
    return sql(url, "SELECT order_id, version, kind, body FROM effect ORDER BY order_id, version")
