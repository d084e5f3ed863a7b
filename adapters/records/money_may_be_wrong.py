"""Orders whose money may be wrong: every reason that there is to look at one, in one list, with what to do next.

An order is on it once for each reason. What leaves a reason behind leaves the list by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from domain.money import ZERO, total

HELD_TOO_LONG_SECONDS: Final = 3600
"""Messages that are late by less put themselves right, as a rule."""
DEFAULT_PENDING_DAYS: Final = 14
SECONDS_PER_DAY: Final = 86_400
_INVARIANT: Final = "invariant: "


class CaseKind(StrEnum):
    """Why an order is on the list."""

    DOUBTFUL = "doubtful"
    """What arrived can't tell for certain what the buyer is owed."""
    HELD = "held"
    """Messages have waited too long for what must come before them."""
    PARKED = "parked"
    """A call to the third party stands still."""
    QUARANTINED = "quarantined"
    """A message that names the order can't be read."""
    DIFFERENT = "different"
    """The third party's books say something else."""
    PENDING = "pending"
    """It has been open for too long."""


KINDS: Final = tuple(CaseKind)


class CaseSort(StrEnum):
    """What comes first: the greatest amount, or the oldest case."""

    AMOUNT = "amount"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class CaseLimits:
    """How long is too long."""

    held_seconds: float = HELD_TOO_LONG_SECONDS
    pending_days: float = DEFAULT_PENDING_DAYS


DEFAULT_LIMITS: Final = CaseLimits()


class CasePlace(NamedTuple):
    """Where a case stands in a list: its amount or its age (nanoseconds since 1970), its order, its kind."""

    sort: CaseSort
    key: Decimal
    order_id: int
    kind: CaseKind


@dataclass(frozen=True, slots=True)
class Case:
    """An order, and one reason why its money may be wrong."""

    kind: CaseKind
    order_id: int
    amount: Decimal | None
    """At stake; None where nobody knows."""
    since_ns: int | None
    detail: str
    quarantine_id: int | None
    """The first message in quarantine."""
    kinds: tuple[CaseKind, ...]
    """All reasons why the order is on the list."""

    def place(self, sort: CaseSort) -> CasePlace:
        key = self.amount or ZERO if sort is CaseSort.AMOUNT else Decimal(self.since_ns or 0)
        return CasePlace(sort, key, self.order_id, self.kind)


class CaseTotal(NamedTuple):
    """How many cases, and the money in them."""

    number: int = 0
    amount: Decimal = ZERO


Totals = Mapping[CaseKind, CaseTotal]


def total_of(totals: Totals) -> CaseTotal:
    """An order counts once for each reason."""
    return CaseTotal(sum(each.number for each in totals.values()), total(each.amount for each in totals.values()))


class NextStep(NamedTuple):
    """What a person does about a case: in words, on the command line, in the API, on the console."""

    says: str
    command: str
    endpoint: str
    page: str


def next_step(case: Case) -> NextStep:
    """The first thing to do; what it leads to says the rest."""
    order = case.order_id
    match case.kind:
        case CaseKind.DOUBTFUL:
            return NextStep(
                "find out which amount is right, and settle the doubt",
                f"settle {order} --reason …",
                f"POST /api/orders/{order}/settle",
                f"/orders/{order}/settle",
            )
        case CaseKind.HELD:
            return NextStep(
                "have the missing messages published, or release what waits for them",
                f"release {order} --reason …",
                f"POST /api/orders/{order}/release",
                f"/orders/{order}/release",
            )
        case CaseKind.PARKED if case.detail.startswith(_INVARIANT):
            return NextStep(
                "find out what broke the rule; don't retry",
                f"order {order}",
                f"GET /api/orders/{order}",
                f"/orders/{order}",
            )
        case CaseKind.PARKED:
            return NextStep(
                "repair the cause and retry, or skip the call",
                f"retry {order}",
                f"POST /api/parked/{order}/retry",
                f"/parked/{order}/retry",
            )
        case CaseKind.QUARANTINED:
            message = case.quarantine_id
            return NextStep(
                "read the message again, edited if need be, or discard it",
                f"quarantine {message} --retry",
                f"POST /api/quarantine/{message}/retry",
                f"/quarantine/{message}",
            )
        case CaseKind.DIFFERENT:
            return NextStep(
                "compare again, then redeliver what is missing",
                f"reconcile {order}",
                f"POST /api/orders/{order}/replay",
                f"/orders/{order}/replay?mode=redeliver&how=resume",
            )
        case CaseKind.PENDING:
            return NextStep(
                "ask the order service how the order ended, and have that published",
                f"order {order}",
                f"GET /api/orders/{order}",
                f"/orders/{order}",
            )
