"""Where orders' calls stand, for those who change it as a person asks (dispatchers do it in ledger.py).

Rows are locked in the same order as a settlement does it: the cursors, then the calls.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.ledger import CALLS_PER_CLAIM
from adapters.postgres.pool import Connection
from adapters.postgres.queries import order_record
from adapters.postgres.sql import completed, statements
from adapters.records.actions import ActionRequest
from adapters.records.calls import DeliveryState
from adapters.records.errors import OrderChanged, UnknownOrder

_SQL: Final = statements("parking")
_NOTE_LOST: Final = completed(_SQL["note_lost"], lost=statements("delivery")["lost"])


@dataclass(frozen=True, slots=True)
class CursorRow:
    """Where an order's calls stand."""

    order_id: int
    state: DeliveryState
    settled_version: int
    parked_reason: str | None
    next_attempt_at: datetime
    is_under_way: bool
    """A call may be under way until `next_attempt_at`, also if the order was parked meanwhile."""


async def cursors(connection: Connection, order_ids: Sequence[int], *, lock: bool) -> dict[int, CursorRow]:
    """Those that are there; with `lock` nobody else can move them until the transaction ends."""
    statement = completed(_SQL["cursors"], lock="FOR UPDATE" if lock else "")
    rows = await (await connection.execute(statement, (list(order_ids),))).fetchall()
    return {row[0]: CursorRow(*row) for row in rows}


async def note_lost(connection: Connection, order_ids: Sequence[int]) -> None:
    """Takes away claims that were never settled: their calls are in doubt from now on."""
    await connection.execute(_NOTE_LOST, {"order_ids": list(order_ids), "calls": CALLS_PER_CLAIM})


async def notify_due(connection: Connection) -> None:
    await connection.execute(_SQL["notify_due"])


async def check_precondition(connection: Connection, order_id: int, asked: ActionRequest) -> None:
    """In the transaction of the action, once it holds the order's cursor: from then on no call of it is settled.

    A message that comes meanwhile is decided as if it had come after it. Raises UnknownOrder or OrderChanged.
    """
    if asked.precondition is None:
        return
    record = await order_record(connection, order_id)
    if record is None:
        raise UnknownOrder(order_id)
    if not await asyncio.to_thread(asked.precondition, record):
        raise OrderChanged(order_id)
