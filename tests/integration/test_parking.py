"""Orders that stand still, repaired by a person over a real PostgreSQL: retried, skipped, and the record of it."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from adapters.postgres.ledger import CLAIM, PostgresLedger
from adapters.postgres.sql import statements
from domain.messages import Kind
from projections.delivery.ports import Answer, Call, Outcome
from tests.integration.test_api import is_problem, walk
from tests.support.messages import ORDER_ID, record_of
from tests.support.processes import run_app
from tests.support.running_api import Api, RecordingThirdParty, deliver, refuse, running_api, sql, tell

pytestmark = pytest.mark.slow

LIFECYCLE = (
    record_of(Kind.CREATED, offset=1),
    record_of(Kind.UPDATED, offset=2, at_ns=1),
    record_of(Kind.COMPLETED, offset=3, at_ns=2),
)
MANY = 100_000
"""Parked orders that nobody may notice."""


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as running:
        yield running


@pytest.fixture
def parked(database_url: str) -> str:
    """A database with one order, whose create was refused."""
    tell(database_url, *LIFECYCLE)
    deliver(database_url, RecordingThirdParty(refuse(ORDER_ID)))
    return database_url


def act(api: Api, action: str, *, by: str | None = None, **body: Any) -> httpx.Response:
    headers = {} if by is None else {b"X-Operator": by.encode()}
    return api.client.post(f"/api/parked/{ORDER_ID}/{action}", json=body, headers=headers)


def skip(api: Api, **body: Any) -> httpx.Response:
    return act(api, "skip", reason="a test", **body)


def sent_to(database_url: str, third: RecordingThirdParty | None = None) -> list[int]:
    """The versions that the third party hears of."""
    third = third or RecordingThirdParty()
    deliver(database_url, third)
    return [call.version for call in third.calls]


def refuse_version(*versions: int) -> RecordingThirdParty:
    return RecordingThirdParty(lambda call: Answer(Outcome.REFUSED, 422, "") if call.version in versions else None)


def stand(database_url: str) -> tuple[Any, ...]:
    [row] = sql(database_url, "SELECT settled_version, head_version, attempts, parked_at IS NULL FROM delivery")
    return row


class TestRetry:
    def test_a_parked_order_goes_on_with_all_its_calls(self, parked: str, api: Api) -> None:
        """The dry run says the same and does nothing; what was done is on record, by whom and why."""
        foretold = act(api, "retry", dryRun=True)
        assert (foretold.status_code, stand(parked)) == (200, (0, 3, 1, False))
        done = act(api, "retry", by="Jürgen", reason=" repaired ")
        assert done.status_code == 202
        answer = done.json()
        assert foretold.json() | {"dryRun": False} == answer
        assert (answer["stateBefore"], answer["stateAfter"]) == ("parked", "due")
        assert (answer["call"]["version"], answer["call"]["method"], answer["call"]["state"]) == (
            1,
            "POST",
            "parked",
        )
        assert [each["version"] for each in answer["follows"]] == [2, 3]
        assert stand(parked) == (0, 3, 0, True)
        (action,) = api.get("/api/audit").json()["actions"]
        assert UUID(action["idempotencyKey"]) == UUID(answer["call"]["key"])
        assert {**action, "id": 0, "at": ""} == {
            "id": 0,
            "at": "",
            "operator": "Jürgen",
            "role": "no token",
            "via": "api",
            "action": "retry",
            "reason": "repaired",
            "orderId": ORDER_ID,
            "version": 1,
            "idempotencyKey": answer["call"]["key"],
            "stateBefore": "parked",
            "stateAfter": "due",
            "bulkId": None,
            "quarantineId": None,
            "detail": {"parkedReason": "refused with status 422"},
        }
        assert sent_to(parked) == [1, 2, 3]

    def test_a_retry_always_acts(self, parked: str, api: Api) -> None:
        """Without a body, twice in a row, and of an order that only waits for its next attempt."""
        path = f"/api/parked/{ORDER_ID}/retry"
        assert [api.client.post(path).status_code for _ in range(2)] == [202, 202]
        assert sent_to(parked, refuse_version(1)) == [1]
        assert api.client.post(path).status_code == 202
        sql(parked, "UPDATE delivery SET next_attempt_at = now() + interval '1 h', attempts = 9")
        answer = act(api, "retry").json()
        assert (answer["stateBefore"], stand(parked)) == ("retrying", (0, 3, 0, True))
        assert sent_to(parked) == [1, 2, 3]
        assert sql(parked, "SELECT count(*) FROM operator_action WHERE action = 'retry'") == [(4,)]

    def test_what_cannot_be_retried_is_refused_by_its_state(self, database_url: str, api: Api) -> None:
        """An unknown order, one that has nothing to send, and one whose call is under way."""
        is_problem(act(api, "retry"), 404)
        tell(database_url, LIFECYCLE[1])
        assert is_problem(act(api, "retry"), 409)["state"] == "idle"  # its only message is held
        tell(database_url, record_of(Kind.CREATED, offset=5))
        claimed(database_url)
        under_way = act(api, "retry")
        assert is_problem(under_way, 409)["state"] == "in_flight"
        assert int(under_way.headers["Retry-After"]) > 0
        sql(database_url, "UPDATE delivery SET next_attempt_at = now() - interval '1 s'")
        assert act(api, "retry").status_code == 202
        assert sql(database_url, "SELECT count(*) FROM attempt WHERE kind = 'lost'") == [(2,)]
        deliver(database_url)
        assert is_problem(act(api, "retry"), 409)["state"] == "idle"
        assert sql(database_url, "SELECT count(*) FROM operator_action") == [(1,)]

    def test_a_parked_order_without_calls_is_let_go_and_rests(self, parked: str, api: Api) -> None:
        """Or else it would be claimed for ever, with nothing to send."""
        sql(parked, "UPDATE effect SET state = 'delivered'")
        answer = act(api, "retry").json()
        assert (answer["call"], answer["stateAfter"], stand(parked)) == (None, "idle", (3, 3, 0, True))


def claimed(database_url: str) -> None:
    """By a dispatcher that is never heard of again."""

    async def take() -> None:
        async with PostgresLedger(database_url, lease_seconds=60, call_timeout_seconds=10) as ledger:
            claims, _ = await ledger.claim(1)
            assert claims

    asyncio.run(take())


class TestSkip:
    def test_the_call_is_given_up_and_the_later_ones_go_on(self, parked: str, api: Api) -> None:
        """The dry run and the answer say what becomes of them."""
        foretold = act(api, "skip", dryRun=True).json()
        assert stand(parked) == (0, 3, 1, False)
        answer = skip(api)
        assert answer.status_code == 200
        assert foretold | {"dryRun": False} == answer.json()
        assert "refuses what follows" in answer.json()["warnings"][0]
        assert answer.json()["call"]["version"] == 1
        assert sent_to(parked) == [2, 3]
        assert sql(parked, "SELECT state FROM effect ORDER BY version") == [
            ("skipped",),
            ("delivered",),
            ("delivered",),
        ]
        assert stand(parked) == (3, 3, 0, True)
        order = api.get(f"/api/orders/{ORDER_ID}").json()
        assert [(each["action"], each["version"], each["reason"]) for each in order["actions"]] == [
            ("skip", 1, "a test")
        ]
        assert order["timeline"][0]["call"]["state"] == "skipped"

    def test_the_last_call_is_given_up_and_the_order_rests_until_another_comes(
        self, database_url: str, api: Api
    ) -> None:
        """Nothing is left to claim."""
        tell(database_url, *LIFECYCLE[:2])
        assert sent_to(database_url, refuse_version(2)) == [1, 2]
        assert skip(api).json()["stateAfter"] == "idle"
        assert stand(database_url) == (2, 2, 0, True)
        tell(database_url, LIFECYCLE[2])
        assert sent_to(database_url) == [3]

    def test_after_a_redelivery_the_last_call_to_send_is_the_end(self, database_url: str, api: Api) -> None:
        """It isn't the last one there is: those behind it are settled."""
        tell(database_url, *LIFECYCLE)
        deliver(database_url)
        for table, column in (("effect", "first_sent_at"), ("attempt", "started_at")):
            sql(database_url, f"UPDATE {table} SET {column} = {column} - interval '25 h' WHERE version = 3")
        assert [each["version"] for each in api.replay(ORDER_ID, "redeliver").json()["items"]] == [1, 2]
        assert sent_to(database_url, refuse_version(2)) == [1, 2]
        answer = skip(api).json()
        assert (answer["call"]["version"], answer["stateAfter"]) == (2, "idle")
        assert stand(database_url) == (2, 2, 0, True)
        assert sent_to(database_url) == []

    def test_what_cannot_be_skipped_is_refused(self, parked: str, api: Api) -> None:
        """Without a reason, another call than the one named, an order that isn't parked, or none at all."""
        is_problem(act(api, "skip"), 422)
        is_problem(act(api, "skip", reason=" "), 422)
        assert "stands at call 1, not at 2" in is_problem(skip(api, version=2), 409)["detail"]
        assert act(api, "retry").status_code == 202
        assert is_problem(skip(api), 409)["state"] in {"due", "retrying"}
        deliver(parked)
        assert is_problem(skip(api), 409)["state"] == "idle"
        is_problem(api.client.post("/api/parked/1/skip", json={"reason": "x"}), 404)
        assert sql(parked, "SELECT action FROM operator_action") == [("retry",)]

    def test_a_call_that_may_be_under_way_is_not_given_up(self, database_url: str, api: Api) -> None:
        """As when an order is stopped while a dispatcher has it; a retry lets it go on when the lease is over."""
        tell(database_url, *LIFECYCLE)
        claimed(database_url)
        sql(
            database_url,
            "UPDATE delivery SET parked_at = now(), parked_reason = 'invariant: x', lease_token = NULL",
        )
        end = sql(database_url, "SELECT next_attempt_at FROM delivery")
        assert is_problem(skip(api), 409)["state"] == "in_flight"
        assert "invariant: x" in act(api, "retry").json()["warnings"][0]
        assert sql(database_url, "SELECT next_attempt_at FROM delivery") == end


class TestRecord:
    def test_the_action_and_its_record_are_one(self, parked: str, api: Api) -> None:
        """If one can't be written, nor is the other: a table that is missing is an outage of the database."""
        sql(parked, "ALTER TABLE operator_action RENAME TO away")
        before = stand(parked)
        for response in (act(api, "retry"), skip(api), api.replay(ORDER_ID, "redeliver")):
            assert response.status_code == 503
        assert stand(parked) == before
        assert sql(parked, "SELECT count(*) FROM replay") == [(0,)]

    def test_it_is_read_page_by_page_of_all_orders_or_of_one(self, parked: str, api: Api) -> None:
        """The last action first."""
        for number in range(5):
            act(api, "retry", reason=str(number))
        sql(
            parked,
            "INSERT INTO operator_action (operator, via, action, reason, order_id)"
            " VALUES ('x', 'command line', 'retry', 'other', 1)",
        )
        reasons = [each["reason"] for each in walk(api, "/api/audit", "actions", limit=2)]
        assert reasons == ["other", "4", "3", "2", "1", "0"]
        assert [each["reason"] for each in walk(api, "/api/audit", "actions", limit=2, order=1)] == ["other"]
        is_problem(api.get("/api/audit?order=0"), 400)

    @pytest.mark.parametrize("name", ["", "x" * 101, "a\tb"])
    def test_a_name_that_says_nothing_is_refused(self, parked: str, api: Api, name: str) -> None:
        """Rather than kept for ever."""
        is_problem(act(api, "retry", by=name), 400)
        assert sql(parked, "SELECT count(*) FROM operator_action") == [(0,)]


def test_a_hundred_thousand_parked_orders_cost_the_others_nothing(database_url: str, record_property: Any) -> None:
    """A claim reads only what is due, by its index, however many stand still."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def add(first: int, last: int, parked_at: str) -> None:
            numbers = f"generate_series({first}, {last}) AS n"
            connection.execute(
                "INSERT INTO effect (order_id, version, kind, idempotency_key, body, body_digest, state)"
                f" SELECT n, 1, 'create', gen_random_uuid(), repeat('x', 300)::bytea, '', 'due' FROM {numbers}"
            )
            connection.execute(
                "INSERT INTO delivery (order_id, head_version, next_attempt_at, parked_at, parked_reason)"
                f" SELECT n, 1, now() - interval '1 h', {parked_at}, 'refused' FROM {numbers}"
            )
            connection.execute("ANALYZE delivery, effect")

        def claim_seconds() -> float:
            """The median of several, each put back."""
            claim, times = CLAIM, []
            for _ in range(21):
                with connection.transaction(force_rollback=True):
                    begun = time.perf_counter()
                    rows = connection.execute(claim, claiming).fetchall()
                    times.append(time.perf_counter() - begun)
                    assert len(rows) == 64
            return sorted(times)[len(times) // 2]

        def scans(statement: str, parameters: Any) -> list[dict[str, Any]]:
            with connection.transaction(force_rollback=True):
                row = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchone()
            assert row is not None
            found, nodes = [], [(row[0] if isinstance(row[0], list) else json.loads(row[0]))[0]["Plan"]]
            while nodes:
                node = nodes.pop()
                nodes += node.get("Plans", [])
                if node.get("Relation Name") == "delivery" and "Scan" in node["Node Type"]:
                    found.append(node)
            return found

        claiming = {"limit": 64, "calls": 4, "token": uuid4(), "lease_seconds": 60, "session": None}
        add(1, 200, "NULL")
        without = claim_seconds()
        add(1_000, 999 + MANY, "now()")
        among = claim_seconds()
        record_property("claim_ms_without_parked", round(without * 1000, 2))
        record_property("claim_ms_among_100000_parked", round(among * 1000, 2))
        print(f"claim of 64: {without * 1000:.2f} ms without, {among * 1000:.2f} ms among {MANY} parked orders")  # noqa: T201 - a measurement
        for statement, parameters, index, most in (
            (CLAIM, claiming, "delivery_due", 64),
            (statements("delivery")["next_due"], None, "delivery_due", 1),
        ):
            used = scans(statement, parameters)
            assert index in {node.get("Index Name") for node in used}
            for node in used:
                assert "Index" in node["Node Type"]
                assert node.get("Rows Removed by Filter", 0) == 0
                assert node["Actual Rows"] <= most


def test_other_orders_go_on_while_one_stands(parked: str, api: Api) -> None:
    """And the parked one keeps what waits behind it."""
    other = ORDER_ID + 1
    tell(parked, *(record_of(kind, order_id=other, offset=9 + n, at_ns=n) for n, kind in enumerate(Kind)))
    third = RecordingThirdParty()
    deliver(parked, third)
    calls: list[Call] = third.calls
    assert {call.order_id for call in calls} == {other}
    assert [each["waitingCalls"] for each in api.get("/api/parked").json()["parked"]] == [2]


def test_the_commands_do_what_the_endpoints_do(parked: str, tmp_path: Path) -> None:
    """With `--json` the same reports; a refusal is one line and exit code 1. The machine's user is on record."""
    settings = {"database_url": parked}

    def run(*arguments: str) -> Any:
        done = run_app(*arguments, "--json", folder=tmp_path, settings=settings)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    order = str(ORDER_ID)
    foretold = run("skip", order, "--dry-run")
    assert (foretold["call"]["version"], foretold["stateAfter"], len(foretold["warnings"])) == (1, "due", 1)
    wrong = run_app("skip", order, "--version", "2", "--reason", "x", folder=tmp_path, settings=settings)
    assert (wrong.returncode, wrong.stderr) == (1, f"error: order {order} stands at call 1, not at 2\n")
    assert run_app("skip", order, folder=tmp_path, settings=settings).returncode == 2
    assert run("retry", order)["dryRun"] is False
    assert run("replay", order, "--mode", "redeliver", "--how", "resume", "--nonce", "n")["amountAtRisk"] == 0
    recorded = sql(parked, "SELECT action, via, reason FROM operator_action ORDER BY id")
    assert recorded == [(each, "command line", "from the command line") for each in ("retry", "redeliver")]
