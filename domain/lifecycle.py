"""The states of an order and the table of what each kind of message means in them.

```
not created ──CREATED──► PENDING ──COMPLETED──► COMPLETED
 (holds what    ▲           │ ▲ │
  came early)   └── held    └─┘ └──CANCELLED──► CANCELLED
                          UPDATED
```
"""

from enum import StrEnum
from typing import Final

from domain.messages import Kind


class Status(StrEnum):
    """Where an order stands."""

    NOT_CREATED = "NOT_CREATED"
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"

    __hash__ = str.__hash__  # see domain.messages.Kind


class Step(StrEnum):
    """What a message asks of an order in a given state, before the order of messages is looked at."""

    CREATE = "create"
    UPDATE = "update"
    """Accepted if it comes after the last accepted update; else superseded."""
    END = "end"
    HOLD = "hold"
    """The order isn't there yet: keep the message until it is."""
    REFUSE_SECOND_CREATE = "refuse second create"
    REFUSE_UPDATE_AFTER_END = "refuse update after end"
    """Late if it happened before the end: then money may be wrong, and a person must see it."""
    REFUSE_SECOND_END = "refuse second end"

    __hash__ = str.__hash__  # see domain.messages.Kind


_PENDING: Final = {
    Kind.CREATED: Step.REFUSE_SECOND_CREATE,
    Kind.UPDATED: Step.UPDATE,
    Kind.CANCELLED: Step.END,
    Kind.COMPLETED: Step.END,
}
_ENDED: Final = {
    Kind.CREATED: Step.REFUSE_SECOND_CREATE,
    Kind.UPDATED: Step.REFUSE_UPDATE_AFTER_END,
    Kind.CANCELLED: Step.REFUSE_SECOND_END,
    Kind.COMPLETED: Step.REFUSE_SECOND_END,
}
TRANSITIONS: Final[dict[Status, dict[Kind, Step]]] = {
    Status.NOT_CREATED: {
        Kind.CREATED: Step.CREATE,
        Kind.UPDATED: Step.HOLD,
        Kind.CANCELLED: Step.HOLD,
        Kind.COMPLETED: Step.HOLD,
    },
    Status.PENDING: _PENDING,
    Status.COMPLETED: _ENDED,
    Status.CANCELLED: _ENDED,
}
