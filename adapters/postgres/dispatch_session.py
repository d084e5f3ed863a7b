"""The session in which a dispatcher claims orders: while it holds its lock, its claims are nobody else's.

Why this is safe: docs/adr/0004-delivery-by-claims.md, "A dead process's orders".
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import psycopg

from adapters.postgres.connections import AsyncBoundedConnection, conninfo, reason_of
from adapters.postgres.sql import statements
from domain.ports import StoreUnavailable
from projections.delivery.ports import SESSION_TRUST_SECONDS, Claim, grace_seconds

LOCK_SPACE: Final = 724_351
"""The first key of the advisory locks of sessions; the second is the session's id."""
LOOK_SECONDS: Final = 1.0
"""How often we look whether we still have our session, and which others have ended."""
ANSWER_SECONDS: Final = 30.0
"""A session that gives no answer for so long is given up."""
REOPEN_SECONDS: Final = 1.0
OPEN_SECONDS: Final = 10.0
"""How long a claim waits for a session."""

Connect = Callable[..., Awaitable[psycopg.AsyncConnection[Any]]]

_SQL: Final = statements("dispatch_sessions")


class DispatchSession:
    """One at a time, opened again when it is lost. It listens as well: `on_due` is called when calls become due."""

    def __init__(
        self,
        database_url: str,
        *,
        call_timeout_seconds: float,
        on_due: Callable[[], None],
        connect: Connect = AsyncBoundedConnection[Any].connect,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conninfo = conninfo(database_url, application_name="cashback-delivery-session")
        self._grace_seconds = grace_seconds(call_timeout_seconds)
        self._on_due = on_due
        self._connect = connect
        self._monotonic = monotonic
        self._id: int | None = None
        self._seen_at = 0.0
        """The last look that found us in it began then."""
        self._why = "none was opened yet"
        """There is none, as long as that is so."""
        self._changed = asyncio.Condition()
        self._connecting = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper is not None:
            async with self._connecting:  # a connection given up half-way would stay open, and hold up the server
                self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def id(self) -> int:
        """To claim in. Raises StoreUnavailable if there is none in time."""
        if self._id is None:
            await self._wait(lambda: self._id is not None, OPEN_SECONDS)
        if self._id is None:
            raise StoreUnavailable(f"no session within {OPEN_SECONDS:g} s: {self._why}")
        return self._id

    async def holds(self, claim: Claim) -> bool:
        """As `projections.delivery.ports.Ledger` has it."""
        if not self._is_sure(claim):
            await self._wait(lambda: self._id != claim.session or self._is_sure(claim), SESSION_TRUST_SECONDS)
        return self._is_sure(claim)

    def _is_sure(self, claim: Claim) -> bool:
        return self._id == claim.session and self._monotonic() - self._seen_at < SESSION_TRUST_SECONDS

    async def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(condition)

    async def _keep(self) -> None:
        while True:
            try:
                async with self._connecting:
                    connection = await self._connect(self._conninfo, autocommit=True, answer_seconds=ANSWER_SECONDS)
                try:
                    await self._live(connection)
                finally:
                    await connection.close()
            except (psycopg.Error, OSError) as error:
                self._why = reason_of(error)
            finally:
                self._id = None
            await self._notify()
            await asyncio.sleep(REOPEN_SECONDS)

    async def _live(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        await connection.execute("LISTEN cashback_due")
        async with connection.transaction():
            opened = await connection.execute(_SQL["open_session"], {"grace_seconds": self._grace_seconds})
            [(session_id,)] = await opened.fetchall()
            ours = {"space": LOCK_SPACE, "id": session_id}
            await connection.execute(_SQL["lock_session"], ours)
        while True:
            looked_at = self._monotonic()
            found = await connection.execute(_SQL["watch_sessions"], ours)
            over = [each for (each,) in await found.fetchall()]
            self._id, self._seen_at = session_id, looked_at
            await self._notify()
            if over:
                await connection.execute(_SQL["free_claims"], {"ids": over})
                await connection.execute(_SQL["forget_sessions"], {"ids": over})
            async for _ in connection.notifies(timeout=LOOK_SECONDS):
                self._on_due()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
