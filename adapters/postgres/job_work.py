"""Jobs in PostgreSQL, as the process deals with them that works on one, under a lease."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.job_rows import finding_as_json, kind_named, options_of
from adapters.postgres.pool import Connection, Database
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.postgres.sql import statements
from adapters.records.jobs import MAX_SHOWN_FINDINGS, BulkMode, JobClaim, JobState, JobStep, KindName
from adapters.records.operators import Operator, Role, Via
from domain.exact_json import dumps
from projections.redelivery import DEFAULT_OPTIONS

LEASE_SECONDS: Final = 30.0
"""A process that isn't heard of for so long has lost its job to another."""

_SQL: Final = statements("jobs")


class PostgresJobWork:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._books = PostgresReconciliation(database)
        self.lease_seconds = lease_seconds

    async def claim(self, kinds: Collection[KindName]) -> JobClaim | None:
        """The oldest job of these kinds that runs and that nobody works on."""
        lease = uuid4()
        taking = {"lease": lease, "lease_seconds": self.lease_seconds, "kinds": list(kinds)}
        async with self._database.transaction() as connection:
            claimed = await (await connection.execute(_SQL["claim"], taking)).fetchone()
            return None if claimed is None else await _claimed(connection, claimed[0], lease)

    async def claimed(self, job_id: UUID, lease: UUID) -> JobClaim | None:
        """One that was started with this lease; None if it is another's by now."""
        async with self._database.connection() as connection:
            return await _claimed(connection, job_id, lease)

    async def next_orders(self, job: JobClaim, after: int, limit: int) -> Sequence[int]:
        """Those behind the order `after`, ascending; none at the end."""
        if job.orders is None:
            return await self._books.order_ids(None, after, limit)
        first = bisect_right(job.orders, after)
        return job.orders[first : first + limit]

    async def beat(self, job: JobClaim) -> bool:
        """Prolongs the lease. False if nothing more may be done: the lease is lost, or the job was cancelled."""
        return await self._write("beat", job) is not None

    async def waits(self, job: JobClaim, why: str) -> bool:
        """Notes why nothing goes on, until the next progress. False as of `beat`."""
        return await self._write("waits", job, note=why) is not None

    async def progress(self, job: JobClaim, step: JobStep) -> bool:
        """So many more orders are over. False if nothing more may be done."""
        failures = [[order_id, why] for order_id, why in step.failures.items()]
        row = await self._write(
            "progress",
            job,
            since=step.since,
            place=step.place,
            done=step.done,
            failed=len(failures),
            verdicts=Jsonb(dict(step.verdicts)),
            findings=Jsonb([*failures, *map(finding_as_json, step.findings)], dumps=dumps),
            shown=MAX_SHOWN_FINDINGS,
        )
        return bool(row and row[0])

    async def end(self, job: JobClaim, state: JobState | None, note: str | None = None) -> None:
        """Gives the lease back: for ever with a state, else for another process to go on."""
        await self._write("end", job, state=state, note=note)

    async def _write(self, name: str, job: JobClaim, **more: Any) -> tuple[Any, ...] | None:
        asked = {"id": job.id, "lease": job.lease, "lease_seconds": self.lease_seconds} | more
        async with self._database.connection() as connection:
            return await (await connection.execute(_SQL[name], asked)).fetchone()


async def _claimed(connection: Connection, job_id: UUID, lease: UUID) -> JobClaim | None:
    cursor = connection.cursor(binary=True, row_factory=dict_row)
    await cursor.execute(_SQL["claimed"], (job_id, lease))
    row = await cursor.fetchone()
    if row is None:
        return None
    operator, via, role = row.pop("operator"), row.pop("via"), row.pop("role")
    by = Operator(operator or Via.API.value, Via(via or Via.API), None if role is None else Role(role))
    kind = kind_named(row.pop("kind"))
    kept = row.pop("options")
    options = options_of(kept) if kind is BulkMode.REDELIVER else DEFAULT_OPTIONS
    return JobClaim(id=job_id, kind=kind, lease=lease, by=by, options=options, **row)
