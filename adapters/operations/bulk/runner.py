"""Doing bulk replays: one at a time in a process, a few orders at a time, no faster than asked for.

The process has a lease. If it dies, another goes on behind the last orders that were noted as over, so that some
may be done twice: each mode sees to it that this is harmless.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, Protocol

import structlog

from adapters.operations.rate import StepRate
from adapters.postgres.bulk_work import PostgresBulkWork
from adapters.records.bulk import BulkMode, BulkState, Job
from domain.ports import StoreUnavailable
from projections.delivery.retry import RetryPolicy
from projections.waiting import wait_for_event

POLL_SECONDS: Final = 1.0
"""How soon a start is noticed."""
BEAT_SECONDS: Final = 2.0
"""How soon a cancellation is noticed while nothing goes on."""
MAX_REASON_LENGTH: Final = 200
DATABASE_AWAY: Final = "the database can't be reached"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a few orders. Those that are in neither must be tried again later, and `waits` says why."""

    done: Collection[int] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    waits: str | None = None


class Handler(Protocol):
    """Does to orders what a mode does."""

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:
        """Returns soon once `halted()`, which another thread may ask too. An order that fails for a reason of its
        own is passed over; when it's nobody's fault, its turn comes again. Doing an order twice is harmless.
        May raise StoreUnavailable: then all of them are tried again."""


Mode = Callable[[Job], AbstractAsyncContextManager[Handler]]
"""Opens what one bulk replay needs."""
Progress = Callable[[int, int, str | None], None]
"""Hears how many orders are done, how many have failed, and why nothing goes on, if so."""


@dataclass(slots=True)
class _Tally:
    done: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)

    def add(self, handled: Handled) -> None:
        self.done.update(handled.done)
        self.failed |= {order_id: why[:MAX_REASON_LENGTH] for order_id, why in handled.failed.items()}

    def __contains__(self, order_id: int) -> bool:
        return order_id in self.done or order_id in self.failed

    def without_gaps(self, chunk: Sequence[int]) -> "_Tally":
        """As far as all are over: who goes on begins behind them."""
        over = set(takewhile(self.__contains__, chunk))
        return _Tally(
            self.done & over, {order_id: why for order_id, why in self.failed.items() if order_id in over}
        )


class BulkRunner:
    """For one event loop."""

    def __init__(
        self,
        work: PostgresBulkWork,
        modes: Mapping[BulkMode, Mode],
        *,
        poll_seconds: float = POLL_SECONDS,
        beat_seconds: float = BEAT_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._work = work
        self._modes = modes
        self._poll_seconds = poll_seconds
        self._beat_seconds = beat_seconds
        self._retry = retry or RetryPolicy(base_seconds=1.0, max_seconds=30.0)
        self._dice = random.Random()  # noqa: S311 - it spreads retries, it guards nothing

    async def run(self, stop: asyncio.Event) -> None:
        """Does what was started, by whomever, until it is told to stop."""
        while not stop.is_set():
            job = None
            with suppress(StoreUnavailable):
                job = await self._work.claim(self._modes)
            if job is None:
                await wait_for_event(stop, self._poll_seconds)
            else:
                await self.run_one(job, stop)

    async def run_one(self, job: Job, stop: asyncio.Event, progress: Progress = lambda *_: None) -> None:
        """Returns when all orders are over, or the replay was cancelled, or another process has it, or on `stop`:
        then another process may go on with it."""
        log.info("bulk replay begins", replay=str(job.id), mode=job.mode, orders=len(job.orders), place=job.place)
        halt = asyncio.Event()
        beating = asyncio.create_task(self._beat(job, stop, halt))
        state, note = None, None
        try:
            async with self._modes[job.mode](job) as handler:
                if await _Run(job, handler, self._work, self._retry, self._dice, progress).all(halt):
                    state = BulkState.DONE
        except Exception as error:
            # Whoever took it over would fail likewise: it stops here, and says so.
            state, note = BulkState.FAILED, f"an error of ours: {type(error).__name__}; the log says where"
            log.exception("bulk replay failed", replay=str(job.id))
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        await _tried(lambda: self._work.end(job, state, note), stop)
        log.info("bulk replay ended", replay=str(job.id), state=state or "stopped, cancelled or taken over")

    async def _beat(self, job: Job, stop: asyncio.Event, halt: asyncio.Event) -> None:
        while not await wait_for_event(stop, self._beat_seconds):
            with suppress(StoreUnavailable):
                if not await self._work.beat(job):
                    break
        halt.set()


class _Run:
    """One bulk replay from where it stood."""

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place, of what the runner has
        self,
        job: Job,
        handler: Handler,
        work: PostgresBulkWork,
        retry: RetryPolicy,
        rng: random.Random,
        progress: Progress,
    ) -> None:
        self._job = job
        self._handler = handler
        self._work = work
        self._retry = retry
        self._dice = rng
        self._progress = progress
        self._pace = StepRate(job.rate_per_second)
        self._place = job.place
        self._failed = 0

    async def all(self, halt: asyncio.Event) -> bool:
        """Whether all orders are over."""
        clock = asyncio.get_running_loop().time
        while self._place < len(self._job.orders):
            chunk = self._job.orders[self._place : self._place + self._pace.chunk]
            if await wait_for_event(halt, self._pace.wait_seconds(len(chunk), clock())):
                return False
            tally = await self._chunk(chunk, halt)
            await self._note(chunk, tally, halt)
        return not halt.is_set()

    async def _chunk(self, chunk: Sequence[int], halt: asyncio.Event) -> _Tally:
        """All of them, unless it is halted."""
        tally, attempts = _Tally(), 0
        while left := [order_id for order_id in chunk if order_id not in tally]:
            try:
                if not await self._work.beat(self._job):
                    halt.set()
                    break
                handled = await self._handler.handle(left, halt.is_set)
            except StoreUnavailable:
                handled = Handled(waits=DATABASE_AWAY)
            tally.add(handled)
            if halt.is_set():
                break
            if handled.waits is not None:
                attempts += 1
                await self._wait(handled.waits, attempts, halt)
        return tally

    async def _wait(self, why: str, attempts: int, halt: asyncio.Event) -> None:
        log.warning("bulk replay waits", replay=str(self._job.id), why=why)
        self._progress(self._place - self._failed, self._failed, why)
        with suppress(StoreUnavailable):
            await self._work.waits(self._job, why)
        await wait_for_event(halt, self._retry.wait_seconds(attempts, None, self._dice))

    async def _note(self, chunk: Sequence[int], tally: _Tally, halt: asyncio.Event) -> None:
        """How far it has come. If that can't be written, whoever goes on does these orders again."""
        over = tally.without_gaps(chunk)
        place = self._place
        self._place += len(over.done) + len(over.failed)
        self._failed += len(over.failed)

        async def write() -> None:
            if not await self._work.progress(self._job, place, len(over.done), over.failed):
                halt.set()

        await _tried(write, halt)
        self._progress(self._place - self._failed, self._failed, None)


async def _tried(write: Callable[[], Awaitable[None]], halt: asyncio.Event) -> None:
    """Until the database takes it, or it is the last attempt because we must halt."""
    while True:
        last = halt.is_set()
        try:
            await write()
        except StoreUnavailable as error:
            log.warning("bulk replay: the database doesn't answer", error=str(error))
            if last:
                return
            await wait_for_event(halt, POLL_SECONDS)
        else:
            return
