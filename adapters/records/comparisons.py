"""Comparisons of orders with the third party's books, and how far they have come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from adapters.records.errors import Refused
from domain.lifecycle import Status
from projections.reconciliation import BookEntry, Verdict

MAX_SHOWN_FINDINGS: Final = 100


MAX_ORDERS_PER_STEP: Final = 50


class ComparisonState(StrEnum):
    """Where a comparison stands."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    """The third party can't be asked, or an error of ours."""


class Found(NamedTuple):
    """An order on which the two sides don't agree, or which neither knows."""

    order_id: int
    verdict: Verdict
    ours: BookEntry | None
    theirs: BookEntry | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison, as far as it has come."""

    id: UUID
    number: int
    """Greater for a later one."""
    state: ComparisonState
    is_of_all: bool
    total: int
    """Of all orders: how many there were at the start."""
    rate_per_second: float
    operator: str
    reason: str
    verdicts: Mapping[Verdict, int]
    findings: Sequence[Found]
    """The first MAX_SHOWN_FINDINGS."""
    note: str | None
    requested_at: datetime
    ended_at: datetime | None

    @property
    def compared(self) -> int:
        return sum(self.verdicts.values())

    @property
    def differing(self) -> int:
        """Orders whose money may be wrong."""
        return sum(number for verdict, number in self.verdicts.items() if verdict.is_real)


class AlreadyComparing(Refused):
    def __init__(self, *, of_all: bool) -> None:
        what = "all orders" if of_all else "some orders"
        super().__init__(f"a comparison of {what} is running: wait for its end or cancel it")


@dataclass(frozen=True, slots=True)
class ComparingJob:
    """A comparison that this process has the lease for."""

    id: UUID
    lease: UUID
    orders: Sequence[int] | None
    """None: all."""
    place: int
    """The last order that was passed."""
    rate_per_second: float

    @property
    def step(self) -> int:
        """About one step a second."""
        return max(1, min(MAX_ORDERS_PER_STEP, round(self.rate_per_second)))


@dataclass(frozen=True, slots=True)
class Step:
    """What a few orders came to."""

    place: int
    verdicts: Mapping[Verdict, int]
    findings: Sequence[Found] = field(default=())


def found_as_json(found: Found) -> dict[str, object]:
    """For `domain.exact_json.dumps`."""
    return {
        "orderId": found.order_id,
        "class": found.verdict,
        "ours": _side_as_json(found.ours),
        "theirs": _side_as_json(found.theirs),
        "detail": found.detail,
    }


def found_from_json(said: Mapping[str, object]) -> Found:
    order_id, detail = said["orderId"], said["detail"]
    assert isinstance(order_id, int)
    assert detail is None or isinstance(detail, str)
    return Found(order_id, Verdict(str(said["class"])), _side(said["ours"]), _side(said["theirs"]), detail)


def _side_as_json(standing: BookEntry | None) -> dict[str, object] | None:
    return None if standing is None else {"status": standing.status, "cashbackAmount": standing.amount}


def _side(said: object) -> BookEntry | None:
    if not isinstance(said, Mapping):
        return None
    amount = said["cashbackAmount"]
    return BookEntry(Status(said["status"]), None if amount is None else Decimal(amount))
