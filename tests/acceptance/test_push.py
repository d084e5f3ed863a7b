"""The push role as real processes, from the event store to the sandbox third party, whatever happens to them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Final

import pytest

from adapters.postgres.migrate import migrate
from domain.messages import Kind
from sandbox.servers.free_port import free_port
from sandbox.servers.postgres import EmbeddedPostgres
from tests.support.event_store import append, sql, stream, streams
from tests.support.processes import App, Apps
from tests.support.sandbox_process import Sandbox, start_push, start_sandbox, undelivered

pytestmark = pytest.mark.slow

LIFECYCLE: Final = (Kind.CREATED, Kind.UPDATED, Kind.UPDATED, Kind.COMPLETED)
CONCURRENCY: Final = 8
PUSH: Final[dict[str, object]] = {
    "third_party_timeout_seconds": 4,
    "push_lease_seconds": 10,
    "push_concurrency": CONCURRENCY,
    "push_max_attempts": 100,
    "push_backoff_base_seconds": 0.05,
    "push_backoff_max_seconds": 0.5,
    "log_format": "json",
}
AWAY: Final = "waiting for the ledger"
REFUSED: Final = "the third party refuses our credentials"


@pytest.fixture
def apps(tmp_path: Path, database_url: str) -> Iterator[Apps]:
    apps = Apps(tmp_path, {"database_url": database_url, **PUSH})
    yield apps
    apps.close()


@pytest.fixture
def sandbox(apps: Apps) -> Sandbox:
    return start_sandbox(apps)


def wait_for_calls(sandbox: Sandbox, push: App, number: int) -> None:
    push.wait_until(lambda: sandbox.show("totals")["calls"] >= number, f"{number} calls")


def wait_for_more(push: App, outages: int) -> None:
    push.wait_until(lambda: push.count("state", state=AWAY) > outages, "the outage is noticed")


def attempts(database_url: str) -> Counter[str]:
    """How often each call was sent, by key, as far as it's known."""
    joined = (
        "SELECT idempotency_key, count(*) FROM attempt JOIN effect USING (order_id, version)"
        " WHERE attempt.kind = 'call' GROUP BY 1"
    )
    return Counter({str(key): count for key, count in sql(database_url, joined)})


def assert_paid_once(sandbox: Sandbox, orders: int) -> None:
    """Every order is completed with its amount, and the third party has nothing to complain of."""
    assert sandbox.show("violations") == {"violations": [], "count": 0}
    found = [
        (row["orderId"], row["status"], row["credits"], row["cashbackAmount"])
        for row in sandbox.show("orders")["orders"]
    ]
    assert found == [(order_id, "COMPLETED", 1, 6) for order_id in range(1, orders + 1)]


def test_processes_that_are_killed_under_load_lose_nothing_and_pay_nothing_twice(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """Three of them, one call in five failing, one answer in twenty lost, some killed and others started: all is
    delivered, and the third party saw every call in order, never two of one order at once."""
    orders = 200
    sandbox.faults(errorRate=0.2, lostAnswerRate=0.05, latencyMs=10, seed=1)
    running = [start_push(apps, sandbox) for _ in range(3)]
    for part in range(4):
        append(database_url, streams(range(1 + part * 50, 51 + part * 50), LIFECYCLE))
        wait_for_calls(sandbox, running[-1], sandbox.show("totals")["calls"] + 100)
        if part < 3:
            running.pop(0).kill()
            running.append(start_push(apps, sandbox))
    running[-1].wait_until(lambda: undelivered(database_url) == 0, "everything is delivered")
    assert [app.terminate() for app in running] == [0, 0, 0]
    assert_paid_once(sandbox, orders)
    tried, seen = attempts(database_url), sandbox.keys
    assert tried <= seen, "what is in the record was sent"
    assert (seen - tried).total() <= 3 * CONCURRENCY * 4, "but for what the killed ones had in hand"
    assert sql(database_url, "SELECT count(*) FROM delivery WHERE parked_at IS NOT NULL") == [(0,)]


def test_a_process_that_stood_still_past_its_lease_wakes_up_harmless(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """Stopped with calls under way, it wakes when others have sent them: nothing overlaps, nothing is out of order,
    and what it had in hand goes out again only with the key that it had."""
    orders = 120
    sandbox.faults(latencyMs=20)
    quick = {"third_party_timeout_seconds": 1, "push_lease_seconds": 2.5}
    sleeper, *others = (start_push(apps, sandbox, **quick) for _ in range(3))
    append(database_url, streams(range(1, orders + 1), LIFECYCLE))
    claimed = "SELECT count(*) FROM delivery WHERE lease_token IS NOT NULL"
    sleeper.wait_until(lambda: sql(database_url, claimed) != [(0,)], "calls are under way")
    sleeper.signal(SIGSTOP)
    others[0].wait_until(lambda: undelivered(database_url) == 0, "the others have delivered everything")
    append(database_url, streams(range(orders + 1, 2 * orders + 1), LIFECYCLE))
    sleeper.signal(SIGCONT)
    others[0].wait_until(lambda: undelivered(database_url) == 0, "all is delivered")
    assert [app.terminate() for app in (sleeper, *others)] == [0, 0, 0]
    assert_paid_once(sandbox, 2 * orders)


LONG_LEASE: Final[dict[str, object]] = {"third_party_timeout_seconds": 2, "push_lease_seconds": 3600}
CLAIMED: Final = "SELECT count(*) FROM delivery WHERE claimed_by IS NOT NULL"


def test_what_a_killed_process_had_claimed_goes_on_long_before_its_leases_end(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """Once its session is gone and its last call is over; no two calls of one order at once."""
    orders = 20
    sandbox.faults(latencyMs=1000)
    killed = start_push(apps, sandbox, **LONG_LEASE)
    append(database_url, streams(range(1, orders + 1), LIFECYCLE))
    killed.wait_until(lambda: sql(database_url, CLAIMED) == [(CONCURRENCY,)], "calls are under way")
    killed.kill()
    sandbox.faults(latencyMs=10)
    other = start_push(apps, sandbox, **LONG_LEASE)
    other.wait_until(lambda: undelivered(database_url) == 0, "the other has delivered everything")
    assert other.terminate() == 0
    assert_paid_once(sandbox, orders)
    [(lost,)] = sql(database_url, "SELECT count(DISTINCT order_id) FROM attempt WHERE kind = 'lost'")
    assert lost == CONCURRENCY


def test_a_process_that_stood_still_while_it_lost_its_session_wakes_up_harmless(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """As after a network that was cut: others have its orders by then, though its leases run for an hour still."""
    orders = 20
    sandbox.faults(latencyMs=200)
    sleeper = start_push(apps, sandbox, **LONG_LEASE)
    append(database_url, streams(range(1, orders + 1), LIFECYCLE))
    sleeper.wait_until(lambda: sql(database_url, CLAIMED) == [(CONCURRENCY,)], "calls are under way")
    sleeper.signal(SIGSTOP)
    ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"
    assert sql(database_url, ends, "cashback-delivery-session") == [(1,)]
    other = start_push(apps, sandbox, **LONG_LEASE)
    other.wait_until(lambda: undelivered(database_url) == 0, "the other has delivered everything")
    sleeper.signal(SIGCONT)
    append(database_url, streams(range(orders + 1, 2 * orders + 1), LIFECYCLE))
    other.wait_until(lambda: undelivered(database_url) == 0, "all is delivered")
    assert [app.terminate() for app in (sleeper, other)] == [0, 0]
    assert_paid_once(sandbox, 2 * orders)


def test_processes_whose_clocks_are_wrong_by_hours_deliver_all_the_same(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """One is ahead of the database, one behind, one is right: leases, retries and the age of keys go by the
    database's clock, so nothing overlaps, nothing waits for hours, and no key counts as forgotten."""
    orders = 90
    sandbox.faults(errorRate=0.2, lostAnswerRate=0.05, latencyMs=10, seed=2)
    push: dict[str, object] = {"third_party_url": sandbox.url, "third_party_key_retention_hours": 1}
    running = [apps.start_with_wrong_clock(hours * 3600, "serve", "--only", "push", **push) for hours in (-3, 0, 3)]
    append(database_url, streams(range(1, orders + 1), LIFECYCLE))
    running[0].wait_until(lambda: undelivered(database_url) == 0, "everything is delivered")
    assert [app.terminate() for app in running] == [0, 0, 0]
    assert_paid_once(sandbox, orders)
    noted = "SELECT count(DISTINCT date_trunc('hour', started_at - now())) FROM attempt"
    assert sql(database_url, noted) != [(1,)], "no clock was wrong: the test shows nothing"
    assert sql(database_url, "SELECT count(*) FROM attempt WHERE kind = 'lookup'") == [(0,)]


def test_a_database_that_is_restarted_costs_no_attempt(tmp_path: Path) -> None:
    """Twice under load, on the same folder and port; the process goes on by itself."""
    orders, port = 150, free_port()
    database = EmbeddedPostgres(tmp_path / "database", durable=False, find_port=lambda: port)
    url = database.start()
    apps = Apps(tmp_path, {"database_url": url, **PUSH})
    try:
        migrate(url)
        append(url, streams(range(1, orders + 1), LIFECYCLE))
        sandbox = start_sandbox(apps)
        sandbox.faults(latencyMs=20)
        push = start_push(apps, sandbox)
        for calls in (100, 250):
            wait_for_calls(sandbox, push, calls)
            before = push.count("state", state=AWAY)
            database.stop()
            wait_for_more(push, before)
            assert database.start() == url
        push.wait_until(lambda: undelivered(url) == 0, "everything is delivered")
        assert push.terminate() == 0
        assert_paid_once(sandbox, orders)
        assert sql(url, "SELECT DISTINCT outcome FROM attempt WHERE kind = 'call'") == [("delivered",)]
        assert sql(url, "SELECT count(*) FROM delivery WHERE attempts > 0 OR parked_at IS NOT NULL") == [(0,)]
    finally:
        apps.close()
        database.stop()


def test_a_process_that_is_told_to_stop_ends_its_calls_first(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """Their answers are in the record, nobody has to wait for a lease to end, and it leaves with 0."""
    append(database_url, streams(range(1, 51), LIFECYCLE))
    sandbox.faults(latencyMs=500)
    push = start_push(apps, sandbox)
    push.wait_until(sandbox.is_at_work, "calls are under way")
    assert push.terminate() == 0
    calls = sandbox.calls
    assert {call["outcome"] for call in calls} == {"answered"}
    assert attempts(database_url) == sandbox.keys
    assert sql(database_url, "SELECT count(*) FROM delivery WHERE lease_token IS NOT NULL") == [(0,)]
    assert len(calls) < 50 * len(LIFECYCLE)


def test_a_call_that_hangs_does_not_keep_a_process_from_stopping(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """It is given up in doubt, and goes out again with the same key when the process is back."""
    append(database_url, stream(1, LIFECYCLE))
    sandbox.faults(hangRate=1)
    patient = {"third_party_timeout_seconds": 600, "push_lease_seconds": 1300}
    push = start_push(apps, sandbox, **patient, shutdown_timeout_seconds=2)
    push.wait_until(sandbox.is_at_work, "the call is under way")
    push.signal(SIGTERM)
    assert push.wait() == 0
    assert sql(database_url, "SELECT outcome FROM attempt") == [("in_doubt",)]
    sandbox.faults(hangRate=0)
    push = start_push(apps, sandbox)
    push.wait_until(lambda: undelivered(database_url) == 0, "everything is delivered")
    assert push.terminate() == 0
    assert_paid_once(sandbox, 1)
    assert set(sandbox.keys.values()) == {1, 2}


def test_a_wrong_token_holds_everything_and_costs_nothing(apps: Apps, database_url: str) -> None:
    """It's said loudly; with the right one all goes on."""
    sandbox = start_sandbox(apps, third_party_token="right")
    append(database_url, streams(range(1, 21), LIFECYCLE))
    push = start_push(apps, sandbox, third_party_token="wrong", push_max_attempts=1)
    held = f"{REFUSED}; breaker open"
    push.wait_until(lambda: push.count("state", part="push", state=held) > 1, "the probe is refused, too")
    assert push.count("breaker opened", reason=REFUSED) == 1
    assert push.terminate() == 0
    assert sql(database_url, "SELECT count(*) FROM delivery WHERE attempts > 0 OR parked_at IS NOT NULL") == [(0,)]
    push = start_push(apps, sandbox, third_party_token="right", push_max_attempts=1)
    push.wait_until(lambda: undelivered(database_url) == 0, "everything is delivered")
    assert push.terminate() == 0
    assert_paid_once(sandbox, 20)


def test_a_call_whose_notification_was_missed_is_found_all_the_same(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """The dispatcher looks again by itself: a notification only wakes it."""
    push = start_push(apps, sandbox)
    push.wait_for("state", part="push", state="sending")
    for order_id in (1, 2):
        append(database_url, stream(order_id, LIFECYCLE))
        push.wait_until(lambda: undelivered(database_url) == 0, "the order is delivered")
        # In silence, as if the notification had been lost.
        sql(database_url, "UPDATE effect SET state = 'due' WHERE order_id = %s", order_id)
        set_back = "UPDATE delivery SET settled_version = 0, next_attempt_at = now() WHERE order_id = %s"
        sql(database_url, set_back, order_id)
        push.wait_until(lambda: undelivered(database_url) == 0, "the order is delivered again")
    assert push.terminate() == 0
    assert_paid_once(sandbox, 2)
    assert set(sandbox.keys.values()) == {2}
