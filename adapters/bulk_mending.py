"""The modes of bulk replays that mend orders: parked ones go on, calls go to the third party again, doubts are
settled, and held messages released.

Each order's act and its record under the bulk replay's id are one transaction: an order that comes a second time,
because another process took over, counts as done.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from adapters.bulk_running import Handled, Handler, Mode
from adapters.intervening import Interventions
from adapters.operators import Asked
from adapters.postgres.bulk_work import Job
from adapters.postgres.parking import PostgresParking
from adapters.postgres.replays import PostgresReplays, ReplayRecord
from adapters.postgres.store import OrderApplication
from adapters.refusals import DoneBefore, NonceUsed, NothingToDo, UnderWay, UnknownOrder
from projections import replay

MakeInterventions = Callable[[OrderApplication], Interventions]


def retrying(parking: PostgresParking) -> Mode:
    @asynccontextmanager
    async def opened(job: Job) -> AsyncIterator[Handler]:
        yield _Retrying(job, parking)

    return opened


def redelivering(replays: PostgresReplays, key_retention_hours: float) -> Mode:
    @asynccontextmanager
    async def opened(job: Job) -> AsyncIterator[Handler]:
        yield _Redelivering(job, replays, timedelta(hours=key_retention_hours))

    return opened


Decide = Callable[[int, Asked, UUID], Awaitable[object]]
"""About one order, under the id of the bulk replay."""


def settling(make_store: Callable[[], OrderApplication], make: MakeInterventions) -> Mode:
    """With a store of its own for as long as one runs."""
    return _deciding(
        make_store,
        lambda store: lambda order_id, asked, bulk_id: make(store).settle(order_id, asked, bulk_id=bulk_id),
    )


def releasing(make_store: Callable[[], OrderApplication], make: MakeInterventions) -> Mode:
    """As `settling`. All that is missing is given up."""
    return _deciding(
        make_store,
        lambda store: lambda order_id, asked, bulk_id: make(store).release(order_id, asked, bulk_id=bulk_id),
    )


def _deciding(make_store: Callable[[], OrderApplication], decide: Callable[[OrderApplication], Decide]) -> Mode:
    @asynccontextmanager
    async def opened(job: Job) -> AsyncIterator[Handler]:
        store = make_store()
        try:
            yield _Deciding(job, decide(store))
        finally:
            await asyncio.to_thread(store.close)

    return opened


class _Deciding:
    def __init__(self, job: Job, decide: Decide) -> None:
        self._job = job
        self._decide = decide

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:
        done, failed = set[int](), dict[int, str]()
        for order_id in order_ids:
            if halted():
                break
            try:
                await self._decide(order_id, self._job.asked, self._job.id)
            except (UnknownOrder, NothingToDo) as error:
                failed[order_id] = str(error)
            except DoneBefore:
                done.add(order_id)
            else:
                done.add(order_id)
        return Handled(done, failed)


class _Retrying:
    def __init__(self, job: Job, parking: PostgresParking) -> None:
        self._job = job
        self._parking = parking

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:  # noqa: ARG002 - it is one transaction
        failed = await self._parking.retry_many(order_ids, self._job.asked, self._job.id)
        return Handled(done=set(order_ids) - failed.keys(), failed=failed)


class _Redelivering:
    def __init__(self, job: Job, replays: PostgresReplays, key_retention: timedelta) -> None:
        self._job = job
        self._replays = replays
        self._key_retention = key_retention

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:
        done, failed, waits = set[int](), dict[int, str](), None
        for order_id in order_ids:
            if halted():
                break
            record = ReplayRecord(self._job.id, order_id, replay.Mode.REDELIVER, self._job.asked, is_bulk=True)
            try:
                plan = await self._replays.redeliver(record, self._job.wish, self._key_retention)
            except DoneBefore:
                done.add(order_id)
            except NonceUsed as error:
                failed[order_id] = str(error)
            except UnderWay as error:
                waits = str(error)
            else:
                if plan is None:
                    failed[order_id] = "it has no events"
                else:
                    done.add(order_id)
        return Handled(done, failed, waits)
