"""Messages that could not be read, and what people put in their place."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

QuarantineState = Literal["open", "retried", "discarded"]


Headers = tuple[tuple[str, bytes | None], ...]


class QuarantineRow(NamedTuple):
    """A message that could not be read, without what it holds."""

    id: int
    topic: str
    partition: int
    offset: int
    order_id: int | None
    reason: str
    detail: str
    state: QuarantineState
    quarantined_at: datetime
    value_bytes: int | None


@dataclass(frozen=True, slots=True)
class Edit:
    """What a person has written in the place of what came; None: it stays as it came."""

    key: bytes | None = None
    value: bytes | None = None
    headers: Headers | None = None


NO_EDIT: Final = Edit()


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """A message that could not be read, as it came."""

    row: QuarantineRow
    topic_id: str
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    closed_at: datetime | None = None
    edit: Edit = NO_EDIT
