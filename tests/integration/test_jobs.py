"""What jobs of all kinds have in common: one list and one page of progress, take-over, and refusals of overlaps."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.operations.jobs.runner import Handled, Handler, JobKind
from adapters.postgres.job_work import PostgresJobWork
from adapters.postgres.pool import Database
from adapters.records.actions import ActionRequest
from adapters.records.jobs import (
    ALL_KINDS,
    BULK,
    COMPARE,
    COMPARISONS,
    BulkMode,
    Job,
    JobState,
    JobStep,
    KindName,
    Kinds,
    Overlaps,
    UnknownJob,
)
from domain.exact_json import loads
from tests.integration.test_api import is_problem, walk
from tests.support.bulk import SOMEBODY, Remembering, Running, all_done, asked
from tests.support.processes import run_app
from tests.support.running_api import Api, running_api, sql
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

SOME = list(range(1, 13))
KINDS: list[KindName] = sorted(ALL_KINDS)
PUT = """
    WITH given (id, kind, state, orders, digest) AS (VALUES (%s::uuid, %s, %s, %s::bigint[], %s::bytea))
    INSERT INTO job (id, kind, state, reason, rate_per_second, orders, total, token_digest, expires_at, cashback,
                     options)
    SELECT id, kind, state, 'a test', 1000, orders, cardinality(orders),
           CASE WHEN kind <> 'compare' THEN digest END, now() + interval '1 h', 0,
           '{"how": "resume", "nonce": null, "include": []}'
    FROM given
"""


def put(database_url: str, kind: KindName, orders: Sequence[int], state: JobState = JobState.RUNNING) -> UUID:
    """A job as a preview or a start leaves it; its token is its id."""
    job_id = uuid4()
    sql(database_url, PUT, job_id, kind, state, list(orders), hashlib.sha256(str(job_id).encode()).digest())
    return job_id


def get(database_url: str, job_id: UUID) -> Job:
    return asked(database_url, lambda jobs: jobs.get(job_id))


def ended(database_url: str, job_id: UUID) -> Job:
    wait_until(lambda: get(database_url, job_id).state is not JobState.RUNNING, "the end of the job")
    return get(database_url, job_id)


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_goes_on_with_a_job_of_any_kind(database_url: str, kind: KindName) -> None:
    """Behind the last orders that were noted, once the lease is over; the first can write nothing any more."""
    job_id = put(database_url, kind, SOME)

    async def begin_and_fall_silent() -> None:
        async with Database(database_url) as database:
            work = PostgresJobWork(database, lease_seconds=60)
            claim = await work.claim([kind])
            assert claim is not None
            assert await work.claim([kind]) is None, "it is worked on"
            assert await work.next_orders(claim, claim.place, 5) == SOME[:5]
            failures = {} if kind == COMPARE else {3: "ill"}
            assert await work.progress(claim, JobStep(0, 5, 5 - len(failures), failures))
            sql(database_url, "UPDATE job SET lease_until = now() - interval '1 s'")
            mode = Remembering(all_done)
            with Running(database_url, mode, kind):
                done = await asyncio.to_thread(ended, database_url, job_id)
            assert mode.orders == SOME[5:]
            assert (done.state, done.done, done.failed) == (JobState.DONE, 12 - len(failures), len(failures))
            assert not await work.progress(claim, JobStep(5, 6, 1)), "the first has lost it"
            await work.end(claim, JobState.FAILED)

    asyncio.run(begin_and_fall_silent())
    assert get(database_url, job_id).state is JobState.DONE


@pytest.mark.parametrize("kind", sorted(BulkMode))
def test_a_bulk_replay_waits_for_those_of_its_kind_that_share_an_order(database_url: str, kind: BulkMode) -> None:
    """Those of other kinds, comparisons too, and those of other orders are not in its way."""
    running = put(database_url, kind, [1, 2])
    for other in ALL_KINDS - {kind}:
        put(database_url, other, [1, 2, 3])
    shares, apart = (put(database_url, kind, orders, JobState.PREVIEWED) for orders in ([2, 3], [3, 4]))
    with pytest.raises(Overlaps) as refused:
        asked(database_url, lambda jobs: jobs.start(None, str(shares), by=SOMEBODY))
    assert refused.value.other == running
    started = asked(database_url, lambda jobs: jobs.start(None, str(apart), by=SOMEBODY))
    assert (started.state, started.kind, started.operator) == (JobState.RUNNING, kind, "somebody")
    asked(database_url, lambda jobs: jobs.cancel(running, by=SOMEBODY))
    asked(database_url, lambda jobs: jobs.cancel(apart, by=SOMEBODY))
    assert asked(database_url, lambda jobs: jobs.start(None, str(shares), by=SOMEBODY)).state is JobState.RUNNING


def test_a_step_that_changes_nothing_is_dropped_by_a_stop(database_url: str) -> None:
    """The process needn't wait for the third party; another one goes on with the same orders, at once."""
    job_id, under_way = put(database_url, COMPARE, [1, 2]), threading.Event()

    class Silent:
        async def __aenter__(self) -> Handler:
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def handle(self, order_ids: Sequence[int], halted: object) -> Handled:
            under_way.set()
            await asyncio.sleep(3600)
            raise AssertionError("nobody waits for it")

    with Running(database_url, lambda _: JobKind(lambda _: Silent(), can_be_dropped=True), COMPARE) as runner:
        assert under_way.wait(60)
        runner.tell_to_stop()
        runner.wait_for_its_end()
    assert sql(database_url, "SELECT state, place, lease_token FROM job") == [("running", 0, None)]
    mode = Remembering(all_done)
    with Running(database_url, mode, COMPARE):
        assert ended(database_url, job_id).done == 2
    assert mode.orders == [1, 2]


def test_one_list_has_jobs_of_all_kinds(api: Api, database_url: str, tmp_path: Path) -> None:
    """The last ones first, in the console and on the command line; each has its page. The API's list has what it
    had, the bulk replays, and doesn't know comparisons by their ids."""
    replay = put(database_url, BulkMode.RETRY, [1, 2])
    asking = ActionRequest(SOMEBODY, "after their restore")
    comparison = asked(database_url, lambda jobs: jobs.compare([7], 5.0, asking))
    shown = api.get("/jobs").text
    assert shown.index(f"/jobs/{comparison}") < shown.index(f"/jobs/{replay}")
    assert "somebody: after their restore" in shown
    assert "Comparison of one order" in api.get(f"/jobs/{comparison}").text
    assert "Retry: two orders" in api.get(f"/jobs/{replay}").text

    def run(*arguments: str) -> str:
        done = run_app(*arguments, folder=tmp_path, settings={"database_url": database_url})
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = json.loads(run("jobs", "--json"))
    assert [(each["id"], each["kind"], each["reason"]) for each in listed["jobs"]] == [
        (str(comparison), "compare", "after their restore"),
        (str(replay), "retry", "a test"),
    ]
    assert run("jobs", str(comparison)).startswith(f"comparison {comparison}: running\n")
    assert run("jobs", str(replay)).startswith(f"retry {replay}: running\n")
    first = json.loads(run("jobs", "--limit", "1", "--json"))
    assert [each["id"] for each in json.loads(run("jobs", "--after", first["next"], "--json"))["jobs"]] == [
        str(replay)
    ]

    assert [each["id"] for each in walk(api, "/api/replays", "replays", limit=1)] == [str(replay)]
    is_problem(api.get(f"/api/replays/{comparison}"), 404)
    is_problem(api.client.post(f"/api/replays/{comparison}/cancel"), 404)
    is_problem(api.client.post(f"/api/replays/{comparison}/start", json={"token": "x"}), 404)
    assert loads(api.get(f"/api/replays/{replay}").content)["mode"] == "retry"
    assert get(database_url, comparison).state is JobState.RUNNING


@pytest.mark.parametrize("former", ["/replays/{}", "/reconciliation/runs/{}"])
def test_former_addresses_lead_to_the_page_of_a_job(api: Api, database_url: str, former: str) -> None:
    """So do links in tickets."""
    job_id = put(database_url, COMPARE, [1])
    moved = api.client.get(former.format(job_id), follow_redirects=False)
    assert (moved.status_code, moved.headers["Location"]) == (308, f"/jobs/{job_id}")
    moved = api.client.get("/replays", follow_redirects=False)
    assert (moved.status_code, moved.headers["Location"]) == (308, "/jobs")


@pytest.mark.parametrize(
    ("kinds", "name"), [(BULK, "bulk replay"), (COMPARISONS, "comparison"), (ALL_KINDS, "job")]
)
def test_what_is_unknown_is_called_by_what_was_asked_for(database_url: str, kinds: Kinds, name: str) -> None:
    """As the commands that ask for it do."""
    unknown = uuid4()
    with pytest.raises(UnknownJob) as refused:
        asked(database_url, lambda jobs: jobs.get(unknown, kinds))
    assert str(refused.value) == f"there is no {name} {unknown}, or not any more"
