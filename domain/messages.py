"""What the order service said: one message of an order's cashback lifecycle, as the domain sees it.

The names of the wire stay outside. `body` and `headers` are carried, not looked at: they are what was received,
so that a message can be sent on or sent again as it came.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from domain.instants import NANOSECONDS_PER_MILLISECOND


class Kind(StrEnum):
    """The four steps of the lifecycle."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"

    __hash__ = str.__hash__  # an enumeration's own is a function in Python, and kinds are keys wherever we look

    @property
    def is_end(self) -> bool:
        return self in _ENDS


_ENDS: Final = frozenset({Kind.CANCELLED, Kind.COMPLETED})

SEQUENCE_LANE: Final = "sequence"
"""The lane of every message whose publisher stamped its `sequence`: there the numbers are the truth."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a message stands among those whose order is certain.

    Within one lane a greater offset was published later, whatever the clocks say. A lane is one partition of one
    topic, or, for stamped messages, the publisher's own sequence. Between lanes only the clocks can tell.
    """

    lane: str
    offset: int


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a message that we publish again was first received."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    timestamp_ms: int | None = None
    """Kafka's own timestamp of that record."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One message. Two messages with the same digest say the same thing."""

    kind: Kind
    order_id: int
    transaction_id: str
    transaction_date: str
    """As it was written, RFC 3339."""
    happened_at_ns: int
    """The same instant: nanoseconds since 1970, UTC."""
    identity: str
    """The publisher's own id (`ce_id`) where there is one, else the digest (contract.md, section 1)."""
    digest: str
    """Of the kind and the whole content: equal for two messages exactly if they say the same thing."""
    topic: str
    topic_id: str
    partition: int
    offset: int
    body: bytes
    """As received, and stored beside this record, not in it."""
    payload_path: tuple[str, ...] = ("payload",)
    """The members of the body that lead to what was said; none if the body is that itself."""
    headers: tuple[tuple[str, str | None], ...] = ()
    """As received; the bytes of a value stand here as Latin-1 text, one character a byte."""
    timestamp_ms: int | None = None
    """Kafka's own timestamp of the record."""
    sequence: int | None = None
    """1, 2, 3 … of the order, if the publisher stamps its messages."""
    store_no: str | None = None
    buyer_id: str | None = None
    reason: str | None = None
    cashback: Decimal | None = None
    """What the items of a CREATED or UPDATED earn; None on the others."""
    is_negative: bool = False
    """True if an item would take money from the buyer."""
    replay: str | None = None
    """The replay that sent this copy: without an `origin` it says nothing about the place that its message had."""
    origin: Origin | None = None
    """What a copy that we published again says about the place of its message."""
    key: str | None = None
    """The record's key as received, one character a byte, unless it was the order id in decimal."""
    is_implausible: bool = False
    """True if an item's `finalTotalPrice` is far from its `discountedPrice × quantity`."""

    @property
    def place(self) -> Place | None:
        """None for a replayed copy that tells neither a sequence nor its origin."""
        if self.sequence is not None:
            return Place(SEQUENCE_LANE, self.sequence)
        origin = self.origin
        if origin is not None:
            return Place(f"{origin.topic}@{origin.topic_id}/{origin.partition}", origin.offset)
        if self.replay is not None:
            return None
        return Place(f"{self.topic}@{self.topic_id}/{self.partition}", self.offset)

    @property
    def witness_ns(self) -> int | None:
        """When Kafka got it: a third witness beside the date and the lane. None where nobody can tell."""
        if self.origin is not None:
            timestamp_ms = self.origin.timestamp_ms
        else:
            timestamp_ms = None if self.replay is not None else self.timestamp_ms
        return timestamp_ms * NANOSECONDS_PER_MILLISECOND if timestamp_ms and timestamp_ms > 0 else None

    @property
    def names_itself(self) -> bool:
        """True if the publisher gave it an identity of its own."""
        return self.identity != self.digest

    @property
    def fact(self) -> tuple[Kind, str, int]:
        """Two messages about the same fact with different content contradict each other."""
        return (self.kind, self.transaction_id, self.happened_at_ns)
