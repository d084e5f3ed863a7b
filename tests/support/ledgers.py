"""Ledgers for one suite of tests: told of calls as the projection tells them, with a time that can be moved on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import psycopg

from adapters.postgres.dispatch_session import LOCK_SPACE
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.projection_feeds import write_intended_calls, write_ledger_rows
from adapters.postgres.sql import statements
from domain.effects import Effect
from domain.identifiers import stream_id
from domain.money import ZERO
from projections.delivery.ports import Call, Ledger, grace_seconds
from projections.doubt_marks import DoubtMark
from projections.intended_calls import IntendedCall
from tests.support.fake_ledger import FakeLedger, FakeLedgerSession
from tests.support.messages import NOW_NS
from tests.support.waiting import DEADLINE_SECONDS

LEASE_SECONDS: Final = 60.0
CALL_TIMEOUT_SECONDS: Final = 20.0
GRACE_SECONDS: Final = grace_seconds(CALL_TIMEOUT_SECONDS)

T = TypeVar("T")
Scenario = Callable[[Ledger], Awaitable[T]]


class Standing(NamedTuple):
    """Where an order's delivery stands."""

    settled_version: int
    attempts: int
    parked_reason: str | None
    is_leased: bool


class Recorded(NamedTuple):
    """An attempt in the record."""

    order_id: int
    version: int
    outcome: str
    status: int | None
    duration_ms: int
    kind: str = "call"


class LedgerWorld(Protocol):
    def run(self, scenario: Scenario[T]) -> T: ...
    def run_two(self, scenario: Callable[[Ledger, Ledger], Awaitable[T]]) -> T:
        """With two processes' ledgers."""

    async def end_session(self, session: int) -> None:
        """Its process lives on. Returns when others have noticed."""

    def add(self, *calls: Call) -> None: ...
    def mark(self, order_id: int, *, is_doubtful: bool) -> None: ...
    def elapse(self, seconds: float) -> None: ...
    def set_back(self, order_id: int, first_version: int) -> None: ...
    def outage(self, *, begins: bool) -> None: ...
    def standing(self, order_id: int) -> Standing: ...
    def attempts(self) -> list[Recorded]:
        """In the order in which they were settled."""

    def lost(self) -> list[tuple[int, int]]:
        """Order and version of each call that was claimed and never settled, in the order of the record."""


class InMemory:
    def __init__(self) -> None:
        self._now = 0.0
        self._ledger = FakeLedger(
            lambda: self._now, lease_seconds=LEASE_SECONDS, call_timeout_seconds=CALL_TIMEOUT_SECONDS
        )

    def run(self, scenario: Scenario[T]) -> T:
        async def main() -> T:
            return await scenario(self._ledger)

        return asyncio.run(main())

    def run_two(self, scenario: Callable[[Ledger, Ledger], Awaitable[T]]) -> T:
        async def main() -> T:
            return await scenario(FakeLedgerSession(self._ledger), FakeLedgerSession(self._ledger))

        return asyncio.run(main())

    async def end_session(self, session: int) -> None:
        self._ledger.end_session(session)

    def add(self, *calls: Call) -> None:
        self._ledger.add(*calls)

    def mark(self, order_id: int, *, is_doubtful: bool) -> None:
        self._ledger.mark(order_id, is_doubtful=is_doubtful)

    def elapse(self, seconds: float) -> None:
        self._now += seconds

    def set_back(self, order_id: int, first_version: int) -> None:
        self._ledger.set_back(order_id, first_version)

    def outage(self, *, begins: bool) -> None:
        self._ledger.is_down = begins

    def standing(self, order_id: int) -> Standing:
        cursor = self._ledger.cursors[order_id]
        return Standing(cursor.settled_version, cursor.attempts, cursor.parked_reason, cursor.lease is not None)

    def attempts(self) -> list[Recorded]:
        return [
            Recorded(
                each.call.order_id,
                each.call.version,
                each.answer.outcome,
                each.answer.status,
                each.duration_ms,
                each.kind,
            )
            for each in self._ledger.attempts
        ]

    def lost(self) -> list[tuple[int, int]]:
        return [(each.order_id, each.version) for each in self._ledger.lost]


class OnPostgres:
    """Time is moved on by moving what is due later: the server's own clock stays."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    def run(self, scenario: Scenario[T]) -> T:
        async def main() -> T:
            async with self._opened() as ledger:
                return await scenario(ledger)

        return asyncio.run(main())

    def run_two(self, scenario: Callable[[Ledger, Ledger], Awaitable[T]]) -> T:
        async def main() -> T:
            async with self._opened() as first, self._opened() as second:
                return await scenario(first, second)

        return asyncio.run(main())

    def _opened(self) -> PostgresLedger:
        return PostgresLedger(self._url, lease_seconds=LEASE_SECONDS, call_timeout_seconds=CALL_TIMEOUT_SECONDS)

    async def end_session(self, session: int) -> None:
        ended = self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND classid = %s AND objid = %s",
            LOCK_SPACE,
            session,
        )
        assert ended == [(True,)]
        async with asyncio.timeout(DEADLINE_SECONDS):
            noticed = "SELECT 1 FROM dispatch_session WHERE id = %s AND gone_at IS NOT NULL"
            while not self.sql(noticed, session):  # noqa: ASYNC110 - another process notices
                await asyncio.sleep(0.05)

    def add(self, *calls: Call) -> None:
        intended = [
            IntendedCall(
                each.order_id,
                each.version,
                Effect(each.kind, stream_id(each.order_id), each.version, each.key),
                each.body,
                recorded_ns=NOW_NS,
                cashback=ZERO,
            )
            for each in calls
        ]
        with psycopg.connect(self._url) as connection:
            write_intended_calls(connection, intended)

    def mark(self, order_id: int, *, is_doubtful: bool) -> None:
        with psycopg.connect(self._url) as connection:
            write_ledger_rows(connection, [DoubtMark(order_id, is_doubtful)])

    def elapse(self, seconds: float) -> None:
        for table, column in (
            ("delivery", "next_attempt_at"),
            ("delivery", "claimed_at"),
            ("delivery", "claimed_by_at"),
            ("effect", "first_sent_at"),
            ("dispatch_session", "gone_at"),
        ):
            self.sql(f"UPDATE {table} SET {column} = {column} - %s * interval '1 s'", seconds)

    def set_back(self, order_id: int, first_version: int) -> None:
        """With the statements of a redelivery, and after the moment that it may take."""
        found = self.sql("SELECT version FROM effect WHERE order_id = %s", order_id)
        versions = sorted(version for (version,) in found if version >= first_version)
        replays = statements("replays")
        with psycopg.connect(self._url) as connection:
            connection.execute(replays["make_due"], {"order_id": order_id, "versions": versions, "renewed": []})
            cursor = {"order_id": order_id, "first": versions[0], "last": versions[-1]}
            connection.execute(replays["set_back"], cursor)
        self.elapse(1)

    def outage(self, *, begins: bool) -> None:
        old, new = ("attempt", "attempt_away") if begins else ("attempt_away", "attempt")
        self.sql(f"ALTER TABLE {old} RENAME TO {new}")
        old, new = ("delivery", "delivery_away") if begins else ("delivery_away", "delivery")
        self.sql(f"ALTER TABLE {old} RENAME TO {new}")

    def standing(self, order_id: int) -> Standing:
        [row] = self.sql(
            "SELECT settled_version, attempts, parked_reason, lease_token IS NOT NULL FROM delivery"
            " WHERE order_id = %s",
            order_id,
        )
        return Standing(*row)

    def attempts(self) -> list[Recorded]:
        rows = self.sql(
            "SELECT order_id, version, outcome, status, duration_ms, kind FROM attempt"
            " WHERE kind <> 'lost' ORDER BY id"
        )
        return [Recorded(*row) for row in rows]

    def lost(self) -> list[tuple[int, int]]:
        rows = self.sql("SELECT order_id, version FROM attempt WHERE kind = 'lost' ORDER BY id")
        return [(order_id, version) for order_id, version in rows]

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
