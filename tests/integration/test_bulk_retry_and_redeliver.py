"""Many orders repaired at once: parked ones retried, and calls sent again, each on record under the bulk's id."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from adapters.operations.jobs.kinds import redelivering, retrying
from adapters.operations.jobs.runner import JobKind
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.replays import PostgresReplays
from adapters.records.jobs import (
    MAX_REDELIVERED_ORDERS,
    BulkMode,
    Job,
    JobState,
    Outcomes,
    Preview,
    Selection,
    TooManyOrders,
)
from domain.messages import Kind
from projections.delivery.ports import Call
from projections.redelivery import Include, RedeliveryOptions
from tests.integration.test_api import is_problem
from tests.integration.test_bulk_replays import ORDERS, wait_for
from tests.support.bulk import SOMEBODY, Running, asked, previewed
from tests.support.messages import record_of
from tests.support.running_api import RecordingThirdParty, deliver, refuse, running_api, sql, tell
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

SOME = range(1, 9)
EVEN = frozenset(order for order in SOME if order % 2 == 0)
PARKED = "SELECT order_id FROM delivery WHERE parked_at IS NOT NULL ORDER BY order_id"


def retry_mode(database: Database) -> JobKind:
    return retrying(PostgresParking(database))


def redeliver_mode(database: Database) -> JobKind:
    return redelivering(PostgresReplays(database), timedelta(hours=24))


def run(
    database_url: str, preview: Preview, mode: Callable[[Database], JobKind], state: JobState = JobState.DONE
) -> Job:
    """From its start to its end."""
    asked(database_url, lambda bulk: bulk.start(None, preview.token, by=SOMEBODY))
    with Running(database_url, mode, preview.replay.kind):
        return wait_for(database_url, preview.replay.id, state)


def orders_of(database_url: str, preview: Preview) -> list[int]:
    [(orders,)] = sql(database_url, "SELECT orders FROM job WHERE id = %s", preview.replay.id)
    return list(orders)


def by_order(calls: list[Call], order_id: int) -> list[int]:
    return [call.version for call in calls if call.order_id == order_id]


@pytest.fixture
def parked(database_url: str) -> str:
    """Eight orders with two calls each; the even ones are parked at their create."""
    kinds = (Kind.CREATED, Kind.COMPLETED)
    tell(
        database_url,
        *(record_of(kind, order_id=o, offset=2 * o + n, at_ns=n) for o in SOME for n, kind in enumerate(kinds)),
    )
    deliver(database_url, RecordingThirdParty(refuse(*EVEN)))
    sql(
        database_url,
        "UPDATE delivery SET parked_reason = '12 attempts failed', parked_at = now() - interval '1 d'"
        " WHERE order_id = 2",
    )
    return database_url


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(parked=True), [2, 4, 6, 8]),
        (Selection(parked_reason="refused with"), [4, 6, 8]),
        (Selection(parked_reason="12 attempts failed"), [2]),
        (Selection(parked_reason="%"), []),
        (Selection(parked_from_ns=0), [2, 4, 6, 8]),
        (Selection(parked_to_ns=0), []),
        (Selection(frozenset({1, 2, 3, 4, 99})), [2, 4]),
        (Selection(frozenset({2, 4}), parked_reason="refused"), [4]),
    ],
)
def test_what_is_retried_is_parked_and_meets_all_conditions(
    parked: str, selection: Selection, expected: list[int]
) -> None:
    """By a list, by the beginning of the reason, by the moment; the money of just those is told."""
    preview = previewed(parked, selection, mode=BulkMode.RETRY)
    assert orders_of(parked, preview) == expected
    assert preview.replay.cashback == 6 * len(expected)
    assert preview.left_out_count == len((selection.orders or frozenset()).difference(expected))


def test_the_moment_of_parking_chooses(parked: str) -> None:
    """The first moment is part of the span, the last one isn't."""
    [(moment,)] = sql(
        parked, "SELECT (extract(epoch FROM parked_at) * 1000000)::bigint * 1000 FROM delivery WHERE order_id = 2"
    )
    for selection, expected in (
        (Selection(parked_to_ns=moment), []),
        (Selection(parked_from_ns=moment, parked_to_ns=moment + 1), [2]),
        (Selection(parked_from_ns=moment + 1), [4, 6, 8]),
    ):
        assert orders_of(parked, previewed(parked, selection, mode=BulkMode.RETRY)) == expected


def test_parked_orders_go_on_and_each_is_on_record_once(parked: str) -> None:
    """With the name of whoever has started it. One that isn't parked any more when its turn comes is passed by."""
    preview = previewed(parked, Selection(parked=True), mode=BulkMode.RETRY, reason="repaired")
    sql(parked, "UPDATE delivery SET settled_version = head_version, parked_at = NULL WHERE order_id = 8")
    done = run(parked, preview, retry_mode)
    assert (done.done, done.failures) == (3, [(8, "it is idle, not parked")])
    third = RecordingThirdParty()
    deliver(parked, third)
    assert {order: by_order(third.calls, order) for order in SOME} == {
        order: [1, 2] if order in {2, 4, 6} else [] for order in SOME
    }
    recorded = sql(
        parked,
        "SELECT action, operator, reason, order_id, version, state_before FROM operator_action"
        " WHERE bulk_id = %s ORDER BY id",
        preview.replay.id,
    )
    assert recorded == [
        ("bulk_start", "somebody", "repaired", None, None, "previewed"),
        *(("retry", "somebody", "repaired", order, 1, "parked") for order in (2, 4, 6)),
    ]


def test_orders_that_come_a_second_time_are_not_done_again(parked: str) -> None:
    """As when the process dies before it has noted how far it came."""
    preview = previewed(parked, Selection(parked=True), mode=BulkMode.RETRY)
    run(parked, preview, retry_mode)
    deliver(parked, RecordingThirdParty(refuse(*EVEN)))
    assert [order for (order,) in sql(parked, PARKED)] == [2, 4, 6, 8]
    sql(parked, "UPDATE job SET state = 'running', place = 0, done = 0")
    with Running(parked, retry_mode, BulkMode.RETRY):
        done = wait_for(parked, preview.replay.id, JobState.DONE)
    assert (done.done, done.failed) == (4, 0)
    assert len(sql(parked, PARKED)) == 4, "they were retried once"


def test_calls_of_many_orders_are_sent_again_as_foretold(parked: str) -> None:
    """Under new keys, with the amounts that could be paid again; and once only, whoever takes it over."""
    options = RedeliveryOptions(nonce="n", include=frozenset({Include.SKIPPED}))
    preview = previewed(parked, Selection(frozenset(SOME)), mode=BulkMode.REDELIVER, options=options)
    foretold = preview.replay.foretold
    assert foretold is not None
    assert (foretold.calls, foretold.suppressed, foretold.amount_at_risk) == (16, 0, Decimal(24))
    assert preview.replay.options == options
    run(parked, preview, redeliver_mode)
    sql(parked, "UPDATE job SET state = 'running', place = 0, done = 0")
    with Running(parked, redeliver_mode, BulkMode.REDELIVER):
        wait_for(parked, preview.replay.id, JobState.DONE)
    assert sql(parked, "SELECT DISTINCT generation FROM effect") == [(1,)]
    third = RecordingThirdParty()
    deliver(parked, third)
    assert all(by_order(third.calls, order) == [1, 2] for order in SOME)
    assert sql(parked, "SELECT count(*), sum(items) FROM replay WHERE id = %s", preview.replay.id) == [(8, 16)]
    again = previewed(
        parked, Selection(frozenset(SOME)), mode=BulkMode.REDELIVER, options=RedeliveryOptions(nonce="m")
    )
    run(parked, again, redeliver_mode)
    back = previewed(parked, Selection(frozenset({1, 2})), mode=BulkMode.REDELIVER, options=options)
    failed = run(parked, back, redeliver_mode)
    assert [order for order, why in failed.failures if "nonce" in why] == [1, 2]


def test_an_order_whose_call_is_under_way_is_waited_for(parked: str) -> None:
    """The others are done meanwhile, and it says why."""
    sql(
        parked,
        "UPDATE delivery SET lease_token = gen_random_uuid(), next_attempt_at = now() + interval '1 h'"
        " WHERE order_id = 3",
    )
    preview = previewed(
        parked, Selection(frozenset({1, 3})), mode=BulkMode.REDELIVER, options=RedeliveryOptions(nonce="n")
    )
    asked(parked, lambda bulk: bulk.start(None, preview.token, by=SOMEBODY))
    with Running(parked, redeliver_mode, BulkMode.REDELIVER):
        note = "SELECT note FROM job"
        wait_until(lambda: "under way" in (sql(parked, note)[0][0] or ""), "the reason")
        sql(parked, "UPDATE delivery SET next_attempt_at = now() WHERE order_id = 3")
        done = wait_for(parked, preview.replay.id, JobState.DONE)
    assert (done.done, done.failed) == (2, 0)


def test_a_bulk_redelivery_is_bounded(database_url: str) -> None:
    """Its preview looks at each call."""
    sql(database_url, ORDERS, 1, MAX_REDELIVERED_ORDERS + 1)
    with pytest.raises(TooManyOrders, match=str(MAX_REDELIVERED_ORDERS)):
        previewed(database_url, Selection(changed_from_ns=0), mode=BulkMode.REDELIVER)


def test_previews_starts_and_ends_over_http_are_on_record(parked: str) -> None:
    """With what was wished for; a wish that doesn't fit the mode is refused."""
    with running_api(parked) as api:

        def preview(**body: Any) -> Any:
            return api.client.post("/api/replays", json={"reason": "a test", **body})

        select = {"parkedReason": "refused", "parkedFrom": "2020-01-01T00:00:00Z"}
        retry = preview(mode="retry", select=select)
        assert (retry.status_code, retry.json()["total"], retry.json()["redelivery"]) == (201, 3, None)
        assert retry.json()["select"] == {
            "parked": True,
            "parkedReason": "refused",
            "parkedFrom": "2020-01-01T00:00:00.000000000Z",
        }
        made = preview(mode="redeliver", select={"parked": True}, how="resume", nonce="n").json()
        assert made["redelivery"] == {
            "how": "resume",
            "nonce": "n",
            "include": [],
            "calls": 8,
            "suppressed": 0,
            "amountAtRisk": 0,
        }
        is_problem(preview(mode="retry", select=select, nonce="n"), 422)
        is_problem(preview(mode="retry", select={}), 422)
        named = {"X-Operator": "anna"}
        path = f"/api/replays/{made['id']}"
        assert api.client.post(f"{path}/start", json={"token": made["token"]}, headers=named).status_code == 202
        for _ in range(2):
            assert api.client.post(f"{path}/cancel", headers=named).status_code == 200
        actions = api.get("/api/audit").json()["actions"]
        assert [
            (each["action"], each["operator"], each["stateAfter"], UUID(each["bulkId"])) for each in actions
        ] == [
            ("bulk_cancel", "anna", "cancelled", UUID(made["id"])),
            ("bulk_start", "anna", "running", UUID(made["id"])),
        ]
        assert actions[1]["detail"] == {"mode": "redeliver", "orders": 4, "cashbackAmount": 24, "amountAtRisk": 0}


def test_what_was_retried_is_told_by_what_became_of_it(parked: str) -> None:
    """That all were asked for isn't that all were taken: two are refused again, one waits for the third party."""
    preview = previewed(parked, Selection(parked=True), mode=BulkMode.RETRY)
    done = run(parked, preview, retry_mode)
    assert (done.done, done.failed, preview.replay.outcomes) == (4, 0, None)
    assert done.outcomes == Outcomes(delivered=0, waiting=4, parked=0)
    deliver(parked, RecordingThirdParty(refuse(2, 4)))
    sql(parked, "UPDATE delivery SET settled_version = head_version - 1 WHERE order_id = 6")
    became = Outcomes(delivered=1, waiting=1, parked=2)
    assert asked(parked, lambda jobs: jobs.get(preview.replay.id)).outcomes == became
    with running_api(parked) as api:
        shown = api.get(f"/api/replays/{preview.replay.id}").json()
        assert (shown["done"], shown["outcomes"]) == (4, {"delivered": 1, "waiting": 1, "parked": 2})
        (listed,) = api.get("/api/replays").json()["replays"]
        assert listed["outcomes"] is None


def test_orders_are_chosen_by_how_they_differ(parked: str) -> None:
    """Only by differences that are open."""
    for order_id, verdict in ((1, "missing_there"), (3, "missing_there"), (5, "amount")):
        sql(parked, "INSERT INTO reconciliation (order_id, class) VALUES (%s, %s)", order_id, verdict)
    sql(parked, "UPDATE reconciliation SET closed_at = now() WHERE order_id = 3")
    for selection, expected in (
        (Selection(difference="missing_there"), [1]),
        (Selection(difference="amount"), [5]),
        (Selection(difference="state"), []),
    ):
        assert orders_of(parked, previewed(parked, selection, mode=BulkMode.REDELIVER)) == expected


def test_a_preview_is_reviewed_and_started_from_its_address(parked: str) -> None:
    """By a colleague who hasn't the token: the page shows the same set, and starts it."""
    with running_api(parked) as api:
        page = api.client.get("/replays/new").text
        form = {"form_token": re.findall(r'name="form_token" value="([^"]+)"', page)[0], "mode": "retry"}
        form |= {"parked_reason": "refused with status 422", "rate": "50", "reason": "they repaired it"}
        made = api.client.post("/replays/new", data=form).text
        address = re.findall(r'href="(/jobs/[0-9a-f-]{36})"', made)[0]
        shown = api.client.get(address).text
        assert re.findall("<h1>(.*)</h1>", shown) == ["Preview: three orders"]
        assert "parked because “refused with status 422…”" in shown
        start = f"/replays/{address.rpartition('/')[2]}/start"
        unsaid = api.client.post(start, data={"form_token": form["form_token"]})
        assert (unsaid.status_code, sql(parked, "SELECT state FROM job")) == (422, [("previewed",)])
        begun = api.client.post(start, data={"form_token": form["form_token"], "confirmed": "yes"})
        assert (begun.status_code, begun.headers["location"]) == (303, address)
        assert sql(parked, "SELECT state FROM job") == [("running",)]
        is_problem(api.client.post(f"/api{start}", json={}), 422)
