"""Doing jobs: one at a time for a runner, a few orders at a time, no faster than asked for.

The process has a lease. If it dies, another goes on behind the last orders that were noted as over, so that some
may be done twice: each kind sees to it that this is harmless.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, Protocol, TypeVar

import structlog

from adapters.operations.rate import STEPS_PER_SECOND, StepRate
from adapters.postgres.job_work import PostgresJobWork
from adapters.records.jobs import ComparisonFinding, JobClaim, JobState, JobStep, KindName
from domain.errors import CashbackError
from domain.ports import StoreUnavailable
from projections.delivery.retry import RetryPolicy
from projections.reconciliation import Verdict
from projections.waiting import run_until, wait_for_event

POLL_SECONDS: Final = 1.0
"""How soon a start is noticed."""
BEAT_SECONDS: Final = 2.0
"""How soon a cancellation is noticed while nothing goes on."""
MAX_REASON_LENGTH: Final = 200
DATABASE_AWAY: Final = "the database can't be reached"

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a few orders. Those that are in neither must be tried again later, and `waits` says why."""

    done: Collection[int] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    waits: str | None = None
    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    """Of comparisons; then all of the orders are done, or none is."""
    findings: Sequence[ComparisonFinding] = ()


class JobFailed(CashbackError):
    """It makes no sense to go on with a job; the text says why, and is noted."""


class Handler(Protocol):
    """Does to orders what is done by jobs of one kind."""

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:
        """Returns soon once `halted()`, which another thread may ask too. An order that fails for a reason of its
        own is passed over; when it's nobody's fault, its turn comes again. Doing an order twice is harmless.
        May raise StoreUnavailable: then all of them are tried again; JobFailed ends the job."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """How the jobs of one kind are done."""

    open: Callable[[JobClaim], AbstractAsyncContextManager[Handler]]
    """What one job needs, for as long as it runs."""
    steps_per_second: float = STEPS_PER_SECOND
    pause_seconds: float | None = None
    """After a step for which it waits; None: longer and longer ones."""
    can_be_dropped: bool = False
    """A step under way, when it is halted: it changes nothing elsewhere."""


Progress = Callable[[int, int, str | None], None]
"""Hears how many orders are done, how many have failed, and why nothing goes on, if so."""


@dataclass(slots=True)
class _Tally:
    done: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    findings: list[ComparisonFinding] = field(default_factory=list)

    def add(self, handled: Handled) -> None:
        self.done.update(handled.done)
        self.failed |= {order_id: why[:MAX_REASON_LENGTH] for order_id, why in handled.failed.items()}
        self.verdicts.update(handled.verdicts)
        self.findings += handled.findings

    def __contains__(self, order_id: int) -> bool:
        return order_id in self.done or order_id in self.failed

    def without_gaps(self, chunk: Sequence[int]) -> "_Tally":
        """As far as all are over: who goes on begins behind them."""
        over = set(takewhile(self.__contains__, chunk))
        failed = {order_id: why for order_id, why in self.failed.items() if order_id in over}
        return _Tally(self.done & over, failed, self.verdicts, self.findings)


class JobRunner:
    """For one event loop."""

    def __init__(  # noqa: PLR0913 - its parts, and how it goes on
        self,
        work: PostgresJobWork,
        kinds: Mapping[KindName, JobKind],
        *,
        poll_seconds: float = POLL_SECONDS,
        beat_seconds: float = BEAT_SECONDS,
        retry: RetryPolicy | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._work = work
        self._kinds = kinds
        self._poll_seconds = poll_seconds
        self._beat_seconds = beat_seconds
        self._retry = retry or RetryPolicy(base_seconds=1.0, max_seconds=30.0)
        self._rng = rng or random.Random()  # noqa: S311 - it only spreads retries

    async def run(self, stop: asyncio.Event) -> None:
        """Does what was started, by whomever, until it is told to stop."""
        while not stop.is_set():
            job = None
            with suppress(StoreUnavailable):
                job = await self._work.claim(self._kinds)
            if job is None:
                await wait_for_event(stop, self._poll_seconds)
            else:
                await self.run_one(job, stop)

    async def run_one(self, job: JobClaim, stop: asyncio.Event, progress: Progress = lambda *_: None) -> None:
        """Returns when all orders are over, or the job was cancelled, or another process has it, or on `stop`:
        then another process may go on with it."""
        log.info("job started", job=str(job.id), kind=job.kind, place=job.place, over=job.over)
        halt = asyncio.Event()
        beating = asyncio.create_task(self._beat(job, stop, halt))
        state, note = None, None
        kind = self._kinds[job.kind]
        try:
            async with kind.open(job) as handler:
                if await _Run(job, kind, handler, self._work, self._retry, progress, self._rng).all(halt):
                    state = JobState.DONE
        except StoreUnavailable as error:
            log.warning("job: the database doesn't answer", error=str(error))
        except JobFailed as failed:
            state, note = JobState.FAILED, str(failed)
            log.warning("job failed", job=str(job.id), why=note)
        except Exception as error:
            # Whoever took it over would fail likewise: it stops here, and says so.
            state = JobState.FAILED
            is_said = isinstance(error, CashbackError)
            note = str(error) if is_said else f"an error of ours: {type(error).__name__}; the log says where"
            log.exception("job failed", job=str(job.id))
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        await _tried(lambda: self._work.end(job, state, note), stop)
        log.info("job ended", job=str(job.id), kind=job.kind, state=state or "stopped, cancelled or taken over")

    async def _beat(self, job: JobClaim, stop: asyncio.Event, halt: asyncio.Event) -> None:
        while not await wait_for_event(stop, self._beat_seconds):
            with suppress(StoreUnavailable):
                if not await self._work.beat(job):
                    break
        halt.set()


@dataclass(slots=True)
class _Run:
    """One job from where it stood."""

    _job: JobClaim
    _kind: JobKind
    _handler: Handler
    _work: PostgresJobWork
    _retry: RetryPolicy
    _progress: Progress
    _rng: random.Random
    _rate: StepRate = field(init=False)
    _place: int = field(init=False)
    _over: int = field(init=False)
    _failed: int = 0

    def __post_init__(self) -> None:
        self._rate = StepRate(self._job.rate_per_second, self._kind.steps_per_second)
        self._place, self._over = self._job.place, self._job.over

    async def all(self, halt: asyncio.Event) -> bool:
        """Whether all orders are over."""
        clock = asyncio.get_running_loop().time
        while chunk := await self._next(halt):
            if await wait_for_event(halt, self._rate.wait_seconds(len(chunk), clock())):
                return False
            tally = await self._chunk(chunk, halt)
            await self._note(chunk, tally, halt)
        return not halt.is_set()

    async def _next(self, halt: asyncio.Event) -> Sequence[int]:
        if halt.is_set():
            return ()
        return await _tried(lambda: self._work.next_orders(self._job, self._place, self._rate.chunk), halt) or ()

    async def _chunk(self, chunk: Sequence[int], halt: asyncio.Event) -> _Tally:
        """All of them, unless it is halted."""
        tally, attempts = _Tally(), 0
        while left := [order_id for order_id in chunk if order_id not in tally]:
            try:
                if not await self._work.beat(self._job):
                    halt.set()
                    break
                handled = await self._handle(left, halt)
            except StoreUnavailable:
                handled = Handled(waits=DATABASE_AWAY)
            tally.add(handled)
            if halt.is_set():
                break
            if handled.waits is not None:
                attempts += 1
                await self._wait(handled.waits, attempts, halt)
        return tally

    async def _handle(self, order_ids: Sequence[int], halt: asyncio.Event) -> Handled:
        if not self._kind.can_be_dropped:
            return await self._handler.handle(order_ids, halt.is_set)
        handled = Handled()

        async def handle() -> None:
            nonlocal handled
            handled = await self._handler.handle(order_ids, halt.is_set)

        await run_until(halt, handle())
        return handled

    async def _wait(self, why: str, attempts: int, halt: asyncio.Event) -> None:
        log.warning("job waits", job=str(self._job.id), kind=self._job.kind, why=why)
        self._progress(self._over - self._failed, self._failed, why)
        with suppress(StoreUnavailable):
            await self._work.waits(self._job, why)
        pause_seconds = self._kind.pause_seconds
        await wait_for_event(halt, pause_seconds or self._retry.wait_seconds(attempts, None, self._rng))

    async def _note(self, chunk: Sequence[int], tally: _Tally, halt: asyncio.Event) -> None:
        """How far it has come. If that can't be written, whoever goes on does these orders again."""
        over = tally.without_gaps(chunk)
        count = len(over.done) + len(over.failed)
        if not count:
            return
        step = JobStep(self._place, chunk[count - 1], len(over.done), over.failed, over.verdicts, over.findings)
        self._place = step.place
        self._over += count
        self._failed += len(over.failed)

        async def write() -> None:
            if not await self._work.progress(self._job, step):
                halt.set()

        await _tried(write, halt)
        self._progress(self._over - self._failed, self._failed, None)


async def _tried(ask: Callable[[], Awaitable[T]], halt: asyncio.Event) -> T | None:
    """Until the database answers; None if it doesn't at the last attempt, because we must halt."""
    while True:
        last = halt.is_set()
        try:
            return await ask()
        except StoreUnavailable as error:
            log.warning("job: the database doesn't answer", error=str(error))
            if last:
                return None
            await wait_for_event(halt, POLL_SECONDS)
