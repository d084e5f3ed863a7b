"""The effect ledger on PostgreSQL: what people see of each call, and what a claim costs in a large ledger."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from adapters.postgres.ledger import CALLS_PER_CLAIM, CLAIM, PostgresLedger
from adapters.postgres.sql import statements
from domain.ports import StoreUnavailable
from projections.delivery.ports import Answer, Attempt, Claim, Ledger, Outcome, Settlement
from tests.support.event_store import sql
from tests.support.fake_ledger import call, lifecycle
from tests.support.ledgers import GRACE_SECONDS, LEASE_SECONDS, OnPostgres
from tests.support.postgres_proxy import postgres_proxy
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

ORDERS = 20_000


@pytest.fixture
def world(database_url: str) -> OnPostgres:
    return OnPostgres(database_url)


def attempt(claim: Claim, number: int, outcome: Outcome, text: str = "") -> Attempt:
    return Attempt(claim.calls[number], datetime.now(UTC), 12, Answer(outcome, None, text))


@pytest.mark.parametrize(
    ("outcome", "parked_reason", "state"),
    [
        (Outcome.FAILED, None, "retrying"),
        (Outcome.IN_FLIGHT, None, "in_doubt"),
        (Outcome.IN_DOUBT, None, "in_doubt"),
        (Outcome.UNAUTHORIZED, None, "retrying"),
        (Outcome.REFUSED, "refused", "parked"),
        (Outcome.FAILED, "too often", "parked"),
        (Outcome.IN_DOUBT, "too often", "parked"),
    ],
)
def test_each_call_shows_where_it_stands(
    world: OnPostgres, database_url: str, outcome: Outcome, parked_reason: str | None, state: str
) -> None:
    """The delivered one before it, the one that was tried, and the one that waits behind it."""
    world.add(*lifecycle(7))

    async def scenario(ledger: Ledger) -> None:
        [claim], _ = await ledger.claim(1)
        attempts = (attempt(claim, 0, Outcome.DELIVERED), attempt(claim, 1, outcome))
        await ledger.settle([Settlement(claim, attempts, 1, 1, 0.0, parked_reason)])

    world.run(scenario)
    calls = sql(
        database_url,
        "SELECT state, attempts, first_sent_at IS NOT NULL, settled_at IS NOT NULL FROM effect ORDER BY version",
    )
    assert calls == [("delivered", 1, True, True), (state, 1, True, False), ("due", 0, False, False)]


def test_the_time_of_the_first_attempt_stays(world: OnPostgres, database_url: str) -> None:
    """How long the third party remembers the key is counted from there."""
    world.add(call(7, 1))
    times = []

    async def scenario(ledger: Ledger) -> None:
        for _ in range(2):
            [claim], _ = await ledger.claim(1)
            await ledger.settle([Settlement(claim, (attempt(claim, 0, Outcome.FAILED),), 0, 1, 0.0)])
            times.append(sql(database_url, "SELECT first_sent_at FROM effect"))

    world.run(scenario)
    assert times[0] == times[1]
    assert sql(database_url, "SELECT attempts FROM effect") == [(2,)]


def test_calls_of_a_claim_that_ran_out_unsettled_show_as_in_doubt(world: OnPostgres, database_url: str) -> None:
    """At once, before anybody claims them again; those that it can't have held don't, nor while the lease runs."""
    world.add(*(call(7, version) for version in range(1, 7)))

    async def scenario(ledger: Ledger) -> None:
        await ledger.claim(1)

    world.run(scenario)
    shown = statements("queries")["calls"]
    assert [row[1] for row in sql(database_url, shown, 7)] == ["due"] * 6
    world.elapse(LEASE_SECONDS)
    assert [row[1] for row in sql(database_url, shown, 7)] == ["in_doubt"] * CALLS_PER_CLAIM + ["due"] * 2


def test_a_call_that_a_person_has_given_up_is_passed_over(world: OnPostgres, database_url: str) -> None:
    """Also when an earlier one is sent again."""
    world.add(*lifecycle(7))
    sql(database_url, "UPDATE effect SET state = 'skipped' WHERE version = 2")

    async def scenario(ledger: Ledger) -> None:
        [claim], _ = await ledger.claim(1)
        assert [each.version for each in claim.calls] == [1, 3]

    world.run(scenario)


def test_a_commit_whose_answer_is_lost_notes_each_attempt_once(world: OnPostgres, database_url: str) -> None:
    """Nobody can know whether it was carried out, so it is settled again."""
    world.add(*lifecycle(7))

    async def scenario() -> None:
        with postgres_proxy(database_url) as proxy:
            async with PostgresLedger(proxy.url, lease_seconds=LEASE_SECONDS, call_timeout_seconds=10) as ledger:
                [claim], _ = await ledger.claim(1)
                attempts = tuple(attempt(claim, number, Outcome.DELIVERED) for number in range(3))
                settlement = Settlement(claim, attempts, 3, 0, 0.0)
                proxy.lose_next_commit()
                with pytest.raises(StoreUnavailable):
                    await ledger.settle([settlement])
                await ledger.settle([settlement])

    asyncio.run(scenario())
    assert [(each.version, each.outcome) for each in world.attempts()] == [(n, "delivered") for n in (1, 2, 3)]
    assert world.standing(7).settled_version == 3


def test_a_claim_of_a_version_without_sessions_has_its_whole_lease(world: OnPostgres, database_url: str) -> None:
    """Though the order was claimed before in a session that ends now: in a rollout both versions are at work."""
    world.add(*lifecycle(7), *lifecycle(8))
    as_before = (
        "UPDATE delivery SET lease_token = gen_random_uuid(), claimed_at = now(), claimed_head = head_version,"
        " next_attempt_at = now() + interval '1 hour' WHERE order_id = 7 RETURNING order_id"
    )

    async def scenario(first: Ledger, second: Ledger) -> None:
        claims, _ = await first.claim(2)
        assert {each.order_id for each in claims} == {7, 8}
        assert world.sql(as_before) == [(7,)]
        await world.end_session(claims[0].session)
        world.elapse(GRACE_SECONDS)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (taken := (await second.claim(2))[0]):  # noqa: ASYNC110 - another process notices
                await asyncio.sleep(0.05)
        assert [each.order_id for each in taken] == [8]
        assert (await second.claim(2))[0] == []

    world.run_two(scenario)
    assert world.sql("SELECT next_attempt_at > now() + interval '30 minutes' FROM delivery WHERE order_id = 7") == [
        (True,)
    ]


def test_whatever_the_third_party_writes_can_be_kept(world: OnPostgres, database_url: str) -> None:
    """PostgreSQL's text holds no zero bytes."""
    world.add(call(7, 1))
    text = "a\x00b\ud7ff\U0001f600\ufffd\x7f\n"

    async def scenario(ledger: Ledger) -> None:
        [claim], _ = await ledger.claim(1)
        await ledger.settle([Settlement(claim, (attempt(claim, 0, Outcome.REFUSED, text),), 0, 1, 0.0, "refused")])

    world.run(scenario)
    assert sql(database_url, "SELECT answer FROM attempt") == [(text.replace("\x00", "\ufffd"),)]


def test_a_database_that_does_not_answer_is_away(world: OnPostgres, database_url: str) -> None:
    """By our own clock; and when it answers again, all goes on."""
    world.add(*lifecycle(7))

    async def main() -> None:
        async with PostgresLedger(
            database_url, lease_seconds=1, call_timeout_seconds=0.4, answer_timeout_seconds=0.5
        ) as ledger:
            with psycopg.connect(database_url) as blocking:
                blocking.execute("LOCK TABLE delivery")
                with pytest.raises(StoreUnavailable):
                    await ledger.claim(1)
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not await _claimed(ledger):  # noqa: ASYNC110 - there is nothing to be told by
                    await asyncio.sleep(0.05)

    asyncio.run(main())


async def _claimed(ledger: PostgresLedger) -> list[Claim]:
    try:
        return (await ledger.claim(1))[0]
    except StoreUnavailable:  # a slow machine takes half a second for nothing
        return []


@pytest.fixture
def large(database_url: str) -> Iterator[psycopg.Connection]:
    """Many orders: of twenty fifteen are settled, two parked, two wait, one is due; of every other that is due the
    last claim was lost."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO effect (order_id, version, kind, idempotency_key, body, body_digest)"
            " SELECT o, v, 'update', gen_random_uuid(), repeat('x', 300)::bytea, ''"
            f" FROM generate_series(1, {ORDERS}) AS o, generate_series(1, 2) AS v"
        )
        connection.execute(
            "INSERT INTO delivery (order_id, head_version, settled_version, claimed_at, claimed_head,"
            " next_attempt_at, parked_at)"
            " SELECT o, 2, CASE WHEN o % 20 < 15 THEN 2 ELSE 0 END,"
            " CASE WHEN o % 40 = 19 THEN now() - interval '2 h' END, CASE WHEN o % 40 = 19 THEN 2 END,"
            " now() + CASE WHEN o % 20 IN (17, 18) THEN interval '1 h' ELSE interval '-1 h' END,"
            f" CASE WHEN o % 20 IN (15, 16) THEN now() END FROM generate_series(1, {ORDERS}) AS o"
        )
        connection.execute("ANALYZE")
        yield connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def test_settled_and_parked_orders_cost_a_dispatcher_nothing(large: psycopg.Connection) -> None:
    """Every table is read by an index, and no row is read that isn't wanted."""
    token, delivery = uuid4(), statements("delivery") | {"claim": CLAIM}

    def ran(name: str, **parameters: Any) -> list[dict[str, Any]]:
        row = large.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {delivery[name]}", parameters).fetchone()
        assert row is not None
        return list(nodes((row[0] if isinstance(row[0], list) else json.loads(row[0]))[0]["Plan"]))

    found = {"claim": ran("claim", limit=50, token=token, lease_seconds=60, calls=4, session=None)}
    taken = large.execute("SELECT order_id FROM delivery WHERE lease_token = %s", (token,))
    order_ids = [order_id for (order_id,) in taken]
    assert len(order_ids) == 50
    found["claimed_calls"] = ran("claimed_calls", order_ids=order_ids, token=token, calls=4)
    found["next_due"] = ran("next_due")
    found["settle"] = ran(
        "settle",
        order_ids=order_ids,
        tokens=[token] * 50,
        settled=[2] * 50,
        attempts=[0] * 50,
        waits=[0.0] * 50,
        parked=[None] * 50,
        call_orders=order_ids,
        call_tokens=[token] * 50,
        call_versions=[1] * 50,
        call_states=["delivered"] * 50,
        call_sendings=[1] * 50,
        call_maybe_done=[True] * 50,
    )
    for name, plan in found.items():
        scans = [node for node in plan if "Scan" in node["Node Type"] and node.get("Relation Name")]
        assert scans, name
        assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}, name
        assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0, name
        assert all(node["Actual Rows"] <= 200 for node in scans), name
    indexes = {node.get("Index Name") for node in (*found["claim"], *found["next_due"])}
    assert indexes >= {"delivery_due"}


def test_what_was_due_once_is_not_walked_over_again_however_many_orders_there_were(database_url: str) -> None:
    """Left to itself, VACUUM cleans no index while few of a large table's pages have dead rows."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE delivery SET (autovacuum_enabled = off)")  # it would come at any time
        connection.execute(
            "INSERT INTO delivery (order_id, head_version, settled_version)"
            f" SELECT o, 1, 1 FROM generate_series(1, {10 * ORDERS}) AS o"
        )
        connection.execute("VACUUM (ANALYZE) delivery")
        for _ in range(10):
            for change in ("head_version = head_version + 1", "settled_version = head_version"):
                connection.execute(
                    f"UPDATE delivery SET {change}, next_attempt_at = clock_timestamp() WHERE order_id <= 400"
                )
        connection.execute("VACUUM delivery")
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statements('delivery')['next_due']}"
        row = connection.execute(explained).fetchone()
        assert row is not None
        assert row[0][0]["Plan"]["Shared Hit Blocks"] + row[0][0]["Plan"]["Shared Read Blocks"] <= 5
