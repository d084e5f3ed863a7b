"""The database goes back in time under a living process: each part notices, and goes on from what is there."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.kafka.consumer.intake import Intake
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.projection_feeds import PostgresFeed, forget_orders, write_ledger_rows, write_orders
from domain.identifiers import stream_id
from domain.ports import Advance, Batch, Fenced, RewindSign, StoreUnavailable
from projections import doubt_marks, intended_calls, orders
from projections.delivery.ports import Answer, Attempt, Claim, Outcome, Settlement
from projections.runner import Projection
from tests.support.event_store import append, position, sql, stream, streams
from tests.support.fake_ledger import lifecycle
from tests.support.intakes import LIFECYCLE
from tests.support.ledgers import OnPostgres
from tests.support.messages import ORDER_ID, partition_of
from tests.support.rewinding import Kind, Rewindable, rewindable
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

P0 = partition_of(0)
LEASE_SECONDS = 2.0


class Heard:
    """What was noticed."""

    def __init__(self) -> None:
        self.signs: list[RewindSign] = []

    def __call__(self, sign: RewindSign, found: str) -> None:
        assert found
        self.signs.append(sign)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(params=list(Kind))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rewindable]:
    with rewindable(request.param, tmp_path / "database") as found:
        yield found


@pytest.fixture
def noticed(request: pytest.FixtureRequest, database: Rewindable) -> list[RewindSign]:
    """By what the server itself gives it away, beside what is gone."""
    is_other = request.node.callspec.params["database"] is not Kind.FOLDER
    return [RewindSign.SERVER] if is_other else []


def test_intake_decides_anew_what_was_lost(database: Rewindable, heard: Heard, noticed: list[RewindSign]) -> None:
    """It remembers the order as it was, and its position; both are those of the database again."""
    store = OrderApplication(database.url, on_rewind=heard)
    intake = Intake(store)
    intake.assign([P0])
    intake.handle(LIFECYCLE[:1])
    database.keep()
    until_there(lambda: intake.assign([P0]))
    intake.handle(LIFECYCLE[1:])
    assert heard.signs == []

    database.go_back()
    until_there(lambda: intake.assign([P0]))
    assert heard.signs == [*noticed, RewindSign.EVENT]
    assert intake.positions == {P0: 1}
    assert intake.set_back == {P0: (1, 3)}
    intake.handle(LIFECYCLE)
    assert store.load([ORDER_ID])[ORDER_ID].status == "COMPLETED"
    assert [version for (version,) in sql(database.url, VERSIONS)] == [1, 2, 3]
    intake.assign([P0])
    assert heard.signs == [*noticed, RewindSign.EVENT]
    store.close()


VERSIONS = "SELECT originator_version FROM stored_events ORDER BY notification_id"


def test_a_batch_decided_on_a_server_that_is_another_now_is_not_stored(database: Rewindable) -> None:
    """Where the connection was lost while nothing was under way: neither a read nor the batch has failed. All that
    is remembered may be wrong, also where no event of the batch tells."""
    store = OrderApplication(database.url)
    store.positions([P0.topic])
    store.commit(Batch([], [], [Advance(P0, None, 5)]))
    database.keep()
    database.go_back()
    until_there(lambda: store.load([ORDER_ID]))
    with pytest.raises(Fenced):
        store.commit(Batch([], [], [Advance(P0, 5, 9)]))
    store.positions([P0.topic])
    store.commit(Batch([], [], [Advance(P0, 5, 9)]))
    store.close()


def test_projections_go_back_with_the_events(database: Rewindable, heard: Heard) -> None:
    """Each says that what it had handled is gone, and hands on what comes in its place."""
    rows, calls = projections(database.url, heard)
    append(database.url, stream(7)[:1])
    step(rows, calls)
    database.keep()
    append(database.url, streams([8, 9]))
    step(rows, calls)
    assert heard.signs == []

    database.go_back()
    append(database.url, [*stream(7)[1:], *streams([10])])
    step(rows, calls)
    assert heard.signs == [RewindSign.PROJECTION] * 2
    assert sql(database.url, "SELECT order_id, version FROM orders ORDER BY 1") == [(7, 3), (10, 3)]
    assert sql(database.url, "SELECT order_id, count(*) FROM effect GROUP BY 1 ORDER BY 1") == [(7, 3), (10, 3)]


def test_a_projection_ahead_of_the_events_starts_over(database_url: str, heard: Heard) -> None:
    """Where only the events were restored: it would pass over those that get the numbers which it has seen."""
    rows, calls = projections(database_url, heard)
    append(database_url, streams([7, 8]))
    step(rows, calls)
    sql(database_url, "DELETE FROM stored_events WHERE originator_id = %s", stream_id(8))
    sql(database_url, "ALTER TABLE stored_events ALTER notification_id RESTART WITH 4")
    step(rows, calls)
    assert heard.signs == [RewindSign.PROJECTION] * 2
    assert sql(database_url, "SELECT order_id, version FROM orders") == [(7, 3)]
    append(database_url, streams([9]))
    step(rows, calls)
    assert (position(database_url, orders.NAME), position(database_url, intended_calls.NAME)) == (6, 6)
    assert sql(database_url, "SELECT order_id FROM effect WHERE order_id <> 8 GROUP BY 1 ORDER BY 1") == [
        (7,),
        (9,),
    ]


def test_calls_of_forgotten_claims_end_before_others_are_claimed(
    database: Rewindable, heard: Heard, noticed: list[RewindSign]
) -> None:
    """They may be under way in any process: never two calls of one order at once."""
    world = OnPostgres(database.url)

    async def scenario() -> None:
        async with PostgresLedger(
            database.url, lease_seconds=LEASE_SECONDS, call_timeout_seconds=1, on_rewind=heard
        ) as ledger:
            await ledger.claim(1)
            database.keep()
            world.add(*lifecycle(7))
            [claim] = await claimed(ledger)
            attempt = Attempt(claim.calls[0], datetime.now(UTC), 1, Answer(Outcome.FAILED, 503, ""))
            await ledger.settle([Settlement(claim, (attempt,), 0, 1, 0.0)])
            assert heard.signs == []

            database.go_back()
            world.add(*lifecycle(7))
            began = asyncio.get_running_loop().time()
            [claim] = await claimed(ledger)
            assert asyncio.get_running_loop().time() - began >= LEASE_SECONDS
            assert claim.attempts == 0

    asyncio.run(scenario())
    assert heard.signs == (noticed or [RewindSign.ATTEMPT]) + [RewindSign.ATTEMPT] * bool(noticed)


async def claimed(ledger: PostgresLedger) -> list[Claim]:
    """As the dispatcher does it: again and again."""
    while True:
        try:
            claims, _ = await ledger.claim(1)
        except StoreUnavailable:
            claims = []
        if claims:
            return claims
        await asyncio.sleep(0.05)


def projections(url: str, heard: Heard) -> tuple[Projection[Any], Projection[Any]]:
    store = OrderApplication(url)
    rows = PostgresFeed(url, orders.NAME, write_orders, forget=forget_orders, on_rewind=heard)
    calls = PostgresFeed(url, intended_calls.NAME, write_ledger_rows, on_rewind=heard)
    return (
        Projection(orders.NAME, rows, orders.OrderRows(store.load)),
        Projection(intended_calls.NAME, calls, doubt_marks.ledger_rows),
    )


def step(*projections: Projection[Any]) -> None:
    """Until each has seen everything; a lost connection is made again."""
    for projection in projections:
        until_there(projection.step)
        until_there(projection.step)


def until_there(ask: object) -> None:
    assert callable(ask)

    def answers() -> bool:
        try:
            ask()
        except StoreUnavailable:
            return False
        return True

    wait_until(answers, "an answer of the database")
