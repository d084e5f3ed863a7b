"""Differences from the third party's books."""

from datetime import datetime
from typing import Literal, NamedTuple

from projections.reconciliation import BookEntry, Verdict

DifferenceState = Literal["open", "closed"]


DifferenceClass = Literal["missing_there", "missing_here", "amount", "state", "in_flight", "unknown"]


class LastComparison(NamedTuple):
    """What the third party's books said of an order when it last answered; an order that was never compared has
    none."""

    verdict: Verdict
    compared_at: datetime


class DifferenceRow(NamedTuple):
    """A difference as it is kept."""

    id: int
    order_id: int
    verdict: Verdict
    ours: BookEntry | None
    theirs: BookEntry | None
    detail: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
