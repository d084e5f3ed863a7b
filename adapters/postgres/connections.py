"""What every connection of ours has, in one place. A value in the database URL wins over the one from here, except
for the session settings on which our statements rely (`_RELIED_ON`).

A peer that is gone without a word (power, network) is noticed on either side within about DEAD_PEER_SECONDS, where
TCP alone takes two hours when it has nothing to send, and a quarter of an hour when it has. A server that is there
and says nothing (frozen, or behind something that swallows all) is given up after a connection's `answer_seconds`.

A commit is answered only when it is on the disk, whatever the server, the database or the role has as its default:
what was answered must not be gone after a crash.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import Row, tuple_row
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from domain.ports import StoreUnavailable

if TYPE_CHECKING:
    from psycopg.abc import PQGen

CONNECT_TIMEOUT_SECONDS: Final = 10
KEEPALIVE_IDLE_SECONDS: Final = 10
KEEPALIVE_INTERVAL_SECONDS: Final = 5
KEEPALIVE_COUNT: Final = 3
DEAD_PEER_SECONDS: Final = KEEPALIVE_IDLE_SECONDS + KEEPALIVE_COUNT * KEEPALIVE_INTERVAL_SECONDS
CLIENT_CHECK_SECONDS: Final = 5
"""How often a statement that works or waits for a lock looks whether its client is still there."""
IDLE_IN_TRANSACTION_SECONDS: Final = 60
"""A process that stands still in a transaction is cut off after this: it may hold what others wait for."""
ANSWER_SECONDS: Final = 65.0
"""How long a connection without a statement_timeout waits for an answer."""
ANSWER_MARGIN_SECONDS: Final = 5.0
"""How much longer than its statement_timeout any other waits: a server that is well says itself what is wrong."""
MAX_REASON_LENGTH: Final = 300
TRIED_CONNECTIONS: Final = (PoolTimeout, PoolClosed, TooManyRequests)
"""What a pool says when it has no connection. The reason is with whoever tried to connect."""

_OUR_SIDE: Final[dict[str, str | int]] = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": KEEPALIVE_IDLE_SECONDS,
    "keepalives_interval": KEEPALIVE_INTERVAL_SECONDS,
    "keepalives_count": KEEPALIVE_COUNT,
    "tcp_user_timeout": DEAD_PEER_SECONDS * 1000,
}
_THEIR_SIDE: Final = {
    "tcp_keepalives_idle": f"{KEEPALIVE_IDLE_SECONDS}s",
    "tcp_keepalives_interval": f"{KEEPALIVE_INTERVAL_SECONDS}s",
    "tcp_keepalives_count": str(KEEPALIVE_COUNT),
    "tcp_user_timeout": f"{DEAD_PEER_SECONDS}s",
    "client_connection_check_interval": f"{CLIENT_CHECK_SECONDS}s",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS}s",
}
_RELIED_ON: Final = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "default_transaction_isolation": "read committed",
}
"""Whatever the server, the database, the role, the URL or the environment says of them. A statement sets them:
PGDATESTYLE and PGTZ win over a connection string. The search path is the operator's to choose."""
_SET: Final = "SELECT date_part('epoch', current_setting('statement_timeout')::interval), " + ", ".join(
    f"set_config('{name}', '{value}', false)" for name, value in _RELIED_ON.items()
)
"""Tells the statement_timeout in seconds, 0 for none."""

RV = TypeVar("RV")


def conninfo(
    database_url: str,
    *,
    application_name: str,
    connect_timeout_seconds: int = CONNECT_TIMEOUT_SECONDS,
    **session: str,
) -> str:
    """A connection string for libpq: what the URL says over what we would have.

    `session` are settings of the server's for this session, with their units. Raises psycopg.ProgrammingError if
    the URL can't be read.
    """
    given = conninfo_to_dict(database_url)
    ours = _OUR_SIDE | {"application_name": application_name, "connect_timeout": connect_timeout_seconds}
    options = [f"-c {name}={value}" for name, value in (_THEIR_SIDE | session).items()]
    if "options" in given:
        options.append(str(given["options"]))  # of two values for one setting the server takes the last
    merged: dict[str, Any] = {**ours, **given, "options": " ".join(options), "client_encoding": "UTF8"}
    return make_conninfo("", **merged)


class ConnectFailure:
    """Why the last attempt to connect failed: a pool tries in the background, and can't say. For any thread."""

    def __init__(self) -> None:
        self.reason: str | None = None


class BoundedConnection(psycopg.Connection[Row]):
    """With the session settings that we rely on, and an end to every wait for the server.

    `connect` takes two arguments more: `failure`, which is told, and `answer_seconds` (None: as long as it takes),
    which follows from the session's statement_timeout unless it is given.
    """

    answer_seconds: float | None = CONNECT_TIMEOUT_SECONDS

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        given = "answer_seconds" in kwargs
        answer_seconds = kwargs.pop("answer_seconds", None)
        with _noted(kwargs.pop("failure", None)):
            autocommit = kwargs.pop("autocommit", False)
            connection = super().connect(conninfo, autocommit=True, **kwargs)
            try:
                limit = connection.cursor(row_factory=tuple_row).execute(_SET).fetchone()
                connection.autocommit = autocommit
            except BaseException:
                connection.close()
                raise
        connection.answer_seconds = answer_seconds if given else _longer_than(limit)
        return connection

    def wait(self, gen: "PQGen[RV]", *args: Any, **kwargs: Any) -> RV:
        return super().wait(_bounded(self, gen, kwargs), *args, **kwargs)


class AsyncBoundedConnection(psycopg.AsyncConnection[Row]):
    """As BoundedConnection."""

    answer_seconds: float | None = CONNECT_TIMEOUT_SECONDS

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        given = "answer_seconds" in kwargs
        answer_seconds = kwargs.pop("answer_seconds", None)
        with _noted(kwargs.pop("failure", None)):
            autocommit = kwargs.pop("autocommit", False)
            connection = await super().connect(conninfo, autocommit=True, **kwargs)
            try:
                limit = await (await connection.cursor(row_factory=tuple_row).execute(_SET)).fetchone()
                await connection.set_autocommit(autocommit)
            except BaseException:
                await connection.close()
                raise
        connection.answer_seconds = answer_seconds if given else _longer_than(limit)
        return connection

    async def wait(self, gen: "PQGen[RV]", *args: Any, **kwargs: Any) -> RV:
        return await super().wait(_bounded(self, gen, kwargs), *args, **kwargs)


def check_answers(connection: psycopg.Connection[Any]) -> None:
    """For a pool, before it lends a connection: the server must answer soon. Raises psycopg.OperationalError."""
    assert isinstance(connection, BoundedConnection)
    limit, connection.answer_seconds = connection.answer_seconds, ANSWER_MARGIN_SECONDS
    connection.execute("")
    connection.answer_seconds = limit


async def check_answers_async(connection: AsyncBoundedConnection[Any]) -> None:
    """As `check_answers`."""
    limit, connection.answer_seconds = connection.answer_seconds, ANSWER_MARGIN_SECONDS
    await connection.execute("")
    connection.answer_seconds = limit


@contextmanager
def translated(failure: ConnectFailure | None = None, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Whatever the driver says, in the word of the ports: StoreUnavailable, with the reason.

    All of it, as nobody's message is to blame for any of it: a database that is away, but also one that can only be
    read (a failover's window), one that refuses a privilege or lacks a table, one that cut us off. To try again is
    right, and nothing else would help. `but` are errors that the caller deals with.
    """
    try:
        yield
    except but:
        raise
    except psycopg.Error as error:
        reason = reason_of(error)
        if isinstance(error, TRIED_CONNECTIONS) and failure is not None and failure.reason:
            reason = f"{reason}: {failure.reason}"
        raise StoreUnavailable(reason) from error


def reason_of(error: Exception) -> str:
    """In one line."""
    first_line = str(error).strip().partition("\n")[0]
    return (first_line or type(error).__name__)[:MAX_REASON_LENGTH]


@contextmanager
def closed_if_unusable(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Closes a connection whose server can't do what we need: after a failover another may be at its address."""
    try:
        yield
    except psycopg.Error as error:
        if _is_of_the_server(error):
            connection.close()
        raise


@asynccontextmanager
async def closed_if_unusable_async(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """As `closed_if_unusable`."""
    try:
        yield
    except psycopg.Error as error:
        if _is_of_the_server(error):
            await connection.close()
        raise


def _is_of_the_server(error: psycopg.Error) -> bool:
    """It is read-only, say (class 25); or a statement that it has prepared fits its tables no more (0A)."""
    return isinstance(error, psycopg.InternalError | psycopg.NotSupportedError)


def _longer_than(row: tuple[Any, ...] | None) -> float:
    statement_timeout_seconds: float = row[0] if row else 0.0
    return statement_timeout_seconds + ANSWER_MARGIN_SECONDS if statement_timeout_seconds else ANSWER_SECONDS


@contextmanager
def _noted(failure: ConnectFailure | None) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        if failure is not None:
            failure.reason = reason_of(error)
        raise
    if failure is not None:
        failure.reason = None


def _bounded(
    connection: BoundedConnection[Any] | AsyncBoundedConnection[Any], gen: "PQGen[RV]", how: dict[str, Any]
) -> "PQGen[RV]":
    """A wait that has a limit of its own, as for notifications, keeps it."""
    if connection.answer_seconds is None or how.get("timeout") is not None:
        return gen
    return _ended(connection, gen, connection.answer_seconds)


def _ended(
    connection: BoundedConnection[Any] | AsyncBoundedConnection[Any], gen: "PQGen[RV]", seconds: float
) -> "PQGen[RV]":
    """The driver looks ten times a second for news. A connection that was given up is of no use any more."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                deadline = time.monotonic() + seconds
            elif time.monotonic() > deadline:
                connection.pgconn.finish()
                raise psycopg.OperationalError(f"the server hasn't answered within {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        result: RV = end.value
        return result
