"""An order's calls and attempts, and where its delivery stands."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

from domain.effects import EffectKind
from projections.republication import CallState

DeliveryState = Literal["idle", "due", "in_flight", "retrying", "parked"]


class DeliveryRow(NamedTuple):
    """The cursor over an order's calls."""

    state: DeliveryState
    head_version: int
    settled_version: int
    attempts: int
    next_attempt_at: datetime
    parked_at: datetime | None
    parked_reason: str | None


class CallRow(NamedTuple):
    """A call in the effect ledger."""

    version: int
    state: CallState
    attempts: int
    first_sent_at: datetime | None
    settled_at: datetime | None
    key: UUID
    generation: int
    body: bytes = b""
    was_delivered: bool = False
    """It had been delivered, and a person sends it again with the same key."""
    maybe_done: bool = False
    """It was sent, and may have been carried out."""


class AttemptRow(NamedTuple):
    """One attempt at the call with this version."""

    version: int
    started_at: datetime
    duration_ms: int
    outcome: str
    status: int | None
    answer: str
    kind: Literal["call", "lookup", "lost"] = "call"
    """`lost`: the process that was at it didn't live to tell."""


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """An order whose calls stand still, and the call at which they stand."""

    order_id: int
    parked_at: datetime
    reason: str
    attempts: int
    cashback: Decimal | None
    version: int | None
    kind: EffectKind | None
    key: UUID | None
    waiting_calls: int
    """Behind that call."""
    last_attempt: AttemptRow | None
