"""Many doubts settled, and many held orders released: chosen by kind, age and money, and each on record once."""

import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.operations.interventions import InterventionService
from adapters.operations.jobs.kinds import releasing, settling
from adapters.operations.jobs.runner import JobKind
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.interventions import PostgresInterventions
from adapters.postgres.pool import Database
from adapters.records.jobs import BulkMode, Job, JobState, Selection
from domain.events import Doubt
from domain.messages import Kind
from tests.integration.test_api import is_problem
from tests.integration.test_bulk_replays import wait_for
from tests.integration.test_bulk_retry_and_redeliver import orders_of
from tests.integration.test_rebuild import check
from tests.support.bulk import SOMEBODY, Running, asked, previewed
from tests.support.messages import product, record_of
from tests.support.processes import run_app
from tests.support.running_api import RecordingThirdParty, deliver, project, running_api, sql, tell

pytestmark = pytest.mark.slow

DOUBTFUL = (1, 2, 3)
"""A second CREATED says another amount; 3 is also told of a change after its end."""
FINE = 4
HELD = (5, 6)
"""Completed without a CREATED."""
TIMES_NS = {1: 1_000, 2: 2_000, 3: 3_000}
AT_STAKE = {1: -6, 2: 1, 3: 60}


@pytest.fixture
def told(database_url: str) -> str:
    """All that can be delivered is; the list of orders has the age and the money of each doubt."""
    records = [
        *(record_of(Kind.CREATED, order_id=order) for order in (*DOUBTFUL, FINE)),
        *(record_of(Kind.CREATED, order_id=order, at_ns=1, items=[product(final=300)]) for order in DOUBTFUL),
        *(record_of(Kind.COMPLETED, order_id=order, at_ns=2) for order in (*DOUBTFUL, FINE, *HELD)),
        record_of(Kind.UPDATED, order_id=3, at_ns=3, items=[product(final=200)]),
    ]
    tell(database_url, *(replace(each, offset=number) for number, each in enumerate(records)))
    deliver(database_url)
    for order, since_ns in TIMES_NS.items():
        sql(
            database_url,
            "UPDATE orders SET doubtful_since_ns = %s, at_stake = %s WHERE order_id = %s",
            *(since_ns, AT_STAKE[order], order),
        )
    sql(database_url, "UPDATE orders SET held_since_ns = order_id * 1000 WHERE held > 0")
    return database_url


def mode_of(make: Callable[..., JobKind], database_url: str) -> Callable[[Database], JobKind]:
    def mode(database: Database) -> JobKind:
        decisions = partial(InterventionService, PostgresInterventions(database))
        return make(partial(OrderApplication, database_url, pool_size=1), decisions)

    return mode


def run(database_url: str, selection: Selection, mode: BulkMode, spoil: Callable[[], Any] = lambda: None) -> Job:
    """From its preview to its end; `spoil` comes between the preview and the start."""
    preview = previewed(database_url, selection, mode=mode, reason="all looked at")
    spoil()
    asked(database_url, lambda bulk: bulk.start(None, preview.token, by=SOMEBODY))
    make = settling if mode is BulkMode.SETTLE else releasing
    with Running(database_url, mode_of(make, database_url), mode):
        return wait_for(database_url, preview.replay.id, JobState.DONE)


def sent_to(database_url: str) -> list[tuple[int, str]]:
    third = RecordingThirdParty()
    project(database_url)
    deliver(database_url, third)
    return sorted((call.order_id, str(call.kind)) for call in third.calls)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(doubtful=True), [1, 2, 3]),
        (Selection(frozenset({1, 4, 5})), [1]),
        (Selection(doubt=Doubt.CREATED_TWICE), [1, 2, 3]),
        (Selection(doubt=Doubt.AFTER_END), [3]),
        (Selection(doubt=Doubt.CONFLICT), []),
        (Selection(doubtful_from_ns=2_000), [2, 3]),
        (Selection(doubtful_to_ns=2_000), [1]),
        (Selection(at_stake_max=Decimal(6)), [1, 2]),
        (Selection(at_stake_min=Decimal("1.01")), [1, 3]),
        (Selection(doubt=Doubt.CREATED_TWICE, at_stake_max=Decimal(6), doubtful_from_ns=1_001), [2]),
    ],
)
def test_what_is_settled_is_doubtful_and_meets_all_conditions(
    told: str, selection: Selection, expected: list[int]
) -> None:
    """By a list, by the kind of the doubt, its age and the money at stake; what is at stake in all is told."""
    preview = previewed(told, selection, mode=BulkMode.SETTLE)
    assert orders_of(told, preview) == expected
    assert preview.replay.settling is not None
    assert preview.replay.settling.calls == len(expected)
    assert preview.replay.settling.at_stake == sum(abs(AT_STAKE[order]) for order in expected)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(held=True), [5, 6]),
        (Selection(frozenset({1, 4, 5})), [5]),
        (Selection(held_from_ns=6_000), [6]),
        (Selection(held_to_ns=6_000), [5]),
    ],
)
def test_what_is_released_is_held_and_meets_all_conditions(
    told: str, selection: Selection, expected: list[int]
) -> None:
    """By a list, or by how long it has waited."""
    assert orders_of(told, previewed(told, selection, mode=BulkMode.RELEASE)) == expected


def test_doubts_are_settled_and_each_is_on_record_once(told: str) -> None:
    """With the name of whoever has started it. An order that isn't doubtful any more is passed by."""

    def settle_one() -> None:
        with running_api(told) as api:
            assert api.client.post("/api/orders/2/settle", json={"reason": "x"}).status_code == 202

    done = run(told, Selection(doubtful=True), BulkMode.SETTLE, settle_one)
    assert (done.done, done.failed) == (2, 1)
    assert done.failures[0][1].startswith("order 2 has no open doubt; ")
    assert sent_to(told) == [(1, "complete"), (2, "complete"), (3, "complete")]
    kept = sql(
        told,
        "SELECT action, operator, reason, order_id FROM operator_action WHERE bulk_id = %s AND order_id IS NOT NULL"
        " ORDER BY order_id",
        done.id,
    )
    assert kept == [("settle", "somebody", "all looked at", 1), ("settle", "somebody", "all looked at", 3)]
    with running_api(told) as api:
        assert api.get("/api/orders?doubtful=true").json()["orders"] == []
        assert api.get("/api/orders/3").json()["timeline"][-1]["decidedBy"] == "somebody"
    assert check(told, *DOUBTFUL) == []


def test_an_order_that_was_done_before_the_worker_died_counts_as_done(told: str) -> None:
    """Whoever takes over finds its record, and not that nothing is left to settle."""
    preview = previewed(told, Selection(doubtful=True), mode=BulkMode.SETTLE)
    sql(
        told,
        "INSERT INTO operator_action (operator, via, action, reason, order_id, bulk_id)"
        " VALUES ('somebody', 'api', 'settle', 'x', 1, %s)",
        preview.replay.id,
    )
    asked(told, lambda bulk: bulk.start(None, preview.token, by=SOMEBODY))
    with Running(told, mode_of(settling, told), BulkMode.SETTLE):
        assert wait_for(told, preview.replay.id, JobState.DONE).done == 3
    assert sent_to(told) == [(2, "complete"), (3, "complete")]


def test_held_orders_are_released(told: str) -> None:
    """Without a CREATED they are closed, and nothing is paid."""
    done = run(told, Selection(held_from_ns=0), BulkMode.RELEASE)
    assert (done.done, done.failed) == (2, 0)
    assert sent_to(told) == []
    assert sql(told, "SELECT count(*) FROM orders WHERE held > 0") == [(0,)]


def test_orders_parked_as_doubtful_are_left_out_of_what_is_retried(told: str) -> None:
    """By name, if they were named; and passed by if they are doubtful only when their turn comes."""
    preview = previewed(told, Selection(frozenset({1, 2})), mode=BulkMode.RETRY)
    assert (preview.replay.total, list(preview.left_out)) == (0, [1, 2])
    sql(told, "UPDATE delivery SET parked_reason = 'refused' WHERE order_id = 1")
    preview = previewed(told, Selection(parked=True), mode=BulkMode.RETRY)
    assert orders_of(told, preview) == [1]


def test_the_api_and_the_command_take_the_same_conditions(told: str, tmp_path: Path) -> None:
    """And show the same preview; a condition that can't be read is refused."""
    select = {
        "doubt": "created_twice",
        "doubtfulFrom": "1970-01-01T00:00:00Z",
        "atStakeMin": "0.5",
        "atStakeMax": "6",
    }
    with running_api(told) as api:
        body = {"mode": "settle", "reason": "x", "select": select}
        shown = api.client.post("/api/replays", json=body)
        assert shown.status_code == 201, shown.text
        for wrong in ({"atStakeMin": 1}, {"atStakeMin": "-1"}, {"doubt": "none"}, {"doubtful": False}):
            is_problem(api.client.post("/api/replays", json=body | {"select": wrong}), 422)
    assert shown.json()["select"] == select | {"doubtful": True, "doubtfulFrom": "1970-01-01T00:00:00.000000000Z"}
    assert (shown.json()["total"], shown.json()["settling"]) == (2, {"calls": 2, "amountAtStake": 7})

    def command(*words: str, code: int = 0) -> str:
        done = run_app("replay-many", *words, folder=tmp_path, settings={"database_url": told})
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    options = ("--doubt", "created_twice", "--doubtful-from", "1970-01-01T00:00:00Z", "--at-stake-min", "0.5")
    preview = json.loads(command("--mode", "settle", *options, "--at-stake-max", "6", "--dry-run", "--json"))
    assert preview["settling"] == {"calls": 2, "amountAtStake": 7}
    assert "at stake: 67.00" in command("--mode", "settle", "--doubtful", "--dry-run")
    assert "error: --at-stake-max: " in command("--mode", "settle", "--at-stake-max", "much", code=2)
    assert "2 done, 0 failed" in command("--mode", "release", "--held", "--yes", "--reason", "lost")
    assert "3 done, 0 failed" in command("--mode", "settle", "--doubtful", "--yes", "--reason", "looked at")
    assert sent_to(told) == [(1, "complete"), (2, "complete"), (3, "complete")]
