"""The commands `jobs`, `replays`, `cancel-replay` and `comparisons`: what was asked for, as far as it has come."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from adapters.cli import lists
from adapters.cli.database import ask_database
from adapters.cli.lists import Listing
from adapters.cli.output import counted, facts, moment, print_json, say, table
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Database
from adapters.presentation import paging
from adapters.presentation.jobs import bulk_view, comparison_view, job_view, listed_job_view
from adapters.presentation.paging import Paging
from adapters.records.errors import Refused
from adapters.records.jobs import (
    ALL_KINDS,
    BULK,
    COMPARISONS,
    ComparisonResult,
    Job,
    JobState,
    Kinds,
    UnknownJob,
    job_name,
)
from adapters.records.operators import command_line_operator


class NotRunning(Refused):
    def __init__(self, job: Job) -> None:
        super().__init__(f"{job_name({job.kind})} {job.id} is {job.state} already")


def job_id_of(text: str, kinds: Kinds) -> UUID:
    """Raises UnknownJob for what can't be one."""
    try:
        return UUID(text)
    except ValueError:
        raise UnknownJob(text, kinds) from None


def run_jobs(url: str, kinds: Kinds, request: lists.ListRequest) -> int:
    """Lists the last jobs of these kinds. Answers the exit code, as they all do."""

    async def ask(database: Database, start: int | None, limit: int) -> list[Job]:
        return await PostgresJobs(database).page(start, limit, kinds)

    return lists.run_list(url, _LISTINGS[kinds], ask, request)


def run_job_show(url: str, job_id: UUID, kinds: Kinds, *, as_json: bool) -> int:
    """Raises UnknownJob."""
    return show(ask_database(url, lambda database: PostgresJobs(database).get(job_id, kinds)), as_json=as_json)


def run_replay_cancel(url: str, job_id: UUID, *, as_json: bool) -> int:
    """Raises UnknownJob or NotPossibleNow."""

    async def cancel(database: Database) -> Job:
        return await PostgresJobs(database).cancel(job_id, by=command_line_operator(), kinds=BULK)

    return show(ask_database(url, cancel), as_json=as_json)


def run_comparison_cancel(url: str, job_id: UUID, *, reason: str, as_json: bool) -> int:
    """Raises UnknownJob, NotPossibleNow or NotRunning."""

    async def cancel(database: Database) -> Job:
        jobs = PostgresJobs(database)
        job = await jobs.get(job_id, COMPARISONS)
        if job.state is not JobState.RUNNING:
            raise NotRunning(job)
        return await jobs.cancel(job_id, by=command_line_operator(), reason=reason.strip())

    return show(ask_database(url, cancel), as_json=as_json)


def show(job: Job, *, as_json: bool) -> int:
    """As the commands of its kind do."""
    if as_json:
        print_json(job_view(job))
    elif job.comparison is None:
        _show_replay(job)
    else:
        _show_comparison(job, job.comparison)
    return 0


def _show_replay(job: Job) -> None:
    say(f"{job.kind} {job.id}: {job.state}", "bold")
    say(f"{job.done} done, {job.failed} failed, of {counted(job.total, job.things)}")
    if job.outcomes is not None:
        became = job.outcomes
        say(f"by now: {became.delivered} delivered, {became.waiting} waiting, {became.parked} parked")
    say(f"reason: {job.reason}")
    if job.note is not None:
        say(f"{'waits' if job.state is JobState.RUNNING else 'note'}: {job.note}")
    if job.expected_end is not None:
        say(f"expected end: {moment(job.expected_end)}")
    for order_id, why in job.failures:
        say(f"{job.things} {order_id}: {why}")
    if job.failed > len(job.failures):
        say(f"… and {job.failed - len(job.failures)} more")


def _show_comparison(job: Job, result: ComparisonResult) -> None:
    say(f"comparison {job.id}: {job.state}", "bold")
    facts(
        (
            ("compared", f"{job.done} of {_orders(job)}"),
            ("found", ", ".join(f"{number} {verdict}" for verdict, number in result.verdicts.items() if number)),
            ("rate", f"{job.rate_per_second:g} a second"),
            ("asked for", f"{moment(job.requested_at)} by {job.operator}"),
            ("reason", job.reason),
            ("ended", moment(job.ended_at) if job.ended_at else None),
            ("waits" if job.state is JobState.RUNNING else "note", job.note),
        )
    )
    if result.findings:
        rows = ((each.order_id, each.verdict, each.ours, each.theirs, each.detail) for each in result.findings)
        table(("order", "class", "ours", "theirs", "note"), rows, right=("order",), drop=("note",))


def _orders(job: Job) -> str:
    is_of_all = job.comparison is not None and job.comparison.is_of_all
    return f"all {job.total} orders" if is_of_all else f"{job.total} orders"


def _listing(pages: Paging[Job], view: Callable[[Job], Mapping[str, Any]], *columns: str) -> Listing[Job]:
    return Listing[Job](
        pages.kind,
        pages,
        view,
        columns,
        lambda job: tuple(_CELLS[column](job) for column in columns),
        frozenset({"done", "failed", "orders", "compared", "differing"} & {*columns}),
        ("by", "reason", "asked for", "orders", "of"),
    )


_CELLS: Final[Mapping[str, Callable[[Job], object]]] = {
    "id": lambda job: job.id,
    "kind": lambda job: job.kind,
    "mode": lambda job: job.kind,
    "state": lambda job: job.state,
    "of": _orders,
    "done": lambda job: job.done,
    "compared": lambda job: job.done,
    "differing": lambda job: job.comparison and job.comparison.differing,
    "failed": lambda job: job.failed,
    "orders": lambda job: job.total,
    "asked for": lambda job: moment(job.requested_at),
    "by": lambda job: job.operator,
    "reason": lambda job: job.reason,
}
_COUNTS: Final = ("state", "done", "failed", "orders", "asked for")
_LISTINGS: Final = {
    BULK: _listing(paging.REPLAYS, bulk_view, "id", "mode", *_COUNTS, "reason"),
    COMPARISONS: _listing(
        paging.COMPARISONS,
        comparison_view,
        *("id", "state", "of", "compared", "differing", "asked for", "by", "reason"),
    ),
    ALL_KINDS: _listing(paging.JOBS, listed_job_view, "id", "kind", *_COUNTS, "by", "reason"),
}
