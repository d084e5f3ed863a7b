"""Who may do what over the API, on what they have seen, and what is written down of them."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import psycopg
import pytest

from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.records.actions import ActionRequest
from adapters.records.operators import Operator, Role, Via, command_line_operator
from domain.messages import Kind
from scripts.openapi import document
from tests.integration.test_api import is_problem
from tests.integration.test_api_idempotency import WAITING_FOR_A_LOCK
from tests.support.messages import product, record, record_of
from tests.support.running_api import Api, RecordingThirdParty, deliver, refuse, running_api, sql, tell
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TOKEN: Final = "to-act"
READ_TOKEN: Final = "to-read"
ORDER: Final = "/api/orders/1"
WRITES: Final[dict[str, dict[str, Any]]] = {
    "/api/parked/1/retry": {},
    "/api/parked/1/skip": {"reason": "x"},
    "/api/orders/1/replay": {"mode": "redeliver", "reason": "x"},
    "/api/orders/1/settle": {"reason": "x"},
    "/api/orders/1/release": {"reason": "x"},
    "/api/quarantine/1/retry": {},
    "/api/quarantine/1/discard": {"reason": "x"},
}
OF_ORDERS: Final = [path for path in WRITES if "quarantine" not in path]


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    """Over a parked order, doubtful too and with a message held, and a message in quarantine that can't be read."""
    tell(
        database_url,
        record_of(Kind.CREATED, order_id=1),
        record(b"{", offset=1),
        record_of(Kind.CREATED, order_id=1, at_ns=1, items=[product(final=300)], partition=1),
        record_of(Kind.UPDATED, order_id=1, at_ns=2, headers=(("sequence", b"9"),), partition=1, offset=1),
    )
    deliver(database_url, RecordingThirdParty(refuse(1)))
    with running_api(database_url, token=TOKEN, read_token=READ_TOKEN) as running:
        yield running


def actions(database_url: str) -> list[tuple[Any, ...]]:
    return sql(database_url, "SELECT action, operator, role, via FROM operator_action ORDER BY id")


def test_an_order_that_has_not_changed_is_not_sent_again(api: Api) -> None:
    """By its tag, weak or strong, alone or among others; if anything that is shown has changed, it has another."""
    first = api.get(ORDER)
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = api.get(ORDER, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    for unknown in ('"x"', tag.strip('"'), "", '"*"'):
        again = api.get(ORDER, headers={"If-None-Match": unknown})
        assert (again.status_code, again.content) == (200, first.content)
    assert api.client.post("/api/parked/1/retry").status_code == 202
    assert api.get(ORDER, headers={"If-None-Match": tag}).headers["ETag"] != tag


@pytest.mark.parametrize("path", OF_ORDERS)
def test_what_was_decided_on_an_older_look_is_not_done(database_url: str, api: Api, path: str) -> None:
    """Nor is its dry run shown; with the tag of now it is done."""
    tag = api.get(ORDER).headers["ETag"]
    tell(database_url, record_of(Kind.UPDATED, order_id=1, offset=2, at_ns=1))
    for old in (tag, f"W/{tag}", "nonsense", "", '"*'):
        for dry_run in (True, False):
            refused = api.client.post(path, json=WRITES[path] | {"dryRun": dry_run}, headers={"If-Match": old})
            is_problem(refused, 412)
    assert actions(database_url) == []
    now = api.get(ORDER).headers["ETag"]
    assert api.client.post(path, json=WRITES[path], headers={"If-Match": f'"x", {now}'}).is_success
    assert len(actions(database_url)) == 1
    assert api.client.post(path, json=WRITES[path] | {"dryRun": True}, headers={"If-Match": "*"}).status_code != 412


def test_a_republication_is_not_begun_on_an_older_look(api: Api) -> None:
    """Before Kafka is asked for anything."""
    body = {"mode": "republish", "dryRun": True}
    is_problem(api.client.post("/api/orders/1/replay", json=body, headers={"If-Match": '"x"'}), 412)
    is_problem(api.client.post("/api/orders/2/replay", json=body, headers={"If-Match": '"x"'}), 404)


def test_a_change_while_the_action_waits_for_its_turn_counts(database_url: str, api: Api) -> None:
    """What was seen is looked at when nobody can change it any more."""
    seen = {"If-Match": api.get(ORDER).headers["ETag"]}
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as other:
        other.execute("UPDATE delivery SET parked_reason = 'another one' WHERE order_id = 1")
        waiting = pool.submit(api.client.post, "/api/parked/1/retry", headers=seen)
        wait_until(lambda: sql(database_url, WAITING_FOR_A_LOCK) == [(1,)], "the action waits for the order")
        other.commit()
        is_problem(waiting.result(), 412)
    assert actions(database_url) == []


def ask(api: Api, path: str, token: str, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
    return api.client.post(path, headers=headers, **more)


def test_a_reader_may_ask_for_dry_runs_and_for_nothing_else(database_url: str, api: Api) -> None:
    """As in the console. Every endpoint that changes something is asked, also those of a time to come."""
    posts = [
        path.replace("{orderId}", "1").replace("{id}", "1")
        for path, each in document()["paths"].items()
        if "post" in each
    ]
    dry = {path for path in posts if "/replays" not in path}
    assert dry == set(WRITES)
    for path in posts:
        body = WRITES.get(path, {})
        for given in (body, body | {"dryRun": False}):
            assert is_problem(ask(api, path, READ_TOKEN, json=given), 403)["detail"].startswith(
                "the token may read"
            )
        is_problem(ask(api, path, READ_TOKEN), 403 if path not in dry or "retry" in path else 415)
    for path in dry - {"/api/quarantine/1/retry"}:
        asked = ask(api, path, READ_TOKEN, json=WRITES[path] | {"dryRun": True}, headers={"Idempotency-Key": path})
        assert (asked.status_code, asked.json()["dryRun"]) == (200, True)
    is_problem(ask(api, "/api/quarantine/1/retry", READ_TOKEN, json={"dryRun": True}), 422)
    assert actions(database_url) == []
    for path in (ORDER, "/api/orders/1/replays", "/api/parked/1/retry/x"):
        is_problem(ask(api, path, READ_TOKEN, json={"dryRun": True}), 403)


def test_keys_of_a_reader_are_no_concern_of_the_operators(api: Api) -> None:
    """Nobody is answered with what another role was told, or kept from doing something by it."""
    path, key = "/api/parked/1/retry", {"Idempotency-Key": "k"}
    assert ask(api, path, READ_TOKEN, json={"dryRun": True}, headers=key).status_code == 200
    assert ask(api, path, TOKEN, json={"reason": "x"}, headers=key).status_code == 202
    assert ask(api, path, READ_TOKEN, json={"dryRun": True}, headers=key).headers["Idempotency-Hit"] == "true"


def test_the_record_tells_what_was_proved_from_what_was_claimed(database_url: str, api: Api) -> None:
    """The role is that of the token; the name is whatever they say."""
    claimed = {"X-Operator": "reader token"}
    assert ask(api, "/api/parked/1/retry", TOKEN, headers=claimed).status_code == 202
    with running_api(database_url) as unguarded:
        assert unguarded.client.post("/api/parked/1/retry").status_code == 202
    assert actions(database_url) == [
        ("retry", "reader token", "operator token", "api"),
        ("retry", "api", "no token", "api"),
    ]
    (last, first) = api.get("/api/audit").json()["actions"]
    assert (first["operator"], first["role"]) == ("reader token", "operator token")
    assert last["role"] == "no token"
    assert api.get(ORDER).json()["actions"][1]["role"] == "operator token"
    assert command_line_operator().role is Role.SHELL


async def _retried_by_a_reader(database_url: str) -> None:
    async with Database(database_url) as database:
        reader = Operator("x", Via.API, Role.READER)
        await PostgresParking(database).retry(1, ActionRequest(reader, "x"), dry_run=False)


def test_the_database_itself_refuses_the_actions_of_readers(database_url: str, api: Api) -> None:
    """Should an endpoint forget to: the record can't be written, and so nothing is done."""
    with pytest.raises(psycopg.errors.CheckViolation):
        asyncio.run(_retried_by_a_reader(database_url))
    assert sql(database_url, "SELECT parked_at IS NOT NULL FROM delivery") == [(True,)]
