"""What people ask about orders, calls and messages. Reads only; every answer has a limit."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from eventsourcing.persistence import StoredEvent
from psycopg import AsyncCursor
from psycopg.rows import namedtuple_row

from adapters.postgres.audit_log import actions_of
from adapters.postgres.codec import EventMapper
from adapters.postgres.pool import Connection, Database
from adapters.postgres.reconciliation import difference_row
from adapters.postgres.sql import completed, statements
from adapters.records.calls import AttemptRow, CallRow, DeliveryRow, ParkedRow
from adapters.records.causes import MAX_CAUSES, Cause
from adapters.records.differences import LastComparison
from adapters.records.orders import OrderFilter, OrderRecord, ReplayRow
from adapters.records.quarantine import Edit, Headers, QuarantinedMessage, QuarantineRow, QuarantineState
from adapters.records.status import MAX_COUNTED, SILENT_SECONDS, Outage
from domain.effects import EffectKind
from domain.events import OrderEvent
from domain.identifiers import MAX_ORDER_ID, stream_id
from domain.lifecycle import Status
from projections.orders import OrderRow
from projections.reconciliation import Verdict
from projections.republication import CallState, Mode

MAX_SHOWN_ATTEMPTS: Final = 20
"""The last ones at each call."""
MAX_SHOWN_QUARANTINED: Final = 50
MAX_SHOWN_REPLAYS: Final = 20
MAX_SHOWN_ACTIONS: Final = 50

_SQL = statements("queries")
_mapper = EventMapper()
_CONDITIONS: Final = {
    ("status", True): "status = %(status)s",
    ("buyer", True): "buyer_id = %(buyer)s",
    ("doubtful", True): "doubts <> '{}'",
    ("doubtful", False): "doubts = '{}'",
    ("held", True): "held > 0",
    ("held", False): "held = 0",
    ("mismatch", True): "mismatched.order_id IS NOT NULL",
    ("mismatch", False): "mismatched.order_id IS NULL",
    ("state", True): "state = %(state)s",
    ("reason", True): "reason = %(reason)s",
    ("topic", True): "topic = %(topic)s",
}


class PostgresQueries:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def orders(self, wanted: OrderFilter, start: int | None, limit: int) -> list[OrderRow]:
        """From the order id `start` downwards; from the greatest without one."""
        rows = await self._page("orders_page", wanted._asdict(), start, limit)
        return [order_row(row) for row in rows]

    async def order(self, order_id: int) -> OrderRecord | None:
        """None if it has no events."""
        async with self._database.snapshot() as connection:
            return await order_record(connection, order_id)

    async def parked(self, start: int | None, limit: int, *, reason: str | None = None) -> list[ParkedRow]:
        """From the order id `start` upwards; from the smallest without one. With a `reason`, for just that."""
        async with self._database.connection() as connection:
            asked = {"start": start or 0, "limit": limit, "reason": reason}
            return [_parked(row) async for row in await connection.execute(_SQL["parked"], asked)]

    async def quarantine(
        self,
        state: QuarantineState | None,
        start: int | None,
        limit: int,
        *,
        reason: str | None = None,
        topic: str | None = None,
    ) -> list[QuarantineRow]:
        """From the id `start` downwards; from the last without one. Of just this `reason` and `topic`, if given."""
        wanted = {"state": state, "reason": reason, "topic": topic}
        rows = await self._page("quarantine_page", wanted, start, limit)
        return [QuarantineRow(*row) for row in rows]

    async def parked_causes(self) -> list[Cause]:
        return await self._causes("parked_causes")

    async def quarantine_causes(self) -> list[Cause]:
        """Of open messages."""
        return await self._causes("quarantine_causes")

    async def difference_causes(self) -> list[Cause]:
        """Of open differences from the third party's books."""
        return await self._causes("difference_causes")

    async def _causes(self, name: str) -> list[Cause]:
        limits = {"counted": MAX_COUNTED, "shown": MAX_CAUSES}
        async with self._database.connection() as connection:
            return [Cause(*row) async for row in await connection.execute(_SQL[name], limits)]

    async def quarantined(self, quarantine_id: int) -> QuarantinedMessage | None:
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=namedtuple_row)
            row: Any = await (await cursor.execute(_SQL["quarantined"], (quarantine_id,))).fetchone()
        if row is None:
            return None
        edited_headers = None if row.edited_headers is None else _headers(row.edited_headers)
        return QuarantinedMessage(
            row=QuarantineRow(*row[: len(QuarantineRow._fields)]),
            topic_id=row.topic_id,
            timestamp_ms=row.timestamp_ms,
            key=row.message_key,
            value=row.message_value,
            headers=_headers(row.headers),
            closed_at=row.closed_at,
            edit=Edit(row.edited_key, row.edited_value, edited_headers),
        )

    async def _page(
        self, name: str, wanted: dict[str, Any], start: int | None, limit: int
    ) -> list[tuple[Any, ...]]:
        statement = completed(narrowed(_SQL[name], wanted), place="<=")
        parameters = {**wanted, "start": MAX_ORDER_ID if start is None else start, "limit": limit}
        async with self._database.connection() as connection:
            return await (await connection.execute(statement, parameters)).fetchall()


def narrowed(statement: str, wanted: Mapping[str, Any]) -> str:
    """A list of what is wanted, by the fields that aren't None. The conditions are part of the text, so that each
    combination gets the plan that suits it."""
    given = {name: value for name, value in wanted.items() if value is not None}
    conditions = "".join(f" AND {_CONDITIONS[name, value is not False]}" for name, value in given.items())
    mismatched = _SQL["mismatched"] if "mismatch" in given else ""
    return completed(statement, mismatched=mismatched, conditions=conditions)


async def order_record(connection: Connection, order_id: int) -> OrderRecord | None:
    """As the transaction sees it; None if it has no events."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(_SQL["stream"], (stream_id(order_id),))
    stream = await cursor.fetchall()
    if not stream:
        return None
    await cursor.execute(_SQL["delivery"], (order_id,))
    delivery = await cursor.fetchone()
    await cursor.execute(_SQL["calls"], (order_id,))
    calls = [_call(CallRow(*row)) async for row in cursor]
    await cursor.execute(_SQL["attempts"], (order_id, MAX_SHOWN_ATTEMPTS))
    attempts = [AttemptRow(*row) async for row in cursor]
    await cursor.execute(_SQL["quarantined_of_order"], (order_id, MAX_SHOWN_QUARANTINED))
    quarantined = [QuarantineRow(*row) async for row in cursor]
    await cursor.execute(_SQL["replays_of_order"], (order_id, MAX_SHOWN_REPLAYS))
    replays = [_replay(ReplayRow(*row)) async for row in cursor]
    actions = await actions_of(connection, order_id, None, MAX_SHOWN_ACTIONS)
    compared = await _fetchone(cursor, "last_comparison", order_id)
    difference = await _fetchone(cursor, "difference_of_order", order_id)
    outage = await _fetchone(cursor, "outage", SILENT_SECONDS)
    events = await asyncio.to_thread(events_of, stream)  # a long stream would hold up the event loop
    return OrderRecord(
        events,
        DeliveryRow(*delivery) if delivery else None,
        calls,
        attempts,
        quarantined,
        replays,
        actions,
        last_comparison=LastComparison(Verdict(compared[0]), compared[1]) if compared else None,
        difference=difference_row(difference) if difference else None,
        outage=Outage(*outage) if outage else None,
    )


async def _fetchone(cursor: AsyncCursor[Any], statement: str, parameter: float) -> tuple[Any, ...] | None:
    await cursor.execute(_SQL[statement], (parameter,))
    return await cursor.fetchone()


def events_of(stream: Sequence[tuple[Any, ...]]) -> list[OrderEvent]:
    """From the rows of the statement `stream`."""
    return [_mapper.to_domain_event(StoredEvent(*row)) for row in stream]


def _headers(kept: Sequence[Sequence[Any]]) -> Headers:
    return tuple((name, None if text is None else base64.b64decode(text)) for name, text in kept)


def order_row(row: Sequence[Any]) -> OrderRow:
    """From the columns of `orders` in the order in which the statements name them."""
    order_id, version, status, buyer_id, store_no, cashback, held, rejected, superseded, doubts, *rest = row
    held_since_ns, recorded_at_ns, held_cashback, at_stake, doubtful_since_ns, began_at_ns = rest
    return OrderRow(
        order_id=order_id,
        version=version,
        status=Status(status),
        buyer_id=buyer_id,
        store_no=store_no,
        cashback=cashback,
        held=held,
        rejected=rejected,
        superseded=superseded,
        doubts=tuple(doubts),
        held_since_ns=held_since_ns,
        recorded_at_ns=recorded_at_ns,
        held_cashback=held_cashback,
        at_stake=at_stake,
        doubtful_since_ns=doubtful_since_ns,
        began_at_ns=began_at_ns,
    )


def _parked(row: tuple[Any, ...]) -> ParkedRow:
    order_id, parked_at, reason, attempts, cashback, version, kind, key, waiting, *last = row
    return ParkedRow(
        order_id=order_id,
        parked_at=parked_at,
        reason=reason,
        attempts=attempts,
        cashback=cashback,
        version=version,
        kind=EffectKind(kind) if kind else None,
        key=key,
        waiting_calls=waiting or 0,
        last_attempt=AttemptRow(version, *last) if last[0] else None,
    )


def _call(row: CallRow) -> CallRow:
    return row._replace(state=CallState(row.state))


def _replay(row: ReplayRow) -> ReplayRow:
    return row._replace(mode=Mode(row.mode))
