"""A stream that lacks an event stops its own order, which says so and can be repaired; nothing else stops."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from adapters.kafka.consumer.intake import Intake
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.projection_feeds import PostgresFeed, write_ledger_rows
from domain.events import Doubt
from domain.identifiers import stream_id
from domain.messages import Kind
from projections import doubt_marks, intended_calls
from projections.doubt_marks import LedgerRow
from projections.reconciliation import Invariant
from projections.runner import Projection
from tests.support.event_store import append, project, sql, stream, streams
from tests.support.messages import partition_of, record_of
from tests.support.processes import run_app

pytestmark = pytest.mark.slow

P0 = partition_of(0)
BROKEN, WHOLE = 7, 8
PARKED = "SELECT order_id, parked_reason, is_doubtful FROM delivery WHERE parked_at IS NOT NULL"


@pytest.fixture
def store(database_url: str) -> Iterator[OrderApplication]:
    found = OrderApplication(database_url)
    yield found
    found.close()


def break_stream(database_url: str, version: int = 2) -> None:
    """Orders BROKEN and WHOLE are stored, then an event of the first is gone."""
    append(database_url, streams([BROKEN, WHOLE]))
    lose = "DELETE FROM stored_events WHERE originator_id = %s AND originator_version = %s"
    sql(database_url, lose, stream_id(BROKEN), version)


def test_intake_keeps_the_messages_of_a_broken_order_and_reads_on(
    database_url: str, store: OrderApplication
) -> None:
    """They are in quarantine, by name, until the stream is repaired; no other order waits."""
    break_stream(database_url)
    intake = Intake(store)
    intake.assign([P0])
    outcome = intake.handle(
        [
            record_of(Kind.UPDATED, order_id=order_id, at_ns=9, offset=number)
            for number, order_id in enumerate((7, 9))
        ]
    )
    assert (dict(outcome.decisions), dict(outcome.quarantined)) == ({"message-held": 1}, {"stream_broken": 1})
    assert sql(database_url, "SELECT order_id, reason, detail FROM quarantine") == [
        (BROKEN, "stream_broken", "the order's stream lacks the versions 2")
    ]
    assert intake.positions == {P0: 2}


@pytest.mark.parametrize("version", [1, 2])
def test_projections_go_on_and_park_the_broken_order(database_url: str, version: int) -> None:
    """With its calls noted, none of which goes out; the others are as ever."""
    break_stream(database_url, version)
    told: list[tuple[int, Invariant]] = []

    def write(connection: psycopg.Connection[Any], rows: Sequence[LedgerRow]) -> None:
        write_ledger_rows(connection, rows, lambda order_id, broken: told.append((order_id, broken)))

    project(database_url)
    sql(database_url, "UPDATE projection_position SET notification_id = 0 WHERE name = 'third-party'")
    feed: PostgresFeed[LedgerRow] = PostgresFeed(database_url, intended_calls.NAME, write)
    assert Projection(intended_calls.NAME, feed, doubt_marks.ledger_rows).step() == 5
    feed.close()
    assert told == [(BROKEN, Invariant.STREAM_IS_WHOLE)]
    assert sql(database_url, PARKED) == [(BROKEN, "invariant: stream_is_whole", False)]
    shown = sql(database_url, "SELECT order_id, version, status FROM orders ORDER BY 1")
    assert shown == [(BROKEN, 3, "NOT_CREATED" if version == 1 else "PENDING"), (WHOLE, 3, "COMPLETED")]


@pytest.mark.parametrize(("version", "status"), [(1, "COMPLETED"), (2, "COMPLETED"), (3, "PENDING")])
def test_a_person_repairs_it(
    database_url: str, store: OrderApplication, tmp_path: Path, version: int, status: str
) -> None:
    """What is behind counts again, with a doubt; what waited in quarantine can be read, and what was lost can be
    published again."""
    append(database_url, stream(BROKEN)[:3])
    intake = Intake(store)
    intake.assign([P0])
    intake.handle([record_of(Kind.UPDATED, order_id=BROKEN, at_ns=7, offset=5)])
    lost = stream(BROKEN)[version - 1].message
    lose = "DELETE FROM stored_events WHERE originator_id = %s AND originator_version = %s"
    sql(database_url, lose, stream_id(BROKEN), version)
    project(database_url)
    intake.assign([P0])
    intake.handle([record_of(Kind.UPDATED, order_id=BROKEN, at_ns=9, offset=9)])

    def run(*arguments: str, code: int = 0) -> str:
        done = run_app(*arguments, folder=tmp_path, settings={"database_url": database_url})
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    assert f"order 7: its stream lacks the versions {version}: `repair` it" in run("rebuild", "--check", code=1)
    assert "lacks the versions" in run("settle", "7", "--reason", "x", code=1)
    foretold = json.loads(run("repair", "7", "--dry-run", "--json"))
    assert foretold["events"] == [{"version": version, "event": "event-lost", "type": None}]
    assert "have the shop publish the order's messages again" in run("repair", "7", "--reason", "a disk was lost")

    order = store.load([BROKEN])[BROKEN]
    assert (order.version, order.missing, order.status) == (4, (), status)
    assert Doubt.UNCERTAIN_ORDER in order.doubts
    assert sql(database_url, PARKED) == []
    assert sql(database_url, "SELECT is_doubtful FROM delivery") == [(True,)]
    assert sql(database_url, "SELECT action, reason FROM operator_action") == [("repair", "a disk was lost")]
    project(database_url)
    assert "the read models agree" in run("rebuild", "--check")
    assert "lacks no event" in run("repair", "7", "--reason", "x", code=1)

    [(kept,)] = sql(database_url, "SELECT id FROM quarantine WHERE reason = 'stream_broken'")
    assert "retried" in run("quarantine", str(kept), "--retry", "--reason", "repaired")
    again = record_of(lost.kind, order_id=BROKEN, at_ns=version - 1, offset=20)
    assert "repeat" not in intake.handle([again]).decisions
    assert store.load([BROKEN])[BROKEN].version == 6


def test_a_repair_waits_for_the_lease_of_whoever_was_at_work(database_url: str, tmp_path: Path) -> None:
    """A call may be under way that was begun before the order was parked: no other may overlap it."""
    break_stream(database_url)
    project(database_url)
    claimed = "claimed_at = now(), claimed_head = head_version, next_attempt_at = now() + interval '1 hour'"
    sql(database_url, f"UPDATE delivery SET {claimed} WHERE order_id = %s", BROKEN)
    arguments = ("repair", str(BROKEN), "--reason", "a disk was lost")
    done = run_app(*arguments, folder=tmp_path, settings={"database_url": database_url})
    assert done.returncode == 0, done.stderr
    assert sql(database_url, PARKED) == []
    waits = "SELECT next_attempt_at > now() + interval '30 minutes' FROM delivery WHERE order_id = %s"
    assert sql(database_url, waits, BROKEN) == [(True,)]
