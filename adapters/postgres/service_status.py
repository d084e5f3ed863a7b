"""What the console shows beside what the API has: searches, samples of the whole service, and its processes."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from adapters.postgres.money_may_be_wrong import totals
from adapters.postgres.pool import Connection, Database
from adapters.postgres.queries import narrowed, order_row
from adapters.postgres.search import find, searched
from adapters.postgres.sql import completed, statements
from adapters.records.money_may_be_wrong import DEFAULT_LIMITS, CaseLimits
from adapters.records.orders import OrderFilter
from adapters.records.search import SearchResult
from adapters.records.status import (
    EVENTS_PER_STEP,
    KEPT_SECONDS,
    MAX_COUNTED,
    SILENT_SECONDS,
    ListedOrder,
    ProcessRow,
    Sample,
    ServiceCounts,
    Stalled,
)
from domain.exact_json import dumps, loads
from domain.identifiers import MAX_ORDER_ID
from domain.instants import NANOSECONDS_PER_SECOND

SAMPLE_SECONDS: Final = 5
FORGOTTEN_SECONDS: Final = 3600.0
MAX_PROCESSES: Final = 100

_SQL: Final = statements("console")
_PARKED: Final = " AND order_id IN (SELECT order_id FROM delivery WHERE parked_at IS NOT NULL)"


class PostgresConsole:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database, limits: CaseLimits = DEFAULT_LIMITS) -> None:
        self._database = database
        self._limits = limits

    async def orders(
        self, wanted: OrderFilter, *, parked: bool, start: int | None, upwards: bool, limit: int
    ) -> list[ListedOrder]:
        """From the order id `start`, included, greatest first; `upwards` those from `start` on, smallest first."""
        statement = completed(
            narrowed(_SQL["orders_page"], wanted._asdict()),
            parked=_PARKED if parked else "",
            place=">=" if upwards else "<=",
            direction="ASC" if upwards else "DESC",
        )
        edge = 0 if upwards else MAX_ORDER_ID
        parameters = wanted._asdict() | {"start": edge if start is None else start, "limit": limit}
        async with self._database.connection() as connection:
            return [_listed(row) async for row in await connection.execute(statement, parameters)]

    async def about_orders(self) -> int:
        """The planner's guess; 0 until the table was first analysed."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(_SQL["about_orders"])).fetchone()
        return int(row[0]) if row else 0

    async def find(self, text: str) -> SearchResult:
        """Events of the last second or so may not be found yet."""
        return await find(self._database, text)

    async def index_transactions(self) -> int:
        """Reads on in the event store for `find`; how many events: 0 if there are no new ones."""
        async with self._database.transaction() as connection:
            place = await (await connection.execute(_SQL["lock_transaction_place"])).fetchone()
            if place is None:
                return 0
            cursor = connection.cursor(binary=True)
            await cursor.execute(_SQL["next_decisions"], (place[0], EVENTS_PER_STEP))
            rows = await cursor.fetchall()
            if not rows:
                return 0
            decisions = [(topic, state) for _, topic, state in rows if state is not None]
            found = await asyncio.to_thread(searched, decisions)
            digests, order_ids = [digest for digest, _ in found], [order_id for _, order_id in found]
            await connection.execute(_SQL["insert_transactions"], (digests, order_ids))
            await connection.execute(_SQL["move_transaction_place"], (rows[-1][0],))
            return len(rows)

    async def take_sample(self) -> bool:
        """False if this step's was taken, by whomever."""
        async with self._database.connection() as connection:
            taken = await (await connection.execute(_SQL["take_step"], {"seconds": SAMPLE_SECONDS})).fetchone()
            if taken is None:
                return False
            numbers = await _numbers(connection, taken[0], self._limits)
            put = {"step": taken[0], "numbers": msgspec.json.encode(numbers).decode()}
            await connection.execute(_SQL["put_numbers"], put)
            await connection.execute(_SQL["forget_samples"], (KEPT_SECONDS,))
            return True

    async def samples(self, seconds: float) -> list[Sample]:
        """Of the last so many seconds, KEPT_SECONDS at most."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SQL["samples"], (seconds,))
            return [Sample(taken_at, _decode_numbers(text)) async for taken_at, text in cursor]

    async def note_process(self, process_id: UUID, name: str, roles: Sequence[str], state: dict[str, Any]) -> None:
        parameters = {"id": process_id, "name": name, "roles": list(roles), "state": Jsonb(state, dumps=dumps)}
        async with self._database.connection() as connection:
            await connection.execute(_SQL["note_process"], parameters)
            await connection.execute(_SQL["forget_silent_processes"], (FORGOTTEN_SECONDS,))

    async def forget_process(self, process_id: UUID) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_SQL["forget_process"], (process_id,))

    async def processes(self) -> list[ProcessRow]:
        """Those of the last SILENT_SECONDS, the oldest first."""
        parameters = {"silent_seconds": SILENT_SECONDS, "limit": MAX_PROCESSES}
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SQL["processes"], parameters)
            return [
                ProcessRow(name, roles, loads(state), started_at, seen_at)
                async for name, roles, state, started_at, seen_at in cursor
            ]


_decode_numbers: Final = msgspec.json.Decoder(ServiceCounts).decode


async def _numbers(connection: Connection, step: int, limits: CaseLimits) -> ServiceCounts:
    limit = {"limit": MAX_COUNTED + 1}
    row = await (await connection.execute(_SQL["numbers"], limit)).fetchone()
    assert row is not None, "it has no condition"
    messages, events, attempts, projected, waiting, waiting_since, quarantined, quarantined_since, *rest = row
    before = await (await connection.execute(_SQL["last_sample"], (step,))).fetchone()
    after = _decode_numbers(before[0]).attempts if before else attempts
    failed = await (await connection.execute(_SQL["failed_attempts"], limit | {"after": after})).fetchone()
    parked = await (await connection.execute(_SQL["parked_money"], limit)).fetchone()
    lag = await (await connection.execute(_SQL["lag"], (SILENT_SECONDS,))).fetchone()
    doubtful, differences = rest
    return ServiceCounts(
        messages=messages,
        events=events,
        attempts=attempts,
        failed_attempts=failed[0] if failed else 0,
        unprojected=max(0, events - projected),
        lag=None if lag is None or lag[0] is None else int(lag[0]),
        waiting=Stalled(waiting, waiting_since),
        held=await _held(connection),
        parked=Stalled(*parked) if parked else Stalled(),
        quarantined=Stalled(quarantined, quarantined_since),
        doubtful=doubtful,
        differences=differences,
        money_may_be_wrong=await totals(connection, limits),
    )


async def _held(connection: Connection) -> Stalled:
    row = await (await connection.execute(_SQL["held_orders"], {"limit": MAX_COUNTED + 1})).fetchone()
    assert row is not None, "it counts"
    number, since_ns, amount = row
    if not number:
        return Stalled()
    return Stalled(number, datetime.fromtimestamp(since_ns // NANOSECONDS_PER_SECOND, UTC), amount)


def _listed(row: tuple[Any, ...]) -> ListedOrder:
    *columns, delivery, is_different = row
    return ListedOrder(order_row(columns), delivery, is_different)
