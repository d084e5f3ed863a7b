"""What was decided about an order, in the past tense.

Class names and fields are a storage format. `TOPIC` is the name under which an event is stored: it stays when a
class moves. A field may be added with a default; none may be renamed or given another meaning. Every message that
an order ever received is in its stream, so a rebuild needs nothing else.
"""

from decimal import Decimal
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec

from domain.messages import Message


class WaitsFor(StrEnum):
    """Why a message is held."""

    CREATE = "create"
    """It came before its order's CREATED."""
    SEQUENCE = "sequence"
    """A message with a smaller `sequence` is missing."""


class Refusal(StrEnum):
    """Why a message was rejected."""

    CREATED_TWICE = "created_twice"
    AFTER_END = "after_end"
    """An update that happened after the order had ended."""
    LATE = "late"
    """An update that happened before the order ended, and arrived after: money may be wrong."""
    ENDED_TWICE = "ended_twice"
    CONFLICT = "conflict"
    """The same message identity, or type, transaction and date, as an earlier message, with other content."""
    SEQUENCE_TAKEN = "sequence_taken"
    """Another message of the order already had this `sequence`, or a greater one."""
    NEGATIVE_CASHBACK = "negative_cashback"
    """An item would take money from the buyer."""


class Doubt(StrEnum):
    """Why a person should look at the order: what arrived can't tell us for certain what the buyer is owed."""

    LATE = "late"
    CONFLICT = "conflict"
    UNCERTAIN_ORDER = "uncertain_order"
    """Messages on different partitions, too close in time for the publishers' clocks to be trusted."""


class OrderEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A decision about one message."""

    TOPIC: ClassVar[str]

    originator_id: UUID
    originator_version: int
    """1, 2, 3 … in the order's stream."""
    recorded_at_ns: int
    """When we decided: nanoseconds since 1970, UTC."""
    message: Message
    effective_at_ns: int
    """When the message counts as having happened: its own date, moved forward as little as its lane demands."""
    held_version: int | None = None
    """The version of the event that held this message, if it had been held."""
    doubt: Doubt | None = None


class Accepted(OrderEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of the decisions that the third party must hear of."""

    stated_at_ns: int
    """The date that we give to the third party: the message's own, unless an earlier call had a later one."""


class CashbackCreated(Accepted, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    TOPIC: ClassVar[str] = "cashback-created"
    cashback: Decimal


class CashbackUpdated(Accepted, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    TOPIC: ClassVar[str] = "cashback-updated"
    cashback: Decimal


class CashbackCancelled(Accepted, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    TOPIC: ClassVar[str] = "cashback-cancelled"


class CashbackCompleted(Accepted, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    TOPIC: ClassVar[str] = "cashback-completed"
    cashback: Decimal
    """What the buyer is owed: the amount of the last accepted CREATED or UPDATED."""


class MessageHeld(OrderEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Kept until what must come before it has come."""

    TOPIC: ClassVar[str] = "message-held"
    waits_for: WaitsFor


class UpdateSuperseded(OrderEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An update that a later one, accepted already, has made pointless."""

    TOPIC: ClassVar[str] = "update-superseded"
    superseded_by_version: int


class MessageRejected(OrderEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    TOPIC: ClassVar[str] = "message-rejected"
    refusal: Refusal
    against_version: int | None = None
    """The event that the message contradicts, where there is one."""


class RepeatSeenElsewhere(OrderEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A copy of a known message on another partition: its true place among the others is not certain any more."""

    TOPIC: ClassVar[str] = "repeat-seen-elsewhere"


type_of_topic: dict[str, type[OrderEvent]] = {
    event_type.TOPIC: event_type
    for event_type in (
        CashbackCreated,
        CashbackUpdated,
        CashbackCancelled,
        CashbackCompleted,
        MessageHeld,
        UpdateSuperseded,
        MessageRejected,
        RepeatSeenElsewhere,
    )
}
"""Every event class by the name under which it is stored."""
