"""The mode `republish` of bulk replays: each order's messages go to the topic again, in their order.

All messages of a bulk replay carry its id in the header `cashback-replay`, and the record of replays has each
order under that id. To send an order's messages twice is harmless: they are known, and a repeat changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from eventsourcing.persistence import MapperDeserialisationError

from adapters.bulk_running import Handled, Handler, Mode
from adapters.kafka.cluster import KafkaUnreachable
from adapters.kafka.publisher import Outgoing
from adapters.kafka.republisher import KafkaRepublisher, ManyOrders, Sent
from adapters.postgres.bulk_work import Job
from adapters.postgres.replays import PostgresReplays, Streams
from projections import replay
from projections.replay import republications


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
        await self._replays.record_bulk(self._job.id, replay.Mode.REPUBLISH, self._job.asked, items)


def _why(short: Mapping[int, Sent]) -> str | None:
    waiting = [str(each.error or "not confirmed yet") for each in short.values() if not each.is_own_fault]
    return waiting[0] if waiting else None
