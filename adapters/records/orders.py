"""Orders as they are listed and shown, with all that is known of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from adapters.records.audit import ActionRow
from adapters.records.calls import AttemptRow, CallRow, DeliveryRow
from adapters.records.differences import DifferenceRow, LastComparison
from adapters.records.quarantine import QuarantineRow
from adapters.records.status import Outage
from domain.events import OrderEvent
from domain.lifecycle import Status
from projections.republication import Mode


class OrderFilter(NamedTuple):
    """Which orders are asked for; None: whichever."""

    status: Status | None = None
    buyer: str | None = None
    doubtful: bool | None = None
    held: bool | None = None
    mismatch: bool | None = None
    """An open difference from the third party's books, in status or amount."""


class ReplayRow(NamedTuple):
    """A replay that was asked for."""

    id: UUID
    mode: Mode
    reason: str
    requested_at: datetime
    items: int


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """All that is known of one order, at one moment."""

    events: Sequence[OrderEvent]
    delivery: DeliveryRow | None
    calls: Sequence[CallRow]
    attempts: Sequence[AttemptRow]
    quarantined: Sequence[QuarantineRow]
    replays: Sequence[ReplayRow]
    actions: Sequence[ActionRow] = ()
    """What people did to it, the last ones first."""
    last_comparison: LastComparison | None = None
    difference: DifferenceRow | None = None
    """From the third party's books; open, and one that may be about money."""
    outage: Outage | None = None
