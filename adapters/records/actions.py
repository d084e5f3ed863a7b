"""What people ask for, and the record of what was done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from adapters.records.operators import ActionKind, Operator
from adapters.records.orders import OrderRecord
from projections.republication import Mode

Precondition = Callable[[OrderRecord], bool]
"""Whether an order is still what somebody has seen of it."""


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """By whom something was asked for, and why."""

    by: Operator
    reason: str
    precondition: Precondition | None = None
    """Whether the order is still what they have seen; None: they haven't said what that was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that was done. `version` and `key` are those of the call that it is about, where there is one."""

    kind: ActionKind
    asked: ActionRequest
    order_id: int | None = None
    version: int | None = None
    key: UUID | None = None
    state_before: str | None = None
    state_after: str | None = None
    bulk_id: UUID | None = None
    quarantine_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """For `domain.exact_json.dumps`."""


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """For the record of replays. `items` is the number of calls or messages."""

    id: UUID
    order_id: int
    mode: Mode
    asked: ActionRequest
    is_bulk: bool = False
    """Then the id is that of the bulk replay."""
