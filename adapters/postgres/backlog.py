"""What waits and what stands still in the whole service, at a cost that doesn't grow with it."""

from typing import Any, Final

import msgspec
from psycopg.rows import namedtuple_row

from adapters.postgres.money_may_be_wrong import totals
from adapters.postgres.pool import Database
from adapters.postgres.sql import statements
from adapters.records.money_may_be_wrong import DEFAULT_LIMITS, CaseLimits
from adapters.records.status import Backlog, CountAndAge, ProjectionLag
from domain.instants import NANOSECONDS_PER_SECOND

MAX_COUNTED: Final = 10_000
"""One more stands for: more than that."""

_SQL: Final = statements("backlog")


class _Said(msgspec.Struct):
    recorded_at_ns: int


_decode: Final = msgspec.json.Decoder(_Said).decode


class PostgresBacklog:
    """For one event loop."""

    def __init__(self, database: Database, limits: CaseLimits = DEFAULT_LIMITS) -> None:
        self._database = database
        self._limits = limits

    async def backlog(self) -> Backlog:
        """Raises domain.ports.StoreUnavailable."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=namedtuple_row)
            row: Any = await (await cursor.execute(_SQL["backlog"], {"limit": MAX_COUNTED + 1})).fetchone()
            assert row is not None, "it has no condition"
            projections = await (await connection.execute(_SQL["projections"])).fetchall()
            cases = await totals(connection, self._limits)
        return Backlog(
            waiting=_count_and_age(row.waiting, row.waiting_age),
            parked=_count_and_age(row.parked, row.parked_age),
            held=_count_and_age(row.held, row.held_age),
            quarantined=_count_and_age(row.quarantined, row.quarantined_age),
            doubtful=row.doubtful,
            different=row.different,
            projections={name: _lag(events, record, now) for name, events, record, now in projections},
            money_may_be_wrong=cases,
        )


def _count_and_age(number: int, age_seconds: float | None) -> CountAndAge:
    return CountAndAge(number, max(0.0, age_seconds or 0.0))


def _lag(events: int, record: bytes | None, now_seconds: float) -> ProjectionLag:
    """The event was recorded by another machine's clock than the one that says what time it is."""
    if record is None:
        return ProjectionLag(0, 0.0)
    recorded_at_seconds = _decode(record).recorded_at_ns / NANOSECONDS_PER_SECOND
    return ProjectionLag(events, max(0.0, now_seconds - recorded_at_seconds))
