"""Decisions in words: what became of a message, and by which rule (the rules are those of domain/decision.py)."""

from typing import Final, Literal

from domain.events import (
    Accepted,
    CashbackCancelled,
    CashbackCompleted,
    CashbackCorrected,
    CashbackCreated,
    CashbackUpdated,
    CorrectionNotNeeded,
    CreateGivenUp,
    DoubtSettled,
    EventLost,
    GapAccepted,
    MessageEvent,
    MessageHeld,
    MessageRejected,
    OperatorEvent,
    OrderEvent,
    Refusal,
    RepeatSeenElsewhere,
    UpdateSuperseded,
    WaitsFor,
)
from domain.intervention import format_numbers

DecisionName = Literal[
    "accepted",
    "counted",
    "held",
    "superseded",
    "rejected",
    "repeat elsewhere",
    "settled",
    "released",
    "closed",
    "lost",
]

_REFUSALS: Final = {
    Refusal.CREATED_TWICE: "the order was created before",
    Refusal.AFTER_END: "it happened after the order had ended",
    Refusal.LATE: "it happened before the order ended, and came after: the amount may be wrong",
    Refusal.ENDED_TWICE: "the order had ended before",
    Refusal.CONFLICT: "the same message came before with other content: the first one stands",
    Refusal.SEQUENCE_TAKEN: "another message of the order has this sequence, or a greater one",
    Refusal.NEGATIVE_CASHBACK: "an item would take money from the buyer",
    Refusal.BUYER_CHANGED: "it names another buyer than the order has",
}

_ACCEPTED: Final[dict[type[Accepted], str]] = {
    CashbackCreated: "the first CREATED of the order",
    CashbackUpdated: "it happened after all that was accepted before: its items count now",
    CashbackCancelled: "the order was open: nothing is earned",
    CashbackCompleted: "the order was open: the cashback is owed",
    CashbackCorrected: "it came after the completion: all messages in their right order give another amount",
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
        case CorrectionNotNeeded():
            return "counted"
        case DoubtSettled():
            return "settled"
        case GapAccepted():
            return "released"
        case CreateGivenUp():
            return "closed"
        case EventLost():
            return "lost"
        case _:
            raise TypeError(f"no word for {type(event).__name__}")


def rule_of(event: OrderEvent) -> str:
    """Why it was decided so."""
    rule = _rule_of(event)
    if isinstance(event, MessageEvent) and event.held_version is not None:
        return f"{rule}; it had been held since version {event.held_version}"
    return rule


def _rule_of(event: OrderEvent) -> str:
    match event:
        case Accepted():
            return _ACCEPTED[type(event)]
        case MessageRejected():
            against = "" if event.against_version is None else f" (version {event.against_version})"
            return _REFUSALS[event.refusal] + against
        case OperatorEvent():
            return f"{event.decided_by} {_rule_of_a_person(event)}: {event.reason}"
        case MessageHeld(waits_for=WaitsFor.CREATE):
            return "the order isn't created yet: it waits for the CREATED"
        case MessageHeld(waits_for=WaitsFor.SEQUENCE):
            return f"it waits for a message with a sequence below {event.message.sequence}"
        case UpdateSuperseded():
            return f"the update of version {event.superseded_by_version}, accepted already, happened later"
        case RepeatSeenElsewhere():
            return "a copy of a known message on another partition: its true place isn't certain any more"
        case CorrectionNotNeeded():
            return "it came after the end, and leaves the amount as it is"
        case _:
            raise TypeError(f"no words for {type(event).__name__}")


def _rule_of_a_person(event: OperatorEvent) -> str:
    match event:
        case DoubtSettled():
            return "settled what was in doubt"
        case GapAccepted():
            return f"gave up the missing sequence {format_numbers((event.first, event.last))}"
        case CreateGivenUp():
            return "gave up the missing CREATED, so nothing is paid"
        case EventLost():
            return "accepted that what stood here is lost"
        case _:
            raise TypeError(f"no words for {type(event).__name__}")
