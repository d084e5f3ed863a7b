"""Bulk replays in PostgreSQL, as people deal with them: preview, start, look, cancel."""

import hashlib
import secrets
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from adapters.bulk import (
    KEPT_PREVIEW_HOURS,
    MAX_ORDERS,
    MAX_SAMPLE,
    MAX_SHOWN_LEFT_OUT,
    TOKEN_MINUTES,
    BulkMode,
    BulkReplay,
    BulkState,
    NotPossibleNow,
    Overlaps,
    Preview,
    SampledOrder,
    Selection,
    TokenExpired,
    TooManyOrders,
    UnknownBulkReplay,
    WrongToken,
)
from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import statements
from domain.identifiers import MAX_ORDER_ID
from domain.instants import format_instant
from domain.lifecycle import Status

_SQL: Final = statements("bulk")
_CONDITIONS: Final = {
    "orders": "order_id = ANY(%(orders)s)",
    "status": "status = %(status)s",
    "changed_from_ns": "recorded_at_ns >= %(changed_from_ns)s",
    "changed_to_ns": "recorded_at_ns < %(changed_to_ns)s",
}


class PostgresBulk:
    """Every method raises domain.ports.StoreUnavailable in an outage, and what adapters.bulk says of refusals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def preview(self, mode: BulkMode, selection: Selection, rate_per_second: float, reason: str) -> Preview:
        """Freezes the set of orders that are selected now. Raises TooManyOrders."""
        replay_id, token = uuid4(), secrets.token_urlsafe(16)
        async with self._database.connection() as connection:
            await connection.execute(_SQL["forget_previews"], (KEPT_PREVIEW_HOURS,))
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            orders, cashback, by_status, largest = await _selected(connection, selection)
            if len(orders) > MAX_ORDERS:
                raise TooManyOrders
            new = {
                "id": replay_id,
                "mode": mode,
                "selection": Jsonb(_shown(selection)),
                "reason": reason,
                "rate": rate_per_second,
                "orders": orders,
                "total": len(orders),
                "cashback": cashback,
                "digest": _digest(token),
                "minutes": TOKEN_MINUTES,
            }
            await connection.execute(_SQL["insert_preview"], new)
            replay = await _one(connection, replay_id)
            sampled = await (await connection.execute(_SQL["sample"], (largest,))).fetchall()
        left_out = sorted((selection.orders or frozenset()).difference(orders))
        return Preview(
            replay=replay,
            token=token,
            by_status={Status(status): number for status, number in by_status.items()},
            sample=[SampledOrder(row[0], Status(row[1]), row[2], row[3]) for row in sampled],
            left_out_count=len(left_out),
            left_out=left_out[:MAX_SHOWN_LEFT_OUT],
        )

    async def start(
        self, replay_id: UUID | None, token: str, *, lease: UUID | None = None, lease_seconds: float = 0.0
    ) -> BulkReplay:
        """Starts the preview with this token; without an id, whichever it is. With a `lease`, for its holder to do.

        Raises UnknownBulkReplay, WrongToken, TokenExpired, NotPossibleNow or Overlaps.
        """
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_starts"])
            asked = {"id": replay_id, "digest": _digest(token)}
            found = await (await connection.execute(_SQL["to_start"], asked)).fetchone()
            if found is None:
                raise UnknownBulkReplay(replay_id)
            found_id, state, is_its_token, expired = found
            if not is_its_token:
                raise WrongToken(found_id)
            if state != BulkState.PREVIEWED:
                raise NotPossibleNow(found_id, BulkState(state), "started")
            if expired:
                raise TokenExpired(found_id)
            other = await (await connection.execute(_SQL["overlapping"], (found_id,))).fetchone()
            if other is not None:
                raise Overlaps(found_id, other[0])
            leased = {"id": found_id, "lease": lease, "lease_seconds": lease_seconds}
            await connection.execute(_SQL["start"], leased)
            return await _one(connection, found_id)

    async def cancel(self, replay_id: UUID) -> BulkReplay:
        """The orders under way at this moment still go; a second time changes nothing. Raises UnknownBulkReplay or
        NotPossibleNow."""
        async with self._database.transaction() as connection:
            cancelled = await (await connection.execute(_SQL["cancel"], (replay_id,))).fetchone()
            replay = await _one(connection, replay_id)
        if cancelled is None and replay.state is not BulkState.CANCELLED:
            raise NotPossibleNow(replay_id, replay.state, "cancelled")
        return replay

    async def get(self, replay_id: UUID) -> BulkReplay:
        """Raises UnknownBulkReplay."""
        async with self._database.connection() as connection:
            return await _one(connection, replay_id)

    async def page(self, start: int | None, limit: int) -> list[BulkReplay]:
        """From the number `start` downwards; from the last one without it."""
        statement = _SQL["page"].replace("/* condition */", "number <= %(start)s")
        async with self._database.connection() as connection:
            parameters = {"start": MAX_ORDER_ID if start is None else start, "limit": limit}
            return [_replay(row) async for row in await connection.execute(statement, parameters)]


async def _selected(connection: Connection, selection: Selection) -> tuple[Any, ...]:
    """The conditions are part of the text, so that each combination gets the plan that suits it."""
    given: dict[str, Any] = {
        "orders": None if selection.orders is None else sorted(selection.orders),
        "status": selection.status,
        "changed_from_ns": selection.changed_from_ns,
        "changed_to_ns": selection.changed_to_ns,
    }
    wanted = [_CONDITIONS[name] for name, value in given.items() if value is not None]
    assert wanted, "a selection without a condition would be every order there is"
    statement = _SQL["select_orders"].replace("/* conditions */", " AND ".join(wanted))
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement, given | {"limit": MAX_ORDERS + 1, "sample": MAX_SAMPLE})
    row = await cursor.fetchone()
    assert row is not None, "an aggregate always has a row"
    return row


async def _one(connection: Connection, replay_id: UUID) -> BulkReplay:
    statement = _SQL["page"].replace("/* condition */", "id = %(id)s")
    row = await (await connection.execute(statement, {"id": replay_id, "limit": 1})).fetchone()
    if row is None:
        raise UnknownBulkReplay(replay_id)
    return _replay(row)


def _replay(row: tuple[Any, ...]) -> BulkReplay:
    number, replay_id, mode, state, selection, reason, rate, total, cashback, done, failed, failures, *rest = row
    return BulkReplay(
        number,
        replay_id,
        BulkMode(mode),
        BulkState(state),
        selection,
        reason,
        rate,
        total,
        cashback,
        done,
        failed,
        [(order_id, why) for order_id, why in failures],
        *rest,
    )


def _shown(selection: Selection) -> dict[str, str | int]:
    shown: dict[str, str | int] = {}
    if selection.orders is not None:
        shown["namedOrders"] = len(selection.orders)
    if selection.status is not None:
        shown["status"] = selection.status.value
    if selection.changed_from_ns is not None:
        shown["changedFrom"] = format_instant(selection.changed_from_ns)
    if selection.changed_to_ns is not None:
        shown["changedTo"] = format_instant(selection.changed_to_ns)
    return shown


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
