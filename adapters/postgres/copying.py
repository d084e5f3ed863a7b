"""Rows for `COPY … FROM STDIN (FORMAT binary)`, written in one go.

PostgreSQL takes rows from a COPY with less work than parameters of an INSERT, and so does the client. The rows are
made before the transaction begins: a process that stands still in the middle of one holds the lock of all writers.
The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final
from uuid import UUID

from eventsourcing.persistence import StoredEvent

_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"
# How many columns there are; then the length of each, and what it holds.
_FIRST_COLUMNS: Final = Struct("!hi16siqi")
_LENGTH: Final = Struct("!i")


def copied(events: Iterable[StoredEvent]) -> bytes:
    """Rows of (originator_id uuid, originator_version bigint, topic text, state bytea)."""
    parts = [_HEADER]
    for event in events:
        assert isinstance(event.originator_id, UUID)
        topic = event.topic.encode()
        parts += (
            _FIRST_COLUMNS.pack(4, 16, event.originator_id.bytes, 8, event.originator_version, len(topic)),
            topic,
            _LENGTH.pack(len(event.state)),
            event.state,
        )
    parts.append(_TRAILER)
    return b"".join(parts)
