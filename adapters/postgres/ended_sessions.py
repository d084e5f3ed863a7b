"""Sessions of the console that were ended by signing out: in the database, so that they end in every process."""

from typing import Final

from adapters.postgres.pool import Database
from adapters.postgres.sql import statements

_SQL: Final = statements("ended_sessions")


class PostgresEndedSessions:
    """Both methods raise domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def end(self, session: str, ends_at: int) -> None:
        """`ends_at`: when its cookie would run out, in seconds since 1970; some time later the row is forgotten."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["forget"])
            await connection.execute(_SQL["end_session"], {"session": session, "ends_at": ends_at})

    async def has_ended(self, session: str) -> bool:
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SQL["has_ended"], {"session": session})
            [(found,)] = await cursor.fetchall()
            return bool(found)
