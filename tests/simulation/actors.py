"""The processes of a simulated world: the product's own parts, put together with the simulation's time, chance and
connections."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from adapters.kafka.consumer.intake import Intake, Limits
from adapters.kafka.consumer.pipeline import StorePipeline
from adapters.postgres.dispatch_session import DispatchSession
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.pool import Database
from adapters.postgres.projection_feeds import PostgresFeed, write_ledger_rows, write_orders
from domain.decision import Policy
from domain.ports import Fenced, Partition, StoreUnavailable
from projections import doubt_marks, intended_calls, orders
from projections.delivery.dispatcher import DeliveryPolicy, Dispatcher
from projections.delivery.retry import RetryPolicy
from projections.runner import Projection
from tests.simulation.connections import IDLE_STRETCH, Connector, GatedAsyncPool, GatedPool
from tests.simulation.greenlets import GreenletExecutor, run_in_greenlet, wait_for
from tests.simulation.operators import Operators
from tests.simulation.profiles import Profile
from tests.simulation.scheduler import Actor, Scheduler
from tests.simulation.third_party import CALL_TIMEOUT_SECONDS, KEY_RETENTION_SECONDS, SimulatedThirdParty
from tests.simulation.topic import Topic
from tests.support.dispatching import Watcher

LEASE_SECONDS: Final = 30.0
MAX_CACHED_ORDERS: Final = 2
"""Fewer than there are: some are known from before, some must be loaded."""
DELIVERY: Final = DeliveryPolicy(
    concurrency=3,
    call_timeout_seconds=CALL_TIMEOUT_SECONDS,
    lease_seconds=LEASE_SECONDS,
    retry=RetryPolicy(max_attempts=6, base_seconds=0.5, max_seconds=8.0),
    key_retention_seconds=KEY_RETENTION_SECONDS,
)


class Actors:
    """Makes what each kind of process runs."""

    def __init__(
        self,
        url: str,
        scheduler: Scheduler,
        topic: Topic,
        third_party: SimulatedThirdParty,
        profile: Profile,
        owners: Mapping[Partition, set[int]],
    ) -> None:
        self._url = url
        self._scheduler = scheduler
        self._topic = topic
        self._third_party = third_party
        self._profile = profile
        self._owners = owners
        self._policy = Policy(corrections=profile.returns, max_order_cashback=profile.max_order_cashback)
        self.operators = Operators(
            url,
            scheduler,
            third_party,
            profile,
            self._policy,
            key_retention_seconds=DELIVERY.trusted_key_seconds,
            lease_seconds=LEASE_SECONDS,
        )

    async def run(self, actor: Actor) -> None:
        """Until it is cancelled, or dies of an outage."""
        match actor.kind:
            case "intake":
                await run_in_greenlet(self._take_in, actor)
            case "calls":
                await run_in_greenlet(self._project_calls, actor)
            case "orders":
                await run_in_greenlet(self._project_orders, actor)
            case "dispatcher":
                await self._dispatch(actor)
            case "jobs":
                await self._do_jobs(actor)
            case _:
                await self._operate(actor)

    def _now_ns(self) -> int:
        return self._scheduler.now_ns

    def _connector(self, actor: Actor) -> Connector:
        return Connector(self._url, self._scheduler, actor)

    def _store(self, actor: Actor) -> OrderApplication:
        return OrderApplication(self._url, pool=GatedPool(self._connector(actor)))

    def _take_in(self, actor: Actor) -> None:
        """As the consumer does it, without Kafka: fetches, decides the next batch while one is being stored, and
        starts over from the stored positions whenever something fails. It may be slow to hear that a partition
        isn't its own any more."""
        intake = Intake(
            self._store(actor),
            policy=self._policy,
            limits=Limits(max_cached_orders=MAX_CACHED_ORDERS),
            clock_ns=self._now_ns,
        )
        pipeline = StorePipeline(intake, GreenletExecutor())
        fetched: dict[Partition, int] = {}
        mine: set[Partition] | None = None
        while True:
            wait_for(asyncio.sleep(actor.rng.choice((0.05, 0.5, 2.0))))
            wanted = {each for each in self._topic.logs if actor.number in self._owners.get(each, ())}
            try:
                if mine is None or (wanted != mine and actor.rng.random() < 0.5):
                    pipeline.result()
                    intake.revoke(list(intake.positions))
                    fetched = {
                        place.log: 0 if place.position is None else place.position.next_offset
                        for place in intake.assign(wanted).values()
                    }
                    mine = wanted
                batch = []
                for partition, offset in sorted(fetched.items()):
                    there = [each for each in self._topic.logs[partition] if each.offset >= offset]
                    batch += there[: actor.rng.randint(1, 4)]
                if not batch:
                    pipeline.result()
                    continue
                decided = intake.decide(intake.read(batch))
                pipeline.result()
                pipeline.submit(decided)
                fetched |= {record.partition: record.offset + 1 for record in batch}
            except (Fenced, StoreUnavailable):
                with suppress(Fenced, StoreUnavailable):
                    pipeline.result()
                mine = None

    def _project_calls(self, actor: Actor) -> None:
        connect = self._connector(actor).connect
        feed = PostgresFeed(
            self._url, intended_calls.NAME, write_ledger_rows, connect=connect, monotonic=self._scheduler.monotonic
        )
        self._project(actor, Projection(intended_calls.NAME, feed, doubt_marks.ledger_rows), feed)

    def _project_orders(self, actor: Actor) -> None:
        connect = self._connector(actor).connect
        feed = PostgresFeed(
            self._url, orders.NAME, write_orders, connect=connect, monotonic=self._scheduler.monotonic
        )
        self._project(actor, Projection(orders.NAME, feed, orders.OrderRows(self._store(actor).load)), feed)

    def _project(self, actor: Actor, projection: Projection[Any], feed: PostgresFeed[Any]) -> None:
        while True:
            try:
                if not projection.step(actor.rng.choice((1, 3, 2000))):
                    feed.wait(0.5)
            except StoreUnavailable:
                wait_for(asyncio.sleep(1.0))

    async def _dispatch(self, actor: Actor) -> None:
        ledger = _Ledger(self._url, self._scheduler, actor, self._connector(actor))
        dispatcher = Dispatcher(
            ledger,
            self._third_party,
            DELIVERY,
            Watcher(),
            monotonic=self._scheduler.monotonic,
            now=self._scheduler.now,
            rng=actor.rng,
        )
        async with ledger:
            await dispatcher.run(asyncio.Event())

    async def _operate(self, actor: Actor) -> None:
        await self.operators.operate(actor, self._database(actor), self._store(actor))

    async def _do_jobs(self, actor: Actor) -> None:
        await self.operators.work(actor, self._database(actor), lambda: self._store(actor))

    def _database(self, actor: Actor) -> Database:
        return Database(self._url, pool=GatedAsyncPool(self._connector(actor)))


class _Ledger(PostgresLedger):
    """Woken by the simulation, as NOTIFY comes at a time of its own."""

    def __init__(self, url: str, scheduler: Scheduler, actor: Actor, connector: Connector) -> None:
        super().__init__(
            url,
            lease_seconds=LEASE_SECONDS,
            call_timeout_seconds=CALL_TIMEOUT_SECONDS,
            pool=GatedAsyncPool(connector),
            session=DispatchSession(
                url,
                call_timeout_seconds=CALL_TIMEOUT_SECONDS,
                on_due=lambda: None,
                connect=connector.connect_session,
                monotonic=scheduler.monotonic,
            ),
            new_token=lambda: _uuid(actor),
            monotonic=scheduler.monotonic,
        )
        self._scheduler = scheduler

    async def wait(self, timeout_seconds: float) -> None:
        await self._scheduler.wait_for_notification("cashback_due", timeout_seconds * IDLE_STRETCH)


def _uuid(actor: Actor) -> UUID:
    return UUID(int=actor.rng.getrandbits(128))
