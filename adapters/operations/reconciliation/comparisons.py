"""Comparisons with the third party's books that people ask for: what is said about them, and how they are done.

A comparison changes nothing at the third party, so one that is done twice, after a process has died, harms nobody.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Protocol

import structlog

from adapters.operations.reconciliation.reconciler import ReconcileCounts, Reconciler
from adapters.records.comparisons import ComparingJob, ComparisonState, Found, Step
from domain.errors import CashbackError
from domain.ports import StoreUnavailable
from projections.reconciliation import Finding, Verdict
from projections.waiting import run_until, wait_for_event

MAX_CHOSEN: Final = 1000
"""Orders that can be named for one comparison."""
MIN_RATE_PER_SECOND: Final = 0.1
MAX_RATE_PER_SECOND: Final = 1000.0
DEFAULT_RATE_PER_SECOND: Final = 50.0
POLL_SECONDS: Final = 1.0
"""How soon a start is noticed."""
MAX_SILENT_STEPS: Final = 3
"""Steps in a row in which no lookup was answered; then it is given up."""
SILENCE_PAUSE_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


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
                await wait_for_event(stop, self._poll_seconds)
                continue
            with suppress(StoreUnavailable):
                await run_until(stop, self._do_or_fail(job))
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
                findings = await reconciler.compare(order_ids, ReconcileCounts())
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
