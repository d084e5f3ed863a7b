"""The processes of a simulated world: the product's own parts, put together with the simulation's time, chance and
connections."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import psycopg

from adapters.kafka.consumer.intake import Intake, Limits
from adapters.kafka.consumer.pipeline import StorePipeline
from adapters.operations.interventions import InterventionService
from adapters.operations.quarantine import QuarantineService
from adapters.postgres.dispatch_session import DispatchSession
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.interventions import PostgresInterventions
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.projection_feeds import PostgresFeed, write_ledger_rows, write_orders
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.replays import PostgresReplays
from adapters.records.actions import ActionRequest, ReplayRecord
from adapters.records.operators import Operator, Via
from domain.decision import Policy
from domain.errors import CashbackError
from domain.ports import Fenced, Partition, StoreUnavailable
from projections import doubt_marks, intended_calls, orders
from projections.delivery.dispatcher import DeliveryPolicy, Dispatcher
from projections.delivery.retry import RetryPolicy
from projections.redelivery import How, RedeliveryOptions
from projections.republication import Mode
from projections.runner import Projection
from tests.simulation.connections import IDLE_STRETCH, Connector, GatedAsyncPool, GatedPool
from tests.simulation.greenlets import GreenletExecutor, run_in_greenlet, wait_for
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
ASKED: Final = ActionRequest(Operator("simulated", Via.API), "because")
ROUNDS_OF_REPAIR: Final = 4
ACTIONS: Final = ("retry", "retry", "force", "force", "resume", "settle", "release", "quarantine")


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
        self.actions: Counter[str] = Counter()
        """What operators have done."""
        self.is_repaired = not profile.operators
        """Operators have let go on what stood still, so that it can be compared in the end."""
        self._url = url
        self._scheduler = scheduler
        self._topic = topic
        self._third_party = third_party
        self._profile = profile
        self._owners = owners
        self._policy = Policy(corrections=profile.returns)

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
        database = Database(self._url, pool=GatedAsyncPool(self._connector(actor)))
        store = self._store(actor)
        parking, replays = PostgresParking(database), PostgresReplays(database)
        decisions = InterventionService(
            PostgresInterventions(database), store, policy=self._policy, clock_ns=self._now_ns
        )
        quarantine = QuarantineService(PostgresQueries(database), store, policy=self._policy, clock_ns=self._now_ns)
        names = (*ACTIONS, "skip", "skip") if self._profile.skips else ACTIONS

        async def act(name: str, order_id: int) -> None:
            match name:
                case "retry":
                    await parking.retry(order_id, ASKED, dry_run=False)
                case "skip":
                    await parking.skip(order_id, ASKED, dry_run=False)
                case "settle":
                    await decisions.settle(order_id, ASKED)
                case "release":
                    await decisions.release(order_id, ASKED)
                case "quarantine":
                    await quarantine.discard(1, ASKED)
                case _:
                    replay = ReplayRecord(_uuid(actor), order_id, Mode.REDELIVER, ASKED)
                    options, kept = RedeliveryOptions(How(name)), timedelta(seconds=KEY_RETENTION_SECONDS)
                    await replays.redeliver(replay, options, kept)

        while not self._scheduler.is_fine:
            await asyncio.sleep(actor.rng.choice(self._profile.pace_seconds))
            await self._try(actor, act, actor.rng.choice(names), actor.rng.randint(1, self._profile.orders))
        for _ in range(ROUNDS_OF_REPAIR):
            for order_id in range(1, self._profile.orders + 1):
                await self._try(actor, act, "retry", order_id)
            await asyncio.sleep(LEASE_SECONDS)
        self.is_repaired = True
        await asyncio.Event().wait()

    async def _try(
        self, actor: Actor, act: Callable[[str, int], Awaitable[None]], name: str, order_id: int
    ) -> None:
        try:
            await act(name, order_id)
        except (CashbackError, psycopg.OperationalError) as error:
            self._scheduler.tell(actor.name, f"{name} of order {order_id}: {type(error).__name__}")
        else:
            self.actions[name] += 1
            self._scheduler.tell(actor.name, f"{name} of order {order_id}: done")


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
