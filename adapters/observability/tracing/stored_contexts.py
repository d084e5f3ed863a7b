"""The trace contexts that messages carried, out of the event store. Only asked for where calls are traced."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from adapters.observability.tracing.headers import trace_context
from adapters.postgres.pool import Database
from adapters.postgres.sql import statements
from domain.identifiers import order_id_of, stream_id
from domain.ports import StoreUnavailable
from projections.delivery.ports import Call

TIMEOUT_SECONDS: Final = 1.0
"""The calls wait for it, and it isn't worth much."""

_SQL: Final = statements("tracing")


class _SaidMessage(msgspec.Struct):
    headers: list[tuple[str, str | None]] = []


class _Said(msgspec.Struct):
    message: _SaidMessage


_decode: Final = msgspec.json.Decoder(_Said).decode


class PostgresTraceContexts:
    """For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def trace_contexts(self, calls: Sequence[Call]) -> Mapping[tuple[int, int], Mapping[str, str]]:
        """By order id and version, where there is one. None at all if the database doesn't answer soon."""
        wanted = [stream_id(call.order_id) for call in calls], [call.version for call in calls]
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), self._database.connection() as connection:
                cursor = connection.cursor(binary=True)
                await cursor.execute(_SQL["decisions"], wanted, prepare=True)
                rows = await cursor.fetchall()
        except (StoreUnavailable, TimeoutError):
            return {}
        found = {(order_id_of(stream), version): _headers(state) for stream, version, state in rows}
        return {key: headers for key, headers in found.items() if headers}


def _headers(state: bytes) -> Mapping[str, str]:
    try:
        return trace_context(_decode(state).message.headers)
    except msgspec.DecodeError:  # whoever delivers finds out about it
        return {}
