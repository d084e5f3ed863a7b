"""Writes under an `Idempotency-Key`: asked for twice, done once, by two services over one database."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import psycopg
import pytest

from adapters.postgres.idempotency import MAX_FORGOTTEN, PostgresRequests
from adapters.postgres.pool import Database
from adapters.records.idempotency import Claimed, KeyedRequest
from adapters.records.operators import Role
from adapters.web.idempotency import HIT
from domain.messages import Kind
from sandbox.servers.free_port import free_port
from tests.integration.test_api import is_problem
from tests.support.messages import record_of
from tests.support.running_api import Api, RecordingThirdParty, deliver, refuse, running_api, sql, tell
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PARKED: Final = (1, 2)
DONE: Final = 3
WAITING_FOR_A_LOCK: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def orders(database_url: str) -> str:
    """A database with two parked orders and a delivered one."""
    tell(database_url, *(record_of(Kind.CREATED, order_id=each, offset=each) for each in (*PARKED, DONE)))
    deliver(database_url, RecordingThirdParty(refuse(*PARKED)))
    return database_url


@pytest.fixture
def apis(orders: str) -> Iterator[tuple[Api, Api]]:
    with running_api(orders) as one, running_api(orders) as other:
        yield one, other


def retry(api: Api, key: str, order_id: int = 1, reason: str = "a test") -> httpx.Response:
    path = f"/api/parked/{order_id}/retry"
    return api.client.post(path, json={"reason": reason}, headers={"Idempotency-Key": key})


def actions(database_url: str) -> int:
    return int(sql(database_url, "SELECT count(*) FROM operator_action")[0][0])


def test_the_first_answer_comes_again_whichever_process_is_asked(orders: str, apis: tuple[Api, Api]) -> None:
    """Word for word, and marked. Another key does it again."""
    one, other = apis
    first = retry(one, "k")
    again = [retry(one, "k"), retry(other, "k")]
    assert (first.status_code, HIT in first.headers) == (202, False)
    for each in again:
        assert (each.status_code, each.content, each.headers[HIT]) == (202, first.content, "true")
        assert each.headers["Content-Type"] == "application/json"
    assert actions(orders) == 1
    assert retry(other, "another").status_code == 202
    assert actions(orders) == 2


def test_a_preview_keeps_its_place(orders: str, apis: tuple[Api, Api]) -> None:
    """Headers are kept too."""
    body = {"mode": "retry", "select": {"parked": True}, "reason": "a test"}
    first, again = (each.client.post("/api/replays", json=body, headers={"Idempotency-Key": "k"}) for each in apis)
    assert (again.status_code, again.headers["Location"]) == (201, first.headers["Location"])
    assert sql(orders, "SELECT count(*) FROM job") == [(1,)]


def test_a_key_is_for_one_request(orders: str, apis: tuple[Api, Api]) -> None:
    """Another body or another address with it is refused; reading takes no notice of it."""
    one, other = apis
    assert retry(one, "k").status_code == 202
    is_problem(retry(other, "k", reason="something else"), 422)
    is_problem(retry(other, "k", order_id=2), 422)
    assert other.get("/api/parked", headers={"Idempotency-Key": "k"}).status_code == 200
    assert actions(orders) == 1


def test_what_was_refused_is_not_kept(orders: str, apis: tuple[Api, Api]) -> None:
    """Nothing was done: when things have changed, or the request has, the key is as good as new."""
    one, other = apis
    assert is_problem(retry(one, "k", order_id=DONE), 409)["state"] == "idle"
    is_problem(retry(one, "k", reason="x" * 1001), 422)
    is_problem(retry(one, "k", order_id=9), 404)
    done = retry(other, "k", order_id=2)
    assert (done.status_code, HIT in done.headers) == (202, False)
    assert actions(orders) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_what_is_no_key_is_a_400(orders: str, apis: tuple[Api, Api], key: str) -> None:
    """And nothing is done."""
    headers = {"Idempotency-Key": key.encode("latin-1")}
    is_problem(apis[0].client.post("/api/parked/1/retry", headers=headers), 400)  # type: ignore[arg-type]
    assert actions(orders) == 0


def test_two_keys_are_a_400_and_a_body_that_is_too_large_a_413(orders: str, apis: tuple[Api, Api]) -> None:
    """Also where nobody would have read the body."""
    client = apis[0].client
    is_problem(
        client.post("/api/parked/1/retry", headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]), 400
    )
    path = "/api/replays/00000000-0000-0000-0000-000000000000/cancel"
    is_problem(client.post(path, content=b"x" * (4 * 1024 * 1024 + 1), headers={"Idempotency-Key": "k"}), 413)
    assert actions(orders) == 0


def test_while_the_first_is_under_way_a_second_is_told_so(orders: str, apis: tuple[Api, Api]) -> None:
    """On the other process; when the first is through, its answer is there for both."""
    one, other = apis
    with ThreadPoolExecutor(1) as pool, psycopg.connect(orders) as holder:
        holder.execute("SELECT FROM delivery WHERE order_id = 1 FOR UPDATE")
        first = pool.submit(retry, one, "k")
        wait_until(lambda: sql(orders, WAITING_FOR_A_LOCK) == [(1,)], "the first waits for the order")
        refused = retry(other, "k")
        assert is_problem(refused, 409)["state"] == "in_flight"
        assert int(refused.headers["Retry-After"]) > 0
        is_problem(retry(other, "k", reason="something else"), 422)
        holder.rollback()
        assert first.result().status_code == 202
    assert retry(other, "k").headers[HIT] == "true"
    assert actions(orders) == 1


def test_many_at_the_same_moment_do_it_once(orders: str, apis: tuple[Api, Api]) -> None:
    """Each is answered with what the first was told, or to ask again."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: retry(apis[n % 2], "k"), range(24)))
    told = [each for each in answers if each.status_code == 202]
    assert {each.status_code for each in answers} <= {202, 409}
    assert len({each.content for each in told}) == 1
    assert sum(HIT not in each.headers for each in told) == 1
    assert actions(orders) == 1


def begun(database_url: str, key: str, seconds: float) -> None:
    """By a process that dies before it does anything."""

    async def begin() -> None:
        async with Database(database_url) as database:
            requests = PostgresRequests(database, claim_seconds=seconds)
            assert isinstance(await requests.begin(KeyedRequest(Role.ANYBODY, key, b"?")), Claimed)

    asyncio.run(begin())


def test_a_process_that_died_before_the_action_holds_the_key_for_a_while_only(
    orders: str, apis: tuple[Api, Api]
) -> None:
    begun(orders, "k", 0.0)
    assert retry(apis[0], "k").status_code == 202
    begun(orders, "held", 3600.0)
    is_problem(retry(apis[0], "held"), 422)
    sql(orders, "UPDATE keyed_request SET claimed_until = now() WHERE key = 'held'")
    assert retry(apis[0], "held").status_code == 202


def test_after_a_process_died_between_the_action_and_its_answer_the_action_is_not_done_again(
    orders: str, apis: tuple[Api, Api]
) -> None:
    """Whoever asks again is told that it was done."""
    one, other = apis
    assert retry(one, "k").status_code == 202
    sql(orders, "UPDATE keyed_request SET status = NULL, headers = NULL, body = NULL, claimed_until = now()")
    assert is_problem(retry(other, "k"), 409)["state"] == "done"
    is_problem(retry(other, "k", order_id=2), 422)
    assert actions(orders) == 1


def test_a_process_that_wakes_up_when_its_request_was_taken_over_does_not_do_it_too(
    orders: str, apis: tuple[Api, Api]
) -> None:
    """Both stand before the same order with the same request: one does it, the other finds it done."""
    with ThreadPoolExecutor(2) as pool, psycopg.connect(orders) as holder:
        holder.execute("SELECT FROM delivery WHERE order_id = 1 FOR UPDATE")
        first = pool.submit(retry, apis[0], "k")
        wait_until(lambda: sql(orders, WAITING_FOR_A_LOCK) == [(1,)], "the first waits for the order")
        sql(orders, "UPDATE keyed_request SET claimed_until = now()")
        second = pool.submit(retry, apis[1], "k")
        wait_until(lambda: sql(orders, WAITING_FOR_A_LOCK) == [(2,)], "the second waits too")
        holder.rollback()
        answers = [first.result(), second.result()]
    assert sorted(each.status_code for each in answers) == [202, 409]
    (refused,) = (each for each in answers if each.status_code == 409)
    assert is_problem(refused, 409)["state"] == "done"
    assert actions(orders) == 1
    assert retry(apis[0], "k").headers[HIT] == "true"


def test_keys_are_forgotten_after_a_day_a_few_with_each_request(orders: str, apis: tuple[Api, Api]) -> None:
    """The one that is asked for first; so there are never more of them than came in a day and a bit."""
    assert retry(apis[0], "k").status_code == 202
    sql(
        orders,
        "INSERT INTO keyed_request (role, key, digest, claimed_until)"
        " SELECT 'no token', 'old ' || n, '', now() FROM generate_series(1, %s) AS n",
        2 * MAX_FORGOTTEN,
    )
    sql(orders, "UPDATE keyed_request SET asked_at = now() - interval '25 h'")
    assert HIT not in retry(apis[0], "k").headers
    left = "SELECT count(*) FROM keyed_request WHERE starts_with(key, 'old ')"
    assert sql(orders, left) == [(MAX_FORGOTTEN + 1,)]
    assert retry(apis[0], "k").headers[HIT] == "true"
    assert actions(orders) == 2


def test_in_an_outage_a_request_with_a_key_is_a_503() -> None:
    with running_api(f"postgresql://127.0.0.1:{free_port()}/none", database_timeout_seconds=1.0) as api:
        refused = retry(api, "k")
        is_problem(refused, 503)
        assert int(refused.headers["Retry-After"]) > 0
