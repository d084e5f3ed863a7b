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

from domain.identifiers import order_id_of
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
    BUYER_CHANGED = "buyer_changed"
    """An update in the name of another buyer."""
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
    """Messages whose order can't be told: on different partitions and too close in time for the publishers' clocks
    to be trusted, or with dates that contradict the order in which they were published."""
    AFTER_END = "after_end"
    """A message that would have changed the order came after its end, and was refused."""
    CREATED_TWICE = "created_twice"
    """A second CREATED with another amount or another buyer."""
    BUYER_CHANGED = "buyer_changed"
    """An update was refused, or an end accepted, that names another buyer than the order has."""
    NEGATIVE_CASHBACK = "negative_cashback"
    """A message was refused because an item would take money from the buyer."""
    IMPLAUSIBLE_AMOUNT = "implausible_amount"
    """More than an order may earn, or a price far from what the discount says: a publisher's mistake, maybe."""


class OrderEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A fact of an order's stream."""

    TOPIC: ClassVar[str]

    originator_id: UUID
    originator_version: int
    """1, 2, 3 … in the order's stream."""
    recorded_at_ns: int
    """When it was decided: nanoseconds since 1970, UTC."""

    @property
    def order_id(self) -> int:
        return order_id_of(self.originator_id)


class MessageEvent(OrderEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A decision about one message."""

    message: Message
    effective_at_ns: int
    """When the message counts as having happened: its own date, moved forward as little as its lane demands."""
    held_version: int | None = None
    """The version of the event that held this message, if it had been held."""
    doubt: Doubt | None = None
    further_doubts: tuple[Doubt, ...] = ()
    """Those beside the first."""
    at_stake: Decimal | None = None
    """The money that the doubt is about: what would be owed if the other reading were right, minus what is."""

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        return () if self.doubt is None else (self.doubt, *self.further_doubts)


class OperatorEvent(OrderEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A decision that a person took about an order."""

    decided_by: str
    reason: str


class Accepted(MessageEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
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


class CashbackCorrected(Accepted, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message after the completion changes what the buyer is owed."""

    TOPIC: ClassVar[str] = "cashback-corrected"
    cashback: Decimal
    """The whole amount that is right now, after all messages in their right order."""


class CorrectionNotNeeded(MessageEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message after the end that leaves what the buyer is owed as it is. It counts for what comes later."""

    TOPIC: ClassVar[str] = "correction-not-needed"


class MessageHeld(MessageEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Kept until what must come before it has come."""

    TOPIC: ClassVar[str] = "message-held"
    waits_for: WaitsFor


class UpdateSuperseded(MessageEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An update that a later one, accepted already, has made pointless."""

    TOPIC: ClassVar[str] = "update-superseded"
    superseded_by_version: int


class MessageRejected(MessageEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    TOPIC: ClassVar[str] = "message-rejected"
    refusal: Refusal
    against_version: int | None = None
    """The event that the message contradicts, where there is one."""


class RepeatSeenElsewhere(MessageEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A copy of a known message on another partition: its true place among the others is not certain any more."""

    TOPIC: ClassVar[str] = "repeat-seen-elsewhere"


class DoubtSettled(OperatorEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What was in doubt stays as it is; what the doubt held back goes on."""

    TOPIC: ClassVar[str] = "doubt-settled"
    settled: tuple[tuple[Doubt, int], ...]
    """The doubts, each with the version of the event that raised it."""


class GapAccepted(OperatorEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Numbers of the publisher's sequence that will never come: what waited behind them goes on."""

    TOPIC: ClassVar[str] = "gap-accepted"
    first: int
    last: int


class CreateGivenUp(OperatorEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The CREATED will never come: what waits for it is closed, unpaid. Should it come after all, it counts."""

    TOPIC: ClassVar[str] = "create-given-up"


class EventLost(OperatorEvent, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """In the place of an event that was stored and is gone: what is behind it counts again, with a doubt."""

    TOPIC: ClassVar[str] = "event-lost"


type_of_topic: dict[str, type[OrderEvent]] = {
    event_type.TOPIC: event_type
    for event_type in (
        CashbackCreated,
        CashbackUpdated,
        CashbackCancelled,
        CashbackCompleted,
        CashbackCorrected,
        CorrectionNotNeeded,
        MessageHeld,
        UpdateSuperseded,
        MessageRejected,
        RepeatSeenElsewhere,
        DoubtSettled,
        GapAccepted,
        CreateGivenUp,
        EventLost,
    )
}
"""Every event class by the name under which it is stored."""
