"""Comparisons that people have asked for, in PostgreSQL: for those people, and for the process that does them."""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from adapters.postgres.audit_log import record_actions
from adapters.postgres.pool import Connection, Database
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.postgres.sql import statements
from adapters.records.actions import Action, ActionRequest
from adapters.records.comparisons import (
    MAX_SHOWN_FINDINGS,
    AlreadyComparing,
    ComparingJob,
    Comparison,
    ComparisonState,
    Step,
    found_as_json,
    found_from_json,
)
from adapters.records.operators import ActionKind
from domain.exact_json import dumps, loads
from domain.identifiers import MAX_ORDER_ID
from projections.reconciliation import Verdict

KEPT_COMPARISONS: Final = 200
LEASE_SECONDS: Final = 120.0
"""Longer than a step takes whose lookups all time out."""

_SQL: Final = statements("comparisons")


class PostgresComparisons:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._books = PostgresReconciliation(database)

    async def count(self) -> int:
        """All orders."""
        return await self._books.count(None)

    async def start(self, orders: Collection[int] | None, rate_per_second: float, asked: ActionRequest) -> UUID:
        """Without `orders`: of all. Raises AlreadyComparing."""
        await self._books.forget()
        total = await self.count() if orders is None else len(set(orders))
        new = {
            "id": uuid4(),
            "orders": None if orders is None else sorted(set(orders)),
            "total": total,
            "per_second": rate_per_second,
            "operator": asked.by.name,
            "reason": asked.reason,
        }
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["forget"], (KEPT_COMPARISONS,))
            started = await (await connection.execute(_SQL["start"], new)).fetchone()
            if started is None:
                raise AlreadyComparing(of_all=orders is None)
            only = next(iter(orders)) if orders is not None and total == 1 else None
            detail = {"comparison": new["id"], "orders": total, "isOfAll": orders is None}
            await _record(connection, ActionKind.COMPARE, asked, ComparisonState.RUNNING, detail, only)
        return started[0]  # type: ignore[no-any-return]  # a uuid column

    async def cancel(self, comparison_id: UUID, asked: ActionRequest) -> bool:
        """False if it doesn't run."""
        async with self._database.transaction() as connection:
            cancelled = await (await connection.execute(_SQL["cancel"], (comparison_id,))).fetchone()
            if cancelled is not None:
                detail = {"comparison": comparison_id}
                await _record(connection, ActionKind.COMPARE_CANCEL, asked, ComparisonState.CANCELLED, detail)
        return cancelled is not None

    async def get(self, comparison_id: UUID) -> Comparison | None:
        found = await self._page("id = %(id)s", {"id": comparison_id, "limit": 1})
        return found[0] if found else None

    async def page(self, start: int | None, limit: int) -> list[Comparison]:
        """From the number `start` downwards; from the last one without it."""
        place = {"start": MAX_ORDER_ID if start is None else start, "limit": limit}
        return await self._page("number <= %(start)s", place)

    async def _page(self, condition: str, parameters: dict[str, Any]) -> list[Comparison]:
        statement = _SQL["page"].replace("/* condition */", condition)
        async with self._database.connection() as connection:
            return [_comparison(row) async for row in await connection.execute(statement, parameters)]


class PostgresComparisonWork:
    """For whoever does comparisons, under a lease. Raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._books = PostgresReconciliation(database)
        self._lease_seconds = lease_seconds

    async def claim(self) -> ComparingJob | None:
        """The oldest that runs and that nobody works on."""
        taking = {"lease": uuid4(), "seconds": self._lease_seconds}
        async with self._database.connection() as connection:
            claimed = await (await connection.execute(_SQL["claim"], taking)).fetchone()
        if claimed is None:
            return None
        comparison_id, orders, place, per_second = claimed
        return ComparingJob(comparison_id, taking["lease"], orders, place, per_second)  # type: ignore[arg-type]  # a mixed dict

    async def next_orders(self, job: ComparingJob, after: int) -> Sequence[int]:
        if job.orders is None:
            return await self._books.order_ids(None, after, job.step)
        return [each for each in job.orders if each > after][: job.step]

    async def advance(self, job: ComparingJob, step: Step) -> bool:
        """False if it was cancelled, or is another's."""
        done = {
            "place": step.place,
            "note": None,
            "verdicts": Jsonb(dict(step.verdicts), dumps=dumps),
            "findings": Jsonb([found_as_json(each) for each in step.findings], dumps=dumps),
            "max_findings": MAX_SHOWN_FINDINGS,
        }
        return await self._has_row("advance", job, done)

    async def wait(self, job: ComparingJob, note: str) -> bool:
        """Keeps the lease. False if it was cancelled, or is another's."""
        return await self._has_row("note", job, {"note": note})

    async def end(self, job: ComparingJob, state: ComparisonState, note: str | None = None) -> None:
        await self._execute("end", job, {"state": state, "note": note})

    async def release(self, job: ComparingJob) -> None:
        """Another process may go on with it."""
        await self._execute("release", job, {})

    async def _has_row(self, name: str, job: ComparingJob, more: dict[str, Any]) -> bool:
        asked = {"id": job.id, "lease": job.lease, "seconds": self._lease_seconds} | more
        async with self._database.connection() as connection:
            return await (await connection.execute(_SQL[name], asked)).fetchone() is not None

    async def _execute(self, name: str, job: ComparingJob, more: dict[str, Any]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_SQL[name], {"id": job.id, "lease": job.lease} | more)


async def _record(  # noqa: PLR0913, PLR0917 - what an action says
    connection: Connection,
    kind: ActionKind,
    asked: ActionRequest,
    after: ComparisonState,
    detail: dict[str, Any],
    order_id: int | None = None,
) -> None:
    before = None if kind is ActionKind.COMPARE else ComparisonState.RUNNING
    action = Action(
        kind=kind, asked=asked, order_id=order_id, state_before=before, state_after=after, detail=detail
    )
    await record_actions(connection, [action])


def _comparison(row: tuple[Any, ...]) -> Comparison:
    comparison_id, number, state, is_of_all, total, rate, operator, reason, verdicts, findings, *rest = row
    return Comparison(
        comparison_id,
        number,
        ComparisonState(state),
        is_of_all,
        total,
        rate,
        operator,
        reason,
        {Verdict(name): count for name, count in loads(verdicts).items()},
        [found_from_json(each) for each in loads(findings)],
        *rest,
    )
