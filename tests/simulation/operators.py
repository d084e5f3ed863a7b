"""People and what they do to orders, quarantined messages and jobs: where there is something to be done, mostly."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql

from adapters.operations.interventions import InterventionService
from adapters.operations.jobs.kinds import comparing, redelivering, releasing, retrying, settling
from adapters.operations.jobs.runner import JobKind, JobRunner
from adapters.operations.quarantine import QuarantineService
from adapters.operations.reconciliation.reconciler import Reconciler
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.interventions import PostgresInterventions
from adapters.postgres.job_work import PostgresJobWork
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.postgres.replays import PostgresReplays
from adapters.records.actions import ActionRequest, ReplayRecord
from adapters.records.jobs import COMPARE, BulkMode, JobClaim, KindName, Selection
from adapters.records.operators import Operator, Via
from adapters.records.quarantine import Edit
from domain.decision import Policy
from domain.errors import CashbackError
from projections.delivery.retry import RetryPolicy
from projections.reconciliation import Verdict
from projections.redelivery import How, Include, RedeliveryOptions
from projections.republication import Mode
from tests.simulation.profiles import Profile
from tests.simulation.scheduler import Actor, Scheduler
from tests.simulation.third_party import SimulatedThirdParty
from tests.simulation.topic import GARBLED

ASKED: Final = ActionRequest(Operator("simulated", Via.API), "because")
ROUNDS_OF_REPAIR: Final = 4
SENSIBLE: Final = 0.7
"""The share of actions for which there is something to be done; the others are of anybody, about anything."""
JOB_LEASE_SECONDS: Final = 15.0
JOB_POLL_SECONDS: Final = 5.0
JOB_STEPS_A_SECOND: Final = (0.2, 1.0)

NEEDS: Final[Mapping[str, str]] = {
    "retry": "parked",
    "skip": "parked",
    "settle": "doubtful",
    "release": "held",
    "discard": "unreadable",
    "reread": "unreadable",
    "many retried": "parked",
    "many settled": "doubtful",
    "many released": "held",
}
"""Of what there must be one; of an order with calls for all other actions."""

_TARGETS: Final = """
SELECT 'parked', order_id FROM delivery WHERE parked_at IS NOT NULL AND parked_reason <> 'doubtful'
UNION ALL SELECT 'doubtful', order_id FROM orders WHERE doubts <> '{}'
UNION ALL SELECT 'held', order_id FROM orders WHERE held > 0
UNION ALL SELECT 'unreadable', id FROM quarantine WHERE state = 'open'
UNION ALL SELECT 'sent', order_id FROM delivery
ORDER BY 1, 2
"""

Acts = Mapping[str, Callable[[int], Awaitable[object]]]


class Operators:
    """Makes what operators run, and the processes that do their jobs."""

    def __init__(
        self,
        url: str,
        scheduler: Scheduler,
        third_party: SimulatedThirdParty,
        profile: Profile,
        policy: Policy,
        key_retention_seconds: float,
        lease_seconds: float,
    ) -> None:
        self.done: Counter[str] = Counter()
        self.is_repaired = not profile.operators
        """Operators have let go on what stood still, so that it can be compared in the end."""
        self._url = url
        self._scheduler = scheduler
        self._third_party = third_party
        self._profile = profile
        self._policy = policy
        self._kept = timedelta(seconds=key_retention_seconds)
        self._lease_seconds = lease_seconds
        self._jobs_begun: set[UUID] = set()

    async def operate(self, actor: Actor, database: Database, store: OrderApplication) -> None:
        acts = self._actions(actor, database, store)
        with psycopg.connect(self._url, autocommit=True) as eyes:
            while not self._scheduler.is_fine:
                await asyncio.sleep(actor.rng.choice(self._profile.pace_seconds))
                await self._try(actor, acts, *self._choose(actor, eyes))
        for _ in range(ROUNDS_OF_REPAIR):
            for order_id in range(1, self._profile.orders + 1):
                await self._try(actor, acts, "retry", order_id)
            await asyncio.sleep(self._lease_seconds)
        self.is_repaired = True
        await asyncio.Event().wait()

    async def work(self, actor: Actor, database: Database, make_store: Callable[[], OrderApplication]) -> None:
        """Does jobs, as the process of the API does."""
        parking, replays = PostgresParking(database), PostgresReplays(database)

        def decisions(store: OrderApplication) -> InterventionService:
            return self._decisions(database, store)

        books = PostgresReconciliation(database)

        def reconciler(per_second: float) -> Any:
            return nullcontext(
                Reconciler(books, self._third_party, _Finds(self.done), per_second=per_second, rng=actor.rng)
            )

        kinds: dict[KindName, JobKind] = {
            BulkMode.REDELIVER: redelivering(replays, self._kept),
            BulkMode.RETRY: retrying(parking),
            BulkMode.SETTLE: settling(make_store, decisions),
            BulkMode.RELEASE: releasing(make_store, decisions),
            COMPARE: comparing(reconciler),
        }
        retry = RetryPolicy(base_seconds=1.0, max_seconds=30.0)
        runner = JobRunner(
            _Work(database, self._jobs_begun, self.done),
            kinds,
            poll_seconds=JOB_POLL_SECONDS,
            beat_seconds=JOB_POLL_SECONDS,
            retry=retry,
            rng=actor.rng,
        )
        await runner.run(asyncio.Event())

    def _decisions(self, database: Database, store: OrderApplication) -> InterventionService:
        return InterventionService(
            PostgresInterventions(database), store, policy=self._policy, clock_ns=lambda: self._scheduler.now_ns
        )

    def _choose(self, actor: Actor, eyes: psycopg.Connection) -> tuple[str, int]:
        """What to do, and about which order or message."""
        rng, names = actor.rng, self._profile.actions
        if rng.random() > SENSIBLE:
            return rng.choice(names), rng.randint(1, self._profile.orders)
        targets: defaultdict[str, list[int]] = defaultdict(list)
        for kind, number in eyes.execute(sql.SQL(_TARGETS)).fetchall():
            targets[kind].append(number)
        possible = [name for name in names if targets[NEEDS.get(name, "sent")]]
        if not possible:
            return rng.choice(names), rng.randint(1, self._profile.orders)
        name = rng.choice(possible)
        if rng.random() < 0.5:  # what was done least
            name = min(possible, key=lambda each: self.done[each])
        called = sorted(self._third_party.calling.keys() if NEEDS.get(name, "sent") == "sent" else ())
        return name, rng.choice(called or targets[NEEDS.get(name, "sent")])

    def _actions(self, actor: Actor, database: Database, store: OrderApplication) -> Acts:
        parking, replays = PostgresParking(database), PostgresReplays(database)
        decisions = self._decisions(database, store)
        jobs = PostgresJobs(database, key_retention=self._kept)
        quarantine = QuarantineService(
            PostgresQueries(database), store, policy=self._policy, clock_ns=lambda: self._scheduler.now_ns
        )

        async def redeliver(order_id: int, options: RedeliveryOptions) -> None:
            replay = ReplayRecord(UUID(int=actor.rng.getrandbits(128)), order_id, Mode.REDELIVER, ASKED)
            await replays.redeliver(replay, options, self._kept)

        async def begin(mode: BulkMode, orders: Collection[int] | None = None) -> None:
            selection = Selection(orders=None if orders is None else frozenset(orders))
            seen = await jobs.preview(mode, selection, actor.rng.choice(JOB_STEPS_A_SECOND), ASKED.reason)
            await jobs.start(seen.replay.id, seen.token, by=ASKED.by)

        async def reread(number: int) -> None:
            kept = await PostgresQueries(database).quarantined(number)
            value = kept.value if kept else None
            await quarantine.retry(number, ASKED, edit=Edit(value=value and value.removeprefix(GARBLED)))

        def renewed() -> RedeliveryOptions:
            return RedeliveryOptions(How.RESUME, f"n{actor.rng.getrandbits(32)}")

        return {
            "retry": lambda number: parking.retry(number, ASKED, dry_run=False),
            "skip": lambda number: parking.skip(number, ASKED, dry_run=False),
            "settle": lambda number: decisions.settle(number, ASKED),
            "release": lambda number: decisions.release(number, ASKED),
            "discard": lambda number: quarantine.discard(number, ASKED),
            "reread": reread,
            "resume": lambda number: redeliver(number, RedeliveryOptions(How.RESUME)),
            "force": lambda number: redeliver(number, RedeliveryOptions(How.FORCE)),
            "new keys": lambda number: redeliver(number, renewed()),
            "blind": lambda number: redeliver(number, RedeliveryOptions(How.FORCE, include=frozenset(Include))),
            "many redelivered": lambda _: begin(BulkMode.REDELIVER, range(1, self._profile.orders + 1)),
            "many retried": lambda _: begin(BulkMode.RETRY),
            "many settled": lambda _: begin(BulkMode.SETTLE),
            "many released": lambda _: begin(BulkMode.RELEASE),
            "compare": lambda _: jobs.compare(None, actor.rng.choice(JOB_STEPS_A_SECOND), ASKED),
        }

    async def _try(self, actor: Actor, acts: Acts, name: str, number: int) -> None:
        what = "message" if NEEDS.get(name) == "unreadable" else "order"
        try:
            await acts[name](number)
        except (CashbackError, psycopg.OperationalError) as error:
            self._scheduler.tell(actor.name, f"{name} of {what} {number}: {type(error).__name__}", is_step=False)
        else:
            self.done[name] += 1
            self._scheduler.tell(actor.name, f"{name} of {what} {number}: done")


class _Work(PostgresJobWork):
    """Counts what is taken over."""

    def __init__(self, database: Database, begun: set[UUID], done: Counter[str]) -> None:
        super().__init__(database, lease_seconds=JOB_LEASE_SECONDS)
        self._begun = begun
        self._done = done

    async def claim(self, kinds: Collection[KindName]) -> JobClaim | None:
        job = await super().claim(kinds)
        if job is not None:
            self._done["job taken over"] += job.id in self._begun
            self._begun.add(job.id)
        return job

    async def end(self, job: JobClaim, *args: Any, **kwargs: Any) -> None:
        await super().end(job, *args, **kwargs)
        self._done["job done"] += 1


class _Finds:
    """Hears of comparisons."""

    def __init__(self, done: Counter[str]) -> None:
        self._done = done

    def order_compared(self, verdict: Verdict) -> None:
        self._done[f"compared: {verdict}"] += 1

    def invariant_broken(self, order_id: int, *broken: object) -> None:
        raise AssertionError(f"order {order_id} was stopped: {broken}")
