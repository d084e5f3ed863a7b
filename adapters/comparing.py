"""Comparisons with the third party's books that people ask for: what is said about them, and how they are done.

A comparison changes nothing at the third party, so one that is done twice, after a process has died, harms nobody.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import structlog

from adapters.reconciling import Reconciler, Tally
from adapters.refusals import Refused
from domain.errors import CashbackError
from domain.lifecycle import Status
from domain.ports import StoreUnavailable
from projections.reconciling import Finding, Standing, Verdict
from projections.waiting import happens, unless

MAX_CHOSEN: Final = 1000
"""Orders that can be named for one comparison."""
MIN_RATE_PER_SECOND: Final = 0.1
MAX_RATE_PER_SECOND: Final = 1000.0
DEFAULT_RATE_PER_SECOND: Final = 50.0
MAX_SHOWN_FINDINGS: Final = 100
MAX_ORDERS_PER_STEP: Final = 50
POLL_SECONDS: Final = 1.0
"""How soon a start is noticed."""
MAX_SILENT_STEPS: Final = 3
"""Steps in a row in which no lookup was answered; then it is given up."""
SILENCE_PAUSE_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


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
    ours: Standing | None
    theirs: Standing | None
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


class Work(Protocol):
    """See adapters.postgres.comparisons."""

    async def claim(self) -> ComparingJob | None: ...
    async def next_orders(self, job: ComparingJob, after: int) -> Sequence[int]: ...
    async def advance(self, job: ComparingJob, step: Step) -> bool: ...
    async def wait(self, job: ComparingJob, note: str) -> bool: ...
    async def end(self, job: ComparingJob, state: ComparisonState, note: str | None = None) -> None: ...
    async def release(self, job: ComparingJob) -> None: ...


class ComparisonRunner:
    """For one event loop. `reconciler` opens what compares, at so many lookups a second."""

    def __init__(
        self,
        work: Work,
        reconciler: Callable[[float], AbstractAsyncContextManager[Reconciler]],
        *,
        poll_seconds: float = POLL_SECONDS,
        silence_pause_seconds: float = SILENCE_PAUSE_SECONDS,
    ) -> None:
        self._work = work
        self._reconciler = reconciler
        self._poll_seconds = poll_seconds
        self._silence_pause_seconds = silence_pause_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Does what was started, by whomever, until it is told to stop. A step under way is given up then."""
        while not stop.is_set():
            job = None
            with suppress(StoreUnavailable):
                job = await self._work.claim()
            if job is None:
                await happens(stop, self._poll_seconds)
                continue
            with suppress(StoreUnavailable):
                await unless(stop, self._do_or_fail(job))
            with suppress(StoreUnavailable):
                await self._work.release(job)

    async def _do_or_fail(self, job: ComparingJob) -> None:
        """An error of ours ends this comparison, and nothing else. Raises StoreUnavailable."""
        try:
            await self._do(job)
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("a comparison failed", comparison=str(job.id))
            note = str(error) if isinstance(error, CashbackError) else "an error of ours; the log says where"
            await self._work.end(job, ComparisonState.FAILED, note)

    async def _do(self, job: ComparingJob) -> None:
        """Until its end, or until it is another's or cancelled. Raises StoreUnavailable."""
        place, silent = job.place, 0
        async with self._reconciler(job.rate_per_second) as reconciler:
            while order_ids := await self._work.next_orders(job, place):
                findings = await reconciler.compare(order_ids, Tally())
                if all(each.is_outage for each in findings):
                    silent += 1
                    note = findings[-1].detail or ""
                    if silent >= MAX_SILENT_STEPS:
                        await self._work.end(job, ComparisonState.FAILED, note)
                        return
                    if not await self._work.wait(job, note):
                        return
                    await asyncio.sleep(self._silence_pause_seconds)
                    continue
                place, silent = order_ids[-1], 0
                if not await self._work.advance(job, step_of(place, findings)):
                    return
        await self._work.end(job, ComparisonState.DONE)


def step_of(place: int, findings: Sequence[Finding]) -> Step:
    counts = Counter(each.verdict for each in findings)
    worth_a_look = [each for each in findings if each.verdict is not Verdict.AGREES or not each.is_known]
    return Step(place, counts, [_found(each) for each in worth_a_look])


def _found(finding: Finding) -> Found:
    verdict, ours, theirs = finding.comparison
    notes = [finding.detail] if finding.detail else []
    notes += [f"broken: {', '.join(finding.broken)}; its calls are stopped"] if finding.broken else []
    notes += [] if finding.is_known else ["neither side knows it"]
    return Found(finding.order_id, verdict, ours, theirs, "; ".join(notes) or None)


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


def _side_as_json(standing: Standing | None) -> dict[str, object] | None:
    return None if standing is None else {"status": standing.status, "cashbackAmount": standing.amount}


def _side(said: object) -> Standing | None:
    if not isinstance(said, Mapping):
        return None
    amount = said["cashbackAmount"]
    return Standing(Status(said["status"]), None if amount is None else Decimal(amount))
