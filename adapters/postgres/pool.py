"""Connections for requests: few, shared, and given up soon when the database is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import psycopg
from psycopg_pool import AsyncConnectionPool

from adapters.postgres.connections import (
    AsyncBoundedConnection,
    ConnectFailure,
    check_answers_async,
    closed_if_unusable_async,
    conninfo,
    translated,
)

STATEMENT_TIMEOUT_SECONDS: Final = 15
MAX_WAITING_REQUESTS: Final = 200

_OURS: Final = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.SyntaxError)

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Database:
    """A pool for one event loop; use as an async context manager. The database needn't be there yet.

    `timeout_seconds` limits how long a request waits for a connection, and one attempt to connect. `pool`: another
    one than its own.
    """

    def __init__(
        self,
        database_url: str,
        *,
        pool_size: int = 4,
        timeout_seconds: float = 5.0,
        pool: AsyncConnectionPool[Any] | None = None,
    ) -> None:
        self._failure = ConnectFailure()
        self._pool = pool or AsyncConnectionPool(
            conninfo(
                database_url,
                application_name="cashback-api",
                connect_timeout_seconds=max(2, round(timeout_seconds)),  # libpq takes 1 for 2
                statement_timeout=f"{STATEMENT_TIMEOUT_SECONDS}s",
            ),
            min_size=1,
            max_size=pool_size,
            open=False,
            timeout=timeout_seconds,
            # After so long without success the pool forgets its growing pauses: the next request connects anew.
            reconnect_timeout=timeout_seconds,
            max_waiting=MAX_WAITING_REQUESTS,
            connection_class=AsyncBoundedConnection[tuple[Any, ...]],
            kwargs={
                "autocommit": True,
                "failure": self._failure,
            },
            check=check_answers_async,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """In autocommit mode. Raises StoreUnavailable; an error of ours stays a psycopg.Error: whoever asks must be
        told that it is of no use to ask again."""
        with translated(self._failure, but=_OURS):
            async with self._pool.connection() as connection, closed_if_unusable_async(connection):
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """One state of the database for several questions; nothing can be written."""
        async with self.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection
