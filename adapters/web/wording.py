"""Decisions in words: what became of a message, and by which rule (the rules are those of domain/decision.py)."""

from typing import Final, Literal

from domain.events import (
    Accepted,
    CashbackCancelled,
    CashbackCompleted,
    CashbackCreated,
    CashbackUpdated,
    MessageHeld,
    MessageRejected,
    OrderEvent,
    Refusal,
    RepeatSeenElsewhere,
    UpdateSuperseded,
    WaitsFor,
)

DecisionName = Literal["accepted", "held", "superseded", "rejected", "repeat elsewhere"]

_REFUSALS: Final = {
    Refusal.CREATED_TWICE: "the order was created before",
    Refusal.AFTER_END: "it happened after the order had ended",
    Refusal.LATE: "it happened before the order ended, and came after: the amount may be wrong",
    Refusal.ENDED_TWICE: "the order had ended before",
    Refusal.CONFLICT: "the same message came before with other content: the first one stands",
    Refusal.SEQUENCE_TAKEN: "another message of the order has this sequence, or a greater one",
    Refusal.NEGATIVE_CASHBACK: "an item would take money from the buyer",
}


def decision_of(event: OrderEvent) -> DecisionName:
    match event:
        case Accepted():
            return "accepted"
        case MessageHeld():
            return "held"
        case UpdateSuperseded():
            return "superseded"
        case MessageRejected():
            return "rejected"
        case RepeatSeenElsewhere():
            return "repeat elsewhere"
        case _:
            raise TypeError(f"no word for {type(event).__name__}")


def rule_of(event: OrderEvent) -> str:
    """Why it was decided so."""
    rule = _rule_of(event)
    return rule if event.held_version is None else f"{rule}; it had been held since version {event.held_version}"


def _rule_of(event: OrderEvent) -> str:
    match event:
        case CashbackCreated():
            return "the first CREATED of the order"
        case CashbackUpdated():
            return "it happened after all that was accepted before: its items count now"
        case CashbackCancelled():
            return "the order was open: nothing is earned"
        case CashbackCompleted():
            return "the order was open: the cashback is owed"
        case MessageHeld(waits_for=WaitsFor.CREATE):
            return "the order isn't created yet: it waits for the CREATED"
        case MessageHeld(waits_for=WaitsFor.SEQUENCE):
            return f"it waits for a message with a sequence below {event.message.sequence}"
        case UpdateSuperseded():
            return f"the update of version {event.superseded_by_version}, accepted already, happened later"
        case MessageRejected():
            against = "" if event.against_version is None else f" (version {event.against_version})"
            return _REFUSALS[event.refusal] + against
        case RepeatSeenElsewhere():
            return "a copy of a known message on another partition: its true place isn't certain any more"
        case _:
            raise TypeError(f"no words for {type(event).__name__}")
