"""A person's decisions about orders in PostgreSQL: the events and the record of the action are one transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.postgres.audit_log import done_in_bulk, record_action
from adapters.postgres.delivery_cursors import check_precondition, cursors
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.parking import MAX_READ_CALLS, waiting_calls
from adapters.postgres.pool import Database
from adapters.postgres.sql import statements
from adapters.records.actions import Action, ActionRequest
from adapters.records.errors import DoneBefore
from adapters.records.operators import ActionKind
from adapters.records.parking import WaitingCall
from domain.events import OrderEvent
from domain.ports import Batch
from projections.reconciliation import BROKEN, Invariant

_SQL: Final = statements("parking")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where an order's calls stand, and those that aren't settled."""

    state: str
    parked_reason: str | None
    calls: Sequence[WaitingCall]


class PostgresInterventions:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, order_id: int, asked: ActionRequest, bulk_id: UUID | None = None) -> Waiting:
        """Raises UnknownOrder, OrderChanged or DoneBefore."""
        async with self._database.snapshot() as connection:
            if bulk_id is not None and await done_in_bulk(connection, bulk_id, [order_id]):
                raise DoneBefore(bulk_id, order_id)
            await check_precondition(connection, order_id, asked)
            found = (await cursors(connection, [order_id], lock=False)).get(order_id)
            if found is None:
                return Waiting("idle", None, ())
            calls = await waiting_calls(connection, [order_id], MAX_READ_CALLS)
            return Waiting(found.state, found.parked_reason, calls.get(order_id, ()))

    async def commit(self, store: OrderApplication, events: Sequence[OrderEvent], action: Action) -> None:
        """Stores the events and records the action. Raises OrderChanged or AnswerLost, and what
        `domain.ports.OrderStore.commit` raises; then nothing is done."""
        loop = asyncio.get_running_loop()
        order_id = events[0].order_id

        def first(cursor: Cursor[DictRow]) -> None:
            if action.asked.precondition is not None:
                # With the order's cursor in our hands nobody settles a call of it, and nobody adds to its stream
                # without us noticing: what is looked at now stays so until we commit.
                cursor.execute(_SQL["hold_cursor"], (order_id,))
                asyncio.run_coroutine_threadsafe(self._check_seen(order_id, action.asked), loop).result()
            record_action(cursor, action)
            if action.kind is ActionKind.REPAIR:
                cursor.execute(_SQL["free_repaired"], (order_id, f"{BROKEN}{Invariant.STREAM_IS_WHOLE}"))

        await asyncio.to_thread(store.commit, Batch(events, [], []), first)

    async def _check_seen(self, order_id: int, asked: ActionRequest) -> None:
        async with self._database.snapshot() as connection:
            await check_precondition(connection, order_id, asked)
