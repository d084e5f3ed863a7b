"""Rebuilding from a real event store: what it counts, what it finds, and that it harms nobody meanwhile."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from adapters.postgres.rebuild import RebuildRunning, Result, rebuild, rebuild_read_models
from domain.identifiers import idempotency_key_by_version, stream_id
from domain.lifecycle import Status
from domain.messages import Kind
from domain.ports import Batch
from projections.rebuild import Difference
from tests.support.event_store import (
    append,
    calls_projection,
    orders_projection,
    project,
    sql,
    store_at,
    stream,
    streams,
)
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.slow

DIFFERS = "differs from what the events say"
STRAY_ROW = (
    "INSERT INTO orders SELECT 99, version, status, buyer_id, store_no, cashback, held, rejected, superseded,"
    " doubts, held_since_ns, recorded_at_ns FROM orders WHERE order_id = 2"
)
STRAY_CALLS = (
    "INSERT INTO effect SELECT 99, version, kind, idempotency_key, body, body_digest FROM effect WHERE order_id = 2"
)


def no_progress(_done: int, _total: int) -> None:
    pass


def check(database_url: str, *order_ids: int) -> list[Difference]:
    return rebuild(database_url, order_ids, no_progress, check=True).differences


@pytest.fixture
def told(database_url: str) -> str:
    """A database with four orders, projected: pending, completed, cancelled, held."""
    ends = {1: [Kind.CREATED], 2: [Kind.CREATED, Kind.UPDATED, Kind.COMPLETED], 3: [Kind.CREATED, Kind.CANCELLED]}
    append(database_url, [*(event for order_id in ends for event in stream(order_id, ends[order_id]))])
    append(database_url, stream(4, [Kind.COMPLETED]))
    project(database_url)
    return database_url


class TestCounting:
    def test_all_orders_are_folded_and_counted(self, told: str) -> None:
        """By status, with their money; the progress ends at all events."""
        steps: list[tuple[int, int]] = []
        tally = rebuild(told, [], lambda done, total: steps.append((done, total))).tally
        assert (tally.orders, tally.events) == (4, 7)
        assert tally.by_status == dict.fromkeys(
            (Status.PENDING, Status.COMPLETED, Status.CANCELLED, Status.NOT_CREATED), 1
        )
        assert tally.cashback == dict.fromkeys((Status.PENDING, Status.COMPLETED, Status.CANCELLED), Decimal(6))
        assert steps[-1] == (7, 7)

    def test_only_the_orders_named_are_rebuilt(self, told: str) -> None:
        """One that is named twice counts once, one that isn't there not at all."""
        tally = rebuild(told, [2, 99, 2], no_progress).tally
        assert (tally.orders, tally.events, tally.by_status) == (1, 3, {Status.COMPLETED: 1})

    def test_an_empty_store_is_rebuilt_to_nothing(self, database_url: str) -> None:
        """And agrees with its read models."""
        assert rebuild(database_url, [], no_progress, check=True) == Result()
        assert rebuild_read_models(database_url, no_progress) == Result()


class TestChecking:
    def test_read_models_that_the_projections_made_agree(self, told: str) -> None:
        """All of them, and those of one order."""
        assert check(told) == []
        assert check(told, 2) == []

    @pytest.mark.parametrize(
        ("damage", "order_id", "what"),
        [
            ("UPDATE orders SET cashback = 7 WHERE order_id = 2", 2, f"cashback {DIFFERS}"),
            (
                "UPDATE orders SET status = 'PENDING' WHERE order_id = 2",
                2,
                f"status {DIFFERS}",
            ),
            (
                "UPDATE orders SET doubts = '{late}' WHERE order_id = 3",
                3,
                f"doubts {DIFFERS}",
            ),
            (
                "UPDATE orders SET version = 2 WHERE order_id = 2",
                2,
                "the read model is at version 2 and should be at 3",
            ),
            ("DELETE FROM orders WHERE order_id = 4", 4, "the read model lacks the order"),
            (
                "UPDATE effect SET body = 'x' WHERE (order_id, version) = (2, 2)",
                2,
                "the ledger's call of version 2 has another body",
            ),
            (
                "UPDATE effect SET body = 'x', body_digest = sha256('x') WHERE (order_id, version) = (2, 2)",
                2,
                "the ledger's call of version 2 has another body",
            ),
            (
                "UPDATE effect SET idempotency_key = gen_random_uuid() WHERE (order_id, version) = (3, 1)",
                3,
                "the ledger's call of version 1 has another key",
            ),
            (
                "DELETE FROM effect WHERE (order_id, version) = (3, 2)",
                3,
                "the ledger lacks the call of version 2",
            ),
            (
                "INSERT INTO effect SELECT 1, 9, 'update', idempotency_key, body, body_digest FROM effect LIMIT 1",
                1,
                "the ledger has a call of version 9, which no event asks for",
            ),
            (
                "UPDATE delivery SET is_doubtful = true WHERE order_id = 2",
                2,
                "the ledger has it as doubtful, and it isn't",
            ),
        ],
    )
    def test_every_kind_of_damage_is_found(self, told: str, damage: str, order_id: int, what: str) -> None:
        """And named, with its order; also if only that order is checked, and not if only another one is."""
        sql(told, "ALTER TABLE effect DISABLE TRIGGER effect_stays")  # or there could be no damage
        sql(told, damage)
        assert Difference(order_id, what) in check(told)
        assert {difference.order_id for difference in check(told)} == {order_id}
        assert Difference(order_id, what) in check(told, order_id)
        assert check(told, 1 + order_id % 4) == []

    def test_a_ledger_that_is_older_than_keys_by_content_agrees(self, told: str) -> None:
        """With its keys by version; with none but those, and those that a person asked for."""
        sql(told, "ALTER TABLE effect DISABLE TRIGGER effect_stays")
        for order_id, version in sql(told, "SELECT order_id, version FROM effect"):
            key = idempotency_key_by_version(stream_id(order_id), version)
            where = f"(order_id, version) = ({order_id}, {version})"
            sql(told, f"UPDATE effect SET idempotency_key = '{key}' WHERE {where}")
        assert check(told) == []
        sql(
            told,
            "INSERT INTO replaced_key (order_id, version, generation, idempotency_key, state, attempts,"
            " last_attempt_id) SELECT order_id, version, 0, idempotency_key, state, attempts, 0 FROM effect"
            " WHERE order_id = 2",
        )
        renewed = "UPDATE effect SET idempotency_key = gen_random_uuid(), generation = 1, nonce = 'n'"
        sql(told, f"{renewed} WHERE order_id = 2")
        assert check(told) == []
        sql(told, "UPDATE effect SET idempotency_key = gen_random_uuid() WHERE (order_id, version) = (3, 1)")
        assert check(told) == [Difference(3, "the ledger's call of version 1 has another key")]

    @pytest.mark.parametrize(
        ("damage", "what"),
        [
            (STRAY_ROW, "the read model has 1 orders that have no stream"),
            (STRAY_CALLS, "the effect ledger has 1 orders that have no stream"),
        ],
    )
    def test_orders_that_have_no_stream_are_found(self, told: str, damage: str, what: str) -> None:
        """When all are checked."""
        sql(told, damage)
        assert check(told) == [Difference(0, what)]

    def test_a_projection_that_lags_is_no_difference(self, told: str) -> None:
        """What it hasn't read yet can't be in its rows; what it has read must be right."""
        append(told, streams(range(10, 20)))
        assert check(told) == []
        with orders_projection(told) as rows, calls_projection(told) as calls:
            while rows.step(7) + calls.step(4):
                assert check(told) == []
        sql(told, "DELETE FROM orders WHERE order_id = 15")
        assert check(told) == [Difference(15, "the read model lacks the order")]

    def test_checking_while_the_service_is_at_work_finds_nothing(self, database_url: str) -> None:
        """Orders come, projections run at their own pace, and each check sees one moment."""
        with at_work(database_url) as written:
            wait_until(lambda: len(written) > 5, "the first orders")
            checks = [rebuild(database_url, [], no_progress, check=True) for _ in range(10)]
        assert [result.differences for result in checks] == [[]] * 10
        assert checks[-1].tally.orders > 0


class TestReadModels:
    def test_the_read_model_is_made_anew(self, told: str) -> None:
        """Whatever was wrong with it is gone; what the projection made stays as it was."""
        before = rows(told)
        sql(told, "UPDATE orders SET cashback = 7, version = 99")
        sql(told, "DELETE FROM orders WHERE order_id = 4")
        sql(told, STRAY_ROW)
        assert rebuild_read_models(told, no_progress).tally.orders == 4
        assert rows(told) == before
        assert check(told) == []

    def test_the_projection_goes_on_from_there(self, told: str) -> None:
        """Also if it had read nothing, or claims to have read everything."""
        for claimed in (0, 10**6):
            sql(told, "UPDATE projection_position SET notification_id = %s WHERE name = 'orders'", claimed)
            rebuild_read_models(told, no_progress)
            append(told, stream(1000 + claimed))
            project(told)
            assert check(told) == []
            assert len(rows(told)) == 5 + (claimed > 0)

    def test_readers_always_see_all_rows(self, database_url: str) -> None:
        """While it is made anew again and again, beside a projection that runs and a store that grows."""
        append(database_url, streams(range(5001, 5301)))
        project(database_url)
        seen: list[int] = []
        stop = threading.Event()

        def read() -> None:
            with psycopg.connect(database_url, autocommit=True) as connection:
                while not stop.is_set():
                    row = connection.execute("SELECT count(*) FROM orders WHERE order_id > 5000").fetchone()
                    seen.append(row[0] if row else -1)

        reader = threading.Thread(target=read)
        with at_work(database_url) as written:
            reader.start()
            try:
                for _ in range(5):
                    rebuild_read_models(database_url, no_progress)
                    reached = len(written)
                    wait_until(lambda reached=reached: len(written) > reached, "another order")  # type: ignore[misc]
            finally:
                stop.set()
                reader.join(DEADLINE_SECONDS)
        project(database_url)
        assert set(seen) == {300}
        assert check(database_url) == []
        assert len(rows(database_url)) == 300 + len(written)

    def test_a_reader_with_an_older_snapshot_keeps_its_rows(self, told: str) -> None:
        """Such as a check that began before."""
        with psycopg.connect(told) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT 1 FROM stored_events LIMIT 1")
            rebuild_read_models(told, no_progress)
            assert connection.execute("SELECT count(*) FROM orders").fetchone() == (4,)

    def test_of_two_at_once_one_is_told_so(self, told: str) -> None:
        """And leaves everything as it was."""
        errors: list[RebuildRunning] = []

        def second(_done: int, _total: int) -> None:
            try:
                rebuild_read_models(told, no_progress)
            except RebuildRunning as error:
                errors.append(error)

        rebuild_read_models(told, second)
        assert {str(error) for error in errors} == {"the read models are being rebuilt by another process"}
        assert check(told) == []

    def test_a_rebuild_that_fails_leaves_the_old_read_model(self, told: str) -> None:
        """As it was, and nothing of its own."""
        before = rows(told)

        def fail(_done: int, _total: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            rebuild_read_models(told, fail)
        assert rows(told) == before
        rebuild_read_models(told, no_progress)
        assert rows(told) == before


def rows(database_url: str) -> list[tuple[Any, ...]]:
    return sql(database_url, "SELECT * FROM orders ORDER BY order_id")


@contextmanager
def at_work(database_url: str) -> Iterator[Sequence[int]]:
    """Orders come one after the other, and both projections follow; gives the order ids written so far."""
    written: list[int] = []
    stop = threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        with store_at(database_url) as store:
            while not stop.is_set() and len(written) < 4000:
                events = stream(len(written) + 1)
                for event in events:
                    store.commit(Batch([event], [], []))
                written.append(events[0].order_id)

    def follow(projection: Any) -> None:
        with projection(database_url) as running:
            running.run(stop, lambda *_: None, lambda *_: None)

    def guarded(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            errors.append(error)

    works = [(write,), (follow, orders_projection), (follow, calls_projection)]
    threads = [threading.Thread(target=guarded, args=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield written
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
    assert errors == []
