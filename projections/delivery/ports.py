"""What delivery needs from the world: a ledger of intended calls, and the third party."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID, uuid4

from domain.effects import EffectKind

SESSION_TRUST_SECONDS: Final = 4.0
"""How long a process may take a session for its own after it last looked."""
GRACE_SLACK_SECONDS: Final = 1.0
"""For what lies between the look and the beginning of a call, and between the end of its time and its end."""


def grace_seconds(call_timeout_seconds: float) -> float:
    """How long after the end of a session calls may still be under way that were begun in it."""
    return SESSION_TRUST_SECONDS + call_timeout_seconds + GRACE_SLACK_SECONDS


@dataclass(frozen=True, slots=True)
class Call:
    """An intended call as it lies in the ledger: key and body are the same on every attempt."""

    order_id: int
    version: int
    kind: EffectKind
    key: UUID
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """One order, ours alone until the lease ends, with its next calls in order."""

    order_id: int
    token: UUID
    """Proves, when we settle, that the lease is still ours."""
    settled_version: int
    """All calls up to here were settled when we claimed."""
    attempts: int
    """Attempts spent on the first of the calls."""
    calls: tuple[Call, ...]
    doubts: Mapping[int, float] = field(default_factory=dict)
    """The versions of those calls that may have been carried out already, each with the seconds since it may first
    have been sent, by the ledger's clock at the moment of the claim."""
    sendings: Mapping[int, int] = field(default_factory=dict)
    """How often each of those calls was sent before, by version; nothing for those that never were."""
    delivered_before: frozenset[int] = frozenset()
    """The versions of those calls that had been delivered, and that a person sends again with the same key."""
    is_doubtful: bool = False
    """A doubt about the order is open."""
    session: int = 0
    """In which it was made. Once that has ended, others may take the order before the lease ends."""


class Outcome(StrEnum):
    """How an attempt ended (contract.md, section 2, "Answers")."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """Surely or probably not done: an answer that asks to try again, or no connection."""
    IN_DOUBT = "in_doubt"
    """Sent, and no answer came: nobody knows."""
    IN_FLIGHT = "in_flight"
    """The third party is still at work on the same key."""
    UNAUTHORIZED = "unauthorized"
    """Our credentials were refused: no order is to blame."""
    REFUSED = "refused"
    """The third party will never take this call as it is."""
    FOUND = "found"
    """Of a lookup: the third party has the order."""
    NOT_FOUND = "not_found"
    """Of a lookup: it has no such order."""


class AttemptKind(StrEnum):
    """What was asked of the third party."""

    CALL = "call"
    LOOKUP = "lookup"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from one attempt."""

    outcome: Outcome
    status: int | None
    text: str
    """A bounded piece of the answer, or of the error."""
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The third party has the order."""

    status: str
    """`PENDING`, `COMPLETED` or `CANCELLED`."""
    cashback_amount: Decimal
    last_transaction_date: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """The third party has no such order."""


Lookup = Found | NotFound | Answer
"""What a lookup brought; an Answer says why it brought nothing, with the outcomes of a call."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a call, or one lookup because of it, for the record."""

    call: Call
    started_at: datetime
    duration_ms: int
    answer: Answer
    kind: AttemptKind = AttemptKind.CALL
    number: int = 1
    """How often the call has been sent, with this attempt; of a lookup, before it."""
    id: UUID = field(default_factory=uuid4, compare=False)
    """Names it, so that it stands in the record once, however often it is handed over."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a claim. It ends the lease."""

    claim: Claim
    attempts: tuple[Attempt, ...]
    settled_version: int
    """All calls up to here are settled now."""
    spent_attempts: int
    """On the first call that is not settled."""
    wait_seconds: float
    """Until the order's next call may be tried."""
    parked_reason: str | None = None
    """Given if the order must stand still until a person looks at it. One that stands still because it is doubtful
    (projections.doubt_marks.DOUBTFUL) goes on at once if the doubt was settled meanwhile."""


class Ledger(Protocol):
    """The effect ledger and its cursors. Every method raises domain.ports.StoreUnavailable in an outage."""

    async def claim(self, limit: int, *, by_chance: bool = False) -> tuple[list[Claim], float | None]:
        """Takes at most `limit` orders that have a call due and that nobody has, those longest due first; and
        tells in how many seconds the next one will be due, None if none is known. `by_chance`: the first of them
        isn't the longest due, but any of a thousand.

        Where the session of an earlier claim has ended, its order is due once the calls that were begun in it are
        over, and at the end of its lease in any case. The calls of a claim that was never settled may have been
        sent: they are in doubt from now on."""

    async def holds(self, claim: Claim) -> bool:
        """Whether a call of the claim may be begun, as far as its session goes: nobody else will begin one before
        the time-out of a call that is begun at once is over. May take SESSION_TRUST_SECONDS to find out. Never
        raises."""

    async def settle(self, settlements: Sequence[Settlement]) -> int:
        """Records what became of claims, in one transaction; a claim whose lease was lost changes nothing but
        the record of attempts. An attempt that stands in the record already is left as it is: whoever never heard
        of his commit settles again. Says how many were lost."""

    async def free_doubtful(self) -> None:
        """Orders that stand still because they are doubtful go on, all of them: doubtful ones are paid from now
        on."""

    async def wait(self, timeout_seconds: float) -> None:
        """Returns early when calls become due; may return early for no reason. Never raises."""


class ThirdParty(Protocol):
    """Who pays."""

    async def send(self, call: Call) -> Answer:
        """One attempt at a call. Never raises for what the network or the other side does."""

    async def lookup(self, order_id: int) -> Lookup:
        """How the order stands there. Never raises for what the network or the other side does."""
