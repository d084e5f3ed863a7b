"""What replays read and change in PostgreSQL."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from adapters.postgres.pool import Connection, Database
from adapters.postgres.queries import events_of
from adapters.postgres.sql import statements
from domain.effects import EffectKind
from domain.events import OrderEvent
from domain.identifiers import stream_id
from projections.ports import Call
from projections.replay import CallState, LedgerEntry, Mode, Redelivery, redelivery

_SQL: Final = statements("replays") | {"stream": statements("queries")["stream"]}


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """For the record of replays. `items` is the number of calls or messages."""

    id: UUID
    order_id: int
    mode: Mode
    reason: str


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

    async def preview(self, order_id: int, key_retention: timedelta) -> Redelivery | None:
        """What a redelivery would do now; None if the order has no events."""
        async with self._database.snapshot() as connection:
            return await _redelivery(connection, order_id, key_retention)

    async def redeliver(self, record: ReplayRecord, key_retention: timedelta) -> Redelivery | None:
        """Makes the calls due, and records the replay, in one transaction; None if the order has no events."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_delivery"], (record.order_id,))
            plan = await _redelivery(connection, record.order_id, key_retention)
            if plan is None:
                return None
            if versions := plan.versions:
                await connection.execute(_SQL["make_due"], (record.order_id, versions))
                cursor = {"order_id": record.order_id, "first": versions[0], "last": versions[-1]}
                await connection.execute(_SQL["set_back"], cursor)
                await connection.execute(_SQL["notify_due"])
            await _record(connection, record, len(versions))
            return plan

    async def record(self, record: ReplayRecord, items: int) -> None:
        async with self._database.connection() as connection:
            await _record(connection, record, items)

    async def correct(self, replay_id: UUID, items: int) -> None:
        """Notes that only so many messages went out."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["correct_replay"], (items, replay_id))


async def _record(connection: Connection, record: ReplayRecord, items: int) -> None:
    await connection.execute(_SQL["insert_replay"], (record.id, record.order_id, record.mode, record.reason, items))


async def _redelivery(connection: Connection, order_id: int, key_retention: timedelta) -> Redelivery | None:
    found = await (await connection.execute(_SQL["has_stream"], (stream_id(order_id),))).fetchone()
    if not found or not found[0]:
        return None
    cursor = connection.cursor(binary=True)
    await cursor.execute(_SQL["ledger_entries"], {"order_id": order_id})
    rows = await cursor.fetchall()
    entries = [
        LedgerEntry(Call(order_id, row[0], EffectKind(row[1]), row[2], row[3]), CallState(row[4]), row[5], row[6])
        for row in rows
    ]
    now = rows[0][7] if rows else datetime.now(UTC)
    return redelivery(entries, now=now, key_retention=key_retention)
