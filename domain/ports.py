"""What the domain needs from the world, as interfaces; each has one suite of tests for all that implement it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from domain.errors import CashbackError, Unavailable
from domain.events import OrderEvent
from domain.order import Order


class Partition(msgspec.Struct, frozen=True, order=True, gc=False):
    """The log of one partition of one topic: what its offsets count in.

    A topic that was deleted and made again has another id. A log that lost its end, so that its offsets are used
    again for other messages, goes on as `<id>#2`, `#3` … (domain/losses.py).
    """

    topic: str
    topic_id: str
    number: int


class Loss(StrEnum):
    """Why messages of a partition may be lost. It isn't read until a person has accepted that."""

    LOG_TRUNCATED = "log_truncated"
    """The log begins after our position."""
    POSITION_BEYOND_END = "position_beyond_end"
    """The log ends before our position, or was cut there and written anew."""
    TOPIC_DELETED = "topic_deleted"
    """We have positions, and there is no such topic."""
    TOPIC_RECREATED = "topic_recreated"
    """All our positions are in another topic of this name."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading goes on in a log."""

    next_offset: int
    leader_epoch: int | None = None
    """Of the last message read: with it Kafka can tell whether the log has been cut since (KIP-320)."""
    loss: Loss | None = None
    """Found by a consumer and not accepted yet."""


@dataclass(frozen=True, slots=True)
class Advance:
    """A partition's position moves from `expected` to `next_offset`. None: it has no position yet."""

    partition: Partition
    expected: int | None
    next_offset: int
    leader_epoch: int | None = None
    """Of the message before `next_offset`."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not be read, as it came."""

    partition: Partition
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    order_id: int | None
    """As far as it could be told."""
    reason: str
    """A short name, e.g. `not_json`."""
    detail: str
    """What is wrong, for a person; without the buyer's data."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll of messages came to. It is stored as a whole or not at all."""

    events: Sequence[OrderEvent]
    quarantined: Sequence[Quarantined]
    advances: Sequence[Advance]


class Fenced(CashbackError):
    """Another consumer has moved a position on, or stopped it: what was read since is not ours to store."""


class RewindSign(StrEnum):
    """What shows that the database has gone back in time under a living process."""

    SERVER = "server"
    """It is another server or database, or a server on another timeline."""
    EVENT = "event"
    """An event is gone that was stored."""
    POSITION = "position"
    """A position in Kafka is lower than it was."""
    STREAM = "stream"
    """An order's stream ends before what was decided upon."""
    PROJECTION = "projection"
    """A projection has read further than the events go."""
    ATTEMPT = "attempt"
    """An attempt at a call is gone that was noted."""


OnRewind = Callable[[RewindSign, str], None]
"""Hears by which sign it was noticed, and what was found, for a person."""


class Rewound(Fenced):
    """The store lacks what it had: it has gone back in time. Nothing that was read before counts any more."""

    def __init__(self, sign: RewindSign, found: str) -> None:
        super().__init__(found)
        self.sign = sign


class StaleOrder(CashbackError):
    """Another process has added to a stream since it was loaded."""


class StoreUnavailable(Unavailable):
    """The store can't be reached, or can't take the batch now. Nobody's message is to blame: wait and try again."""


class OrderStore(Protocol):
    """The event store, with the positions and the quarantine that commit together with the events."""

    def load(self, order_ids: Iterable[int]) -> Mapping[int, Order]:
        """The orders as they are now; version 0 for those without a stream. Raises StoreUnavailable."""

    def prepare(self, batch: Batch) -> Batch:
        """The same batch, with all done that needs no store: it can then be committed sooner."""
        ...

    def commit(self, batch: Batch) -> None:
        """Stores the batch in one transaction. Raises Fenced, StaleOrder or StoreUnavailable; then nothing of it
        is stored (after StoreUnavailable it may have been, which a second try finds out as Fenced).

        A stream never gets a hole: where the event before the first new one isn't there, a batch that moves
        positions is Rewound, any other is a StaleOrder."""

    def positions(self, topics: Iterable[str]) -> Mapping[Partition, Position]:
        """All positions in topics of these names, whatever their ids; the last one moved comes last.

        Raises StoreUnavailable.
        """

    def stop(self, partition: Partition, position: int, loss: Loss) -> None:
        """Notes a loss with a position, which then doesn't move until it's accepted.

        Raises Fenced if the position is another one by now, or StoreUnavailable.
        """
