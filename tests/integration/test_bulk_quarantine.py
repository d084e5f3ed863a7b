"""Many messages in quarantine at once: read again or discarded, by what kept them from being read."""

from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest

from adapters.operations.jobs.kinds import discarding, reading_again
from adapters.operations.jobs.runner import JobKind
from adapters.operations.quarantine import QuarantineService
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.pool import Database
from adapters.postgres.queries import PostgresQueries
from adapters.records.jobs import BulkMode, Job, JobState, OtherThings, Preview, Selection
from domain.messages import Kind
from tests.integration.test_api import is_problem
from tests.integration.test_bulk_replays import wait_for
from tests.support.bulk import SOMEBODY, Running, asked, previewed
from tests.support.messages import NOW_NS, TOPIC, record, record_of
from tests.support.running_api import project, running_api, sql, tell

pytestmark = pytest.mark.slow

READABLE = (1, 2, 3)
STATES = "SELECT id, state FROM quarantine ORDER BY id"


@pytest.fixture
def told(database_url: str) -> str:
    """Four that can be read by now, two of one order; two that can't, of another cause; one elsewhere."""
    good = [record_of(Kind.CREATED, order_id=order_id, offset=order_id) for order_id in READABLE]
    good.append(record_of(Kind.COMPLETED, order_id=READABLE[-1], offset=4, at_ns=1))
    tell(database_url, record(b"{", offset=11), record(b"[]", offset=12), record(b"{", offset=13))
    for each in good:
        sql(
            database_url,
            "INSERT INTO quarantine (topic, topic_id, partition, kafka_offset, timestamp_ms, message_key,"
            " message_value, headers, order_id, reason, detail)"
            " VALUES (%s, 'topic-1', 0, %s, %s, %s, %s, '[]', %s, 'order_full', 'it was full')",
            *(TOPIC, each.offset, each.timestamp_ms, each.key, each.value, min(each.offset, 3)),
        )
    sql(database_url, "UPDATE quarantine SET topic = 'elsewhere' WHERE kafka_offset = 13")
    return database_url


def mode_of(mode: BulkMode, database_url: str) -> Callable[[Database], JobKind]:
    def kind(database: Database) -> JobKind:
        make = partial(QuarantineService, PostgresQueries(database), clock_ns=lambda: NOW_NS)
        kinds = {BulkMode.QUARANTINE_RETRY: reading_again, BulkMode.QUARANTINE_DISCARD: discarding}
        return kinds[mode](partial(OrderApplication, database_url, pool_size=1), make)

    return kind


def run(database_url: str, preview: Preview, mode: BulkMode) -> Job:
    asked(database_url, lambda jobs: jobs.start(None, preview.token, by=SOMEBODY))
    with Running(database_url, mode_of(mode, database_url), mode):
        return wait_for(database_url, preview.replay.id, JobState.DONE)


def ids(database_url: str, preview: Preview) -> list[int]:
    [(chosen,)] = sql(database_url, "SELECT orders FROM job WHERE id = %s", preview.replay.id)
    return [offset for (offset,) in sql(database_url, _OFFSETS, chosen)]


_OFFSETS = "SELECT kafka_offset FROM quarantine WHERE id = ANY(%s) ORDER BY id"


def test_open_messages_are_chosen_by_reason_and_topic(told: str) -> None:
    """And by nothing about orders, as orders are by nothing about messages."""
    for selection, expected in (
        (Selection(), [11, 12, 13, 1, 2, 3, 4]),
        (Selection(quarantine_reason="order_full"), [1, 2, 3, 4]),
        (Selection(quarantine_topic="elsewhere"), [13]),
        (Selection(quarantine_reason="order_full", quarantine_topic="elsewhere"), []),
    ):
        preview = previewed(told, selection, mode=BulkMode.QUARANTINE_RETRY)
        assert ids(told, preview) == expected
        assert preview.replay.cashback == 0
        assert (len(preview.by_status), preview.left_out_count) == (0, 0)
    for mode, selection in (
        (BulkMode.QUARANTINE_RETRY, Selection(parked=True)),
        (BulkMode.REDELIVER, Selection(quarantined=True)),
    ):
        with pytest.raises(OtherThings):
            previewed(told, selection, mode=mode)


def test_messages_are_read_again_and_each_is_on_record_once(told: str) -> None:
    """Those that can't be read even now stay open, and the job says why."""
    preview = previewed(told, Selection(quarantine_topic=TOPIC), mode=BulkMode.QUARANTINE_RETRY, reason="repaired")
    done = run(told, preview, BulkMode.QUARANTINE_RETRY)
    assert (done.done, done.failed, done.things, done.outcomes) == (4, 2, "message", None)
    assert all("can't be read" in why for _, why in done.failures)
    assert [state for _, state in sql(told, STATES)] == ["open", "open", "open", *["retried"] * 4]
    project(told)
    assert [order for (order,) in sql(told, "SELECT order_id FROM orders ORDER BY order_id")] == list(READABLE)
    recorded = "SELECT count(*) FROM operator_action WHERE action = 'quarantine_retry' AND detail ->> 'job' = %s"
    assert sql(told, recorded, str(preview.replay.id)) == [(4,)]

    sql(told, "UPDATE job SET state = 'running', place = 0, done = 0, failed = 0, findings = '[]'")
    with Running(told, mode_of(BulkMode.QUARANTINE_RETRY, told), BulkMode.QUARANTINE_RETRY):
        again = wait_for(told, preview.replay.id, JobState.DONE)
    assert (again.done, again.failed) == (4, 2), "another process took over: what was done counts as done"
    assert sql(told, recorded, str(preview.replay.id)) == [(4,)]


def test_messages_are_discarded(told: str) -> None:
    """Just those of the preview: what comes later isn't."""
    preview = previewed(told, Selection(quarantine_reason="order_full"), mode=BulkMode.QUARANTINE_DISCARD)
    sql(told, "UPDATE quarantine SET reason = 'order_full' WHERE kafka_offset = 11")
    done = run(told, preview, BulkMode.QUARANTINE_DISCARD)
    assert (done.done, done.failed) == (4, 0)
    assert [state for _, state in sql(told, STATES)] == ["open", "open", "open", *["discarded"] * 4]


def test_the_api_previews_what_is_done_to_messages(told: str) -> None:
    """And refuses what is of others; a list is narrowed by reason and topic."""
    with running_api(told) as api:
        select = {"quarantineReason": "order_full"}
        asked_for = {"mode": "quarantine_retry", "select": select, "reason": "a test"}
        made = api.client.post("/api/replays", json=asked_for).json()
        assert (made["total"], made["select"]) == (4, {"quarantined": True} | select)
        is_problem(api.client.post("/api/replays", json=asked_for | {"mode": "retry"}), 422)
        is_problem(api.client.post("/api/replays", json=asked_for | {"select": {"parked": True}}), 422)
        listed = api.get("/api/quarantine?reason=order_full").json()["quarantined"]
        assert {each["offset"] for each in listed} == {1, 2, 3, 4}
        listed = api.get("/api/quarantine?topic=elsewhere").json()["quarantined"]
        assert [each["offset"] for each in listed] == [13]
        is_problem(api.get(f"/api/replays/{uuid4()}"), 404)
