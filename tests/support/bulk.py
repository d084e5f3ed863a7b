"""Bulk replays in tests: previews, runners, and a mode that only remembers."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self, TypeVar

from adapters.operations.jobs.runner import Handled, Handler, JobKind, JobRunner
from adapters.postgres.job_work import LEASE_SECONDS, PostgresJobWork
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Database
from adapters.records.jobs import BulkMode, Job, JobClaim, KindName, Preview, Selection
from adapters.records.operators import Operator, Via
from projections.delivery.retry import RetryPolicy
from projections.redelivery import DEFAULT_OPTIONS, RedeliveryOptions
from tests.support.waiting import DEADLINE_SECONDS

T = TypeVar("T")
SOMEBODY: Final = Operator("somebody", Via.API)
Answer = Callable[[Sequence[int]], Handled]


def asked(database_url: str, question: Callable[[PostgresJobs], Awaitable[T]]) -> T:
    """On an event loop of its own."""

    async def ask() -> T:
        async with Database(database_url) as database:
            return await question(PostgresJobs(database))

    return asyncio.run(ask())


def previewed(  # each is a part of a bulk replay
    database_url: str,
    selection: Selection,
    *,
    rate_per_second: float = 1000.0,
    reason: str = "a test",
    mode: BulkMode = BulkMode.REPUBLISH,
    options: RedeliveryOptions = DEFAULT_OPTIONS,
) -> Preview:
    return asked(database_url, lambda bulk: bulk.preview(mode, selection, rate_per_second, reason, options))


def started(database_url: str, *orders: int, rate_per_second: float = 1000.0) -> Job:
    preview = previewed(database_url, Selection(frozenset(orders)), rate_per_second=rate_per_second)
    assert preview.replay.total == len(orders)
    return asked(database_url, lambda bulk: bulk.start(preview.replay.id, preview.token, by=SOMEBODY))


def all_done(order_ids: Sequence[int]) -> Handled:
    return Handled(set(order_ids))


class Remembering:
    """A mode that remembers what it was told to do, and gives the answers that it is made with."""

    def __init__(self, answer: Answer) -> None:
        self.chunks: list[list[int]] = []
        self._answer = answer

    def __call__(self, database: Database) -> JobKind:
        return JobKind(self._opened)

    @asynccontextmanager
    async def _opened(self, job: JobClaim) -> AsyncIterator[Handler]:
        yield self

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:
        self.chunks.append(list(order_ids))
        return await asyncio.to_thread(self._answer, order_ids)

    @property
    def orders(self) -> list[int]:
        return [order_id for chunk in self.chunks for order_id in chunk]


class Running:
    """A runner on a thread of its own, as in a process of the service; ends with the `with` block."""

    def __init__(
        self,
        database_url: str,
        mode: Callable[[Database], JobKind],
        name: KindName = BulkMode.REPUBLISH,
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database_url = database_url
        self._mode = mode
        self._name = name
        self._lease_seconds = lease_seconds
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="bulk runner", daemon=True)
        self._ready = threading.Event()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with Database(self._database_url, pool_size=2) as database:
            self._ready.set()
            work = PostgresJobWork(database, lease_seconds=self._lease_seconds)
            retry = RetryPolicy(base_seconds=0.1, max_seconds=0.2)
            kinds: dict[KindName, JobKind] = {self._name: self._mode(database)}
            await JobRunner(work, kinds, poll_seconds=0.05, beat_seconds=0.1, retry=retry).run(self._stop)

    def tell_to_stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)

    def wait_for_its_end(self) -> None:
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.tell_to_stop()
        self.wait_for_its_end()
