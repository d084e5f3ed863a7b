"""Jobs in PostgreSQL, as people deal with them: preview, start, look, cancel."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, assert_never
from uuid import UUID, uuid4

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.audit_log import record_actions
from adapters.postgres.job_rows import job_of, kept_options
from adapters.postgres.job_selection import selected, selected_messages, shown
from adapters.postgres.pool import Connection, Database
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.postgres.replays import plans
from adapters.postgres.sql import completed, statements
from adapters.records.actions import Action, ActionRequest
from adapters.records.jobs import (
    ALL_KINDS,
    BULK,
    COMPARE,
    COMPARISONS,
    KEPT_COMPARISONS,
    KEPT_ENDED,
    KEPT_PREVIEW_HOURS,
    MAX_ORDERS,
    MAX_REDELIVERED_ORDERS,
    MAX_SAMPLE,
    MAX_SHOWN_LEFT_OUT,
    TOKEN_MINUTES,
    AlreadyComparing,
    BulkMode,
    Foretold,
    Job,
    JobState,
    Kinds,
    NotPossibleNow,
    OrderSample,
    OtherThings,
    Outcomes,
    Overlaps,
    Preview,
    Selection,
    Settling,
    TokenExpired,
    TooManyOrders,
    UnknownJob,
    WrongToken,
)
from adapters.records.operators import ActionKind, Operator
from domain.identifiers import MAX_ORDER_ID
from domain.lifecycle import Status
from domain.money import ZERO, total
from projections.redelivery import DEFAULT_OPTIONS, RedeliveryOptions

_SQL: Final = statements("jobs")
_ORDERS_AT_A_TIME: Final = 500
_CALLING: Final = frozenset({BulkMode.REDELIVER, BulkMode.RETRY, BulkMode.SETTLE, BulkMode.RELEASE})
"""Kinds by which calls go out."""


class PostgresJobs:
    """Every method raises domain.ports.StoreUnavailable in an outage, and refuses as adapters.records.jobs says."""

    def __init__(self, database: Database, *, key_retention: timedelta = timedelta(hours=24)) -> None:
        self._database = database
        self._books = PostgresReconciliation(database)
        self._key_retention = key_retention

    async def preview(
        self,
        mode: BulkMode,
        selection: Selection,
        rate_per_second: float,
        reason: str,
        options: RedeliveryOptions = DEFAULT_OPTIONS,
    ) -> Preview:
        """Freezes the set of orders that are selected now. Those to be retried must be parked, and not because they
        are doubtful; those to be settled must be doubtful, and those to be released hold something. `options` are
        for redeliveries. Raises TooManyOrders."""
        match mode:
            case BulkMode.RETRY:
                selection = replace(selection, parked=True)
            case BulkMode.SETTLE:
                selection = replace(selection, doubtful=True)
            case BulkMode.RELEASE:
                selection = replace(selection, held=True)
            case BulkMode.QUARANTINE_RETRY | BulkMode.QUARANTINE_DISCARD:
                selection = replace(selection, quarantined=True)
            case BulkMode.REPUBLISH | BulkMode.REDELIVER:
                pass
            case _:
                assert_never(mode)
        if selection.is_of_messages != mode.is_of_messages or (
            mode.is_of_messages and _only_of_messages(selection) != selection
        ):
            raise OtherThings(mode)
        limit = MAX_REDELIVERED_ORDERS if mode is BulkMode.REDELIVER else MAX_ORDERS
        job_id, token = uuid4(), secrets.token_urlsafe(16)
        async with self._database.connection() as connection:
            await connection.execute(_SQL["forget_previews"], (KEPT_PREVIEW_HOURS,))
            await _forget(connection, BULK, KEPT_ENDED)
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if mode.is_of_messages:
                orders, cashback = await selected_messages(connection, selection, limit), ZERO
            else:
                orders, cashback = await selected(connection, selection, limit, but_doubtful=mode is BulkMode.RETRY)
            if len(orders) > limit:
                raise TooManyOrders(limit)
            redelivers = mode is BulkMode.REDELIVER
            foretold = await self._foretold(connection, orders, options) if redelivers else None
            settling = await _settling(connection, orders) if mode is BulkMode.SETTLE else None
            new = {
                "id": job_id,
                "kind": mode,
                "selection": Jsonb(shown(selection)),
                "reason": reason,
                "rate": rate_per_second,
                "orders": orders,
                "total": len(orders),
                "cashback": cashback,
                "digest": _digest(token),
                "minutes": TOKEN_MINUTES,
                "options": Jsonb(kept_options(options) if redelivers else {}),
                "calls": settling.calls if settling else foretold and foretold.calls,
                "suppressed": foretold and foretold.suppressed,
                "amount_at_risk": foretold and foretold.amount_at_risk,
                "at_stake": settling and settling.at_stake,
            }
            await connection.execute(_SQL["insert_preview"], new)
            preview = await _preview(connection, await _one(connection, job_id))
        left_out = sorted((selection.orders or frozenset()).difference(orders))
        return replace(preview, token=token, left_out_count=len(left_out), left_out=left_out[:MAX_SHOWN_LEFT_OUT])

    async def previewed(self, job_id: UUID) -> Preview:
        """A preview that somebody has made, without its token, and without the names of what was left out. Raises
        UnknownJob."""
        async with self._database.connection() as connection:
            return await _preview(connection, await _one(connection, job_id, BULK))

    async def _foretold(
        self, connection: Connection, orders: Sequence[int], options: RedeliveryOptions
    ) -> Foretold:
        sent, suppressed, at_risk = 0, 0, ZERO
        for place in range(0, len(orders), _ORDERS_AT_A_TIME):
            some = orders[place : place + _ORDERS_AT_A_TIME]
            for plan in (await plans(connection, some, options, self._key_retention)).values():
                sent += len(plan.sent)
                suppressed += len(plan.suppressed)
                at_risk = total((at_risk, plan.amount_at_risk))
        return Foretold(sent, suppressed, at_risk)

    async def start(
        self,
        job_id: UUID | None,
        token: str | None,
        *,
        by: Operator,
        lease: UUID | None = None,
        lease_seconds: float = 0.0,
    ) -> Job:
        """Starts the preview with this token; without an id, whichever it is. Without a token, the preview of this
        id, for somebody who has seen it. With a `lease`, for its holder to do.

        Raises UnknownJob, WrongToken, TokenExpired, NotPossibleNow or Overlaps.
        """
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_starts"])
            asked = {"id": job_id, "digest": None if token is None else _digest(token)}
            found = await (await connection.execute(_SQL["to_start"], asked)).fetchone()
            if found is None:
                raise UnknownJob(job_id, BULK)
            found_id, kind, state, is_its_token, expired = found
            if token is not None and not is_its_token:
                raise WrongToken(found_id)
            if state != JobState.PREVIEWED:
                raise NotPossibleNow(found_id, BulkMode(kind), JobState(state), "started")
            if expired:
                raise TokenExpired(found_id)
            other = await (await connection.execute(_SQL["overlapping"], (found_id,))).fetchone()
            if other is not None:
                raise Overlaps(found_id, other[0])
            leased = {"id": found_id, "lease": lease, "lease_seconds": lease_seconds}
            await connection.execute(_SQL["start"], leased | _columns(by))
            started = await _one(connection, found_id)
            await record_actions(connection, [_action(by, started, JobState.PREVIEWED)])
            return started

    async def count(self) -> int:
        """All orders that there are to compare."""
        return await self._books.count(None)

    async def compare(self, orders: Collection[int] | None, rate_per_second: float, asked: ActionRequest) -> UUID:
        """Starts a comparison; without `orders`, of all. Raises AlreadyComparing."""
        await self._books.forget()
        total = await self.count() if orders is None else len(set(orders))
        new = {
            "id": uuid4(),
            "orders": None if orders is None else sorted(set(orders)),
            "total": total,
            "rate": rate_per_second,
            "reason": asked.reason,
        }
        async with self._database.transaction() as connection:
            await _forget(connection, COMPARISONS, KEPT_COMPARISONS)
            started = await (await connection.execute(_SQL["compare"], new | _columns(asked.by))).fetchone()
            if started is None:
                raise AlreadyComparing(of_all=orders is None)
            job = await _one(connection, started[0])
            only = next(iter(orders)) if orders is not None and total == 1 else None
            await record_actions(connection, [replace(_action(asked.by, job, None), order_id=only)])
        return job.id

    async def cancel(
        self, job_id: UUID, *, by: Operator, reason: str | None = None, kinds: Kinds = ALL_KINDS
    ) -> Job:
        """The orders under way at this moment still go; a second time changes nothing. `reason` is that of the job,
        unless given. Raises UnknownJob or NotPossibleNow."""
        async with self._database.transaction() as connection:
            before = await _one(connection, job_id, kinds)
            cancelled = await (await connection.execute(_SQL["cancel"], (job_id,))).fetchone()
            job = await _one(connection, job_id)
            if cancelled is not None:
                said = job if reason is None else replace(job, reason=reason)
                was = JobState.RUNNING if job.kind == COMPARE else None
                await record_actions(connection, [_action(by, said, was)])
        if cancelled is None and job.state is not JobState.CANCELLED:
            raise NotPossibleNow(job_id, before.kind, job.state, "cancelled")
        return job

    async def get(self, job_id: UUID, kinds: Kinds = ALL_KINDS) -> Job:
        """With its outcomes. Raises UnknownJob."""
        async with self._database.connection() as connection:
            job = await _one(connection, job_id, kinds)
            if job.kind not in _CALLING or job.started_at is None:
                return job
            row = await (await connection.execute(_SQL["outcomes"], (job_id,))).fetchone()
            assert row is not None, "an aggregate always has a row"
            return replace(job, outcomes=Outcomes(*row))

    async def page(self, start: int | None, limit: int, kinds: Kinds = ALL_KINDS) -> list[Job]:
        """From the number `start` downwards; from the last one without it."""
        async with self._database.connection() as connection:
            place = MAX_ORDER_ID if start is None else start
            return await _jobs(connection, "number <= %(wanted)s", place, limit, kinds)


def _only_of_messages(selection: Selection) -> Selection:
    return Selection(
        quarantined=selection.quarantined,
        quarantine_reason=selection.quarantine_reason,
        quarantine_topic=selection.quarantine_topic,
    )


async def _preview(connection: Connection, job: Job) -> Preview:
    """Its orders as they are by now; messages in quarantine have no state and no money."""
    if job.things == "message":
        return Preview(job, "", {}, (), 0, ())
    counted = await (await connection.execute(_SQL["by_status"], (job.id,))).fetchall()
    largest = await (await connection.execute(_SQL["largest"], (job.id, MAX_SAMPLE))).fetchall()
    named = job.selection.get("namedOrders", job.total)
    return Preview(
        replay=job,
        token="",
        by_status={Status(status): number for status, number in counted},
        sample=[OrderSample(order_id, Status(status), *rest) for order_id, status, *rest in largest],
        left_out_count=int(named) - job.total,
        left_out=(),
    )


async def _forget(connection: Connection, kinds: Kinds, kept: int) -> None:
    await connection.execute(_SQL["forget_ended"], {"kinds": list(kinds), "kept": kept})


async def _settling(connection: Connection, orders: Sequence[int]) -> Settling:
    row = await (await connection.execute(_SQL["settling"], {"orders": list(orders)})).fetchone()
    assert row is not None, "an aggregate always has a row"
    return Settling(*row)


async def _one(connection: Connection, job_id: UUID, kinds: Kinds = ALL_KINDS) -> Job:
    found = await _jobs(connection, "id = %(wanted)s", job_id, 1, kinds)
    if not found:
        raise UnknownJob(job_id, kinds)
    return found[0]


async def _jobs(connection: Connection, condition: str, wanted: UUID | int, limit: int, kinds: Kinds) -> list[Job]:
    statement = completed(_SQL["page"], condition=condition)
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(statement, {"kinds": list(kinds), "wanted": wanted, "limit": limit})
    return [job_of(row) async for row in cursor]


def _columns(by: Operator) -> dict[str, Any]:
    return {"operator": by.name, "via": by.via, "role": by.role}


def _action(by: Operator, job: Job, before: JobState | None) -> Action:
    """A start, or what ended it."""
    is_cancelled = job.state is JobState.CANCELLED
    if job.comparison is not None:
        kind = ActionKind.COMPARE_CANCEL if is_cancelled else ActionKind.COMPARE
        detail: dict[str, Any] = {"comparison": job.id}
        if not is_cancelled:
            detail |= {"orders": job.total, "isOfAll": job.comparison.is_of_all}
    else:
        kind = ActionKind.BULK_CANCEL if is_cancelled else ActionKind.BULK_START
        detail = {"mode": job.kind, "orders": job.total, "cashbackAmount": job.cashback}
        if job.foretold is not None:
            detail["amountAtRisk"] = job.foretold.amount_at_risk
        if job.settling is not None:
            detail["amountAtStake"] = job.settling.at_stake
    return Action(
        kind=kind,
        asked=ActionRequest(by, job.reason),
        state_before=before,
        state_after=job.state,
        bulk_id=None if job.comparison else job.id,
        detail=detail,
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
