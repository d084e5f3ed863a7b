"""Bulk replays in PostgreSQL, as the process deals with them that works on one, under a lease."""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from adapters.postgres.bulk_replays import options_of
from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import statements
from adapters.records.bulk import MAX_SHOWN_FAILURES, BulkMode, BulkState, Job
from adapters.records.operators import Operator, Role, Via
from projections.redelivery import DEFAULT_OPTIONS

LEASE_SECONDS: Final = 30.0
"""A process that isn't heard of for so long has lost its bulk replay to another."""

_SQL: Final = statements("bulk")


class PostgresBulkWork:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self.lease_seconds = lease_seconds

    async def claim(self, modes: Collection[BulkMode]) -> Job | None:
        """The oldest bulk replay of these modes that runs and that nobody works on."""
        lease = uuid4()
        taking = {"lease": lease, "lease_seconds": self.lease_seconds, "modes": [str(mode) for mode in modes]}
        async with self._database.transaction() as connection:
            claimed = await (await connection.execute(_SQL["claim"], taking)).fetchone()
            return None if claimed is None else await _job(connection, claimed[0], lease)

    async def job(self, replay_id: UUID, lease: UUID) -> Job | None:
        """One that was started with this lease; None if it is another's by now."""
        async with self._database.connection() as connection:
            return await _job(connection, replay_id, lease)

    async def beat(self, job: Job) -> bool:
        """Prolongs the lease. False if nothing more may be done: the lease is lost, or the replay was cancelled."""
        beating = {"id": job.id, "lease": job.lease, "lease_seconds": self.lease_seconds}
        async with self._database.connection() as connection:
            return await (await connection.execute(_SQL["beat"], beating)).fetchone() is not None

    async def waits(self, job: Job, why: str) -> None:
        """Notes why nothing goes on; until the next progress."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["waits"], {"id": job.id, "lease": job.lease, "note": why})

    async def progress(self, job: Job, place: int, done: int, failures: Mapping[int, str]) -> bool:
        """So many more orders are over, from `place` on. False if nothing more may be done."""
        more = {
            "id": job.id,
            "lease": job.lease,
            "lease_seconds": self.lease_seconds,
            "place": place,
            "done": done,
            "failed": len(failures),
            "failures": Jsonb([[order_id, why] for order_id, why in failures.items()]),
            "shown": MAX_SHOWN_FAILURES,
        }
        async with self._database.connection() as connection:
            row = await (await connection.execute(_SQL["progress"], more)).fetchone()
            return bool(row and row[0])

    async def end(self, job: Job, state: BulkState | None, note: str | None = None) -> None:
        """Gives the lease back: for ever with a state, else for another process to go on."""
        ending = {"id": job.id, "lease": job.lease, "state": state, "note": note}
        async with self._database.connection() as connection:
            await connection.execute(_SQL["end"], ending)


async def _job(connection: Connection, replay_id: UUID, lease: UUID) -> Job | None:
    cursor = connection.cursor(binary=True)
    await cursor.execute(_SQL["job"], (replay_id, lease))
    row = await cursor.fetchone()
    if row is None:
        return None
    _, mode, reason, rate, orders, done, failed, options, operator, via, role = row
    proved = None if role is None else Role(role)
    by = Operator(operator, Via(via), proved) if operator else Operator(Via.API.value, Via.API)
    chosen = options_of(options) if mode == BulkMode.REDELIVER else DEFAULT_OPTIONS
    return Job(replay_id, BulkMode(mode), reason, rate, orders, done + failed, lease, by, chosen)
