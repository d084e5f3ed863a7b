"""What replays read and change in PostgreSQL."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import MapperDeserialisationError

from adapters.postgres.audit_log import done_in_bulk, record_actions
from adapters.postgres.delivery_cursors import CursorRow, check_precondition, cursors, note_lost, notify_due
from adapters.postgres.pool import Connection, Database
from adapters.postgres.queries import events_of
from adapters.postgres.sql import statements
from adapters.records.actions import Action, ActionRequest, ReplayRecord
from adapters.records.errors import DoneBefore, NonceUsed, UnderWay
from adapters.records.operators import ActionKind
from domain.effects import EffectKind
from domain.events import OrderEvent
from domain.identifiers import order_id_of, stream_id
from projections.delivery.ports import Call
from projections.redelivery import LedgerEntry, Redelivery, RedeliveryOptions, redelivery
from projections.republication import CallState, Mode

Streams = Mapping[int, Sequence[OrderEvent] | MapperDeserialisationError]
"""By order; an error where an event can't be read."""

_SQL: Final = statements("replays") | {
    "stream": statements("queries")["stream"],
    "streams": statements("intake")["select_streams"],
}


class PostgresReplays:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def events(self, order_id: int) -> list[OrderEvent]:
        """The order's whole stream; empty if it has none."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(_SQL["stream"], (stream_id(order_id),))
            stream = await cursor.fetchall()
        return await asyncio.to_thread(events_of, stream)

    async def streams(self, order_ids: Sequence[int]) -> Streams:
        """The orders' whole streams, without those that have none."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(_SQL["streams"], ([stream_id(order_id) for order_id in order_ids],))
            rows = await cursor.fetchall()
        return await asyncio.to_thread(_by_order, rows)

    async def record_bulk(
        self, replay_id: UUID, mode: Mode, asked: ActionRequest, items: Mapping[int, int]
    ) -> None:
        """What is done to each of these orders: how many calls or messages. What was recorded before gives way."""
        some = {
            "id": replay_id,
            "mode": mode,
            "reason": asked.reason,
            "orders": list(items),
            "items": list(items.values()),
            "operator": asked.by.name,
            "via": asked.by.via,
            "role": asked.by.role,
        }
        async with self._database.connection() as connection:
            await connection.execute(_SQL["record_bulk"], some)

    async def check_precondition(self, order_id: int, asked: ActionRequest) -> None:
        """Raises UnknownOrder or OrderChanged."""
        async with self._database.snapshot() as connection:
            await check_precondition(connection, order_id, asked)

    async def preview(
        self, order_id: int, options: RedeliveryOptions, key_retention: timedelta
    ) -> Redelivery | None:
        """What a redelivery would do now; None if the order has no events. Raises what `redeliver` raises."""
        async with self._database.snapshot() as connection:
            cursor = (await cursors(connection, [order_id], lock=False)).get(order_id)
            return await _checked(connection, order_id, cursor, options, key_retention)

    async def redeliver(
        self, record: ReplayRecord, options: RedeliveryOptions, key_retention: timedelta
    ) -> Redelivery | None:
        """Makes the calls due, and records the replay, in one transaction; None if the order has no events.

        Raises OrderChanged, UnderWay, NonceUsed or AnswerLost, and DoneBefore if a bulk replay has done it already.
        """
        order_id = record.order_id
        async with self._database.transaction() as connection:
            cursor = (await cursors(connection, [order_id], lock=True)).get(order_id)
            if record.is_bulk and await done_in_bulk(connection, record.id, [order_id]):
                raise DoneBefore(record.id, order_id)
            await check_precondition(connection, order_id, record.asked)
            plan = await _checked(connection, order_id, cursor, options, key_retention)
            if plan is None:
                return None
            if cursor is not None and plan.versions:
                await _make_due(connection, cursor, plan, options)
            await _record(connection, record, len(plan.versions))
            await record_actions(connection, [_action(record, cursor, plan, options)])
            return plan

    async def record(self, record: ReplayRecord, items: int) -> None:
        """Of messages that are about to be published. Raises UnknownOrder or OrderChanged.

        If their publishing is cut short, the same request may well do it again: repeats change nothing.
        """
        action = Action(
            kind=ActionKind.REPUBLISH,
            asked=replace(record.asked, by=replace(record.asked.by, request_id=None)),
            order_id=record.order_id,
            detail={"replayId": record.id, "messages": items},
        )
        async with self._database.transaction() as connection:
            await check_precondition(connection, record.order_id, record.asked)
            await _record(connection, record, items)
            await record_actions(connection, [action])

    async def correct(self, replay_id: UUID, items: int) -> None:
        """Notes that only so many messages went out."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["correct_replay"], (items, replay_id))


async def plans(
    connection: Connection, order_ids: Sequence[int], options: RedeliveryOptions, key_retention: timedelta
) -> dict[int, Redelivery]:
    """What the options mean for each of the orders that have calls in the ledger."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(_SQL["ledger_entries"], (list(order_ids),))
    rows = await cursor.fetchall()
    now = rows[0][-1] if rows else datetime.now(UTC)
    return {
        order_id: redelivery([_entry(row) for row in of_order], options, now=now, key_retention=key_retention)
        for order_id, of_order in groupby(rows, key=itemgetter(0))
    }


async def _checked(
    connection: Connection,
    order_id: int,
    cursor: CursorRow | None,
    options: RedeliveryOptions,
    key_retention: timedelta,
) -> Redelivery | None:
    """A call under way has its old key: which of the two the third party has heard would depend on chance."""
    found = await (await connection.execute(_SQL["with_stream"], ([stream_id(order_id)],))).fetchone()
    if found is None:
        return None
    plan = (await plans(connection, [order_id], options, key_retention)).get(order_id, Redelivery())
    if options.nonce is not None and plan.renewed:
        used = await (await connection.execute(_SQL["was_nonce_used"], (order_id, options.nonce))).fetchone()
        if used and used[0]:
            raise NonceUsed(order_id, options.nonce)
        if cursor is not None and cursor.is_under_way:
            raise UnderWay(order_id, cursor.next_attempt_at)
    return plan


async def _make_due(
    connection: Connection, cursor: CursorRow, plan: Redelivery, options: RedeliveryOptions
) -> None:
    order_id, versions = cursor.order_id, plan.versions
    if cursor.settled_version >= versions[0] or not cursor.is_under_way:
        await note_lost(connection, [order_id])
    if renewed := plan.renewed:
        await connection.execute(_SQL["keep_keys"], (order_id, list(renewed)))
        new = {
            "order_id": order_id,
            "versions": list(renewed),
            "keys": list(renewed.values()),
            "nonce": options.nonce,
        }
        await connection.execute(_SQL["renew_keys"], new)
    if blind := plan.blind:
        await connection.execute(_SQL["send_blindly"], (order_id, blind))
    due = {"order_id": order_id, "versions": versions, "renewed": list(plan.renewed)}
    await connection.execute(_SQL["make_due"], due)
    place = {"order_id": order_id, "first": versions[0], "last": versions[-1]}
    await connection.execute(_SQL["set_back"], place)
    await notify_due(connection)


def _action(record: ReplayRecord, cursor: CursorRow | None, plan: Redelivery, options: RedeliveryOptions) -> Action:
    before = cursor.state if cursor else "idle"
    head = plan.sent[0] if plan.sent else None
    detail = {
        "how": options.how,
        "nonce": options.nonce,
        "include": sorted(options.include),
        "versions": plan.versions,
        "suppressed": [each.entry.call.version for each in plan.suppressed],
        "amountAtRisk": plan.amount_at_risk,
    }
    return Action(
        kind=ActionKind.REDELIVER,
        asked=record.asked,
        order_id=record.order_id,
        version=head.entry.call.version if head else None,
        key=head.key if head else None,
        state_before=before,
        state_after="due" if head else before,
        bulk_id=record.id if record.is_bulk else None,
        detail=detail if record.is_bulk else detail | {"replayId": record.id},
    )


async def _record(connection: Connection, record: ReplayRecord, items: int) -> None:
    await connection.execute(
        _SQL["insert_replay"], (record.id, record.order_id, record.mode, record.asked.reason, items)
    )


def _by_order(rows: Sequence[tuple[Any, ...]]) -> Streams:
    streams: dict[int, Sequence[OrderEvent] | MapperDeserialisationError] = {}
    for stream, stored in groupby(rows, key=itemgetter(0)):
        try:
            streams[order_id_of(stream)] = events_of(list(stored))
        except MapperDeserialisationError as error:
            streams[order_id_of(stream)] = error
    return streams


def _entry(row: tuple[Any, ...]) -> LedgerEntry:
    order_id, version, kind, key, body, state, attempts, first_attempt_at, maybe_done, nonce, _ = row
    call = Call(order_id, version, EffectKind(kind), key, body)
    return LedgerEntry(call, CallState(state), attempts, first_attempt_at, maybe_done, nonce)
