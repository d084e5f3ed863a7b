"""All that an order's verdict depends on (adapters/presentation/verdict.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from adapters.records.calls import DeliveryRow
from adapters.records.differences import DifferenceRow, LastComparison
from adapters.records.status import Outage
from domain.effects import EffectKind
from domain.events import Doubt
from domain.lifecycle import Status
from projections.doubt_marks import DOUBTFUL
from projections.republication import CallState


@dataclass(frozen=True, slots=True)
class Payment:
    """The call that pays, or corrects what was paid."""

    amount: Decimal
    state: CallState | None
    """None: the projection that feeds the ledger hasn't come to it."""
    is_paid: bool = False
    """The third party has confirmed it, be it under a former key."""
    paid_at: datetime | None = None
    may_be_done: bool = False
    """It was sent, and whether the third party carried it out nobody knows."""
    is_correction: bool = False
    is_renewed: bool = False
    """It was given a new key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderStanding:
    """All that the verdict depends on."""

    order_id: int
    status: Status
    cashback: Decimal | None = None
    """What the order earns as it stands; None before it is created."""
    ended_at: datetime | None = None
    """By the date of the message that ended it."""
    payments: Sequence[Payment] = ()
    """In order: the completion, then corrections."""
    delivery: DeliveryRow | None = None
    head: EffectKind | None = None
    """The first call that isn't settled."""
    is_head_in_doubt: bool = False
    doubts: Sequence[Doubt] = ()
    at_stake: Decimal | None = None
    """The greatest of the open doubts': what would be owed if the other reading were right, less what is."""
    held: int = 0
    """Messages that wait for others."""
    held_cashback: Decimal | None = None
    is_given_up: bool = False
    """Messages were closed unpaid, because a CREATED never came."""
    missing_versions: bool = False
    """The stream has a gap."""
    unread: int | None = None
    """The first message in quarantine that names the order."""
    last_comparison: LastComparison | None = None
    difference: DifferenceRow | None = None
    outage: Outage | None = None

    @property
    def paid(self) -> Payment | None:
        """The last one that was confirmed."""
        return next((each for each in reversed(self.payments) if each.is_paid), None)

    @property
    def is_parked(self) -> bool:
        """For a reason of its own: not merely until a doubt is settled."""
        return self._stands_still and not self.is_held_back

    @property
    def is_held_back(self) -> bool:
        return self._stands_still and self.parked_reason == DOUBTFUL

    @property
    def parked_reason(self) -> str:
        return (self.delivery.parked_reason if self.delivery else None) or ""

    @property
    def _stands_still(self) -> bool:
        return self.delivery is not None and self.delivery.state == "parked"
