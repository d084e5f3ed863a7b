"""Which call to the third party a stored event asks for (contract.md, section 2)."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from domain.events import (
    CashbackCancelled,
    CashbackCompleted,
    CashbackCorrected,
    CashbackCreated,
    CashbackUpdated,
    OrderEvent,
)
from domain.identifiers import idempotency_key


class EffectKind(StrEnum):
    """What the third party is told."""

    CREATE = "create"
    UPDATE = "update"
    CANCEL = "cancel"
    COMPLETE = "complete"
    CORRECT = "correct"
    """Another amount for an order that was completed."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One intended call."""

    kind: EffectKind
    originator_id: UUID
    originator_version: int
    """Of the event that asks for it."""
    key: UUID
    """The same for every attempt, and in every store: it follows from the message."""


def effect_of(event: OrderEvent) -> Effect | None:
    """The call that follows from an event; None if the third party needn't know."""
    match event:
        case CashbackCreated():
            kind = EffectKind.CREATE
        case CashbackUpdated():
            kind = EffectKind.UPDATE
        case CashbackCancelled():
            kind = EffectKind.CANCEL
        case CashbackCompleted():
            kind = EffectKind.COMPLETE
        case CashbackCorrected():
            kind = EffectKind.CORRECT
        case _:
            return None
    key = idempotency_key(event.originator_id, kind, event.message)
    return Effect(kind, event.originator_id, event.originator_version, key)
