"""Our side of a comparison with the third party's books, and what comparisons have found, in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any, Final

import psycopg
from eventsourcing.persistence import StoredEvent

from adapters.postgres.codec import EventMapper
from adapters.postgres.connections import AsyncBoundedConnection, conninfo, translated
from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import completed, statements
from adapters.records.differences import DifferenceClass, DifferenceRow, DifferenceState
from domain.effects import EffectKind, effect_of
from domain.events import Accepted, type_of_topic
from domain.exact_json import InvalidJson, loads
from domain.identifiers import MAX_ORDER_ID, order_id_of, stream_id
from domain.lifecycle import Status
from projections.reconciliation import AskedCall, BookEntry, Finding, NotedCall, OurSide, Verdict
from projections.republication import CallState

KEPT_DAYS: Final = 90
"""Differences that are settled."""
KEPT_EXPECTED_DAYS: Final = 1
"""What was merely in flight, or couldn't be asked."""

_SQL: Final = statements("reconciliation")
_TOPICS: Final = [topic for topic, event_type in type_of_topic.items() if issubclass(event_type, Accepted)]
_mapper = EventMapper()


class PostgresReconciliation:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ours(self, order_id: int) -> OurSide:
        """One order at one moment. Raises eventsourcing's MapperDeserialisationError for an unreadable event."""
        asked = {"order_id": order_id, "stream": stream_id(order_id), "topics": _TOPICS}
        async with self._database.connection() as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(_SQL["our_side"], asked)
            return _our_side(order_id, await cursor.fetchall())

    async def order_ids(self, since_ns: int | None, after: int, limit: int) -> list[int]:
        """Of orders with events, ascending; with `since_ns`, of those that changed since."""
        if since_ns is not None:
            return await self._order_ids("changed_after", (since_ns, after, limit))
        name = stream_id(after) if after else "00000000-0000-0000-0000-000000000000"
        return await self._order_ids("streams_after", (name, limit))

    async def sample(self, since_ns: int | None, limit: int) -> list[int]:
        if since_ns is None:
            return await self._order_ids("sample_streams", (limit,))
        return await self._order_ids("sample_changed", (since_ns, limit))

    async def count(self, since_ns: int | None) -> int:
        async with self._database.connection() as connection:
            if since_ns is None:
                cursor = await connection.execute(_SQL["count_streams"])
            else:
                cursor = await connection.execute(_SQL["count_changed"], (since_ns,))
            row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def open_and_stale(self, stale_seconds: float, limit: int) -> list[int]:
        """Orders with an open difference that hasn't been looked at for so long."""
        return await self._order_ids("open_and_stale", (stale_seconds, limit))

    async def keep(self, findings: Sequence[Finding]) -> None:
        """Writes differences down, closes those that are settled, and notes when each order was compared."""
        findings = sorted(findings, key=lambda each: each.order_id)  # two that write at once don't lock each other
        agreed = [each.order_id for each in findings if each.verdict is Verdict.AGREES]
        unknown = [each for each in findings if each.verdict is Verdict.UNKNOWN]
        differing = [each for each in findings if each.verdict not in {Verdict.AGREES, Verdict.UNKNOWN}]
        known = [each for each in findings if each.is_known and each.verdict is not Verdict.UNKNOWN]
        answered = {"orders": [each.order_id for each in known], "verdicts": [each.verdict for each in known]}
        async with self._database.transaction() as connection:
            if agreed:
                await connection.execute(_SQL["close"], (agreed,))
            if differing:
                await connection.execute(_SQL["keep"], _columns(differing))
            if unknown:
                await connection.execute(_SQL["keep_unknown"], _columns(unknown))
            if known:
                await connection.execute(_SQL["note_comparisons"], answered)

    async def stop_order(self, order_id: int, reason: str) -> bool:
        """Parks the order; False if it stood still for a broken invariant before, or has no calls."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SQL["stop_order"], {"order_id": order_id, "reason": reason})
            return await cursor.fetchone() is not None

    async def forget(self) -> None:
        """Closed rows that are old."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["forget"], {"days": KEPT_DAYS, "expected_days": KEPT_EXPECTED_DAYS})

    async def page(
        self, state: DifferenceState, verdict: DifferenceClass | None, start: int | None, limit: int
    ) -> list[DifferenceRow]:
        """From the id `start` downwards; from the last one without it."""
        conditions = f"AND closed_at IS {'NULL' if state == 'open' else 'NOT NULL'}"
        if verdict is not None:
            conditions += " AND class = %(class)s"
        asked = {"start": MAX_ORDER_ID if start is None else start, "limit": limit, "class": verdict}
        async with self._database.connection() as connection:
            cursor = await connection.execute(completed(_SQL["page"], conditions=conditions), asked)
            return [difference_row(row) async for row in cursor]

    async def place(self) -> int:
        """The last order that the audit has passed."""
        found = await self._order_ids("audit_place", ())
        return found[0] if found else 0

    async def move_place(self, order_id: int) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_SQL["move_audit_place"], (order_id,))

    async def _order_ids(self, name: str, parameters: tuple[Any, ...]) -> list[int]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SQL[name], parameters)
            return [each if isinstance(each, int) else order_id_of(each) async for (each,) in cursor]


class AuditLock:
    """Held by at most one process, for as long as its connection lasts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def is_held(self) -> bool:
        with suppress(psycopg.Error):
            await self._connection.execute("SELECT 1")
            return True
        return False


@asynccontextmanager
async def audit_lock(database_url: str) -> AsyncIterator[AuditLock | None]:
    """None if another process has it. On a connection of its own. Raises StoreUnavailable."""
    with translated():
        connection = await AsyncBoundedConnection[tuple[Any, ...]].connect(
            conninfo(database_url, application_name="cashback-audit"),
            autocommit=True,
        )
    async with connection:
        with translated():
            row = await (await connection.execute(_SQL["lock_audit"])).fetchone()
        yield AuditLock(connection) if row and row[0] else None


def _our_side(order_id: int, rows: Sequence[tuple[Any, ...]]) -> OurSide:
    asked, noted = [], []
    for _, _, stream, version, topic, event, is_projected, noted_version, kind, body, state in rows:
        if version is not None:
            decided = _mapper.to_domain_event(StoredEvent(stream, version, topic, event))
            effect = effect_of(decided)
            assert effect is not None, "these are the events that ask for calls"
            asked.append(AskedCall(version, effect.kind, getattr(decided, "cashback", None), is_projected))
        if noted_version is not None:
            noted.append(NotedCall(noted_version, EffectKind(kind), _amount_in(body), CallState(state)))
    version, settled_version, *_ = rows[0]
    return OurSide(order_id, version or 0, settled_version or 0, tuple(asked), tuple(noted))


def _amount_in(body: bytes) -> Decimal | None:
    try:
        amount = loads(body)["cashbackAmount"]
    except (InvalidJson, KeyError, TypeError):
        return None
    return Decimal(amount) if isinstance(amount, int | Decimal) else None


def _columns(findings: Sequence[Finding]) -> dict[str, Any]:
    ours = [each.comparison.ours for each in findings]
    theirs = [each.comparison.theirs for each in findings]
    return {
        "orders": [each.order_id for each in findings],
        "classes": [each.verdict for each in findings],
        "our_statuses": [each and each.status for each in ours],
        "our_amounts": [each and each.amount for each in ours],
        "their_statuses": [each and each.status for each in theirs],
        "their_amounts": [each and each.amount for each in theirs],
        "details": [each.detail for each in findings],
    }


def difference_row(row: tuple[Any, ...]) -> DifferenceRow:
    """From the columns of `reconciliation` in the order in which the statements name them."""
    row_id, order_id, verdict, our_status, our_amount, their_status, their_amount, *rest = row
    ours = BookEntry(Status(our_status), our_amount) if our_status else None
    theirs = BookEntry(Status(their_status), their_amount) if their_status else None
    return DifferenceRow(row_id, order_id, Verdict(verdict), ours, theirs, *rest)
