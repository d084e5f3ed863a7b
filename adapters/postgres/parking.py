"""Retrying and skipping in PostgreSQL: the action and its record are one transaction."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from adapters.postgres.audit_log import done_in_bulk, record_actions
from adapters.postgres.delivery_cursors import CursorRow, check_precondition, cursors, note_lost, notify_due
from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import statements
from adapters.records.actions import Action, ActionRequest
from adapters.records.errors import NotPossible, UnknownOrder
from adapters.records.operators import ActionKind
from adapters.records.parking import ParkingReport, WaitingCall, retried, skipped
from domain.effects import EffectKind
from domain.identifiers import stream_id
from projections.delivery.ports import Call
from projections.doubt_marks import DOUBTFUL
from projections.republication import CallState

MAX_READ_CALLS: Final = 2000
"""Of one order that is looked at."""

_SQL: Final = statements("parking") | {"with_stream": statements("replays")["with_stream"]}


class PostgresParking:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def retry(self, order_id: int, asked: ActionRequest, *, dry_run: bool) -> ParkingReport:
        """Raises UnknownOrder, OrderChanged, NotPossible, UnderWay or AnswerLost."""
        async with self._database.transaction() as connection:
            cursor, calls = await _standing(connection, order_id, asked, lock=not dry_run)
            report = retried(cursor, calls, dry_run=dry_run)
            if not dry_run:
                await _retry(connection, {order_id: calls[:1]})
                await record_actions(connection, [_action(report, asked)])
        return report

    async def skip(
        self, order_id: int, asked: ActionRequest, *, dry_run: bool, version: int | None = None
    ) -> ParkingReport:
        """Raises UnknownOrder, OrderChanged, NotPossible, UnderWay, AnotherCall or AnswerLost."""
        async with self._database.transaction() as connection:
            cursor, calls = await _standing(connection, order_id, asked, lock=not dry_run)
            report = skipped(cursor, calls, version, dry_run=dry_run)
            if not dry_run:
                await note_lost(connection, [order_id])
                head = calls[0].call.version
                await connection.execute(_SQL["give_up"], (order_id, head))
                await connection.execute(_SQL["pass_by"], {"order_id": order_id, "version": head})
                await connection.execute(_SQL["let_go"], ([order_id],))
                await notify_due(connection)
                await record_actions(connection, [_action(report, asked)])
        return report

    async def retry_many(self, order_ids: Sequence[int], asked: ActionRequest, bulk_id: UUID) -> dict[int, str]:
        """Those that are parked, in one transaction. Answers the others, and why nothing was done to them.

        An order that this bulk replay has retried before counts as done.
        """
        async with self._database.transaction() as connection:
            found = await cursors(connection, order_ids, lock=True)
            before = await done_in_bulk(connection, bulk_id, order_ids)
            parked = [
                each
                for each, cursor in found.items()
                if cursor.state == "parked" and cursor.parked_reason != DOUBTFUL and each not in before
            ]
            calls = await waiting_calls(connection, parked, 1)
            reports = [retried(found[order_id], calls.get(order_id, ())) for order_id in parked]
            await _retry(connection, {order_id: calls.get(order_id, ()) for order_id in parked})
            await record_actions(connection, [_action(report, asked, bulk_id) for report in reports])
        return {each: _why_not(found.get(each)) for each in order_ids if each not in before and each not in parked}


def _why_not(cursor: CursorRow | None) -> str:
    if cursor is not None and cursor.parked_reason == DOUBTFUL:
        return "it is doubtful: settle the doubt first"
    return f"it is {cursor.state if cursor else 'without calls'}, not parked"


async def _retry(connection: Connection, heads: Mapping[int, Sequence[WaitingCall]]) -> None:
    if not heads:
        return
    first = [calls[0].call for calls in heads.values() if calls]
    await note_lost(connection, list(heads))
    for order_id in (order_id for order_id, calls in heads.items() if not calls):
        await connection.execute(_SQL["pass_by"], {"order_id": order_id, "version": 0})
    due = {"order_ids": [call.order_id for call in first], "versions": [call.version for call in first]}
    await connection.execute(_SQL["make_head_due"], due)
    await connection.execute(_SQL["let_go"], (list(heads),))
    await notify_due(connection)


async def _standing(
    connection: Connection, order_id: int, asked: ActionRequest, *, lock: bool
) -> tuple[CursorRow, Sequence[WaitingCall]]:
    found = await cursors(connection, [order_id], lock=lock)
    await check_precondition(connection, order_id, asked)
    if order_id in found:
        calls = await waiting_calls(connection, [order_id], MAX_READ_CALLS)
        return found[order_id], calls.get(order_id, ())
    stream = await (await connection.execute(_SQL["with_stream"], ([stream_id(order_id)],))).fetchone()
    if stream is None:
        raise UnknownOrder(order_id)
    raise NotPossible(order_id, "idle", "no call of it waits")


async def waiting_calls(
    connection: Connection, order_ids: Sequence[int], limit: int
) -> dict[int, Sequence[WaitingCall]]:
    """The first so many calls of each order that aren't settled."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(_SQL["waiting_calls"], {"order_ids": list(order_ids), "limit": limit})
    rows = await cursor.fetchall()
    return {order_id: [_waiting(row) for row in group] for order_id, group in groupby(rows, key=itemgetter(0))}


def _waiting(row: tuple[Any, ...]) -> WaitingCall:
    order_id, version, kind, key, body, state, attempts, maybe_done, first_sent_at = row
    call = Call(order_id, version, EffectKind(kind), key, body)
    return WaitingCall(call, CallState(state), attempts, maybe_done, first_sent_at)


def _action(report: ParkingReport, asked: ActionRequest, bulk_id: UUID | None = None) -> Action:
    call = report.calls[0].call if report.calls else None
    detail = {"parkedReason": report.parked_reason}
    if report.kind is ActionKind.SKIP:
        detail["warnings"] = "; ".join(report.warnings)
    return Action(
        kind=report.kind,
        asked=asked,
        order_id=report.order_id,
        version=call.version if call else None,
        key=call.key if call else None,
        state_before=report.state_before,
        state_after=report.state_after,
        bulk_id=bulk_id,
        detail=detail,
    )
