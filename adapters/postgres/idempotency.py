"""Requests with an `Idempotency-Key` in PostgreSQL: who is at work on one, and how it was answered.

One row a key, for KEY_RETENTION_HOURS. Each request that begins clears away some rows that are older.
"""

from typing import Final

from psycopg.types.json import Jsonb

from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import statements
from adapters.records.errors import AnswerLost, KeyReused, SameRequestUnderWay
from adapters.records.idempotency import Claimed, KeptAnswer, KeyedRequest

KEY_RETENTION_HOURS: Final = 24
CLAIM_SECONDS: Final = 60.0
"""A process that isn't through by then, because it has died, say, loses the request to the next that comes."""
MAX_FORGOTTEN: Final = 100
"""At a time: more than come."""

_SQL: Final = statements("requests")


class PostgresRequests:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database, *, claim_seconds: float = CLAIM_SECONDS) -> None:
        self._database = database
        self._claim_seconds = claim_seconds

    async def begin(self, request: KeyedRequest) -> Claimed | KeptAnswer:
        """The answer, if it was given before. Raises KeyReused, SameRequestUnderWay or AnswerLost."""
        async with self._database.connection() as connection:
            about = {"hours": KEY_RETENTION_HOURS, "limit": MAX_FORGOTTEN, "role": request.role, "key": request.key}
            await connection.execute(_SQL["forget"], about)
            async with connection.transaction():
                return await self._begin(connection, request)

    async def _begin(self, connection: Connection, request: KeyedRequest) -> Claimed | KeptAnswer:
        about = {
            "role": request.role,
            "key": request.key,
            "digest": request.digest,
            "seconds": self._claim_seconds,
        }
        begun = await (await connection.execute(_SQL["begin"], about)).fetchone()
        if begun is not None:
            return Claimed(request, *begun)
        known = await (await connection.execute(_SQL["known"], about)).fetchone()
        if known is None:  # its time was over just now
            raise SameRequestUnderWay
        digest, status, headers, body, is_under_way, is_done = known
        if (status is not None or is_under_way or is_done) and digest != request.digest:
            raise KeyReused
        if status is not None:
            return KeptAnswer(status, [(name, value) for name, value in headers], body)
        if is_under_way:
            raise SameRequestUnderWay
        if is_done:
            raise AnswerLost
        taken = await (await connection.execute(_SQL["take_over"], about)).fetchone()
        assert taken is not None, "we have locked it"
        return Claimed(request, *taken)

    async def keep(self, claimed: Claimed, answer: KeptAnswer) -> None:
        """For all who ask again."""
        kept = {
            "role": claimed.request.role,
            "key": claimed.request.key,
            "request_id": claimed.id,
            "status": answer.status,
            "headers": Jsonb(answer.headers),
            "body": answer.body,
        }
        async with self._database.connection() as connection:
            await connection.execute(_SQL["keep"], kept)

    async def let_go(self, claimed: Claimed) -> None:
        """There is no answer to be kept."""
        ours = {"role": claimed.request.role, "key": claimed.request.key, "claimed_until": claimed.until}
        async with self._database.connection() as connection:
            await connection.execute(_SQL["let_go"], ours)
