"""Calls in doubt end to end: the push role as real processes, a third party that loses answers and forgets keys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from domain.messages import Kind
from tests.support.event_store import append, sql, streams
from tests.support.processes import Apps
from tests.support.sandbox_process import Sandbox, start_push, start_sandbox, undelivered

pytestmark = pytest.mark.slow

COMPLETED: Final = (Kind.CREATED, Kind.UPDATED, Kind.COMPLETED)
CANCELLED: Final = (Kind.CREATED, Kind.UPDATED, Kind.CANCELLED)
PUSH: Final[dict[str, object]] = {
    "third_party_timeout_seconds": 2,
    "third_party_key_retention_hours": 0,
    "push_lease_seconds": 5,
    "push_concurrency": 8,
    "push_backoff_base_seconds": 0.05,
    "push_backoff_max_seconds": 0.5,
    "log_format": "json",
}


@pytest.fixture
def apps(tmp_path: Path, database_url: str) -> Iterator[Apps]:
    apps = Apps(tmp_path, {"database_url": database_url, **PUSH})
    yield apps
    apps.close()


@pytest.fixture
def sandbox(apps: Apps) -> Sandbox:
    return start_sandbox(apps)


def test_a_third_party_that_forgets_keys_is_told_nothing_twice(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """Answers get lost, a process is killed under load, no key is remembered: every call is carried out once, as
    the strict books of the sandbox say, and the lookups that it took are in the record."""
    sandbox.faults(lostAnswerRate=0.15, hangRate=0.02, latencyMs=5, keyRetentionSeconds=0, seed=7)
    append(database_url, streams(range(1, 41), COMPLETED))
    append(database_url, streams(range(41, 61), CANCELLED))
    killed = start_push(apps, sandbox)
    killed.wait_until(lambda: sandbox.show("totals")["calls"] >= 60, "60 calls")
    killed.kill()
    push = start_push(apps, sandbox)
    push.wait_until(lambda: undelivered(database_url) == 0, "everything is delivered")
    assert push.terminate() == 0
    assert sandbox.show("violations") == {"violations": [], "count": 0}
    found = {row["orderId"]: (row["status"], row["credits"]) for row in sandbox.show("orders")["orders"]}
    assert found == {
        order_id: ("COMPLETED", 1) if order_id <= 40 else ("CANCELLED", 0) for order_id in range(1, 61)
    }
    applied = [call["key"] for call in sandbox.calls if call["applied"]]
    assert len(applied) == len(set(applied)) == 60 * 3
    kinds = dict(sql(database_url, "SELECT kind, count(*) FROM attempt GROUP BY kind"))
    assert set(kinds) == {"call", "lookup", "lost"}
    assert sql(database_url, "SELECT count(*) FROM delivery WHERE parked_at IS NOT NULL") == [(0,)]


def test_what_only_a_lookup_could_tell_is_left_to_a_person_without_one(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """The call stays in doubt, its order is parked with the reason, and nothing is sent again."""
    sandbox.faults(lostAnswerRate=1, keyRetentionSeconds=0)
    append(database_url, streams(range(1, 4), COMPLETED))
    push = start_push(apps, sandbox, third_party_lookups="false")
    push.wait_until(
        lambda: sql(database_url, "SELECT count(*) FROM delivery WHERE parked_at IS NOT NULL") == [(3,)],
        "all are parked",
    )
    assert push.terminate() == 0
    assert len(sandbox.calls) == 3
    [(reason,)] = sql(database_url, "SELECT DISTINCT parked_reason FROM delivery")
    assert reason.endswith(", and lookups are switched off")
    assert sql(database_url, "SELECT state FROM effect ORDER BY order_id, version") == [
        (state,) for state in ("in_doubt", "due", "due") * 3
    ]


def test_a_call_that_might_come_after_its_key_is_forgotten_is_not_sent(
    apps: Apps, sandbox: Sandbox, database_url: str
) -> None:
    """Keys are remembered for 24 s, and a proxy's queue keeps requests for 18: the second is looked up at 8."""
    sandbox.faults(lostAnswerRate=1, keyRetentionSeconds=24)
    append(database_url, streams([1], (Kind.CREATED,)))
    push = start_push(apps, sandbox, third_party_key_retention_hours=24 / 3600, push_retry_after_max_seconds=60)
    push.wait_until(lambda: len(sandbox.calls) == 1, "the call is made")
    sandbox.faults(lostAnswerRate=0, errorRate=1, retryAfterSeconds=8)
    push.wait_until(lambda: len(sandbox.calls) == 2, "the third party wants it later")
    sandbox.faults(errorRate=0, lateRate=1, lateMs=18_000)
    push.wait_until(lambda: undelivered(database_url) == 0, "everything is delivered")
    assert push.terminate() == 0
    assert [(call["method"], call["applied"]) for call in sandbox.calls] == [
        ("POST", True),
        ("POST", False),
        ("GET", False),
    ]
    assert sandbox.show("violations") == {"violations": [], "count": 0}


def test_an_outage_parks_nobody(apps: Apps, sandbox: Sandbox, database_url: str) -> None:
    """With three attempts a call. The state is told, one call at a time probes; then all is delivered by itself."""
    sandbox.faults(down=True)
    append(database_url, streams(range(1, 31), COMPLETED))
    push = start_push(apps, sandbox, push_max_attempts=3)
    down = "the third party is down: status 503; breaker"
    push.wait_until(lambda: push.count("state", part="push", state=f"{down} open") > 2, "two probes have failed")
    assert push.has_logged("state", part="push", state=f"{down} probing")
    assert len(sandbox.calls) < 60
    sandbox.faults(down=False)
    push.wait_until(lambda: undelivered(database_url) == 0, "everything is delivered")
    push.wait_for("breaker closed")
    assert push.terminate() == 0
    assert push.count("breaker opened") == 1
    assert sql(database_url, "SELECT count(*) FROM delivery WHERE parked_at IS NOT NULL") == [(0,)]
    assert sandbox.show("violations") == {"violations": [], "count": 0}
