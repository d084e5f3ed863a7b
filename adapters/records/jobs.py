"""Jobs do something to many orders: what is said about them, and how they are refused.

A bulk replay begins with a preview that freezes a set of orders and gives a token for it; with the token the
replay of just that set starts. A comparison with the third party's books changes nothing there, and starts at once.
What is done to an order is the kind's affair (adapters/operations/jobs/kinds.py); the rest is the same for all.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Literal, NamedTuple
from uuid import UUID

from adapters.records.actions import ActionRequest
from adapters.records.differences import DifferenceClass
from adapters.records.errors import Refused
from adapters.records.operators import Operator
from domain.errors import CashbackError
from domain.events import Doubt
from domain.lifecycle import Status
from projections.reconciliation import BookEntry, Verdict
from projections.redelivery import DEFAULT_OPTIONS, RedeliveryOptions

MAX_ORDERS: Final = 100_000
"""In one bulk replay."""
MAX_REDELIVERED_ORDERS: Final = 10_000
"""In one that calls the third party again: its preview looks at each call."""
MAX_COMPARED_ORDERS: Final = 1000
"""That can be named for one comparison."""
TOKEN_MINUTES: Final = 15
"""How long a preview can be started."""
KEPT_PREVIEW_HOURS: Final = 24
"""A preview that nobody has started is forgotten so long after its token has expired."""
KEPT_ENDED: Final = 1000
"""Of the bulk replays that are over, so many; the earlier ones are forgotten."""
KEPT_COMPARISONS: Final = 200
"""Of the comparisons that are over."""
MIN_RATE_PER_SECOND: Final = 0.1
MAX_RATE_PER_SECOND: Final = 1000.0
DEFAULT_RATE_PER_SECOND: Final = 50.0
MAX_SHOWN_FINDINGS: Final = 100
"""Orders that failed, or that don't agree."""
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
    QUARANTINE_RETRY = "quarantine_retry"
    """Not an order but a message in quarantine is read again, as it came."""
    QUARANTINE_DISCARD = "quarantine_discard"
    """A message in quarantine is discarded."""

    @property
    def is_of_messages(self) -> bool:
        """What it is done to are messages in quarantine, by their ids, and not orders."""
        return self in {BulkMode.QUARANTINE_RETRY, BulkMode.QUARANTINE_DISCARD}


COMPARE: Final = "compare"
"""The kind of job that is no bulk replay: each order is compared with the third party's books."""
KindName = BulkMode | Literal["compare"]
Kinds = frozenset[KindName]
BULK: Final[Kinds] = frozenset(BulkMode)
COMPARISONS: Final[Kinds] = frozenset({COMPARE})
ALL_KINDS: Final = BULK | COMPARISONS


class JobState(StrEnum):
    """Where a job stands."""

    PREVIEWED = "previewed"
    RUNNING = "running"
    DONE = "done"
    """With all orders, those that failed included."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    """By an error of ours, or because the third party can't be asked; what is not done stays undone."""


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
    difference: DifferenceClass | None = None
    """Only orders with an open difference of this class from the third party's books."""
    quarantined: bool = False
    """Open messages in quarantine; so do the conditions below. They go with none about orders."""
    quarantine_reason: str | None = None
    quarantine_topic: str | None = None

    @property
    def is_of_messages(self) -> bool:
        return self.quarantined or self.quarantine_reason is not None or self.quarantine_topic is not None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the orders of a job stand with the third party by now, those that failed left out as far as they are
    shown."""

    delivered: int
    """All their calls are settled."""
    waiting: int
    """For the next attempt, or for the end of an outage."""
    parked: int


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


class ComparisonFinding(NamedTuple):
    """An order on which the two sides don't agree, or which neither knows."""

    order_id: int
    verdict: Verdict
    ours: BookEntry | None
    theirs: BookEntry | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """What a comparison has come to so far."""

    is_of_all: bool
    """Of all orders there were at the start."""
    verdicts: Mapping[Verdict, int]
    findings: Sequence[ComparisonFinding]
    """The first MAX_SHOWN_FINDINGS."""

    @property
    def differing(self) -> int:
        """Orders whose money may be wrong."""
        return sum(number for verdict, number in self.verdicts.items() if verdict.is_real)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, as far as it has come."""

    number: int
    """Greater for a later one."""
    id: UUID
    kind: KindName
    state: JobState
    reason: str
    operator: str | None = None
    """Who has started it."""
    rate_per_second: float
    total: int
    done: int
    failed: int
    note: str | None
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expected_end: datetime | None
    """By its rate, or by its speed so far if that is less."""
    selection: Mapping[str, str | int]
    """As shown; of named orders only their number. Of bulk replays, as is what follows."""
    cashback: Decimal | None
    expires_at: datetime | None
    """The preview's token."""
    failures: Sequence[tuple[int, str]] = ()
    """The first MAX_SHOWN_FINDINGS: order id and reason."""
    options: RedeliveryOptions | None = None
    """Of redeliveries."""
    foretold: Foretold | None = None
    """Of redeliveries: when the preview was made."""
    settling: Settling | None = None
    """Of doubts that are settled: when the preview was made."""
    comparison: ComparisonResult | None = None
    outcomes: Outcomes | None = None
    """Of what makes calls go out, once it was started; not in lists."""

    @property
    def things(self) -> str:
        """What it is done to, in the singular."""
        return "message" if isinstance(self.kind, BulkMode) and self.kind.is_of_messages else "order"


@dataclass(frozen=True, slots=True)
class OrderSample:
    """One of the orders of a preview."""

    order_id: int
    status: Status
    cashback: Decimal | None
    recorded_at_ns: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be replayed, and the token that starts it."""

    replay: Job
    token: str
    by_status: Mapping[Status, int]
    sample: Sequence[OrderSample]
    """Those with the most cashback, at most MAX_SAMPLE."""
    left_out_count: int
    """Named orders that aren't in the set: not known, or other conditions don't hold."""
    left_out: Sequence[int]
    """The smallest of them, at most MAX_SHOWN_LEFT_OUT."""


class JobRefused(CashbackError):
    """Base of what keeps a job from being previewed, started or cancelled; it is as it was."""


class TooManyOrders(JobRefused):
    def __init__(self, limit: int = MAX_ORDERS) -> None:
        super().__init__(f"more than {limit} orders are selected: narrow the selection")


class OtherThings(JobRefused):
    """Orders were selected for what is done to messages in quarantine, or messages for what is done to orders."""

    def __init__(self, mode: BulkMode) -> None:
        things = "messages in quarantine" if mode.is_of_messages else "orders"
        super().__init__(f"{mode} is done to {things}: the selection is of others")


class UnknownJob(JobRefused):
    def __init__(self, job_id: UUID | str | None, kinds: Kinds) -> None:
        super().__init__(
            "no preview has this token"
            if job_id is None
            else f"there is no {job_name(kinds)} {job_id}, or not any more"
        )


class WrongToken(JobRefused):
    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"the token is not that of bulk replay {job_id}")


class TokenExpired(JobRefused):
    def __init__(self, job_id: UUID) -> None:
        super().__init__(
            f"the preview {job_id} is older than {TOKEN_MINUTES} minutes: make a new one and look at it"
        )


class NotPossibleNow(JobRefused):
    """The job's state doesn't allow it."""

    def __init__(self, job_id: UUID, kind: KindName, state: JobState, asked: str) -> None:
        super().__init__(f"{job_name(frozenset({kind}))} {job_id} is {state} already: it can't be {asked}")
        self.state = state


class Overlaps(JobRefused):
    """Another bulk replay of the same mode is at work on some of the orders."""

    def __init__(self, job_id: UUID, other: UUID) -> None:
        super().__init__(
            f"bulk replay {other} is at work on some of the orders of {job_id}: wait for its end or cancel it"
        )
        self.other = other


class AlreadyComparing(Refused):
    def __init__(self, *, of_all: bool) -> None:
        what = "all orders" if of_all else "some orders"
        super().__init__(f"a comparison of {what} is running: wait for its end or cancel it")


@dataclass(frozen=True, slots=True)
class JobClaim:
    """A job that this process has the lease for."""

    id: UUID
    kind: KindName
    reason: str
    rate_per_second: float
    orders: Sequence[int] | None
    """Ascending; None: all there are."""
    place: int
    """The last of them that is over; 0: none is."""
    over: int
    """How many were over when the lease was taken."""
    lease: UUID
    by: Operator
    """Who has started it."""
    options: RedeliveryOptions = DEFAULT_OPTIONS

    @property
    def asked(self) -> ActionRequest:
        return ActionRequest(self.by, self.reason)


@dataclass(frozen=True, slots=True)
class JobStep:
    """What a few more orders came to, from behind the order `since` to the order `place`."""

    since: int
    place: int
    done: int
    failures: Mapping[int, str] = field(default_factory=dict)
    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    findings: Sequence[ComparisonFinding] = ()


def job_name(kinds: Collection[KindName]) -> str:
    """What people call jobs of these kinds."""
    if COMPARE not in kinds:
        return "bulk replay"
    return "comparison" if len(kinds) == 1 else "job"


LIMIT_PATTERN: Final = r"[0-9]{1,18}(\.[0-9]{1,9})?"


def limit_of(value: object) -> Decimal:
    """Of an amount, as a text, so that it is exact. Raises ValueError."""
    if not isinstance(value, str) or re.fullmatch(LIMIT_PATTERN, value) is None:
        raise ValueError("must be a text with an amount: at most 18 digits before the point, and 9 behind it")
    return Decimal(value)
