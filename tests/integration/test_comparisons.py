"""Comparisons that people ask for: one at a time, to their end whoever dies, and given up when nobody answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Final, TypeVar
from uuid import UUID, uuid4

import pytest

from adapters.operations.jobs.kinds import compared, comparing
from adapters.operations.jobs.runner import JobKind, JobRunner
from adapters.operations.reconciliation.reconciler import ReconcileCounts, Reconciler
from adapters.postgres.job_work import PostgresJobWork
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Database
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.records.actions import ActionRequest
from adapters.records.jobs import (
    COMPARE,
    COMPARISONS,
    KEPT_COMPARISONS,
    MAX_SHOWN_FINDINGS,
    AlreadyComparing,
    ComparisonFinding,
    ComparisonResult,
    Job,
    JobClaim,
    JobState,
    JobStep,
    KindName,
    UnknownJob,
)
from adapters.records.operators import Operator, Role, Via
from domain.lifecycle import Status
from projections.delivery.ports import ThirdParty
from projections.delivery.retry import RetryPolicy
from projections.reconciliation import BookEntry, Invariant, Verdict
from tests.support.event_store import append, project, sql, streams
from tests.support.fake_third_party import FINE, FakeThirdParty, Fault
from tests.support.running_api import deliver
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

ORDERS: Final = 8
FAST: Final = 4.0
"""Lookups a second, and so orders a step: two steps for all orders."""
ASKED: Final = ActionRequest(Operator("Ada", Via.API, Role.OPERATOR), "they restored a backup")
AT_ONCE: Final = RetryPolicy(max_attempts=1, base_seconds=0.001, max_seconds=0.001)
WHOLE: Final = 1000.0

T = TypeVar("T")


class Nobody:
    """Hears nothing."""

    def order_compared(self, verdict: Verdict) -> None: ...
    def invariant_broken(self, order_id: int, *broken: Invariant) -> None: ...


@pytest.fixture
def third_party() -> FakeThirdParty:
    return FakeThirdParty()


@pytest.fixture
def told(database_url: str, third_party: FakeThirdParty) -> str:
    """Completed orders on which both sides agree."""
    append(database_url, [*streams(range(1, ORDERS + 1))])
    project(database_url)
    deliver(database_url, third_party)
    return database_url


def ask(database_url: str, question: Callable[[Database], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with Database(database_url) as database:
            return await question(database)

    return asyncio.run(asked())


def runner(database: Database, third_party: ThirdParty, *, lease_seconds: float = 60.0) -> JobRunner:
    @asynccontextmanager
    async def reconciler(per_second: float) -> AsyncIterator[Reconciler]:
        books = PostgresReconciliation(database)
        yield Reconciler(books, third_party, Nobody(), per_second=per_second * 100, retry=AT_ONCE)

    work = PostgresJobWork(database, lease_seconds=lease_seconds)
    kinds: dict[KindName, JobKind] = {COMPARE: comparing(reconciler, silence_pause_seconds=0.01)}
    return JobRunner(work, kinds, poll_seconds=0.01, beat_seconds=0.1)


async def ended(jobs: PostgresJobs, job_id: UUID) -> Job:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = await jobs.get(job_id)
            if found.state is not JobState.RUNNING:
                return found
            await asyncio.sleep(0.01)


def result_of(job: Job) -> ComparisonResult:
    assert job.comparison is not None
    return job.comparison


async def claim(work: PostgresJobWork) -> JobClaim | None:
    return await work.claim(COMPARISONS)


async def while_running(database: Database, third_party: ThirdParty, work: Awaitable[T]) -> T:
    stop = asyncio.Event()
    running = asyncio.create_task(runner(database, third_party).run(stop))
    try:
        return await work
    finally:
        stop.set()
        await running


def lose(third_party: FakeThirdParty, order_id: int) -> None:
    third_party.books.orders._orders.pop(order_id)


def test_all_orders_are_compared_and_what_differs_is_told(told: str, third_party: FakeThirdParty) -> None:
    """With both sides, exact to the last digit; and the record says who asked."""
    lose(third_party, 2)

    async def compare(database: Database) -> Job:
        jobs = PostgresJobs(database)
        started = await jobs.compare(None, FAST, ASKED)
        return await while_running(database, third_party, ended(jobs, started))

    done = ask(told, compare)
    assert (done.state, done.total, done.done, result_of(done).differing) == ("done", ORDERS, ORDERS, 1)
    assert result_of(done).verdicts == {Verdict.AGREES: ORDERS - 1, Verdict.MISSING_THERE: 1}
    assert result_of(done).findings == [
        ComparisonFinding(2, Verdict.MISSING_THERE, BookEntry(Status.COMPLETED, Decimal(6)), None, None)
    ]
    assert sorted(third_party.looked_up) == list(range(1, ORDERS + 1))
    asked = "SELECT action, operator, role, reason, detail ->> 'comparison' FROM operator_action"
    assert sql(told, asked) == [("compare", "Ada", "operator token", "they restored a backup", str(done.id))]
    assert sql(told, "SELECT order_id FROM reconciliation WHERE closed_at IS NULL") == [(2,)]


def test_only_the_orders_that_are_named_are_compared(told: str, third_party: FakeThirdParty) -> None:
    """Each once; one that neither side knows is told."""

    async def compare(database: Database) -> Job:
        jobs = PostgresJobs(database)
        started = await jobs.compare([5, 99, 3, 5], FAST, ASKED)
        return await while_running(database, third_party, ended(jobs, started))

    done = ask(told, compare)
    assert sorted(third_party.looked_up) == [3, 5, 99]
    assert (done.total, done.done) == (3, 3)
    assert [(found.order_id, found.detail) for found in result_of(done).findings] == [(99, "neither side knows it")]


def test_one_of_a_kind_runs_at_a_time(told: str) -> None:
    """One of all orders and one of some; when one is over or cancelled, the next may start."""

    async def start(database: Database) -> list[str]:
        jobs = PostgresJobs(database)
        first = await jobs.compare(None, FAST, ASKED)
        await jobs.compare([1], FAST, ASKED)
        for orders in (None, [2]):
            with pytest.raises(AlreadyComparing):
                await jobs.compare(orders, FAST, ASKED)
        cancelled = await jobs.cancel(first, by=ASKED.by)
        assert cancelled.state is JobState.CANCELLED
        assert await jobs.cancel(first, by=ASKED.by) == cancelled, "it is over already"
        with pytest.raises(UnknownJob):
            await jobs.cancel(uuid4(), by=ASKED.by)
        await jobs.compare(None, FAST, ASKED)
        return [each.state for each in await jobs.page(None, 10)]

    assert ask(told, start) == ["running", "running", "cancelled"]
    asked = "SELECT action FROM operator_action ORDER BY id"
    assert [action for (action,) in sql(told, asked)] == ["compare", "compare", "compare_cancel", "compare"]


def test_a_new_one_makes_the_oldest_be_forgotten(database_url: str) -> None:
    """And differences that were closed long ago. One that runs is not, nor is a difference that is open."""
    add = (
        "INSERT INTO job (id, kind, orders, state, total, rate_per_second, operator, reason)"
        " SELECT gen_random_uuid(), 'compare', '{1}', state, 1, 1, 'Ada', 'why' FROM unnest(%s::text[]) AS state"
    )
    sql(database_url, add, ["done"])
    sql(database_url, add.replace("'{1}'", "NULL"), ["running"])
    sql(database_url, add, ["done"] * KEPT_COMPARISONS)
    sql(
        database_url,
        "INSERT INTO reconciliation (order_id, class, closed_at)"
        " SELECT order_id, class, now() - days * interval '1 day'"
        " FROM (VALUES (1, 'amount', 91), (2, 'amount', 89), (3, 'in_flight', 2), (4, 'amount', NULL))"
        " AS given (order_id, class, days)",
    )
    ask(database_url, lambda database: PostgresJobs(database).compare([1], FAST, ASKED))
    kept = sql(database_url, "SELECT state FROM job ORDER BY number")
    assert kept == [("running",), *[("done",)] * KEPT_COMPARISONS, ("running",)]
    assert sql(database_url, "SELECT order_id FROM reconciliation ORDER BY 1") == [(2,), (4,)]


def test_another_goes_on_where_the_first_has_died(told: str, third_party: FakeThirdParty) -> None:
    """Once its lease is over: behind the last step that was written down, and counts go on."""

    async def compare(database: Database) -> Job:
        jobs = PostgresJobs(database)
        started = await jobs.compare(None, FAST, ASKED)
        work = PostgresJobWork(database, lease_seconds=60.0)
        job = await claim(work)
        assert job is not None
        assert await claim(work) is None, "it is worked on"
        orders = await work.next_orders(job, job.place, round(FAST))
        async with _reconciler_of(database, third_party) as reconciler:
            found = compared(await reconciler.compare(orders, ReconcileCounts()))
        step = JobStep(0, orders[-1], len(found.done), {}, found.verdicts, found.findings)
        assert await work.progress(job, step)
        sql(told, "UPDATE job SET lease_until = now() - interval '1 s'")
        done = await while_running(database, third_party, ended(jobs, started))
        assert not await work.progress(job, JobStep(orders[-1], ORDERS, 4)), "the first has lost it"
        return done

    done = ask(told, compare)
    assert (done.state, done.done) == ("done", ORDERS)
    assert sorted(third_party.looked_up) == list(range(1, ORDERS + 1))


def test_it_is_given_up_when_nobody_answers(told: str, third_party: FakeThirdParty) -> None:
    """With the reason; nothing was compared."""
    third_party.lookup_plan = lambda _: Fault(status=503)

    async def compare(database: Database) -> Job:
        jobs = PostgresJobs(database)
        started = await jobs.compare(None, FAST, ASKED)
        return await while_running(database, third_party, ended(jobs, started))

    failed = ask(told, compare)
    assert (failed.state, failed.done) == ("failed", 0)
    assert failed.note == "the lookup failed: answered with status 503"


def test_an_error_of_ours_ends_the_comparison_and_nothing_else(told: str, third_party: FakeThirdParty) -> None:
    """The next one is done as if nothing had been."""

    def broken(_: int) -> Fault:
        raise ZeroDivisionError

    third_party.lookup_plan = broken

    async def compare(database: Database) -> list[Job]:
        jobs = PostgresJobs(database)

        async def both() -> list[Job]:
            first = await ended(jobs, await jobs.compare([1], FAST, ASKED))
            third_party.lookup_plan = lambda _: FINE
            return [first, await ended(jobs, await jobs.compare([1], FAST, ASKED))]

        return await while_running(database, third_party, both())

    first, second = ask(told, compare)
    assert (first.state, first.note) == ("failed", "an error of ours: ZeroDivisionError; the log says where")
    assert second.state == "done"


def test_a_short_outage_is_waited_out(told: str, third_party: FakeThirdParty) -> None:
    """The same orders are asked for again."""
    faults = [Fault(status=503)] * round(FAST)
    third_party.lookup_plan = lambda _: faults.pop() if faults else FINE

    async def compare(database: Database) -> Job:
        jobs = PostgresJobs(database)
        started = await jobs.compare(None, FAST, ASKED)
        return await while_running(database, third_party, ended(jobs, started))

    done = ask(told, compare)
    assert (done.state, result_of(done).verdicts, done.note) == ("done", {Verdict.AGREES: ORDERS}, None)


def test_a_cancelled_one_stops(told: str, third_party: FakeThirdParty) -> None:
    """Behind the step that was under way."""

    async def compare(database: Database) -> Job:
        jobs = PostgresJobs(database)
        started = await jobs.compare(None, FAST, ASKED)
        work = PostgresJobWork(database)
        job = await claim(work)
        assert job is not None
        await jobs.cancel(started, by=ASKED.by)
        assert not await work.waits(job, "x")
        await work.end(job, JobState.DONE)
        return await jobs.get(started)

    assert ask(told, compare).state == "cancelled"


def test_no_more_findings_are_kept_than_are_shown(database_url: str, third_party: FakeThirdParty) -> None:
    """The first ones; all are counted."""
    count = MAX_SHOWN_FINDINGS + 20

    async def compare(database: Database) -> Job:
        jobs = PostgresJobs(database)
        started = await jobs.compare(range(1, count + 1), WHOLE, ASKED)
        return await while_running(database, third_party, ended(jobs, started))

    done = ask(database_url, compare)
    assert done.done == count
    assert [found.order_id for found in result_of(done).findings] == list(range(1, MAX_SHOWN_FINDINGS + 1))


@asynccontextmanager
async def _reconciler_of(database: Database, third_party: ThirdParty) -> AsyncIterator[Reconciler]:
    yield Reconciler(PostgresReconciliation(database), third_party, Nobody(), per_second=WHOLE, retry=AT_ONCE)
