"""The day's statement: what moved on one day, as double entry, and where all the money stands before and after it.

A day is one of UTC. An event counts on the day on which it was decided, what the third party has carried out on
the day on which that was recorded: nothing is ever recorded in a day that is over, so its statement stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from domain.money import ZERO, total

MIN_YEAR: Final = 1970
MAX_YEAR: Final = 2261
"""Whose nanoseconds since 1970 fit into 64 bits."""
CLOSES_AFTER: Final = timedelta(minutes=5)
"""How long after its end something may still be recorded in a day: what was decided just before it is under way for
as long as PostgreSQL lets a transaction last, and the clocks of our machines differ."""


class Account(StrEnum):
    """Where money stands. In every entry, and in every balance, the sum over all accounts is zero."""

    GRANTED = "granted"
    """What the shop has promised and not taken back, with the sign turned: the other side of all the rest."""
    OPEN = "open"
    """What orders will earn that have no end yet."""
    OWED = "owed"
    """Earned, and not credited yet: nothing but time hinders it, or the order is parked."""
    HELD = "held"
    """Earned, and held back by a doubt about the order."""
    IN_DOUBT = "in_doubt"
    """Earned, and the call that credits it may have been carried out."""
    SKIPPED = "skipped"
    """Earned, and a person has given up the call that credits it."""
    CREDITED = "credited"
    """The third party has confirmed it."""


class Line(StrEnum):
    """What moves money from account to account."""

    OPENED = "opened"
    CHANGED = "changed"
    """An update of an open order."""
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    CORRECTED = "corrected"
    """After the completion, upwards."""
    TAKEN_BACK = "taken_back"
    """After the completion, downwards."""
    CREDITED = "credited"
    CREDIT_CORRECTED = "credit_corrected"
    """The third party has carried out a correction upwards."""
    CREDIT_TAKEN_BACK = "credit_taken_back"
    HELD = "held"
    """What came to be held back by doubts, less what isn't any more. So the next two."""
    IN_DOUBT = "in_doubt"
    SKIPPED = "skipped"


UNCREDITED: Final = (Account.OWED, Account.HELD, Account.IN_DOUBT, Account.SKIPPED)
HINDRANCES: Final = {
    Line.HELD: Account.HELD,
    Line.IN_DOUBT: Account.IN_DOUBT,
    Line.SKIPPED: Account.SKIPPED,
}
Amounts = Mapping[Account, Decimal]
"""An account that isn't there has nothing."""


@dataclass(frozen=True, slots=True)
class Balance:
    """How many orders there are in each account, and with how much."""

    amounts: Amounts
    orders: Mapping[Account, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the statement: how many times it happened (of what hinders: the change in the number of orders),
    and what it has added to each account."""

    line: Line
    number: int
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class Different:
    """Orders on which the third party and we didn't agree at the day's end, as is known by now: what each side has
    credited."""

    orders: int
    ours: Decimal
    theirs: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Of one day."""

    day: date
    opening: Balance
    entries: tuple[Entry, ...]
    closing: Balance
    different: Different
    is_closed: bool
    """Whether it stays as it is, but for `different`: the day has been over for CLOSES_AFTER, and the projection
    that feeds delivery has read its events."""

    @property
    def credited_there(self) -> Decimal:
        """What the third party has credited, as far as it was compared."""
        return self.closing.amounts.get(Account.CREDITED, ZERO) - self.different.ours + self.different.theirs

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the statement doesn't hold together; empty if it does."""
        rows = [("opening", self.opening.amounts), ("closing", self.closing.amounts)]
        rows += [(str(entry.line), entry.amounts) for entry in self.entries]
        faults = [f"{name} doesn't sum to zero" for name, amounts in rows if total(amounts.values())]
        moved = [self.opening.amounts, *(entry.amounts for entry in self.entries)]
        for account in Account:
            expected = total(amounts.get(account, ZERO) for amounts in moved)
            if expected != self.closing.amounts.get(account, ZERO):
                faults.append(f"{account}: what it began with and what moved isn't what it ends with")
        return tuple(faults)


def start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def end_of(day: date) -> datetime:
    """Not included."""
    return start_of(day) + timedelta(days=1)


def nanoseconds(moment: datetime) -> int:
    """Since 1970."""
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000
