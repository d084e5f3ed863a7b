"""Bulk replays in PostgreSQL, as people deal with them: preview, start, look, cancel."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, assert_never
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from adapters.postgres.audit_log import record_actions
from adapters.postgres.bulk_selection import selected, shown
from adapters.postgres.pool import Connection, Database
from adapters.postgres.replays import plans
from adapters.postgres.sql import statements
from adapters.records.actions import Action, ActionRequest
from adapters.records.bulk import (
    KEPT_ENDED,
    KEPT_PREVIEW_HOURS,
    MAX_ORDERS,
    MAX_REDELIVERED_ORDERS,
    MAX_SHOWN_LEFT_OUT,
    TOKEN_MINUTES,
    BulkMode,
    BulkReplay,
    BulkState,
    Foretold,
    NotPossibleNow,
    Overlaps,
    Preview,
    SampledOrder,
    Selection,
    Settling,
    TokenExpired,
    TooManyOrders,
    UnknownBulkReplay,
    WrongToken,
)
from adapters.records.operators import ActionKind, Operator
from domain.identifiers import MAX_ORDER_ID
from domain.lifecycle import Status
from domain.money import ZERO, total
from projections.redelivery import DEFAULT_OPTIONS, How, Include, RedeliveryOptions

_SQL: Final = statements("bulk")
_ORDERS_AT_A_TIME: Final = 500


class PostgresBulk:
    """Every method raises domain.ports.StoreUnavailable in an outage, and refuses as adapters.records.bulk says."""

    def __init__(self, database: Database, *, key_retention_hours: float = 24.0) -> None:
        self._database = database
        self._key_retention = timedelta(hours=key_retention_hours)

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
            case BulkMode.REPUBLISH | BulkMode.REDELIVER:
                pass
            case _:
                assert_never(mode)
        limit = MAX_REDELIVERED_ORDERS if mode is BulkMode.REDELIVER else MAX_ORDERS
        replay_id, token = uuid4(), secrets.token_urlsafe(16)
        async with self._database.connection() as connection:
            await connection.execute(_SQL["forget_previews"], (KEPT_PREVIEW_HOURS,))
            await connection.execute(_SQL["forget_ended"], (KEPT_ENDED,))
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            orders, cashback, by_status, largest = await selected(
                connection, selection, limit, but_doubtful=mode is BulkMode.RETRY
            )
            if len(orders) > limit:
                raise TooManyOrders(limit)
            redelivers = mode is BulkMode.REDELIVER
            foretold = await self._foretold(connection, orders, options) if redelivers else None
            settling = await _settling(connection, orders) if mode is BulkMode.SETTLE else None
            new = {
                "id": replay_id,
                "mode": mode,
                "selection": Jsonb(shown(selection)),
                "reason": reason,
                "rate": rate_per_second,
                "orders": orders,
                "total": len(orders),
                "cashback": cashback,
                "digest": _digest(token),
                "minutes": TOKEN_MINUTES,
                "wish": Jsonb(_kept(options) if redelivers else {}),
                "calls": settling.calls if settling else foretold and foretold.calls,
                "suppressed": foretold and foretold.suppressed,
                "amount_at_risk": foretold and foretold.amount_at_risk,
                "at_stake": settling and settling.at_stake,
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
        replay_id: UUID | None,
        token: str,
        *,
        by: Operator,
        lease: UUID | None = None,
        lease_seconds: float = 0.0,
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
            started = await _one(connection, found_id)
            await record_actions(connection, [_action(ActionKind.BULK_START, by, started, BulkState.PREVIEWED)])
            return started

    async def cancel(self, replay_id: UUID, *, by: Operator) -> BulkReplay:
        """The orders under way at this moment still go; a second time changes nothing. Raises UnknownBulkReplay or
        NotPossibleNow."""
        async with self._database.transaction() as connection:
            cancelled = await (await connection.execute(_SQL["cancel"], (replay_id,))).fetchone()
            replay = await _one(connection, replay_id)
            if cancelled is not None:
                await record_actions(connection, [_action(ActionKind.BULK_CANCEL, by, replay, None)])
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


async def _settling(connection: Connection, orders: Sequence[int]) -> Settling:
    row = await (await connection.execute(_SQL["settling"], {"orders": list(orders)})).fetchone()
    assert row is not None, "an aggregate always has a row"
    return Settling(*row)


async def _one(connection: Connection, replay_id: UUID) -> BulkReplay:
    statement = _SQL["page"].replace("/* condition */", "id = %(id)s")
    row = await (await connection.execute(statement, {"id": replay_id, "limit": 1})).fetchone()
    if row is None:
        raise UnknownBulkReplay(replay_id)
    return _replay(row)


def _replay(row: tuple[Any, ...]) -> BulkReplay:
    number, replay_id, mode, state, selection, reason, rate, size, *rest = row[:-5]
    cashback, done, failed, failures, *moments = rest
    options, calls, suppressed, at_risk, at_stake = row[-5:]
    replay = BulkReplay(
        number,
        replay_id,
        BulkMode(mode),
        BulkState(state),
        selection,
        reason,
        rate,
        size,
        cashback,
        done,
        failed,
        [(order_id, why) for order_id, why in failures],
        *moments,
    )
    if replay.mode is BulkMode.SETTLE:
        return replace(replay, settling=Settling(calls, at_stake))
    if replay.mode is not BulkMode.REDELIVER:
        return replay
    return replace(replay, options=options_of(options), foretold=Foretold(calls, suppressed, at_risk))


def _kept(options: RedeliveryOptions) -> dict[str, Any]:
    return {"how": options.how, "nonce": options.nonce, "include": sorted(options.include)}


def options_of(kept: Mapping[str, Any]) -> RedeliveryOptions:
    """From the column `wish`."""
    return RedeliveryOptions(How(kept["how"]), kept["nonce"], frozenset(map(Include, kept["include"])))


def _action(kind: ActionKind, by: Operator, replay: BulkReplay, before: BulkState | None) -> Action:
    detail: dict[str, Any] = {"mode": replay.mode, "orders": replay.total, "cashbackAmount": replay.cashback}
    if replay.foretold is not None:
        detail["amountAtRisk"] = replay.foretold.amount_at_risk
    if replay.settling is not None:
        detail["amountAtStake"] = replay.settling.at_stake
    return Action(
        kind=kind,
        asked=ActionRequest(by, replay.reason),
        state_before=before,
        state_after=replay.state,
        bulk_id=replay.id,
        detail=detail,
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
