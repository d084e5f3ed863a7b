"""The modes `retry` and `redeliver` of bulk replays: parked orders go on, and calls go to the third party again.

Each order's act and its record under the bulk replay's id are one transaction: an order that comes a second time,
because another process took over, counts as done.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from adapters.bulk_running import Handled, Handler, Mode
from adapters.postgres.bulk_work import Job
from adapters.postgres.parking import PostgresParking
from adapters.postgres.replays import PostgresReplays, ReplayRecord
from adapters.refusals import DoneBefore, NonceUsed, UnderWay
from projections import replay


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
