"""The day's statement, from what events say of the money, attempts, and what people did; made anew each time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, takewhile
from typing import Final, NamedTuple

from eventsourcing.persistence import StoredEvent

from adapters.postgres.codec import EventMapper
from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import completed, statements
from adapters.records.errors import DayNotBegun
from adapters.records.statement import (
    CLOSES_AFTER,
    HINDRANCES,
    UNCREDITED,
    Account,
    Balance,
    Different,
    Entry,
    Line,
    Statement,
    end_of,
    nanoseconds,
    start_of,
)
from domain.events import OrderEvent
from domain.identifiers import stream_id
from domain.money import ZERO, total
from domain.order import fold

STATEMENT_TIMEOUT_SECONDS: Final = 120
_STREAMS_AT_ONCE: Final = 500
_ZEROS: Final = (ZERO, ZERO, ZERO)

_SQL: Final = statements("statement")
_PARTS: Final = {name: _SQL[name] for name in ("stream", "recorded_ns", "confirmed_ns")}
_DAY: Final = completed(_SQL["day"], **_PARTS)
_STREAMS: Final = statements("intake")["select_streams"]
_mapper: Final = EventMapper()


class _Row(NamedTuple):
    """Of the statement `day`."""

    part: str
    name: str
    is_late: bool
    number: int
    open_orders: int
    open: Decimal
    earned: Decimal
    credited: Decimal


@dataclass(slots=True)
class _Sum:
    """Of rows."""

    number: int = 0
    open_orders: int = 0
    open: Decimal = ZERO
    earned: Decimal = ZERO
    credited: Decimal = ZERO

    def add(self, row: _Row) -> None:
        self.number += row.number
        self.open_orders += row.open_orders
        self.open = total((self.open, row.open))
        self.earned = total((self.earned, row.earned))
        self.credited = total((self.credited, row.credited))


class PostgresStatements:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last_day(self) -> date:
        """The last one that is over."""
        async with self._database.connection() as connection:
            now = await _now(connection)
        return now.date() - timedelta(days=1)

    async def statement(self, day: date) -> Statement:
        """From one state of the database. Raises DayNotBegun."""
        async with self._database.snapshot() as connection:
            now = await _now(connection)
            if start_of(day) > now:
                raise DayNotBegun(day)
            await connection.execute(_SQL["limits"], (f"{STATEMENT_TIMEOUT_SECONDS}s",))
            cutoffs = {False: nanoseconds(start_of(day)), True: nanoseconds(end_of(day))}
            rows = await _rows(connection, cutoffs)
            held = await _held(connection, [row for row in rows if row.part == "doubtful"], cutoffs)
            found = await connection.execute(_SQL["different"], {"end": end_of(day)})
            [different] = [Different(*row) async for row in found]
            is_closed = now >= end_of(day) + CLOSES_AFTER and await _is_read(connection, cutoffs[True])
        lines = {(row.name, row.is_late): row for row in rows if row.part == "line"}
        pending = _pending(rows, held)
        opening = _balance([row for (_, is_late), row in lines.items() if not is_late], pending[False])
        closing = _balance(list(lines.values()), pending[True])
        return Statement(
            day=day,
            opening=opening,
            entries=(*_moved(lines), *_hindered(opening, closing)),
            closing=closing,
            different=different,
            is_closed=is_closed,
        )


async def _now(connection: Connection) -> datetime:
    row = await (await connection.execute(_SQL["now"])).fetchone()
    assert row is not None, "it always answers"
    now: datetime = row[0]
    return now.astimezone(UTC)


async def _is_read(connection: Connection, until_ns: int) -> bool:
    """Whether all events that were decided before are among the postings."""
    row = await (await connection.execute(_SQL["unread"])).fetchone()
    return row is None or _mapper.to_domain_event(StoredEvent(*row)).recorded_at_ns >= until_ns


async def _rows(connection: Connection, cutoffs: Mapping[bool, int]) -> list[_Row]:
    limits = {"start_ns": cutoffs[False], "end_ns": cutoffs[True]}
    return [_Row(*row) async for row in await connection.execute(_DAY, limits)]


async def _held(
    connection: Connection, rows: Sequence[_Row], cutoffs: Mapping[bool, int]
) -> Mapping[bool, frozenset[int]]:
    """Which of the orders had an open doubt at the day's beginning, and at its end."""
    held: dict[bool, set[int]] = {False: set(), True: set()}
    order_ids = sorted({int(row.name) for row in rows})
    for start in range(0, len(order_ids), _STREAMS_AT_ONCE):
        streams = [stream_id(order_id) for order_id in order_ids[start : start + _STREAMS_AT_ONCE]]
        cursor = connection.cursor(binary=True)
        await cursor.execute(_STREAMS, (streams,))
        stored = [StoredEvent(*row) async for row in cursor]
        for _, stream in groupby(map(_mapper.to_domain_event, stored), key=lambda event: event.originator_id):
            events = list(stream)
            for is_late, until_ns in cutoffs.items():
                order = fold(None, _before(events, until_ns))
                if order is not None and order.doubts:
                    held[is_late].add(order.order_id)
    return {is_late: frozenset(order_ids) for is_late, order_ids in held.items()}


def _before(events: Iterable[OrderEvent], until_ns: int) -> Iterable[OrderEvent]:
    return takewhile(lambda event: event.recorded_at_ns < until_ns, events)


def _pending(rows: Sequence[_Row], held: Mapping[bool, frozenset[int]]) -> Mapping[bool, Mapping[Account, _Sum]]:
    """What isn't credited at the day's beginning, and at its end."""
    sums: dict[bool, dict[Account, _Sum]] = {False: {}, True: {}}
    for row in rows:
        match row.part:
            case "pending":
                account = Account(row.name)
            case "doubtful":
                account = Account.HELD if int(row.name) in held[row.is_late] else Account.OWED
            case _:
                continue
        sums[row.is_late].setdefault(account, _Sum()).add(row)
    return sums


def _balance(lines: Sequence[_Row], pending: Mapping[Account, _Sum]) -> Balance:
    """After all these lines, which are all that there were since the beginning."""
    moved = _Sum()
    for line in lines:
        moved.add(line)
    uncredited = {account: pending.get(account, _Sum()) for account in UNCREDITED}
    amounts = {account: each.earned for account, each in uncredited.items()}
    orders = {account: each.number for account, each in uncredited.items()}
    amounts |= {
        Account.GRANTED: -(moved.open + moved.earned),
        Account.OPEN: moved.open,
        Account.CREDITED: moved.credited,
    }
    return Balance(amounts, orders | {Account.OPEN: moved.open_orders})


def _moved(lines: Mapping[tuple[str, bool], _Row]) -> list[Entry]:
    """What events and confirmed calls did on the day."""
    entries = []
    for line in Line:
        if line in HINDRANCES:
            continue
        row = lines.get((line.value, True))
        number, open_, earned, credited = (row.number, row.open, row.earned, row.credited) if row else (0, *_ZEROS)
        amounts = {
            Account.GRANTED: -(open_ + earned),
            Account.OPEN: open_,
            Account.OWED: earned - credited,
            Account.CREDITED: credited,
        }
        entries.append(Entry(line, number, amounts))
    return entries


def _hindered(opening: Balance, closing: Balance) -> list[Entry]:
    """Between what is owed without a hindrance and with one."""
    entries = []
    for line, account in HINDRANCES.items():
        change = closing.amounts[account] - opening.amounts[account]
        number = closing.orders[account] - opening.orders[account]
        entries.append(Entry(line, number, {Account.OWED: -change, account: change}))
    return entries
