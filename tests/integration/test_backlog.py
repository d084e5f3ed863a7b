"""What waits and what stands still, counted in a real PostgreSQL."""

import asyncio
from contextlib import closing
from typing import Final

import pytest

from adapters.kafka.consumer.intake import Intake
from adapters.postgres import backlog as counting
from adapters.postgres.backlog import PostgresBacklog
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.pool import Database
from adapters.records.status import Backlog
from domain.intervention import Author, release
from domain.messages import Kind
from domain.ports import Batch
from tests.support.messages import record, record_of
from tests.support.running_api import RecordingThirdParty, deliver, project, refuse, sql, tell

pytestmark = pytest.mark.slow

HOUR: Final = 3600


def counted(database_url: str) -> Backlog:
    async def count() -> Backlog:
        async with Database(database_url) as database:
            return await PostgresBacklog(database).backlog()

    return asyncio.run(count())


def about(seconds: float) -> object:
    """What is that old had an hour to grow older."""
    return pytest.approx(seconds + HOUR / 2, abs=HOUR / 2)


def test_each_thing_that_waits_is_counted_with_its_age(
    database_url: str,
) -> None:
    """Parked orders aren't waiting; what a person has set going again is as old as that; a projection is as far
    behind as the first event that it hasn't handled."""
    nothing = counted(database_url)
    assert nothing[:6] == ((0, 0.0), (0, 0.0), (0, 0.0), (0, 0.0), 0, 0)
    assert nothing.projections == {"orders": (0, 0.0), "third-party": (0, 0.0)}

    tell(
        database_url,
        record_of(Kind.CREATED, order_id=1, offset=1),
        record_of(Kind.CREATED, order_id=2, offset=2),
        record_of(Kind.UPDATED, order_id=3, offset=3),  # held
        record(b"{", offset=4),
    )
    deliver(database_url, RecordingThirdParty(refuse(2)))
    sql(database_url, "UPDATE delivery SET parked_at = now() - interval '3 h' WHERE order_id = 2")
    sql(database_url, "UPDATE quarantine SET quarantined_at = now() - interval '4 h'")
    sql(
        database_url,
        "UPDATE orders SET held_since_ns = extract(epoch FROM now() - interval '5 h') * 1e9 WHERE order_id = 3",
    )
    found = counted(database_url)
    assert (found.waiting, found.parked) == ((0, 0.0), (1, about(3 * HOUR)))
    assert (found.quarantined, found.held) == ((1, about(4 * HOUR)), (1, about(5 * HOUR)))
    assert found.projections == {"orders": (0, 0.0), "third-party": (0, 0.0)}

    # One more order, and nobody delivers; the projections haven't come to it yet.
    store = OrderApplication(database_url)
    two_hours_ago = sql(database_url, "SELECT (extract(epoch FROM now() - interval '2 h') * 1e9)::bigint")[0][0]
    intake = Intake(store, clock_ns=lambda: two_hours_ago)
    fourth = record_of(Kind.CREATED, order_id=4, offset=5)
    intake.assign({fourth.partition})
    intake.handle([fourth])
    store.close()
    assert counted(database_url).projections == {
        "orders": (1, about(2 * HOUR)),
        "third-party": (1, about(2 * HOUR)),
    }
    project(database_url)
    sql(database_url, "UPDATE effect SET noted_at = now() - interval '6 h'")
    assert counted(database_url).waiting == (1, about(6 * HOUR))

    acted = "INSERT INTO operator_action (operator, via, action, reason, order_id, done_at)"
    sql(database_url, f"{acted} VALUES ('a', 'api', 'redeliver', 'test', 4, now() - interval '1 h')")
    assert counted(database_url).waiting == (1, about(HOUR))


def test_counting_costs_no_more_however_much_waits(database_url: str) -> None:
    """It stops one behind the limit: 10001 stands for all above."""
    sql(
        database_url,
        "INSERT INTO delivery (order_id, head_version) SELECT n, 1 FROM generate_series(1, 30000) AS n",
    )
    sql(
        database_url,
        "INSERT INTO effect (order_id, version, kind, idempotency_key, body, body_digest, noted_at)"
        " SELECT n, 1, 'create', gen_random_uuid(), '', '', now() - interval '2 h'"
        " FROM generate_series(1, 30000) AS n",
    )
    assert counted(database_url).waiting == (counting.MAX_COUNTED + 1, about(2 * HOUR))


def test_a_projection_may_be_behind_with_what_a_person_decided(database_url: str) -> None:
    """That is stored without a message."""
    tell(database_url, record_of(Kind.COMPLETED, order_id=1))
    two_hours_ago = sql(database_url, "SELECT (extract(epoch FROM now() - interval '2 h') * 1e9)::bigint")[0][0]
    with closing(OrderApplication(database_url)) as store:
        decided = release(store.load([1])[1], Author("Jane", "lost"), now_ns=two_hours_ago)
        store.commit(Batch(decided, [], []))
    assert counted(database_url).projections == {
        "orders": (1, about(2 * HOUR)),
        "third-party": (1, about(2 * HOUR)),
    }
