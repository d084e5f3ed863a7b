"""Which history of the database a connection works on, and whether that is still the one that was worked on before.

A promoted replica, a restored backup, a snapshot of a disk: each may lack what was committed. All connections are
made anew then, so that is where to look.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from adapters.postgres.sql import statements
from domain.ports import OnRewind, RewindSign

_SQL: Final = statements("lineage")
_WITHHELD: Final = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.ObjectNotInPrerequisiteState,
)
"""Some who run PostgreSQL for others don't tell these."""


class Lineage(NamedTuple):
    """Where a history is, and how it began. None: not told."""

    database: int
    """The id by which the server knows it: a database that was dropped and made again has another."""
    started_at: datetime
    """When the server was started."""
    system_identifier: str | None = None
    """Of a server and its replicas; made with the cluster."""
    timeline: str | None = None
    """Another one since each promotion and each point-in-time recovery."""

    def differences(self, other: "Lineage") -> list[str]:
        """For a person; none if the server was only restarted."""
        pairs = (
            ("system identifier", self.system_identifier, other.system_identifier),
            ("timeline", self.timeline, other.timeline),
            ("database", self.database, other.database),
        )
        return [f"{name} {a} is {b} now" for name, a, b in pairs if a != b and a is not None and b is not None]


def read_lineage(connection: psycopg.Connection[Any]) -> Lineage:
    """In autocommit mode. Raises psycopg.Error."""
    cursor = connection.cursor(row_factory=tuple_row)
    [database, started_at] = cursor.execute(_SQL["database"]).fetchone() or ()
    with suppress(*_WITHHELD):
        return Lineage(database, started_at, *(cursor.execute(_SQL["server"]).fetchone() or ()))
    return Lineage(database, started_at)


async def read_lineage_async(connection: psycopg.AsyncConnection[Any]) -> Lineage:
    """The same."""
    cursor = connection.cursor(row_factory=tuple_row)
    [database, started_at] = await (await cursor.execute(_SQL["database"])).fetchone() or ()
    with suppress(*_WITHHELD):
        return Lineage(database, started_at, *(await (await cursor.execute(_SQL["server"])).fetchone() or ()))
    return Lineage(database, started_at)


class History:
    """The lineage that one part of the process works on. For one thread at a time."""

    def __init__(self, on_rewind: OnRewind) -> None:
        self._on_rewind = on_rewind
        self._known: Lineage | None = None

    def has_changed(self, found: Lineage) -> bool:
        """Whether what was read before may not be there any more; from now on `found` is what we work on.

        A restart is a change, too: the same server may have been given the data of an earlier day.
        """
        known, self._known = self._known, found
        if known is None or known == found:
            return False
        if differences := known.differences(found):
            self._on_rewind(RewindSign.SERVER, "; ".join(differences))
        return True
