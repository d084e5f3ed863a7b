"""The modes of bulk replays that repair orders: parked ones go on, calls go to the third party again, doubts are
settled, and held messages released.

Each order's act and its record under the bulk replay's id are one transaction: an order that comes a second time,
because another process took over, counts as done.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from eventsourcing.persistence import MapperDeserialisationError

from adapters.kafka.producer.republisher import KafkaRepublisher, ManyOrders, Sent
from adapters.operations.bulk.runner import Handled, Handler, Mode
from adapters.operations.interventions import InterventionService
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.parking import PostgresParking
from adapters.postgres.replays import PostgresReplays, Streams
from adapters.records.actions import ActionRequest, ReplayRecord
from adapters.records.bulk import Job
from adapters.records.errors import DoneBefore, KafkaUnreachable, NonceUsed, NothingToDo, UnderWay, UnknownOrder
from adapters.records.publishing import Outgoing
from projections import republication
from projections.republication import republications

MakeInterventions = Callable[[OrderApplication], InterventionService]


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


Decide = Callable[[int, ActionRequest, UUID], Awaitable[object]]
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
            record = ReplayRecord(
                self._job.id, order_id, republication.Mode.REDELIVER, self._job.asked, is_bulk=True
            )
            try:
                plan = await self._replays.redeliver(record, self._job.options, self._key_retention)
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


def republishing(replays: PostgresReplays, republisher: KafkaRepublisher, topics: Sequence[str]) -> Mode:
    """`topics` are those that the service reads."""

    @asynccontextmanager
    async def opened(job: Job) -> AsyncIterator[Handler]:
        many_orders = republisher.many_orders()
        try:
            yield _Republishing(job, replays, republisher, many_orders, topics)
        finally:
            await asyncio.to_thread(many_orders.close)

    return opened


class _Republishing:
    def __init__(
        self,
        job: Job,
        replays: PostgresReplays,
        republisher: KafkaRepublisher,
        many_orders: ManyOrders,
        topics: Sequence[str],
    ) -> None:
        self._job = job
        self._replays = replays
        self._republisher = republisher
        self._many_orders = many_orders
        self._topics = topics
        self._topics_there: set[str] = set()

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:
        streams = await self._replays.streams(order_ids)
        plans, failed = await asyncio.to_thread(self._plans, order_ids, streams)
        try:
            await self._check_topics({each.topic for plan in plans.values() for each in plan})
        except KafkaUnreachable as error:
            return Handled(failed=failed, waits=str(error))
        await self._record({order_id: len(plan) for order_id, plan in plans.items()})
        sent = await asyncio.to_thread(self._many_orders.publish, plans, halted)
        short = {each: sent[each] for each in plans if sent[each].confirmed < len(plans[each])}
        if short:
            await self._record({order_id: each.confirmed for order_id, each in short.items()})
            self._topics_there.clear()
        return Handled(
            done=plans.keys() - short.keys(),
            failed=failed | {order_id: str(each.error) for order_id, each in short.items() if each.is_own_fault},
            waits=_why(short),
        )

    def _plans(
        self, order_ids: Iterable[int], streams: Streams
    ) -> tuple[Mapping[int, Sequence[Outgoing]], dict[int, str]]:
        plans, failed = dict[int, list[Outgoing]](), dict[int, str]()
        replay_id = str(self._job.id)
        for order_id in order_ids:
            match streams.get(order_id):
                case None:
                    failed[order_id] = "it has no events"
                case MapperDeserialisationError() as error:
                    failed[order_id] = str(error)
                case events:
                    plans[order_id] = [
                        Outgoing(each.topic, each.key, each.message.body, each.headers(replay_id))
                        for each in republications(events, self._topics)
                    ]
        return plans, failed

    async def _check_topics(self, topics: set[str]) -> None:
        """A broker may make a topic that isn't there, with partitions of its choice: so we ask first."""
        if new := topics - self._topics_there:
            await asyncio.to_thread(self._republisher.partitions_of, new)
            self._topics_there |= new

    async def _record(self, items: Mapping[int, int]) -> None:
        await self._replays.record_bulk(self._job.id, republication.Mode.REPUBLISH, self._job.asked, items)


def _why(short: Mapping[int, Sent]) -> str | None:
    waiting = [str(each.error or "not confirmed yet") for each in short.values() if not each.is_own_fault]
    return waiting[0] if waiting else None
