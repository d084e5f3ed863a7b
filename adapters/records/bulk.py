"""Bulk replays: what is said about them, and how they are refused.

A preview freezes a set of orders and gives a token for it; with the token the replay of just that set starts. What
is done to an order is the mode's affair (adapters/operations/bulk/runner.py); the rest is the same for all modes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from adapters.records.actions import ActionRequest
from adapters.records.operators import Operator
from domain.errors import CashbackError
from domain.events import Doubt
from domain.lifecycle import Status
from projections.redelivery import DEFAULT_OPTIONS, RedeliveryOptions

MAX_ORDERS: Final = 100_000
"""In one bulk replay."""
MAX_REDELIVERED_ORDERS: Final = 10_000
"""In one that calls the third party again: its preview looks at each call."""
TOKEN_MINUTES: Final = 15
"""How long a preview can be started."""
KEPT_PREVIEW_HOURS: Final = 24
"""A preview that nobody has started is forgotten so long after its token has expired."""
KEPT_ENDED: Final = 1000
"""Of those that are over, so many; the earlier ones are forgotten."""
MIN_RATE_PER_SECOND: Final = 0.1
MAX_RATE_PER_SECOND: Final = 1000.0
DEFAULT_RATE_PER_SECOND: Final = 50.0
MAX_SHOWN_FAILURES: Final = 100
MAX_SHOWN_LEFT_OUT: Final = 100
MAX_SAMPLE: Final = 20


class BulkMode(StrEnum):
    """What is done to each order."""

    REPUBLISH = "republish"
    """Its messages go to the topic again."""
    REDELIVER = "redeliver"
    """Its calls go to the third party again."""
    RETRY = "retry"
    """It is parked, and goes on."""
    SETTLE = "settle"
    """What is in doubt about it is settled."""
    RELEASE = "release"
    """What its held messages wait for is given up."""


class BulkState(StrEnum):
    """Where a bulk replay stands."""

    PREVIEWED = "previewed"
    RUNNING = "running"
    DONE = "done"
    """With all orders, those that failed included."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    """By an error of ours; what is not done stays undone."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which orders; all conditions that are given must hold, and one must be given.

    Moments are in nanoseconds since 1970, `…_from_ns` included, `…_to_ns` excluded. Those of a change are about an
    order's last decision: an order that has changed again since counts by that later change.
    """

    orders: frozenset[int] | None = None
    status: Status | None = None
    changed_from_ns: int | None = None
    changed_to_ns: int | None = None
    parked: bool = False
    """Only orders that are parked; so do the conditions below."""
    parked_reason: str | None = None
    """What the reason for which they are parked begins with."""
    parked_from_ns: int | None = None
    parked_to_ns: int | None = None
    doubtful: bool = False
    """Only orders with an open doubt; so do the conditions below."""
    doubt: Doubt | None = None
    doubtful_from_ns: int | None = None
    """Of the oldest open doubt."""
    doubtful_to_ns: int | None = None
    at_stake_min: Decimal | None = None
    """At least so much money, to whoever's favour."""
    at_stake_max: Decimal | None = None
    held: bool = False
    """Only orders with a held message that nobody has given up; so do the conditions below."""
    held_from_ns: int | None = None
    """Of the oldest held message."""
    held_to_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Foretold:
    """What redeliveries of many orders would come to."""

    calls: int
    suppressed: int
    """Calls that would stay as they are."""
    amount_at_risk: Decimal
    """What the third party could pay a second time because of it."""


@dataclass(frozen=True, slots=True)
class Settling:
    """What it would come to if the doubts about many orders were settled."""

    calls: int
    """Completions that were held back, and go on."""
    at_stake: Decimal
    """The money that the doubts are about, to whoever's favour; of those that say it."""


@dataclass(frozen=True, slots=True)
class BulkReplay:
    """One bulk replay, as far as it has come."""

    number: int
    """Greater for a later one."""
    id: UUID
    mode: BulkMode
    state: BulkState
    selection: Mapping[str, str | int]
    """As shown; of named orders only their number."""
    reason: str
    rate_per_second: float
    total: int
    cashback: Decimal
    done: int
    failed: int
    failures: Sequence[tuple[int, str]]
    """The first MAX_SHOWN_FAILURES: order id and reason."""
    note: str | None
    requested_at: datetime
    expires_at: datetime
    """The preview's token."""
    started_at: datetime | None
    ended_at: datetime | None
    expected_end: datetime | None
    """By its rate, or by its speed so far if that is less."""
    options: RedeliveryOptions | None = None
    """Of redeliveries."""
    foretold: Foretold | None = None
    """Of redeliveries: when the preview was made."""
    settling: Settling | None = None
    """Of doubts that are settled: when the preview was made."""


@dataclass(frozen=True, slots=True)
class SampledOrder:
    """One of the orders of a preview."""

    order_id: int
    status: Status
    cashback: Decimal | None
    recorded_at_ns: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be replayed, and the token that starts it."""

    replay: BulkReplay
    token: str
    by_status: Mapping[Status, int]
    sample: Sequence[SampledOrder]
    """Those with the most cashback, at most MAX_SAMPLE."""
    left_out_count: int
    """Named orders that aren't in the set: not known, or other conditions don't hold."""
    left_out: Sequence[int]
    """The smallest of them, at most MAX_SHOWN_LEFT_OUT."""


class BulkRefused(CashbackError):
    """Base of what keeps a bulk replay from being previewed, started or cancelled; it is as it was."""


class TooManyOrders(BulkRefused):
    def __init__(self, limit: int = MAX_ORDERS) -> None:
        super().__init__(f"more than {limit} orders are selected: narrow the selection")


class UnknownBulkReplay(BulkRefused):
    def __init__(self, replay_id: UUID | str | None = None) -> None:
        super().__init__(
            "no preview has this token"
            if replay_id is None
            else f"there is no bulk replay {replay_id}, or not any more"
        )


class WrongToken(BulkRefused):
    def __init__(self, replay_id: UUID) -> None:
        super().__init__(f"the token is not that of bulk replay {replay_id}")


class TokenExpired(BulkRefused):
    def __init__(self, replay_id: UUID) -> None:
        super().__init__(
            f"the preview {replay_id} is older than {TOKEN_MINUTES} minutes: make a new one and look at it"
        )


class NotPossibleNow(BulkRefused):
    """The bulk replay's state doesn't allow it."""

    def __init__(self, replay_id: UUID, state: BulkState, asked: str) -> None:
        super().__init__(f"bulk replay {replay_id} is {state} already: it can't be {asked}")
        self.state = state


class Overlaps(BulkRefused):
    """Another bulk replay of the same mode is at work on some of the orders."""

    def __init__(self, replay_id: UUID, other: UUID) -> None:
        super().__init__(
            f"bulk replay {other} is at work on some of the orders of {replay_id}: wait for its end or cancel it"
        )
        self.other = other


@dataclass(frozen=True, slots=True)
class Job:
    """A bulk replay that this process has the lease for."""

    id: UUID
    mode: BulkMode
    reason: str
    rate_per_second: float
    orders: Sequence[int]
    place: int
    """How many of them were over when the lease was taken."""
    lease: UUID
    by: Operator
    """Who has started it."""
    options: RedeliveryOptions = DEFAULT_OPTIONS

    @property
    def asked(self) -> ActionRequest:
        return ActionRequest(self.by, self.reason)


LIMIT_PATTERN: Final = r"[0-9]{1,18}(\.[0-9]{1,9})?"


def limit_of(value: object) -> Decimal:
    """Of an amount, as a text, so that it is exact. Raises ValueError."""
    if not isinstance(value, str) or re.fullmatch(LIMIT_PATTERN, value) is None:
        raise ValueError("must be a text with an amount: at most 18 digits before the point, and 9 behind it")
    return Decimal(value)
