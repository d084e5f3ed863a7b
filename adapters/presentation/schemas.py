"""The shapes of the API, for its readers (OpenAPI) and for mypy; bodies are written by `responses.ExactJson`."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import WithJsonSchema
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from adapters.presentation.decisions import DecisionName
from adapters.presentation.verdict_words import VerdictCode
from adapters.records.calls import DeliveryState
from adapters.records.differences import DifferenceClass
from adapters.records.money_may_be_wrong import CaseKind
from adapters.records.operators import ActionKind, Role, Via
from adapters.records.quarantine import QuarantineState
from domain.effects import EffectKind
from domain.events import Doubt
from domain.lifecycle import Status
from domain.messages import Kind
from projections.redelivery import How, Include
from projections.republication import CallState, Mode

Amount = Annotated[Decimal, WithJsonSchema({"type": "number", "description": "exact"})]
Nanoseconds = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "description": "nine digits"})
]
LineName = Literal[
    "opened",
    "changed",
    "cancelled",
    "completed",
    "corrected",
    "takenBack",
    "credited",
    "creditCorrected",
    "creditTakenBack",
    "held",
    "inDoubt",
    "skipped",
]
Body = Annotated[Any, WithJsonSchema({"type": "object", "description": "exactly what is sent"})]


class Fault(TypedDict, total=False):
    """One thing that is wrong with a request."""

    detail: str
    pointer: str
    parameter: str


class Problem(TypedDict, total=False):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault]
    published: int
    total: int
    running: UUID
    state: str
    reason: str


class OrderSummary(TypedDict):
    """One order in a list. `atStake` is the money in its open doubts; null without one."""

    orderId: int
    status: Status
    storeNo: str | None
    buyerId: str | None
    cashbackAmount: Amount | None
    version: int
    held: int
    rejected: int
    superseded: int
    doubts: list[Doubt]
    heldSince: Nanoseconds | None
    atStake: Amount | None
    doubtfulSince: Nanoseconds | None
    beganAt: Nanoseconds | None
    recordedAt: Nanoseconds


class OrdersPage(TypedDict):
    """Greatest order ids first."""

    orders: list[OrderSummary]
    next: str | None


class Delivery(TypedDict):
    """Where the order's calls stand. Versions are those of the events that ask for the calls."""

    state: DeliveryState
    headVersion: int
    settledVersion: int
    attempts: int
    nextAttemptAt: datetime | None
    parkedAt: datetime | None
    parkedReason: str | None


class AttemptView(TypedDict):
    """One attempt at a call, or a lookup in its place; `lost`: whoever was at it didn't live to tell. `answer` is
    the first part of its body."""

    startedAt: datetime
    durationMs: int
    outcome: str
    status: int | None
    answer: str
    kind: Literal["call", "lookup", "lost"]


class CallView(TypedDict):
    """A call to the third party; `not_in_ledger` until the projection has come to its event. `generation` counts
    the new keys that a person has given it."""

    kind: EffectKind
    method: str
    path: str
    idempotencyKey: UUID
    generation: int
    state: CallState | Literal["not_in_ledger"]
    attemptCount: int
    firstSentAt: datetime | None
    settledAt: datetime | None
    attempts: list[AttemptView]


class MessageView(TypedDict):
    """What the order service said, and where it was read."""

    type: Kind
    transactionId: str
    transactionDate: str
    effectiveAt: Nanoseconds
    sequence: int | None
    identity: str
    topic: str
    partition: int
    offset: int
    replay: str | None
    headers: list[tuple[str, str | None]]


class TimelineEvent(TypedDict):
    """A decision about one message, with the call that follows from it, or what a person decided."""

    version: int
    recordedAt: Nanoseconds
    event: str
    decision: DecisionName
    rule: str
    doubt: Doubt | None
    doubts: list[Doubt]
    atStake: Amount | None
    heldVersion: int | None
    otherVersion: int | None
    cashback: Amount | None
    message: MessageView | None
    decidedBy: str | None
    reason: str | None
    call: CallView | None


class QuarantineSummary(TypedDict):
    """A message that could not be read."""

    id: int
    topic: str
    partition: int
    offset: int
    orderId: int | None
    reason: str
    detail: str
    state: QuarantineState
    quarantinedAt: datetime
    valueBytes: int | None


class ReplaySummary(TypedDict):
    """A replay that was asked for."""

    id: UUID
    mode: Mode
    reason: str
    requestedAt: datetime
    items: int


class ActionView(TypedDict):
    """Something that a person did. `operator` is a name as they gave it, and theirs if `role`, what they had
    proved, is `personal token`; null for actions of a time when that wasn't written down."""

    id: int
    at: datetime
    operator: str
    role: Role | None
    via: Via
    action: ActionKind
    reason: str
    orderId: int | None
    version: int | None
    idempotencyKey: UUID | None
    stateBefore: str | None
    stateAfter: str | None
    bulkId: UUID | None
    quarantineId: int | None
    detail: dict[str, Any]


class ComparisonView(TypedDict):
    """The last time that the third party's books were asked about the order; nulls if they never were. `difference`
    is the open one."""

    says: str
    at: datetime | None
    result: DifferenceClass | Literal["agrees"] | None
    difference: "DifferenceView | None"


class VerdictSumView(TypedDict):
    """One of the amounts behind a verdict, and the moment at which it was paid."""

    name: str
    amount: Amount
    at: datetime | None


class VerdictView(TypedDict):
    """What was paid, what is owed, and what a person has to do about it: a sentence and a sum. `runbook` is a page
    below docs/runbooks. It can change without the order: with an outage, or a comparison."""

    code: VerdictCode
    sentence: str
    amount: Amount
    currency: str
    detail: str
    sums: list[VerdictSumView]
    comparison: ComparisonView
    nextStep: "NextStepView | None"
    runbook: str


class OrderView(TypedDict):
    """All about one order; the timeline in the order of recording, its middle left out if it is long."""

    orderId: int
    verdict: VerdictView
    status: Status
    storeNo: str | None
    buyerId: str | None
    cashbackAmount: Amount | None
    items: list[dict[str, Any]]
    doubts: list[Doubt]
    held: int
    rejected: int
    superseded: int
    version: int
    recordedAt: Nanoseconds
    delivery: Delivery
    timeline: list[TimelineEvent]
    truncated: bool
    omittedEvents: int
    quarantined: list[QuarantineSummary]
    replays: list[ReplaySummary]
    actions: list[ActionView]


class Octets(TypedDict):
    """Bytes as they came; `text` if they are UTF-8."""

    base64: str
    text: str | None


class QuarantinedHeader(TypedDict):
    name: str
    value: Octets | None


class EditView(TypedDict):
    """What a person has put in the place of what came; null where it stayed."""

    key: Octets | None
    value: Octets | None
    headers: list[QuarantinedHeader] | None


class QuarantineView(QuarantineSummary):
    """A message that could not be read, as it came."""

    topicId: str
    timestampMs: int | None
    key: Octets | None
    value: Octets | None
    headers: list[QuarantinedHeader]
    closedAt: datetime | None
    edited: EditView | None


class ReplayCall(TypedDict, total=False):
    """A call of a redelivery. `warning`, `formerKey` (if it gets a new one) and `amountAtRisk` on those that are
    sent, `reason` on those that are not."""

    version: int
    kind: EffectKind
    method: str
    path: str
    key: UUID
    body: Body
    state: CallState
    attempts: int
    firstAttemptAt: datetime | None
    willSend: bool
    formerKey: UUID | None
    amountAtRisk: Amount
    warning: str | None
    reason: str


class ReplayMessage(TypedDict):
    """A message of a republication; `offset` once it is on the topic."""

    version: int
    topic: str
    partition: int
    offset: int | None
    key: str
    type: Kind
    transactionId: str
    transactionDate: str
    sequence: int | None
    bytes: int


class ReplayAnswer(TypedDict):
    """What was done, or, with `dryRun`, what would be, in the order of sending. `amountAtRisk` is the most that the
    third party could pay a second time because of it."""

    replayId: UUID | None
    orderId: int
    mode: Mode
    dryRun: bool
    how: How | None
    nonce: str | None
    include: list[Include]
    amountAtRisk: Amount
    items: list[ReplayCall] | list[ReplayMessage]
    suppressed: list[ReplayCall]


DifferenceView = TypedDict(
    "DifferenceView",
    {
        "id": int,
        "orderId": int,
        "class": DifferenceClass,
        "ours": "BookEntryView | None",
        "theirs": "BookEntryView | None",
        "detail": str | None,
        "firstSeenAt": datetime,
        "lastSeenAt": datetime,
        "closedAt": datetime | None,
    },
)
"""A difference. A side is null where it has no such order."""


class BookEntryView(TypedDict):
    """Where the order stands on one side. Ours: what our delivered calls should have brought about; of an order
    that is in flight, what all of its calls will."""

    status: Status
    cashbackAmount: Amount | None


class DifferencesPage(TypedDict):
    """The last ones first."""

    differences: list[DifferenceView]
    next: str | None


class ParkedCall(TypedDict):
    """The call at which an order stands."""

    kind: EffectKind
    method: str
    path: str
    version: int
    idempotencyKey: UUID
    lastAttempt: AttemptView | None


class ParkedOrder(TypedDict):
    """An order whose calls stand still."""

    orderId: int
    parkedAt: datetime
    reason: str
    attempts: int
    call: ParkedCall | None
    waitingCalls: int
    cashbackAmount: Amount | None


class NextStepView(TypedDict):
    """What a person does about it: in words, behind `python app.py`, and here."""

    says: str
    command: str
    endpoint: str


class AmountsView(TypedDict):
    """By account: what the shop has promised, with the sign turned; what orders without an end will earn; what was
    earned and isn't credited, by what hinders it; what the third party has confirmed. Their sum is zero."""

    granted: Amount
    open: Amount
    owed: Amount
    held: Amount
    inDoubt: Amount
    skipped: Amount
    credited: Amount


class CountsView(TypedDict):
    """Orders by account."""

    open: int
    owed: int
    held: int
    inDoubt: int
    skipped: int


class BalanceView(TypedDict):
    amounts: AmountsView
    orders: CountsView


class EntryView(TypedDict):
    """What one kind of thing did on the day. `number`: how many times it happened; of `held`, `inDoubt` and
    `skipped` the change in the number of orders."""

    line: LineName
    number: int
    amounts: AmountsView


class DifferentView(TypedDict):
    """Orders on which the third party and we didn't agree at the day's end, and what each has credited of them."""

    orders: int
    ours: Amount
    theirs: Amount


class StatementView(TypedDict):
    """A day of UTC. `closed`: it stays as it is, but for `different` and `creditedByThirdParty`, which are what is
    known by now. The latter is what the third party has credited, as far as it was compared."""

    day: date
    currency: str
    closed: bool
    opening: BalanceView
    entries: list[EntryView]
    closing: BalanceView
    different: DifferentView
    creditedByThirdParty: Amount


class CaseView(TypedDict):
    """An order and one reason to look at it; `kinds` are all of them. `amountAtStake` and `since` are null where
    nobody knows; `detail` says more by kind: doubts, the reason of parking, the class of a difference."""

    orderId: int
    kind: CaseKind
    kinds: list[CaseKind]
    amountAtStake: Amount | None
    since: Nanoseconds | None
    detail: str
    quarantineId: int | None
    nextStep: NextStepView
