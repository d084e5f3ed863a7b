"""The quarantine as an outbox: what has to be copied to the dead-letter topic, and who may do it.

Ids of the quarantine become visible in their order (see `store_batch` in sql/intake.sql), so a cursor over
them misses none.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from adapters.postgres.connections import BoundedConnection, conninfo, translated
from adapters.postgres.sql import statements
from adapters.records.dead_letters import DeadLetter
from domain.ports import Partition, Quarantined

STATEMENT_TIMEOUT_SECONDS: Final = 30
IDLE_SESSION_SECONDS: Final = 60
"""A process that stands still loses its connection after this, and with it the lock."""
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
MAX_COUNTED: Final = 100_000

_SQL = statements("dead_letters")


class Outbox:
    """For one thread at a time. `copier` names those among whom only one copies at a time."""

    def __init__(self, database_url: str, *, copier: str, topic: str) -> None:
        self._database_url = database_url
        self._names = {"copier": copier, "topic": topic}

    @contextmanager
    def session(self) -> Iterator["OutboxSession"]:
        """One connection. Raises StoreUnavailable, and so does whatever is asked in it."""
        with (
            translated(),
            BoundedConnection[Any].connect(
                conninfo(
                    self._database_url,
                    application_name="cashback-dead-letters",
                    statement_timeout=f"{STATEMENT_TIMEOUT_SECONDS}s",
                    idle_session_timeout=f"{IDLE_SESSION_SECONDS}s",
                ),
                autocommit=True,
            ) as connection,
        ):
            yield OutboxSession(connection, self._names)


class OutboxSession:
    """What can be asked while the connection is there."""

    def __init__(self, connection: psycopg.Connection[Any], names: dict[str, Any]) -> None:
        self._connection = connection
        self._names = names

    def try_lock(self) -> bool:
        """Whether it's our turn; then it stays ours until the session ends."""
        return bool(self._number("try_lock"))

    def noted(self) -> int:
        """The greatest id that is known here to be copied; it may lag behind what Kafka knows. 0: none."""
        return self._number("select_noted")

    def note(self, last_id: int) -> None:
        self._connection.execute(_SQL["note"], self._names | {"last_id": last_id})

    def waiting(self, after: int) -> int:
        """How many messages have a greater id; MAX_COUNTED stands for so many or more."""
        return self._number("count_waiting", after=after, limit=MAX_COUNTED)

    def read(self, after: int, max_rows: int) -> list[DeadLetter]:
        """The next messages with greater ids, in their order; all together not much more than MAX_BATCH_BYTES."""
        wanted = {"after": after, "max_rows": max_rows, "max_bytes": MAX_BATCH_BYTES}
        with self._connection.cursor(row_factory=dict_row, binary=True) as cursor:
            return [_dead_letter(row) for row in cursor.execute(_SQL["select_next"], wanted)]

    def _number(self, statement: str, **values: Any) -> int:
        row = self._connection.execute(_SQL[statement], self._names | values).fetchone()
        return row[0] if row else 0


def _dead_letter(row: dict[str, Any]) -> DeadLetter:
    message = Quarantined(
        partition=Partition(row["topic"], row["topic_id"], row["partition"]),
        offset=row["kafka_offset"],
        timestamp_ms=row["timestamp_ms"],
        key=row["message_key"],
        value=row["message_value"],
        headers=tuple((name, None if value is None else base64.b64decode(value)) for name, value in row["headers"]),
        order_id=row["order_id"],
        reason=row["reason"],
        detail=row["detail"],
    )
    return DeadLetter(row["id"], message)
