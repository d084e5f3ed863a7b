"""One seed, one run: publishers, intakes, projections, dispatchers, an operator and the third party, until
everything is settled."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from typing import Any, Final

import psycopg
from psycopg import pq

import adapters.postgres.sql
from adapters.postgres.sql import statements
from domain.ports import Partition, StoreUnavailable
from projections.delivery.ports import SESSION_TRUST_SECONDS, Call
from tests.simulation.actors import Actors
from tests.simulation.database import copy, reset, restore
from tests.simulation.dice import Dice, Plan
from tests.simulation.invariants import Invariants, ViolationFound
from tests.simulation.loop import SimulationLoop
from tests.simulation.profiles import Profile
from tests.simulation.scheduler import Actor, Counts, Scheduler, Statement
from tests.simulation.third_party import CALL_TIMEOUT_SECONDS, SimulatedThirdParty
from tests.simulation.topic import Publishers, Topic

SETTLED_WITHIN_SECONDS: Final = 4000.0
"""Of virtual time, after the last thing that went wrong."""
WHOLE: Final = Plan()
PROCESSES: Final = (("intake", 2), ("calls", 2), ("orders", 1), ("dispatcher", 2))
NOTIFIES: Final = {"store_batch": "cashback_events", "notify_due": "cashback_due"}
CHANGE_NOTHING: Final = frozenset(
    {
        "BEGIN",
        "ROLLBACK",
        "claim",
        "claimed_calls",
        "next_due",
        "select_streams",
        "select_positions",
        "stream",
        "cursors",
    }
)
"""Of what is checked, or not for long: the next commit shows it too."""


@dataclass
class Report:
    """What came of a run."""

    seed: int
    plan: Plan = field(default_factory=Plan)
    problem: str | None = None
    digest: str = ""
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    calls: int = 0
    lookups: int = 0
    marked: int = 0
    counts: Counts = field(default_factory=Counts)
    actions: dict[str, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    """The trace without what changed nothing."""
    drawn: Mapping[str, int] = field(default_factory=dict)
    """Draws of each stream."""


class World:
    """Make it inside the running loop."""

    def __init__(self, url: str, dice: Dice, profile: Profile, scheduler: Scheduler, plan: Plan) -> None:
        self._url = url
        self._dice = dice
        self._plan = plan
        self._profile = profile
        self._scheduler = scheduler
        self._rng = dice.stream("world")
        self._topic = Topic(profile.partitions)
        self._owners: dict[Partition, set[int]] = {}
        self._actors: list[Actor] = []
        self._lives: Counter[tuple[str, int]] = Counter()
        self._pending: dict[Any, set[str]] = {}
        self._broken: list[str] = []
        self.publishers = Publishers(scheduler, self._topic, dice, profile, plan)
        self.third_party = SimulatedThirdParty(scheduler, dice.stream("third party"), profile)
        self.invariants = Invariants(url, self.third_party)
        self.processes = Actors(url, scheduler, self._topic, self.third_party, profile, self._owners)
        self.marked = 0
        self._found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises the first thing found that must never be true."""
        scheduler.on_statement = self._after_statement
        self.third_party.on_send = self._begun

    async def run(self) -> None:
        """Raises ViolationFound."""
        for kind, number in processes(self._profile):
            if (kind, number) not in self._plan.without:
                self._start(kind, number)
        around = [self.publishers.run(), self._rebalance(), self._restart()]
        if self._rng.random() < self._profile.rewinds:
            around.append(self._rewind())
        if self._profile.kills:
            around.append(self._kill())
        tasks = [asyncio.create_task(each) for each in around]
        settling = asyncio.create_task(self._until_settled())
        try:
            await asyncio.wait((settling, self._found), return_when=asyncio.FIRST_COMPLETED)
            await (self._found if self._found.done() else settling)
            self.marked = self.invariants.check_end(self.publishers.lifecycles, self._scheduler.tell)
        finally:
            for actor in self._actors:
                self._scheduler.end(actor)
            tasks.append(settling)
            for task in tasks:
                task.cancel()
            running = [actor.task for actor in self._actors if actor.task is not None]
            await asyncio.gather(*tasks, *running, return_exceptions=True)

    async def _until_settled(self) -> None:
        await asyncio.sleep(self._profile.busy_seconds)
        self._scheduler.is_fine = True
        self._scheduler.tell("weather", "nothing goes wrong any more")
        deadline = self._scheduler.now_seconds + SETTLED_WITHIN_SECONDS
        while not self._is_settled():
            await asyncio.sleep(10)
            if self._broken:
                raise ViolationFound(self._broken[0])
            if self._scheduler.now_seconds > deadline:
                raise ViolationFound(f"not settled an hour after the last fault:\n{self.invariants.standing()}")

    def _is_settled(self) -> bool:
        is_over = self.publishers.is_done and self.processes.operators.is_repaired
        return is_over and self.invariants.is_settled(self._ends())

    def _ends(self) -> dict[int, int]:
        return {each.number: log[-1].offset + 1 for each, log in self._topic.logs.items() if log}

    def _start(self, kind: str, number: int) -> None:
        self._lives[kind, number] += 1
        life = self._lives[kind, number]
        actor = Actor(kind, number, life, self._dice.stream(f"{kind}-{number}.{life}"))
        self._actors.append(actor)
        actor.task = asyncio.create_task(self._live(actor))

    async def _live(self, actor: Actor) -> None:
        try:
            await self.processes.run(actor)
        except (psycopg.OperationalError, StoreUnavailable):
            pass  # the process ends, and is started again
        except Exception as error:  # noqa: BLE001 - told at the end of the run
            if not actor.is_dead:
                self._broken.append(f"{actor.name} broke: {error!r}")

    async def _rebalance(self) -> None:
        """Now and then a partition has two readers, who both think that it's theirs, or none."""
        while True:
            for partition in self._topic.logs:
                choices = ({1}, {2}, {1}, {2}, {1, 2}, set[int]())
                self._owners[partition] = {1} if self._scheduler.is_fine else self._rng.choice(choices)
            await asyncio.sleep(self._rng.choice((30.0, 10.0, 1.0)))

    async def _kill(self) -> None:
        while not self._scheduler.is_fine:
            await asyncio.sleep(self._rng.choice((30.0, 10.0, 2.0)))
            living = [actor for actor in self._actors if not actor.is_dead and actor.kind != "operator"]
            kind = self._rng.choice(sorted({actor.kind for actor in living}))
            victim = self._rng.choice([actor for actor in living if actor.kind == kind])
            self._scheduler.kill(victim)
            await asyncio.sleep(self._rng.choice((0.0, 1.0, 40.0)))
            self._start(victim.kind, victim.number)

    async def _rewind(self) -> None:
        """A copy is made; later the database is what the copy was."""
        rng = self._dice.stream("rewind")
        await asyncio.sleep(rng.uniform(1.0, self._profile.busy_seconds * 0.7))
        with psycopg.connect(self._url, autocommit=True) as connection:
            sequences = copy(connection)
            await asyncio.sleep(rng.choice(self._profile.rewound_seconds))
            is_promoted = rng.random() < 0.5
            how = "a replica without the last commits is promoted" if is_promoted else "an older copy is restored"
            self._scheduler.tell("database", how)
            self._scheduler.lose_server(self._actors)
            restore(connection, sequences, is_promoted=is_promoted)
        until_seconds = SESSION_TRUST_SECONDS + CALL_TIMEOUT_SECONDS
        self.invariants.rewound(self._scheduler.now() + timedelta(seconds=until_seconds))
        self.processes.operators.done[how] += 1

    async def _restart(self) -> None:
        """What ended by itself is started again."""
        while True:
            for actor in list(self._actors):
                if actor.task is not None and actor.task.done() and not actor.is_dead:
                    self._scheduler.end(actor)
                    self._start(actor.kind, actor.number)
            await asyncio.sleep(1.0)

    def _after_statement(self, statement: Statement) -> None:
        channels = self._pending.setdefault(statement.connection, set())
        if statement.name in NOTIFIES:
            channels.add(NOTIFIES[statement.name])
        if statement.connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return
        for channel in sorted(channels):
            if statement.name != "ROLLBACK":
                self._scheduler.notify(channel)
        channels.clear()
        if statement.name not in CHANGE_NOTHING and not self._found.done():
            self._check(self.invariants.check)

    def _begun(self, call: Call) -> None:
        ends_at = self._scheduler.now() + timedelta(seconds=CALL_TIMEOUT_SECONDS)
        self._check(lambda: self.invariants.check_begun(call, ends_at))

    def _check(self, check: Callable[[], None]) -> None:
        try:
            check()
        except ViolationFound as violation:
            if not self._found.done():
                self._found.set_exception(violation)


def processes(profile: Profile) -> list[tuple[str, int]]:
    """By kind and number."""
    people = (("operator", int(profile.operators)), ("jobs", profile.jobs))
    return [(kind, each) for kind, number in (*PROCESSES, *people) for each in range(1, number + 1)]


def simulate(url: str, seed: int, profile: Profile, plan: Plan = WHOLE, within_seconds: float = math.inf) -> Report:
    """Runs a seed to its end, or until something that must never be true is; what is left of it in `plan`, and no
    longer than so many virtual seconds."""
    report = Report(seed, plan)
    dice = Dice(seed, plan)
    began = time.process_time()
    reset(url)
    scheduler = Scheduler(url, dice, profile, statement_names())
    try:
        with asyncio.Runner(loop_factory=lambda: SimulationLoop(scheduler)) as runner:
            runner.run(_run(url, dice, profile, scheduler, report, within_seconds))
    finally:
        scheduler.close()
    report.digest, report.trace, report.counts = scheduler.digest, scheduler.trace, scheduler.counts
    report.story, report.drawn = scheduler.story, dice.drawn
    report.virtual_seconds = scheduler.now_seconds
    report.cpu_seconds = time.process_time() - began
    return report


async def _run(
    url: str, dice: Dice, profile: Profile, scheduler: Scheduler, report: Report, within_seconds: float
) -> None:
    world = World(url, dice, profile, scheduler, report.plan)
    try:
        async with asyncio.timeout(None if math.isinf(within_seconds) else within_seconds):
            await world.run()
    except TimeoutError:
        report.problem = "it takes longer"
    except ViolationFound as violation:
        report.problem = str(violation)
        scheduler.tell("VIOLATION", str(violation))
    finally:
        world.invariants.close()
    report.calls, report.lookups = len(world.third_party.sent), len(world.third_party.looked_up)
    report.marked, report.actions = world.marked, dict(world.processes.operators.done)


def statement_names() -> dict[str, str]:
    """The names of the product's statements by their first line: some are completed with others."""
    names: dict[str, str] = {}
    for file in files(adapters.postgres.sql).iterdir():
        if file.name.endswith(".sql"):
            names |= {
                text.split("\n", maxsplit=1)[0]: name
                for name, text in statements(file.name.removesuffix(".sql")).items()
            }
    return names
