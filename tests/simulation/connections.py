"""Real connections whose every round trip waits for its turn. `Connection.wait` is the one place that all pass."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Final, TypeVar

import psycopg
from eventsourcing.postgres import ConnectionPool
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from adapters.postgres.dispatch_session import LOOK_SECONDS
from adapters.postgres.event_store import StoreConnection, _configure
from adapters.postgres.ledger import LedgerConnection
from adapters.postgres.lineage import read_lineage
from tests.simulation.greenlets import is_in_greenlet, wait_for
from tests.simulation.scheduler import Actor, Scheduler

IDLE_STRETCH: Final = 20.0
"""Whoever has nothing to do looks again so many times later than he would: the wake-ups do the work, and a run
needn't be a thousand idle looks."""
FEED_IDLE_SECONDS: Final = 10.0


class GatedConnection(psycopg.Connection[Any]):
    """For synchronous code in a greenlet."""

    actor: Actor
    scheduler: Scheduler
    is_cut_when_idle: ClassVar[bool] = False
    channel: ClassVar[str] = "cashback_events"

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is not None:  # for notifications
            if timeout > 0:
                # Not `timeout`: that is what real time has left of it.
                wait_for(self.scheduler.wait_for_notification(self.channel, FEED_IDLE_SECONDS))
            raise _WaitTimeout
        if not hasattr(self, "actor") or not is_in_greenlet():
            return super().wait(gen, interval)
        return wait_for(self.scheduler.run(self, gen))


class GatedStoreConnection(GatedConnection, StoreConnection):
    """With the event store's time-outs."""

    is_cut_when_idle: ClassVar[bool] = True


class GatedAsyncConnection(LedgerConnection):
    actor: Actor
    scheduler: Scheduler
    is_cut_when_idle: ClassVar[bool] = False
    owner: psycopg.Connection[Any]
    """Made the connection, and is kept so that it isn't closed."""

    async def wait(
        self,
        gen: PQGen[Any],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg\'s own
    ) -> Any:
        if timeout is not None:
            # Not `timeout`: that is what real time has left of it.
            await self.scheduler.wait_for_notification("cashback_due", LOOK_SECONDS)
            raise _WaitTimeout
        return await self.scheduler.run(self, gen)


C = TypeVar("C", GatedConnection, GatedStoreConnection, GatedAsyncConnection)


class Connector:
    """Makes one actor's connections, in no time."""

    def __init__(self, url: str, scheduler: Scheduler, actor: Actor) -> None:
        self.url = url
        self.scheduler = scheduler
        self.actor = actor

    def connect(self, _: str = "", *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """In the place of `psycopg.connect`."""
        self.check_alive()
        return self._own(GatedConnection.connect(self.url, autocommit=autocommit))

    def connect_store(self) -> GatedStoreConnection:
        connection = GatedStoreConnection.connect(self.url, autocommit=True, row_factory=dict_row)
        _configure(connection)
        return self._own(connection)

    def connect_async(self) -> GatedAsyncConnection:
        owner = psycopg.Connection.connect(self.url, autocommit=True)
        connection = GatedAsyncConnection(owner.pgconn)
        connection._autocommit = True
        connection.owner = owner
        connection.lineage = read_lineage(owner)
        return self._own(connection)

    async def connect_session(self, _: str, *, autocommit: bool, answer_seconds: float) -> GatedAsyncConnection:
        """For a dispatcher's session; an answer comes in virtual time."""
        assert autocommit
        self.check_alive()
        return self.connect_async()

    def check_alive(self) -> None:
        if self.actor.is_dead:
            raise psycopg.OperationalError("its process is dead (simulated)")

    def usable(self, free: list[Any]) -> Any | None:
        """One of these whose server is still there."""
        while free:
            connection = free.pop()
            if connection.pgconn.status == pq.ConnStatus.OK:
                return connection
        return None

    def release(self, connection: Any, free: list[Any]) -> None:
        if (
            connection.pgconn.status == pq.ConnStatus.OK
            and connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
        ):
            free.append(connection)
        else:
            self.scheduler.terminate([connection])

    def _own(self, connection: C) -> C:
        connection.actor, connection.scheduler = self.actor, self.scheduler
        self.actor.connections.append(connection)
        return connection


class GatedPool(ConnectionPool[Any]):
    """The event store's, for one actor."""

    def __init__(self, connector: Connector) -> None:
        super().__init__(connector.url, open=False)
        self._connector = connector
        self._free: list[Any] = []

    def open(self, wait: bool = False, timeout: float = 30.0) -> None:  # noqa: FBT001, FBT002 - psycopg's own
        """It is."""

    def close(self, timeout: float = 5.0) -> None:
        """Its connections end with the actor."""

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Any]:
        self._connector.check_alive()
        connection = self._connector.usable(self._free) or self._connector.connect_store()
        try:
            yield connection
        finally:
            self._connector.release(connection, self._free)


class GatedAsyncPool(AsyncConnectionPool[Any]):
    """The ledger's, or that of requests, for one actor."""

    def __init__(self, connector: Connector) -> None:
        super().__init__(connector.url, open=False)
        self._connector = connector
        self._free: list[Any] = []

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:  # noqa: ASYNC109, FBT001, FBT002 - psycopg's own
        """It is."""

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - psycopg's own
        """Its connections end with the actor."""

    @asynccontextmanager
    async def connection(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own
    ) -> AsyncIterator[Any]:
        self._connector.check_alive()
        connection = self._connector.usable(self._free) or self._connector.connect_async()
        try:
            yield connection
        finally:
            self._connector.release(connection, self._free)
