"""The effect ledger on PostgreSQL (projections/delivery/ports.py): a few statements for however many orders."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any, Final, Self
from uuid import UUID, uuid4

import psycopg
from psycopg_pool import AsyncConnectionPool

from adapters.postgres.connections import (
    CONNECT_TIMEOUT_SECONDS,
    AsyncBoundedConnection,
    ConnectFailure,
    check_answers_async,
    closed_if_unusable_async,
    conninfo,
    translated,
)
from adapters.postgres.dispatch_session import DispatchSession
from adapters.postgres.lineage import History, Lineage, read_lineage_async
from adapters.postgres.sql import completed, statements
from domain.effects import EffectKind
from domain.ports import OnRewind, RewindSign, StoreUnavailable
from projections.delivery.doubt import maybe_done_after
from projections.delivery.ports import Attempt, AttemptKind, Call, Claim, Settlement
from projections.waiting import wait_for_event

CALLS_PER_CLAIM: Final = 4
"""Calls of one order sent one after the other before the ledger is told."""
STATEMENT_TIMEOUT_SECONDS: Final = 30
ANSWER_TIMEOUT_SECONDS: Final = 45.0
"""For a claim or a settlement as a whole, on our own clock: a server that is cut off can't end a statement."""

_SQL = statements("delivery")
CLAIM: Final = completed(_SQL["claim"], lost=_SQL["lost"])
_CLAIM_BY_CHANCE: Final = completed(CLAIM, offset=_SQL["by_chance"])


class LedgerConnection(AsyncBoundedConnection[tuple[Any, ...]]):
    """Knows the history that it works on."""

    lineage: Lineage | None = None


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    assert isinstance(connection, LedgerConnection)
    connection.lineage = await read_lineage_async(connection)


class PostgresLedger:
    """For one event loop. Use as an async context manager. `pool` and `session`: others than its own."""

    def __init__(  # noqa: PLR0913 - each a limit of its own, or who is to hear
        self,
        database_url: str,
        *,
        lease_seconds: float,
        call_timeout_seconds: float,
        pool_size: int = 4,
        answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
        on_rewind: OnRewind = lambda *_: None,
        pool: AsyncConnectionPool[Any] | None = None,
        session: DispatchSession | None = None,
        new_token: Callable[[], UUID] = uuid4,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_rewind` hears when the database is seen to have gone back in time."""
        self._lease_seconds = lease_seconds
        self._answer_timeout_seconds = answer_timeout_seconds
        self._new_token = new_token
        self._monotonic = monotonic
        self._failure = ConnectFailure()
        self._pool = pool or AsyncConnectionPool(
            conninfo(
                database_url,
                application_name="cashback-delivery",
                statement_timeout=f"{STATEMENT_TIMEOUT_SECONDS}s",
            ),
            min_size=1,
            max_size=pool_size,
            open=False,
            connection_class=LedgerConnection,
            configure=_configure,
            timeout=CONNECT_TIMEOUT_SECONDS,
            reconnect_timeout=CONNECT_TIMEOUT_SECONDS,  # or its pauses would outlast a long outage by minutes
            kwargs={
                "autocommit": True,
                "failure": self._failure,
            },
            check=check_answers_async,
        )
        self._on_rewind = on_rewind
        self._history = History(self._rewound)
        self._last_attempt: UUID | None = None
        self._held_until = -math.inf
        self._due = asyncio.Event()
        self._session = session or DispatchSession(
            database_url, call_timeout_seconds=call_timeout_seconds, on_due=self._due.set
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        self._session.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.stop()
        await self._pool.close()

    async def claim(self, limit: int, *, by_chance: bool = False) -> tuple[list[Claim], float | None]:
        token = self._new_token()
        self._due.clear()
        session = await self._session.id()
        lease = {"token": token, "lease_seconds": self._lease_seconds, "session": session}
        taking = {"limit": limit, "calls": CALLS_PER_CLAIM, **lease}
        async with self._translated() as connection:
            self._check_hold()
            cursor = connection.cursor(binary=True)
            await cursor.execute(_CLAIM_BY_CHANCE if by_chance else CLAIM, taking, prepare=True)
            order_ids = [order_id for (order_id,) in await cursor.fetchall()]
            if order_ids:
                reading = {"order_ids": order_ids, "token": token, "calls": CALLS_PER_CLAIM}
                await cursor.execute(_SQL["claimed_calls"], reading, prepare=True)
            claims = _claims(token, session, await cursor.fetchall()) if order_ids else []
            if len(order_ids) >= limit:
                return claims, 0.0
            await cursor.execute(_SQL["next_due"], prepare=True)
            row = await cursor.fetchone()
            return claims, row[0] if row else None

    async def settle(self, settlements: Sequence[Settlement]) -> int:
        settlements = sorted(settlements, key=lambda each: each.claim.order_id)
        attempts = [attempt for each in settlements for attempt in each.attempts]
        found_done = [
            attempt.kind is AttemptKind.LOOKUP and attempt.call.version <= each.settled_version
            for each in settlements
            for attempt in each.attempts
        ]
        async with self._translated() as connection, connection.transaction():
            cursor = await connection.execute(_SQL["settle"], _settle_columns(settlements), prepare=True)
            ours = await cursor.fetchall()
            if attempts:
                columns = _attempt_columns(attempts) | {"found_done": found_done}
                await connection.execute(_SQL["insert_attempts"], columns, prepare=True)
        if attempts:
            self._last_attempt = attempts[-1].id
        return len(settlements) - len(ours)

    async def free_doubtful(self) -> None:
        async with self._translated() as connection:
            freed = await connection.execute(_SQL["free_doubtful"])
            if freed.rowcount:
                await connection.execute(_SQL["notify_due"])

    async def holds(self, claim: Claim) -> bool:
        return await self._session.holds(claim)

    async def wait(self, timeout_seconds: float) -> None:
        await wait_for_event(self._due, timeout_seconds)

    async def _look_back(self, connection: LedgerConnection) -> None:
        """On a server that was restarted, or another one: is what we noted last still there?"""
        if connection.lineage is None or not self._history.has_changed(connection.lineage):
            return
        last, self._last_attempt = self._last_attempt, None
        if last is None:
            return
        before, self._held_until = self._held_until, math.inf  # nobody claims until the answer is there
        try:
            found = await (await connection.execute(_SQL["has_attempt"], (last,))).fetchone()
        finally:
            self._held_until = before
        if found is None:
            self._rewound(RewindSign.ATTEMPT, "the attempt that was noted last isn't there")
        else:
            self._last_attempt = last

    def _rewound(self, sign: RewindSign, found: str) -> None:
        """Claims may be forgotten whose calls are under way, here or elsewhere: they end with the lease."""
        self._held_until = self._monotonic() + self._lease_seconds
        self._on_rewind(sign, found)

    def _check_hold(self) -> None:
        left_seconds = self._held_until - self._monotonic()
        if left_seconds > 0:
            why = "the database has gone back in time, and calls of forgotten claims may be under way"
            raise StoreUnavailable(f"{why}; none is claimed before they have ended")

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
        limit = asyncio.timeout(self._answer_timeout_seconds)
        try:
            with translated(self._failure):
                async with limit, self._pool.connection() as connection, closed_if_unusable_async(connection):
                    await self._look_back(connection)
                    yield connection
        except TimeoutError as error:
            raise StoreUnavailable(f"no answer within {self._answer_timeout_seconds:g} s") from error


def _claims(token: UUID, session: int, rows: Sequence[tuple[Any, ...]]) -> list[Claim]:
    claims = []
    for (order_id, settled_version, attempts), of_order in groupby(rows, key=lambda row: row[:3]):
        calls = list(of_order)
        queue = tuple(Call(order_id, row[3], EffectKind(row[4]), row[5], row[6]) for row in calls)
        doubts = {row[3]: row[7] for row in calls if row[7] is not None}
        sendings = {row[3]: row[8] for row in calls if row[8]}
        again = frozenset(row[3] for row in calls if row[9])
        is_doubtful = calls[0][10]
        claims.append(
            Claim(
                order_id,
                token,
                settled_version,
                attempts,
                queue,
                doubts,
                sendings,
                again,
                is_doubtful=is_doubtful,
                session=session,
            )
        )
    return claims


def _settle_columns(settlements: Sequence[Settlement]) -> dict[str, Any]:
    results = [
        (each, call, list(attempts))
        for each in settlements
        for call, attempts in groupby(each.attempts, key=lambda attempt: attempt.call)
    ]
    maybe_done = [
        maybe_done_after(attempts, before=call.version in each.claim.doubts) for each, call, attempts in results
    ]
    return {
        "order_ids": [each.claim.order_id for each in settlements],
        "tokens": [each.claim.token for each in settlements],
        "settled": [each.settled_version for each in settlements],
        "attempts": [each.spent_attempts for each in settlements],
        "waits": [each.wait_seconds for each in settlements],
        "parked": [each.parked_reason for each in settlements],
        "call_orders": [call.order_id for _, call, _ in results],
        "call_tokens": [each.claim.token for each, _, _ in results],
        "call_versions": [call.version for _, call, _ in results],
        "call_states": [
            _state_after(each, call, in_doubt=in_doubt)
            for (each, call, _), in_doubt in zip(results, maybe_done, strict=True)
        ],
        "call_sendings": [
            sum(attempt.kind is AttemptKind.CALL for attempt in attempts) for _, _, attempts in results
        ],
        "call_maybe_done": maybe_done,
    }


def _state_after(settlement: Settlement, call: Call, *, in_doubt: bool) -> str:
    if call.version <= settlement.settled_version:
        return "delivered"
    if settlement.parked_reason is not None:
        return "parked"
    return "in_doubt" if in_doubt else "retrying"


def _attempt_columns(attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {
        "ids": [each.id for each in attempts],
        "kinds": [str(each.kind) for each in attempts],
        "orders": [each.call.order_id for each in attempts],
        "versions": [each.call.version for each in attempts],
        "started": [each.started_at for each in attempts],
        "durations": [each.duration_ms for each in attempts],
        "outcomes": [str(each.answer.outcome) for each in attempts],
        "statuses": [each.answer.status for each in attempts],
        "answers": [each.answer.text.replace("\x00", "\ufffd") for each in attempts],
    }
