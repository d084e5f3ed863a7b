"""Jobs as JSON members: bulk replays with their previews, and comparisons."""

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from adapters.presentation.schemas import Amount, Nanoseconds
from adapters.presentation.views import book_entry_view
from adapters.records.differences import DifferenceClass
from adapters.records.jobs import BulkMode, ComparisonFinding, Job, Preview
from domain.events import Doubt
from domain.instants import format_instant
from domain.lifecycle import Status
from projections.redelivery import How, Include


class BulkState(StrEnum):
    """Where a bulk replay stands."""

    PREVIEWED = "previewed"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Failure(TypedDict):
    """An order that was passed over; where messages in quarantine are dealt with, `orderId` is the message's id."""

    orderId: int
    reason: str


class Selected(TypedDict, total=False):
    """What was asked for."""

    namedOrders: int
    status: Status
    changedFrom: Nanoseconds
    changedTo: Nanoseconds
    parked: bool
    parkedReason: str
    parkedFrom: Nanoseconds
    parkedTo: Nanoseconds
    doubtful: bool
    doubt: Doubt
    doubtfulFrom: Nanoseconds
    doubtfulTo: Nanoseconds
    atStakeMin: str
    atStakeMax: str
    held: bool
    heldFrom: Nanoseconds
    heldTo: Nanoseconds
    difference: DifferenceClass
    quarantined: bool
    quarantineReason: str
    quarantineTopic: str


class OutcomesView(TypedDict):
    """How the orders that a bulk replay has been through stand with the third party by now: `delivered`, all their
    calls are settled; `waiting`, for the next attempt or the end of an outage; `parked`, refused again."""

    delivered: int
    waiting: int
    parked: int


class ForetoldView(TypedDict):
    """What redeliveries would come to, when the preview was made. `amountAtRisk` is what the third party could pay
    a second time."""

    how: How
    nonce: str | None
    include: list[Include]
    calls: int
    suppressed: int
    amountAtRisk: Amount


class SettlingView(TypedDict):
    """What settling doubts would come to, when the preview was made: `calls` are completions that were held back.
    `amountAtStake` is what the doubts are about, to whoever's favour."""

    calls: int
    amountAtStake: Amount


class BulkView(TypedDict):
    """A bulk replay, as far as it has come. `done` counts what was asked for, `outcomes` what became of it (null
    where no call follows, before the start, and in lists). `note` says why it waits, or why it failed."""

    id: UUID
    mode: BulkMode
    state: BulkState
    select: Selected
    reason: str
    ratePerSecond: float
    total: int
    done: int
    failed: int
    failures: list[Failure]
    cashbackAmount: Amount
    note: str | None
    requestedAt: datetime
    startedAt: datetime | None
    endedAt: datetime | None
    expectedEnd: datetime | None
    redelivery: ForetoldView | None
    settling: SettlingView | None
    outcomes: OutcomesView | None


class SampledOrder(TypedDict):
    """One of the orders of a preview."""

    orderId: int
    status: Status
    cashbackAmount: Amount | None
    changedAt: Nanoseconds


class LeftOut(TypedDict):
    """Named orders that aren't in the set: not known, or another condition doesn't hold; the smallest ids."""

    count: int
    orders: list[int]


class PreviewView(BulkView):
    """What would be replayed. `sample` has those with the most cashback; `expiresAt` is the token's end."""

    token: str
    expiresAt: datetime
    byStatus: dict[str, int]
    sample: list[SampledOrder]
    leftOut: LeftOut


def bulk_view(replay: Job) -> dict[str, Any]:
    """A `BulkView`."""
    return {
        "id": replay.id,
        "mode": replay.kind,
        "state": replay.state,
        "select": replay.selection,
        "reason": replay.reason,
        "ratePerSecond": replay.rate_per_second,
        "total": replay.total,
        "done": replay.done,
        "failed": replay.failed,
        "failures": [{"orderId": order_id, "reason": why} for order_id, why in replay.failures],
        "cashbackAmount": replay.cashback,
        "note": replay.note,
        "requestedAt": replay.requested_at,
        "startedAt": replay.started_at,
        "endedAt": replay.ended_at,
        "expectedEnd": replay.expected_end,
        "redelivery": _foretold(replay),
        "settling": replay.settling and {"calls": replay.settling.calls, "amountAtStake": replay.settling.at_stake},
        "outcomes": replay.outcomes and asdict(replay.outcomes),
    }


def _foretold(replay: Job) -> ForetoldView | None:
    if replay.options is None or replay.foretold is None:
        return None
    return {
        "how": replay.options.how,
        "nonce": replay.options.nonce,
        "include": sorted(replay.options.include),
        "calls": replay.foretold.calls,
        "suppressed": replay.foretold.suppressed,
        "amountAtRisk": replay.foretold.amount_at_risk,
    }


def preview_view(preview: Preview) -> dict[str, Any]:
    """A `PreviewView`."""
    return bulk_view(preview.replay) | {
        "token": preview.token,
        "expiresAt": preview.replay.expires_at,
        "byStatus": preview.by_status,
        "sample": [
            {
                "orderId": each.order_id,
                "status": each.status,
                "cashbackAmount": each.cashback,
                "changedAt": format_instant(each.recorded_at_ns),
            }
            for each in preview.sample
        ],
        "leftOut": {"count": preview.left_out_count, "orders": preview.left_out},
    }


def comparison_view(job: Job) -> dict[str, Any]:
    """What no endpoint has, so it has members of its own."""
    result = job.comparison
    assert result is not None, "it is a comparison"
    return {
        "id": job.id,
        "state": job.state,
        "isOfAll": result.is_of_all,
        "total": job.total,
        "compared": job.done,
        "classes": dict(result.verdicts),
        "differences": [_finding(each) for each in result.findings],
        "ratePerSecond": job.rate_per_second,
        "operator": job.operator,
        "reason": job.reason,
        "note": job.note,
        "requestedAt": job.requested_at,
        "endedAt": job.ended_at,
    }


def job_view(job: Job) -> dict[str, Any]:
    """As the views of its kind have it."""
    return bulk_view(job) if job.comparison is None else comparison_view(job)


def listed_job_view(job: Job) -> dict[str, Any]:
    """In a list of all kinds."""
    return {"kind": job.kind} | job_view(job)


def _finding(found: ComparisonFinding) -> dict[str, Any]:
    sides = {"ours": book_entry_view(found.ours), "theirs": book_entry_view(found.theirs)}
    return {"orderId": found.order_id, "class": found.verdict} | sides | {"detail": found.detail}
