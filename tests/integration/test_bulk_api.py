"""Bulk replays over HTTP: previews, starts, progress, cancellation, and how they are refused."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from adapters.records.jobs import MAX_ORDERS, TOKEN_MINUTES
from domain.exact_json import loads
from tests.integration.test_api import is_problem, walk
from tests.integration.test_bulk_replays import ORDERS, SOME
from tests.support.running_api import Api, running_api, sql

pytestmark = pytest.mark.slow


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    """Over a database with a few orders; nobody works on bulk replays."""
    sql(database_url, ORDERS, 1, len(SOME))
    with running_api(database_url) as running:
        yield running


def preview(api: Api, **select: Any) -> httpx.Response:
    return api.client.post("/api/replays", json={"mode": "republish", "select": select, "reason": " a test "})


def start(api: Api, preview: dict[str, Any], token: str | None = None) -> httpx.Response:
    return api.client.post(f"/api/replays/{preview['id']}/start", json={"token": token or preview["token"]})


def test_a_preview_says_what_would_be_done_and_does_nothing(database_url: str, api: Api) -> None:
    """With exact money, a sample, and the token; it can be looked at again, without the token."""
    answer = preview(api, status="COMPLETED", changedFrom="1970-01-01T00:00:00.000002Z")
    assert answer.status_code == 201
    shown = loads(answer.content)
    assert b'"cashbackAmount":15.40' in answer.content
    assert (shown["total"], shown["done"], shown["state"], shown["byStatus"]) == (
        2,
        0,
        "previewed",
        {"COMPLETED": 2},
    )
    assert [each["orderId"] for each in shown["sample"]] == [9, 5]
    assert shown["leftOut"] == {"count": 0, "orders": []}
    assert shown["select"] == {"status": "COMPLETED", "changedFrom": "1970-01-01T00:00:00.000002000Z"}
    assert (shown["reason"], shown["ratePerSecond"]) == ("a test", 50)
    assert len(shown["token"]) >= 20
    again = api.get(answer.headers["Location"])
    assert (again.status_code, again.json()["id"]) == (200, shown["id"])
    assert shown["token"] not in again.text
    assert sql(database_url, "SELECT state, lease_token FROM job") == [("previewed", None)]


def test_a_replay_is_started_watched_and_cancelled(database_url: str, api: Api) -> None:
    """A second cancellation says the same."""
    made = preview(api, orders=[1, 2, 2]).json()
    running = start(api, made)
    assert (running.status_code, running.json()["state"], running.json()["total"]) == (202, "running", 2)
    sql(database_url, "UPDATE job SET done = 1, findings = '[[1, \"ill\"]]', note = 'Kafka is away'")
    shown = api.get(f"/api/replays/{made['id']}").json()
    assert (shown["done"], shown["note"], shown["failures"]) == (
        1,
        "Kafka is away",
        [{"orderId": 1, "reason": "ill"}],
    )
    assert shown["expectedEnd"] > shown["startedAt"]
    cancelled = [api.client.post(f"/api/replays/{made['id']}/cancel") for _ in range(2)]
    assert [(each.status_code, each.json()["state"]) for each in cancelled] == [(200, "cancelled")] * 2
    assert cancelled[0].json() == cancelled[1].json()


def test_what_cannot_be_started_or_cancelled_is_refused_by_name(database_url: str, api: Api) -> None:
    """As problem details; a running replay that is in the way is named."""
    one, other = preview(api, orders=[1, 2]).json(), preview(api, orders=[2, 3]).json()
    assert "token" in is_problem(start(api, one, other["token"]), 409)["detail"]
    start(api, one)
    assert is_problem(start(api, other), 409)["running"] == one["id"]
    assert "running already" in is_problem(start(api, one), 409)["detail"]
    sql(database_url, "UPDATE job SET expires_at = now() WHERE id = %s", UUID(other["id"]))
    assert f"{TOKEN_MINUTES} minutes" in is_problem(start(api, other), 410)["detail"]
    sql(database_url, "UPDATE job SET state = 'done' WHERE id = %s", UUID(one["id"]))
    assert "done already" in is_problem(api.client.post(f"/api/replays/{one['id']}/cancel"), 409)["detail"]
    for unknown in (uuid4(), "1"):
        status = 400 if unknown == "1" else 404
        is_problem(api.get(f"/api/replays/{unknown}"), status)
        is_problem(api.client.post(f"/api/replays/{unknown}/start", json={"token": "x"}), status)
        is_problem(api.client.post(f"/api/replays/{unknown}/cancel"), status)


def test_a_selection_that_says_nothing_or_too_much_is_refused(database_url: str, api: Api) -> None:
    """Nothing is kept of it."""
    is_problem(preview(api), 422)
    assert is_problem(preview(api, orders=[1, "x"]), 422)["errors"][0]["pointer"] == "#/select/orders/1"
    is_problem(preview(api, changedFrom="yesterday"), 422)
    is_problem(api.client.post("/api/replays", content=b"{}"), 415)
    sql(database_url, ORDERS, len(SOME) + 1, MAX_ORDERS + 1)
    assert "narrow" in is_problem(preview(api, changedFrom="1970-01-01T00:00:00Z"), 422)["detail"]
    assert sql(database_url, "SELECT 1 FROM job") == []


def test_as_many_orders_may_be_named_as_there_may_be(api: Api) -> None:
    """Their ids may be the longest ones there are: that is more than other requests may hold."""
    longest = list(range(2**63 - MAX_ORDERS, 2**63))
    made = preview(api, orders=longest).json()
    assert (made["total"], made["leftOut"]["count"], len(made["leftOut"]["orders"])) == (0, MAX_ORDERS, 100)
    is_problem(api.client.post("/api/replays", json={"reason": "x" * 4_000_000}), 413)
    is_problem(api.client.post(f"/api/replays/{made['id']}/start", json={"token": "x" * 100_000}), 413)


def test_the_list_goes_from_the_last_one_to_the_first(api: Api) -> None:
    """Page by page."""
    made = [preview(api, orders=[order]).json()["id"] for order in range(1, 6)]
    assert [each["id"] for each in walk(api, "/api/replays", "replays", limit=2)] == made[::-1]
